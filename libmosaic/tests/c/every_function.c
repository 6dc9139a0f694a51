/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Uses every function of the header, and looks at all that it gives. Arguments: mosaic, its driver,
 * a folder to mount at, the folder of its config file.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "check.h"

static mosaic_t m;
static const char *name, *driver, *at, *config_dir;
static unsigned long long bits;

static int can(unsigned long long bit)
{
	return (bits & bit) != 0;
}

/*
 * Without a handle.
 */

static void use_errors(void)
{
	static const char *const words[] = { NULL, "io", "invalid", "not-found", "exists", "busy",
		"unsupported", "no-space", "config", "permission", "corrupt", "interrupted" };
	int kind;

	CHECK(strcmp(mosaic_version(), MOSAIC_VERSION) == 0);
	CHECK(strcmp(mosaic_last_error(), "") == 0);
	CHECK(mosaic_last_error_kind() == MOSAIC_ERR_NONE);
	for (kind = MOSAIC_ERR_IO; kind <= MOSAIC_ERR_INTERRUPTED; kind++)
		CHECK(strcmp(mosaic_error_kind_name(kind), words[kind]) == 0);
	CHECK(mosaic_error_kind_name(-1) == NULL);
	CHECK(mosaic_error_kind_name(MOSAIC_ERR_INTERRUPTED + 1) == NULL);
}

static int take_line(const char *line, void *data)
{
	CHECK(line[0] != '\0' && strchr(line, '\n') == NULL);
	++*(int *)data;
	return 0;
}

static void use_init(void)
{
	struct mosaic_init_options init;
	int lines = 0;

	memset(&init, 0, sizeof(init));
	init.size = sizeof(init);
	CHECK(mosaic_init(name, NULL, &init, take_line, &lines, 0) == 0);
	CHECK(mosaic_last_changed() == (lines > 0));
	lines = 0;
	FAILS(MOSAIC_ERR_EXISTS, mosaic_init(name, NULL, NULL, take_line, &lines, 0));
	CHECK(lines == 0);
	init.adopt = 1;
	FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_init(name, NULL, &init, NULL, NULL, 0));
}

static int find_mosaic(const struct mosaic_entry *entry, void *data)
{
	CHECK(entry->size >= sizeof(*entry));
	if (strcmp(entry->name, name) != 0)
		return 0;
	CHECK(strncmp(entry->config, config_dir, strlen(config_dir)) == 0);
	CHECK(strcmp(entry->driver, driver) == 0);
	CHECK(entry->location[0] != '\0');
	CHECK(entry->error == NULL && entry->error_kind == MOSAIC_ERR_NONE);
	++*(int *)data;
	return 0;
}

static int find_driver(const struct mosaic_driver *found, void *data)
{
	CHECK(found->size >= sizeof(*found));
	CHECK(found->aliases != NULL);
	if (strcmp(found->type, driver) != 0)
		return 0;
	CHECK(found->refusal == NULL);
	CHECK(found->version[0] != '\0' && found->abi[0] != '\0' && found->description[0] != '\0');
	CHECK(access(found->file, R_OK) == 0);
	CHECK((strcmp(driver, "loop") == 0) ==
	      (found->aliases[0] != NULL && strcmp(found->aliases[0], "fsimg") == 0));
	++*(int *)data;
	return 0;
}

static int look_at_key(const struct mosaic_key *key, void *data)
{
	CHECK(key->size >= sizeof(*key));
	CHECK(key->key[0] != '\0' && key->type[0] != '\0' && key->help[0] != '\0');
	CHECK(key->choices != NULL);
	++*(int *)data;
	return 0;
}

static void use_lists(void)
{
	int found = 0, keys = 0;

	CHECK(mosaic_list_mosaics(NULL, find_mosaic, &found, 0) == 0);
	CHECK(found == 1);
	CHECK(mosaic_list_drivers(NULL, find_driver, &found, 0) == 0);
	CHECK(found == 2);
	CHECK(mosaic_list_driver_keys("dmthin", NULL, look_at_key, &keys, 0) == 0);
	CHECK(keys > 1);
	FAILS(MOSAIC_ERR_NOT_FOUND, mosaic_list_driver_keys("nonesuch", NULL, look_at_key, &keys, 0));
}

/*
 * The mosaic.
 */

static void look_at_capabilities(const struct mosaic_capability *const *list)
{
	int clone = 0, fs = 0;

	CHECK(list != NULL);
	for (; *list != NULL; list++) {
		CHECK((*list)->size == sizeof(**list));
		if (strcmp((*list)->name, "clone") == 0) {
			CHECK(can(MOSAIC_FEATURE_CLONE) == ((*list)->refusal == NULL));
			clone++;
		}
		if (strcmp((*list)->name, "fs") == 0) {
			CHECK(can(MOSAIC_FEATURE_FS) == ((*list)->refusal == NULL));
			fs++;
		}
	}
	CHECK(clone == 1 && fs == 1);
}

static void use_mosaic_info(int mounted)
{
	struct mosaic_info *info = mosaic_get_info(m, 0);
	const struct mosaic_space *space;

	CHECK(info != NULL && !mosaic_last_changed());
	CHECK(info->size == sizeof(*info));
	CHECK(strcmp(info->name, name) == 0);
	CHECK(strncmp(info->config, config_dir, strlen(config_dir)) == 0);
	CHECK(strcmp(info->driver, driver) == 0);
	CHECK(strcmp(info->driver_version, MOSAIC_VERSION) == 0);
	CHECK(strncmp(info->driver_abi, "1.", 2) == 0);
	CHECK(access(info->driver_file, R_OK) == 0);
	CHECK(info->location[0] != '\0');
	CHECK(info->metadata != NULL);
	CHECK((info->metadata_mounted[0] != NULL) == mounted);
	if (mounted)
		CHECK(strcmp(info->metadata_mounted[0], at) == 0);
	space = info->spaces[0];
	CHECK(space != NULL && space->size == sizeof(*space));
	CHECK(strcmp(space->name, "data") == 0);
	CHECK(space->total_bytes > 0 && space->used_bytes <= space->total_bytes);
	CHECK(space->free_bytes <= space->total_bytes);
	look_at_capabilities(info->capabilities);
	CHECK(info->notes != NULL && info->facts != NULL);
	mosaic_free_info(info);
}

static void use_metadata(void)
{
	CHECK(mosaic_mount(m, at, 0) == 0);
	CHECK(mosaic_last_changed());
	use_mosaic_info(1);
	write_file(at, "file", "metadata");
	CHECK(mosaic_umount(m, at, 0) == 0);
	CHECK(mosaic_mount_opts(m, at, "ro,noexec") == 0);
	check_file(at, "file", "metadata");
	CHECK(access(at, W_OK) == -1);
	CHECK(mosaic_umount(m, at, 0) == 0);
	FAILS(MOSAIC_ERR_INVALID, mosaic_umount(m, at, 0));
	use_mosaic_info(0);
}

static void use_name(void)
{
	char whole[256], part[2];

	CHECK(mosaic_get_name(m, whole, (int)sizeof(whole)) == (int)strlen(name));
	CHECK(strcmp(whole, name) == 0);
	CHECK(mosaic_get_name(m, NULL, 0) == (int)strlen(name));
	CHECK(mosaic_get_name(m, part, 1) == (int)strlen(name) && part[0] == '\0');
}

/*
 * Volumes.
 */

static void use_vol_name(volume_t v, const char *expected)
{
	char whole[64], part[3];

	CHECK(mosaic_get_vol_name(v, whole, (int)sizeof(whole)) == (int)strlen(expected));
	CHECK(strcmp(whole, expected) == 0);
	CHECK(mosaic_get_vol_name(v, part, 3) == (int)strlen(expected));
	CHECK(strncmp(part, expected, 2) == 0 && part[2] == '\0');
	CHECK(mosaic_get_vol_name(v, NULL, 0) == (int)strlen(expected));
}

static void use_vol_info(volume_t v, const char *expected, const char *state)
{
	struct mosaic_vol_info *info = mosaic_get_vol_info(v, 0);

	CHECK(info != NULL);
	CHECK(info->size == sizeof(*info));
	CHECK(strcmp(info->name, expected) == 0 && strcmp(info->stored, expected) == 0);
	CHECK(info->kind == MOSAIC_VOL_FS);
	CHECK(info->access == (can(MOSAIC_FEATURE_BDEV) ? MOSAIC_VOL_DEVICE : MOSAIC_VOL_DIRECTORY));
	if (info->access == MOSAIC_VOL_DEVICE)
		CHECK(strcmp(info->fs, "ext4") == 0);
	else
		CHECK(info->fs == NULL);
	CHECK(!info->fs_assumed && !info->read_only);
	if (can(MOSAIC_FEATURE_DISK_SIZE_MGMT))
		CHECK(info->size_bytes == 64 * 1024 * 1024);
	CHECK(strcmp(info->state, state) == 0);
	if (strcmp(state, "mounted") == 0) {
		CHECK(strcmp(info->mounted[0], at) == 0 && info->mounted[1] == NULL);
		if (info->access == MOSAIC_VOL_DEVICE) {
			CHECK(info->attachment->size == sizeof(*info->attachment));
			CHECK(info->attachment->lifetime == MOSAIC_LIFETIME_MOUNT);
			CHECK(!info->attachment->foreign && !info->attachment->read_only);
		}
	} else {
		CHECK(info->mounted[0] == NULL && info->attachment == NULL);
	}
	CHECK(info->notes != NULL && info->facts != NULL);
	CHECK(info->capabilities != NULL && info->capabilities[0] != NULL);
	mosaic_free_vol_info(info);
}

static void use_vol_mounts(volume_t v, const char *expected)
{
	struct statvfs mount;

	CHECK(mosaic_mount_vol(v, at, MS_NOEXEC) == 0);
	write_file(at, "file", expected);
	use_vol_info(v, expected, "mounted");
	FAILS(MOSAIC_ERR_BUSY, mosaic_drop_vol(v, 0));
	CHECK(mosaic_umount_vol(v, at, 0) == 0);
	FAILS(MOSAIC_ERR_INVALID, mosaic_umount_vol(v, at, 0));
	CHECK(mosaic_mount_vol_opts(v, at, "ro") == 0);
	check_file(at, "file", expected);
	CHECK(access(at, W_OK) == -1);
	CHECK(mosaic_umount_vol(v, at, 0) == 0);
	CHECK(mosaic_mount_vol_opts(v, at, NULL) == 0);
	CHECK(access(at, W_OK) == 0);
	CHECK(statvfs(at, &mount) == 0);
	CHECK((mount.f_flag & (ST_NOSUID | ST_NODEV)) == (ST_NOSUID | ST_NODEV));
	CHECK(mosaic_umount_vol(v, at, 0) == 0);
	use_vol_info(v, expected, "idle");
}

static void use_sizes(volume_t v)
{
	unsigned long blocks = 7;

	if (!can(MOSAIC_FEATURE_DISK_SIZE_MGMT)) {
		FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_get_vol_size(v, &blocks));
		CHECK(blocks == 7);
		FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_resize_vol(v, MIB(80), 0));
		FAILS(MOSAIC_ERR_INVALID, mosaic_resize_vol_by(v, (long)MIB(1), 0));
		return;
	}
	CHECK(mosaic_resize_vol(v, MIB(80), 0) == 0 && mosaic_last_changed());
	CHECK(mosaic_resize_vol(v, MIB(80), 0) == 0 && !mosaic_last_changed());
	CHECK(mosaic_resize_vol_by(v, (long)MIB(16), 0) == 0);
	CHECK(mosaic_get_vol_size(v, &blocks) == 0 && blocks == MIB(96));
	FAILS(MOSAIC_ERR_INVALID, mosaic_resize_vol_by(v, -(long)MIB(16), 0));
	CHECK(strstr(mosaic_last_error(), "data may be lost: say MOSAIC_SHRINK") != NULL);
	if (can(MOSAIC_FEATURE_SHRINK)) {
		CHECK(mosaic_resize_vol_by(v, -(long)MIB(16), MOSAIC_SHRINK) == 0);
		CHECK(mosaic_get_vol_size(v, &blocks) == 0 && blocks == MIB(80));
	} else {
		FAILS(MOSAIC_ERR_UNSUPPORTED,
		      mosaic_resize_vol_by(v, -(long)MIB(16), MOSAIC_SHRINK));
	}
}

static void use_clones(volume_t v)
{
	struct mosaic_vol_info *info;
	volume_t clone;

	if (!can(MOSAIC_FEATURE_CLONE)) {
		FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_clone_vol(v, "clone", 0));
		FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_clone_vol_sized(v, "clone", MIB(128), 0));
		return;
	}
	CHECK(mosaic_clone_vol(v, "clone", 0) == 0 && mosaic_last_changed());
	FAILS(MOSAIC_ERR_EXISTS, mosaic_clone_vol(v, "clone", 0));
	CHECK(mosaic_clone_vol(v, "clone", MOSAIC_EXIST_OK) == 0 && !mosaic_last_changed());
	if (can(MOSAIC_FEATURE_DISK_SIZE_MGMT)) {
		unsigned long blocks = 0;

		CHECK(mosaic_clone_vol_sized(v, "larger", MIB(128), 0) == 0);
		clone = mosaic_open_vol(m, "larger", 0);
		CHECK(mosaic_get_vol_size(clone, &blocks) == 0 && blocks == MIB(128));
		CHECK(mosaic_drop_vol(clone, MOSAIC_WAIT) == 0);
		mosaic_close_vol(clone);
	}
	clone = mosaic_open_vol(m, "clone", 0);
	CHECK(clone != NULL);
	info = mosaic_get_vol_info(clone, 0);
	CHECK(info != NULL);
	CHECK(info->origin == NULL || strcmp(info->origin, "volume") == 0);
	mosaic_free_vol_info(info);
	CHECK(mosaic_mount_vol(clone, at, MS_RDONLY) == 0);
	check_file(at, "file", "volume");
	CHECK(mosaic_umount_vol(clone, at, 0) == 0);
	CHECK(mosaic_drop_vol(clone, MOSAIC_WAIT) == 0 && mosaic_last_changed());
	mosaic_close_vol(clone);
}

static void use_devices(void)
{
	char device[64];
	struct mosaic_vol_info *info;
	volume_t disk;

	if (!can(MOSAIC_FEATURE_DISK)) {
		FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_make_vol(m, "disk", MIB(16), 0));
		disk = mosaic_open_vol(m, "volume", 0);
		FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_get_vol_bdev(disk, device, 64, 0));
		CHECK(mosaic_put_vol_bdev(disk) == -1);
		mosaic_close_vol(disk);
		return;
	}
	CHECK(mosaic_make_vol(m, "disk", MIB(16), 0) == 0 && mosaic_last_changed());
	CHECK(mosaic_make_vol(m, "disk", MIB(16), MOSAIC_EXIST_OK) == 0 && !mosaic_last_changed());
	disk = mosaic_open_vol(m, "disk", 0);
	CHECK(mosaic_get_vol_bdev(disk, device, (int)sizeof(device), MOSAIC_RDONLY) ==
	      (int)strlen(device));
	CHECK(mosaic_last_changed());
	info = mosaic_get_vol_info(disk, 0);
	CHECK(info->kind == MOSAIC_VOL_DISK && info->fs == NULL);
	CHECK(strcmp(info->state, "attached") == 0);
	CHECK(strcmp(info->attachment->device, device) == 0 && info->attachment->read_only);
	CHECK(info->attachment->lifetime == MOSAIC_LIFETIME_EXPLICIT);
	CHECK(info->size_bytes == 16 * 1024 * 1024);
	mosaic_free_vol_info(info);
	CHECK(mosaic_put_vol_bdev(disk) == 0);
	FAILS(MOSAIC_ERR_NOT_FOUND, mosaic_put_vol_bdev(disk));
	FAILS(MOSAIC_ERR_NOT_FOUND, mosaic_put_vol_bdev_with(disk, 0));
	CHECK(mosaic_put_vol_bdev_with(disk, MOSAIC_MISSING_OK) == 0 && !mosaic_last_changed());
	CHECK(mosaic_drop_vol(disk, MOSAIC_WAIT) == 0);
	mosaic_close_vol(disk);
}

static int count_vol(const struct mosaic_vol_info *info, void *data)
{
	CHECK(info->size == sizeof(*info));
	CHECK(strcmp(info->name, "volume") == 0);
	CHECK(info->capabilities == NULL);
	++*(int *)data;
	return 0;
}

static void no_progress(uint64_t done, uint64_t total, const char *what, void *data)
{
	CHECK(total == 0 || done <= total);
	CHECK(what != NULL && data == NULL);
}

static int never(void *data)
{
	CHECK(data == NULL);
	return 0;
}

static int take_finding(const struct mosaic_finding *finding, void *data)
{
	CHECK(finding->size == sizeof(*finding) && finding->fault[0] != '\0');
	++*(int *)data;
	return 0;
}

static void use_checks(volume_t v)
{
	int findings = 0;

	CHECK(mosaic_check(m, NULL, take_finding, &findings, 0) == 0);
	CHECK(mosaic_check(m, "", NULL, NULL, 0) == 0);
	CHECK(mosaic_check_vol(v, NULL, take_finding, &findings, 0) == 0);
	CHECK(mosaic_check_vol(v, "", NULL, NULL, 0) == 0);
	CHECK(findings == 0);
}

static void use_migration(volume_t v)
{
	CHECK(!can(MOSAIC_FEATURE_MIGRATE));
	FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_migrate_vol_send_start(v, 1, 0));
	FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_migrate_vol_recv_start(v, 0, 0));
	FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_migrate_vol_send_more(v));
	FAILS(MOSAIC_ERR_UNSUPPORTED, mosaic_migrate_vol_stop(v));
}

static void use_volume(void)
{
	int volumes = 0, pending = 0;
	volume_t v, other;

	CHECK(mosaic_have_vol(m, "volume", 0) == 0);
	FAILS_NULL(MOSAIC_ERR_NOT_FOUND, mosaic_open_vol(m, "volume", 0));
	CHECK(mosaic_make_vol_fs(m, "volume", MIB(64), 0) == 0 && mosaic_last_changed());
	FAILS(MOSAIC_ERR_EXISTS, mosaic_make_vol_fs(m, "volume", MIB(64), 0));
	CHECK(mosaic_make_vol_fs(m, "volume", MIB(64), MOSAIC_EXIST_OK) == 0);
	CHECK(!mosaic_last_changed());
	CHECK(mosaic_have_vol(m, "volume", 0) == 1 && !mosaic_last_changed());
	v = mosaic_open_vol(m, "volume", 0);
	CHECK(v != NULL);
	use_vol_name(v, "volume");
	CHECK(mosaic_list_vols(m, count_vol, &volumes, 0) == 0 && volumes == 1);
	use_vol_mounts(v, "volume");
	use_checks(v);
	use_sizes(v);
	use_clones(v);
	use_devices();
	use_migration(v);
	CHECK(mosaic_rename_vol(v, "renamed", 0) == 0 && mosaic_last_changed());
	use_vol_name(v, "renamed");
	CHECK(mosaic_have_vol(m, "volume", 0) == 0 && mosaic_have_vol(m, "renamed", 0) == 1);
	other = mosaic_open_vol(m, "renamed", 0);
	CHECK(other != NULL);
	CHECK(mosaic_drop_vol_pending(v, take_line, &pending, 0) == 0 && mosaic_last_changed());
	/* That has closed the handle; another one of the volume is open still. */
	FAILS(MOSAIC_ERR_INVALID, mosaic_drop_vol(v, MOSAIC_MISSING_OK));
	CHECK(strstr(mosaic_last_error(), "has been dropped") != NULL);
	mosaic_close_vol(v);
	FAILS(MOSAIC_ERR_NOT_FOUND, mosaic_drop_vol(other, 0));
	CHECK(mosaic_drop_vol(other, MOSAIC_MISSING_OK) == 0 && !mosaic_last_changed());
	FAILS(MOSAIC_ERR_INVALID, mosaic_get_vol_name(other, NULL, 0));
}

int main(int argc, char **argv)
{
	struct mosaic_options options;

	CHECK(argc == 5);
	name = argv[1];
	driver = argv[2];
	at = argv[3];
	config_dir = argv[4];
	use_errors();
	mosaic_set_log_fn(NULL);
	mosaic_set_log_lvl(MOSAIC_LOG_DBG);
	use_init();
	use_lists();

	m = mosaic_open(name, 0);
	CHECK(m != NULL);
	mosaic_close(m);
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.config_dir = config_dir;
	m = mosaic_open_with(name, &options, 0);
	CHECK(m != NULL);
	CHECK(mosaic_set_progress_fn(m, no_progress, NULL) == 0);
	CHECK(mosaic_set_cancel_fn(m, never, NULL) == 0);
	CHECK(mosaic_get_features(m, &bits) == 0);
	use_name();
	use_metadata();
	use_volume();
	mosaic_close(m);
	return DONE;
}
