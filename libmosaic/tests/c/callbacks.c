/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the library calls: progress, cancelling at every point, a list that is stopped, calls from
 * within a call. Arguments: a mosaic that can clone, one of the plain driver, the location of that,
 * the config of one that has no location yet.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <unistd.h>

#include "check.h"

static mosaic_t m, plain;

/* Asks to stop at the nth time that it is asked. */
struct patience {
	int asked;
	int limit;
};

static int is_over(void *data)
{
	struct patience *patience = (struct patience *)data;

	return ++patience->asked >= patience->limit;
}

/* Stops a call ever later, until it comes to its end; gives how often it was stopped. */
static int stop_everywhere(int (*call)(void), const char *left)
{
	struct patience patience;
	int limit;

	for (limit = 1;; limit++) {
		patience.asked = 0;
		patience.limit = limit;
		CHECK(mosaic_set_cancel_fn(m, is_over, &patience) == 0);
		if (call() == 0)
			break;
		CHECK(mosaic_last_error_kind() == MOSAIC_ERR_INTERRUPTED && errno == EINTR);
		CHECK(mosaic_set_cancel_fn(m, NULL, NULL) == 0);
		CHECK(mosaic_have_vol(m, left, 0) == 0);
	}
	CHECK(mosaic_set_cancel_fn(m, NULL, NULL) == 0);
	CHECK(mosaic_have_vol(m, left, 0) == 1);
	return limit - 1;
}

static volume_t source;

static int make(void)
{
	return mosaic_make_vol_fs(m, "source", MIB(64), 0);
}

static int make_clone(void)
{
	return mosaic_clone_vol(source, "clone", 0);
}

static void cancel(void)
{
	volume_t clone;

	CHECK(stop_everywhere(make, "source") > 0);
	source = mosaic_open_vol(m, "source", 0);
	CHECK(source != NULL);
	CHECK(stop_everywhere(make_clone, "clone") > 0);
	clone = mosaic_open_vol(m, "clone", 0);
	CHECK(mosaic_drop_vol(clone, 0) == 0);
	mosaic_close_vol(clone);
	CHECK(mosaic_drop_vol(source, 0) == 0);
	mosaic_close_vol(source);
}

/* What is set without a handle is for calls without one and for handles that are opened later. */
static void cancel_without_handle(const char *name)
{
	struct patience none;
	mosaic_t later;

	memset(&none, 0, sizeof(none));
	CHECK(mosaic_set_cancel_fn(NULL, is_over, &none) == 0);
	CHECK(mosaic_make_vol_fs(plain, "before", MIB(1), 0) == 0);
	later = mosaic_open(name, 0);
	CHECK(later != NULL);
	CHECK(mosaic_set_cancel_fn(NULL, NULL, NULL) == 0);
	FAILS(MOSAIC_ERR_INTERRUPTED, mosaic_make_vol_fs(later, "later", MIB(64), 0));
	CHECK(none.asked > 0);
	mosaic_close(later);
}

static int steps;
static uint64_t furthest;

static void watch(uint64_t done, uint64_t total, const char *what, void *data)
{
	CHECK(data == &steps);
	CHECK(strcmp(what, "removing files") == 0);
	CHECK(total == 0 && done >= furthest);
	furthest = done;
	steps++;
}

static void progress(const char *location)
{
	char folder[1024], file[32];
	volume_t many;
	int i;

	CHECK(mosaic_make_vol_fs(plain, "many", MIB(1), 0) == 0);
	snprintf(folder, sizeof(folder), "%s/many", location);
	for (i = 0; i < 5000; i++) {
		snprintf(file, sizeof(file), "%d", i);
		write_file(folder, file, "");
	}
	many = mosaic_open_vol(plain, "many", 0);
	CHECK(many != NULL);
	CHECK(mosaic_set_progress_fn(plain, watch, &steps) == 0);
	CHECK(mosaic_drop_vol(many, MOSAIC_WAIT) == 0);
	CHECK(mosaic_set_progress_fn(plain, NULL, NULL) == 0);
	CHECK(steps > 0 && furthest > 0);
	mosaic_close_vol(many);
}

static int stop_at_second(const struct mosaic_vol_info *info, void *data)
{
	(void)info;
	return ++*(int *)data == 2 ? 77 : 0;
}

static int stop_entries(const struct mosaic_entry *entry, void *data)
{
	(void)entry, (void)data;
	return -5;
}

static int stop_drivers(const struct mosaic_driver *driver, void *data)
{
	(void)driver, (void)data;
	return 6;
}

static int stop_keys(const struct mosaic_key *key, void *data)
{
	(void)key, (void)data;
	return 7;
}

static int stop_lines(const char *line, void *data)
{
	(void)line, (void)data;
	return 8;
}

static void stop_lists(const char *fresh)
{
	int seen = 0;

	CHECK(mosaic_make_vol_fs(plain, "a", MIB(1), 0) == 0);
	CHECK(mosaic_make_vol_fs(plain, "b", MIB(1), 0) == 0);
	CHECK(mosaic_list_vols(plain, stop_at_second, &seen, 0) == 77 && seen == 2);
	CHECK(mosaic_list_mosaics(NULL, stop_entries, NULL, 0) == -5);
	CHECK(mosaic_list_drivers(NULL, stop_drivers, NULL, 0) == 6);
	CHECK(mosaic_list_driver_keys("dmthin", NULL, stop_keys, NULL, 0) == 7);
	CHECK(mosaic_init(fresh, NULL, NULL, stop_lines, NULL, 0) == 0);
}

/* Drops what is listed, from within the list. */
static int drop_listed(const struct mosaic_vol_info *info, void *data)
{
	struct mosaic_vol_info *again;
	volume_t v = mosaic_open_vol(plain, info->name, 0);

	CHECK(v != NULL);
	again = mosaic_get_vol_info(v, 0);
	CHECK(again != NULL && strcmp(again->name, info->name) == 0);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	mosaic_free_vol_info(again);
	/* What was listed lives on. */
	CHECK(info->name[0] != '\0');
	mosaic_close_vol(v);
	++*(int *)data;
	return 0;
}

static int within;

static void log_and_call(int level, const char *format, ...)
{
	(void)level, (void)format;
	if (within++ > 0)
		return;
	CHECK(mosaic_have_vol(plain, "nonesuch", 0) == 0);
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_vol(plain, "nonesuch", 0));
	mosaic_set_log_lvl(MOSAIC_LOG_DBG);
	mosaic_set_log_fn(NULL);
}

/* Closes the very handle that it is called for. */
static int close_own(const struct mosaic_vol_info *info, void *data)
{
	(void)info;
	mosaic_close(*(mosaic_t *)data);
	return 0;
}

static void call_from_within(const char *name)
{
	mosaic_t other;
	int dropped = 0;

	CHECK(mosaic_list_vols(plain, drop_listed, &dropped, 0) == 0 && dropped >= 3);
	CHECK(mosaic_have_vol(plain, "a", 0) == 0);
	mosaic_set_log_fn(log_and_call);
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_vol(plain, "missing", 0));
	CHECK(within > 0);
	/* The message is that of the call, not of one that was made while it was logged. */
	CHECK(strstr(mosaic_last_error(), "missing") != NULL);
	CHECK(mosaic_make_vol_fs(plain, "last", MIB(1), 0) == 0);
	other = mosaic_open(name, 0);
	CHECK(other != NULL);
	CHECK(mosaic_list_vols(other, close_own, &other, 0) == 0);
	FAILS(MOSAIC_ERR_INVALID, mosaic_have_vol(other, "last", 0));
}

int main(int argc, char **argv)
{
	CHECK(argc == 5);
	m = mosaic_open(argv[1], 0);
	plain = mosaic_open(argv[2], 0);
	CHECK(m != NULL && plain != NULL);
	cancel();
	cancel_without_handle(argv[1]);
	progress(argv[3]);
	stop_lists(argv[4]);
	call_from_within(argv[2]);
	mosaic_close(plain);
	mosaic_close(m);
	return DONE;
}
