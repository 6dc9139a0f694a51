/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A shared object that uses the library, for a program that does not: plugins.c. Where it is told so it
 * begins in its constructor, in which the dynamic linker's lock may be held.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

static volatile pid_t other;
static volatile int opened;
static pthread_t thread;
static int has_begun;

static void make(const char *name)
{
	mosaic_t m = mosaic_open(name, 0);

	CHECK(m != NULL);
	CHECK(mosaic_make_vol_fs(m, name, MIB(1), 0) == 0);
	mosaic_close(m);
}

static void drop(const char *name)
{
	mosaic_t m = mosaic_open(name, 0);
	volume_t v;

	CHECK(m != NULL);
	v = mosaic_open_vol(m, name, 0);
	CHECK(v != NULL);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	mosaic_close_vol(v);
	mosaic_close(m);
}

static void *open_beside(void *name)
{
	mosaic_t m;

	other = (pid_t)syscall(SYS_gettid);
	m = mosaic_open((const char *)name, 0);
	CHECK(m != NULL);
	mosaic_close(m);
	opened = 1;
	return NULL;
}

static int sleeps(pid_t thread)
{
	char path[64], state = '?';
	FILE *file;
	int known;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	/* It may end meanwhile: then there is nothing to read. */
	known = fscanf(file, "%*d (%*[^)]) %c", &state);
	CHECK(fclose(file) == 0);
	return known == 1 && state == 'S';
}

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("PLUGIN_BEGINS"), *beside = getenv("PLUGIN_BESIDE");
	int looks;

	if (name == NULL || beside == NULL)
		return;
	CHECK(pthread_create(&thread, NULL, open_beside, (void *)beside) == 0);
	/* It comes as far as the dynamic linker, which may let it wait for us, or to its end. */
	for (looks = 0; looks < 50 && !opened; looks = sleeps(other) ? looks + 1 : 0)
		usleep(2000);
	make(name);
	has_begun = 1;
}

/* For the program that loads this. */
extern
#ifdef __cplusplus
"C"
#endif
int use_mosaic(const char *name);

int use_mosaic(const char *name)
{
	if (has_begun)
		/* Its code is here, so it has to end before this is unloaded. */
		CHECK(pthread_join(thread, NULL) == 0);
	else
		make(name);
	drop(name);
	return DONE;
}
