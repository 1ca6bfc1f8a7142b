/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Make new, empty qcow2 images.
 */
#ifndef QCHAIN_CREATE_H
#define QCHAIN_CREATE_H

#include "header.h"

struct qc_create_options {
	u64 size;			/* bytes; rounded up to a sector */
	u32 version;			/* 2 or 3; 0: 3 */
	u32 cluster_size;		/* bytes; 0: 65536 */
	u32 refcount_bits;		/* 0: 16 */
	const char *backing;		/* as it is to stand in the header, or NULL */
	const char *backing_format;	/* needed with a backing file */
	bool lazy_refcounts;
	enum qc_compression compression;
	bool preallocate;		/* a place for all; in files, without a backing file */
	bool force;			/* overwrite what is there */
	/* Asked now and then; true: it fails with -ECANCELED.  May be NULL. */
	bool (*cancelled)(void *ctx);
	void *ctx;
};

/*
 * qc_create - make an image at @path, a new file or an existing block device.
 * With options->force an existing file, or a device that holds something, is
 * overwritten, but never one that is locked, mounted or claimed.
 * The backing file is not looked at: see qc_chain_resolve_name().
 * When this returns 0 the image and its name are on stable storage; on failure a file that
 * this call made is gone again.
 * Returns 0, -EEXIST, -EINVAL (options), -EBUSY, -ENOSPC (device too small), ...
 */
int qc_create(const char *path, const struct qc_create_options *options, struct qc_error *err);

/*
 * qc_create_in - make an image of what is open already, whatever it holds; options->force plays no
 * part.  The caller has it locked for writing.  Options are looked at before anything is
 * written; after another failure what was there is gone, and it is no image.
 */
int qc_create_in(struct qc_store *store, const struct qc_create_options *options,
		 struct qc_error *err);

#endif /* QCHAIN_CREATE_H */
