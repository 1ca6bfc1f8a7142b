/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What store.c shares with the two kinds of stores, store-bdev.c and
 * store-file.c, and nobody else.
 */
#ifndef QCHAIN_STORE_INTERNAL_H
#define QCHAIN_STORE_INTERNAL_H

#include <linux/mutex.h>

#include "store.h"

struct qc_store_queue;

/*
 * All of these but submit_nowait() are called under memalloc_noio, outside of
 * file system transactions and of reclaim, and may sleep.  Requests are aligned
 * (qc_store_aligned()) and not empty.
 */
struct qc_store_ops {
	/* As qc_store_submit_nowait(); NULL where bios are remapped instead. */
	bool (*submit_nowait)(struct qc_store_req *req);
	/* Reads or writes all of the request and returns 0 or an error; done() is not called. */
	int (*rw)(struct qc_store_req *req);
	int (*flush)(struct qc_store *store);
	/* @pos and @len are multiples of store->block.  -EOPNOTSUPP: the caller writes zeroes. */
	int (*zero_range)(struct qc_store *store, u64 pos, u64 len);
	/* @pos and @len are multiples of store->block. */
	int (*discard)(struct qc_store *store, u64 pos, u64 len);
	int (*grow)(struct qc_store *store, u64 size);
	int (*truncate)(struct qc_store *store, u64 size);
	/* No operation comes after this one; not under memalloc_noio.  NULL: nothing to end. */
	void (*close)(struct qc_store *store);
};

/* Unaligned writes lock the blocks at their ends, by the hash of the block number. */
#define QC_RMW_LOCKS	16

struct qc_store {
	const struct qc_store_ops *ops;
	struct file *file;		/* our own file description, for all I/O */
	struct file *held;		/* that of the fd:N, for its locks; or NULL */
	struct block_device *bdev;	/* NULL: a regular file */
	u64 known_size;			/* that of the file or device, as we found or made it */
	struct qc_store_id id;
	unsigned int align;		/* of position and length */
	unsigned int dma_mask;		/* of memory */
	unsigned int block;		/* unit in which space is given back and zeroed */
	bool writable;
	bool direct;			/* I/O bypasses the page cache */
	bool nowait;			/* ... and knows IOCB_NOWAIT */
	atomic64_t zero_from;
	errseq_t flush_errors;		/* flushes that have failed */
	spinlock_t told_lock;		/* around who has been told of them */
	atomic_t flushing;		/* flushes in flight */
	wait_queue_head_t flush_wait;
	void (*lost)(void *owner);	/* see qc_store_on_loss(); or NULL */
	void *owner;
	atomic_t times_due;		/* files: time stamps are to be set */
	struct mutex times_lock;	/* held while they are */
	struct delayed_work times_work;
	struct qc_store_queue *queue;	/* shared by the stores of one file system */
	struct mutex *rmw_locks;	/* QC_RMW_LOCKS of them; NULL: read-only */
};

/*
 * What is told above of an error from below.  The module waits for memory that it has not got
 * itself, and for a larger refcount table, so what is told of those is final; a quota is space.
 */
int qc_store_final_error(int error);

/* The queue for completions that need a task, but block on nothing. */
extern struct workqueue_struct *qc_store_done_wq;

/* Fill in what is particular to the kind: ops, align, dma_mask, block, direct, nowait. */
int qc_store_bdev_setup(struct qc_store *store);
int qc_store_file_setup(struct qc_store *store);

/*
 * Whether the current task may call into a file system here: it is inside
 * nobody's transaction, not in reclaim, has stack left, and no limit on file sizes
 * of its own (which is not meant for the image).
 */
bool qc_store_context_ok(enum req_op op);

/*
 * Whether the request goes through unbounced.  Sets @nr_segs to the number of its (multi-page)
 * segments.
 */
bool qc_store_aligned(const struct qc_store_req *req, unsigned int *nr_segs);

/*
 * Has somebody taken away what there was at the end of the store, or the device as a whole?  Then
 * it is lost, and not room that reads as zeroes.  Any context.
 */
static inline bool qc_store_cut(const struct qc_store *store)
{
	return i_size_read(store->file->f_mapping->host) < READ_ONCE(store->known_size);
}

/* Let @fn run for the request in the store's work queue. */
void qc_store_defer(struct qc_store_req *req, work_func_t fn);

/* The same for @work, after @delay jiffies. */
void qc_store_queue_later(struct qc_store *store, struct delayed_work *work, unsigned long delay);

/* Zero the memory of the request from the byte @from of it on.  Any context. */
void qc_store_zero_tail(const struct qc_store_req *req, unsigned int from);

#endif /* QCHAIN_STORE_INTERNAL_H */
