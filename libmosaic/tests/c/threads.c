/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Eight threads on one handle: each with a volume of its own, all with one that they share, some
 * that close handles while others use them. Arguments: a mosaic, rounds.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>

#include "check.h"

#define THREADS 8

static mosaic_t m;
static volume_t shared;
static int rounds;
static pthread_barrier_t barrier;

/* Log lines, as many threads write them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long lines;

static void count_lines(int level, const char *format, ...)
{
	CHECK(level >= MOSAIC_LOG_ERR && level <= MOSAIC_LOG_DBG);
	CHECK(strcmp(format, "%s\n") == 0);
	pthread_mutex_lock(&lock);
	lines++;
	pthread_mutex_unlock(&lock);
}

static int count_vol(const struct mosaic_vol_info *info, void *data)
{
	CHECK(info->name[0] != '\0');
	++*(int *)data;
	return 0;
}

/* A volume from its beginning to its end, which no other thread knows. */
static void own_volume(int number, int round)
{
	struct mosaic_vol_info *info;
	char name[32], other[32], read[32];
	volume_t v;
	int found = 0;

	snprintf(name, sizeof(name), "own-%d-%d", number, round);
	snprintf(other, sizeof(other), "renamed-%d-%d", number, round);
	CHECK(mosaic_have_vol(m, name, 0) == 0);
	CHECK(mosaic_make_vol_fs(m, name, MIB(1), 0) == 0 && mosaic_last_changed());
	FAILS(MOSAIC_ERR_EXISTS, mosaic_make_vol_fs(m, name, MIB(1), 0));
	/* Another thread's failure is not this one's. */
	CHECK(strstr(mosaic_last_error(), name) != NULL);
	v = mosaic_open_vol(m, name, 0);
	CHECK(v != NULL);
	CHECK(mosaic_rename_vol(v, other, 0) == 0);
	CHECK(mosaic_get_vol_name(v, read, (int)sizeof(read)) == (int)strlen(other));
	CHECK(strcmp(read, other) == 0);
	info = mosaic_get_vol_info(v, 0);
	CHECK(info != NULL && strcmp(info->name, other) == 0);
	mosaic_free_vol_info(info);
	CHECK(mosaic_list_vols(m, count_vol, &found, 0) == 0 && found > 0);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	mosaic_close_vol(v);
	CHECK(mosaic_have_vol(m, other, 0) == 0);
}

/* The same volume made by all at once: one has made it, the others found it. */
static int same_volume(int round)
{
	char name[32];
	int made;

	snprintf(name, sizeof(name), "same-%d", round);
	pthread_barrier_wait(&barrier);
	CHECK(mosaic_make_vol_fs(m, name, MIB(1), MOSAIC_EXIST_OK) == 0);
	made = mosaic_last_changed();
	pthread_barrier_wait(&barrier);
	CHECK(mosaic_have_vol(m, name, 0) == 1);
	return made;
}

/* The same volume dropped by all at once through one handle: one has dropped it, and with it
 * the handle. */
static int same_drop(int number, int round)
{
	char name[32];
	int dropped;

	snprintf(name, sizeof(name), "same-%d", round);
	if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
		shared = mosaic_open_vol(m, name, 0);
	pthread_barrier_wait(&barrier);
	CHECK(shared != NULL);
	CHECK(mosaic_get_vol_name(shared, NULL, 0) == (int)strlen(name));
	pthread_barrier_wait(&barrier);
	dropped = mosaic_drop_vol(shared, MOSAIC_MISSING_OK) == 0;
	CHECK(dropped ? mosaic_last_changed() : mosaic_last_error_kind() == MOSAIC_ERR_INVALID);
	pthread_barrier_wait(&barrier);
	mosaic_close_vol(shared);
	CHECK(mosaic_get_vol_name(shared, NULL, 0) == -1);
	CHECK(mosaic_last_error_kind() == MOSAIC_ERR_INVALID);
	(void)number;
	return dropped;
}

static int made[THREADS], dropped[THREADS];

static void *work(void *data)
{
	int number = *(int *)data, round;

	CHECK(strcmp(mosaic_last_error(), "") == 0);
	CHECK(mosaic_last_error_kind() == MOSAIC_ERR_NONE);
	for (round = 0; round < rounds; round++) {
		own_volume(number, round);
		made[number] += same_volume(round);
		dropped[number] += same_drop(number, round);
	}
	return NULL;
}

/*
 * A handle that one thread closes while the others call with it: each call works, or finds it closed.
 */
static mosaic_t closing;

static void *call_until_closed(void *data)
{
	int *worked = (int *)data;

	pthread_barrier_wait(&barrier);
	for (;;) {
		int have = mosaic_have_vol(closing, "nonesuch", 0);

		if (have == -1)
			break;
		CHECK(have == 0);
		__atomic_add_fetch(worked, 1, __ATOMIC_RELAXED);
	}
	CHECK(mosaic_last_error_kind() == MOSAIC_ERR_INVALID);
	return NULL;
}

static void close_under_way(const char *name)
{
	pthread_t threads[THREADS - 1];
	int worked[THREADS - 1], i;

	closing = mosaic_open(name, 0);
	CHECK(closing != NULL);
	for (i = 0; i < THREADS - 1; i++) {
		worked[i] = 0;
		CHECK(pthread_create(&threads[i], NULL, call_until_closed, &worked[i]) == 0);
	}
	pthread_barrier_wait(&barrier);
	/* All are under way, and none has ended. */
	for (i = 0; i < THREADS - 1; i++) {
		while (__atomic_load_n(&worked[i], __ATOMIC_RELAXED) == 0)
			sched_yield();
	}
	mosaic_close(closing);
	for (i = 0; i < THREADS - 1; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* A handle that one thread renames while the others look by it: each finds the volume. */
static void *look_meanwhile(void *data)
{
	int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < 50; i++) {
		struct mosaic_vol_info *info = mosaic_get_vol_info(shared, 0);

		CHECK(info != NULL);
		CHECK(strcmp(info->name, "one") == 0 || strcmp(info->name, "two") == 0);
		mosaic_free_vol_info(info);
	}
	return data;
}

static void rename_under_way(void)
{
	pthread_t threads[THREADS - 1];
	int i;

	CHECK(mosaic_make_vol_fs(m, "one", MIB(1), 0) == 0);
	shared = mosaic_open_vol(m, "one", 0);
	CHECK(shared != NULL);
	for (i = 0; i < THREADS - 1; i++)
		CHECK(pthread_create(&threads[i], NULL, look_meanwhile, NULL) == 0);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < 20; i++)
		CHECK(mosaic_rename_vol(shared, i % 2 ? "one" : "two", 0) == 0);
	for (i = 0; i < THREADS - 1; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(mosaic_drop_vol(shared, 0) == 0);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int numbers[THREADS], i, round, all_made = 0, all_dropped = 0;

	CHECK(argc == 3);
	rounds = atoi(argv[2]);
	CHECK(rounds > 0);
	mosaic_set_log_fn(count_lines);
	mosaic_set_log_lvl(MOSAIC_LOG_DBG);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	for (i = 0; i < THREADS; i++) {
		numbers[i] = i;
		CHECK(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
	}
	for (i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		all_made += made[i];
		all_dropped += dropped[i];
	}
	CHECK(all_made == rounds);
	CHECK(all_dropped == rounds);
	for (round = 0; round < rounds; round++)
		close_under_way(argv[1]);
	rename_under_way();
	mosaic_set_log_fn(NULL);
	CHECK(lines > 0);
	mosaic_close(m);
	CHECK(pthread_barrier_destroy(&barrier) == 0);
	return DONE;
}
