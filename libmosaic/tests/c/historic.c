/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A program of the time when there were only these functions: it knows no errors but -1, no flags,
 * nothing that came later. Arguments: mosaic, a folder to mount volumes at, one for the metadata, a
 * file for the log.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <fcntl.h>
#include <unistd.h>
#include <linux/fs.h>

#include <mosaic/mosaic.h>

#define DONE 42
#define BLOCKS (64UL * 2048)

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

static FILE *log_file;
static int log_lines[LOG_DBG + 1];

static void log_to_file(int level, const char *format, ...)
{
	va_list arguments;

	MUST(level >= LOG_ERR && level <= LOG_DBG);
	log_lines[level]++;
	fprintf(log_file, "%d ", level);
	va_start(arguments, format);
	vfprintf(log_file, format, arguments);
	va_end(arguments);
}

static void save(const char *folder, const char *text)
{
	char path[1024];
	int fd;

	snprintf(path, sizeof(path), "%s/file", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0);
	MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	MUST(close(fd) == 0);
}

static int is_saved(const char *folder, const char *text)
{
	char path[1024], content[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "%s/file", folder);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	length = read(fd, content, sizeof(content));
	MUST(close(fd) == 0);
	return length == (ssize_t)strlen(text) && memcmp(content, text, (size_t)length) == 0;
}

/* The flags of what is mounted there, of these three. */
static unsigned long mounted_with(const char *folder)
{
	struct statvfs info;

	MUST(statvfs(folder, &info) == 0);
	return info.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV);
}

static void use_names(mosaic_t m)
{
	char whole[64], part[4];

	MUST(mosaic_get_name(m, whole, (int)sizeof(whole)) == (int)strlen(whole));
	memset(part, 'x', sizeof(part));
	MUST(mosaic_get_name(m, part, 1) == (int)strlen(whole));
	MUST(part[0] == '\0' && part[1] == 'x');
}

static void use_metadata(mosaic_t m, const char *at)
{
	MUST(mosaic_mount(m, at, MS_NOSUID | MS_NODEV) == 0);
	MUST(mounted_with(at) == (ST_NOSUID | ST_NODEV));
	save(at, "metadata");
	MUST(is_saved(at, "metadata"));
	MUST(umount2(at, 0) == 0);
	MUST(mosaic_mount(m, at, MS_RDONLY) == 0);
	MUST(mounted_with(at) == ST_RDONLY);
	MUST(is_saved(at, "metadata"));
	MUST(access(at, W_OK) == -1);
	MUST(umount2(at, 0) == 0);
}

static void use_size(volume_t v, unsigned long long bits)
{
	unsigned long blocks = 7;

	if (!(bits & MOSAIC_FEATURE_DISK_SIZE_MGMT)) {
		MUST(mosaic_get_vol_size(v, &blocks) == -1);
		MUST(mosaic_resize_vol(v, 2 * BLOCKS, 0) == -1);
		return;
	}
	MUST(mosaic_get_vol_size(v, &blocks) == 0);
	MUST(blocks == BLOCKS);
	MUST(mosaic_resize_vol(v, 2 * BLOCKS, 0) == 0);
	MUST(mosaic_get_vol_size(v, &blocks) == 0);
	MUST(blocks == 2 * BLOCKS);
}

static void use_clone(mosaic_t m, volume_t v, const char *at, unsigned long long bits)
{
	volume_t clone;

	if (!(bits & MOSAIC_FEATURE_CLONE)) {
		MUST(mosaic_clone_vol(v, "clone", 0) == -1);
		return;
	}
	MUST(mosaic_clone_vol(v, "clone", 0) == 0);
	MUST(mosaic_clone_vol(v, "clone", 0) == -1);
	clone = mosaic_open_vol(m, "clone", 0);
	MUST(clone != NULL);
	MUST(mosaic_mount_vol(clone, at, 0) == 0);
	MUST(is_saved(at, "volume"));
	save(at, "clone");
	MUST(mosaic_umount_vol(clone, at, 0) == 0);
	MUST(mosaic_mount_vol(v, at, MS_RDONLY) == 0);
	MUST(is_saved(at, "volume"));
	MUST(mosaic_umount_vol(v, at, 0) == 0);
	/* That was the end of the handle as well. */
	MUST(mosaic_drop_vol(clone, 0) == 0);
	MUST(mosaic_have_vol(m, "clone", 0) == 0);
}

static void use_device(mosaic_t m, unsigned long long bits)
{
	char device[64], part[5];
	unsigned long long bytes = 0;
	volume_t disk;
	int fd, length;

	if (!(bits & MOSAIC_FEATURE_BDEV)) {
		MUST(mosaic_make_vol(m, "disk", BLOCKS, 0) == -1);
		return;
	}
	MUST(mosaic_make_vol(m, "disk", BLOCKS, 0) == 0);
	disk = mosaic_open_vol(m, "disk", 0);
	MUST(disk != NULL);
	/* The length is that of the path also when there is no room for it. */
	memset(part, 'x', sizeof(part));
	length = mosaic_get_vol_bdev(disk, part, (int)sizeof(part), 0);
	MUST(length > (int)sizeof(part));
	MUST(memcmp(part, "/dev", 5) == 0);
	MUST(mosaic_get_vol_bdev(disk, device, (int)sizeof(device), 0) == length);
	MUST((int)strlen(device) == length);
	fd = open(device, O_RDWR | O_CLOEXEC);
	MUST(fd >= 0);
	MUST(ioctl(fd, BLKGETSIZE64, &bytes) == 0);
	MUST(bytes == BLOCKS * 512ULL);
	MUST(pwrite(fd, "abc", 3, 4096) == 3);
	MUST(fsync(fd) == 0);
	MUST(mosaic_drop_vol(disk, 0) == -1);
	MUST(close(fd) == 0);
	MUST(mosaic_put_vol_bdev(disk) == 0);
	MUST(mosaic_drop_vol(disk, 0) == 0);
}

static void use_migration(volume_t v)
{
	MUST(mosaic_migrate_vol_send_start(v, 1, 0) == -1);
	MUST(mosaic_migrate_vol_recv_start(v, 0, 0) == -1);
	MUST(mosaic_migrate_vol_send_more(v) == -1);
	MUST(mosaic_migrate_vol_stop(v) == -1);
}

int main(int argc, char **argv)
{
	unsigned long long bits = 0;
	void (*set_level)(enum log_level) = mosaic_set_log_lvl;
	mosaic_t m;
	volume_t v;

	MUST(argc == 5);
	log_file = fopen(argv[4], "w");
	MUST(log_file != NULL);
	mosaic_set_log_fn(log_to_file);
	set_level(LOG_DBG);

	MUST(mosaic_open("no-such-mosaic", 0) == NULL);
	MUST(log_lines[LOG_ERR] == 1);
	m = mosaic_open(argv[1], 0);
	MUST(m != NULL);
	use_names(m);
	MUST(mosaic_get_features(m, &bits) == 0);
	MUST(!(bits & MOSAIC_FEATURE_MIGRATE));
	use_metadata(m, argv[3]);

	MUST(mosaic_have_vol(m, "volume", 0) == 0);
	MUST(mosaic_open_vol(m, "volume", 0) == NULL);
	MUST(mosaic_have_vol(m, "../volume", 0) == -1);
	MUST(mosaic_make_vol_fs(m, "volume", BLOCKS, 0) == 0);
	MUST(mosaic_make_vol_fs(m, "volume", BLOCKS, 0) == -1);
	MUST(mosaic_have_vol(m, "volume", 0) == 1);
	v = mosaic_open_vol(m, "volume", 0);
	MUST(v != NULL);
	/* As with mount(2): a container's tree has devices and programs that are set-user-id. */
	MUST(mosaic_mount_vol(v, argv[2], 0) == 0);
	MUST(mounted_with(argv[2]) == 0);
	save(argv[2], "volume");
	MUST(mosaic_drop_vol(v, 0) == -1);
	MUST(mosaic_umount_vol(v, argv[2], 0) == 0);
	MUST(mosaic_umount_vol(v, argv[2], 0) == -1);
	use_size(v, bits);
	use_clone(m, v, argv[2], bits);
	use_migration(v);
	use_device(m, bits);
	MUST(mosaic_drop_vol(v, 0) == 0);
	MUST(mosaic_have_vol(m, "volume", 0) == 0);
	mosaic_close(m);

	MUST(log_lines[LOG_ERR] > 1);
	MUST(fclose(log_file) == 0);
	return DONE;
}
