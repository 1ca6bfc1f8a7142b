// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata cache of the module.  See cache.h for the life of a block.
 *
 * Locks: cache_lock protects the hash chains' writers, the LRU list and the sibling
 * lists.  It is taken on misses, evictions and tear-down, never by a look-up that hits.
 */
#include <linux/hash.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "cache.h"
#include "compat.h"

#define HASH_BITS		15
#define RESERVE_BLOCKS		128	/* enough for some ten writers to go through at once */
#define EVICT_BATCH		32

static unsigned long metadata_limit_kib = 65536;
module_param(metadata_limit_kib, ulong, 0644);
MODULE_PARM_DESC(metadata_limit_kib, "Upper bound of cached metadata in KiB");

static struct hlist_head *hash_table;
static DEFINE_SPINLOCK(cache_lock);
static LIST_HEAD(lru_list);			/* head: newest */
static atomic_long_t cached_bytes;
static atomic_long_t dirty_bytes;
static struct kmem_cache *block_slab;
static mempool_t *block_pool;
static mempool_t *data_pool;
static struct shrinker *shrinker;

static struct hlist_head *hash_chain(const struct qc_cache *cache, u64 index)
{
	return &hash_table[hash_64(index ^ ((u64)cache->salt << 32), HASH_BITS)];
}

unsigned long qc_cache_bytes(void)
{
	return atomic_long_read(&cached_bytes);
}

unsigned long qc_cache_dirty_bytes(void)
{
	return atomic_long_read(&dirty_bytes);
}

unsigned long qc_cache_limit(void)
{
	/* Below this one writer could not hold what it needs at once. */
	return max(READ_ONCE(metadata_limit_kib), 512UL) << 10;
}

/* What a block costs, as counted against the bound. */
static long block_cost(const struct qc_block *block)
{
	return sizeof(*block) + qc_cache_block_size(block->cache);
}

bool qc_cache_is_short(const struct qc_cache *cache)
{
	return atomic_read(&cache->reserve) &&
	       min(READ_ONCE(data_pool->curr_nr), READ_ONCE(block_pool->curr_nr)) <
	       RESERVE_BLOCKS / 2;
}

/* Both parts are from the reserve or none is, so that what is in the pools goes together. */
static struct qc_block *block_alloc(struct qc_cache *cache, u64 index, enum qc_block_kind kind)
{
	struct qc_block *block = kmem_cache_alloc(block_slab, QC_GFP_LOCKED);
	void *data = kmalloc(qc_cache_block_size(cache), QC_GFP_LOCKED);
	bool reserve = !block || !data;

	if (reserve) {
		kfree(data);
		if (block)
			kmem_cache_free(block_slab, block);
		/* Clean blocks may hold what is left of the reserve. */
		qc_cache_free_reserve();
		block = mempool_alloc(block_pool, GFP_NOIO);
		data = mempool_alloc(data_pool, GFP_NOIO);
	}
	memset(block, 0, sizeof(*block));
	block->cache = cache;
	block->index = index;
	block->kind = kind;
	block->flags = BIT(QC_BLOCK_FILLING);
	atomic_set(&block->pins, 1);
	INIT_LIST_HEAD(&block->lru);
	INIT_LIST_HEAD(&block->siblings);
	INIT_LIST_HEAD(&block->dirty);
	block->data = data;
	if (reserve)
		__set_bit(QC_BLOCK_RESERVE, &block->flags);
	return block;
}

static void block_free_rcu(struct rcu_head *rcu)
{
	struct qc_block *block = container_of(rcu, struct qc_block, rcu);

	if (test_bit(QC_BLOCK_RESERVE, &block->flags)) {
		mempool_free(block->data, data_pool);
		mempool_free(block, block_pool);
	} else {
		kfree(block->data);
		kmem_cache_free(block_slab, block);
	}
}

/* Take the block out of everything; cache_lock held. */
static void block_detach(struct qc_block *block)
{
	lockdep_assert_held(&cache_lock);
	if (test_and_set_bit(QC_BLOCK_DETACHED, &block->flags))
		return;
	hlist_del_rcu(&block->hash);
	list_del_init(&block->lru);
	list_del_init(&block->siblings);
	atomic_long_sub(block_cost(block), &cached_bytes);
	if (test_bit(QC_BLOCK_RESERVE, &block->flags))
		atomic_dec(&block->cache->reserve);
}

/* Evict one block when nobody holds it; cache_lock held. */
static bool block_evict(struct qc_block *block)
{
	if (test_bit(QC_BLOCK_DIRTY, &block->flags) ||
	    test_bit(QC_BLOCK_WRITEBACK, &block->flags) ||
	    atomic_cmpxchg(&block->pins, 0, -1) != 0)
		return false;
	/*
	 * A pin before the exchange may have made it dirty and let go again.  A commit sets
	 * WRITEBACK before it clears DIRTY, and one that failed sets DIRTY before it clears
	 * WRITEBACK: one of the two is set at every moment, so look at both at one.
	 */
	smp_mb__after_atomic();
	if (READ_ONCE(block->flags) & (BIT(QC_BLOCK_DIRTY) | BIT(QC_BLOCK_WRITEBACK))) {
		atomic_set(&block->pins, 0);
		return false;
	}
	block_detach(block);
	call_rcu(&block->rcu, block_free_rcu);
	return true;
}

/* Look at no more than @scan blocks from the cold end; returns how many were evicted. */
static unsigned long evict(unsigned long scan)
{
	unsigned long evicted = 0;

	spin_lock(&cache_lock);
	while (scan-- && !list_empty(&lru_list)) {
		struct qc_block *block = list_last_entry(&lru_list, struct qc_block, lru);

		if (block->touched) {
			WRITE_ONCE(block->touched, false);
			list_move(&block->lru, &lru_list);
		} else if (block_evict(block)) {
			evicted++;
		} else {
			list_move(&block->lru, &lru_list);
		}
	}
	spin_unlock(&cache_lock);
	return evicted;
}

void qc_cache_free_reserve(void)
{
	struct qc_block *block, *next;

	spin_lock(&cache_lock);
	list_for_each_entry_safe(block, next, &lru_list, lru)
		if (test_bit(QC_BLOCK_RESERVE, &block->flags))
			block_evict(block);
	spin_unlock(&cache_lock);
}

static void make_room(void)
{
	unsigned int tries = 8;

	while (qc_cache_bytes() > qc_cache_limit() && tries--)
		if (!evict(EVICT_BATCH))
			cond_resched();
}

static __always_inline struct qc_block *chain_find(struct qc_cache *cache, u64 index)
{
	struct qc_block *block;

	hlist_for_each_entry_rcu(block, hash_chain(cache, index), hash,
				 lockdep_is_held(&cache_lock))
		if (block->index == index && block->cache == cache)
			return block;
	return NULL;
}

struct qc_block *qc_cache_peek(struct qc_cache *cache, u64 index)
{
	struct qc_block *block = chain_find(cache, index);

	if (!block || !test_bit_acquire(QC_BLOCK_VALID, &block->flags))
		return NULL;
	if (!READ_ONCE(block->touched))
		WRITE_ONCE(block->touched, true);
	return block;
}

void qc_block_put(struct qc_block *block)
{
	/*
	 * Read under RCU: once the pin is gone an evictor may free the block. Nobody can
	 * find a detached block, so its last pin is really the last.
	 */
	rcu_read_lock();
	if (atomic_dec_and_test(&block->pins) &&
	    test_bit(QC_BLOCK_DETACHED, &block->flags) &&
	    atomic_cmpxchg(&block->pins, 0, -1) == 0)
		call_rcu(&block->rcu, block_free_rcu);
	rcu_read_unlock();
}

/* Find and pin, or insert @fresh (pinned by its maker); NULL only when !@fresh. */
static struct qc_block *find_or_insert(struct qc_cache *cache, u64 index, struct qc_block *fresh)
{
	struct qc_block *block;

	rcu_read_lock();
	block = chain_find(cache, index);
	if (block && !atomic_inc_unless_negative(&block->pins))
		block = NULL;
	rcu_read_unlock();
	if (block || !fresh)
		return block;

	spin_lock(&cache_lock);
	block = chain_find(cache, index);
	if (block) {
		/* Evictions happen under cache_lock, so what is still here can be pinned. */
		atomic_inc(&block->pins);
	} else {
		block = fresh;
		hlist_add_head_rcu(&block->hash, hash_chain(cache, index));
		list_add(&block->lru, &lru_list);
		list_add_tail(&block->siblings, &cache->blocks);
		atomic_long_add(block_cost(block), &cached_bytes);
		if (test_bit(QC_BLOCK_RESERVE, &block->flags))
			atomic_inc(&cache->reserve);
	}
	spin_unlock(&cache_lock);
	return block;
}

static void filled(struct qc_block *block, int error)
{
	if (error) {
		block->error = error;
		spin_lock(&cache_lock);
		block_detach(block);
		spin_unlock(&cache_lock);
	} else {
		smp_mb__before_atomic();	/* bytes before VALID */
		set_bit(QC_BLOCK_VALID, &block->flags);
	}
	clear_and_wake_up_bit(QC_BLOCK_FILLING, &block->flags);
}

static struct qc_block *get(struct qc_cache *cache, u64 index, enum qc_block_kind kind, bool fill)
{
	struct qc_block *block = find_or_insert(cache, index, NULL);
	struct qc_block *fresh;
	int error = 0;

	if (!block) {
		make_room();
		fresh = block_alloc(cache, index, kind);
		block = find_or_insert(cache, index, fresh);
		if (block == fresh) {
			if (fill)
				error = cache->fill(cache, block);
			else
				memset(block->data, 0, qc_cache_block_size(cache));
			filled(block, error);
		} else {
			block_free_rcu(&fresh->rcu);
		}
	}

	wait_on_bit(&block->flags, QC_BLOCK_FILLING, TASK_UNINTERRUPTIBLE);
	if (!test_bit_acquire(QC_BLOCK_VALID, &block->flags))
		error = block->error;
	else if (block->kind != kind)
		error = -EUCLEAN;
	else
		WRITE_ONCE(block->touched, true);
	if (error) {
		qc_block_put(block);
		return ERR_PTR(error);
	}
	return block;
}

struct qc_block *qc_cache_get(struct qc_cache *cache, u64 index, enum qc_block_kind kind)
{
	return get(cache, index, kind, true);
}

struct qc_block *qc_cache_get_new(struct qc_cache *cache, u64 index, enum qc_block_kind kind)
{
	return get(cache, index, kind, false);
}

int qc_block_shadow(struct qc_block *block)
{
	unsigned int size = qc_cache_block_size(block->cache);

	if (!test_bit(QC_BLOCK_WRITEBACK, &block->flags) || block->shadow)
		return 0;
	block->shadow = kmalloc(size, QC_GFP_LOCKED);
	if (!block->shadow)
		return -ENOMEM;
	memcpy(block->shadow, block->data, size);
	return 0;
}

void qc_block_drop_shadow(struct qc_block *block)
{
	kfree(block->shadow);
	block->shadow = NULL;
}

bool qc_block_set_dirty(struct qc_block *block)
{
	if (test_and_set_bit(QC_BLOCK_DIRTY, &block->flags))
		return false;
	atomic_long_add(block_cost(block), &dirty_bytes);
	return true;
}

void qc_block_clear_dirty(struct qc_block *block)
{
	if (test_and_clear_bit(QC_BLOCK_DIRTY, &block->flags))
		atomic_long_sub(block_cost(block), &dirty_bytes);
}

static void forget(struct qc_block *block)
{
	block_detach(block);
	/* Against the last qc_block_put(): one of the two sees the other and frees. */
	smp_mb__after_atomic();
	if (atomic_cmpxchg(&block->pins, 0, -1) == 0)
		call_rcu(&block->rcu, block_free_rcu);
}

void qc_cache_forget(struct qc_cache *cache, u64 first, u64 last)
{
	struct qc_block *block;
	u64 index;

	for (index = first; index <= last; index++) {
		spin_lock(&cache_lock);
		block = chain_find(cache, index);
		if (block) {
			WARN_ON_ONCE(test_bit(QC_BLOCK_DIRTY, &block->flags));
			forget(block);
		}
		spin_unlock(&cache_lock);
	}
}

void qc_cache_drop_clean(struct qc_cache *cache)
{
	struct qc_block *block;
	unsigned int n;
	LIST_HEAD(seen);

	do {
		spin_lock(&cache_lock);
		for (n = 0; n < EVICT_BATCH && !list_empty(&cache->blocks); n++) {
			block = list_first_entry(&cache->blocks, struct qc_block, siblings);
			if (!block_evict(block))
				list_move(&block->siblings, &seen);
		}
		/* Blocks that stay go back when all have been looked at. */
		if (!n)
			list_splice_init(&seen, &cache->blocks);
		spin_unlock(&cache_lock);
		cond_resched();
	} while (n);
}

void qc_cache_init(struct qc_cache *cache, unsigned int block_bits,
		   int (*fill)(struct qc_cache *cache, struct qc_block *block))
{
	cache->block_bits = block_bits;
	cache->fill = fill;
	cache->salt = get_random_u32();
	atomic_set(&cache->reserve, 0);
	INIT_LIST_HEAD(&cache->blocks);
}

void qc_cache_destroy(struct qc_cache *cache)
{
	struct qc_block *block;
	unsigned int n;

	do {
		spin_lock(&cache_lock);
		for (n = 0; n < EVICT_BATCH && !list_empty(&cache->blocks); n++) {
			block = list_first_entry(&cache->blocks, struct qc_block, siblings);
			WARN_ON_ONCE(atomic_read(&block->pins) > 0);
			list_del_init(&block->dirty);
			qc_block_clear_dirty(block);
			forget(block);
		}
		spin_unlock(&cache_lock);
		cond_resched();
	} while (n);
	/* Who still walks over a block in a hash chain compares its cache, and looks no further. */
}

static unsigned long shrink_count(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long bytes = qc_cache_bytes(), dirty = min(qc_cache_dirty_bytes(), bytes);
	unsigned long clean = bytes - dirty;

	return clean >> QC_BLOCK_MAX_BITS ?: SHRINK_EMPTY;
}

static unsigned long shrink_scan(struct shrinker *s, struct shrink_control *sc)
{
	/* None at all is no reason to stop: blocks in use have had their chance now. */
	return evict(sc->nr_to_scan);
}

int qc_cache_module_init(void)
{
	hash_table = kvcalloc(1UL << HASH_BITS, sizeof(*hash_table), GFP_KERNEL);
	block_slab = KMEM_CACHE(qc_block, 0);
	if (block_slab)
		block_pool = mempool_create_slab_pool(RESERVE_BLOCKS, block_slab);
	data_pool = mempool_create_kmalloc_pool(RESERVE_BLOCKS, 1U << QC_BLOCK_MAX_BITS);
	if (hash_table && block_pool && data_pool)
		shrinker = qc_shrinker_register("dm-qchain", shrink_count, shrink_scan);
	if (!shrinker) {
		qc_cache_module_exit();
		return -ENOMEM;
	}
	return 0;
}

void qc_cache_module_exit(void)
{
	if (shrinker)
		qc_shrinker_unregister(shrinker);
	rcu_barrier();
	mempool_destroy(data_pool);
	mempool_destroy(block_pool);
	kmem_cache_destroy(block_slab);
	kvfree(hash_table);
}
