// SPDX-License-Identifier: GPL-2.0-or-later
/* Larger images: a longer L1 table where it is needed, and the header. */
#include <errno.h>

#include "entry.h"
#include "refcount.h"
#include "resize.h"
#include "walk.h"

struct growing {
	struct qc_store *store;
	struct qc_header *header;
	u64 *reftable;		/* big-endian */
	u64 reftable_entries;
	u8 *block;		/* a refcount block */
	struct qc_error *err;
};

static int read_block(struct growing *g, u64 index, u64 *offset)
{
	*offset = be64toh(g->reftable[index]) & QC_REFTABLE_OFFSET_MASK;
	return *offset ? qc_store_read(g->store, *offset, g->block, qc_cluster_size(g->header),
				       g->err) : 0;
}

/* The first of @count free clusters in a row that refcounts are there for; 0 in *@first: none. */
static int find_free(struct growing *g, u64 count, u64 *first)
{
	u32 entries = qc_refblock_entries(g->header);
	u64 run = 0, offset, room;
	int ret;

	*first = 0;
	ret = qc_store_size(g->store, &room, g->err);
	if (ret < 0)
		return ret;
	room = g->store->is_bdev ? room / qc_cluster_size(g->header) : UINT64_MAX;
	for (u64 i = 0; i < g->reftable_entries; i++) {
		ret = read_block(g, i, &offset);
		if (ret < 0)
			return ret;
		for (u32 j = 0; j < entries; j++) {
			u64 cluster = i * entries + j;

			if (!offset || cluster >= room ||
			    qc_refcount_get(g->block, g->header->refcount_order, j))
				run = 0;
			else
				run++;
			if (run == count) {
				*first = cluster - count + 1;
				return 0;
			}
		}
	}
	return 0;
}

/* Set, or lower by one, the refcounts of clusters; on stable storage when this returns 0. */
static int count_clusters(struct growing *g, u64 first, u64 count, bool set)
{
	u32 order = g->header->refcount_order, entries = qc_refblock_entries(g->header);
	u64 offset;
	int ret = 0;

	for (u64 cluster = first; cluster < first + count && !ret; cluster++) {
		u64 value;

		if (cluster / entries >= g->reftable_entries)
			break;
		ret = read_block(g, cluster / entries, &offset);
		if (ret < 0 || !offset)
			break;
		value = qc_refcount_get(g->block, order, cluster % entries);
		qc_refcount_set(g->block, order, cluster % entries, set ? 1 :
				value ? value - 1 : 0);
		ret = qc_store_write(g->store, offset, g->block, qc_cluster_size(g->header),
				     g->err);
	}
	return ret ? ret : qc_store_flush(g->store, g->err);
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

/* A place for @entries of the L1 table; the header in memory gets it. */
static int lengthen_l1(struct growing *g, u64 entries, u64 *old_first, u64 *old_count)
{
	u32 cluster = qc_cluster_size(g->header);
	u64 have = qc_div_round_up(g->header->l1_size * sizeof(u64), cluster);
	u64 need = qc_div_round_up(entries * sizeof(u64), cluster);
	u64 first = g->header->l1_offset / cluster;
	int ret;

	*old_count = 0;
	if (need > have) {
		*old_first = first;
		*old_count = have;
		ret = find_free(g, need, &first);
		if (!ret && !first)
			ret = no_room(g);
		if (!ret)
			ret = count_clusters(g, first, need, true);
		if (ret < 0)
			return ret;
	}
	ret = write_l1(g, first, entries);
	g->header->l1_offset = first * cluster;
	g->header->l1_size = entries;
	return ret;
}

static int grow(struct growing *g, u64 size)
{
	struct qc_header *h = g->header;
	u64 entries = qc_div_round_up(size, (u64)qc_l2_entries(h) * qc_cluster_size(h));
	u64 old_first = 0, old_count = 0;
	int ret = 0;

	if (entries * sizeof(u64) > QC_MAX_L1_BYTES)
		return qc_fail(g->err, EFBIG, g->store->path, "make an image with larger clusters",
			       "%llu bytes are too many for its cluster size", size);
	if (h->version < 3 && h->nb_snapshots)
		return qc_fail(g->err, ENOTSUP, g->store->path,
			       "qemu-img amend -o compat=1.1 makes it version 3",
			       "an image of version 2 with snapshots cannot be grown");
	g->block = malloc(qc_cluster_size(h));
	g->reftable_entries = (u64)h->reftable_clusters * qc_cluster_size(h) / sizeof(u64);
	if (!g->block)
		return qc_fail_nomem(g->err, g->store->path);
	ret = qc_read_table(g->store, h->reftable_offset, g->reftable_entries, &g->reftable,
			    g->err);
	if (!ret && entries > h->l1_size)
		ret = lengthen_l1(g, entries, &old_first, &old_count);
	h->size = size;
	h->autoclear &= ~QC_AUTOCLEAR_BITMAPS;
	if (!ret)
		ret = qc_header_write(h, g->store, g->err);
	if (!ret && old_count)
		ret = count_clusters(g, old_first, old_count, false);
	return ret;
}

int qc_grow(struct qc_store *store, u64 size, struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *header = NULL;
	struct growing g = { .store = store, .err = err };
	int ret = qc_header_read(store, &header, err);

	size = qc_round_up(size, QC_SECTOR_SIZE);
	if (ret < 0 || size <= header->size)
		return ret;
	g.header = header;
	ret = grow(&g, size);
	free(g.block);
	free(g.reftable);
	return ret;
}

int qc_grow_layer(struct qc_store *store, enum qc_format format, u64 size, struct qc_error *err)
{
	u64 now;
	int ret;

	if (format == QC_FORMAT_QCOW2)
		return qc_grow(store, size, err);
	ret = qc_store_size(store, &now, err);
	if (ret || size <= now)
		return ret;
	ret = qc_store_resize(store, size, err);
	return ret ? ret : qc_store_flush(store, err);
}
