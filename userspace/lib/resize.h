/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Change the virtual size of an image.
 */
#ifndef QCHAIN_RESIZE_H
#define QCHAIN_RESIZE_H

#include "chain.h"

/*
 * qc_grow - make a qcow2 image larger; what is new reads as zeroes.
 * @size: in bytes, rounded up to a sector; one that is not larger than now is no error.
 * @below: bytes that its backing file shows, 0 without one; where that is more than the image had
 *	it is hidden, on the terms of qc_zero_new()
 * The caller has the image locked for writing, and no kernel has metadata of it in memory that
 * it could write.  A crash at any point leaves the old or the new size, and may leave leaked
 * clusters.  Persistent bitmaps become out of date.
 * Returns 0, -ENOTSUP (version 2 with snapshots), -EFBIG (too large for the cluster size), -ENOSPC
 * (no room for a longer L1 table in what the refcounts cover), ...
 */
int qc_grow(struct qc_store *store, u64 size, u64 below, struct qc_error *err);

/*
 * qc_shrink - make a qcow2 image smaller.  What it had behind the new end is given up, and reads as
 * zeroes, or as what it is backed by, should the image grow again.  Internal snapshots keep theirs.
 * @size: in bytes, rounded up to a sector; one that is not smaller than now is no error.
 * On the same terms as qc_grow().  A crash may leave the old size with some of what was to be given
 * up gone already.
 * Returns 0, -ENOTSUP (version 2 with snapshots; the new end in a compressed cluster), -EUCLEAN
 * (damaged, or marked dirty), -ENOSPC (no free cluster for the copy of one that is shared), ...
 */
int qc_shrink(struct qc_store *store, u64 size, struct qc_error *err);

/*
 * qc_cut_behind_end - give up what an image has behind its end, as qc_shrink() does: the state of a
 * virtual machine, after a snapshot with one was applied.  @header is the image's, and kept up.
 */
int qc_cut_behind_end(struct qc_store *store, struct qc_header *header, struct qc_error *err);

/*
 * qc_resize_layer - one or the other, for an image of either format; the size of a raw one is that
 * of its file.  Errors as above; -ENOSPC for a device that is too small.
 * @below: as for qc_grow()
 */
int qc_resize_layer(struct qc_store *store, enum qc_format format, u64 size, u64 below,
		    struct qc_error *err);

#endif /* QCHAIN_RESIZE_H */
