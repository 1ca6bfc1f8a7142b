// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest clusters: where their bytes are, and changing that.  Section "Cluster
 * mapping" of the specification.  See image.h for locks.
 *
 * A block of L2 entries is checked once, when it comes from disk: alignment, reserved
 * bits, range.  If all entries pass, look-ups need no further check; if one does
 * not, the block is SUSPECT and every look-up in it takes the slow path and checks its
 * own entry.  Before anything is written through a block's COPIED entries, they are
 * compared once with the refcounts and with where the tables are (WRITE_OK): an
 * image that lies about COPIED cannot make us overwrite a snapshot or a table.
 *
 * In an aborted image (image.h) only what is committed can be looked up: not what a dirty block
 * says, nor any block of a table that the L1 table on disk does not name yet (L1_NEW).  What such
 * an entry names, or the block itself on disk, may be gone; what was there before it is old.
 */

#include "compat.h"
#include "image.h"
#include "log.h"

static u64 entry_read(const struct qc_block *block, unsigned int slot)
{
	return be64_to_cpu(READ_ONCE(((__be64 *)block->data)[slot]));
}

/* Is what a standard or compressed descriptor says impossible? */
static bool entry_bad(const struct qc_image *image, u64 entry)
{
	u64 offset = entry & QCOW2_OFFSET_MASK;
	u64 pos, len;

	if (entry & QCOW2_COMPRESSED)
		return (entry & QCOW2_COPIED) || !qc_compressed_range(image, entry, &pos, &len);
	if ((entry & QCOW2_L2_RESERVED) || qc_cluster_offset(image, offset) ||
	    (image->version < 3 && (entry & QCOW2_ZERO)))
		return true;
	if (!offset)
		return entry & QCOW2_COPIED;
	return offset >= qc_store_size(image->store);
}

/* A reserved bit: an entry that was bad stays so, however large the file becomes. */
#define L1_KNOWN_BAD	BIT_ULL(0)

/* Another one, in memory only: the table is new, or a copy, since the last commit. */
#define L1_NEW		BIT_ULL(1)

static bool l1_entry_bad(const struct qc_image *image, u64 entry)
{
	u64 offset = entry & QCOW2_OFFSET_MASK;

	return !offset || (entry & QCOW2_L1_RESERVED) || qc_cluster_offset(image, offset) ||
	       offset >= qc_store_size(image->store);
}

void qc_l1_validate(struct qc_image *image, u64 *l1)
{
	u32 i;

	for (i = 0; i < image->l1_size; i++)
		if (l1[i] && l1_entry_bad(image, l1[i]))
			l1[i] |= L1_KNOWN_BAD;
}

void qc_l1_committed(struct qc_image *image, u64 block_pos, const void *bytes)
{
	const __be64 *entries = bytes;
	unsigned int i, n = 1U << qc_block_entry_bits(image);
	u64 first = (block_pos - image->l1_offset) / QCOW2_ENTRY_SIZE;

	lockdep_assert_held(&image->lock);
	for (i = 0; i < n && first + i < image->l1_size; i++) {
		u64 entry = image->l1[first + i];

		if ((entry & L1_NEW) && be64_to_cpu(entries[i]) == (entry & ~L1_NEW))
			WRITE_ONCE(image->l1[first + i], entry & ~L1_NEW);
	}
}

static enum qc_extent_kind entry_kind(const struct qc_image *image, u64 entry)
{
	if (entry & QCOW2_COMPRESSED)
		return QC_EXTENT_COMPRESSED;
	if (image->version >= 3 && (entry & QCOW2_ZERO))
		return QC_EXTENT_ZERO;
	return entry & QCOW2_OFFSET_MASK ? QC_EXTENT_DATA : QC_EXTENT_UNALLOCATED;
}

void qc_l2_validate(struct qc_image *image, struct qc_block *block)
{
	unsigned int i, n = 1U << qc_block_entry_bits(image);

	for (i = 0; i < n; i++) {
		if (entry_bad(image, entry_read(block, i))) {
			set_bit(QC_BLOCK_SUSPECT, &block->flags);
			return;
		}
	}
}

static u64 l1_index(const struct qc_image *image, u64 cluster)
{
	return cluster >> image->l2_bits;
}

/* Cache index of the block with the entry of guest cluster @cluster, and the slot in it. */
static u64 l2_block_index(const struct qc_image *image, u64 l1_entry, u64 cluster,
			  unsigned int *slot)
{
	u64 index = cluster & (BIT_ULL(image->l2_bits) - 1);

	*slot = index & ((1U << qc_block_entry_bits(image)) - 1);
	return ((l1_entry & QCOW2_OFFSET_MASK) >> image->cache.block_bits) +
	       (index >> qc_block_entry_bits(image));
}

/* That block, pinned; what qc_cache_get() says. */
static struct qc_block *l2_block_get(struct qc_image *image, u64 l1_entry, u64 cluster,
				     unsigned int *slot)
{
	return qc_cache_get(&image->cache, l2_block_index(image, l1_entry, cluster, slot),
			    QC_BLOCK_L2);
}

/* Describe what lies at @pos in the one cluster that @entry is for. */
static __always_inline void extent_from_entry(struct qc_image *image, u64 entry, u64 offset,
					      u64 len, struct qc_extent *extent)
{
	extent->kind = entry_kind(image, entry);
	extent->image = image;
	extent->entry = entry;
	extent->in_place = entry & QCOW2_COPIED;
	extent->host = (entry & QCOW2_OFFSET_MASK) + offset;
	extent->len = len;
}

/*
 * Describe what lies at @pos, as far as entries of @block go on in the same way.
 * Returns -EIO when the first entry is bad; a run ends before a bad one.
 */
static int extent_from_block(struct qc_image *image, const struct qc_block *block,
			     unsigned int slot, u64 pos, u64 len, bool write,
			     struct qc_extent *extent)
{
	unsigned int slots = 1U << qc_block_entry_bits(image);
	bool suspect = test_bit(QC_BLOCK_SUSPECT, &block->flags);
	u64 offset = qc_cluster_offset(image, pos);
	u64 run = qc_cluster_size(image) - offset;
	u64 first = entry_read(block, slot), next = first;
	/* Where a read finds its bytes does not depend on who else does. */
	u64 ignore = write ? 0 : QCOW2_COPIED;

	if (suspect && entry_bad(image, first))
		return -EIO;

	extent_from_entry(image, first, offset, run, extent);
	while (extent->kind != QC_EXTENT_COMPRESSED && run < len && ++slot < slots) {
		u64 entry = entry_read(block, slot);

		if (extent->kind == QC_EXTENT_DATA) {
			next += qc_cluster_size(image);
			if ((entry ^ next) & ~ignore)
				break;
		} else if (entry_kind(image, entry) != extent->kind) {
			break;
		}
		if (suspect && entry_bad(image, entry))
			break;
		run += qc_cluster_size(image);
	}
	extent->len = min(run, len);
	return 0;
}

static void raw_extent(struct qc_image *image, u64 pos, u64 len, struct qc_extent *extent)
{
	extent->kind = QC_EXTENT_DATA;
	extent->in_place = true;
	extent->image = image;
	extent->host = pos;
	extent->len = len;
}

static void unallocated_extent(struct qc_image *image, u64 pos, u64 len, struct qc_extent *extent)
{
	u64 table = BIT_ULL(image->l2_bits + image->cluster_bits);

	extent->kind = QC_EXTENT_UNALLOCATED;
	extent->in_place = false;
	extent->len = min(len, table - (pos & (table - 1)));
}

/* To be asked when entries of the block have been read. */
static __always_inline bool uncommitted(const struct qc_image *image, u64 l1_entry,
					const struct qc_block *block)
{
	if (likely(!qc_image_aborted(image)))
		return false;
	smp_rmb();	/* pairs with change_entry() */
	return (l1_entry & L1_NEW) ||
	       (READ_ONCE(block->flags) & (BIT(QC_BLOCK_DIRTY) | BIT(QC_BLOCK_WRITEBACK)));
}

bool qc_image_peek(struct qc_image *image, u64 pos, u64 len, bool write, struct qc_extent *extent)
{
	u64 cluster = pos >> image->cluster_bits, l1_entry;
	struct qc_block *block;
	unsigned int slot;

	if (image->format == QC_RAW) {
		raw_extent(image, pos, len, extent);
		return true;
	}
	if (write && (READ_ONCE(image->corrupt) || qc_image_aborted(image)))
		return false;
	l1_entry = READ_ONCE(image->l1[l1_index(image, cluster)]);
	if (!l1_entry) {
		unallocated_extent(image, pos, len, extent);
		return true;
	}
	if ((l1_entry & L1_KNOWN_BAD) || ((l1_entry & L1_NEW) && qc_image_aborted(image)))
		return false;
	block = qc_cache_peek(&image->cache, l2_block_index(image, l1_entry, cluster, &slot));
	if (!block || block->kind != QC_BLOCK_L2 || test_bit(QC_BLOCK_SUSPECT, &block->flags) ||
	    (write && !test_bit(QC_BLOCK_WRITE_OK, &block->flags)))
		return false;
	if (len <= qc_cluster_size(image) - qc_cluster_offset(image, pos)) {
		extent_from_entry(image, entry_read(block, slot), qc_cluster_offset(image, pos),
				  len, extent);
		return !uncommitted(image, l1_entry, block);
	}
	return !extent_from_block(image, block, slot, pos, len, write, extent) &&
	       !uncommitted(image, l1_entry, block);
}

/* An L1 entry, checked; from memory or, in a backing file, through the cache. */
static int l1_read(struct qc_image *image, u64 index, u64 *entry)
{
	const u64 *l1 = smp_load_acquire(&image->l1);	/* pairs with load_l1() */

	if (l1) {
		*entry = READ_ONCE(l1[index]);
	} else {
		u64 pos = image->l1_offset + index * QCOW2_ENTRY_SIZE;
		struct qc_block *block = qc_cache_get(&image->cache, pos >> image->cache.block_bits,
						      QC_BLOCK_L1);

		if (IS_ERR(block))
			return PTR_ERR(block);
		*entry = entry_read(block, (pos & (qc_cache_block_size(&image->cache) - 1)) /
				    QCOW2_ENTRY_SIZE);
		qc_block_put(block);
	}
	if (*entry && l1_entry_bad(image, l1 ? *entry & ~L1_NEW : *entry)) {
		qc_image_corrupt(image, "bad L1 entry",
				 image->l1_offset + index * QCOW2_ENTRY_SIZE);
		return -EIO;
	}
	return 0;
}

/* Is the refcount of what a COPIED @entry names really one, and is it what it should be? */
static int verify_entry(struct qc_image *image, u64 entry, bool table)
{
	u64 cluster = (entry & QCOW2_OFFSET_MASK) >> image->cluster_bits, refcount;
	int error = qc_refcount_read(image, cluster, &refcount);

	if (error)
		return error;
	if (refcount != 1 || qc_tables_test(image, cluster) != table) {
		qc_image_corrupt(image, refcount == 1 ? "data cluster is a table" :
				 "COPIED cluster whose refcount is not one",
				 entry & QCOW2_OFFSET_MASK);
		return -EIO;
	}
	return 0;
}

/* Compare what is COPIED in @block, and its table, with the refcounts.  Under lock; see the top. */
static int verify_copied(struct qc_image *image, u64 l1_entry, struct qc_block *block)
{
	unsigned int i, n = 1U << qc_block_entry_bits(image);
	int error;

	lockdep_assert_held(&image->lock);
	/* From here on data may be overwritten in place, which is a change, too. */
	error = qc_image_before_change(image);
	if (!error && (l1_entry & QCOW2_COPIED))
		error = verify_entry(image, l1_entry, true);
	for (i = 0; i < n && !error; i++) {
		u64 entry = entry_read(block, i);

		if ((entry & QCOW2_COPIED) && !entry_bad(image, entry))
			error = verify_entry(image, entry, false);
	}
	/* What was skipped may become good when the file grows: look again next time. */
	if (!error && !test_bit(QC_BLOCK_SUSPECT, &block->flags))
		set_bit(QC_BLOCK_WRITE_OK, &block->flags);
	return error;
}

int qc_image_lookup(struct qc_image *image, u64 pos, u64 len, bool write,
		    struct qc_extent *extent)
{
	u64 cluster = pos >> image->cluster_bits, entry;
	struct qc_block *block;
	bool locked = false;
	unsigned int slot;
	int error;

	if (image->format == QC_RAW) {
		raw_extent(image, pos, len, extent);
		return 0;
	}
	if (write && qc_image_aborted(image))
		return -EIO;
	if (write && READ_ONCE(image->corrupt))
		return -EROFS;
	error = l1_read(image, l1_index(image, cluster), &entry);
	if (!error && (entry & L1_NEW) && qc_image_aborted(image))
		error = -EIO;
	if (error)
		return error;
	if (!(entry & QCOW2_OFFSET_MASK)) {
		unallocated_extent(image, pos, len, extent);
		return 0;
	}
	block = l2_block_get(image, entry, cluster, &slot);
	if (!IS_ERR(block) && write && !test_bit(QC_BLOCK_WRITE_OK, &block->flags)) {
		/* A block must not be kept from who has the lock and needs memory. */
		qc_block_put(block);
		/* To the end: what was bad and skipped becomes good when the file grows. */
		mutex_lock(&image->lock);
		locked = true;
		block = l2_block_get(image, entry, cluster, &slot);
		if (!IS_ERR(block))
			error = verify_copied(image, entry, block);
	}
	if (IS_ERR(block)) {
		error = PTR_ERR(block) == -EUCLEAN ? -EIO : PTR_ERR(block);
		goto out;
	}
	if (!error) {
		error = extent_from_block(image, block, slot, pos, len, write, extent);
		if (uncommitted(image, entry, block))
			error = -EIO;
		else if (error)
			qc_image_corrupt(image, "bad L2 entry",
					 (block->index << image->cache.block_bits) +
					 slot * QCOW2_ENTRY_SIZE);
	}
	qc_block_put(block);
out:
	if (locked)
		mutex_unlock(&image->lock);
	return error;
}

int qc_l2_count(struct qc_image *image, u64 cluster, u64 *sum, u64 *next)
{
	u64 index = l1_index(image, cluster), entry;
	struct qc_block *block;
	unsigned int slot;

	lockdep_assert_held(&image->lock);
	if (index >= image->l1_size) {
		*next = U64_MAX;
		return 0;
	}
	entry = image->l1[index];
	/* Only looking: what is bad is reported when it is needed. */
	if (!entry || l1_entry_bad(image, entry & ~L1_NEW)) {
		*next = (index + 1) << image->l2_bits;
		return 0;
	}
	block = l2_block_get(image, entry, cluster, &slot);
	if (IS_ERR(block))
		return PTR_ERR(block);
	*next = cluster + (1U << qc_block_entry_bits(image));
	for (slot = 0; slot < 1U << qc_block_entry_bits(image); slot++)
		*sum += !!entry_read(block, slot);
	qc_block_put(block);
	return 0;
}

void qc_ranges_init(struct qc_ranges *ranges)
{
	spin_lock_init(&ranges->lock);
	INIT_LIST_HEAD(&ranges->list);
	init_waitqueue_head(&ranges->wait);
}

static bool range_locked(const struct qc_ranges *ranges, const struct qc_range *range)
{
	const struct qc_range *other;

	list_for_each_entry(other, &ranges->list, list)
		if (range->first <= other->last && other->first <= range->last)
			return true;
	return false;
}

static bool range_trylock(struct qc_ranges *ranges, struct qc_range *range)
{
	bool locked;

	spin_lock(&ranges->lock);
	locked = range_locked(ranges, range);
	if (!locked)
		list_add(&range->list, &ranges->list);
	spin_unlock(&ranges->lock);
	return !locked;
}

void qc_range_lock(struct qc_ranges *ranges, struct qc_range *range, u64 first, u64 last)
{
	range->first = first;
	range->last = last;
	wait_event(ranges->wait, range_trylock(ranges, range));
}

void qc_range_unlock(struct qc_ranges *ranges, struct qc_range *range)
{
	spin_lock(&ranges->lock);
	list_del(&range->list);
	spin_unlock(&ranges->lock);
	if (wq_has_sleeper(&ranges->wait))
		wake_up_all(&ranges->wait);
}

/* Copy an L2 table that a snapshot shares.  It is not dirty: only COPIED tables are changed. */
static int table_copy(struct qc_image *image, u64 from, u64 to)
{
	unsigned int size = qc_cache_block_size(&image->cache);
	u64 done;
	int error = 0;

	qc_store_note_written(image->store, to + qc_cluster_size(image));
	for (done = 0; done < qc_cluster_size(image) && !error; done += size) {
		error = qc_store_read(image->store, from + done, image->scratch, size);
		if (!error)
			error = qc_store_write(image->store, to + done, image->scratch, size);
	}
	return error;
}

static int l1_write(struct qc_image *image, u64 index, u64 entry)
{
	int error = qc_commit_entry(image, QC_DIRTY_L1,
				    image->l1_offset + index * QCOW2_ENTRY_SIZE, entry);

	if (!error)
		WRITE_ONCE(image->l1[index], entry | L1_NEW);
	return error;
}

/* Make the L2 table of L1 entry @index one that may be changed: exists, refcount one. */
static int table_own(struct qc_image *image, u64 index)
{
	u64 old, host, count = 1;
	int error;

	lockdep_assert_held(&image->lock);
	error = l1_read(image, index, &old);
	if (error || (old & QCOW2_COPIED))
		return error;

	error = qc_alloc_clusters(image, &count, &host);
	if (error)
		return error;
	error = qc_tables_mark(image, host >> image->cluster_bits, 1, QC_GFP_LOCKED);
	if (!error)
		error = old ? table_copy(image, old & QCOW2_OFFSET_MASK, host) :
			      qc_table_init(image, host);
	if (!error && old)
		error = qc_commit_free(image, (old & QCOW2_OFFSET_MASK) >> image->cluster_bits, 1,
				       true);
	if (!error) {
		error = l1_write(image, index, host | QCOW2_COPIED);
		if (error && old)
			qc_commit_keep(image, 1);
	}
	if (error) {
		qc_tables_clear(image, host >> image->cluster_bits, 1);
		qc_refcount_lower(image, host >> image->cluster_bits);
	}
	return error;
}

/* Queue what @entry names to be freed. */
static int free_named(struct qc_image *image, u64 entry)
{
	u64 pos = entry & QCOW2_OFFSET_MASK, len = qc_cluster_size(image), first, last, cluster;

	if (entry & QCOW2_COMPRESSED)
		qc_compressed_range(image, entry, &pos, &len);
	else if (!pos)
		return 0;
	first = pos >> image->cluster_bits;
	last = (pos + len - 1) >> image->cluster_bits;
	for (cluster = first; cluster <= last; cluster++) {
		if (qc_tables_test(image, cluster)) {
			qc_image_corrupt(image, "data cluster is a table",
					 cluster << image->cluster_bits);
			return -EIO;
		}
	}
	return qc_commit_free(image, first, last - first + 1, false);
}

/* The new value of an entry; false when it stays as it is. */
static bool new_entry(const struct qc_image *image, enum qc_l2_change what, u64 old, u64 host,
		      bool backed, u64 *entry)
{
	enum qc_extent_kind kind = entry_kind(image, old);
	bool zero_plain = kind == QC_EXTENT_ZERO && !(old & QCOW2_OFFSET_MASK);

	if (what == QC_L2_MAP) {
		*entry = host | QCOW2_COPIED;
		return true;
	}
	/* What already reads as zeroes without holding space needs nothing. */
	if (zero_plain || (kind == QC_EXTENT_UNALLOCATED && !backed))
		return false;
	if (what == QC_L2_ZERO_KEEP && kind == QC_EXTENT_ZERO)
		return false;
	if (image->version < 3)
		*entry = 0;
	else if (what == QC_L2_ZERO_KEEP && kind == QC_EXTENT_DATA && (old & QCOW2_COPIED))
		*entry = old | QCOW2_ZERO;
	else
		*entry = QCOW2_ZERO;
	return true;
}

static int change_entry(struct qc_image *image, struct qc_block *block, unsigned int slot,
			u64 cluster, enum qc_l2_change what, u64 host, bool backed)
{
	u64 old = entry_read(block, slot), entry;
	int error;

	if (test_bit(QC_BLOCK_SUSPECT, &block->flags) && entry_bad(image, old)) {
		qc_image_corrupt(image, "bad L2 entry", old & QCOW2_OFFSET_MASK);
		return -EIO;
	}
	if (!new_entry(image, what, old, host, backed, &entry))
		return 0;
	error = qc_block_shadow(block);
	if (!error && ((old & QCOW2_COMPRESSED) || ((entry ^ old) & QCOW2_OFFSET_MASK)))
		error = free_named(image, old);
	if (error)
		return error;
	/* Whoever sees the new entry also sees that it is not on disk yet. */
	qc_commit_dirty(image, block, QC_DIRTY_L2);
	smp_wmb();	/* pairs with needs_commit() and uncommitted() */
	WRITE_ONCE(((__be64 *)block->data)[slot], cpu_to_be64(entry));
	qc_count_note(&image->mapped, cluster, old, entry);
	return 0;
}

static int change_locked(struct qc_image *image, enum qc_l2_change what, u64 first, u64 count,
			 u64 host, bool backed, u64 *done)
{
	u64 index = l1_index(image, first);
	unsigned int slot, slots = 1U << qc_block_entry_bits(image);
	struct qc_block *block;
	int error = qc_commit_room(image) ?: qc_image_before_change(image);

	if (error)
		return error;
	if (what != QC_L2_MAP && !backed && !READ_ONCE(image->l1[index])) {
		*done = count;
		return 0;
	}
	error = table_own(image, index);
	while (!error && *done < count) {
		error = qc_commit_room(image);
		if (error)
			break;
		block = l2_block_get(image, image->l1[index], first + *done, &slot);
		if (IS_ERR(block))
			return PTR_ERR(block);
		if (!test_bit(QC_BLOCK_WRITE_OK, &block->flags))
			error = verify_copied(image, image->l1[index], block);
		for (; !error && slot < slots && *done < count; slot++) {
			error = change_entry(image, block, slot, first + *done, what, host, backed);
			if (!error) {
				(*done)++;
				host += qc_cluster_size(image);
			}
		}
		qc_block_put(block);
	}
	return error;
}

int qc_l2_change(struct qc_image *image, enum qc_l2_change what, u64 first, u64 count,
		 u64 host, bool backed, u64 *done)
{
	bool released = false;
	int error;

	*done = 0;
	if (what != QC_L2_MAP && image->version < 3 && backed)
		return -EOPNOTSUPP;
	do {
		mutex_lock(&image->lock);
		error = change_locked(image, what, first, count,
				      host + (*done << image->cluster_bits), backed, done);
		mutex_unlock(&image->lock);
		error = qc_change_retry(image, error, &released);
	} while (error == -EAGAIN);
	return error;
}
