// SPDX-License-Identifier: GPL-2.0-or-later
/* Byte-range locks on images, in the arrangement that QEMU's programs use. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* F_OFD_SETLK */
#endif
#include <errno.h>
#include <fcntl.h>

#include "locks.h"

#define PERM_BASE 100		/* permission n is in use */
#define UNSHARED_BASE 200	/* permission n is not shared */

enum permission {
	PERM_CONSISTENT_READ,
	PERM_WRITE,
	PERM_WRITE_UNCHANGED,
	PERM_RESIZE,
	NR_PERMISSIONS
};

struct permissions {
	unsigned int used;
	unsigned int unshared;
};

/*
 * What a qcow2 driver in QEMU takes on the file below it.  A reader's metadata must
 * not change under it, so it too shares neither writing nor resizing.
 */
static const struct permissions mode_permissions[] = {
	[QC_LOCK_NONE] = { 0, 0 },
	[QC_LOCK_READ] = {
		.used = 1 << PERM_CONSISTENT_READ,
		.unshared = 1 << PERM_WRITE | 1 << PERM_RESIZE,
	},
	[QC_LOCK_WRITE] = {
		.used = 1 << PERM_CONSISTENT_READ | 1 << PERM_WRITE | 1 << PERM_RESIZE,
		.unshared = 1 << PERM_WRITE | 1 << PERM_RESIZE,
	},
};

static int set_byte(int fd, int type, off_t byte)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Returns 1 when another description holds the byte, 0 when not, or an error. */
static int held_elsewhere(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

static int apply(int fd, const struct permissions *perms)
{
	int ret;

	for (int n = 0; n < NR_PERMISSIONS; n++) {
		ret = set_byte(fd, perms->used & 1 << n ? F_RDLCK : F_UNLCK, PERM_BASE + n);
		if (ret < 0)
			return ret;
		ret = set_byte(fd, perms->unshared & 1 << n ? F_RDLCK : F_UNLCK,
			       UNSHARED_BASE + n);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Returns 1 on a conflict; @in_use tells whether somebody uses what we do not share. */
static int conflict(int fd, const struct permissions *perms, bool *writer)
{
	for (int n = 0; n < NR_PERMISSIONS; n++) {
		int held = 0;

		if (perms->unshared & 1 << n) {
			held = held_elsewhere(fd, PERM_BASE + n);
			*writer = true;
		}
		if (!held && perms->used & 1 << n) {
			held = held_elsewhere(fd, UNSHARED_BASE + n);
			*writer = false;
		}
		if (held)
			return held;
	}
	return 0;
}

int qc_lock(struct qc_store *store, enum qc_lock_mode mode, struct qc_error *err)
{
	const struct permissions *perms = &mode_permissions[mode];
	bool writer = false;
	int ret;

	ret = apply(store->fd, perms);
	if (!ret)
		ret = conflict(store->fd, perms, &writer);
	if (!ret)
		return 0;

	apply(store->fd, &mode_permissions[QC_LOCK_NONE]);
	if (ret > 0 || ret == -EAGAIN || ret == -EACCES)
		return qc_fail(err, EBUSY, store->path,
			       "stop that program, or detach the image there",
			       writer ? "another program has it open for writing" :
					"another program has it open and does not share writing");
	return qc_fail(err, -ret, store->path, "keep the image on a file system with locks",
		       "cannot lock it: %s", strerror(-ret));
}

int qc_lock_beside(struct qc_store *store, enum qc_lock_mode mode, struct qc_error *err)
{
	int ret = apply(store->fd, &mode_permissions[mode]);

	return ret < 0 ? qc_fail_errno(err, -ret, store->path, "cannot lock it") : 0;
}

const char *qc_lock_denied(const struct qc_store *store, enum qc_lock_mode mode)
{
	static const char *const used[NR_PERMISSIONS] = {
		"Failed to get \"consistent read\" lock",
		"Failed to get \"write\" lock",
		"Failed to get \"write unchanged\" lock",
		"Failed to get \"resize\" lock",
	};
	static const char *const unshared[NR_PERMISSIONS] = {
		"Failed to get shared \"consistent read\" lock",
		"Failed to get shared \"write\" lock",
		"Failed to get shared \"write unchanged\" lock",
		"Failed to get shared \"resize\" lock",
	};
	const struct permissions *perms = &mode_permissions[mode];

	for (int n = 0; n < NR_PERMISSIONS; n++)
		if (perms->used & 1 << n && held_elsewhere(store->fd, UNSHARED_BASE + n) > 0)
			return used[n];
	for (int n = 0; n < NR_PERMISSIONS; n++)
		if (perms->unshared & 1 << n && held_elsewhere(store->fd, PERM_BASE + n) > 0)
			return unshared[n];
	return NULL;
}
