/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Makes the calls that the library and its drivers need and that are younger than many a program that
 * watches system calls, and asks only whether they are known. No argument.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

/* Numbers of include/uapi/asm-generic/unistd.h, the same on each architecture. */
#define OPEN_TREE 428
#define MOVE_MOUNT 429
#define OPENAT2 437
#define MOUNT_SETATTR 442

/* None of them can succeed: no descriptor, no path, flags of which none has all. */
static int is_known(long result)
{
	CHECK(result == -1);
	return errno != ENOSYS;
}

int main(void)
{
	/* struct open_how and struct mount_attr, each of 64-bit words. */
	unsigned long long how[3] = { 0, 0, 0 }, attr[4] = { 0, 0, 0, 0 };
	const long no = -1;
	int known = is_known(syscall(OPEN_TREE, no, "", no)) &&
		is_known(syscall(MOVE_MOUNT, no, "", no, "", no)) &&
		is_known(syscall(OPENAT2, no, "", how, sizeof(how))) &&
		is_known(syscall(MOUNT_SETATTR, no, "", no, attr, sizeof(attr)));

	return known ? DONE : 1;
}
