/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The refcounts of an image that nobody else has open: find clusters that are free, take them, give
 * them back.
 *
 * What is changed is on stable storage after qc_space_flush().  Functions return 0 or a negative
 * errno with the error set that was given at the start.
 */
#ifndef QCHAIN_SPACE_H
#define QCHAIN_SPACE_H

#include "header.h"

struct qc_space {
	struct qc_store *store;
	const struct qc_header *header;
	u64 *reftable;			/* big-endian */
	u64 reftable_entries;
	u8 *block;			/* the refcount block of ... */
	u64 index;			/* this entry of the table, at ... */
	u64 offset;			/* this place; 0: there is none, all of it is free */
	bool loaded, dirty;
	u64 next;			/* no cluster before this one is free */
	struct qc_error *err;
};

/*
 * @header: as it is in the image, and as long as @space is used.  -EUCLEAN for an image that is
 * marked dirty: its refcounts may be wrong.
 */
int qc_space_open(struct qc_space *space, struct qc_store *store, const struct qc_header *header,
		  struct qc_error *err);

/* What has not been flushed is forgotten.  Fine for one that is all zeroes. */
void qc_space_close(struct qc_space *space);

int qc_space_get(struct qc_space *space, u64 cluster, u64 *refcount);

/* Of a cluster that refcounts are there for; others are passed over. */
int qc_space_set(struct qc_space *space, u64 cluster, u64 refcount);

/*
 * The first of @count free clusters in a row that refcounts are there for, and that a block device
 * has room for; 0 in *@first: there are none.
 */
int qc_space_find(struct qc_space *space, u64 count, u64 *first);

/*
 * Take one free cluster: its refcount is set to one.  Many of them cost one search together.
 * -ENOSPC: the refcounts that there are cover none.
 */
int qc_space_take(struct qc_space *space, u64 *offset);

/* The first cluster behind all that are in use. */
int qc_space_end(struct qc_space *space, u64 *end);

int qc_space_flush(struct qc_space *space);

#endif /* QCHAIN_SPACE_H */
