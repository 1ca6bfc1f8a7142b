// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is written in which order.
 *
 * Changes of metadata happen in memory, in cached blocks that become dirty.  A commit
 * takes what is dirty at one moment and puts it on disk so that after a crash at
 * any point the image may leak clusters but nothing names what is not there:
 *
 *	1. refcount blocks	flush: they, and all data written before, are stable
 *	2. refcount table	flush
 *	   when it has moved: header	flush
 *	3. L2 tables		flush: they name data and clusters counted by 1 and 2
 *	4. L1 table		flush: it names L2 tables written by 3
 *	5. clusters that no entry names any more since 3: after a grace period of
 *	   in_flight, discarded below, and their refcounts lowered in memory
 *
 * Steps with nothing to write are left out, but for the flush of 1.
 *
 * The one moment matters: an L2 entry changed after the commit began may name data that
 * step 1 did not flush.  So a block taken by a commit is under WRITEBACK, and whoever changes
 * it then sets its bytes aside first (qc_block_shadow()); the commit writes those.
 *
 * When a write fails, everything the commit took is dirty again, and freed clusters
 * stay freed-to-be: the next commit tries all of it.  New L2 tables and refcount blocks are
 * made to read as zeroes on disk before anything names them, by whoever allocates them.
 *
 * When a flush fails there is no next commit: the image is aborted (image.h).  A disk may have
 * dropped what it could not make stable, data and new tables that were written long before, by
 * others, and whose pages are gone; what would then name them must not reach the disk.  So after
 * each of its flushes, and before each of its writes, a commit looks whether the image is aborted:
 * the flush that failed may have been another's, and the commit's own one, which came later, have
 * found nothing left to do.  One that the disk saw fail before ours was in flight when ours began,
 * or begun since; qc_image_flush() waits for all of those.  They come to an end: while something is
 * unclean, and it is as long as a commit has something to write, whoever wants a flush waits for
 * a commit, too (needs_commit() in io.c).
 *
 * Nobody calls qc_commit() inside an in_flight section or with lock held.
 */
#include <linux/list_sort.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "image.h"
#include "log.h"

#define BOUNCE_BYTES	SZ_64K		/* adjacent blocks written at once */
#define COMMIT_PERIOD	(5 * HZ)	/* dirty metadata waits no longer for a flush */
#define FREED_MAX	16384		/* runs of freed clusters kept before a commit is due */
#define FREED_RESERVE	16		/* so many can be noted without memory */

void qc_commit_dirty(struct qc_image *image, struct qc_block *block, enum qc_dirty_class class)
{
	lockdep_assert_held(&image->lock);
	WRITE_ONCE(image->unclean, true);
	/* Under writeback it sits on the commit's list, which looks at the flag at the end. */
	if (qc_block_set_dirty(block) && !test_bit(QC_BLOCK_WRITEBACK, &block->flags))
		list_add_tail(&block->dirty, &image->dirty[class]);
	if (!image->closing && !qc_image_aborted(image))
		queue_delayed_work(image->wq, &image->commit_work, COMMIT_PERIOD);
}

int qc_commit_entry(struct qc_image *image, enum qc_dirty_class class, u64 pos, u64 entry)
{
	unsigned int offset = pos & (qc_cache_block_size(&image->cache) - 1);
	struct qc_block *block;
	int error;

	block = qc_cache_get(&image->cache, pos >> image->cache.block_bits,
			     class == QC_DIRTY_L1 ? QC_BLOCK_L1 : QC_BLOCK_REFTABLE);
	if (IS_ERR(block))
		return PTR_ERR(block);
	error = qc_block_shadow(block);
	if (!error) {
		*(__be64 *)(block->data + offset) = cpu_to_be64(entry);
		qc_commit_dirty(image, block, class);
	}
	qc_block_put(block);
	return error;
}

int qc_commit_free(struct qc_image *image, u64 cluster, u64 count, bool table)
{
	struct qc_freed *freed;

	lockdep_assert_held(&image->lock);
	freed = list_first_entry_or_null(&image->freed, struct qc_freed, list);
	if (freed && freed->table == table && freed->cluster + freed->count == cluster) {
		freed->count += count;
		return 0;
	}
	freed = kmalloc(sizeof(*freed), QC_GFP_LOCKED) ?:
		mempool_alloc(&image->freed_pool, GFP_NOWAIT | __GFP_NOWARN);
	if (!freed)
		return -ENOMEM;
	freed->cluster = cluster;
	freed->count = count;
	freed->table = table;
	list_add(&freed->list, &image->freed);
	image->freed_runs++;
	WRITE_ONCE(image->unclean, true);
	return 0;
}

void qc_commit_keep(struct qc_image *image, u64 count)
{
	struct qc_freed *freed;

	lockdep_assert_held(&image->lock);
	freed = list_first_entry(&image->freed, struct qc_freed, list);
	freed->count -= count;
	if (freed->count)
		return;
	list_del(&freed->list);
	mempool_free(freed, &image->freed_pool);
	image->freed_runs--;
}

/* Take what is dirty. */
static void commit_begin(struct qc_image *image, struct list_head *list, enum qc_dirty_class class)
{
	struct qc_block *block;

	lockdep_assert_held(&image->lock);
	list_replace_init(&image->dirty[class], list);
	list_for_each_entry(block, list, dirty) {
		set_bit(QC_BLOCK_WRITEBACK, &block->flags);
		smp_mb__after_atomic();	/* block_evict() must see one of the two */
		qc_block_clear_dirty(block);
	}
}

/* Written, or not: let the blocks go, or have them dirty again. */
static void commit_end(struct qc_image *image, struct list_head *list, enum qc_dirty_class class,
		       int error)
{
	struct qc_block *block, *next;

	lockdep_assert_held(&image->lock);
	list_for_each_entry_safe(block, next, list, dirty) {
		if (error)
			qc_block_set_dirty(block);
		else if (class == QC_DIRTY_L1)
			qc_l1_committed(image, block->index << image->cache.block_bits,
					block->shadow ?: block->data);
		qc_block_drop_shadow(block);
		list_del_init(&block->dirty);
		if (test_bit(QC_BLOCK_DIRTY, &block->flags))
			list_add_tail(&block->dirty, &image->dirty[class]);
		smp_mb__before_atomic();	/* off the list before it can be evicted */
		clear_bit(QC_BLOCK_WRITEBACK, &block->flags);
	}
}

static int compare_index(void *priv, const struct list_head *a, const struct list_head *b)
{
	u64 ia = list_entry(a, struct qc_block, dirty)->index;
	u64 ib = list_entry(b, struct qc_block, dirty)->index;

	return ia < ib ? -1 : ia > ib;
}

/* Write the blocks of a list in ascending order, adjacent ones together. */
static int write_blocks(struct qc_image *image, struct list_head *list, bool locked)
{
	unsigned int size = qc_cache_block_size(&image->cache), len;
	struct qc_block *block;
	u64 first;
	int error = 0;

	lockdep_assert_held(&image->commit_lock);
	list_sort(NULL, list, compare_index);
	block = list_first_entry(list, struct qc_block, dirty);
	while (!error && !list_entry_is_head(block, list, dirty)) {
		first = block->index;
		len = 0;
		if (!locked)
			mutex_lock(&image->lock);
		do {
			memcpy(image->bounce + len, block->shadow ?: block->data, size);
			len += size;
			block = list_next_entry(block, dirty);
		} while (len < BOUNCE_BYTES && !list_entry_is_head(block, list, dirty) &&
			 block->index == first + len / size);
		if (!locked)
			mutex_unlock(&image->lock);
		error = qc_image_aborted(image) ? -EIO :
			qc_store_write(image->store, first << image->cache.block_bits,
				       image->bounce, len);
	}
	return error;
}

int qc_commit_write_class(struct qc_image *image, enum qc_dirty_class class)
{
	LIST_HEAD(list);
	int error;

	lockdep_assert_held(&image->commit_lock);
	commit_begin(image, &list, class);
	error = write_blocks(image, &list, true) ?: qc_image_flush(image);
	commit_end(image, &list, class, error);
	return error;
}

void qc_commit_discard(struct qc_image *image, u64 pos, u64 len)
{
	unsigned int bits = image->cache.block_bits, class;
	u64 first = pos >> bits, last = (pos + len - 1) >> bits;
	struct qc_block *block, *next;

	lockdep_assert_held(&image->lock);
	for (class = 0; class < QC_DIRTY_CLASSES; class++) {
		list_for_each_entry_safe(block, next, &image->dirty[class], dirty) {
			if (block->index >= first && block->index <= last) {
				list_del_init(&block->dirty);
				qc_block_clear_dirty(block);
			}
		}
	}
	qc_cache_forget(&image->cache, first, last);
}

static void release_run(struct qc_image *image, u64 cluster, u64 count, bool table)
{
	if (image->discard_passdown)
		qc_store_discard(image->store, cluster << image->cluster_bits,
				 count << image->cluster_bits);
	if (table) {
		mutex_lock(&image->lock);
		qc_tables_clear(image, cluster, count);
		mutex_unlock(&image->lock);
	}
	qc_refcount_give_back(image, cluster, count);
}

/* Lower the refcounts of a run; what falls to zero is discarded before it can be used again. */
static void release(struct qc_image *image, const struct qc_freed *freed)
{
	u64 cluster = freed->cluster, end = cluster + freed->count, run, refcount;
	unsigned int bits = image->cluster_bits - image->cache.block_bits;
	int error;

	if (freed->table)
		qc_cache_forget(&image->cache, cluster << bits, (end << bits) - 1);
	while (cluster < end && !qc_image_aborted(image)) {
		mutex_lock(&image->lock);
		for (run = 0, error = 0; !error && cluster + run < end; run++) {
			error = qc_refcount_read(image, cluster + run, &refcount);
			/* Freed twice, in an image that lies, and used again in between. */
			if (!error && !freed->table && qc_tables_test(image, cluster + run)) {
				qc_image_corrupt(image, "freed data cluster is a table",
						 (cluster + run) << image->cluster_bits);
				error = -EIO;
			}
			if (error || refcount != 1)
				break;
		}
		mutex_unlock(&image->lock);
		/* One that is shared stays so: nobody else lowers it.  An unknown one is leaked. */
		if (run)
			release_run(image, cluster, run, freed->table);
		else if (!error)
			qc_refcount_give_back(image, cluster, 1);
		cluster += run ?: 1;
		cond_resched();
	}
}

static void batch_grace_over(struct rcu_head *rcu)
{
	struct qc_image *image = container_of(rcu, struct qc_image, batch_rcu);

	queue_work(image->wq, &image->batch_work);
}

/* A grace period for what waits for one. */
static void batch_begin(struct qc_image *image)
{
	mutex_lock(&image->lock);
	list_splice_tail_init(&image->batch_next, &image->batch);
	image->batches_begun++;
	mutex_unlock(&image->lock);
	call_srcu(image->in_flight, &image->batch_rcu, batch_grace_over);
}

static void batch_work(struct work_struct *work)
{
	struct qc_image *image = container_of(work, struct qc_image, batch_work);
	struct qc_freed *freed, *next;
	bool more;

	/* Nobody else touches this list before the next batch begins. */
	list_for_each_entry_safe(freed, next, &image->batch, list) {
		release(image, freed);
		mempool_free(freed, &image->freed_pool);
	}
	INIT_LIST_HEAD(&image->batch);

	mutex_lock(&image->lock);
	WRITE_ONCE(image->batches_done, image->batches_begun);
	wake_up_all(&image->batch_wait);
	more = !list_empty(&image->batch_next);
	image->batch_running = more;
	mutex_unlock(&image->lock);
	if (more)
		batch_begin(image);
}

/* Step 5. */
static void batch_start(struct qc_image *image, struct list_head *freed)
{
	bool running;

	if (list_empty(freed))
		return;
	mutex_lock(&image->lock);
	list_splice_tail(freed, &image->batch_next);
	running = image->batch_running;
	image->batch_running = true;
	mutex_unlock(&image->lock);
	if (!running)
		batch_begin(image);
}

/* Until what commits have freed so far is released; not what others free meanwhile. */
static void batches_wait(struct qc_image *image)
{
	unsigned long last;

	mutex_lock(&image->lock);
	last = image->batches_begun + !list_empty(&image->batch_next);
	mutex_unlock(&image->lock);
	wait_event(image->batch_wait, READ_ONCE(image->batches_done) >= last);
}

static bool has_dirty(const struct qc_image *image)
{
	unsigned int class;

	for (class = 0; class < QC_DIRTY_CLASSES; class++)
		if (!list_empty(&image->dirty[class]))
			return true;
	return image->reftable_moved || !list_empty(&image->freed);
}

/* The refcount table that a move has left in a new place counts from here on. */
static int write_header(struct qc_image *image)
{
	int error = 0;

	lockdep_assert_held(&image->commit_lock);
	mutex_lock(&image->lock);
	if (image->reftable_moved)
		error = qc_image_write_reftable(image);
	if (!error)
		image->reftable_moved = false;
	mutex_unlock(&image->lock);
	return error;
}

int qc_commit_locked(struct qc_image *image)
{
	struct list_head blocks[QC_DIRTY_CLASSES], freed;
	unsigned int class, runs;
	int error = 0;
	u64 number;

	lockdep_assert_held(&image->commit_lock);
	if (qc_image_aborted(image))
		return -EIO;
	number = image->commit_started + 1;
	WRITE_ONCE(image->commit_started, number);

	mutex_lock(&image->lock);
	for (class = 0; class < QC_DIRTY_CLASSES; class++)
		commit_begin(image, &blocks[class], class);
	list_replace_init(&image->freed, &freed);
	runs = image->freed_runs;
	image->freed_runs = 0;
	mutex_unlock(&image->lock);

	for (class = 0; class < QC_DIRTY_CLASSES && !error; class++) {
		bool nothing = list_empty(&blocks[class]);

		if (!nothing)
			error = write_blocks(image, &blocks[class], false);
		if (!error && (!nothing || class == QC_DIRTY_REFCOUNTS))
			error = qc_image_flush(image);
		if (!error && class == QC_DIRTY_REFTABLE)
			error = write_header(image);
	}

	mutex_lock(&image->lock);
	for (class = 0; class < QC_DIRTY_CLASSES; class++)
		commit_end(image, &blocks[class], class, error);
	if (error) {
		list_splice(&freed, &image->freed);
		image->freed_runs += runs;
	}
	WRITE_ONCE(image->unclean, has_dirty(image));
	mutex_unlock(&image->lock);

	if (error && qc_image_aborted(image))
		return -EIO;
	if (error) {
		qc_warn("cannot write an image's metadata back: error %d; will try again", error);
		return error;
	}
	image->commit_done = number;
	batch_start(image, &freed);
	return 0;
}

int qc_commit(struct qc_image *image)
{
	u64 want;
	int error = 0;

	if (!image->writable || image->format == QC_RAW)
		return qc_store_flush(image->store);
	smp_mb();	/* only a commit that begins from here on covers what the caller means */
	want = READ_ONCE(image->commit_started) + 1;
	mutex_lock(&image->commit_lock);
	if (image->commit_done < want)
		error = qc_commit_locked(image);
	mutex_unlock(&image->commit_lock);
	return error;
}

int qc_commit_and_release(struct qc_image *image)
{
	int error = qc_commit(image);

	if (!error && image->writable && image->format == QC_QCOW2)
		batches_wait(image);
	return error;
}

int qc_commit_for_memory(struct qc_image *image)
{
	int error;

	memalloc_retry_wait(QC_GFP_LOCKED);
	error = qc_commit(image);
	qc_cache_free_reserve();
	return error;
}

int qc_change_retry(struct qc_image *image, int error, bool *released)
{
	if (error == -EAGAIN)
		error = qc_reftable_grow(image) ?: -EAGAIN;
	if (error == -ENOSPC && !*released) {
		/* What was freed meanwhile may be enough. */
		*released = true;
		error = qc_commit_and_release(image) ?: -EAGAIN;
	}
	if (error == -ENOMEM)
		error = qc_commit_for_memory(image) ?: -EAGAIN;
	return error;
}

int qc_commit_quiesce(struct qc_image *image)
{
	int error;

	/* Before what may take long: a count of a large image takes longer. */
	WRITE_ONCE(image->quiesced, true);
	/* Once for what is dirty, once for the refcounts that this released. */
	error = qc_commit_and_release(image) ?: qc_commit_and_release(image);
	WRITE_ONCE(image->written_back, !error);
	if (!image->writable || image->format == QC_RAW)
		return error;
	cancel_work_sync(&image->count_work);
	/* A commit that was running can have released clusters, which makes refcounts dirty. */
	do {
		cancel_delayed_work_sync(&image->commit_work);
		batches_wait(image);
	} while (delayed_work_pending(&image->commit_work));
	flush_work(&image->corrupt_work);
	return error;
}

void qc_commit_resume(struct qc_image *image)
{
	WRITE_ONCE(image->quiesced, false);
	if (image->writable && image->format == QC_QCOW2 && READ_ONCE(image->unclean) &&
	    !qc_image_aborted(image))
		queue_delayed_work(image->wq, &image->commit_work, COMMIT_PERIOD);
}

int qc_commit_throttle(struct qc_image *image)
{
	unsigned long dirty = qc_cache_dirty_bytes(), limit = qc_cache_limit();

	if (qc_image_aborted(image))
		return -EIO;
	if (!READ_ONCE(image->unclean))
		return 0;
	if (qc_cache_is_short(&image->cache))
		return qc_commit_for_memory(image);
	if (dirty > limit / 2 || READ_ONCE(image->freed_runs) > FREED_MAX)
		return qc_commit(image);
	if (dirty > limit / 4)
		mod_delayed_work(image->wq, &image->commit_work, 0);
	return 0;
}

int qc_commit_room(struct qc_image *image)
{
	lockdep_assert_held(&image->lock);
	return image->unclean && qc_cache_is_short(&image->cache) ? -ENOMEM : 0;
}

static void commit_work(struct work_struct *work)
{
	struct qc_image *image = container_of(to_delayed_work(work), struct qc_image, commit_work);

	/* What failed stays dirty, and is tried again. */
	if (qc_commit(image) && !image->closing && !qc_image_aborted(image))
		queue_delayed_work(image->wq, &image->commit_work, COMMIT_PERIOD);
}

int qc_writer_open(struct qc_image *image)
{
	unsigned int class;
	int error;

	mutex_init(&image->commit_lock);
	mutex_init(&image->lock);
	qc_ranges_init(&image->ranges);
	init_waitqueue_head(&image->batch_wait);
	for (class = 0; class < QC_DIRTY_CLASSES; class++)
		INIT_LIST_HEAD(&image->dirty[class]);
	INIT_LIST_HEAD(&image->freed);
	INIT_LIST_HEAD(&image->batch);
	INIT_LIST_HEAD(&image->batch_next);
	INIT_WORK(&image->batch_work, batch_work);
	INIT_DELAYED_WORK(&image->commit_work, commit_work);
	qc_count_init(image);

	image->bounce = kmalloc(BOUNCE_BYTES, GFP_KERNEL);
	image->scratch = kmalloc(1U << QC_BLOCK_MAX_BITS, GFP_KERNEL);
	image->wq = alloc_workqueue("qchain-image", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	image->in_flight = &image->writer->in_flight;
	error = image->bounce && image->scratch && image->wq ? 0 : -ENOMEM;
	if (!error)
		error = mempool_init_kmalloc_pool(&image->freed_pool, FREED_RESERVE,
						  sizeof(struct qc_freed));
	if (!error) {
		error = qc_refcount_open(image);
		if (error)
			qc_refcount_close(image);
	}
	if (error) {
		if (image->wq)
			destroy_workqueue(image->wq);
		image->wq = NULL;
		mempool_exit(&image->freed_pool);
		kfree(image->scratch);
		kfree(image->bounce);
	}
	return error;
}

int qc_writer_write_back(struct qc_image *image)
{
	int error = qc_commit_quiesce(image);
	u64 end;

	if (error || READ_ONCE(image->corrupt))
		return error;
	end = qc_refcount_end(image) << image->cluster_bits;
	error = qc_store_truncate(image->store, end);
	if (error)
		qc_warn("cannot cut an image's file back: error %d", error);
	return 0;
}

void qc_writer_settle(struct qc_image *image)
{
	mutex_lock(&image->commit_lock);
	mutex_lock(&image->lock);
	mutex_unlock(&image->lock);
	mutex_unlock(&image->commit_lock);
}

void qc_writer_close(struct qc_image *image)
{
	struct qc_freed *freed, *next;
	int error = 0;

	/* From here on nobody but us and released batches changes anything. */
	mutex_lock(&image->lock);
	image->closing = true;
	mutex_unlock(&image->lock);
	cancel_work_sync(&image->count_work);
	if (!image->released)
		error = qc_writer_write_back(image);
	if (!image->released && READ_ONCE(image->corrupt))
		qc_image_mark_corrupt(image);
	cancel_delayed_work_sync(&image->commit_work);
	batches_wait(image);
	if (error && !qc_image_aborted(image))
		qc_err("image on %u:%u inode %llu was not written back: error %d; check it",
		       MAJOR(image->id.dev), MINOR(image->id.dev), image->id.ino, error);

	srcu_barrier(image->in_flight);
	list_for_each_entry_safe(freed, next, &image->freed, list)
		mempool_free(freed, &image->freed_pool);
	qc_refcount_close(image);
	destroy_workqueue(image->wq);
	mempool_exit(&image->freed_pool);
	kfree(image->scratch);
	kfree(image->bounce);
}
