/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks that QEMU's programs understand.
 *
 * A user of an image takes shared OFD locks on single bytes of its file: byte
 * 100+n says "I use permission n", byte 200+n says "I do not share permission n".
 * Then it looks whether somebody else's bytes contradict.  The locks belong to the open
 * file description and live until its last reference is gone, also when that
 * reference is the kernel module's and this process has ended.
 */
#ifndef QCHAIN_LOCKS_H
#define QCHAIN_LOCKS_H

#include "store.h"

enum qc_lock_mode {
	QC_LOCK_NONE,
	QC_LOCK_READ,	/* reads; others may read, nobody may write or resize */
	QC_LOCK_WRITE,	/* reads, writes and resizes; nobody else may do the latter two */
};

/*
 * qc_lock - lock an image.
 * Replaces what this description held before.  On a conflict nothing is held any more.
 * Returns 0, -EBUSY when another program (or another description of this one) is in the
 * way, or another negative errno when the file system cannot lock.  Does not wait.
 */
int qc_lock(struct qc_store *store, enum qc_lock_mode mode, struct qc_error *err);

/*
 * Lock beside a description of our own that cannot be had any more, as it is the kernel's alone:
 * that one keeps other writers out, and for writing this one from here on also readers.  One who
 * reads already is not noticed.  Returns 0, or a negative errno when it cannot be locked.
 */
int qc_lock_beside(struct qc_store *store, enum qc_lock_mode mode, struct qc_error *err);

/*
 * What qc_lock() would fail with because of others, in the words of QEMU's programs:
 * Failed to get "write" lock (somebody does not share writing), Failed to get shared
 * "write" lock (somebody writes).  NULL when nothing is in the way.
 */
const char *qc_lock_denied(const struct qc_store *store, enum qc_lock_mode mode);

#endif /* QCHAIN_LOCKS_H */
