// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and writes through a chain that may sleep; copy on write.
 *
 * A write that cannot go where the data already is takes these steps, for as many
 * clusters at a time as lie in one L2 table and one run of host clusters:
 *
 *	range lock	no other slow change of these guest clusters
 *	allocate	refcounts up in memory; may wait for space, holding nothing but
 *			the range lock of this piece, which is dropped on -ENOSPC
 *	write		what the clusters held before around the new data, and the new
 *			data, in as few writes as the gathering below allows
 *	map		the L2 entries, in memory; the old host clusters are queued to be freed
 *	unlock
 *
 * A reader at any time finds either the old mapping or the new one, each complete.
 * Nothing is on stable storage before qc_commit().
 */
#include <linux/highmem.h>
#include <linux/slab.h>

#include "chain.h"
#include "compat.h"

#define GATHER_PAGES	64	/* copied at once: 256 KiB with 4 KiB pages */
#define GATHER_BVECS	64
#define RESERVE		2	/* gathers, and pages, kept for each chain */
#define WRITE_MAX	SZ_4M	/* range-locked at once */
#define SKIP_MIN	SZ_128K	/* zeroes that are there already and are not written */

/*
 * Pieces that follow each other in the store, written together: zeroes, copies of what
 * the chain holds, memory of a bio.  Pages are allocated when something is copied.  The first may
 * come from the reserve, and one page is enough to get on, so whoever waits for the reserve waits
 * for somebody who does.
 */
struct gather {
	struct qc_chain *chain;
	struct qc_store *store;
	u64 pos;		/* in the store, of the first piece not yet written */
	bool skip_zeroes;	/* the store reads as zeroes there already */
	bool write_failed;
	unsigned int len, nr, pages_used, nr_pages;
	struct bio_vec bvec[GATHER_BVECS];
	struct page *pages[GATHER_PAGES];
};

int qc_chain_lookup(struct qc_chain *chain, u64 pos, u64 len, struct qc_extent *extent)
{
	int error;

	error = qc_image_lookup(chain->top, pos, len, false, extent);
	if (error || extent->kind != QC_EXTENT_UNALLOCATED)
		return error;
	if (qc_chain_backed(chain, pos))
		return qc_backing_lookup(chain->backing, pos, extent->len, extent);
	extent->kind = QC_EXTENT_ZERO;
	return 0;
}

static void zero_bvecs(const struct bio_vec *bvec, struct bvec_iter iter)
{
	while (iter.bi_size) {
		struct bio_vec bv = bvec_iter_bvec(bvec, iter);

		memzero_bvec(&bv);
		bvec_iter_advance(bvec, &iter, bv.bv_len);
	}
}

int qc_extent_read(const struct qc_extent *extent, u64 pos, const struct bio_vec *bvec,
		   struct bvec_iter iter)
{
	switch (extent->kind) {
	case QC_EXTENT_DATA:
		return qc_store_rw_bvec(extent->image->store, REQ_OP_READ, extent->host, bvec,
					iter);
	case QC_EXTENT_COMPRESSED:
		return qc_decompress(extent->image, extent->entry,
				     qc_cluster_offset(extent->image, pos), bvec, iter);
	default:
		zero_bvecs(bvec, iter);
		return 0;
	}
}

int qc_chain_read(struct qc_chain *chain, u64 pos, const struct bio_vec *bvec,
		  struct bvec_iter iter)
{
	bool tracked = qc_image_tracked(chain->top);
	struct qc_extent extent;
	int error = 0, token = 0;

	while (iter.bi_size && !error) {
		struct bvec_iter part = iter;

		if (tracked)
			token = qc_in_flight_enter(chain->top->in_flight);
		error = qc_chain_lookup(chain, pos, iter.bi_size, &extent);
		if (!error) {
			part.bi_size = extent.len;
			error = qc_extent_read(&extent, pos, bvec, part);
		}
		if (tracked)
			qc_in_flight_leave(chain->top->in_flight, token);
		if (!error) {
			bvec_iter_advance(bvec, &iter, extent.len);
			pos += extent.len;
		}
	}
	return error;
}

static int gather_flush(struct gather *g)
{
	struct bvec_iter iter = { .bi_size = g->len };
	int error = 0;

	if (g->len)
		error = qc_store_rw_bvec(g->store, REQ_OP_WRITE, g->pos, g->bvec, iter);
	g->write_failed |= error;
	g->pos += g->len;
	g->len = 0;
	g->nr = 0;
	g->pages_used = 0;
	return error;
}

static int gather_page(struct gather *g, struct page *page, unsigned int len, unsigned int offset)
{
	int error = 0;

	if (g->nr == GATHER_BVECS)
		error = gather_flush(g);
	bvec_set_page(&g->bvec[g->nr++], page, len, offset);
	g->len += len;
	return error;
}

static int gather_zeroes(struct gather *g, u64 len)
{
	int error = 0;

	/* Small holes are filled: the fast path can overwrite later what is written now. */
	if (g->skip_zeroes && len >= SKIP_MIN) {
		error = gather_flush(g);
		g->pos += len;
		return error;
	}
	while (len && !error) {
		unsigned int n = min_t(u64, len, PAGE_SIZE);

		error = gather_page(g, ZERO_PAGE(0), n, 0);
		len -= n;
	}
	return error;
}

static int gather_bvecs(struct gather *g, const struct bio_vec *bvec, struct bvec_iter iter)
{
	int error = 0;

	while (iter.bi_size && !error) {
		struct bio_vec bv = mp_bvec_iter_bvec(bvec, iter);

		error = gather_page(g, bv.bv_page, bv.bv_len, bv.bv_offset);
		bvec_iter_advance(bvec, &iter, bv.bv_len);
	}
	return error;
}

/* Have one more page than are used now, if that is possible without waiting. */
static bool gather_more_pages(struct gather *g)
{
	struct page *page;

	if (g->pages_used < g->nr_pages)
		return true;
	if (g->nr_pages == GATHER_PAGES)
		return false;
	if (!g->nr_pages)
		page = mempool_alloc(&g->chain->pages, GFP_NOIO);
	else
		page = alloc_page(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
	if (page)
		g->pages[g->nr_pages++] = page;
	return page;
}

static void gather_free_pages(struct gather *g)
{
	while (g->nr_pages > 1)
		__free_page(g->pages[--g->nr_pages]);
	if (g->nr_pages)
		mempool_free(g->pages[0], &g->chain->pages);
}

/*
 * Read the first bytes of an extent into as many pages as there are, of which one is free; @len
 * returns how many bytes.
 */
static int gather_read(struct gather *g, const struct qc_extent *extent, u64 pos, u64 *len)
{
	unsigned int first = g->nr, n;
	struct bvec_iter iter = {};
	u64 left = *len;

	do {
		n = min_t(u64, left, PAGE_SIZE);
		bvec_set_page(&g->bvec[g->nr++], g->pages[g->pages_used++], n, 0);
		iter.bi_size += n;
		left -= n;
	} while (left && g->nr < GATHER_BVECS && gather_more_pages(g));
	g->len += iter.bi_size;
	*len = iter.bi_size;
	return qc_extent_read(extent, pos, &g->bvec[first], iter);
}

/* What the chain holds at @pos, in one extent. */
static int gather_copy(struct gather *g, const struct qc_extent *extent, u64 pos)
{
	struct qc_extent part = *extent;
	u64 end = pos + extent->len, len;
	int error = 0;

	for (; pos < end && !error; pos += len) {
		if (!gather_more_pages(g) || g->nr == GATHER_BVECS)
			error = gather_flush(g);
		if (error)
			break;
		len = end - pos;
		error = gather_read(g, &part, pos, &len);
		part.host += len;
		part.len -= len;
	}
	return error;
}

/* Gather the bytes that the chain shows at [@pos, @pos + @len); beyond its end, zeroes. */
static int gather_old(struct gather *g, struct qc_chain *chain, u64 pos, u64 len)
{
	struct qc_extent extent;
	int error = 0;

	while (len && !error) {
		if (pos >= chain->top->size)
			return gather_zeroes(g, len);
		/* The range lock keeps what is found here from being freed. */
		error = qc_chain_lookup(chain, pos, min(len, chain->top->size - pos), &extent);
		if (error)
			break;
		if (extent.kind == QC_EXTENT_ZERO)
			error = gather_zeroes(g, extent.len);
		else
			error = gather_copy(g, &extent, pos);
		pos += extent.len;
		len -= extent.len;
	}
	return error;
}

/* Clusters of the guest, and the run of host clusters that they get. */
struct place {
	u64 first, count;
	u64 host;
	bool fresh;		/* it reads as zeroes */
	bool read_failed;	/* set when old bytes could not be read */
};

/* Write all of the host clusters: new bytes at [@pos, @pos + @len), old ones around them. */
static int fill_clusters(struct qc_chain *chain, struct place *place, u64 pos, u64 len,
			 const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct qc_image *top = chain->top;
	u64 start = place->first << top->cluster_bits;
	u64 end = start + (place->count << top->cluster_bits);
	struct gather *g;
	int error, token;

	iter.bi_size = len;
	/* Nothing to gather. */
	if (bvec && pos == start && pos + len == end)
		return qc_store_rw_bvec(top->store, REQ_OP_WRITE, place->host, bvec, iter);
	g = mempool_alloc(&chain->gathers, GFP_NOIO);
	token = qc_in_flight_enter(top->in_flight);
	g->chain = chain;
	g->store = top->store;
	g->pos = place->host;
	g->skip_zeroes = place->fresh;
	g->len = 0;
	g->nr = 0;
	g->pages_used = 0;
	g->nr_pages = 0;
	g->write_failed = false;
	error = gather_old(g, chain, start, pos - start);
	if (!error)
		error = bvec ? gather_bvecs(g, bvec, iter) : gather_zeroes(g, len);
	if (!error)
		error = gather_old(g, chain, pos + len, end - (pos + len));
	if (!error)
		error = gather_flush(g);
	qc_in_flight_leave(top->in_flight, token);
	place->read_failed = error && !g->write_failed;
	gather_free_pages(g);
	mempool_free(g, &chain->gathers);
	return error;
}

/* fill_clusters(), and the guest clusters show them.  What is allocated and not shown is freed. */
static int fill_and_map(struct qc_chain *chain, struct place *place, bool allocated, u64 pos,
			u64 len, const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct qc_image *top = chain->top;
	u64 mapped = 0;
	int error;

	error = fill_clusters(chain, place, pos, len, bvec, iter);
	if (!error)
		error = qc_l2_change(top, QC_L2_MAP, place->first, place->count, place->host,
				     false, &mapped);
	if (error && allocated)
		qc_alloc_undo(top, place->host + (mapped << top->cluster_bits),
			      place->count - mapped);
	return error;
}

/*
 * Write into clusters that need a new place (or have a preallocated one); range-locked.
 * @len returns how much was written.
 */
static int write_new(struct qc_chain *chain, const struct qc_extent *extent, u64 pos, u64 *len,
		     const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct qc_image *top = chain->top;
	/* A zero cluster may have a host cluster of its own. */
	bool allocate = extent->kind != QC_EXTENT_ZERO || !extent->in_place;
	struct place place = { .first = pos >> top->cluster_bits, .count = 1 };
	int error;

	if (allocate) {
		place.count = ((pos + *len - 1) >> top->cluster_bits) - place.first + 1;
		error = qc_alloc_data(top, &place.count, &place.host, &place.fresh);
		if (error)
			return error;
	} else {
		place.host = extent->entry & QCOW2_OFFSET_MASK;
	}
	*len = min(*len, ((place.first + place.count) << top->cluster_bits) - pos);
	return fill_and_map(chain, &place, allocate, pos, *len, bvec, iter);
}

/* Where the data is already: just write. */
static int write_in_place(const struct qc_extent *extent, const struct bio_vec *bvec,
			  struct bvec_iter iter)
{
	struct qc_store *store = extent->image->store;

	if (!bvec)
		return qc_store_zero_range(store, extent->host, extent->len);
	iter.bi_size = extent->len;
	return qc_store_rw_bvec(store, REQ_OP_WRITE, extent->host, bvec, iter);
}

/* One piece: range-locked, within one L2 table.  @len: how much to write, and was written. */
static int write_piece(struct qc_chain *chain, u64 pos, u64 *len, const struct bio_vec *bvec,
		       struct bvec_iter iter)
{
	struct qc_image *top = chain->top;
	u64 table = BIT_ULL(top->l2_bits + top->cluster_bits);
	struct qc_extent extent;
	struct qc_range range;
	int error, token;

	*len = min3(*len, (u64)WRITE_MAX, table - (pos & (table - 1)));
	qc_range_lock(&top->ranges, &range, pos >> top->cluster_bits,
		      (pos + *len - 1) >> top->cluster_bits);
	token = qc_in_flight_enter(top->in_flight);
	error = qc_image_lookup(top, pos, *len, true, &extent);
	qc_in_flight_leave(top->in_flight, token);
	if (!error) {
		*len = extent.len;
		if (extent.kind == QC_EXTENT_DATA && extent.in_place)
			error = write_in_place(&extent, bvec, iter);
		else
			error = write_new(chain, &extent, pos, len, bvec, iter);
	}
	qc_range_unlock(&top->ranges, &range);
	return error;
}

static int raw_write(struct qc_image *top, u64 pos, u64 len, const struct bio_vec *bvec,
		     struct bvec_iter iter)
{
	struct qc_extent extent;
	int error = qc_image_lookup(top, pos, len, true, &extent);

	return error ?: write_in_place(&extent, bvec, iter);
}

int qc_chain_write(struct qc_chain *chain, u64 pos, u64 len, const struct bio_vec *bvec,
		   struct bvec_iter iter)
{
	struct qc_image *top = chain->top;
	int error = 0;

	if (top->format == QC_RAW)
		return raw_write(top, pos, len, bvec, iter);
	while (len && !error) {
		u64 piece = len;

		error = qc_commit_throttle(top);
		if (!error)
			error = write_piece(chain, pos, &piece, bvec, iter);
		if (error)
			break;
		if (bvec)
			bvec_iter_advance(bvec, &iter, piece);
		pos += piece;
		len -= piece;
	}
	return error;
}

/* Change whole clusters, at most up to the end of an L2 table and of the backing. */
static int change_piece(struct qc_chain *chain, enum qc_l2_change what, u64 first, u64 *count)
{
	struct qc_image *top = chain->top;
	u64 backed_end = DIV_ROUND_UP_ULL(chain->backing_size, qc_cluster_size(top));
	struct qc_range range;
	bool backed;
	u64 done;
	int error;

	/*
	 * The next table's backing may be longer, as that below a streamed layer is. Where that has
	 * been looked at already version 2 must not have unallocated clusters again.
	 */
	if (top->version < 3 && chain->backing)
		backed_end = U64_MAX;
	backed = first < backed_end;
	*count = min(*count, BIT_ULL(top->l2_bits) - (first & (BIT_ULL(top->l2_bits) - 1)));
	if (backed)
		*count = min(*count, backed_end - first);
	qc_range_lock(&top->ranges, &range, first, first + *count - 1);
	error = qc_l2_change(top, what, first, *count, 0, backed, &done);
	qc_range_unlock(&top->ranges, &range);
	return error;
}

/* Zeroes into a part of a cluster, unless it reads as zeroes already. */
static int zero_part(struct qc_chain *chain, u64 pos, u64 len)
{
	struct bvec_iter none = {};
	struct qc_extent extent;
	int error, token;

	while (len) {
		token = qc_in_flight_enter(chain->top->in_flight);
		error = qc_chain_lookup(chain, pos, len, &extent);
		qc_in_flight_leave(chain->top->in_flight, token);
		if (!error && extent.kind != QC_EXTENT_ZERO)
			error = qc_chain_write(chain, pos, extent.len, NULL, none);
		if (error)
			return error;
		pos += extent.len;
		len -= extent.len;
	}
	return 0;
}

/* The whole clusters in [@pos, @pos + @len); the cut-off last one of the disk is whole. */
static void whole_clusters(const struct qc_image *top, u64 pos, u64 len, u64 *first, u64 *end)
{
	*first = (pos + qc_cluster_size(top) - 1) >> top->cluster_bits;
	*end = (pos + len) >> top->cluster_bits;
	if (pos + len >= top->size)
		*end = (top->size + qc_cluster_size(top) - 1) >> top->cluster_bits;
}

int qc_chain_discard(struct qc_chain *chain, u64 pos, u64 len)
{
	struct qc_image *top = chain->top;
	u64 cluster, end, count;
	int error = 0;

	if (top->format == QC_RAW && !top->discard_passdown)
		return 0;
	if (top->format == QC_RAW) {
		error = qc_store_discard(top->store, pos, len);
		return error == -EOPNOTSUPP ? 0 : error;
	}
	whole_clusters(top, pos, len, &cluster, &end);
	for (; cluster < end && !error; cluster += count) {
		count = end - cluster;
		error = qc_commit_throttle(top);
		if (!error)
			error = change_piece(chain, QC_L2_DISCARD, cluster, &count);
		/* Version 2 cannot hide a backing file's data: the hint is not taken. */
		if (error == -EOPNOTSUPP)
			error = 0;
	}
	return error;
}

int qc_chain_zero(struct qc_chain *chain, u64 pos, u64 len, bool keep)
{
	struct qc_image *top = chain->top;
	u64 size = qc_cluster_size(top), cluster, end, count, start;
	int error = 0;

	if (top->format == QC_RAW)
		return qc_store_zero_range(top->store, pos, len);
	whole_clusters(top, pos, len, &cluster, &end);
	if (cluster >= end)
		return zero_part(chain, pos, len);

	start = cluster << top->cluster_bits;
	if (pos < start)
		error = zero_part(chain, pos, start - pos);
	for (; cluster < end && !error; cluster += count) {
		count = end - cluster;
		error = qc_commit_throttle(top);
		if (!error)
			error = change_piece(chain, keep ? QC_L2_ZERO_KEEP : QC_L2_ZERO, cluster,
					     &count);
		if (error == -EOPNOTSUPP) {
			start = cluster << top->cluster_bits;
			error = zero_part(chain, start,
					  min(count * size, top->size - start));
		}
	}
	if (!error && end * size < pos + len)
		error = zero_part(chain, end * size, pos + len - end * size);
	return error;
}

/* Clusters of the backing's bytes for unallocated ones; range-locked. */
static int pull_data(struct qc_chain *chain, u64 first, u64 *count, bool *reading)
{
	struct place place = { .first = first, .count = *count };
	struct bvec_iter none = {};
	int error;

	error = qc_alloc_data(chain->top, &place.count, &place.host, &place.fresh);
	if (error)
		return error;
	*count = place.count;
	error = fill_and_map(chain, &place, true, first << chain->top->cluster_bits, 0, NULL, none);
	*reading = place.read_failed;
	return error;
}

/* Zero clusters for unallocated ones, or clusters full of zeroes where there are none. */
static int pull_zeroes(struct qc_chain *chain, u64 first, u64 *count, bool *reading)
{
	u64 done;
	int error = qc_l2_change(chain->top, QC_L2_ZERO, first, *count, 0, true, &done);

	return error == -EOPNOTSUPP ? pull_data(chain, first, count, reading) : error;
}

/* What the layers have for clusters @first...: the kind, for *@count clusters. */
static int look_up_upper(struct qc_chain *chain, unsigned int upper, u64 first, u64 *count,
			 enum qc_extent_kind *kind)
{
	unsigned int bits = chain->top->cluster_bits;
	u64 pos = first << bits, len = min(*count << bits, chain->top->size - pos), done = 0;
	struct qc_extent extent;
	int error;

	/* Smaller clusters below: data in any part of a cluster is data. */
	for (;;) {
		error = qc_backing_lookup_upper(chain->backing, upper, pos + done, len - done,
						&extent);
		if (error)
			return error;
		if (extent.kind == QC_EXTENT_COMPRESSED)
			extent.kind = QC_EXTENT_DATA;
		if (!done)
			*kind = extent.kind;
		else if (*kind != extent.kind && done >> bits)
			break;
		else if (*kind != extent.kind)
			*kind = QC_EXTENT_DATA;
		done += extent.len;
		if (done >= len || (*kind == QC_EXTENT_DATA && done >> bits))
			break;
	}
	*count = done >= len ? (len + BIT_ULL(bits) - 1) >> bits : done >> bits;
	return 0;
}

/* One piece: range-locked, within one L2 table.  1: the top image has got something. */
static int pull_piece(struct qc_chain *chain, unsigned int upper, u64 first, u64 *count,
		      bool *reading)
{
	struct qc_image *top = chain->top;
	u64 pos = first << top->cluster_bits;
	enum qc_extent_kind kind;
	struct qc_extent extent;
	int error, token;

	*reading = true;
	token = qc_in_flight_enter(top->in_flight);
	error = qc_image_lookup(top, pos, min(*count << top->cluster_bits, top->size - pos), false,
				&extent);
	if (!error) {
		*count = DIV_ROUND_UP_ULL(extent.len, qc_cluster_size(top));
		kind = QC_EXTENT_UNALLOCATED;
		if (extent.kind == QC_EXTENT_UNALLOCATED)
			error = look_up_upper(chain, upper, first, count, &kind);
	}
	qc_in_flight_leave(top->in_flight, token);
	if (error || kind == QC_EXTENT_UNALLOCATED)
		return error;
	*reading = false;
	if (kind == QC_EXTENT_DATA)
		return pull_data(chain, first, count, reading) ?: 1;
	if (upper == qc_backing_count(chain->backing))
		return 0;
	return pull_zeroes(chain, first, count, reading) ?: 1;
}

int qc_chain_pull(struct qc_chain *chain, unsigned int upper, u64 pos, u64 *len, bool *reading)
{
	struct qc_image *top = chain->top;
	u64 first = pos >> top->cluster_bits;
	u64 in_table = BIT_ULL(top->l2_bits) - (first & (BIT_ULL(top->l2_bits) - 1));
	u64 count = min3(DIV_ROUND_UP_ULL(*len, qc_cluster_size(top)), in_table,
			 max_t(u64, WRITE_MAX >> top->cluster_bits, 1));
	struct qc_range range;
	int ret;

	if (!upper)
		return 0;
	qc_range_lock(&top->ranges, &range, first, first + count - 1);
	ret = pull_piece(chain, upper, first, &count, reading);
	qc_range_unlock(&top->ranges, &range);
	*len = min(*len, count << top->cluster_bits);
	return ret;
}

int qc_chain_init(struct qc_chain *chain)
{
	int error = mempool_init_page_pool(&chain->pages, RESERVE, 0);

	if (!error)
		error = mempool_init_kmalloc_pool(&chain->gathers, RESERVE, sizeof(struct gather));
	return error;
}

void qc_chain_exit(struct qc_chain *chain)
{
	mempool_exit(&chain->gathers);
	mempool_exit(&chain->pages);
}
