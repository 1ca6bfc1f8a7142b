// SPDX-License-Identifier: GPL-2.0-or-later
/* Refcounts of all widths, and new refcount structures. */
#include <errno.h>

#include "refcount.h"

u64 qc_refcount_max(u32 order)
{
	return order == 6 ? ~0ULL : BIT_ULL(1 << order) - 1;
}

u64 qc_refcount_get(const void *block, u32 order, u32 index)
{
	const u8 *bytes = block;
	u32 width = 1U << order;

	switch (order) {
	case 3:
		return bytes[index];
	case 4:
		return qc_get_be16(bytes + 2 * (size_t)index);
	case 5:
		return qc_get_be32(bytes + 4 * (size_t)index);
	case 6:
		return qc_get_be64(bytes + 8 * (size_t)index);
	default:
		/* Below a byte, entry 0 is in the least significant bits. */
		return bytes[(size_t)index * width / 8] >> index * width % 8 &
		       qc_refcount_max(order);
	}
}

void qc_refcount_set(void *block, u32 order, u32 index, u64 value)
{
	u8 *bytes = block;
	u32 width = 1U << order;
	u32 shift;

	if (order >= 3) {
		/* Big-endian: the most significant byte comes first. */
		bytes += (size_t)index * (width / 8);
		for (u32 i = width / 8; i-- > 0; value >>= 8)
			bytes[i] = value;
		return;
	}
	bytes += (size_t)index * width / 8;
	shift = index * width % 8;
	*bytes = (*bytes & ~(qc_refcount_max(order) << shift)) | value << shift;
}

int qc_refcount_layout(const struct qc_header *h, u64 first, struct qc_refcount_layout *layout)
{
	u64 entries = qc_refblock_entries(h);
	u64 end = first;

	/* Blocks and table cover themselves too: grow both until they do. */
	layout->first = first;
	layout->blocks = 0;
	layout->table_clusters = 0;
	while (layout->blocks * entries < end) {
		layout->blocks = qc_div_round_up(end, entries);
		layout->table_clusters = qc_div_round_up(layout->blocks * sizeof(u64),
							 qc_cluster_size(h));
		end = first + layout->table_clusters + layout->blocks;
		if (layout->table_clusters << h->cluster_bits > QC_MAX_REFTABLE_BYTES)
			return -EFBIG;
	}
	layout->end = end;
	return 0;
}

int qc_refcount_build(struct qc_store *store, const struct qc_header *h,
		      const struct qc_refcount_layout *layout,
		      int (*fill)(void *ctx, void *block, u64 first_cluster,
				  struct qc_error *err),
		      void *ctx, struct qc_error *err)
{
	u64 entries = qc_refblock_entries(h);
	size_t table_bytes = layout->table_clusters << h->cluster_bits;
	u64 block_at = (layout->first + layout->table_clusters) << h->cluster_bits;
	CLEANUP_FREE u8 *table = calloc(1, table_bytes);
	CLEANUP_FREE u8 *block = malloc(qc_cluster_size(h));
	int ret;

	if (!table || !block)
		return qc_fail_nomem(err, store->path);

	for (u64 i = 0; i < layout->blocks; i++) {
		u64 start = i * entries;

		memset(block, 0, qc_cluster_size(h));
		ret = fill(ctx, block, start, err);
		if (ret < 0)
			return ret;
		for (u64 c = start; c < start + entries && c < layout->end; c++)
			if (c >= layout->first)
				qc_refcount_set(block, h->refcount_order, c - start, 1);
		qc_put_be64(table + i * sizeof(u64), block_at);
		ret = qc_store_write(store, block_at, block, qc_cluster_size(h), err);
		if (ret < 0)
			return ret;
		block_at += qc_cluster_size(h);
	}

	ret = qc_store_write(store, layout->first << h->cluster_bits, table, table_bytes, err);
	if (ret < 0)
		return ret;
	return qc_store_flush(store, err);
}
