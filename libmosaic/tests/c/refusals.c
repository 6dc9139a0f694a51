/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What no program should do, and each of which is refused: NULL, closed handles, handles of the wrong
 * kind, unknown flags, names that are too long or no text, sizes that make no sense. Arguments: a
 * mosaic of the plain driver, a folder, its config folder; one more, and no volume is made: each handle
 * of one is NULL then.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <limits.h>
#include <sys/mount.h>

#include "check.h"

static mosaic_t m;
static volume_t v;
static const char *name, *at, *config_dir;
static int calls;

#define INVALID(call) FAILS(MOSAIC_ERR_INVALID, call)
#define INVALID_NULL(call) FAILS_NULL(MOSAIC_ERR_INVALID, call)
/* What failed last did so for its flags, and not for anything else that is invalid as well. */
#define IS_OF_FLAGS() CHECK(strstr(mosaic_last_error(), "flags") != NULL)

static int line_fn(const char *line, void *data)
{
	(void)line, (void)data;
	return ++calls, 0;
}

static int entry_fn(const struct mosaic_entry *entry, void *data)
{
	(void)entry, (void)data;
	return ++calls, 0;
}

static int driver_fn(const struct mosaic_driver *driver, void *data)
{
	(void)driver, (void)data;
	return ++calls, 0;
}

static int key_fn(const struct mosaic_key *key, void *data)
{
	(void)key, (void)data;
	return ++calls, 0;
}

static int vol_fn(const struct mosaic_vol_info *info, void *data)
{
	(void)info, (void)data;
	return ++calls, 0;
}

/* Every function that takes a mosaic, with one that is none. */
static void refuse_mosaic(mosaic_t bad)
{
	unsigned long long bits = 7;
	char buf[8] = "before";

	INVALID(mosaic_get_name(bad, buf, (int)sizeof(buf)));
	CHECK(strcmp(buf, "before") == 0);
	INVALID(mosaic_mount(bad, at, 0));
	INVALID(mosaic_mount_opts(bad, at, NULL));
	INVALID(mosaic_umount(bad, at, 0));
	INVALID(mosaic_get_features(bad, &bits));
	CHECK(bits == 7);
	INVALID_NULL(mosaic_get_info(bad, 0));
	INVALID_NULL(mosaic_open_vol(bad, "v", 0));
	INVALID(mosaic_have_vol(bad, "v", 0));
	INVALID(mosaic_make_vol(bad, "w", 2048, 0));
	INVALID(mosaic_make_vol_fs(bad, "w", 2048, 0));
	INVALID(mosaic_list_vols(bad, vol_fn, NULL, 0));
	INVALID(mosaic_check(bad, NULL, NULL, NULL, 0));
	if (bad != NULL) {
		INVALID(mosaic_set_progress_fn(bad, NULL, NULL));
		INVALID(mosaic_set_cancel_fn(bad, NULL, NULL));
	}
}

/* Every function that takes a volume, with one that is none. */
static void refuse_volume(volume_t bad)
{
	unsigned long blocks = 7;
	char buf[8] = "before";

	INVALID(mosaic_get_vol_name(bad, buf, (int)sizeof(buf)));
	INVALID(mosaic_clone_vol(bad, "w", 0));
	INVALID(mosaic_clone_vol_sized(bad, "w", 2048, 0));
	INVALID(mosaic_drop_vol(bad, 0));
	INVALID(mosaic_drop_vol(bad, MOSAIC_MISSING_OK));
	INVALID(mosaic_drop_vol_pending(bad, line_fn, NULL, 0));
	INVALID(mosaic_rename_vol(bad, "w", 0));
	INVALID(mosaic_resize_vol(bad, 4096, 0));
	INVALID(mosaic_resize_vol_by(bad, 4096, 0));
	INVALID(mosaic_get_vol_size(bad, &blocks));
	CHECK(blocks == 7);
	INVALID(mosaic_mount_vol(bad, at, 0));
	INVALID(mosaic_mount_vol_opts(bad, at, NULL));
	INVALID(mosaic_umount_vol(bad, at, 0));
	INVALID(mosaic_get_vol_bdev(bad, buf, (int)sizeof(buf), 0));
	CHECK(strcmp(buf, "before") == 0);
	INVALID(mosaic_put_vol_bdev(bad));
	INVALID(mosaic_put_vol_bdev_with(bad, MOSAIC_MISSING_OK));
	INVALID_NULL(mosaic_get_vol_info(bad, 0));
	INVALID(mosaic_check_vol(bad, NULL, NULL, NULL, 0));
	INVALID(mosaic_migrate_vol_send_start(bad, 1, 0));
	INVALID(mosaic_migrate_vol_recv_start(bad, 0, 0));
	INVALID(mosaic_migrate_vol_send_more(bad));
	INVALID(mosaic_migrate_vol_stop(bad));
}

static void refuse_handles(void)
{
	mosaic_t closed = mosaic_open(name, 0);
	volume_t closed_vol;
	int local = 0;

	CHECK(closed != NULL && closed != m);
	closed_vol = mosaic_open_vol(closed, "v", 0);
	CHECK(closed_vol != NULL);
	mosaic_close(closed);
	/* A volume keeps its mosaic. */
	CHECK(mosaic_get_vol_name(closed_vol, NULL, 0) == 1);
	mosaic_close_vol(closed_vol);

	refuse_mosaic(NULL);
	refuse_mosaic(closed);
	refuse_mosaic((mosaic_t)v);
	refuse_mosaic((mosaic_t)(void *)&local);
	refuse_mosaic((mosaic_t)(intptr_t)-1);
	refuse_volume(NULL);
	refuse_volume(closed_vol);
	refuse_volume((volume_t)m);
	refuse_volume((volume_t)(void *)&local);
	refuse_volume((volume_t)(intptr_t)1);

	/* Closed twice, or what is none: nothing happens. */
	mosaic_close(NULL);
	mosaic_close(closed);
	mosaic_close((mosaic_t)v);
	mosaic_close((mosaic_t)(void *)&local);
	mosaic_close_vol(NULL);
	mosaic_close_vol(closed_vol);
	mosaic_close_vol((volume_t)m);
	mosaic_free_info(NULL);
	mosaic_free_info((struct mosaic_info *)(void *)&local);
	mosaic_free_vol_info(NULL);
	mosaic_free_vol_info((struct mosaic_vol_info *)(void *)&local);
	CHECK(mosaic_have_vol(m, "v", 0) == 1);
	CHECK(mosaic_get_vol_name(v, NULL, 0) == 1);
}

static void refuse_double_free(void)
{
	struct mosaic_info *info = mosaic_get_info(m, 0);
	struct mosaic_vol_info *vol_info = mosaic_get_vol_info(v, 0);

	CHECK(info != NULL && vol_info != NULL);
	/* Of the wrong kind: it stays. */
	mosaic_free_info((struct mosaic_info *)(void *)vol_info);
	mosaic_free_vol_info((struct mosaic_vol_info *)(void *)info);
	CHECK(strcmp(vol_info->name, "v") == 0);
	CHECK(strcmp(info->name, name) == 0);
	mosaic_free_info(info);
	mosaic_free_info(info);
	mosaic_free_vol_info(vol_info);
	mosaic_free_vol_info(vol_info);
}

/* Each pointer that is needed, NULL. */
static void refuse_null(void)
{
	INVALID_NULL(mosaic_open(NULL, 0));
	INVALID_NULL(mosaic_open_with(NULL, NULL, 0));
	INVALID(mosaic_get_name(m, NULL, 1));
	INVALID(mosaic_init(NULL, NULL, NULL, NULL, NULL, 0));
	INVALID(mosaic_mount(m, NULL, 0));
	INVALID(mosaic_mount_opts(m, NULL, NULL));
	INVALID(mosaic_umount(m, NULL, 0));
	INVALID(mosaic_get_features(m, NULL));
	INVALID(mosaic_list_mosaics(NULL, NULL, NULL, 0));
	INVALID(mosaic_list_drivers(NULL, NULL, NULL, 0));
	INVALID(mosaic_list_driver_keys(NULL, NULL, key_fn, NULL, 0));
	INVALID(mosaic_list_driver_keys("plain", NULL, NULL, NULL, 0));
	INVALID_NULL(mosaic_open_vol(m, NULL, 0));
	INVALID(mosaic_have_vol(m, NULL, 0));
	INVALID(mosaic_make_vol(m, NULL, 2048, 0));
	INVALID(mosaic_make_vol_fs(m, NULL, 2048, 0));
	INVALID(mosaic_list_vols(m, NULL, NULL, 0));
	INVALID(mosaic_get_vol_name(v, NULL, 1));
	INVALID(mosaic_clone_vol(v, NULL, 0));
	INVALID(mosaic_clone_vol_sized(v, NULL, 2048, 0));
	INVALID(mosaic_rename_vol(v, NULL, 0));
	INVALID(mosaic_get_vol_size(v, NULL));
	INVALID(mosaic_mount_vol(v, NULL, 0));
	INVALID(mosaic_mount_vol_opts(v, NULL, NULL));
	INVALID(mosaic_umount_vol(v, NULL, 0));
	INVALID(mosaic_get_vol_bdev(v, NULL, 1, 0));
}

static void refuse_lengths(void)
{
	char buf[8] = "before";

	INVALID(mosaic_get_name(m, buf, -1));
	INVALID(mosaic_get_name(m, NULL, -1));
	INVALID(mosaic_get_name(m, buf, INT_MIN));
	INVALID(mosaic_get_vol_name(v, buf, -1));
	INVALID(mosaic_get_vol_bdev(v, buf, -1, 0));
	CHECK(strcmp(buf, "before") == 0);
	CHECK(mosaic_get_name(m, buf, 0) == (int)strlen(name));
	CHECK(strcmp(buf, "before") == 0);
	CHECK(mosaic_get_vol_name(v, NULL, 0) == 1);
}

/* Every function with a flag that is not its own, which it refuses before it looks at the rest. */
static void refuse_flag(int flag)
{
	int known;

	INVALID_NULL(mosaic_open(name, flag));
	INVALID_NULL(mosaic_open_with(name, NULL, flag));
	INVALID(mosaic_init(name, NULL, NULL, NULL, NULL, flag));
	INVALID(mosaic_umount(m, at, flag));
	INVALID_NULL(mosaic_get_info(m, flag));
	INVALID(mosaic_list_mosaics(NULL, entry_fn, NULL, flag));
	INVALID(mosaic_list_drivers(NULL, driver_fn, NULL, flag));
	INVALID(mosaic_list_driver_keys("plain", NULL, key_fn, NULL, flag));
	INVALID_NULL(mosaic_open_vol(m, "v", flag));
	INVALID(mosaic_have_vol(m, "v", flag));
	INVALID(mosaic_rename_vol(v, "w", flag));
	INVALID(mosaic_umount_vol(v, at, flag));
	IS_OF_FLAGS();
	INVALID_NULL(mosaic_get_vol_info(v, flag));
	INVALID(mosaic_list_vols(m, vol_fn, NULL, flag));
	INVALID(mosaic_check(m, NULL, NULL, NULL, flag));
	INVALID(mosaic_check_vol(v, NULL, NULL, NULL, flag));
	known = MOSAIC_EXIST_OK;
	if (flag & ~known) {
		INVALID(mosaic_make_vol(m, "w", 2048, flag));
		INVALID(mosaic_make_vol_fs(m, "w", 2048, flag));
		INVALID(mosaic_clone_vol(v, "w", flag));
		INVALID(mosaic_clone_vol_sized(v, "w", 2048, flag));
	}
	known = MOSAIC_MISSING_OK | MOSAIC_WAIT;
	if (flag & ~known) {
		INVALID(mosaic_drop_vol(v, flag));
		INVALID(mosaic_drop_vol_pending(v, line_fn, NULL, flag));
	}
	if (flag & ~MOSAIC_MISSING_OK)
		INVALID(mosaic_put_vol_bdev_with(v, flag));
	if (flag & ~MOSAIC_SHRINK) {
		INVALID(mosaic_resize_vol(v, 4096, flag));
		IS_OF_FLAGS();
		INVALID(mosaic_resize_vol_by(v, 4096, flag));
		IS_OF_FLAGS();
	}
	known = MOSAIC_RDONLY | MOSAIC_EXIST_OK;
	if (flag & ~known)
		INVALID(mosaic_get_vol_bdev(v, NULL, 0, flag));
	if (flag & ~MOSAIC_MISSING_OK)
		INVALID(mosaic_put_vol_bdev_with(v, flag));
}

static void refuse_flags(void)
{
	/* What mount(2) knows and is no option of a mount here. */
	static const unsigned long mount_flags[] = { MS_REMOUNT, MS_BIND, MS_MOVE, MS_SHARED, MS_REC,
		MS_MANDLOCK, 1UL << 31 };
	size_t at_flag;
	int bit;

	for (bit = 0; bit < 31; bit++)
		refuse_flag(1 << bit);
	refuse_flag(INT_MIN);
	refuse_flag(-1);
	for (at_flag = 0; at_flag < sizeof(mount_flags) / sizeof(mount_flags[0]); at_flag++) {
		INVALID(mosaic_mount(m, at, (int)mount_flags[at_flag]));
		INVALID(mosaic_mount_vol(v, at, (int)mount_flags[at_flag]));
	}
	INVALID(mosaic_mount_opts(m, at, "no-such-word"));
	INVALID(mosaic_mount_vol_opts(v, at, "ro,,rw,no-such-word"));
	INVALID(mosaic_check(m, "No Class", NULL, NULL, 0));
}

/* A name that nothing can have. */
static void refuse_name(const char *bad)
{
	INVALID_NULL(mosaic_open_vol(m, bad, 0));
	INVALID(mosaic_have_vol(m, bad, 0));
	INVALID(mosaic_make_vol(m, bad, 2048, 0));
	INVALID(mosaic_make_vol_fs(m, bad, 2048, 0));
	INVALID(mosaic_rename_vol(v, bad, 0));
	INVALID(mosaic_clone_vol(v, bad, 0));
	INVALID(mosaic_clone_vol_sized(v, bad, 2048, 0));
}

static void refuse_names(void)
{
	static const char *const names[] = { "", ".", "..", "/v", "v/", "a/../b", "a//b", "\xff\xfe",
		"v\xc3", "a\nb", ".mosaic/tmp" };
	static const size_t lengths[] = { 256, 1025, 65536, 1 << 20 };
	struct mosaic_options options;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		refuse_name(names[i]);
	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char *text = long_text(lengths[i]);

		refuse_name(text);
		memset(text, '\xff', lengths[i]);
		refuse_name(text);
		CHECK(lengths[i] < 4096 || strlen(mosaic_last_error()) < 100);
		memset(text, 'v', lengths[i]);
		CHECK(mosaic_open(text, 0) == NULL);
		CHECK(mosaic_init(text, NULL, NULL, NULL, NULL, 0) == -1);
		CHECK(mosaic_mount(m, text, 0) == -1);
		CHECK(mosaic_umount(m, text, 0) == -1);
		CHECK(mosaic_mount_vol(v, text, 0) == -1);
		CHECK(mosaic_umount_vol(v, text, 0) == -1);
		CHECK(mosaic_mount_opts(m, at, text) == -1);
		CHECK(mosaic_mount_vol_opts(v, at, text) == -1);
		CHECK(mosaic_list_driver_keys(text, NULL, key_fn, NULL, 0) == -1);
		memset(&options, 0, sizeof(options));
		options.size = sizeof(options);
		options.config_dir = text;
		CHECK(mosaic_open_with(name, &options, 0) == NULL);
		CHECK(strlen(mosaic_last_error()) > 0);
		free(text);
	}
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open("\xff\xfe", 0));
	INVALID(mosaic_mount_opts(m, at, "\xff"));
	INVALID(mosaic_check(m, "\xff", NULL, NULL, 0));
}

static void refuse_sizes(void)
{
	INVALID(mosaic_make_vol_fs(m, "w", 0, 0));
	INVALID(mosaic_make_vol(m, "w", 0, 0));
	INVALID(mosaic_make_vol_fs(m, "w", ULONG_MAX, 0));
	INVALID(mosaic_make_vol(m, "w", ULONG_MAX, 0));
	INVALID(mosaic_make_vol_fs(m, "w", ULONG_MAX / 512 + 1, 0));
	INVALID(mosaic_clone_vol_sized(v, "w", ULONG_MAX, 0));
	INVALID(mosaic_resize_vol(v, ULONG_MAX, 0));
	INVALID(mosaic_resize_vol(v, 0, 0));
	INVALID(mosaic_resize_vol_by(v, LONG_MAX, 0));
	INVALID(mosaic_resize_vol_by(v, LONG_MIN, MOSAIC_SHRINK));
	if (v != NULL)
		CHECK(mosaic_have_vol(m, "w", 0) == 0);
}

/* Options of a later version of the header have a larger size, none has a smaller one. */
static void use_option_sizes(void)
{
	struct {
		struct mosaic_options known;
		char unknown[64];
	} grown;
	struct mosaic_options options;
	struct mosaic_init_options init;
	mosaic_t other;

	memset(&options, 0, sizeof(options));
	INVALID_NULL(mosaic_open_with(name, &options, 0));
	options.size = 1;
	INVALID_NULL(mosaic_open_with(name, &options, 0));
	options.size = sizeof(options) - 1;
	INVALID_NULL(mosaic_open_with(name, &options, 0));
	options.size = SIZE_MAX;
	INVALID_NULL(mosaic_open_with(name, &options, 0));
	/* What is beyond what we know must be 0. */
	memset(&grown, 0, sizeof(grown));
	grown.known.size = sizeof(grown);
	grown.known.config_dir = config_dir;
	other = mosaic_open_with(name, &grown.known, 0);
	CHECK(other != NULL);
	mosaic_close(other);
	grown.unknown[63] = 1;
	INVALID_NULL(mosaic_open_with(name, &grown.known, 0));
	memset(&init, 0, sizeof(init));
	INVALID(mosaic_init(name, NULL, &init, NULL, NULL, 0));
	init.size = sizeof(init);
	/* What was never set is rarely 0 or 1. */
	init.force = 2;
	INVALID(mosaic_init(name, NULL, &init, NULL, NULL, 0));
	init.force = 0;
	init.adopt = -1;
	INVALID(mosaic_init(name, NULL, &init, NULL, NULL, 0));
	init.adopt = 0;
	init.quota = "no-such-quota";
	FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_init(name, NULL, &init, NULL, NULL, 0));
}

static void refuse_mosaics(void)
{
	struct mosaic_options options;
	mosaic_t other;

	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open("nonesuch", 0));
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.config_dir = "/nonexistent";
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_with(name, &options, 0));
	/* Text that is empty is as NULL: the environment says where, and not the current folder. */
	options.config_dir = options.driver_path = "";
	other = mosaic_open_with(name, &options, 0);
	CHECK(other != NULL);
	mosaic_close(other);
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_vol(m, "nonesuch", 0));
	FAILS_NULL(MOSAIC_ERR_CONFIG, mosaic_open("broken", 0));
	/* What worked since does not take the message away. */
	CHECK(mosaic_have_vol(m, "v", 0) == 1);
	CHECK(mosaic_last_error_kind() == MOSAIC_ERR_CONFIG);
	CHECK(strstr(mosaic_last_error(), "broken.mos") != NULL);
}

int main(int argc, char **argv)
{
	CHECK(argc == 4 || argc == 5);
	name = argv[1];
	at = argv[2];
	config_dir = argv[3];
	m = mosaic_open(name, 0);
	CHECK(m != NULL);
	if (argc == 4) {
		CHECK(mosaic_make_vol_fs(m, "v", MIB(1), 0) == 0);
		v = mosaic_open_vol(m, "v", 0);
		CHECK(v != NULL);
		refuse_handles();
		refuse_double_free();
		refuse_lengths();
		refuse_mosaics();
	}
	refuse_null();
	refuse_flags();
	refuse_names();
	refuse_sizes();
	use_option_sizes();
	CHECK(calls == 0);
	mosaic_close_vol(v);
	mosaic_close(m);
	return DONE;
}
