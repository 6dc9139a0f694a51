/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What these programs share. Each is C99 and C++ at once, prints nothing unless a check fails, and
 * ends with DONE when it came to its end.
 */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mosaic/mosaic.h>

/* The exit status of a program that has done all that it should. */
#define DONE 42

/* Blocks in so many MiB. */
#define MIB(n) ((unsigned long)(n) * 2048)

#define CHECK(condition) check_that(!!(condition), #condition, __FILE__, __LINE__)

/* The call gives -1, and this thread's last error is of that kind. */
#define FAILS(kind, call) \
	do { \
		errno = 0; \
		check_that((call) == -1, #call " == -1", __FILE__, __LINE__); \
		check_failure((kind), errno, #call, __FILE__, __LINE__); \
	} while (0)

/* The same of a call that gives a pointer. */
#define FAILS_NULL(kind, call) \
	do { \
		errno = 0; \
		check_that((call) == NULL, #call " == NULL", __FILE__, __LINE__); \
		check_failure((kind), errno, #call, __FILE__, __LINE__); \
	} while (0)

static inline void check_that(int is_true, const char *what, const char *file, int line)
{
	if (is_true)
		return;
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	fprintf(stderr, "errno %d, kind %d: %s\n", errno, mosaic_last_error_kind(),
		mosaic_last_error());
	_Exit(1);
}

/* The errno that a kind has unless the kernel gave another one. */
static inline int errno_of(int kind)
{
	switch (kind) {
	case MOSAIC_ERR_IO:
		return EIO;
	case MOSAIC_ERR_INVALID:
	case MOSAIC_ERR_CONFIG:
		return EINVAL;
	case MOSAIC_ERR_NOT_FOUND:
		return ENOENT;
	case MOSAIC_ERR_EXISTS:
		return EEXIST;
	case MOSAIC_ERR_BUSY:
		return EBUSY;
	case MOSAIC_ERR_UNSUPPORTED:
		return EOPNOTSUPP;
	case MOSAIC_ERR_NO_SPACE:
		return ENOSPC;
	case MOSAIC_ERR_PERMISSION:
		return EPERM;
	case MOSAIC_ERR_CORRUPT:
		return EUCLEAN;
	case MOSAIC_ERR_INTERRUPTED:
		return EINTR;
	default:
		return 0;
	}
}

static inline void check_failure(int kind, int saved, const char *call, const char *file, int line)
{
	const char *text = mosaic_last_error();

	if (mosaic_last_error_kind() == kind && saved == errno_of(kind) && text[0] != '\0' &&
	    strchr(text, '\n') == NULL)
		return;
	fprintf(stderr, "%s:%d: %s: kind %d and not %d, errno %d and not %d: \"%s\"\n", file, line,
		call, mosaic_last_error_kind(), kind, saved, errno_of(kind), text);
	_Exit(1);
}

/* A text of so many times the letter a; the caller frees it. */
static inline char *long_text(size_t length)
{
	char *text = (char *)malloc(length + 1);

	CHECK(text != NULL);
	memset(text, 'a', length);
	text[length] = '\0';
	return text;
}

static inline void write_file(const char *folder, const char *name, const char *content)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	CHECK(file != NULL);
	CHECK(fputs(content, file) >= 0);
	CHECK(fclose(file) == 0);
}

static inline void check_file(const char *folder, const char *name, const char *content)
{
	char path[4096], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "r");
	CHECK(file != NULL);
	CHECK(fgets(line, sizeof(line), file) != NULL);
	CHECK(strcmp(line, content) == 0);
	CHECK(fclose(file) == 0);
}

#endif
