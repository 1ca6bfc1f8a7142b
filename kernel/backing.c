// SPDX-License-Identifier: GPL-2.0-only
/*
 * The backing layers of a chain, resolved as one.
 *
 * The layers below the active one change only between tables, so which of them owns a piece of
 * the disk is worked out once, for a slice of pieces ("granules") at a time, and cached as a
 * map of its own: one look-up, and the memory of one layer, whatever the depth.
 * A granule is as large as the smallest cluster of any layer, so that each lies in one
 * cluster of every layer.
 *
 * A map entry:
 *
 *	bits 0-1	WALK: ask the layers one by one, each time (a layer ends within
 *			this granule, or could not be read or trusted)
 *			DATA, ZERO, or LAYER: ask that layer (its cluster is compressed, or may
 *			move, as that layer is written to by a job and shares it)
 *	bits 2-17	the layer
 *	bits 18-63	DATA: position in the layer's store, in sectors
 */
#include <linux/bitmap.h>
#include <linux/slab.h>

#include "chain.h"
#include "compat.h"

#define SLICE_BITS	(QC_BLOCK_MAX_BITS - 3)
#define SLICE_SLOTS	BIT(SLICE_BITS)
#define DEEP_LAYERS	8	/* up to so many keep tables cached, for other chains */

enum { WALK, DATA, ZERO, LAYER };

#define ENTRY_KIND(e)	((unsigned int)((e) & 3))
#define ENTRY_LAYER(e)	((unsigned int)((e) >> 2 & 0xffff))
#define ENTRY_POS(e)	((e) >> 18 << SECTOR_SHIFT)
#define POS_LIMIT	BIT_ULL(46 + SECTOR_SHIFT)

struct qc_backing {
	struct kref kref;
	struct list_head list;
	struct qc_cache map;
	unsigned int granule_bits;
	unsigned int count;
	struct qc_image *layers[];
};

/* Backings in use, so that the next table finds what the last has resolved. */
static DEFINE_MUTEX(backings_lock);
static LIST_HEAD(backings);

static u64 entry_make(unsigned int kind, unsigned int layer, u64 pos)
{
	return kind | (u64)layer << 2 | pos >> SECTOR_SHIFT << 18;
}

u64 qc_backing_size(const struct qc_backing *backing)
{
	return backing->layers[0]->size;
}

unsigned int qc_backing_count(const struct qc_backing *backing)
{
	return backing->count;
}

struct qc_image *qc_backing_layer(const struct qc_backing *backing, unsigned int i)
{
	return backing->layers[i];
}

static void zero_extent(u64 len, struct qc_extent *extent)
{
	extent->kind = QC_EXTENT_ZERO;
	extent->in_place = false;
	extent->len = len;
	extent->entry = 0;
}

int qc_backing_lookup_upper(struct qc_backing *backing, unsigned int count, u64 pos, u64 len,
			    struct qc_extent *extent)
{
	unsigned int i;
	int error;

	for (i = 0; i < count; i++) {
		struct qc_image *image = backing->layers[i];

		/* A backing file that ends reads as zeroes behind its end, whatever is below. */
		if (pos >= image->size) {
			zero_extent(len, extent);
			return 0;
		}
		error = qc_image_lookup(image, pos, min(len, image->size - pos), false, extent);
		if (error || extent->kind != QC_EXTENT_UNALLOCATED)
			return error;
		len = extent->len;
	}
	extent->kind = QC_EXTENT_UNALLOCATED;
	extent->len = len;
	return 0;
}

/* Ask the layers one by one. */
static int walk(struct qc_backing *backing, u64 pos, u64 len, struct qc_extent *extent)
{
	int error = qc_backing_lookup_upper(backing, backing->count, pos, len, extent);

	if (!error && extent->kind == QC_EXTENT_UNALLOCATED)
		zero_extent(extent->len, extent);
	return error;
}

/*
 * A layer that may be written: its cluster is copied by the first write to it, and the old one can
 * be another's then.
 */
static bool may_move(const struct qc_extent *extent)
{
	return extent->kind == QC_EXTENT_DATA && extent->image->writable && !extent->in_place;
}

/*
 * How far to ask a layer at once: a read's run may go on where the clusters can no longer be
 * written in place, so one that may move is asked for by the cluster.
 */
static u64 run_max(const struct qc_image *image, u64 pos, u64 len)
{
	u64 max = min(len, image->size - pos);

	if (!image->writable || image->format == QC_RAW)
		return max;
	return min(max, qc_cluster_size(image) - qc_cluster_offset(image, pos));
}

/* The granules of one layer's extent at @pos, into slots @slot...; how many. */
static unsigned int fill_extent(struct qc_backing *backing, unsigned int layer, u64 *entries,
				unsigned long *todo, unsigned int slot,
				const struct qc_extent *extent)
{
	unsigned int i, n = extent->len >> backing->granule_bits;

	if (extent->kind == QC_EXTENT_UNALLOCATED)
		return n;
	for (i = 0; i < n; i++) {
		u64 pos = extent->host + ((u64)i << backing->granule_bits);

		if (extent->kind == QC_EXTENT_ZERO)
			entries[slot + i] = entry_make(ZERO, layer, 0);
		else if (extent->kind == QC_EXTENT_COMPRESSED || may_move(extent))
			entries[slot + i] = entry_make(LAYER, layer, 0);
		else if (pos < POS_LIMIT)
			entries[slot + i] = entry_make(DATA, layer, pos);
	}
	bitmap_clear(todo, slot, n);
	return n;
}

/* What one layer says of the slots still to do in [@slot, @end). */
static void fill_run(struct qc_backing *backing, unsigned int layer, u64 start, u64 *entries,
		     unsigned long *todo, unsigned int slot, unsigned int end)
{
	struct qc_image *image = backing->layers[layer];
	struct qc_extent extent;
	unsigned int n;

	while (slot < end) {
		u64 pos = start + ((u64)slot << backing->granule_bits);
		u64 len = (u64)(end - slot) << backing->granule_bits;

		if (pos >= image->size) {
			for (n = slot; n < end; n++)
				entries[n] = entry_make(ZERO, layer, 0);
			bitmap_clear(todo, slot, end - slot);
			return;
		}
		n = 0;
		if (!qc_image_lookup(image, pos, run_max(image, pos, len), false, &extent))
			n = fill_extent(backing, layer, entries, todo, slot, &extent);
		if (!n) {
			/* Stays WALK. */
			bitmap_clear(todo, slot, 1);
			n = 1;
		}
		slot += n;
	}
}

static int fill_slice(struct qc_cache *cache, struct qc_block *block)
{
	struct qc_backing *backing = container_of(cache, struct qc_backing, map);
	u64 start = block->index << (SLICE_BITS + backing->granule_bits);
	DECLARE_BITMAP(todo, SLICE_SLOTS);
	u64 *entries = block->data;
	unsigned int i, slot, end;

	memset(entries, 0, SLICE_SLOTS * sizeof(*entries));
	bitmap_fill(todo, SLICE_SLOTS);
	for (i = 0; i < backing->count; i++) {
		for (slot = find_first_bit(todo, SLICE_SLOTS); slot < SLICE_SLOTS;
		     slot = find_next_bit(todo, SLICE_SLOTS, end)) {
			end = find_next_zero_bit(todo, SLICE_SLOTS, slot);
			fill_run(backing, i, start, entries, todo, slot, end);
		}
		/* The map knows it from here on; what many layers know besides is too much. */
		if (backing->count > DEEP_LAYERS && backing->layers[i]->format == QC_QCOW2)
			qc_cache_drop_clean(&backing->layers[i]->cache);
		if (bitmap_empty(todo, SLICE_SLOTS))
			break;
		cond_resched();
	}
	for_each_set_bit(slot, todo, SLICE_SLOTS)
		entries[slot] = entry_make(ZERO, 0, 0);
	return 0;
}

static u64 slice_index(const struct qc_backing *backing, u64 pos, unsigned int *slot)
{
	u64 granule = pos >> backing->granule_bits;

	*slot = granule & (SLICE_SLOTS - 1);
	return granule >> SLICE_BITS;
}

/* False: the layers are to be asked. */
static bool extent_from_slice(struct qc_backing *backing, const struct qc_block *block,
			      unsigned int slot, u64 pos, u64 len, struct qc_extent *extent)
{
	const u64 *entries = block->data;
	u64 granule = BIT_ULL(backing->granule_bits), offset = pos & (granule - 1);
	u64 first = entries[slot], next = first, run = granule - offset;
	unsigned int kind = ENTRY_KIND(first);

	if (kind != DATA && kind != ZERO)
		return false;
	while (run < len && ++slot < SLICE_SLOTS) {
		if (kind == DATA)
			next += granule >> SECTOR_SHIFT << 18;
		if (kind == DATA ? entries[slot] != next : ENTRY_KIND(entries[slot]) != ZERO)
			break;
		run += granule;
	}
	if (kind == ZERO) {
		zero_extent(min(run, len), extent);
	} else {
		extent->kind = QC_EXTENT_DATA;
		extent->in_place = false;
		extent->image = backing->layers[ENTRY_LAYER(first)];
		/* It is to be asked: this may not be committed. */
		if (qc_image_aborted(extent->image))
			return false;
		extent->host = ENTRY_POS(first) + offset;
		extent->len = min(run, len);
	}
	return true;
}

/* A single raw layer needs no map. */
static bool is_raw(const struct qc_backing *backing)
{
	return backing->layers[0]->format == QC_RAW;
}

bool qc_backing_peek(struct qc_backing *backing, u64 pos, u64 len, struct qc_extent *extent)
{
	struct qc_block *block;
	unsigned int slot;

	len = min(len, qc_backing_size(backing) - pos);
	if (is_raw(backing))
		return qc_image_peek(backing->layers[0], pos, len, false, extent);
	block = qc_cache_peek(&backing->map, slice_index(backing, pos, &slot));
	return block && extent_from_slice(backing, block, slot, pos, len, extent);
}

int qc_backing_lookup(struct qc_backing *backing, u64 pos, u64 len, struct qc_extent *extent)
{
	struct qc_block *block;
	unsigned int slot;
	u64 granule, entry;
	int error;
	bool found;

	len = min(len, qc_backing_size(backing) - pos);
	if (is_raw(backing))
		return qc_image_lookup(backing->layers[0], pos, len, false, extent);
	block = qc_cache_get(&backing->map, slice_index(backing, pos, &slot), QC_BLOCK_MAP);
	if (IS_ERR(block))
		return PTR_ERR(block);
	found = extent_from_slice(backing, block, slot, pos, len, extent);
	entry = ((u64 *)block->data)[slot];
	qc_block_put(block);
	if (found)
		return 0;

	granule = BIT_ULL(backing->granule_bits);
	len = min(len, granule - (pos & (granule - 1)));
	if (ENTRY_KIND(entry) == LAYER) {
		error = qc_image_lookup(backing->layers[ENTRY_LAYER(entry)], pos, len, false,
					extent);
		if (error || extent->kind != QC_EXTENT_UNALLOCATED)
			return error;
	}
	return walk(backing, pos, len, extent);
}

void qc_backing_drop_clean(struct qc_backing *backing)
{
	unsigned int i;

	qc_cache_drop_clean(&backing->map);
	for (i = 0; i < backing->count; i++)
		if (backing->layers[i]->format == QC_QCOW2)
			qc_cache_drop_clean(&backing->layers[i]->cache);
}

static void backing_free(struct qc_backing *backing)
{
	unsigned int i;

	for (i = 0; i < backing->count; i++)
		qc_image_put(backing->layers[i]);
	kvfree(backing);
}

static void backing_release(struct kref *kref)
{
	struct qc_backing *backing = container_of(kref, struct qc_backing, kref);

	list_del(&backing->list);
	mutex_unlock(&backings_lock);
	qc_cache_destroy(&backing->map);
	backing_free(backing);
}

struct qc_backing *qc_backing_ref(struct qc_backing *backing)
{
	kref_get(&backing->kref);
	return backing;
}

void qc_backing_put(struct qc_backing *backing)
{
	kref_put_mutex(&backing->kref, backing_release, &backings_lock);
}

/*
 * Layers that may be written have no map in common: a job may have changed what is resolved in the
 * old one, and only the layers above it in its own table hide that.
 */
static struct qc_backing *backing_find(struct qc_image **layers, unsigned int count)
{
	struct qc_backing *backing;
	unsigned int i;

	for (i = 0; i < count; i++)
		if (layers[i]->writable)
			return NULL;
	list_for_each_entry(backing, &backings, list)
		if (backing->count == count &&
		    !memcmp(backing->layers, layers, count * sizeof(*layers)))
			return backing;
	return NULL;
}

struct qc_backing *qc_backing_get(struct qc_image **layers, unsigned int count)
{
	struct qc_backing *backing = kvzalloc(struct_size(backing, layers, count), GFP_KERNEL);
	struct qc_backing *found;
	unsigned int i;

	if (!backing) {
		for (i = 0; i < count; i++)
			qc_image_put(layers[i]);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&backing->kref);
	backing->count = count;
	backing->granule_bits = QCOW2_MAX_CLUSTER_BITS;
	for (i = 0; i < count; i++) {
		backing->layers[i] = layers[i];
		if (layers[i]->format == QC_QCOW2)
			backing->granule_bits = min(backing->granule_bits,
						    layers[i]->cluster_bits);
	}
	qc_cache_init(&backing->map, QC_BLOCK_MAX_BITS, fill_slice);

	mutex_lock(&backings_lock);
	found = backing_find(layers, count);
	if (found)
		kref_get(&found->kref);
	else
		list_add(&backing->list, &backings);
	mutex_unlock(&backings_lock);
	if (!found)
		return backing;
	backing_free(backing);
	return found;
}
