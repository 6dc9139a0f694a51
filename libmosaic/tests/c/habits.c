/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Habits of programs that a library has to live with: threads that are cancelled, handles that are
 * closed twice or never, functions that call the library that calls them. Argument: a mosaic of the
 * plain driver.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

#include "check.h"

static mosaic_t m;

static int descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	CHECK(folder != NULL);
	while (readdir(folder) != NULL)
		count++;
	CHECK(closedir(folder) == 0);
	return count;
}

/* No call is a point at which a thread is cancelled. */
static void *work_cancelled(void *data)
{
	volume_t v;

	CHECK(pthread_cancel(pthread_self()) == 0);
	CHECK(mosaic_have_vol(m, "cancelled", 0) == 0);
	CHECK(mosaic_make_vol_fs(m, "cancelled", MIB(1), 0) == 0);
	v = mosaic_open_vol(m, "cancelled", 0);
	CHECK(v != NULL);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	*(int *)data = 1;
	pthread_testcancel();
	*(int *)data = 2;
	return NULL;
}

static void cancel_thread(void)
{
	pthread_t thread;
	void *result = NULL;
	int reached = 0;

	CHECK(pthread_create(&thread, NULL, work_cancelled, &reached) == 0);
	CHECK(pthread_join(thread, &result) == 0);
	CHECK(result == PTHREAD_CANCELED && reached == 1);
}

/* The empty path is not the current folder. */
static void open_nowhere(const char *name)
{
	struct mosaic_options options;
	mosaic_t other;
	FILE *file = fopen("stray.mos", "w");

	CHECK(file != NULL);
	CHECK(fputs("type: plain\nlocation: /\n", file) >= 0);
	CHECK(fclose(file) == 0);
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.config_dir = "";
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_with("stray", &options, 0));
	other = mosaic_open_with(name, &options, 0);
	CHECK(other != NULL);
	mosaic_close(other);
	other = mosaic_open("./stray.mos", 0);
	CHECK(other != NULL);
	mosaic_close(other);
	CHECK(unlink("stray.mos") == 0);
}

static int lines, asked, deepest, depth;

/* Calls what fails, and so would be logged. */
static void log_and_fail(int level, const char *format, ...)
{
	(void)level, (void)format;
	lines++;
	if (++depth > deepest)
		deepest = depth;
	CHECK(depth < 10);
	CHECK(mosaic_open_vol(m, "nonesuch", 0) == NULL);
	depth--;
}

/* Calls what asks whether it is to stop. */
static int ask_and_call(void *data)
{
	(void)data;
	asked++;
	CHECK(++depth < 10);
	CHECK(mosaic_have_vol(m, "nonesuch", 0) == 0);
	CHECK(mosaic_make_vol_fs(m, "asked", MIB(1), MOSAIC_EXIST_OK) == 0);
	depth--;
	return 0;
}

static void call_from_called(void)
{
	volume_t v;

	mosaic_set_log_fn(log_and_fail);
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_vol(m, "missing", 0));
	CHECK(strstr(mosaic_last_error(), "missing") != NULL);
	mosaic_set_log_fn(NULL);
	CHECK(lines == 1 && deepest == 1);
	CHECK(mosaic_set_cancel_fn(m, ask_and_call, NULL) == 0);
	CHECK(mosaic_make_vol_fs(m, "made", MIB(1), 0) == 0);
	v = mosaic_open_vol(m, "made", 0);
	CHECK(v != NULL);
	CHECK(mosaic_drop_vol(v, MOSAIC_WAIT) == 0);
	CHECK(mosaic_set_cancel_fn(m, NULL, NULL) == 0);
	CHECK(asked > 0);
	v = mosaic_open_vol(m, "asked", 0);
	CHECK(v != NULL);
	CHECK(mosaic_drop_vol(v, 0) == 0);
}

static int complaints;

static void count_complaints(int level, const char *format, ...)
{
	(void)format;
	complaints += level == MOSAIC_LOG_ERR;
}

/* Who dropped a volume may close it, or leave it. */
static void drop_closes(const char *name)
{
	int before = descriptors(), round;
	mosaic_t other = mosaic_open(name, 0);
	volume_t v;

	CHECK(other != NULL);
	mosaic_set_log_fn(count_complaints);
	for (round = 0; round < 20; round++) {
		CHECK(mosaic_make_vol_fs(other, "short", MIB(1), 0) == 0);
		v = mosaic_open_vol(other, "short", 0);
		CHECK(v != NULL);
		CHECK(mosaic_drop_vol(v, 0) == 0);
		CHECK(mosaic_get_vol_name(v, NULL, 0) == -1);
		if (round % 2 == 0)
			mosaic_close_vol(v);
	}
	mosaic_set_log_fn(NULL);
	mosaic_close(other);
	CHECK(descriptors() == before);
	/* The only errors are those of the calls that failed here. */
	CHECK(complaints == 20);
}

static void failed_drop_closes_nothing(void)
{
	volume_t v;

	CHECK(mosaic_make_vol_fs(m, "gone", MIB(1), 0) == 0);
	v = mosaic_open_vol(m, "gone", 0);
	CHECK(v != NULL);
	FAILS(MOSAIC_ERR_INVALID, mosaic_drop_vol(v, 1 << 20));
	CHECK(mosaic_get_vol_name(v, NULL, 0) == 4);
	CHECK(mosaic_drop_vol(v, 0) == 0);
}

/* printf's arguments: the message is looked for before the call that fails. */
static void read_old_message(void)
{
	const char *before;

	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_vol(m, "first", 0));
	before = mosaic_last_error();
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_vol(m, "second", 0));
	CHECK(strstr(before, "first") != NULL || strstr(before, "second") != NULL);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	cancel_thread();
	open_nowhere(argv[1]);
	call_from_called();
	drop_closes(argv[1]);
	failed_drop_closes_nothing();
	read_old_message();
	mosaic_close(m);
	return DONE;
}
