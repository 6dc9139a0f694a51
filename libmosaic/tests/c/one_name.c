/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A handle never touches what others give its volume's name to: neither a call that waits behind a
 * drop, nor one that begins before the drop has come to its end, nor one after a drop whose wait has
 * failed. And nobody waits longer for a handle than a cancel function allows, which may itself ask for
 * the handle. Arguments: a mosaic of the plain driver, its location.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define FILES 2000

static const char *location;
static mosaic_t m, others;
static volume_t v;

/* Makes the volume "a" of many files. */
static void make_large(void)
{
	char folder[1024], file[32];
	int i;

	CHECK(mosaic_make_vol_fs(others, "a", MIB(1), 0) == 0);
	snprintf(folder, sizeof(folder), "%s/a", location);
	for (i = 0; i < FILES; i++) {
		snprintf(file, sizeof(file), "%d", i);
		write_file(folder, file, "");
	}
	v = mosaic_open_vol(m, "a", 0);
	CHECK(v != NULL);
}

/* Makes the volume that is none of the handle's. */
static void make_other(void)
{
	char folder[1024];

	CHECK(mosaic_make_vol_fs(others, "a", MIB(1), 0) == 0);
	snprintf(folder, sizeof(folder), "%s/a", location);
	write_file(folder, "of-others", "");
}

static void drop_other(void)
{
	char path[1024];
	volume_t other;

	snprintf(path, sizeof(path), "%s/a/of-others", location);
	CHECK(access(path, F_OK) == 0);
	CHECK(mosaic_have_vol(others, "a", 0) == 1 && mosaic_have_vol(others, "b", 0) == 0);
	other = mosaic_open_vol(others, "a", 0);
	CHECK(other != NULL && mosaic_drop_vol(other, 0) == 0);
}

/* No call takes the handle any more. */
static void refused(void)
{
	FAILS(MOSAIC_ERR_INVALID, mosaic_rename_vol(v, "b", 0));
	FAILS(MOSAIC_ERR_INVALID, mosaic_drop_vol(v, MOSAIC_MISSING_OK));
	FAILS(MOSAIC_ERR_INVALID, mosaic_resize_vol(v, 8, MOSAIC_SHRINK));
	FAILS(MOSAIC_ERR_INVALID, mosaic_put_vol_bdev(v));
	FAILS_NULL(MOSAIC_ERR_INVALID, mosaic_get_vol_info(v, 0));
	CHECK(strstr(mosaic_last_error(), "dropped") != NULL);
}

static pthread_t dropper, waiter;
static int waiter_id;
static int begun, is_gone;

static void *rename_late(void *data)
{
	(void)data;
	__atomic_store_n(&waiter_id, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
	FAILS(MOSAIC_ERR_INVALID, mosaic_rename_vol(v, "b", 0));
	CHECK(strstr(mosaic_last_error(), "dropped") != NULL);
	return NULL;
}

static char state_of(int thread)
{
	char path[64], line[512], *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
	file = fopen(path, "r");
	CHECK(file != NULL && fgets(line, sizeof(line), file) != NULL);
	CHECK(fclose(file) == 0);
	end = strrchr(line, ')');
	CHECK(end != NULL);
	return end[2];
}

/* Until the thread has slept for a while, and so waits for somebody. */
static void await_waiter(void)
{
	const struct timespec moment = {0, 2000000};
	int asleep = 0, looks;

	for (looks = 0; asleep < 25; looks++) {
		int thread = __atomic_load_n(&waiter_id, __ATOMIC_ACQUIRE);

		CHECK(looks < 30000);
		asleep = thread != 0 && state_of(thread) == 'S' ? asleep + 1 : 0;
		nanosleep(&moment, NULL);
	}
}

/* Is asked by the drop, and by who waits: before the volume is gone, and while its files are deleted. */
static int meanwhile(void *data)
{
	(void)data;
	if (!pthread_equal(pthread_self(), dropper))
		return 0;
	if (!begun) {
		begun = 1;
		CHECK(mosaic_have_vol(others, "a", 0) == 1);
		CHECK(pthread_create(&waiter, NULL, rename_late, NULL) == 0);
		await_waiter();
	} else if (!is_gone && mosaic_have_vol(others, "a", 0) == 0) {
		is_gone = 1;
		make_other();
		refused();
	}
	return 0;
}

static void drop_beside_others(void)
{
	make_large();
	dropper = pthread_self();
	CHECK(mosaic_set_cancel_fn(m, meanwhile, NULL) == 0);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	CHECK(mosaic_set_cancel_fn(m, NULL, NULL) == 0);
	CHECK(begun && is_gone);
	CHECK(pthread_join(waiter, NULL) == 0);
	refused();
	drop_other();
}

static int stop_when_gone(void *data)
{
	(void)data;
	return mosaic_have_vol(others, "a", 0) == 0;
}

static void drop_whose_wait_fails(void)
{
	make_large();
	CHECK(mosaic_get_vol_name(v, NULL, 0) == 1);
	CHECK(mosaic_set_cancel_fn(m, stop_when_gone, NULL) == 0);
	FAILS(MOSAIC_ERR_INTERRUPTED, mosaic_drop_vol(v, MOSAIC_WAIT));
	CHECK(mosaic_last_changed() == 1);
	CHECK(mosaic_set_cancel_fn(m, NULL, NULL) == 0);
	CHECK(strstr(mosaic_last_error(), "is dropped, but") != NULL);
	make_other();
	refused();
	/* To close it is no error. */
	mosaic_close_vol(v);
	CHECK(strstr(mosaic_last_error(), "dropped") != NULL);
	drop_other();
}

static pthread_barrier_t inside, to_end;
static int is_inside;

/* Holds the call of the other thread, and stops that of the first one. */
static int hold_or_stop(void *data)
{
	(void)data;
	if (pthread_equal(pthread_self(), waiter))
		return 1;
	if (!is_inside) {
		is_inside = 1;
		pthread_barrier_wait(&inside);
		pthread_barrier_wait(&to_end);
	}
	return 0;
}

static void *drop_slowly(void *data)
{
	(void)data;
	CHECK(mosaic_drop_vol(v, 0) == 0);
	return NULL;
}

static void who_waits_is_asked(void)
{
	char name[2];

	CHECK(mosaic_make_vol_fs(m, "a", MIB(1), 0) == 0);
	v = mosaic_open_vol(m, "a", 0);
	CHECK(v != NULL);
	CHECK(pthread_barrier_init(&inside, NULL, 2) == 0);
	CHECK(pthread_barrier_init(&to_end, NULL, 2) == 0);
	waiter = pthread_self();
	CHECK(mosaic_set_cancel_fn(m, hold_or_stop, NULL) == 0);
	CHECK(pthread_create(&dropper, NULL, drop_slowly, NULL) == 0);
	pthread_barrier_wait(&inside);
	FAILS(MOSAIC_ERR_INTERRUPTED, mosaic_rename_vol(v, "b", 0));
	FAILS(MOSAIC_ERR_INTERRUPTED, mosaic_drop_vol(v, 0));
	FAILS_NULL(MOSAIC_ERR_INTERRUPTED, mosaic_get_vol_info(v, 0));
	/* Its name needs no wait. */
	CHECK(mosaic_get_vol_name(v, name, sizeof(name)) == 1 && strcmp(name, "a") == 0);
	/* Nor does one who is not to stop wait for ever. */
	CHECK(mosaic_set_cancel_fn(m, NULL, NULL) == 0);
	FAILS_NULL(MOSAIC_ERR_BUSY, mosaic_get_vol_info(v, 0));
	pthread_barrier_wait(&to_end);
	CHECK(pthread_join(dropper, NULL) == 0);
	CHECK(pthread_barrier_destroy(&inside) == 0 && pthread_barrier_destroy(&to_end) == 0);
}

/* Holds the call of the thread that is no waiter until its end may come. */
static int holds(void)
{
	if (pthread_equal(pthread_self(), waiter))
		return 0;
	pthread_barrier_wait(&inside);
	pthread_barrier_wait(&to_end);
	return 1;
}

/* Closes the handle under the call that waits for another one's. */
static int hold_or_close(void *data)
{
	(void)data;
	if (is_inside == 2 || holds())
		return 0;
	mosaic_close_vol(v);
	FAILS_NULL(MOSAIC_ERR_INVALID, mosaic_get_vol_info(v, 0));
	CHECK(strstr(mosaic_last_error(), "has been closed") != NULL);
	is_inside = 2;
	pthread_barrier_wait(&to_end);
	return 0;
}

/* Holds the call of the other thread until the one that waits for it has asked for the handle. */
static int hold_or_ask(void *data)
{
	struct mosaic_vol_info *info;

	(void)data;
	if (is_inside == 2 || holds())
		return 0;
	info = mosaic_get_vol_info(v, 0);
	CHECK(info != NULL && strcmp(info->name, "a") == 0);
	mosaic_free_vol_info(info);
	is_inside = 2;
	pthread_barrier_wait(&to_end);
	return 0;
}

static void *clone_slowly(void *data)
{
	(void)data;
	FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_clone_vol(v, "c", 0));
	return NULL;
}

/* Renames behind a shared call, which the function holds until it is asked by the rename. */
static void rename_behind(mosaic_cancel_fn function)
{
	CHECK(mosaic_make_vol_fs(m, "a", MIB(1), 0) == 0);
	v = mosaic_open_vol(m, "a", 0);
	CHECK(v != NULL);
	CHECK(pthread_barrier_init(&inside, NULL, 2) == 0);
	CHECK(pthread_barrier_init(&to_end, NULL, 2) == 0);
	is_inside = 0;
	waiter = pthread_self();
	CHECK(mosaic_set_cancel_fn(m, function, NULL) == 0);
	CHECK(pthread_create(&dropper, NULL, clone_slowly, NULL) == 0);
	pthread_barrier_wait(&inside);
	CHECK(mosaic_rename_vol(v, "b", 0) == 0);
	CHECK(is_inside == 2);
	CHECK(pthread_join(dropper, NULL) == 0);
	CHECK(mosaic_set_cancel_fn(m, NULL, NULL) == 0);
	mosaic_close_vol(v);
	v = mosaic_open_vol(m, "b", 0);
	CHECK(v != NULL && mosaic_drop_vol(v, 0) == 0);
	CHECK(pthread_barrier_destroy(&inside) == 0 && pthread_barrier_destroy(&to_end) == 0);
}

int main(int argc, char **argv)
{
	struct mosaic_options options;

	CHECK(argc == 3);
	location = argv[2];
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.lock_timeout_ms = 3000;
	m = mosaic_open_with(argv[1], &options, 0);
	others = mosaic_open(argv[1], 0);
	CHECK(m != NULL && others != NULL);
	drop_beside_others();
	drop_whose_wait_fails();
	who_waits_is_asked();
	rename_behind(hold_or_ask);
	rename_behind(hold_or_close);
	CHECK(mosaic_have_vol(others, "a", 0) == 0);
	mosaic_close(m);
	mosaic_close(others);
	return DONE;
}
