// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Smaller images.
 *
 *	1. copies of the table and the cluster that the new end lies in, where they are shared;
 *	   else the same in place: they refer to nothing behind the new end any more
 *	2. the L1 table
 *	3. the header with the new size
 *	4. refcounts of what is not referred to
 *
 * each on stable storage before the next.  A crash in between leaves clusters that are counted and
 * not used.
 */
#include <errno.h>

#include "check.h"
#include "entry.h"
#include "resize.h"
#include "space.h"
#include "walk.h"

struct run {
	u64 first, count;		/* clusters; each has lost one reference */
};

struct shrinking {
	struct qc_store *store;
	struct qc_header *header;
	struct qc_space space;
	u64 file_end;			/* bytes */
	u64 *l1;			/* big-endian, as it is to be */
	u64 *l2;			/* big-endian */
	u8 *cluster;
	struct run *runs;
	size_t nb_runs, room;
	struct qc_error *err;
};

static int fail_damaged(const struct shrinking *s)
{
	return qc_fail(s->err, EUCLEAN, s->store->path, "see: qchain check",
		       "its tables are damaged");
}

/* --- what loses a reference ------------------------------------------------------------------- */

static int drop(struct shrinking *s, u64 offset, u64 len)
{
	u32 bits = s->header->cluster_bits;
	u64 first = offset >> bits, count = ((offset + len - 1) >> bits) - first + 1;
	struct run *last = s->nb_runs ? &s->runs[s->nb_runs - 1] : NULL;

	if (!first)
		return fail_damaged(s);
	if (last && last->first + last->count == first) {
		last->count += count;
		return 0;
	}
	if (s->nb_runs == s->room) {
		struct run *runs = reallocarray(s->runs, 2 * s->room + 64, sizeof(*runs));

		if (!runs)
			return qc_fail_nomem(s->err, s->store->path);
		s->runs = runs;
		s->room = 2 * s->room + 64;
	}
	s->runs[s->nb_runs++] = (struct run){ first, count };
	return 0;
}

static int drop_cluster(struct shrinking *s, u64 offset)
{
	u32 size = qc_cluster_size(s->header);

	return offset % size ? fail_damaged(s) : drop(s, offset, size);
}

static int drop_entry(struct shrinking *s, u64 entry)
{
	u64 offset, len;

	if (entry & QC_COMPRESSED) {
		/* Others may lie in the same host cluster: that loses one for each. */
		return qc_compressed_extent(s->header, entry, &offset, &len) ?
		       drop(s, offset, len) : fail_damaged(s);
	}
	if (entry & qc_l2_reserved(s->header))
		return fail_damaged(s);
	offset = entry & QC_OFFSET_MASK;
	return offset ? drop_cluster(s, offset) : 0;
}

/* Read the L2 table that an L1 entry refers to. */
static int read_l2(struct shrinking *s, u64 l1_entry)
{
	u64 offset = l1_entry & QC_OFFSET_MASK;

	if (l1_entry & QC_L1_RESERVED || offset % qc_cluster_size(s->header) ||
	    offset >= s->file_end)
		return fail_damaged(s);
	return qc_store_read(s->store, offset, s->l2, qc_cluster_size(s->header), s->err);
}

static int drop_table(struct shrinking *s, u64 index)
{
	u64 entry = be64toh(s->l1[index]);
	int ret;

	if (!(entry & QC_OFFSET_MASK))
		return 0;
	ret = read_l2(s, entry);
	for (u32 i = 0; !ret && i < qc_l2_entries(s->header); i++)
		ret = drop_entry(s, be64toh(s->l2[i]));
	s->l1[index] = 0;
	return ret ? ret : drop_cluster(s, entry & QC_OFFSET_MASK);
}

/* --- where the new end lies ------------------------------------------------------------------- */

/* In place, or in a new one if others refer to it, too.  Changes @entry. */
static int write_cluster(struct shrinking *s, u64 *entry, const void *data)
{
	u32 size = qc_cluster_size(s->header);
	u64 offset = *entry & QC_OFFSET_MASK, refcount;
	int ret = qc_space_get(&s->space, offset >> s->header->cluster_bits, &refcount);

	if (!ret && refcount != 1) {
		ret = drop_cluster(s, offset);
		if (!ret)
			ret = qc_space_take(&s->space, &offset);
		if (!ret)
			ret = qc_space_flush(&s->space);
		*entry = offset | QC_COPIED;
	}
	return ret ? ret : qc_store_write(s->store, offset, data, size, s->err);
}

/* What is in the cluster that the new end lies in, from there on, must never be seen again. */
static int cut_data(struct shrinking *s, u64 *entry, u32 keep)
{
	u32 size = qc_cluster_size(s->header);
	u64 offset = *entry & QC_OFFSET_MASK;
	int ret;

	if (*entry & QC_COMPRESSED)
		return qc_fail(s->err, ENOTSUP, s->store->path,
			       "give it a size that is a multiple of the cluster size",
			       "the new end would lie in a compressed cluster");
	if (*entry & qc_l2_reserved(s->header) || offset % size)
		return fail_damaged(s);
	if (!offset || *entry & QC_ZERO || offset >= s->file_end)
		return 0;
	ret = qc_store_read(s->store, offset, s->cluster, size, s->err);
	if (ret < 0)
		return ret;
	memset(s->cluster + keep, 0, size - keep);
	return write_cluster(s, entry, s->cluster);
}

/* The L2 table that the new end lies in, of which @keep entries stay. */
static int cut_table(struct shrinking *s, u64 index, u32 keep, u64 size)
{
	u32 in_cluster = size & (qc_cluster_size(s->header) - 1);
	u64 entry = be64toh(s->l1[index]), last;
	bool changed = false;
	int ret;

	if (!(entry & QC_OFFSET_MASK))
		return 0;
	ret = read_l2(s, entry);
	for (u32 i = keep; !ret && i < qc_l2_entries(s->header); i++) {
		ret = drop_entry(s, be64toh(s->l2[i]));
		changed |= s->l2[i];
		s->l2[i] = 0;
	}
	if (!ret && in_cluster) {
		last = be64toh(s->l2[keep - 1]);
		ret = cut_data(s, &last, in_cluster);
		changed |= s->l2[keep - 1] != htobe64(last);
		s->l2[keep - 1] = htobe64(last);
	}
	/* A table must not refer to what is not there yet. */
	if (!ret)
		ret = qc_store_flush(s->store, s->err);
	if (!ret && changed)
		ret = write_cluster(s, &entry, s->l2);
	s->l1[index] = htobe64(entry);
	return ret;
}

/* --- all of it -------------------------------------------------------------------------------- */

static int cut_tables(struct shrinking *s, u64 size)
{
	u32 entries = qc_l2_entries(s->header);
	u64 clusters = qc_div_round_up(size, qc_cluster_size(s->header));
	u64 tables = qc_div_round_up(clusters, entries);
	int ret = 0;

	for (u64 i = tables; !ret && i < s->header->l1_size; i++)
		ret = drop_table(s, i);
	if (!ret && tables && tables <= s->header->l1_size)
		ret = cut_table(s, tables - 1, clusters - (tables - 1) * entries, size);
	if (!ret)
		ret = qc_store_flush(s->store, s->err);
	return ret;
}

static int write_l1(struct shrinking *s)
{
	int ret = qc_store_write(s->store, s->header->l1_offset, s->l1,
				 s->header->l1_size * sizeof(u64), s->err);

	return ret ? ret : qc_store_flush(s->store, s->err);
}

static int lower(struct shrinking *s, const struct run *run)
{
	u64 refcount;
	int ret = 0;

	for (u64 i = 0; !ret && i < run->count; i++) {
		ret = qc_space_get(&s->space, run->first + i, &refcount);
		if (!ret && refcount)
			ret = qc_space_set(&s->space, run->first + i, refcount - 1);
	}
	return ret;
}

/* The parts of a run that nobody refers to any more. */
static int discard(struct shrinking *s, const struct run *run)
{
	u32 bits = s->header->cluster_bits;
	u64 refcount, free = 0;
	int ret = 0;

	for (u64 i = 0; !ret && i <= run->count; i++) {
		refcount = 1;
		if (i < run->count)
			ret = qc_space_get(&s->space, run->first + i, &refcount);
		if (!ret && !refcount) {
			free++;
			continue;
		}
		if (free)
			qc_store_discard(s->store, (run->first + i - free) << bits, free << bits);
		free = 0;
	}
	return ret;
}

static int cut_file(struct shrinking *s)
{
	u64 end, now;
	int ret;

	if (s->store->is_bdev)
		return 0;
	ret = qc_space_end(&s->space, &end);
	if (!ret && !end)
		return qc_fail(s->err, EUCLEAN, s->store->path,
			       "repair it with: qchain check --repair",
			       "no cluster is counted as used");
	if (!ret)
		ret = qc_store_size(s->store, &now, s->err);
	end <<= s->header->cluster_bits;
	return !ret && end < now ? qc_store_resize(s->store, end, s->err) : ret;
}

static int give_back(struct shrinking *s)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < s->nb_runs; i++)
		ret = lower(s, &s->runs[i]);
	if (!ret)
		ret = qc_space_flush(&s->space);
	for (size_t i = 0; !ret && i < s->nb_runs; i++)
		ret = discard(s, &s->runs[i]);
	return ret ? ret : cut_file(s);
}

static int shrink(struct shrinking *s, u64 size)
{
	struct qc_header *h = s->header;
	int ret;

	if (h->version < 3 && h->nb_snapshots)
		return qc_fail(s->err, ENOTSUP, s->store->path,
			       "qemu-img amend -o compat=1.1 makes it version 3",
			       "an image of version 2 with snapshots cannot be made smaller");
	s->l2 = malloc(qc_cluster_size(h));
	s->cluster = malloc(qc_cluster_size(h));
	if (!s->l2 || !s->cluster)
		return qc_fail_nomem(s->err, s->store->path);
	ret = qc_space_open(&s->space, s->store, h, s->err);
	/* What damaged tables refer to may be in use elsewhere, and must not be given back. */
	if (!ret)
		ret = qc_check_sound(s->store, h, s->err);
	if (!ret)
		ret = qc_store_size(s->store, &s->file_end, s->err);
	if (!ret)
		ret = qc_read_table(s->store, h->l1_offset, h->l1_size, &s->l1, s->err);
	if (!ret)
		ret = qc_header_begin_change(h, QC_AUTOCLEAR_BITMAPS, s->store, s->err);
	if (!ret)
		ret = cut_tables(s, size);
	if (!ret)
		ret = write_l1(s);
	h->size = size;
	if (!ret)
		ret = qc_header_write(h, s->store, s->err);
	return ret ? ret : give_back(s);
}

static int cut(struct qc_store *store, struct qc_header *header, u64 size, struct qc_error *err)
{
	struct shrinking s = { .store = store, .header = header, .err = err };
	int ret = shrink(&s, size);

	qc_space_close(&s.space);
	free(s.l1);
	free(s.l2);
	free(s.cluster);
	free(s.runs);
	return ret;
}

int qc_shrink(struct qc_store *store, u64 size, struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *header = NULL;
	int ret = qc_header_read(store, &header, err);

	size = qc_round_up(size, QC_SECTOR_SIZE);
	if (ret < 0 || size >= header->size)
		return ret;
	return cut(store, header, size, err);
}

int qc_cut_behind_end(struct qc_store *store, struct qc_header *header, struct qc_error *err)
{
	u64 tables = qc_div_round_up(header->size,
				     (u64)qc_l2_entries(header) * qc_cluster_size(header));
	CLEANUP_FREE u64 *l1 = NULL;
	int ret = qc_read_table(store, header->l1_offset, header->l1_size, &l1, err);
	bool any = false;

	for (u64 i = tables; !ret && i < header->l1_size; i++)
		any |= l1[i];
	return any ? cut(store, header, header->size, err) : ret;
}
