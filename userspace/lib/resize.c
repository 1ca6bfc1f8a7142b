// SPDX-License-Identifier: GPL-2.0-or-later
/* Larger images: a longer L1 table, and zero clusters, where they are needed; then the header. */
#include <errno.h>

#include "check.h"
#include "resize.h"
#include "space.h"
#include "zero-new.h"

struct run {
	u64 first, count;		/* clusters */
};

struct growing {
	struct qc_store *store;
	struct qc_header *header;
	struct qc_space space;
	struct qc_error *err;
};

/* Set, or lower by one, the refcounts of clusters; on stable storage when this returns 0. */
static int count_clusters(struct growing *g, const struct run *run, bool set)
{
	u64 refcount;
	int ret = 0;

	if (!run->count)
		return 0;
	for (u64 cluster = run->first; cluster < run->first + run->count && !ret; cluster++) {
		ret = qc_space_get(&g->space, cluster, &refcount);
		if (!ret)
			ret = qc_space_set(&g->space, cluster, set ? 1 :
					   refcount ? refcount - 1 : 0);
	}
	return ret ? ret : qc_space_flush(&g->space);
}

static int no_room(const struct growing *g)
{
	return qc_fail(g->err, ENOSPC, g->store->path, "grow it with qemu-img resize, detached",
		       "there is no room for a longer L1 table");
}

/* Have the L1 table, with zeroes behind it, in clusters @first ... */
static int write_l1(struct growing *g, u64 first, u64 entries)
{
	u32 cluster = qc_cluster_size(g->header);
	u64 bytes = qc_round_up(entries * sizeof(u64), cluster);
	CLEANUP_FREE u8 *table = calloc(1, bytes);
	int ret;

	if (!table)
		return qc_fail_nomem(g->err, g->store->path);
	ret = qc_store_read(g->store, g->header->l1_offset, table,
			    g->header->l1_size * sizeof(u64), g->err);
	if (!ret)
		ret = qc_store_write(g->store, first * cluster, table, bytes, g->err);
	return ret ? ret : qc_store_flush(g->store, g->err);
}

/*
 * A longer L1 table; the header in memory gets it.  The clusters of the old one stay as they are:
 * somebody may read the image by the header that he has read.  @new: those of the new one, if it
 * had to be moved.
 */
static int lengthen_l1(struct growing *g, u64 entries, struct run *old, struct run *new)
{
	struct qc_header *h = g->header;
	u32 cluster = qc_cluster_size(h);
	u64 have = qc_div_round_up(h->l1_size * sizeof(u64), cluster);
	u64 need = qc_div_round_up(entries * sizeof(u64), cluster);
	u64 first = h->l1_offset / cluster;
	int ret = 0;

	if (need > have) {
		*old = (struct run){ first, have };
		ret = qc_space_find(&g->space, need, &first);
		if (!ret && !first)
			ret = no_room(g);
		if (ret < 0)
			return ret;
		*new = (struct run){ first, need };
		ret = count_clusters(g, new, true);
	}
	if (!ret)
		ret = write_l1(g, first, entries);
	h->l1_offset = first * cluster;
	h->l1_size = entries;
	return ret;
}

/* The new L1 table, to which no header refers, as something has failed before that. */
static void give_back(struct growing *g, const struct run *new)
{
	struct qc_error *err = g->space.err;

	g->space.err = NULL;
	count_clusters(g, new, false);
	g->space.err = err;
}

static int grow(struct growing *g, u64 size, u64 below)
{
	struct qc_header *h = g->header;
	u64 entries = qc_div_round_up(size, (u64)qc_l2_entries(h) * qc_cluster_size(h));
	struct run old = { 0 }, new = { 0 }, table;
	bool hide = below > h->size;
	u64 shared = 0;
	int ret = 0;

	if (entries * sizeof(u64) > QC_MAX_L1_BYTES)
		return qc_fail(g->err, EFBIG, g->store->path, "make an image with larger clusters",
			       "%llu bytes are too many for its cluster size", size);
	if (h->version < 3 && h->nb_snapshots)
		return qc_fail(g->err, ENOTSUP, g->store->path,
			       "qemu-img amend -o compat=1.1 makes it version 3",
			       "an image of version 2 with snapshots cannot be grown");
	ret = qc_space_open(&g->space, g->store, h, g->err);
	if (!ret && hide)
		ret = qc_check_sound(g->store, h, g->err);
	if (!ret)
		ret = qc_header_begin_change(h, QC_AUTOCLEAR_BITMAPS, g->store, g->err);
	if (!ret && entries > h->l1_size)
		ret = lengthen_l1(g, entries, &old, &new);
	if (!ret && hide)
		ret = qc_zero_new(&g->space, below < size ? below : size, &shared, g->err);
	if (ret < 0) {
		give_back(g, &new);
		return ret;
	}
	table = (struct run){ shared >> h->cluster_bits, !!shared };
	h->size = size;
	ret = qc_header_write(h, g->store, g->err);
	if (!ret)
		ret = count_clusters(g, &old, false);
	return ret ? ret : count_clusters(g, &table, false);
}

int qc_grow(struct qc_store *store, u64 size, u64 below, struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *header = NULL;
	struct growing g = { .store = store, .err = err };
	int ret = qc_header_read(store, &header, err);

	size = qc_round_up(size, QC_SECTOR_SIZE);
	if (ret < 0 || size <= header->size)
		return ret;
	ret = qc_cut_behind_end(store, header, err);
	if (ret < 0)
		return ret;
	g.header = header;
	ret = grow(&g, size, below);
	qc_space_close(&g.space);
	return ret;
}

int qc_resize_layer(struct qc_store *store, enum qc_format format, u64 size, u64 below,
		    struct qc_error *err)
{
	u64 now;
	int ret;

	if (format == QC_FORMAT_QCOW2) {
		ret = qc_shrink(store, size, err);
		return ret ? ret : qc_grow(store, size, below, err);
	}
	ret = qc_store_size(store, &now, err);
	if (ret || size == now)
		return ret;
	ret = qc_store_resize(store, size, err);
	return ret ? ret : qc_store_flush(store, err);
}
