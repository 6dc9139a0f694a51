/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Calls for which programs are run, by the library and by its driver: on the main thread, on one with a
 * small stack of its own, and on one whose stack is in the midst of the heap. Argument: a mosaic whose
 * volumes have file systems that a program makes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>

#include "check.h"

/* What the header asks for. */
#define STACK (128 * 1024)

static mosaic_t m;

static void *run_programs(void *name)
{
	volume_t v;
	unsigned long blocks;

	/* By the driver. */
	CHECK(mosaic_make_vol_fs(m, (const char *)name, MIB(16), 0) == 0);
	v = mosaic_open_vol(m, (const char *)name, 0);
	CHECK(v != NULL);
	/* By the library. */
	CHECK(mosaic_resize_vol(v, MIB(32), 0) == 0 && mosaic_last_changed());
	CHECK(mosaic_get_vol_size(v, &blocks) == 0 && blocks == MIB(32));
	/* A program that fails is known to have failed. */
	FAILS(MOSAIC_ERR_INVALID, mosaic_resize_vol(v, MIB(16), 0));
	CHECK(mosaic_drop_vol(v, 0) == 0);
	return name;
}

static void run_on(const pthread_attr_t *attributes, const char *name)
{
	pthread_t thread;
	void *result = NULL;

	CHECK(pthread_create(&thread, attributes, run_programs, (void *)name) == 0);
	CHECK(pthread_join(thread, &result) == 0 && result == name);
}

int main(int argc, char **argv)
{
	pthread_attr_t attributes;
	char *before, *stack, *after;

	CHECK(argc == 2);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	CHECK(run_programs((void *)"main") != NULL);
	CHECK(pthread_attr_init(&attributes) == 0);
	CHECK(pthread_attr_setstacksize(&attributes, STACK) == 0);
	run_on(&attributes, "small");
	before = long_text(STACK);
	CHECK(posix_memalign((void **)&stack, 4096, STACK) == 0);
	after = long_text(STACK);
	CHECK(pthread_attr_setstack(&attributes, stack, STACK) == 0);
	run_on(&attributes, "heap");
	CHECK(pthread_attr_destroy(&attributes) == 0);
	CHECK(strlen(before) == STACK && strlen(after) == STACK);
	free(before);
	free(stack);
	free(after);
	mosaic_close(m);
	return DONE;
}
