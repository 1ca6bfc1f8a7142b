// SPDX-License-Identifier: GPL-2.0-only
/*
 * Host clusters: their refcounts, allocating and freeing them.  Section "Host cluster
 * management" of the specification.  All of it is changed under image->lock.
 *
 * A cluster is free when its refcount in memory is zero; that of a freed cluster
 * stays up until commit.c lowers it, which is what keeps the cluster from being used too
 * early.  A refcount block that does not exist yet is put into the first cluster
 * of those it counts, so that it counts itself.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "compat.h"
#include "image.h"
#include "log.h"

#define GROW_MIN	SZ_1M		/* a file grows in steps between these ... */
#define GROW_MAX	SZ_256M
#define GROW_SHIFT	3		/* ... of an eighth of its size */

/* Refcounts in one refcount block, log2. */
static unsigned int refblock_bits(const struct qc_image *image)
{
	return image->cluster_bits + 3 - image->refcount_order;
}

/* Refcounts in one cached block, log2. */
static unsigned int slot_bits(const struct qc_image *image)
{
	return image->cache.block_bits + 3 - image->refcount_order;
}

/* Host clusters that the refcount table can count. */
static u64 covered_clusters(const struct qc_image *image)
{
	return image->reftable_entries << refblock_bits(image);
}

static u64 refcount_max(const struct qc_image *image)
{
	return image->refcount_order == 6 ? U64_MAX : BIT_ULL(1U << image->refcount_order) - 1;
}

static u64 slot_read(const struct qc_image *image, const struct qc_block *block, u64 slot)
{
	unsigned int bits = 1U << image->refcount_order;
	const u8 *bytes = block->data;

	switch (image->refcount_order) {
	case 3:
		return bytes[slot];
	case 4:
		return be16_to_cpu(((__be16 *)block->data)[slot]);
	case 5:
		return be32_to_cpu(((__be32 *)block->data)[slot]);
	case 6:
		return be64_to_cpu(((__be64 *)block->data)[slot]);
	default:
		return bytes[slot * bits / 8] >> (slot * bits % 8) & (BIT(bits) - 1);
	}
}

static void slot_write(const struct qc_image *image, struct qc_block *block, u64 slot, u64 value)
{
	unsigned int bits = 1U << image->refcount_order, shift = slot * bits % 8;
	u8 *bytes = block->data;

	switch (image->refcount_order) {
	case 3:
		bytes[slot] = value;
		break;
	case 4:
		((__be16 *)block->data)[slot] = cpu_to_be16(value);
		break;
	case 5:
		((__be32 *)block->data)[slot] = cpu_to_be32(value);
		break;
	case 6:
		((__be64 *)block->data)[slot] = cpu_to_be64(value);
		break;
	default:
		bytes += slot * bits / 8;
		*bytes = (*bytes & ~((BIT(bits) - 1) << shift)) | (value << shift);
	}
}

static bool reftable_entry_bad(const struct qc_image *image, u64 entry)
{
	return entry != (entry & QCOW2_REFTABLE_OFFSET_MASK) || qc_cluster_offset(image, entry) ||
	       entry >= qc_store_size(image->store);
}

/*
 * The cached block with the refcount of @cluster, pinned, and the slot in it.
 * NULL when there is no refcount block: all that it would count are free.
 */
static struct qc_block *refcount_block(struct qc_image *image, u64 cluster, u64 *slot)
{
	u64 index = cluster >> refblock_bits(image), entry, in_block;
	struct qc_block *block;

	*slot = cluster & (BIT_ULL(slot_bits(image)) - 1);
	if (index >= image->reftable_entries)
		return NULL;
	entry = image->reftable[index];
	if (!entry)
		return NULL;
	if (reftable_entry_bad(image, entry)) {
		qc_image_corrupt(image, "bad refcount table entry",
				 image->reftable_offset + index * QCOW2_ENTRY_SIZE);
		return ERR_PTR(-EIO);
	}
	in_block = cluster & (BIT_ULL(refblock_bits(image)) - 1);
	block = qc_cache_get(&image->cache, (entry >> image->cache.block_bits) +
			     (in_block >> slot_bits(image)), QC_BLOCK_REFCOUNTS);
	if (IS_ERR(block) && PTR_ERR(block) == -EUCLEAN) {
		qc_image_corrupt(image, "refcount block is another table", entry);
		return ERR_PTR(-EIO);
	}
	return block;
}

int qc_refcount_read(struct qc_image *image, u64 cluster, u64 *refcount)
{
	struct qc_block *block;
	u64 slot;

	lockdep_assert_held(&image->lock);
	*refcount = 0;
	block = refcount_block(image, cluster, &slot);
	if (IS_ERR_OR_NULL(block))
		return PTR_ERR_OR_ZERO(block);
	*refcount = slot_read(image, block, slot);
	qc_block_put(block);
	return 0;
}

int qc_refcount_count(struct qc_image *image, u64 cluster, u64 *sum, u64 *next)
{
	struct qc_block *block;
	u64 slot;

	lockdep_assert_held(&image->lock);
	if (cluster >= covered_clusters(image)) {
		*next = U64_MAX;
		return 0;
	}
	block = refcount_block(image, cluster, &slot);
	if (IS_ERR(block))
		return PTR_ERR(block);
	if (!block) {
		*next = ((cluster >> refblock_bits(image)) + 1) << refblock_bits(image);
		return 0;
	}
	*next = cluster + BIT_ULL(slot_bits(image));
	for (slot = 0; slot < BIT_ULL(slot_bits(image)); slot++)
		*sum += !!slot_read(image, block, slot);
	qc_block_put(block);
	return 0;
}

/* Set the refcount of @cluster, whose refcount block exists. */
static int refcount_write(struct qc_image *image, u64 cluster, u64 refcount)
{
	struct qc_block *block;
	u64 slot, old;
	int error;

	block = refcount_block(image, cluster, &slot);
	if (IS_ERR(block))
		return PTR_ERR(block);
	if (WARN_ON_ONCE(!block || refcount > refcount_max(image))) {
		if (block)
			qc_block_put(block);
		return -EIO;
	}
	error = qc_block_shadow(block);
	if (!error) {
		old = slot_read(image, block, slot);
		slot_write(image, block, slot, refcount);
		qc_commit_dirty(image, block, QC_DIRTY_REFCOUNTS);
		qc_count_note(&image->used, cluster, old, refcount);
	}
	qc_block_put(block);
	return error;
}

/* Have the new refcount block in @cluster, which reads as zeroes on disk, count itself. */
static int refcount_write_new(struct qc_image *image, u64 cluster)
{
	u64 in_block = cluster & (BIT_ULL(refblock_bits(image)) - 1);
	u64 host = cluster << image->cluster_bits;
	struct qc_block *block;

	/* Not read from disk, so that nothing but a want of memory can make it fail. */
	block = qc_cache_get_new(&image->cache, (host >> image->cache.block_bits) +
				 (in_block >> slot_bits(image)), QC_BLOCK_REFCOUNTS);
	if (IS_ERR(block))
		return PTR_ERR(block);
	slot_write(image, block, cluster & (BIT_ULL(slot_bits(image)) - 1), 1);
	qc_commit_dirty(image, block, QC_DIRTY_REFCOUNTS);
	qc_count_note(&image->used, cluster, false, true);
	qc_block_put(block);
	return 0;
}

int qc_refcount_lower(struct qc_image *image, u64 cluster)
{
	u64 refcount;
	int error;

	lockdep_assert_held(&image->lock);
	error = qc_refcount_read(image, cluster, &refcount);
	if (!error && !refcount) {
		qc_image_corrupt(image, "cluster in use has refcount zero",
				 cluster << image->cluster_bits);
		error = -EIO;
	}
	if (!error)
		error = refcount_write(image, cluster, refcount - 1);
	if (!error && refcount == 1)
		image->free_hint = min(image->free_hint, cluster);
	return error;
}

void qc_refcount_give_back(struct qc_image *image, u64 cluster, u64 count)
{
	u64 in_block = BIT_ULL(slot_bits(image)) - 1;
	bool can_commit = true;
	int error = 0;

	/* In an aborted image what counts them may be gone, and nobody will use them. */
	while (count && (!error || error == -ENOMEM) && !qc_image_aborted(image)) {
		bool next = can_commit;		/* another block of refcounts */

		mutex_lock(&image->lock);
		do {
			error = next ? qc_commit_room(image) : 0;
			error = error ?: qc_refcount_lower(image, cluster);
			if (!error) {
				cluster++;
				count--;
				next = can_commit && !(cluster & in_block);
			}
		} while (count && !error);
		mutex_unlock(&image->lock);
		if (error == -ENOMEM)
			can_commit = !qc_commit_for_memory(image);
	}
}

/* Have the store hold clusters below @end; a file gets some more. */
static int ensure_room(struct qc_image *image, u64 end)
{
	u64 size = end << image->cluster_bits, step;
	int error;

	if (end <= image->host_limit)
		return 0;
	if (end > BIT_ULL(56) >> image->cluster_bits)
		return -EFBIG;
	step = clamp_t(u64, size >> GROW_SHIFT, GROW_MIN, GROW_MAX);
	if (!qc_store_bdev(image->store)) {
		error = qc_store_grow(image->store, round_up(size + step, qc_cluster_size(image)));
		if (!error)
			size = round_up(size + step, qc_cluster_size(image));
		else if (error == -ENOSPC || error == -EFBIG)
			error = qc_store_grow(image->store, size);
	} else {
		error = qc_store_grow(image->store, size);
		if (!error)
			size = qc_store_size(image->store);
	}
	if (!error) {
		image->host_limit = size >> image->cluster_bits;
		WRITE_ONCE(image->remap_end, size);
	}
	return error;
}

int qc_table_init(struct qc_image *image, u64 host)
{
	bool fresh = host >= qc_store_zero_from(image->store);

	qc_store_note_written(image->store, host + qc_cluster_size(image));
	return fresh ? 0 : qc_store_zero_range(image->store, host, qc_cluster_size(image));
}

static int reftable_write(struct qc_image *image, u64 index, u64 entry)
{
	int error = qc_commit_entry(image, QC_DIRTY_REFTABLE,
				    image->reftable_offset + index * QCOW2_ENTRY_SIZE, entry);

	if (!error)
		image->reftable[index] = entry;
	return error;
}

/* A table that is in use and yet has refcount zero must not be given to anybody. */
static int check_not_table(struct qc_image *image, u64 cluster, u64 count)
{
	for (; count; cluster++, count--) {
		if (qc_tables_test(image, cluster)) {
			qc_image_corrupt(image, "table has refcount zero",
					 cluster << image->cluster_bits);
			return -EIO;
		}
	}
	return 0;
}

/* Put the refcount block that counts @cluster, and does not exist, into @cluster. */
static int refblock_create(struct qc_image *image, u64 cluster)
{
	u64 index = cluster >> refblock_bits(image);
	u64 host = cluster << image->cluster_bits;
	int error = check_not_table(image, cluster, 1);

	if (!error)
		error = ensure_room(image, cluster + 1);
	if (!error)
		error = qc_tables_mark(image, cluster, 1, QC_GFP_LOCKED);
	if (error)
		return error;
	error = qc_table_init(image, host);
	if (!error) {
		image->reftable[index] = host;
		error = refcount_write_new(image, cluster);
	}
	if (!error) {
		error = reftable_write(image, index, host);
		if (error)
			qc_count_note(&image->used, cluster, true, false);
	}
	if (error) {
		/* Nothing on disk names it. */
		image->reftable[index] = 0;
		qc_commit_discard(image, host, qc_cluster_size(image));
		qc_tables_clear(image, cluster, 1);
		return error;
	}
	image->host_end = max(image->host_end, cluster + 1);
	return 0;
}

/*
 * The first free cluster from free_hint on, and how many more follow it within one
 * cached block, at most @count in all.
 */
static int find_free(struct qc_image *image, u64 *cluster, u64 *count)
{
	u64 slots = BIT_ULL(slot_bits(image)), slot, n;
	struct qc_block *block;
	int error;

	for (;;) {
		if (image->free_hint >= covered_clusters(image))
			return -EAGAIN;
		block = refcount_block(image, image->free_hint, &slot);
		if (IS_ERR(block))
			return PTR_ERR(block);
		if (!block) {
			error = refblock_create(image, image->free_hint);
			if (error)
				return error;
			image->free_hint++;
			continue;
		}
		while (slot < slots && slot_read(image, block, slot)) {
			slot++;
			image->free_hint++;
		}
		for (n = 0; n < *count && slot + n < slots; n++)
			if (slot_read(image, block, slot + n))
				break;
		qc_block_put(block);
		if (n) {
			*cluster = image->free_hint;
			*count = n;
			return check_not_table(image, *cluster, n);
		}
	}
}

int qc_alloc_clusters(struct qc_image *image, u64 *count, u64 *host)
{
	u64 cluster, done;
	int error;

	lockdep_assert_held(&image->lock);
	error = qc_image_before_change(image);
	if (!error)
		error = find_free(image, &cluster, count);
	if (error)
		return error;
	error = ensure_room(image, cluster + *count);
	if (error == -ENOSPC && *count > 1) {
		*count = 1;
		error = ensure_room(image, cluster + 1);
	}
	for (done = 0; done < *count && !error; done++)
		error = refcount_write(image, cluster + done, 1);
	if (error) {
		while (done-- > 1)
			refcount_write(image, cluster + done - 1, 0);
		return error;
	}
	image->free_hint = cluster + *count;
	image->host_end = max(image->host_end, cluster + *count);
	*host = cluster << image->cluster_bits;
	return 0;
}

int qc_alloc_data(struct qc_image *image, u64 *count, u64 *host, bool *fresh)
{
	u64 want = *count;
	bool released = false;
	int error;

	do {
		*count = want;
		mutex_lock(&image->lock);
		error = qc_commit_room(image) ?: qc_alloc_clusters(image, count, host);
		if (!error) {
			*fresh = *host >= qc_store_zero_from(image->store);
			qc_store_note_written(image->store,
					      *host + (*count << image->cluster_bits));
		}
		mutex_unlock(&image->lock);
		error = qc_change_retry(image, error, &released);
	} while (error == -EAGAIN);
	return error;
}

void qc_alloc_undo(struct qc_image *image, u64 host, u64 count)
{
	qc_refcount_give_back(image, host >> image->cluster_bits, count);
}

/* Refcount blocks to count @tables clusters of a refcount table, and themselves. */
static u64 refblocks_for(const struct qc_image *image, u64 tables)
{
	u64 per = BIT_ULL(refblock_bits(image)), blocks = 1;

	while (blocks * per < tables + blocks)
		blocks++;
	return blocks;
}

static int write_table(struct qc_image *image, u64 pos, const u64 *table, u64 entries)
{
	unsigned int size = qc_cache_block_size(&image->cache), i;
	__be64 *buf = image->scratch;
	u64 done;
	int error = 0;

	lockdep_assert_held(&image->lock);
	for (done = 0; done < entries && !error; done += size / QCOW2_ENTRY_SIZE) {
		for (i = 0; i < size / QCOW2_ENTRY_SIZE; i++)
			buf[i] = cpu_to_be64(table[done + i]);
		error = qc_store_write(image->store, pos + done * QCOW2_ENTRY_SIZE, buf, size);
	}
	return error;
}

/*
 * Move the refcount table to a larger one behind everything that the old one counts:
 *
 *	[new refcount blocks, counting this whole area][new refcount table]
 *
 * Order: all refcount blocks that the new table names, a flush, then the table, a flush; and in the
 * next commit the header's two fields (one sector), a flush.  Until then the old table stays as it
 * is and none of the clusters that only the new one counts is named on disk, so that either
 * table will do: a write of the header that failed may have taken place.  The old table is freed
 * as any cluster is.  Called with commit_lock and lock held, and nothing under writeback.
 * @new has @clusters clusters of zeroes for the table in memory, which with success it is; the
 * memory of the old one is the caller's then.
 */
static int reftable_move(struct qc_image *image, u64 *new, u64 clusters)
{
	u64 *old = image->reftable;
	u64 old_entries = image->reftable_entries, old_offset = image->reftable_offset;
	u64 old_clusters = image->reftable_clusters;
	u64 entries = clusters * (qc_cluster_size(image) / QCOW2_ENTRY_SIZE);
	u64 blocks = refblocks_for(image, clusters), counted = 0, i;
	u64 start = covered_clusters(image), table_pos = (start + blocks) << image->cluster_bits;
	int error;

	error = check_not_table(image, start, blocks + clusters);
	if (!error)
		error = ensure_room(image, start + blocks + clusters);
	if (error)
		return error;
	memcpy(new, old, old_entries * sizeof(*new));
	for (i = 0; i < blocks; i++)
		new[old_entries + i] = (start + i) << image->cluster_bits;

	image->reftable = new;
	image->reftable_entries = entries;
	error = qc_tables_mark(image, start, blocks + clusters, QC_GFP_LOCKED);
	for (i = 0; i < blocks && !error; i++)
		error = qc_table_init(image, (start + i) << image->cluster_bits);
	qc_store_note_written(image->store, (start + blocks + clusters) << image->cluster_bits);
	while (counted < blocks + clusters && !error) {
		error = refcount_write(image, start + counted, 1);
		if (!error)
			counted++;
	}
	if (!error)
		error = qc_commit_write_class(image, QC_DIRTY_REFCOUNTS);
	if (!error)
		error = write_table(image, table_pos, new, entries);
	if (!error)
		error = qc_image_flush(image);
	if (!error)
		error = qc_commit_free(image, old_offset >> image->cluster_bits, old_clusters,
				       true);
	if (error) {
		/* Nothing on disk names the new area; forget it. */
		while (counted--)
			qc_count_note(&image->used, start + counted, true, false);
		qc_commit_discard(image, start << image->cluster_bits,
				  blocks << image->cluster_bits);
		qc_tables_clear(image, start, blocks + clusters);
		image->reftable = old;
		image->reftable_entries = old_entries;
		return error;
	}
	image->reftable_offset = table_pos;
	image->reftable_clusters = clusters;
	image->reftable_moved = true;
	WRITE_ONCE(image->unclean, true);
	image->host_end = max(image->host_end, start + blocks + clusters);
	return 0;
}

/* Clusters of the table after one of @old clusters; 0: there is no larger one. */
static u64 reftable_next_clusters(const struct qc_image *image, u64 old)
{
	u64 per_cluster = qc_cluster_size(image) / QCOW2_ENTRY_SIZE;
	u64 most = max_t(u64, QCOW2_MAX_REFTABLE_BYTES >> image->cluster_bits, 1);
	u64 clusters = min(old + old / 2 + 1, most);

	while (clusters <= most &&
	       clusters * per_cluster < old * per_cluster + refblocks_for(image, clusters) + 1)
		clusters++;
	return clusters <= most ? clusters : 0;
}

int qc_reftable_grow(struct qc_image *image)
{
	u64 old = READ_ONCE(image->reftable_clusters);
	u64 clusters = reftable_next_clusters(image, old);
	unsigned int noio;
	u64 *new;
	int error;

	if (!clusters)
		return -EFBIG;
	/* Here, where no lock is held, memory can be waited for. */
	noio = memalloc_noio_save();
	new = kvcalloc(clusters, qc_cluster_size(image), GFP_KERNEL);
	memalloc_noio_restore(noio);
	if (!new)
		return -ENOMEM;

	mutex_lock(&image->commit_lock);
	error = qc_commit_locked(image);
	if (!error) {
		mutex_lock(&image->lock);
		/* Someone else may have done it while we waited. */
		if (image->reftable_clusters == old &&
		    image->free_hint >= covered_clusters(image)) {
			u64 *unused = image->reftable;

			error = reftable_move(image, new, clusters);
			if (!error)
				new = unused;
		}
		mutex_unlock(&image->lock);
	}
	mutex_unlock(&image->commit_lock);
	kvfree(new);
	return error;
}

/*
 * Where tables are: a sparse bitmap of host clusters, a page of bits at a time.
 */
#define TABLES_PAGE_BITS	(PAGE_SHIFT + 3)

/* The page number @index, made when there is none; NULL without memory. */
static unsigned long *tables_page(struct qc_image *image, unsigned long index, gfp_t gfp)
{
	unsigned long *bits = xa_load(&image->tables, index);

	if (bits)
		return bits;
	bits = (unsigned long *)get_zeroed_page(gfp);
	if (bits && xa_err(xa_store(&image->tables, index, bits, gfp))) {
		free_page((unsigned long)bits);
		return NULL;
	}
	return bits;
}

int qc_tables_mark(struct qc_image *image, u64 cluster, u64 count, gfp_t gfp)
{
	for (; count; cluster++, count--) {
		unsigned long index = cluster >> TABLES_PAGE_BITS;
		unsigned long *bits = tables_page(image, index, gfp);

		if (!bits)
			return -ENOMEM;
		__set_bit(cluster & (BIT(TABLES_PAGE_BITS) - 1), bits);
		/* That of the next table, ahead of need: without memory it is there then. */
		tables_page(image, index + 1, QC_GFP_LOCKED);
	}
	return 0;
}

void qc_tables_clear(struct qc_image *image, u64 cluster, u64 count)
{
	for (; count; cluster++, count--) {
		unsigned long *bits = xa_load(&image->tables, cluster >> TABLES_PAGE_BITS);

		if (bits)
			__clear_bit(cluster & (BIT(TABLES_PAGE_BITS) - 1), bits);
	}
}

bool qc_tables_test(struct qc_image *image, u64 cluster)
{
	unsigned long *bits = xa_load(&image->tables, cluster >> TABLES_PAGE_BITS);

	return bits && test_bit(cluster & (BIT(TABLES_PAGE_BITS) - 1), bits);
}

int qc_tables_mark_once(struct qc_image *image, u64 pos, u64 len, const char *what)
{
	u64 cluster = pos >> image->cluster_bits;
	u64 end = (pos + len + qc_cluster_size(image) - 1) >> image->cluster_bits;
	int error = 0;

	for (; cluster < end && !error; cluster++) {
		if (qc_tables_test(image, cluster)) {
			qc_err("%s at offset %#llx overlaps other metadata", what, pos);
			return -EUCLEAN;
		}
		error = qc_tables_mark(image, cluster, 1, GFP_KERNEL);
	}
	return error;
}

int qc_tables_load(struct qc_image *image)
{
	u64 i, size = qc_store_size(image->store);
	int error;

	error = qc_tables_mark_once(image, 0, 1, "header");
	if (!error)
		error = qc_tables_mark_once(image, image->l1_offset,
					    (u64)image->l1_size * QCOW2_ENTRY_SIZE, "L1 table");
	if (!error)
		error = qc_snapshots_mark(image);
	for (i = 0; i < image->l1_size && !error; i++) {
		u64 offset = image->l1[i] & QCOW2_OFFSET_MASK;

		/* A bad entry gives errors to those who need it, see l2.c. */
		if (offset && offset < size)
			error = qc_tables_mark_once(image, offset, 1, "L2 table");
	}
	return error;
}

/* The first cluster above all that are in use. */
static int find_end(struct qc_image *image, u64 from, u64 *end)
{
	struct qc_block *block;
	u64 slot, cluster = from;

	while (cluster) {
		u64 index = (cluster - 1) >> refblock_bits(image);

		if (!image->reftable[index]) {
			cluster = index << refblock_bits(image);
			continue;
		}
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		block = refcount_block(image, cluster - 1, &slot);
		if (IS_ERR(block))
			return PTR_ERR(block);
		do {
			if (slot_read(image, block, slot)) {
				qc_block_put(block);
				*end = cluster;
				return 0;
			}
			cluster--;
		} while (slot--);
		qc_block_put(block);
	}
	*end = 0;
	return 0;
}

/* The refcount table and its blocks, each of which counts its own clusters. */
static int mark_refcounts(struct qc_image *image)
{
	int error = qc_tables_mark_once(image, image->reftable_offset,
					(u64)image->reftable_clusters << image->cluster_bits,
					"refcount table");
	u64 i;

	for (i = 0; i < image->reftable_entries && !error; i++) {
		if (!image->reftable[i])
			continue;
		if (reftable_entry_bad(image, image->reftable[i])) {
			qc_err("refcount block at offset %#llx is misaligned or outside the image",
			       image->reftable[i]);
			return -EUCLEAN;
		}
		error = qc_tables_mark_once(image, image->reftable[i], 1, "refcount block");
	}
	return error;
}

int qc_refcount_open(struct qc_image *image)
{
	u64 clusters;
	int error;

	xa_init(&image->tables);
	image->reftable = kvcalloc(image->reftable_entries, sizeof(u64), GFP_KERNEL);
	if (!image->reftable)
		return -ENOMEM;
	error = qc_read_table(image, image->reftable_offset, image->reftable,
			      image->reftable_entries);
	if (error)
		return error;
	image->host_limit = qc_store_size(image->store) >> image->cluster_bits;
	error = mark_refcounts(image);
	if (error)
		return error;
	clusters = (qc_store_size(image->store) + qc_cluster_size(image) - 1) >>
		   image->cluster_bits;
	mutex_lock(&image->lock);
	error = find_end(image, min(clusters, covered_clusters(image)), &image->host_end);
	mutex_unlock(&image->lock);
	/* What lies behind the end as the refcounts see it was not ours: never cut it off. */
	image->keep_clusters = clusters > image->host_end ? clusters : 0;
	return error;
}

u64 qc_refcount_end(struct qc_image *image)
{
	u64 end;

	mutex_lock(&image->lock);
	/* When it can't be told nothing is cut off. */
	if (find_end(image, min(image->host_end, covered_clusters(image)), &end))
		end = U64_MAX >> image->cluster_bits;
	mutex_unlock(&image->lock);
	return max(end, image->keep_clusters);
}

void qc_refcount_close(struct qc_image *image)
{
	unsigned long index;
	void *bits;

	xa_for_each(&image->tables, index, bits)
		free_page((unsigned long)bits);
	xa_destroy(&image->tables);
	kvfree(image->reftable);
}
