/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image is going to be longer than it is, and shorter than what is below it. */
#ifndef QCHAIN_ZERO_NEW_H
#define QCHAIN_ZERO_NEW_H

#include "space.h"

/*
 * qc_zero_new - have what is between the end of an image and @end read as zeroes, once the image is
 * larger, whatever is below it.
 * @space: of the image, which is sound, and whose L1 table reaches to @end.  That lies where the
 *	header in memory has it; the one in the image need not yet.
 * @end: in bytes
 * @shared: where an L2 table lies that the L1 table refers to no longer, but something else does;
 *	0: there is none.  Its refcount is for the caller to lower, after the header is written.
 * Nobody sees a difference before the header has the new size.  A crash leaves leaked clusters at
 * worst.  Returns 0, -ENOTSUP (version 2; an end within a cluster that the image does not have,
 * that is compressed or that a snapshot has, too), -ENOSPC (no room for an L2 table in what the
 * refcounts cover), -EUCLEAN (damaged), ...
 */
int qc_zero_new(struct qc_space *space, u64 end, u64 *shared, struct qc_error *err);

#endif /* QCHAIN_ZERO_NEW_H */
