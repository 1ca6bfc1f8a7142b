// SPDX-License-Identifier: GPL-2.0-or-later
/* Regular files and block devices behind one interface. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* fallocate */
#endif
#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store.h"

static int open_error(struct qc_error *err, int code, const char *path, unsigned int flags)
{
	switch (code) {
	case ENOENT:
		return qc_fail(err, code, path, NULL, "no such file");
	case EEXIST:
		return qc_fail(err, code, path, "choose another name, or say --force",
			       "exists already");
	case EACCES:
	case EPERM:
		return qc_fail(err, code, path, "run as a user who may, usually root",
			       "no permission to open it for %s",
			       flags & QC_OPEN_WRITE ? "writing" : "reading");
	case EROFS:
		return qc_fail(err, code, path, "use --read-only, or remount it",
			       "its file system is read-only");
	case ETXTBSY:
		return qc_fail(err, code, path, "swapoff it first", "is in use as swap space");
	case EBUSY:
		return qc_fail(err, code, path, "unmount it or take it out of use first",
			       "the device is mounted or in use");
	default:
		return qc_fail_errno(err, code, path, "cannot open");
	}
}

void qc_store_refresh(const struct qc_store *store)
{
	/* Needs privileges that reading a header does not: a hint. */
	if (store->is_bdev)
		ioctl(store->fd, BLKFLSBUF, 0);
}

/* Read @st into the store; refuses what is neither a file nor a block device. */
static int identify(struct qc_store *store, unsigned int flags, struct qc_error *err)
{
	struct stat st;

	if (fstat(store->fd, &st) < 0)
		return qc_fail_errno(err, errno, store->path, "cannot stat");
	if (S_ISREG(st.st_mode)) {
		store->dev = st.st_dev;
		store->ino = st.st_ino;
		return 0;
	}
	if (S_ISBLK(st.st_mode)) {
		store->is_bdev = true;
		store->dev = st.st_rdev;
		if (!(flags & QC_OPEN_CACHED))
			qc_store_refresh(store);
		return 0;
	}
	return qc_fail(err, EINVAL, store->path, "name an image file or a block device",
		       "is neither a regular file nor a block device");
}

/* O_EXCL without O_CREAT is defined for block devices only. */
static bool is_block_device(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

int qc_store_open(const char *path, unsigned int flags, struct qc_store **out,
		  struct qc_error *err)
{
	/* O_NONBLOCK: a FIFO must be refused, not waited for. */
	int oflags = O_CLOEXEC | O_NONBLOCK | (flags & QC_OPEN_WRITE ? O_RDWR : O_RDONLY);
	CLEANUP_STORE struct qc_store *store = calloc(1, sizeof(*store));
	int ret;

	if (!store)
		return qc_fail_nomem(err, path);
	store->fd = -1;
	store->path = strdup(path);
	if (!store->path)
		return qc_fail_nomem(err, path);
	store->writable = flags & QC_OPEN_WRITE;

	if (flags & QC_OPEN_CREATE)
		oflags |= O_CREAT | O_EXCL;
	else if (flags & QC_OPEN_EXCL && is_block_device(path))
		oflags |= O_EXCL;

	store->fd = open(path, oflags, 0644);
	if (store->fd < 0)
		return open_error(err, errno, path, flags);
	ret = identify(store, flags, err);
	if (ret < 0)
		return ret;
	if (fcntl(store->fd, F_SETFL, oflags & ~O_NONBLOCK) < 0)
		return qc_fail_errno(err, errno, path, "cannot set file flags");

	*out = qc_steal(store);
	return 0;
}

void qc_store_close(struct qc_store *store)
{
	if (!store)
		return;
	if (store->fd >= 0)
		close(store->fd);
	free(store->path);
	free(store);
}

void qc_cleanup_store(struct qc_store **store)
{
	qc_store_close(*store);
}

bool qc_store_is_at(const struct qc_store *store, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	return store->is_bdev ? S_ISBLK(st.st_mode) && st.st_rdev == store->dev :
				st.st_dev == store->dev && st.st_ino == store->ino;
}

bool qc_store_same(const struct qc_store *a, const struct qc_store *b)
{
	return a->is_bdev == b->is_bdev && a->dev == b->dev && a->ino == b->ino;
}

int qc_store_size(const struct qc_store *store, u64 *size, struct qc_error *err)
{
	struct stat st;

	if (store->is_bdev) {
		if (ioctl(store->fd, BLKGETSIZE64, size) < 0)
			return qc_fail_errno(err, errno, store->path, "cannot get device size");
		return 0;
	}
	if (fstat(store->fd, &st) < 0)
		return qc_fail_errno(err, errno, store->path, "cannot stat");
	*size = st.st_size;
	return 0;
}

int qc_store_allocated(const struct qc_store *store, u64 *bytes, struct qc_error *err)
{
	struct stat st;

	if (store->is_bdev)
		return qc_store_size(store, bytes, err);
	if (fstat(store->fd, &st) < 0)
		return qc_fail_errno(err, errno, store->path, "cannot stat");
	*bytes = (u64)st.st_blocks * 512;
	return 0;
}

int qc_store_read(const struct qc_store *store, u64 pos, void *buf, size_t len,
		  struct qc_error *err)
{
	char *to = buf;

	while (len) {
		ssize_t n = pread(store->fd, to, len, pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qc_fail(err, errno, store->path, NULL,
				       "cannot read at offset 0x%llx: %s", pos, strerror(errno));
		if (n == 0) {
			memset(to, 0, len);
			return 0;
		}
		to += n;
		pos += n;
		len -= n;
	}
	return 0;
}

int qc_store_write(struct qc_store *store, u64 pos, const void *buf, size_t len,
		   struct qc_error *err)
{
	const char *from = buf;

	while (len) {
		ssize_t n = pwrite(store->fd, from, len, pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qc_fail(err, errno, store->path, NULL,
				       "cannot write at offset 0x%llx: %s", pos, strerror(errno));
		from += n;
		pos += n;
		len -= n;
	}
	return 0;
}

int qc_store_flush(struct qc_store *store, struct qc_error *err)
{
	if (fdatasync(store->fd) < 0)
		return qc_fail_errno(err, errno, store->path, "cannot flush");
	return 0;
}

void qc_store_discard(struct qc_store *store, u64 pos, u64 len)
{
	u64 range[] = { pos, len };

	if (store->is_bdev)
		ioctl(store->fd, BLKDISCARD, range);
	else
		fallocate(store->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len);
}

int qc_store_resize(struct qc_store *store, u64 size, struct qc_error *err)
{
	u64 now;
	int ret;

	if (store->is_bdev) {
		ret = qc_store_size(store, &now, err);
		if (ret < 0)
			return ret;
		if (now < size)
			return qc_fail(err, ENOSPC, store->path, "extend the device",
				       "has %llu bytes, %llu are needed", now, size);
		return 0;
	}
	if (ftruncate(store->fd, size) < 0)
		return qc_fail_errno(err, errno, store->path, "cannot set the file's size");
	return 0;
}

static void cleanup_probe(blkid_probe *probe)
{
	if (*probe)
		blkid_free_probe(*probe);
}

int qc_store_signature(const struct qc_store *store, char **type, struct qc_error *err)
{
	__attribute__((cleanup(cleanup_probe))) blkid_probe probe = blkid_new_probe();
	const char *found = NULL;

	*type = NULL;
	if (!probe || blkid_probe_set_device(probe, store->fd, 0, 0) < 0)
		return 0;	/* too small, or out of memory: nothing to tell */
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
	blkid_probe_enable_partitions(probe, 1);
	if (blkid_do_safeprobe(probe) != 0)
		return 0;
	if (blkid_probe_lookup_value(probe, "TYPE", &found, NULL) < 0)
		blkid_probe_lookup_value(probe, "PTTYPE", &found, NULL);
	if (!found)
		return 0;
	*type = strdup(found);
	return *type ? 0 : qc_fail_nomem(err, store->path);
}
