/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A program with a race of its own: two threads count the library's calls without a lock. Argument: a
 * mosaic.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>

#include "check.h"

static mosaic_t m;
static pthread_barrier_t barrier;
static long lines;

static void count_lines(int level, const char *format, ...)
{
	(void)level, (void)format;
	lines++;
}

static void *work(void *data)
{
	int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < 1000; i++)
		CHECK(mosaic_open_vol(m, "nonesuch", 0) == NULL);
	return data;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];
	int i;

	CHECK(argc == 2);
	mosaic_set_log_fn(count_lines);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	for (i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
	for (i = 0; i < 2; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(lines > 0);
	mosaic_close(m);
	return DONE;
}
