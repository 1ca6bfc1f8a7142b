// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * New refcounts beside the old ones.
 *
 * A refcount block that is changed gets a new place and gives back its old one, which changes
 * refcounts, too, perhaps in blocks that have not been changed yet: so changed blocks are put on a
 * list, which is gone through in the end.
 */
#include <errno.h>

#include "recount.h"
#include "refcount.h"
#include "walk.h"

/* Blocks in memory, in bytes; what is beyond is written, and read again when needed. */
#define MAX_MEMORY (64U << 20)
#define MIN_BLOCKS 4

struct block {
	u64 old;		/* in the image as it is; 0: there is none */
	u64 new;		/* 0: not yet, or not changed */
	u8 *data;		/* NULL: not in memory */
	bool changed;
};

struct qc_recount {
	struct qc_store *store;
	const struct qc_header *header;
	u64 room;		/* clusters that there can be */
	struct block *blocks;	/* by their place in the refcount table */
	u64 nb_blocks;
	u64 nb_old;		/* of these, how many the old table has */
	u64 in_memory;
	u64 *changed;		/* indices of blocks, in the order in which they were changed */
	u64 nb_changed, max_changed;
	u64 placed;		/* how many of these have a new place */
	u64 next;		/* free clusters are looked for from here on */
	u8 *scan;		/* a block as it is in the image, for that */
	u64 scanned;		/* which one */
};

static const char repair[] = "repair it with: qemu-img check -r all";

void qc_recount_free(struct qc_recount *r)
{
	if (!r)
		return;
	for (u64 i = 0; i < r->nb_blocks; i++)
		free(r->blocks[i].data);
	free(r->blocks);
	free(r->changed);
	free(r->scan);
	free(r);
}

void qc_cleanup_recount(struct qc_recount **recount)
{
	qc_recount_free(*recount);
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Out of memory with all, but for what has no place to be written to yet. */
static int write_back(struct qc_recount *r, struct qc_error *err)
{
	int ret = 0;

	for (u64 i = 0; i < r->nb_blocks && !ret; i++) {
		struct block *b = &r->blocks[i];

		if (!b->data || (b->changed && !b->new))
			continue;
		if (b->changed)
			ret = qc_store_write(r->store, b->new, b->data,
					     qc_cluster_size(r->header), err);
		free(b->data);
		b->data = NULL;
		r->in_memory--;
	}
	return ret;
}

static int load(struct qc_recount *r, u64 index, struct qc_error *err)
{
	struct block *b = &r->blocks[index];
	u32 size = qc_cluster_size(r->header);
	u64 from = b->new ? b->new : b->old;

	if (b->data)
		return 0;
	b->data = calloc(1, size);
	if (!b->data)
		return qc_fail_nomem(err, r->store->path);
	r->in_memory++;
	return from ? qc_store_read(r->store, from, b->data, size, err) : 0;
}

/* Have a block of that index. */
static int reach(struct qc_recount *r, u64 index, struct qc_error *err)
{
	const u64 max = QC_MAX_REFTABLE_BYTES / sizeof(u64);
	u64 count = index + index / 8 + 8;
	struct block *grown;

	if (index < r->nb_blocks)
		return 0;
	if (index >= max)
		return qc_fail(err, EFBIG, r->store->path, "make an image with larger clusters",
			       "the refcount table would be too large");
	if (count > max)
		count = max;
	grown = realloc(r->blocks, count * sizeof(*grown));
	if (!grown)
		return qc_fail_nomem(err, r->store->path);
	memset(grown + r->nb_blocks, 0, (count - r->nb_blocks) * sizeof(*grown));
	r->blocks = grown;
	r->nb_blocks = count;
	return 0;
}

static int note_changed(struct qc_recount *r, u64 index, struct qc_error *err)
{
	if (r->blocks[index].changed)
		return 0;
	if (r->nb_changed == r->max_changed) {
		u64 count = 2 * r->max_changed + 16;
		u64 *grown = realloc(r->changed, count * sizeof(*grown));

		if (!grown)
			return qc_fail_nomem(err, r->store->path);
		r->changed = grown;
		r->max_changed = count;
	}
	r->changed[r->nb_changed++] = index;
	r->blocks[index].changed = true;
	return 0;
}

static int get(struct qc_recount *r, u64 cluster, u64 *value, struct qc_error *err)
{
	u32 entries = qc_refblock_entries(r->header);
	u64 index = cluster / entries;
	int ret;

	*value = 0;
	if (index >= r->nb_blocks || (!r->blocks[index].old && !r->blocks[index].changed))
		return 0;
	ret = load(r, index, err);
	if (!ret)
		*value = qc_refcount_get(r->blocks[index].data, r->header->refcount_order,
					 cluster % entries);
	return ret;
}

static int set(struct qc_recount *r, u64 cluster, u64 value, struct qc_error *err)
{
	u32 entries = qc_refblock_entries(r->header);
	u64 index = cluster / entries;
	int ret = reach(r, index, err);

	if (!ret)
		ret = load(r, index, err);
	if (!ret)
		ret = note_changed(r, index, err);
	if (!ret)
		qc_refcount_set(r->blocks[index].data, r->header->refcount_order,
				cluster % entries, value);
	return ret;
}

/* --- places ----------------------------------------------------------------------------------- */

/* Was the cluster free before? */
static int was_free(struct qc_recount *r, u64 cluster, bool *is, struct qc_error *err)
{
	u32 entries = qc_refblock_entries(r->header);
	u64 index = cluster / entries;
	int ret;

	*is = index >= r->nb_old || !r->blocks[index].old;
	if (*is)
		return 0;
	if (r->scanned != index) {
		ret = qc_store_read(r->store, r->blocks[index].old, r->scan,
				    qc_cluster_size(r->header), err);
		if (ret < 0)
			return ret;
		r->scanned = index;
	}
	*is = !qc_refcount_get(r->scan, r->header->refcount_order, cluster % entries);
	return 0;
}

/* The first of @count clusters in a row that nothing has been put into. */
static int find_free(struct qc_recount *r, u64 count, u64 *first, struct qc_error *err)
{
	u64 run = 0;

	while (run < count) {
		bool is;
		int ret;

		if (r->next >= r->room)
			return qc_fail(err, ENOSPC, r->store->path, "extend the device",
				       "there is no room for more metadata");
		ret = was_free(r, r->next++, &is, err);
		if (ret < 0)
			return ret;
		run = is ? run + 1 : 0;
	}
	*first = r->next - count;
	return 0;
}

static int place_all(struct qc_recount *r, struct qc_error *err)
{
	while (r->placed < r->nb_changed) {
		u64 index = r->changed[r->placed++], first;
		int ret = find_free(r, 1, &first, err);

		if (ret < 0)
			return ret;
		ret = set(r, first, 1, err);
		if (ret < 0)
			return ret;
		r->blocks[index].new = first << r->header->cluster_bits;
	}
	return 0;
}

/*
 * Until there is too much in memory nothing gets a place: all refcounts of a mapping are looked at
 * first, and those that are too small are found before anything is written.
 */
static int make_room(struct qc_recount *r, struct qc_error *err)
{
	int ret;

	if (r->in_memory < MIN_BLOCKS || r->in_memory * qc_cluster_size(r->header) < MAX_MEMORY)
		return 0;
	ret = place_all(r, err);
	return ret ? ret : write_back(r, err);
}

int qc_recount_get(struct qc_recount *r, u64 cluster, u64 *value, struct qc_error *err)
{
	int ret = make_room(r, err);

	return ret ? ret : get(r, cluster, value, err);
}

/* @by: one more, one less, or 0. */
static int change(struct qc_recount *r, u64 offset, u64 len, int by, struct qc_error *err)
{
	u64 cluster = offset >> r->header->cluster_bits;
	u64 last = (offset + len - 1) >> r->header->cluster_bits;
	int ret = make_room(r, err);

	for (; cluster <= last && !ret; cluster++) {
		u64 value;

		ret = get(r, cluster, &value, err);
		if (ret < 0)
			return ret;
		if (!value)
			return qc_fail(err, EINVAL, r->store->path, repair,
				       "the cluster at 0x%llx is in use, but its refcount is 0",
				       cluster << r->header->cluster_bits);
		if (by > 0 && value == qc_refcount_max(r->header->refcount_order))
			return qc_fail(err, EINVAL, r->store->path,
				       "convert it to one with wider refcounts (refcount_bits)",
				       "refcounts of %u bits are too narrow",
				       1 << r->header->refcount_order);
		if (by)
			ret = set(r, cluster, value + by, err);
	}
	return ret;
}

int qc_recount_expect(struct qc_recount *r, u64 offset, u64 len, struct qc_error *err)
{
	return change(r, offset, len, 0, err);
}

int qc_recount_raise(struct qc_recount *r, u64 offset, u64 len, struct qc_error *err)
{
	return change(r, offset, len, 1, err);
}

int qc_recount_lower(struct qc_recount *r, u64 offset, u64 len, struct qc_error *err)
{
	return change(r, offset, len, -1, err);
}

int qc_recount_alloc(struct qc_recount *r, u64 len, u64 *offset, struct qc_error *err)
{
	u64 count = qc_div_round_up(len, qc_cluster_size(r->header)), first = 0;
	int ret = make_room(r, err);

	if (!ret)
		ret = find_free(r, count, &first, err);
	if (ret < 0)
		return ret;
	for (u64 i = 0; i < count && !ret; i++)
		ret = set(r, first + i, 1, err);
	*offset = first << r->header->cluster_bits;
	return ret;
}

/* --- begin and end ---------------------------------------------------------------------------- */

/* The refcount structures themselves must not pass for room. */
static int expect_own(struct qc_recount *r, struct qc_error *err)
{
	const struct qc_header *h = r->header;
	int ret = qc_recount_expect(r, 0, 1, err);

	if (!ret)
		ret = qc_recount_expect(r, h->reftable_offset,
					(u64)h->reftable_clusters << h->cluster_bits, err);
	for (u64 i = 0; i < r->nb_old && !ret; i++)
		if (r->blocks[i].old)
			ret = qc_recount_expect(r, r->blocks[i].old, 1, err);
	return ret;
}

int qc_recount_new(struct qc_store *store, const struct qc_header *h, struct qc_recount **out,
		   struct qc_error *err)
{
	CLEANUP_RECOUNT struct qc_recount *r = calloc(1, sizeof(*r));
	u64 entries = ((u64)h->reftable_clusters << h->cluster_bits) / sizeof(u64), size;
	CLEANUP_FREE u64 *table = NULL;
	int ret;

	if (!r)
		return qc_fail_nomem(err, store->path);
	r->store = store;
	r->header = h;
	r->next = 1;
	r->scanned = UINT64_MAX;
	r->scan = malloc(qc_cluster_size(h));
	r->blocks = calloc(entries, sizeof(*r->blocks));
	if (!r->scan || !r->blocks)
		return qc_fail_nomem(err, store->path);
	ret = qc_store_size(store, &size, err);
	if (!ret)
		ret = qc_read_table(store, h->reftable_offset, entries, &table, err);
	if (ret < 0)
		return ret;
	r->room = store->is_bdev ? size >> h->cluster_bits : UINT64_MAX;
	r->nb_old = entries;
	r->nb_blocks = entries;
	for (u64 i = 0; i < entries; i++) {
		u64 entry = be64toh(table[i]);

		if (!qc_reftable_entry_sound(h, entry))
			return qc_fail(err, EINVAL, store->path, repair,
				       "entry %llu of the refcount table (0x%016llx) is malformed",
				       i, entry);
		r->blocks[i].old = entry;
	}
	ret = expect_own(r, err);
	if (ret < 0)
		return ret;
	*out = qc_steal(r);
	return 0;
}

/* Places for all that has changed, and back with the old ones; what changes by that, too. */
static int exchange(struct qc_recount *r, u64 *freed, struct qc_error *err)
{
	int ret = place_all(r, err);

	while (*freed < r->nb_changed && !ret) {
		const struct block *b = &r->blocks[r->changed[(*freed)++]];

		if (b->old)
			ret = qc_recount_lower(r, b->old, qc_cluster_size(r->header), err);
		if (!ret)
			ret = place_all(r, err);
	}
	return ret;
}

/* A place for a table of all blocks, those included that are changed by that. */
static int place_table(struct qc_recount *r, u64 *offset, u64 *clusters, struct qc_error *err)
{
	const struct qc_header *h = r->header;
	u64 freed = 0;
	int ret = exchange(r, &freed, err);

	while (!ret) {
		*clusters = qc_div_round_up(r->nb_blocks * sizeof(u64), qc_cluster_size(h));
		ret = qc_recount_alloc(r, *clusters << h->cluster_bits, offset, err);
		if (!ret)
			ret = exchange(r, &freed, err);
		if (ret || r->nb_blocks * sizeof(u64) <= *clusters << h->cluster_bits)
			break;
		ret = qc_recount_lower(r, *offset, *clusters << h->cluster_bits, err);
	}
	return ret;
}

int qc_recount_write(struct qc_recount *r, struct qc_header *h, struct qc_error *err)
{
	u64 offset = 0, clusters = 0;
	CLEANUP_FREE u64 *table = NULL;
	int ret;

	ret = qc_recount_lower(r, h->reftable_offset, (u64)h->reftable_clusters << h->cluster_bits,
			       err);
	if (!ret)
		ret = place_table(r, &offset, &clusters, err);
	if (!ret)
		ret = write_back(r, err);
	if (ret < 0)
		return ret;
	table = calloc(clusters, qc_cluster_size(h));
	if (!table)
		return qc_fail_nomem(err, r->store->path);
	for (u64 i = 0; i < r->nb_blocks; i++)
		table[i] = htobe64(r->blocks[i].new ? r->blocks[i].new : r->blocks[i].old);
	ret = qc_store_write(r->store, offset, table, clusters << h->cluster_bits, err);
	h->reftable_offset = offset;
	h->reftable_clusters = clusters;
	return ret;
}
