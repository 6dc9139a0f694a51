/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A process whose files have a largest size: a call fails, and the program goes on. Arguments: what the
 * signal that the kernel sends does here ("default", "handled", "blocked"), a mosaic with disks.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <sys/resource.h>

#include "check.h"

static volatile sig_atomic_t heard;

static void hear(int signal)
{
	heard = signal;
}

static int is_in(const sigset_t *set)
{
	return sigismember(set, SIGXFSZ);
}

/* How the program has it: as it wants it. */
static void have_signal(const char *how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	CHECK(signal(SIGXFSZ, strcmp(how, "handled") == 0 ? hear : SIG_DFL) != SIG_ERR);
	CHECK(sigprocmask(strcmp(how, "blocked") == 0 ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL) == 0);
}

static void limit_files(rlim_t size)
{
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	limit.rlim_cur = size;
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void check_too_large(int failed)
{
	CHECK(failed == -1 && errno == EFBIG);
	CHECK(mosaic_last_error_kind() == MOSAIC_ERR_NO_SPACE);
	CHECK(strstr(mosaic_last_error(), "RLIMIT_FSIZE at 64 KiB") != NULL);
}

int main(int argc, char *argv[])
{
	mosaic_t m;
	volume_t v;
	sigset_t before, after;
	rlim_t enough = (rlim_t)1 << 30;

	CHECK(argc == 3);
	have_signal(argv[1]);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &before) == 0);
	limit_files(65536);
	m = mosaic_open(argv[2], 0);
	CHECK(m != NULL);
	check_too_large(mosaic_make_vol(m, "a", MIB(8), 0));
	CHECK(mosaic_have_vol(m, "a", 0) == 0);
	check_too_large(mosaic_make_vol_fs(m, "a", MIB(32), 0));
	CHECK(mosaic_have_vol(m, "a", 0) == 0);
	limit_files(enough);
	CHECK(mosaic_make_vol(m, "b", MIB(8), 0) == 0);
	CHECK(mosaic_make_vol_fs(m, "a", MIB(32), 0) == 0);
	v = mosaic_open_vol(m, "b", 0);
	CHECK(v != NULL);
	limit_files(65536);
	check_too_large(mosaic_resize_vol(v, MIB(16), 0));
	limit_files(enough);
	CHECK(mosaic_resize_vol(v, MIB(24), 0) == 0);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	v = mosaic_open_vol(m, "a", 0);
	CHECK(v != NULL);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	mosaic_close(m);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &after) == 0);
	CHECK(is_in(&before) == is_in(&after));
	CHECK(sigpending(&after) == 0 && !is_in(&after));
	CHECK(heard == 0);
	return DONE;
}
