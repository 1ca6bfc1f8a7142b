/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Walk over everything in an image that refers to host clusters: header, L1 and L2
 * tables (active and of every snapshot), data and compressed clusters, the snapshot
 * table, bitmaps, and the refcount structures themselves.
 */
#ifndef QCHAIN_WALK_H
#define QCHAIN_WALK_H

#include "header.h"

/* What a host cluster is used as. */
enum qc_use {
	QC_USE_NONE,
	QC_USE_HEADER,
	QC_USE_REFTABLE,
	QC_USE_REFBLOCK,
	QC_USE_L1,
	QC_USE_L2,
	QC_USE_DATA,
	QC_USE_COMPRESSED,
	QC_USE_SNAPSHOTS,
	QC_USE_BITMAP_DIRECTORY,
	QC_USE_BITMAP_TABLE,
	QC_USE_BITMAP,
};

struct qc_walk {
	const struct qc_store *store;
	const struct qc_header *header;
	bool refcounts;		/* visit the refcount structures too */
	bool terse;		/* nobody reads the messages: they are empty */
	void *ctx;

	/*
	 * Bytes @offset ... @offset + @len - 1 of the image are used; called once for each
	 * reference.  Returns 0, 1 when the extent is bad and must not be followed, or a
	 * negative errno that ends the walk.
	 */
	int (*use)(struct qc_walk *walk, enum qc_use use, u64 offset, u64 len);

	/* An entry that the specification does not allow; @message is one line. */
	void (*bad)(struct qc_walk *walk, enum qc_use use, const char *message);

	/* Set by the walk, of the active L1 table only. */
	u64 allocated;		/* guest clusters with a host cluster */
	u64 compressed;		/* of these */
	u64 fragmented;		/* of these, those that do not follow their predecessor */
};

const char *qc_use_name(enum qc_use use);

/*
 * Returns 0 or a negative errno (I/O, memory, a malformed snapshot table or bitmap directory).
 * Needs memory for the largest L1 table, the refcount table and two clusters.
 */
int qc_walk(struct qc_walk *walk, struct qc_error *err);

/*
 * The same for what one L1 table refers to, and the table itself: that of the snapshot called
 * @snapshot, or with NULL the active one.
 */
int qc_walk_l1(struct qc_walk *walk, const char *snapshot, u64 l1_offset, u32 l1_size,
	       struct qc_error *err);

/* Read @count entries of a table at @offset into a new array, still big-endian. */
int qc_read_table(const struct qc_store *store, u64 offset, u64 count, u64 **table,
		  struct qc_error *err);

#endif /* QCHAIN_WALK_H */
