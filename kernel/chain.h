/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A chain: the active layer, which may be written, over a backing: all the layers
 * below it, which only jobs change and which are therefore resolved as one.
 *
 *	backing.c	which backing layer owns what; one look-up for any depth
 *	copy.c		reads and writes through the chain that may sleep; copy on write
 *	io.c		what becomes of a bio: .map(), and the work that it defers
 */
#ifndef QCHAIN_CHAIN_H
#define QCHAIN_CHAIN_H

#include <linux/mempool.h>

#include "image.h"

struct qc_backing;

struct qc_chain {
	struct qc_image *top;
	struct qc_backing *backing;	/* NULL: none */
	u64 backing_size;		/* bytes; beyond, unallocated reads as zeroes */
	mempool_t gathers, pages;	/* copy.c */
};

/* ---- backing.c ---- */

/*
 * qc_backing_get - the backing made of @layers, topmost first.
 * Takes over the caller's references to the images.  Tables over the same layers share one
 * backing, unless one of these may be written.  Returns it, or ERR_PTR(-ENOMEM) (the references
 * are dropped).  Process context, sleeps.
 */
struct qc_backing *qc_backing_get(struct qc_image **layers, unsigned int count);

/* One more reference, for somebody who has one, in any context; drop one, which sleeps. */
struct qc_backing *qc_backing_ref(struct qc_backing *backing);
void qc_backing_put(struct qc_backing *backing);

/*
 * Virtual size of its topmost layer in bytes; how many layers; layer number @i, topmost 0.
 * Any context.
 */
u64 qc_backing_size(const struct qc_backing *backing);
unsigned int qc_backing_count(const struct qc_backing *backing);
struct qc_image *qc_backing_layer(const struct qc_backing *backing, unsigned int i);

/*
 * qc_backing_peek, qc_backing_lookup - what lies at @pos in the backing, as
 * qc_image_peek() and qc_image_lookup() say it; never UNALLOCATED.  @pos lies below
 * qc_backing_size().
 */
bool qc_backing_peek(struct qc_backing *backing, u64 pos, u64 len, struct qc_extent *extent);
int qc_backing_lookup(struct qc_backing *backing, u64 pos, u64 len, struct qc_extent *extent);

/*
 * qc_backing_lookup_upper - the same, in the first @count layers only: UNALLOCATED where none
 * of them has anything.  Behind the end of one of them they have zeroes.  Errors and context as
 * qc_image_lookup().
 */
int qc_backing_lookup_upper(struct qc_backing *backing, unsigned int count, u64 pos, u64 len,
			    struct qc_extent *extent);

/* Drop what is cached and clean, of the map and of all layers.  Process context, sleeps. */
void qc_backing_drop_clean(struct qc_backing *backing);

/* ---- copy.c ---- */

/*
 * Is what is looked up in @image to be used inside its in_flight domain?  All images that a device
 * writes have the same one: being inside that of the top layer is enough.
 */
static inline bool qc_image_tracked(const struct qc_image *image)
{
	return image->writable && image->format == QC_QCOW2;
}

/* Would unallocated clusters from @pos on show a backing file's data? */
static inline bool qc_chain_backed(const struct qc_chain *chain, u64 pos)
{
	return pos < chain->backing_size;
}

/*
 * qc_chain_lookup - what a read at @pos finds: never UNALLOCATED.
 * In a tracked top image the answer holds inside in_flight, or under a range lock.  Errors and
 * context as qc_image_lookup().
 */
int qc_chain_lookup(struct qc_chain *chain, u64 pos, u64 len, struct qc_extent *extent);

/*
 * qc_extent_read - read @iter.bi_size bytes, not more than @extent->len, of what was found at @pos;
 * other than DATA and COMPRESSED, zeroes.  As long as the look-up holds.  0, or a negative errno of
 * the store or of decompressing.  Process context, sleeps.
 */
int qc_extent_read(const struct qc_extent *extent, u64 pos, const struct bio_vec *bvec,
		   struct bvec_iter iter);

/*
 * Read @iter.bi_size bytes at @pos to the memory of @bvec, @iter.  Errors as qc_chain_lookup() and
 * qc_extent_read().  Process context, sleeps.
 */
int qc_chain_read(struct qc_chain *chain, u64 pos, const struct bio_vec *bvec,
		  struct bvec_iter iter);

/*
 * qc_chain_write - write @len bytes at @pos: those of @bvec, @iter, or zeroes when @bvec is NULL.
 * Allocates, copies on write.  On return the data is written and mapped, but not yet
 * on stable storage.  -ENOSPC: some part may be written; the call can be repeated.
 * Process context, sleeps, outside in_flight.
 */
int qc_chain_write(struct qc_chain *chain, u64 pos, u64 len, const struct bio_vec *bvec,
		   struct bvec_iter iter);

/*
 * What REQ_OP_DISCARD and REQ_OP_WRITE_ZEROES (@keep: with REQ_NOUNMAP) do.  As
 * qc_chain_write().
 */
int qc_chain_discard(struct qc_chain *chain, u64 pos, u64 len);
int qc_chain_zero(struct qc_chain *chain, u64 pos, u64 len, bool keep);

/*
 * qc_chain_pull - let the top image (qcow2, writable) have what the first @upper backing layers
 * have at @pos, a multiple of its cluster size.  Where it has something of its own already, and
 * where they have nothing, nothing happens; nor where what they have are zeroes and no layer is
 * below them.
 * @len: at most so much, not beyond the image's end; returns how much that was.
 * @reading: returns, on failure, whether that was of a read.
 * Races with nothing: other changes of the same clusters wait, and reads find the same bytes
 * before and after.  Returns 1 where the top image has got something, 0 where nothing happened;
 * errors and context as qc_chain_write().
 */
int qc_chain_pull(struct qc_chain *chain, unsigned int upper, u64 pos, u64 *len, bool *reading);

/* The memory that writes to the chain need to get on.  Process context, sleep.  -ENOMEM. */
int qc_chain_init(struct qc_chain *chain);
void qc_chain_exit(struct qc_chain *chain);

#endif /* QCHAIN_CHAIN_H */
