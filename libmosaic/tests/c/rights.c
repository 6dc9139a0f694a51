/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a program's rights mean for the paths in its environment. Arguments: "fewer" for one that gives
 * up root, "more" for one that has the rights of a set-user-ID file; a mosaic that is where the
 * environment says.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <grp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "check.h"

static const uid_t nobody = 65534;

static char said[1024];

static void remember(int level, const char *format, ...)
{
	size_t used = strlen(said);
	va_list arguments;

	if (level != LOG_WRN)
		return;
	va_start(arguments, format);
	vsnprintf(said + used, sizeof(said) - used, format, arguments);
	va_end(arguments);
}

/* Nobody lent it any rights: it believes what it is told, though the files of its /proc are root's. */
static void give_up_root(const char *name)
{
	mosaic_t m;
	volume_t v;

	CHECK(setgroups(0, NULL) == 0 && setgid(nobody) == 0 && setuid(nobody) == 0);
	CHECK(prctl(PR_GET_DUMPABLE) != 1);
	m = mosaic_open(name, 0);
	CHECK(m != NULL);
	CHECK(mosaic_make_vol_fs(m, "v", MIB(1), 0) == 0);
	v = mosaic_open_vol(m, "v", 0);
	CHECK(v != NULL);
	CHECK(mosaic_drop_vol(v, 0) == 0);
	mosaic_close(m);
	CHECK(strstr(said, "MOSAIC_") == NULL);
}

/* Whoever started it may have set the paths, so they are not believed; and that is told. */
static void have_more(const char *name)
{
	const char *why = " is ignored: this process runs with more rights than its caller\n";
	char expected[256];

	CHECK(geteuid() != getuid());
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open(name, 0));
	CHECK(strstr(mosaic_last_error(), "/etc/mosaic/") != NULL);
	snprintf(expected, sizeof(expected), "MOSAIC_CONFIG_DIR%sMOSAIC_DRIVER_PATH%s", why, why);
	CHECK(strcmp(said, expected) == 0);
}

int main(int argc, char *argv[])
{
	CHECK(argc == 3);
	CHECK(getenv("MOSAIC_CONFIG_DIR") != NULL && getenv("MOSAIC_DRIVER_PATH") != NULL);
	mosaic_set_log_lvl(LOG_WRN);
	mosaic_set_log_fn(remember);
	if (strcmp(argv[1], "fewer") == 0)
		give_up_root(argv[2]);
	else
		have_more(argv[2]);
	return DONE;
}
