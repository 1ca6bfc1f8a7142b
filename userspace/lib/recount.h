/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Change many refcounts at once: the changed refcount blocks and the refcount table are written
 * to free clusters, and the header's new reftable_offset and reftable_clusters put them to use.
 * Until then the image is as it was, with the refcounts that it had.
 */
#ifndef QCHAIN_RECOUNT_H
#define QCHAIN_RECOUNT_H

#include "header.h"

struct qc_recount;

/*
 * @store, @header: stay the caller's and in use until qc_recount_free().  @header is of an image
 * that is not marked dirty or corrupt.  All that is in use is to be looked at, by expect, raise or
 * lower, before qc_recount_alloc() hands out what its refcount says is free.
 * Functions return 0, -EINVAL (a refcount is too small, malformed, or does not fit), -ENOSPC (a
 * device is full), -EFBIG (the refcount table would be), -EIO etc.
 */
int qc_recount_new(struct qc_store *store, const struct qc_header *header,
		   struct qc_recount **recount, struct qc_error *err);
void qc_recount_free(struct qc_recount *recount);
void qc_cleanup_recount(struct qc_recount **recount);
#define CLEANUP_RECOUNT __attribute__((cleanup(qc_cleanup_recount)))

/* What the refcount of a host cluster is by now. */
int qc_recount_get(struct qc_recount *recount, u64 cluster, u64 *value, struct qc_error *err);

/* Fails when a cluster that bytes @offset ... touch has no reference. */
int qc_recount_expect(struct qc_recount *recount, u64 offset, u64 len, struct qc_error *err);

/* One reference to bytes @offset ... more, or fewer: of each cluster that they touch. */
int qc_recount_raise(struct qc_recount *recount, u64 offset, u64 len, struct qc_error *err);
int qc_recount_lower(struct qc_recount *recount, u64 offset, u64 len, struct qc_error *err);

/*
 * Clusters in a row for @len bytes, with one reference.  They were free before all changes, so they
 * can be written at once.
 */
int qc_recount_alloc(struct qc_recount *recount, u64 len, u64 *offset, struct qc_error *err);

/*
 * Write everything, without a flush, and let @header name it: the caller flushes, writes the header
 * and flushes again.  No other function but qc_recount_free() may follow.
 */
int qc_recount_write(struct qc_recount *recount, struct qc_header *header, struct qc_error *err);

#endif /* QCHAIN_RECOUNT_H */
