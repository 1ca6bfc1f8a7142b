// SPDX-License-Identifier: GPL-2.0-or-later
/* Visit every reference to a host cluster. */
#include <errno.h>
#include <stdio.h>

#include "bitmap.h"
#include "entry.h"
#include "refcount.h"
#include "snapshots.h"
#include "walk.h"

const char *qc_use_name(enum qc_use use)
{
	static const char *const names[] = {
		[QC_USE_NONE] = "nothing",
		[QC_USE_HEADER] = "header",
		[QC_USE_REFTABLE] = "refcount table",
		[QC_USE_REFBLOCK] = "refcount block",
		[QC_USE_L1] = "L1 table",
		[QC_USE_L2] = "L2 table",
		[QC_USE_DATA] = "data",
		[QC_USE_COMPRESSED] = "compressed data",
		[QC_USE_SNAPSHOTS] = "snapshot table",
		[QC_USE_BITMAP_DIRECTORY] = "bitmap directory",
		[QC_USE_BITMAP_TABLE] = "bitmap table",
		[QC_USE_BITMAP] = "bitmap data",
	};

	return names[use];
}

static void bad(struct qc_walk *w, enum qc_use use, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void bad(struct qc_walk *w, enum qc_use use, const char *fmt, ...)
{
	char message[256] = "";
	va_list args;

	if (!w->terse) {
		va_start(args, fmt);
		vsnprintf(message, sizeof(message), fmt, args);
		va_end(args);
	}
	w->bad(w, use, message);
}

int qc_read_table(const struct qc_store *store, u64 offset, u64 count, u64 **table,
		  struct qc_error *err)
{
	CLEANUP_FREE u64 *entries = malloc(count ? count * sizeof(u64) : 1);
	int ret;

	if (!entries)
		return qc_fail_nomem(err, store->path);
	ret = qc_store_read(store, offset, entries, count * sizeof(u64), err);
	if (ret < 0)
		return ret;
	*table = qc_steal(entries);
	return 0;
}

static bool misaligned(const struct qc_walk *w, u64 offset)
{
	return offset & (qc_cluster_size(w->header) - 1);
}

/* State of the walk over one L1 table. */
struct mapping {
	struct qc_walk *walk;
	bool active;
	u64 *l2;		/* buffer for one table */
	u64 next;		/* where the table's next data cluster would not be a fragment */
};

static int walk_compressed(struct mapping *m, u64 entry, u64 l2_offset, u32 index)
{
	struct qc_walk *w = m->walk;
	u64 offset, len;

	/* "This information is only accurate in L2 tables reachable from the active L1 table." */
	if (m->active && entry & QC_COPIED)
		bad(w, QC_USE_COMPRESSED,
		    "entry %u of the L2 table at 0x%llx (0x%016llx) is compressed and has the copied flag",
		    index, l2_offset, entry);
	if (!qc_compressed_extent(w->header, entry, &offset, &len)) {
		bad(w, QC_USE_COMPRESSED,
		    "entry %u of the L2 table at 0x%llx (0x%016llx) has an offset beyond 56 bits",
		    index, l2_offset, entry);
		return 0;
	}
	if (m->active) {
		w->allocated++;
		w->compressed++;
		w->fragmented++;	/* as qemu-img counts */
	}
	return w->use(w, QC_USE_COMPRESSED, offset, len);
}

static int walk_standard(struct mapping *m, u64 entry, u64 l2_offset, u32 index)
{
	struct qc_walk *w = m->walk;
	u64 offset = entry & QC_OFFSET_MASK;

	if (entry & qc_l2_reserved(w->header))
		bad(w, QC_USE_DATA,
		    "entry %u of the L2 table at 0x%llx (0x%016llx) has reserved bits set",
		    index, l2_offset, entry);
	if (!offset) {
		if (m->active && entry & QC_COPIED)
			bad(w, QC_USE_DATA,
			    "entry %u of the L2 table at 0x%llx (0x%016llx) has the copied flag but no cluster",
			    index, l2_offset, entry);
		return 0;
	}
	if (misaligned(w, offset)) {
		bad(w, QC_USE_DATA,
		    "entry %u of the L2 table at 0x%llx (0x%016llx) is not aligned to a cluster",
		    index, l2_offset, entry);
		return 0;
	}
	if (m->active) {
		w->allocated++;
		if (m->next && m->next != offset)
			w->fragmented++;
		m->next = offset + qc_cluster_size(w->header);
	}
	return w->use(w, QC_USE_DATA, offset, qc_cluster_size(w->header));
}

static int walk_l2(struct mapping *m, u64 l2_offset, struct qc_error *err)
{
	struct qc_walk *w = m->walk;
	int ret;

	ret = qc_store_read(w->store, l2_offset, m->l2, qc_cluster_size(w->header), err);
	if (ret < 0)
		return ret;
	m->next = 0;
	for (u32 i = 0; i < qc_l2_entries(w->header); i++) {
		u64 entry = be64toh(m->l2[i]);

		if (!entry)
			continue;
		if (entry & QC_COMPRESSED)
			ret = walk_compressed(m, entry, l2_offset, i);
		else
			ret = walk_standard(m, entry, l2_offset, i);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int qc_walk_l1(struct qc_walk *w, const char *snapshot, u64 l1_offset, u32 l1_size,
	       struct qc_error *err)
{
	const char *of = snapshot ? " of snapshot " : "", *name = snapshot ? snapshot : "";
	struct mapping m = { .walk = w, .active = !snapshot };
	CLEANUP_FREE u64 *l1 = NULL;
	CLEANUP_FREE u64 *l2 = NULL;
	int ret;

	if (!l1_size)
		return 0;
	ret = w->use(w, QC_USE_L1, l1_offset, l1_size * sizeof(u64));
	if (ret)
		return ret < 0 ? ret : 0;
	ret = qc_read_table(w->store, l1_offset, l1_size, &l1, err);
	if (ret < 0)
		return ret;
	l2 = malloc(qc_cluster_size(w->header));
	if (!l2)
		return qc_fail_nomem(err, w->store->path);
	m.l2 = l2;

	for (u32 i = 0; i < l1_size; i++) {
		u64 entry = be64toh(l1[i]);
		u64 l2_offset = entry & QC_OFFSET_MASK;

		if (entry & QC_L1_RESERVED)
			bad(w, QC_USE_L2,
			    "entry %u of the L1 table%s%s (0x%016llx) has reserved bits set", i, of,
			    name, entry);
		if (!l2_offset)
			continue;
		if (misaligned(w, l2_offset)) {
			bad(w, QC_USE_L2,
			    "entry %u of the L1 table%s%s (0x%016llx) is not aligned to a cluster",
			    i, of, name, entry);
			continue;
		}
		ret = w->use(w, QC_USE_L2, l2_offset, qc_cluster_size(w->header));
		if (!ret)
			ret = walk_l2(&m, l2_offset, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int walk_snapshots(struct qc_walk *w, struct qc_error *err)
{
	CLEANUP_SNAPSHOTS struct qc_snapshots snapshots = { 0 };
	int ret;

	ret = qc_snapshots_read(w->store, w->header, &snapshots, err);
	if (ret < 0)
		return ret;
	if (snapshots.table_bytes) {
		ret = w->use(w, QC_USE_SNAPSHOTS, w->header->snapshots_offset,
			     snapshots.table_bytes);
		if (ret < 0)
			return ret;
	}
	for (u32 i = 0; i < snapshots.count; i++) {
		const struct qc_snapshot *snap = &snapshots.list[i];

		ret = qc_walk_l1(w, snap->name, snap->l1_offset, snap->l1_size, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int walk_bitmap(struct qc_walk *w, const struct qc_bitmap *bitmap, struct qc_error *err)
{
	CLEANUP_FREE u64 *table = NULL;
	int ret;

	if (!bitmap->table_size)
		return 0;
	ret = w->use(w, QC_USE_BITMAP_TABLE, bitmap->table_offset,
		     bitmap->table_size * sizeof(u64));
	if (ret)
		return ret < 0 ? ret : 0;
	ret = qc_read_table(w->store, bitmap->table_offset, bitmap->table_size, &table, err);
	if (ret < 0)
		return ret;
	for (u32 i = 0; i < bitmap->table_size; i++) {
		u64 entry = be64toh(table[i]);
		u64 offset = entry & QC_BITMAP_OFFSET_MASK;

		if (entry & ~(QC_BITMAP_OFFSET_MASK | QC_BITMAP_ALL_ONES) ||
		    (offset && entry & QC_BITMAP_ALL_ONES) || misaligned(w, offset)) {
			bad(w, QC_USE_BITMAP,
			    "entry %u of the table of bitmap %s (0x%016llx) is malformed", i,
			    bitmap->name, entry);
			continue;
		}
		if (!offset)
			continue;
		ret = w->use(w, QC_USE_BITMAP, offset, qc_cluster_size(w->header));
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int walk_bitmaps(struct qc_walk *w, struct qc_error *err)
{
	CLEANUP_BITMAPS struct qc_bitmaps bitmaps = { 0 };
	struct qc_bitmaps_extension ext;
	int ret;

	ret = qc_bitmaps_read(w->store, w->header, &bitmaps, err);
	if (ret < 0 || !bitmaps.count)
		return ret;
	ret = qc_header_bitmaps(w->header, w->store->path, &ext, err);
	if (!ret)
		ret = w->use(w, QC_USE_BITMAP_DIRECTORY, ext.directory_offset,
			     ext.directory_size);
	for (u32 i = 0; ret >= 0 && i < bitmaps.count; i++)
		ret = walk_bitmap(w, &bitmaps.list[i], err);
	return ret < 0 ? ret : 0;
}

static int walk_refcounts(struct qc_walk *w, struct qc_error *err)
{
	const struct qc_header *h = w->header;
	u64 bytes = (u64)h->reftable_clusters << h->cluster_bits;
	CLEANUP_FREE u64 *table = NULL;
	int ret;

	ret = w->use(w, QC_USE_REFTABLE, h->reftable_offset, bytes);
	if (ret)
		return ret < 0 ? ret : 0;
	ret = qc_read_table(w->store, h->reftable_offset, bytes / sizeof(u64), &table, err);
	if (ret < 0)
		return ret;
	for (u32 i = 0; i < bytes / sizeof(u64); i++) {
		u64 entry = be64toh(table[i]);

		if (!entry)
			continue;
		if (!qc_reftable_entry_sound(h, entry)) {
			bad(w, QC_USE_REFBLOCK,
			    "entry %u of the refcount table (0x%016llx) is malformed", i, entry);
			continue;
		}
		ret = w->use(w, QC_USE_REFBLOCK, entry, qc_cluster_size(h));
		if (ret < 0)
			return ret;
	}
	return 0;
}

int qc_walk(struct qc_walk *w, struct qc_error *err)
{
	int ret;

	w->allocated = 0;
	w->compressed = 0;
	w->fragmented = 0;
	ret = w->use(w, QC_USE_HEADER, 0, qc_cluster_size(w->header));
	if (ret >= 0)
		ret = qc_walk_l1(w, NULL, w->header->l1_offset, w->header->l1_size, err);
	if (ret >= 0)
		ret = walk_snapshots(w, err);
	if (ret >= 0)
		ret = walk_bitmaps(w, err);
	if (ret >= 0 && w->refcounts)
		ret = walk_refcounts(w, err);
	return ret < 0 ? ret : 0;
}
