/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Refcounts: specification section "Host cluster management".
 */
#ifndef QCHAIN_REFCOUNT_H
#define QCHAIN_REFCOUNT_H

#include "header.h"

/*
 * Refcount table entry: 0, or where the refcount block is. A block elsewhere than in a cluster of
 * its own would be written over something else.
 */
static inline bool qc_reftable_entry_sound(const struct qc_header *header, u64 entry)
{
	return entry % qc_cluster_size(header) == 0 && entry <= INT64_MAX;
}

/* The largest refcount that fits into the image's width. */
u64 qc_refcount_max(u32 refcount_order);

/* Entry @index of a refcount block, at any width from 1 to 64 bits. */
u64 qc_refcount_get(const void *block, u32 refcount_order, u32 index);
void qc_refcount_set(void *block, u32 refcount_order, u32 index, u64 value);

/*
 * Where a new refcount structure goes: a table of table_clusters clusters at cluster
 * "first", and behind it the blocks for everything up to their own end.
 */
struct qc_refcount_layout {
	u64 first;		/* cluster number */
	u64 table_clusters;
	u64 blocks;
	u64 end;		/* first cluster behind the last block */
};

/*
 * Lay out a refcount structure that covers clusters 0 ... @first - 1 and itself.
 * Returns 0, or -EFBIG when the table would be larger than QC_MAX_REFTABLE_BYTES.
 */
int qc_refcount_layout(const struct qc_header *header, u64 first,
		       struct qc_refcount_layout *layout);

/*
 * qc_refcount_build - write a new refcount structure.
 * @fill: sets the refcounts of clusters @first_cluster ... of one zeroed block that lie below
 * layout->first; called once per block in ascending order; 0 or a negative errno with @err set.
 * Writes blocks and table into the layout's clusters and flushes; nothing refers to them until the
 * caller has set the header's reftable_offset and reftable_clusters.
 */
int qc_refcount_build(struct qc_store *store, const struct qc_header *header,
		      const struct qc_refcount_layout *layout,
		      int (*fill)(void *ctx, void *block, u64 first_cluster,
				  struct qc_error *err),
		      void *ctx, struct qc_error *err);

#endif /* QCHAIN_REFCOUNT_H */
