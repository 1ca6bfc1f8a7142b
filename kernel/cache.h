/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metadata cache of the module: blocks of up to 4 KiB that belong to a
 * "cache" (an image's tables, or the resolved map of a backing chain), found by
 * number under RCU, all on one LRU list and under one bound.
 *
 * Why not dm-bufio: it knows only block devices and its look-up sleeps; the look-up here
 * is part of .map(), and images lie in files.
 *
 * Life of a block:
 *
 *   FILLING --fill ok--> VALID (clean) <--> VALID (dirty)
 *      |                   |
 *      +--fill failed--+   +--evicted, forgotten--> detached, freed after RCU
 *                      +-> detached
 *
 * A pinned block is never evicted, a dirty block neither.  Look-ups that do not
 * pin must not use the block after rcu_read_unlock().
 *
 * Who may change the bytes of a valid block is the owner's affair (for images:
 * whoever holds the image's lock); concurrent RCU readers see single
 * 64-bit entries change, never a torn one.
 */
#ifndef QCHAIN_CACHE_H
#define QCHAIN_CACHE_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/rculist.h>
#include <linux/types.h>

#define QC_BLOCK_MAX_BITS	12

/* What a block holds; a block asked for as something else is refused. */
enum qc_block_kind {
	QC_BLOCK_L1,
	QC_BLOCK_L2,
	QC_BLOCK_REFTABLE,
	QC_BLOCK_REFCOUNTS,
	QC_BLOCK_MAP,		/* slice of a resolved map */
	QC_BLOCK_KINDS
};

enum qc_block_flag {
	QC_BLOCK_FILLING,	/* not readable yet; waiters sleep on this bit */
	QC_BLOCK_VALID,		/* bytes may be read */
	QC_BLOCK_DIRTY,		/* to be written by the owner; on a list of his */
	QC_BLOCK_WRITEBACK,	/* being written: change only after qc_block_shadow() */
	QC_BLOCK_DETACHED,	/* no longer found; freed with the last pin */
	QC_BLOCK_SUSPECT,	/* L2: has an entry that must be checked one by one */
	QC_BLOCK_WRITE_OK,	/* L2: every COPIED entry was checked against refcounts */
	QC_BLOCK_RESERVE,	/* made of the reserve, which others may wait for */
};

struct qc_cache;

struct qc_block {
	struct hlist_node hash;		/* RCU */
	struct qc_cache *cache;
	u64 index;
	void *data;			/* cache->block_size bytes */
	unsigned long flags;		/* enum qc_block_flag */
	enum qc_block_kind kind;
	bool touched;			/* used since the LRU hand last passed */
	atomic_t pins;			/* -1: being evicted */
	int error;			/* why filling failed */
	void *shadow;			/* the bytes to write while WRITEBACK, once changed */
	struct list_head lru;
	struct list_head siblings;	/* all blocks of the cache */
	struct list_head dirty;		/* for the owner */
	struct rcu_head rcu;
};

struct qc_cache {
	unsigned int block_bits;	/* 9 ... 12 */
	/* Fill block->data; process context, may sleep, must not allocate with I/O. */
	int (*fill)(struct qc_cache *cache, struct qc_block *block);
	u32 salt;
	struct list_head blocks;	/* under the module's cache lock */
	atomic_t reserve;		/* blocks here that were made of the reserve */
};

static inline unsigned int qc_cache_block_size(const struct qc_cache *cache)
{
	return 1U << cache->block_bits;
}

/* Set up and tear down.  At tear-down nothing is pinned; dirty blocks are dropped.  May sleep. */
void qc_cache_init(struct qc_cache *cache, unsigned int block_bits,
		   int (*fill)(struct qc_cache *cache, struct qc_block *block));
void qc_cache_destroy(struct qc_cache *cache);

/*
 * qc_cache_peek - the valid block number @index, or NULL.
 * Any context, inside rcu_read_lock(); never sleeps.
 */
struct qc_block *qc_cache_peek(struct qc_cache *cache, u64 index);

/*
 * qc_cache_get - the block number @index, filled when it was not cached, pinned.
 * Returns the block or ERR_PTR: what fill() said, -EUCLEAN when it is cached as another kind,
 * -ENOMEM.  Process context, sleeps.
 */
struct qc_block *qc_cache_get(struct qc_cache *cache, u64 index, enum qc_block_kind kind);

/*
 * qc_cache_get_new - the same for a block whose old content is void: zeroed, not filled.
 * Nobody else may be asking for this block (its table is not reachable yet).
 */
struct qc_block *qc_cache_get_new(struct qc_cache *cache, u64 index, enum qc_block_kind kind);

/* Give a pin back.  Any context. */
void qc_block_put(struct qc_block *block);

/*
 * For memory that is asked for under an owner's lock, without which other memory may not become
 * free: what cannot be had is tried again without the lock.
 */
#define QC_GFP_LOCKED	(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN)

/*
 * qc_block_shadow - call before changing a block: when it is under writeback, the bytes being
 * written are set aside first.  Under the owner's lock.  0, or -ENOMEM: memory is not waited for,
 * as none is needed once the writeback is over.  Sleeps.
 */
int qc_block_shadow(struct qc_block *block);

/* Drop the bytes set aside, at the end of writeback.  Under the owner's lock. */
void qc_block_drop_shadow(struct qc_block *block);

/*
 * Set or clear DIRTY; keeps the module's count of dirty bytes.  Set returns whether it was clear
 * before.  Under the owner's lock; do not sleep.
 */
bool qc_block_set_dirty(struct qc_block *block);
void qc_block_clear_dirty(struct qc_block *block);

/*
 * Forget blocks [@first, @last]: what lay there was freed.  None is dirty; pins may
 * be left only by readers that no longer care.  May sleep.
 */
void qc_cache_forget(struct qc_cache *cache, u64 first, u64 last);

/* Evict what can be evicted of @cache.  Process context, sleeps. */
void qc_cache_drop_clean(struct qc_cache *cache);

/* Bytes held by the cache, dirty bytes among them, and the bound.  Any context. */
unsigned long qc_cache_bytes(void);
unsigned long qc_cache_dirty_bytes(void);
unsigned long qc_cache_limit(void);

/*
 * Is memory so short that dirty blocks of @cache should be written to get them back?  Never when
 * it has nothing of the reserve.  Any context.
 */
bool qc_cache_is_short(const struct qc_cache *cache);

/* Evict clean blocks that were made of the reserve.  Process context, does not sleep. */
void qc_cache_free_reserve(void);

int qc_cache_module_init(void);
void qc_cache_module_exit(void);

#endif /* QCHAIN_CACHE_H */
