/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A store is where the bytes of one image lie: a regular file or a block
 * device.  One store is one open file description: the image locks live on it
 * (locks.h), and it is handed to the kernel module as "fd:N" (attach.h).
 *
 * Positions and lengths are in bytes.  Functions return 0 or a negative errno with
 * @err filled in; they may sleep on I/O.  A store must not be used by two
 * threads at once.
 */
#ifndef QCHAIN_STORE_H
#define QCHAIN_STORE_H

#include <sys/types.h>

#include "error.h"
#include "util.h"

enum qc_open_flags {
	QC_OPEN_WRITE = 1 << 0,		/* for reading and writing, else reading only */
	QC_OPEN_CREATE = 1 << 1,	/* make a regular file, -EEXIST when it is there */
	QC_OPEN_EXCL = 1 << 2,		/* a block device nobody has mounted or claimed */
	QC_OPEN_CACHED = 1 << 3,	/* leave what the page cache holds as it is */
};

struct qc_store {
	int fd;
	char *path;		/* as given to qc_store_open() */
	bool writable;
	bool is_bdev;
	dev_t dev;		/* with ino: what names the same bytes */
	ino_t ino;		/* 0 for a block device */
};

/*
 * qc_store_open - open a regular file or a block device.
 * What the page cache holds of a block device is dropped first, as a mapped image's bytes go past
 * it; what somebody has written to it is waited for.  Errors: -ENOENT, -EACCES, -EEXIST, -EBUSY,
 * -EINVAL (neither a regular file nor a block device), ...
 */
int qc_store_open(const char *path, unsigned int flags, struct qc_store **store,
		  struct qc_error *err);

/*
 * Drop what the page cache holds of a block device, so that the next read sees what a mapped image
 * has on it now.  Without CAP_SYS_ADMIN nothing is done.
 */
void qc_store_refresh(const struct qc_store *store);

/* Close; NULL is fine.  Locks go with the last reference to the description. */
void qc_store_close(struct qc_store *store);

void qc_cleanup_store(struct qc_store **store);
#define CLEANUP_STORE __attribute__((cleanup(qc_cleanup_store)))

/* True when both are the same file or device, under whatever name. */
bool qc_store_same(const struct qc_store *a, const struct qc_store *b);

/* Is it what is at @path now?  A link is followed. */
bool qc_store_is_at(const struct qc_store *store, const char *path);

/*
 * Is a block device, or that of a file system, the block device @below, or does it lie on it?  Seen
 * through device-mapper, md, partitions, loop devices, and file systems that name their device as
 * that of their files, which btrfs does not.
 */
bool qc_dev_lies_on(dev_t dev, dev_t below);

/* The size of the file or device now. */
int qc_store_size(const struct qc_store *store, u64 *size, struct qc_error *err);

/* Bytes that the file takes up in its file system; the size for a device. */
int qc_store_allocated(const struct qc_store *store, u64 *bytes, struct qc_error *err);

/* Read; what lies beyond the end reads as zeroes. */
int qc_store_read(const struct qc_store *store, u64 pos, void *buf, size_t len,
		  struct qc_error *err);

/* Write; a file grows as needed, a device does not (-ENOSPC). */
int qc_store_write(struct qc_store *store, u64 pos, const void *buf, size_t len,
		   struct qc_error *err);

/* Everything written is on stable storage when this returns 0. */
int qc_store_flush(struct qc_store *store, struct qc_error *err);

/* What lies there is of no use to anybody: give it back, where that can be done. */
void qc_store_discard(struct qc_store *store, u64 pos, u64 len);

/* Set a regular file's size; -ENOSPC for a device that is smaller. */
int qc_store_resize(struct qc_store *store, u64 size, struct qc_error *err);

/*
 * qc_store_signature - what libblkid sees on the store.
 * @type: set to a new string such as "ext4" or "dos", NULL when nothing is found.
 * Only ever for telling the user: a format is never concluded from it.
 */
int qc_store_signature(const struct qc_store *store, char **type, struct qc_error *err);

#endif /* QCHAIN_STORE_H */
