/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * fork(2) between calls: the child uses the handles of its parent, both go on, and neither's closing is
 * the other's. Nothing of the library reaches a program that is executed. Argument: a mosaic.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static mosaic_t m;
static volume_t v;

static void end_child(pid_t child)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == DONE);
}

static void be_child(void)
{
	volume_t own;

	CHECK(mosaic_have_vol(m, "parents", 0) == 1);
	CHECK(mosaic_make_vol_fs(m, "childs", MIB(1), 0) == 0);
	own = mosaic_open_vol(m, "childs", 0);
	CHECK(own != NULL);
	CHECK(mosaic_rename_vol(v, "renamed", 0) == 0);
	CHECK(mosaic_drop_vol(own, 0) == 0);
	mosaic_close_vol(own);
	mosaic_close_vol(v);
	mosaic_close(m);
	FAILS(MOSAIC_ERR_INVALID, mosaic_have_vol(m, "parents", 0));
	exit(DONE);
}

/* Both change the same mosaic at once. */
static void change_at_once(const char *name)
{
	char volume[32];
	pid_t child = fork();
	int round;

	CHECK(child >= 0);
	for (round = 0; round < 10; round++) {
		snprintf(volume, sizeof(volume), "%s-%d", child == 0 ? "child" : name, round);
		CHECK(mosaic_make_vol_fs(m, volume, MIB(1), 0) == 0);
	}
	if (child == 0)
		exit(DONE);
	end_child(child);
	for (round = 0; round < 10; round++) {
		snprintf(volume, sizeof(volume), "child-%d", round);
		CHECK(mosaic_have_vol(m, volume, 0) == 1);
	}
}

/* Descriptors that a program which is executed now would get, but for the first three. */
static int open_across_exec(void)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = 0;

	CHECK(folder != NULL);
	while ((entry = readdir(folder)) != NULL) {
		int fd = atoi(entry->d_name), flags = fcntl(fd, F_GETFD);

		if (entry->d_name[0] != '.' && fd > 2 && flags >= 0 && !(flags & FD_CLOEXEC))
			count++;
	}
	CHECK(closedir(folder) == 0);
	return count;
}

int main(int argc, char **argv)
{
	int before = open_across_exec();
	char read[32];
	pid_t child;

	CHECK(argc == 2);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	CHECK(mosaic_make_vol_fs(m, "parents", MIB(1), 0) == 0);
	CHECK(mosaic_make_vol_fs(m, "both", MIB(1), 0) == 0);
	v = mosaic_open_vol(m, "both", 0);
	CHECK(v != NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		be_child();
	end_child(child);
	/* The child has renamed it; this handle is still that of the old name. */
	CHECK(mosaic_get_vol_name(v, read, (int)sizeof(read)) == 4 && strcmp(read, "both") == 0);
	FAILS(MOSAIC_ERR_NOT_FOUND, mosaic_drop_vol(v, 0));
	CHECK(mosaic_have_vol(m, "renamed", 0) == 1 && mosaic_have_vol(m, "childs", 0) == 0);
	change_at_once("parent");
	CHECK(open_across_exec() == before);
	mosaic_close_vol(v);
	mosaic_close(m);
	return DONE;
}
