/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libmosaic: a program's way to the volumes of a mosaic.
 *
 * Results. A function that gives an int gives 0, or -1 when it failed, unless it says otherwise; one
 * that gives a pointer gives NULL when it failed. mosaic_last_error() then has the message,
 * mosaic_last_error_kind() what kind of failure it was, errno the errno that fits. Nothing is written
 * to standard output or standard error, see mosaic_set_log_fn(), but for one line where there is no
 * memory at all, which ends the process. Where a program has closed descriptors 0 to 2, the first call that
 * opens something takes these numbers for good, so that no image gets one.
 *
 * Sizes are in blocks of 512 bytes where they are called blocks, in bytes where they are called
 * bytes.
 *
 * Text is UTF-8 with a NUL at its end; a path is the kernel's bytes, which need not be UTF-8. A pointer
 * to text that a function gives stays the library's. Messages and lines of the log have nothing in them
 * that steers a terminal; other text is as it was found. Text for a function has 4095 bytes at most.
 *
 * Flags that a function does not know are refused with MOSAIC_ERR_INVALID. So are NULL where
 * something is needed, a handle that has been closed, a volume's name that is too long, and options
 * whose size was never set or whose members beyond what the library knows are not 0.
 *
 * Functions that the library is given are called in the thread that called the library. They can call
 * the library, and close the very handle; only the volumes that a call is about are locked as long as
 * it has not come to its end, for its log, progress and cancel functions too (the whole mosaic by a check
 * that mends, and by whatever changes a thin pool). What a list goes through is complete before the
 * first call, and nothing is locked. To end it they should say more than 0 (in a check more than 1):
 * -1 is what a failure gives. They end by returning: nothing may be thrown out of them, and neither
 * longjmp(3) nor pthread_exit(3) may leave them.
 *
 * Threads. Every function can be called from every thread at any time, also on one handle: calls
 * that change one volume wait for each other. A handle that is closed while a call on it runs in
 * another thread is closed for all later calls, and that call ends as if it had been open. No call is
 * a cancellation point: pthread_cancel(3) takes effect behind it. No function may be called in the handler
 * of a signal. mosaic_open(), mosaic_init() and what lists mosaics, drivers and keys read environment
 * variables: no other thread may change the environment meanwhile. A thread that calls has 128 KiB of
 * stack at the least. From the constructor or destructor of a shared object only a thread with 2 MiB may
 * call, and nothing that mounts or drops: the dynamic linker has a lock then that threads of the library
 * may want.
 *
 * Processes. After fork(2) the child of a program with one thread can use the handles as its parent
 * can. In the child of a program with several threads only what is async-signal-safe may be called
 * before execve(2) (POSIX says so of every library). No handle reaches the program that is executed.
 *
 * The interface only grows. Functions and constants stay; structures get new members at their ends,
 * and their first member says how many bytes of them there are.
 */
#ifndef MOSAIC_MOSAIC_H
#define MOSAIC_MOSAIC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MOSAIC_PRINTF(at, arguments) __attribute__((__format__(__printf__, at, arguments)))
#else
#define MOSAIC_PRINTF(at, arguments)
#endif

/* The version that this header is of; mosaic_version() has that of the library in use. */
#define MOSAIC_VERSION "0.1.0"

/* A mosaic that has been opened: mosaic_open(), mosaic_close(). */
typedef struct mosaic *mosaic_t;
/* A volume of it: mosaic_open_vol(), mosaic_close_vol(). It keeps its mosaic open. */
typedef struct volume *volume_t;

/*
 * Flags.
 */

/* That it is there already, as asked for, is no error. */
#define MOSAIC_EXIST_OK (1 << 0)
/* That it is not there any more is no error. */
#define MOSAIC_MISSING_OK (1 << 1)
/* Return when the space is back. */
#define MOSAIC_WAIT (1 << 2)
/* The size may become smaller: what is beyond it is lost. */
#define MOSAIC_SHRINK (1 << 3)
/* The device refuses writes. */
#define MOSAIC_RDONLY (1 << 4)

/*
 * Errors, the log, the version.
 */

/* What a program can tell apart and act on; the numbers are the exit statuses of moctl. */
enum mosaic_error_kind {
	MOSAIC_ERR_NONE = 0,        /* nothing failed yet in this thread */
	MOSAIC_ERR_IO = 1,          /* the kernel, the storage or a program failed */
	MOSAIC_ERR_INVALID = 2,     /* what was asked for makes no sense: a name, a size, a flag */
	MOSAIC_ERR_NOT_FOUND = 3,   /* it is not there */
	MOSAIC_ERR_EXISTS = 4,      /* it is there already */
	MOSAIC_ERR_BUSY = 5,        /* somebody uses it, or holds its lock */
	MOSAIC_ERR_UNSUPPORTED = 6, /* this driver, location or kernel cannot do that */
	MOSAIC_ERR_NO_SPACE = 7,    /* no space, or a quota is used up */
	MOSAIC_ERR_CONFIG = 8,      /* the config file is at fault */
	MOSAIC_ERR_PERMISSION = 9,  /* the caller may not */
	MOSAIC_ERR_CORRUPT = 10,    /* what is on the storage contradicts itself */
	MOSAIC_ERR_INTERRUPTED = 11 /* the cancel function asked to stop */
};

/*
 * The message of the last call of this thread that failed, a line without an end; "" if none did.
 * It stays until two more calls of this thread have failed.
 */
const char *mosaic_last_error(void);

/* The kind of the last call of this thread that failed: one of enum mosaic_error_kind. */
int mosaic_last_error_kind(void);

/* The word for a kind in moctl's JSON, such as "not-found"; NULL if there is no such kind. */
const char *mosaic_error_kind_name(int kind);

/*
 * Whether the last call of this thread that succeeded changed anything: 0 where MOSAIC_EXIST_OK or
 * MOSAIC_MISSING_OK found all as asked for, where the size was the same, and after calls that only
 * look; else 1. Calls about the library itself (close, free, set) leave it as it is. A drop or rename
 * that fails makes it 1 when it is made, or may be.
 */
int mosaic_last_changed(void);

/* The version of the library in use, such as "0.1.0". */
const char *mosaic_version(void);

/*
 * How much a line of the log matters. <syslog.h> has another LOG_ERR: programs that include it use
 * the names that begin with MOSAIC_.
 */
enum log_level {
	MOSAIC_LOG_ERR = 1, /* a call fails; its message */
	MOSAIC_LOG_WRN = 2, /* it goes on, but somebody should know */
	MOSAIC_LOG_INF = 3, /* what is done */
	MOSAIC_LOG_DBG = 4, /* each system call and program that matters */
#ifndef LOG_ERR
	LOG_ERR = MOSAIC_LOG_ERR,
#endif
	LOG_WRN = MOSAIC_LOG_WRN,
	LOG_INF = MOSAIC_LOG_INF,
	LOG_DBG = MOSAIC_LOG_DBG
};

/*
 * Gets a line of the log, '\n' at its end, as printf's format and arguments. It is called from the
 * thread that called the library, several threads at once, and may call the library; what is called
 * from in there is not logged.
 */
typedef void (*mosaic_log_fn)(int level, const char *format, ...) MOSAIC_PRINTF(2, 3);

/*
 * Sets who gets the log of all handles; NULL, as at the beginning: nobody. A call that is under way in
 * another thread may still call the one from before.
 */
void mosaic_set_log_fn(mosaic_log_fn fn);

/* Sets up to which enum log_level lines are logged; at the beginning LOG_WRN. */
void mosaic_set_log_lvl(enum log_level level);

/*
 * Hears how far a long step is: done of total, in units of its own; total is 0 where the end is not
 * known.
 */
typedef void (*mosaic_progress_fn)(uint64_t done, uint64_t total, const char *what, void *data);

/*
 * Says whether the call is to stop: other than 0 for yes. The call then undoes what it began and
 * fails with MOSAIC_ERR_INTERRUPTED, unless it is past the point where it is done. A wait for what comes
 * then, MOSAIC_WAIT, fails so too.
 */
typedef int (*mosaic_cancel_fn)(void *data);

/*
 * Set who hears of progress, and who is asked whether to stop; fn NULL: nobody. With mosaic NULL they
 * are for calls without a handle and for handles that are opened afterwards. A handle's are for its
 * volumes' calls too, and still are when it has been closed: set NULL before where data is to go. A
 * call that is under way in another thread may still call the one from before, with its data. What
 * they call has no progress, and is not asked to stop.
 */
int mosaic_set_progress_fn(mosaic_t mosaic, mosaic_progress_fn fn, void *data);
int mosaic_set_cancel_fn(mosaic_t mosaic, mosaic_cancel_fn fn, void *data);

/*
 * Mosaics.
 */

/* Where things are looked for, and how long for a lock. Set size, and the rest to 0 or as wanted. */
struct mosaic_options {
	/* sizeof(struct mosaic_options). */
	size_t size;
	/*
	 * Where config files are; NULL or "": MOSAIC_CONFIG_DIR of the environment, else /etc/mosaic. A
	 * path without a '/' at its beginning is one from the current folder.
	 */
	const char *config_dir;
	/*
	 * Folders with ':' between them in which drivers are looked for first; NULL or "": none. After them
	 * come those of MOSAIC_DRIVER_PATH, the system's, and that beside the library.
	 */
	const char *driver_path;
	/*
	 * Milliseconds to wait for a lock that somebody else has; 0: 10 s; less than 0: not at all. Calls on
	 * one handle wait two seconds for each other at the least.
	 */
	long lock_timeout_ms;
};

/*
 * Opens a mosaic by its name or the path of its config file, which is a name with a '/' or with a
 * '.' at its beginning. Nothing is changed, and no lock is held. flags: 0.
 */
mosaic_t mosaic_open(const char *name, int flags);

/* The same with options; NULL: none. */
mosaic_t mosaic_open_with(const char *name, const struct mosaic_options *options, int flags);

/*
 * Closes a mosaic; NULL is nothing to close. Its volumes stay open. A handle that is closed already
 * is an error of the program's, which the log gets; nothing else happens.
 */
void mosaic_close(mosaic_t mosaic);

/*
 * Writes the mosaic's name, cut off at len - 1 bytes where buf is too short, with a NUL at its end.
 * Returns the length of the whole name. With len 0 buf may be NULL.
 */
int mosaic_get_name(mosaic_t mosaic, char *buf, int len);

/* How to make a location. Set size, and the rest to 0 or as wanted. */
struct mosaic_init_options {
	/* sizeof(struct mosaic_init_options). */
	size_t size;
	/* The quotas to switch on in the location's file system: "simple", "full"; NULL: none. */
	const char *quota;
	/* 1: take over what is there already and was never used; else 0. */
	int adopt;
	/* 1: destroy what is on the devices that the location is made of; else 0. */
	int force;
};

/* Gets one line of text, without an end. Other than 0 ends the calls, and is no failure. */
typedef int (*mosaic_line_fn)(const char *line, void *data);

/*
 * Makes the location of the mosaic that a config file describes. fn, where it is not NULL, gets a line
 * for each thing that was made. flags: 0.
 */
int mosaic_init(const char *name, const struct mosaic_options *options,
		const struct mosaic_init_options *init, mosaic_line_fn fn, void *data, int flags);

/*
 * Mounts the metadata at a directory. mount_flags are those of mount(2): MS_RDONLY, MS_NOSUID,
 * MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_RELATIME, MS_STRICTATIME, MS_NODIRATIME, MS_NOSYMFOLLOW. What
 * they do not say is as the config file's mount_options say, else as mount(2) says: suid, dev, exec.
 */
int mosaic_mount(mosaic_t mosaic, const char *path, int mount_flags);

/*
 * The same with the words of moctl's mount -o, such as "ro,suid"; NULL: none. What they do not say is as
 * the config file's mount_options say, else nosuid, nodev and relatime.
 */
int mosaic_mount_opts(mosaic_t mosaic, const char *path, const char *options);

/* Takes a mount of the metadata out of the tree, after proof that it is one. flags: 0. */
int mosaic_umount(mosaic_t mosaic, const char *path, int flags);

/* What can be done in the mosaic, as bits. */
#define MOSAIC_FEATURE_CLONE (1ULL << 0)          /* volumes can be cloned */
#define MOSAIC_FEATURE_DISK_SIZE_MGMT (1ULL << 1) /* a volume's size binds its writer */
#define MOSAIC_FEATURE_BDEV (1ULL << 2)           /* volumes can be shown as block devices */
#define MOSAIC_FEATURE_MIGRATE (1ULL << 3)        /* volumes can be sent and received */
#define MOSAIC_FEATURE_FS (1ULL << 4)             /* volumes with file systems can be made */
#define MOSAIC_FEATURE_DISK (1ULL << 5)           /* disks can be made */
#define MOSAIC_FEATURE_GROW (1ULL << 6)           /* volumes can be grown */
#define MOSAIC_FEATURE_SHRINK (1ULL << 7)         /* volumes can be shrunk */
#define MOSAIC_FEATURE_RENAME (1ULL << 8)         /* volumes can be renamed */

int mosaic_get_features(mosaic_t mosaic, unsigned long long *bits);

/* A name and what it stands for. */
struct mosaic_fact {
	size_t size;
	const char *name;
	const char *value;
};

/* Something that can be done, or not. */
struct mosaic_capability {
	size_t size;
	/* "clone", "bdev", "volsize", "fs", "disk", "grow", "shrink", "rename", or a driver's own. */
	const char *name;
	/* Why not; NULL: it can. */
	const char *refusal;
};

/* How full one class of storage is, in bytes. */
struct mosaic_space {
	size_t size;
	/* "data"; a thin pool also has "metadata". */
	const char *name;
	uint64_t total_bytes;
	uint64_t used_bytes;
	uint64_t free_bytes;
};

/* A mosaic as a whole. A list ends with NULL. */
struct mosaic_info {
	size_t size;
	const char *name;
	/* Path of the config file. */
	const char *config;
	/* The driver's type, version, ABI version and file. */
	const char *driver;
	const char *driver_version;
	const char *driver_abi;
	const char *driver_file;
	/* Where the data is. */
	const char *location;
	/* File system of new volumes; NULL: not configured. */
	const char *default_fs;
	/* Where the metadata is beneath the location; NULL: not configured. */
	const char *metadata;
	/* Where the metadata is mounted in this mount namespace. */
	const char *const *metadata_mounted;
	const struct mosaic_space *const *spaces;
	const struct mosaic_capability *const *capabilities;
	/* Sentences, and the driver's own facts. */
	const char *const *notes;
	const struct mosaic_fact *const *facts;
};

/* What the mosaic is, can do, and how full it is. flags: 0. */
struct mosaic_info *mosaic_get_info(mosaic_t mosaic, int flags);

/* Frees what mosaic_get_info() gave; NULL is nothing to free. */
void mosaic_free_info(struct mosaic_info *info);

/* A config file in the folder of config files. */
struct mosaic_entry {
	size_t size;
	const char *name;
	/* Path of the config file. */
	const char *config;
	/* The driver's type; NULL: not to be found out. */
	const char *driver;
	/* Where the data is; NULL: not to be found out. */
	const char *location;
	/* Why it cannot be opened, and what kind of error that is; NULL and MOSAIC_ERR_NONE: it can. */
	const char *error;
	int error_kind;
	/* 0. */
	int reserved;
};

/* Gets a mosaic, which lives as long as the call. Other than 0 ends the list, and is returned. */
typedef int (*mosaic_entry_fn)(const struct mosaic_entry *entry, void *data);

/* Lists the mosaics in the folder of config files, by name. flags: 0. */
int mosaic_list_mosaics(const struct mosaic_options *options, mosaic_entry_fn fn, void *data,
			int flags);

/* A driver's file. */
struct mosaic_driver {
	size_t size;
	/* Its type, and others under which it can be asked for; a list ends with NULL. */
	const char *type;
	const char *const *aliases;
	/* Its version, the ABI's version, a line about it; "" if unknown. */
	const char *version;
	const char *abi;
	const char *description;
	const char *file;
	/* Why it would not be loaded; NULL: nothing is known against it. */
	const char *refusal;
};

/* Gets a driver, which lives as long as the call. Other than 0 ends the list, and is returned. */
typedef int (*mosaic_driver_fn)(const struct mosaic_driver *driver, void *data);

/* Lists the installed drivers; none of them is run. flags: 0. */
int mosaic_list_drivers(const struct mosaic_options *options, mosaic_driver_fn fn, void *data,
			int flags);

/* A key of config files. */
struct mosaic_key {
	size_t size;
	const char *key;
	/* What a value is: a word of "moctl drivers TYPE --json", such as "text". */
	const char *type;
	/* The words that can be given; empty: any. A list ends with NULL. */
	const char *const *choices;
	/* What holds without it; NULL: nothing. */
	const char *default_value;
	/* One line of help. */
	const char *help;
};

/* Gets a key, which lives as long as the call. Other than 0 ends the list, and is returned. */
typedef int (*mosaic_key_fn)(const struct mosaic_key *key, void *data);

/* Lists the config keys of a driver's own, after loading it. flags: 0. */
int mosaic_list_driver_keys(const char *type, const struct mosaic_options *options,
			    mosaic_key_fn fn, void *data, int flags);

/*
 * Volumes.
 */

/*
 * Opens a volume, which exists. The handle stands for the name: if the volume is dropped and another
 * one is made under that name, it is the new one's. flags: 0.
 */
volume_t mosaic_open_vol(mosaic_t mosaic, const char *name, int flags);

/* Closes a volume as mosaic_close() does a mosaic. What is mounted or attached stays so. */
void mosaic_close_vol(volume_t volume);

/* Writes the volume's name as mosaic_get_name() does the mosaic's. */
int mosaic_get_vol_name(volume_t volume, char *buf, int len);

/* Returns 1 if there is such a volume, 0 if not, -1 if that cannot be said. flags: 0. */
int mosaic_have_vol(mosaic_t mosaic, const char *name, int flags);

/* Makes a raw disk. flags: MOSAIC_EXIST_OK. */
int mosaic_make_vol(mosaic_t mosaic, const char *name, unsigned long blocks, int flags);

/* Makes a volume with a file system. flags: MOSAIC_EXIST_OK. */
int mosaic_make_vol_fs(mosaic_t mosaic, const char *name, unsigned long blocks, int flags);

/*
 * Makes a volume of what another one holds now, sharing its data. flags: MOSAIC_EXIST_OK, which takes
 * what is there by its kind and size, but for what is known to be a clone of another volume.
 */
int mosaic_clone_vol(volume_t from, const char *name, int flags);

/* The same with a size, which is not less than the source's. */
int mosaic_clone_vol_sized(volume_t from, const char *name, unsigned long blocks, int flags);

/*
 * Destroys a volume and all its data. It closes the handle as soon as the volume is gone, as
 * mosaic_close_vol() would; to close it once more is no error (for the last 4096 that were dropped). Until
 * then it waits for the other calls on the handle, as mosaic_rename_vol() does. It can fail when the volume
 * is gone, in the wait of MOSAIC_WAIT, or as the disk fails: it closes the handle then too, and also when
 * nobody can say whether the volume is gone. mosaic_last_changed() is 1 then.
 * flags: MOSAIC_MISSING_OK, MOSAIC_WAIT.
 */
int mosaic_drop_vol(volume_t volume, int flags);

/*
 * The same. fn, where it is not NULL, gets a line for each thing that gives its space back later;
 * nothing with MOSAIC_WAIT.
 */
int mosaic_drop_vol_pending(volume_t volume, mosaic_line_fn fn, void *data, int flags);

/*
 * Gives a volume another name; the handle then is that name's. It waits for the other calls on the
 * handle as for a lock; a function that one of them has called cannot ask for it. It can fail when the
 * volume has the new name, as the disk fails: the handle is that name's then too, and closed when nobody
 * can say which name the volume has. mosaic_last_changed() is 1 then. flags: 0.
 */
int mosaic_rename_vol(volume_t volume, const char *name, int flags);

/* Sets a volume's size, and with it its file system's. flags: MOSAIC_SHRINK. */
int mosaic_resize_vol(volume_t volume, unsigned long blocks, int flags);

/* The same by so many blocks more, or less if negative. */
int mosaic_resize_vol_by(volume_t volume, long blocks, int flags);

/* The volume's size, rounded down; fails with MOSAIC_ERR_UNSUPPORTED where it has no limit. */
int mosaic_get_vol_size(volume_t volume, unsigned long *blocks);

/* Mounts a volume at a directory; the flags are those of mosaic_mount(). */
int mosaic_mount_vol(volume_t volume, const char *path, int flags);

/* The same with the words of moctl's mount -o, such as "ro,suid"; NULL: none. */
int mosaic_mount_vol_opts(volume_t volume, const char *path, const char *options);

/* Takes a mount of the volume out of the tree, after proof that it is one. flags: 0. */
int mosaic_umount_vol(volume_t volume, const char *path, int flags);

/*
 * Shows a volume as a block device that stays until mosaic_put_vol_bdev(), also when the program
 * ends. Writes the device's path, cut off where dev of len bytes is too short, with a NUL at its end.
 * Returns the length of the whole path, or -1. With len 0 dev may be NULL.
 *
 * A volume that has a device already is MOSAIC_ERR_BUSY, unless this handle was given it (so that a
 * second call can bring a longer buffer) or with MOSAIC_EXIST_OK. flags: MOSAIC_RDONLY,
 * MOSAIC_EXIST_OK.
 */
int mosaic_get_vol_bdev(volume_t volume, char *dev, int len, int flags);

/* Takes the volume's block device away, whoever had asked for it. */
int mosaic_put_vol_bdev(volume_t volume);

/* The same. flags: MOSAIC_MISSING_OK. */
int mosaic_put_vol_bdev_with(volume_t volume, int flags);

/* The kinds of volumes, and how they are reached. */
enum mosaic_vol_kind { MOSAIC_VOL_DISK = 1, MOSAIC_VOL_FS = 2 };
enum mosaic_vol_access { MOSAIC_VOL_DIRECTORY = 1, MOSAIC_VOL_DEVICE = 2 };

/* How long a volume's block device stays. */
enum mosaic_lifetime {
	MOSAIC_LIFETIME_EXPLICIT = 1, /* until mosaic_put_vol_bdev() */
	MOSAIC_LIFETIME_MOUNT = 2     /* until its last mount goes */
};

/* A number of bytes that nobody knows, or that has no limit. */
#define MOSAIC_UNKNOWN UINT64_MAX

/* A volume's block device. */
struct mosaic_attachment {
	size_t size;
	/* Path of the device. */
	const char *device;
	/* One of enum mosaic_lifetime. */
	int lifetime;
	/* Other than 0: it refuses writes. */
	int read_only;
	/* Other than 0: another program has set it up. */
	int foreign;
	/* 0. */
	int reserved;
};

/* A volume. A list ends with NULL. */
struct mosaic_vol_info {
	size_t size;
	const char *name;
	/* The name in the location, which a volumeMap may make another one. */
	const char *stored;
	/* Name of the volume that it was cloned from; NULL: unknown, or none. */
	const char *origin;
	/* One of enum mosaic_vol_kind, and of enum mosaic_vol_access. */
	int kind;
	int access;
	/* Type of its file system; NULL: a disk, or a tree in the location's own file system. */
	const char *fs;
	/* Other than 0: the volume does not say so itself; fs is the configured one. */
	int fs_assumed;
	/* Other than 0: it cannot be written. */
	int read_only;
	/* Its size; what it takes in the location; what only it takes; or MOSAIC_UNKNOWN. */
	uint64_t size_bytes;
	uint64_t used_bytes;
	uint64_t exclusive_bytes;
	/* "mounted", "attached", "in use" (by another program), "idle". */
	const char *state;
	/* Its block device; NULL: none. */
	const struct mosaic_attachment *attachment;
	/* Where it is mounted in this mount namespace. */
	const char *const *mounted;
	/* Sentences, and the driver's own facts. */
	const char *const *notes;
	const struct mosaic_fact *const *facts;
	/* What can be done with it; NULL from mosaic_list_vols(). */
	const struct mosaic_capability *const *capabilities;
};

/* What there is to be known of a volume. flags: 0. */
struct mosaic_vol_info *mosaic_get_vol_info(volume_t volume, int flags);

/* Frees what mosaic_get_vol_info() gave; NULL is nothing to free. */
void mosaic_free_vol_info(struct mosaic_vol_info *info);

/* Gets a volume, which lives as long as the call. Other than 0 ends the list, and is returned. */
typedef int (*mosaic_vol_fn)(const struct mosaic_vol_info *info, void *data);

/* Lists all volumes, by name. flags: 0. */
int mosaic_list_vols(mosaic_t mosaic, mosaic_vol_fn fn, void *data, int flags);

/* A fault that a check found. */
struct mosaic_finding {
	size_t size;
	/* The volume's name in the location; NULL: the location. */
	const char *volume;
	const char *fault;
	/* One word for all faults that are mended in the same way; NULL: it cannot be mended. */
	const char *repair_class;
	/* What mends it; NULL: it cannot be mended, or there is no more to say. */
	const char *remedy;
	/* Other than 0: it is mended only if its class is named. */
	int by_name;
	/* Other than 0: it has been mended. */
	int repaired;
};

/* Gets a fault, which lives as long as the call. Other than 0 ends the list, and is returned. */
typedef int (*mosaic_finding_fn)(const struct mosaic_finding *finding, void *data);

/*
 * Compare what is there with what should be, in the whole mosaic, or the file system of one idle
 * volume. repair: NULL, nothing is mended; "", what does not have to be named; else the classes to
 * mend, with ',' between them. fn may be NULL. Return 0 if nothing is wrong (any more), 1 if something
 * is. flags: 0.
 */
int mosaic_check(mosaic_t mosaic, const char *repair, mosaic_finding_fn fn, void *data, int flags);
int mosaic_check_vol(volume_t volume, const char *repair, mosaic_finding_fn fn, void *data,
		     int flags);

/*
 * Sending a volume to another mosaic: MOSAIC_ERR_UNSUPPORTED, and the bit MOSAIC_FEATURE_MIGRATE is
 * not set.
 */
int mosaic_migrate_vol_send_start(volume_t volume, int fd, int flags);
int mosaic_migrate_vol_recv_start(volume_t volume, int fd, int flags);
int mosaic_migrate_vol_send_more(volume_t volume);
int mosaic_migrate_vol_stop(volume_t volume);

#ifdef __cplusplus
}
#endif

#endif
