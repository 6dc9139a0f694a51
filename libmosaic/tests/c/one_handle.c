/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One handle of a volume in eight threads: looked at while it is renamed, and asked for its device by
 * all at once. Arguments: a mosaic, rounds, "device" where volumes have one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>

#include "check.h"

#define THREADS 8

static mosaic_t m;
static volume_t v;
static int rounds;
static pthread_barrier_t barrier;

/* Read and written by the compiler's own atomic functions, which C99 has no words for. */
static int is_renamed;

static void *look(void *data)
{
	int *looks = (int *)data;

	pthread_barrier_wait(&barrier);
	while (!__atomic_load_n(&is_renamed, __ATOMIC_ACQUIRE)) {
		struct mosaic_vol_info *info = mosaic_get_vol_info(v, 0);

		CHECK(info != NULL);
		CHECK(strcmp(info->name, "a") == 0 || strcmp(info->name, "b") == 0);
		mosaic_free_vol_info(info);
		++*looks;
	}
	return NULL;
}

static void rename_beside_looks(void)
{
	pthread_t threads[THREADS - 1];
	int looks[THREADS - 1], i, sum = 0;

	for (i = 0; i < THREADS - 1; i++) {
		looks[i] = 0;
		CHECK(pthread_create(&threads[i], NULL, look, &looks[i]) == 0);
	}
	pthread_barrier_wait(&barrier);
	for (i = 0; i < rounds; i++) {
		CHECK(mosaic_rename_vol(v, "b", 0) == 0);
		CHECK(mosaic_rename_vol(v, "a", 0) == 0);
	}
	__atomic_store_n(&is_renamed, 1, __ATOMIC_RELEASE);
	for (i = 0; i < THREADS - 1; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		sum += looks[i];
	}
	CHECK(sum > 0);
}

/* A drop that meets a rename drops the volume, whatever its name is then. */
static void *drop(void *data)
{
	pthread_barrier_wait(&barrier);
	*(int *)data = mosaic_drop_vol(v, MOSAIC_MISSING_OK) == 0 && mosaic_last_changed();
	return NULL;
}

static void drop_beside_rename(void)
{
	int i, dropped, renamed;
	pthread_t thread;

	CHECK(pthread_barrier_destroy(&barrier) == 0);
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	for (i = 0; i < rounds; i++) {
		CHECK(mosaic_make_vol_fs(m, "c", MIB(1), 0) == 0);
		v = mosaic_open_vol(m, "c", 0);
		CHECK(v != NULL);
		CHECK(pthread_create(&thread, NULL, drop, &dropped) == 0);
		pthread_barrier_wait(&barrier);
		renamed = mosaic_rename_vol(v, "d", 0);
		/* Where the drop was first the handle is closed. */
		CHECK(renamed == 0 || mosaic_last_error_kind() == MOSAIC_ERR_INVALID);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK(dropped);
		CHECK(mosaic_have_vol(m, "c", 0) == 0 && mosaic_have_vol(m, "d", 0) == 0);
	}
}

static char devices[THREADS][64];

static void *attach(void *data)
{
	char *device = (char *)data;

	pthread_barrier_wait(&barrier);
	CHECK(mosaic_get_vol_bdev(v, device, 64, 0) == (int)strlen(device));
	return NULL;
}

static void attach_at_once(void)
{
	pthread_t threads[THREADS];
	int i;

	for (i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, attach, devices[i]) == 0);
	for (i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (i = 0; i < THREADS; i++)
		CHECK(strncmp(devices[i], "/dev/", 5) == 0 && strcmp(devices[i], devices[0]) == 0);
	CHECK(mosaic_put_vol_bdev(v) == 0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 3 || argc == 4);
	rounds = atoi(argv[2]);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	if (argc == 4) {
		CHECK(mosaic_make_vol(m, "a", MIB(16), 0) == 0);
		v = mosaic_open_vol(m, "a", 0);
		CHECK(v != NULL);
		attach_at_once();
	} else {
		CHECK(mosaic_make_vol_fs(m, "a", MIB(1), 0) == 0);
		v = mosaic_open_vol(m, "a", 0);
		CHECK(v != NULL);
		rename_beside_looks();
	}
	CHECK(mosaic_drop_vol(v, 0) == 0);
	if (argc == 3)
		drop_beside_rename();
	mosaic_close(m);
	CHECK(pthread_barrier_destroy(&barrier) == 0);
	return DONE;
}
