/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A driver that panics: the call fails, nothing is printed, the program goes on. Arguments: a mosaic
 * of the driver, one in a wild mood, one in a late one; the driver's folder.
 */
#include "check.h"

static int lines;

static void count_lines(int level, const char *format, ...)
{
	CHECK(level == MOSAIC_LOG_ERR && strcmp(format, "%s\n") == 0);
	lines++;
}

static void panic_in_calls(mosaic_t m)
{
	static const char *const names[] = { "index", "lines", "payload", "thread" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		FAILS(MOSAIC_ERR_IO, mosaic_have_vol(m, names[i], 0));
		CHECK(strstr(mosaic_last_error(), "panicked") != NULL);
		FAILS_NULL(MOSAIC_ERR_IO, mosaic_open_vol(m, names[i], 0));
	}
	FAILS(MOSAIC_ERR_IO, mosaic_make_vol(m, "boom", MIB(1), 0));
	CHECK(mosaic_have_vol(m, "calm", 0) == 0);
}

int main(int argc, char **argv)
{
	struct mosaic_options options;
	mosaic_t m, late;

	CHECK(argc == 5);
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.driver_path = argv[4];
	m = mosaic_open_with(argv[1], &options, 0);
	CHECK(m != NULL);
	panic_in_calls(m);
	FAILS_NULL(MOSAIC_ERR_IO, mosaic_open_with(argv[2], &options, 0));
	late = mosaic_open_with(argv[3], &options, 0);
	CHECK(late != NULL);
	mosaic_close(late);
	FAILS(MOSAIC_ERR_INVALID, mosaic_have_vol(late, "calm", 0));
	mosaic_set_log_fn(count_lines);
	mosaic_set_log_lvl(MOSAIC_LOG_ERR);
	panic_in_calls(m);
	CHECK(lines == 9);
	mosaic_close(m);
	return DONE;
}
