// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stores in regular files: a request becomes a kiocb, direct where the file system can.
 *
 * The file system is entered from two places.  From .map() of the target, with IOCB_NOWAIT,
 * in whatever task wrote to the device: that task may hold locks of the file system
 * above, so that everything that could make it wait for a lock, a journal or another bio has to be
 * turned away there (qc_store_context_ok(), file_submit_nowait()).  And from kernel
 * threads, where waiting is fine.
 *
 * The methods of the file are called directly, not through vfs_iocb_iter_*(): whether this
 * task may use the image was decided when it was opened, by whoever opened it.
 */
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/stat.h>
#include <linux/uio.h>

#include "compat.h"
#include "log.h"
#include "store-internal.h"

#define TIMES_DELAY	HZ

static struct inode *file_store_inode(const struct qc_store *store)
{
	return store->file->f_mapping->host;
}

/*
 * Time stamps.  Setting them is a transaction, for which a write with NOWAIT is turned away: the
 * first one after each tick of the clock, and all that come until a slower one has set them.  So
 * direct writes go through a description that leaves them alone (FMODE_NOCMTIME), and they are set
 * afterwards: within a second, and before a flush, hence before a suspend, is through.
 *
 * times_due is set after the data has changed and before anybody is told, and taken back before the
 * clock is read; while it is set the work is queued, or about to look.
 */
static void times_note(struct qc_store *store)
{
	if (store->direct && !atomic_read(&store->times_due) &&
	    !atomic_xchg(&store->times_due, 1))
		qc_store_queue_later(store, &store->times_work, TIMES_DELAY);
}

/* False: not now, as the file system is frozen. */
static bool times_set(struct qc_store *store)
{
	struct super_block *sb = file_inode(store->file)->i_sb;
	bool done = true;

	mutex_lock(&store->times_lock);
	if (atomic_xchg(&store->times_due, 0)) {
		done = sb_start_write_trylock(sb);
		if (done) {
			file_update_time(store->file);
			sb_end_write(sb);
		} else {
			atomic_set(&store->times_due, 1);
		}
	}
	mutex_unlock(&store->times_lock);
	return done;
}

static void times_work(struct work_struct *work)
{
	struct qc_store *store = container_of(to_delayed_work(work), struct qc_store, times_work);
	unsigned int noio = memalloc_noio_save();

	if (!times_set(store))
		qc_store_queue_later(store, &store->times_work, TIMES_DELAY);
	memalloc_noio_restore(noio);
}

/* Calls into the file system; returns what it does. */
static ssize_t file_call(struct qc_store_req *req, unsigned int nr_segs)
{
	struct file *file = req->store->file;
	bool write = req->op == REQ_OP_WRITE;
	struct iov_iter iter;

	iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST,
		      __bvec_iter_bvec(req->bvec, req->iter), nr_segs, req->iter.bi_size);
	iter.iov_offset = req->iter.bi_bvec_done;

	if (write)
		return file->f_op->write_iter(&req->iocb, &iter);
	return file->f_op->read_iter(&req->iocb, &iter);
}

static void file_init_iocb(struct qc_store_req *req, int flags)
{
	struct qc_store *store = req->store;
	struct kiocb *iocb = &req->iocb;

	memset(iocb, 0, sizeof(*iocb));
	iocb->ki_filp = store->file;
	iocb->ki_pos = req->pos;
	iocb->ki_flags = store->file->f_iocb_flags | flags;
	if (store->direct)
		iocb->ki_flags |= IOCB_DIRECT;
	if (req->op == REQ_OP_WRITE) {
		iocb->ki_flags |= IOCB_WRITE;
		if (req->fua)
			iocb->ki_flags |= IOCB_DSYNC;
	}
}

/*
 * What is left to do after @moved bytes of a request to a file that had @size bytes before.
 * Returns 1 when another call is needed, 0 when the request is through, or an error.
 */
static int file_progress(const struct qc_store_req *req, long moved, u64 size)
{
	if (moved < 0)
		return moved;
	if (moved == req->iter.bi_size)
		return 0;
	if (req->op == REQ_OP_READ && req->pos + moved >= size) {
		if (qc_store_cut(req->store))
			return -EIO;
		qc_store_zero_tail(req, moved);
		return 0;
	}
	return 1;
}

/* Reads or writes what is left of the request after @moved bytes, and waits for it. */
static int file_rw_from(struct qc_store_req *req, unsigned int moved)
{
	struct qc_store *store = req->store;
	struct qc_store_req part = {
		.store = store, .op = req->op, .fua = req->fua,
		.pos = req->pos, .bvec = req->bvec, .iter = req->iter,
	};
	unsigned int nr_segs;
	ssize_t ret;
	u64 size;
	int r;

	for (;;) {
		/* What ended at an end of the file which has moved since is done again. */
		moved = round_down(moved, store->align);
		part.pos += moved;
		bvec_iter_advance(part.bvec, &part.iter, moved);
		qc_store_aligned(&part, &nr_segs);

		size = i_size_read(file_store_inode(store));
		if (part.op == REQ_OP_WRITE && part.pos + part.iter.bi_size > size &&
		    qc_store_cut(store))
			return -EIO;
		file_init_iocb(&part, 0);
		if (part.op == REQ_OP_WRITE)
			file_start_write(store->file);
		ret = file_call(&part, nr_segs);
		if (part.op == REQ_OP_WRITE) {
			file_end_write(store->file);
			times_note(store);
		}

		r = file_progress(&part, ret, size);
		if (r <= 0)
			return r;
		if (ret < store->align)
			return -EIO;
		moved = ret;
	}
}

static int file_rw(struct qc_store_req *req)
{
	unsigned int pflags = current->flags;
	int r;

	/* As in loop: who cleans pages must not wait until others have cleaned theirs. */
	if (!req->store->direct)
		current->flags |= PF_LOCAL_THROTTLE;
	r = file_rw_from(req, 0);
	current_restore_flags(pflags, PF_LOCAL_THROTTLE);
	return r;
}

/* Finishes what a direct request left over: the rest of a short one, or all of it after -EAGAIN. */
static void file_resume_work(struct work_struct *work)
{
	struct qc_store_req *req = container_of(work, struct qc_store_req, work);
	unsigned int noio = memalloc_noio_save();
	int r = file_rw_from(req, max(req->result, 0L));

	memalloc_noio_restore(noio);
	req->done(req, qc_store_final_error(r));
}

/* The request came back from the file system, with the result in req->result.  Any context. */
static void file_end(struct qc_store_req *req)
{
	int r;

	if (req->op == REQ_OP_WRITE) {
		kiocb_end_write(&req->iocb);
		times_note(req->store);
	}

	r = file_progress(req, req->result, i_size_read(file_store_inode(req->store)));
	if (r > 0 || (r == -EAGAIN && (req->iocb.ki_flags & IOCB_NOWAIT)))
		qc_store_defer(req, file_resume_work);
	else
		req->done(req, qc_store_final_error(r));
}

static void file_complete_work(struct work_struct *work)
{
	struct qc_store_req *req = container_of(work, struct qc_store_req, work);

	req->result = qc_iocb_caller_comp(&req->iocb);
	file_end(req);
}

/* Both the call into the file system and the I/O are over.  Any context. */
static void file_completed(struct qc_store_req *req)
{
	if (qc_iocb_needs_caller_comp(&req->iocb)) {
		/* That wants a task, which an interrupt is not. */
		if (!IS_ENABLED(CONFIG_PREEMPT_COUNT) || !preemptible() || rcu_preempt_depth()) {
			INIT_WORK(&req->work, file_complete_work);
			queue_work(qc_store_done_wq, &req->work);
			return;
		}
		req->result = qc_iocb_caller_comp(&req->iocb);
	}
	file_end(req);
}

static void file_complete(struct kiocb *iocb, long result)
{
	struct qc_store_req *req = container_of(iocb, struct qc_store_req, iocb);

	req->result = result;
	if (atomic_dec_and_test(&req->ref))
		file_completed(req);
}

/*
 * Starts direct I/O.  Returns -EIOCBQUEUED when the request is no longer ours, else
 * what the file system did; the freeze protection of a write is held then.
 */
static ssize_t file_issue(struct qc_store_req *req, unsigned int nr_segs)
{
	ssize_t ret;

	/*
	 * The completion may come before the call returns, but the file system may
	 * go on to use the iocb and the inode until then: the last of the two ends the request.
	 */
	atomic_set(&req->ref, 2);
	req->iocb.ki_complete = file_complete;
	if (req->op == REQ_OP_WRITE)
		qc_iocb_allow_caller_comp(&req->iocb);

	ret = file_call(req, nr_segs);
	if (ret == -EIOCBQUEUED && atomic_dec_and_test(&req->ref))
		file_completed(req);
	return ret;
}

static bool file_submit_nowait(struct qc_store_req *req)
{
	struct super_block *sb = file_inode(req->store->file)->i_sb;
	bool write = req->op == REQ_OP_WRITE;
	struct bio_list *bio_list;
	unsigned int nr_segs, noio;
	ssize_t ret;

	/* Both would wait for the journal in the end, NOWAIT or not. */
	if (write && (req->fua || req->pos + req->iter.bi_size >
				  i_size_read(file_store_inode(req->store))))
		return false;
	if (!qc_store_aligned(req, &nr_segs))
		return false;

	file_init_iocb(req, IOCB_NOWAIT);
	if (write) {
		if (!sb_start_write_trylock(sb))
			return false;
		__sb_writers_release(sb, SB_FREEZE_WRITE);	/* as kiocb_start_write() */
	}

	/*
	 * Below submit_bio() a bio is only put on a list of the task, to be started when
	 * .map() is through.  Not all file systems heed NOWAIT when they look
	 * up an extent: a wait for a block of their metadata would last forever.  So start
	 * bios at once; the stack that this takes was checked.
	 */
	bio_list = current->bio_list;
	current->bio_list = NULL;
	noio = memalloc_noio_save();
	ret = file_issue(req, nr_segs);
	memalloc_noio_restore(noio);
	current->bio_list = bio_list;

	if (ret == -EIOCBQUEUED)
		return true;
	if (ret == -EAGAIN || ret == -EOPNOTSUPP) {
		if (write)
			kiocb_end_write(&req->iocb);
		return false;
	}
	req->result = ret;
	file_end(req);
	return true;
}

static int file_flush(struct qc_store *store)
{
	times_set(store);
	return vfs_fsync(store->file, 1);
}

static int file_zero_range(struct qc_store *store, u64 pos, u64 len)
{
	int r = vfs_fallocate(store->file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, pos, len);

	if (r == -EOPNOTSUPP)
		r = vfs_fallocate(store->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos,
				  len);
	times_note(store);
	return r;
}

static int file_discard(struct qc_store *store, u64 pos, u64 len)
{
	int r = vfs_fallocate(store->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len);

	times_note(store);
	return r;
}

static int file_truncate(struct qc_store *store, u64 size)
{
	int r;

	if (qc_store_cut(store))
		return -EIO;
	if (size >= qc_store_size(store))
		return 0;
	r = vfs_truncate(&store->file->f_path, size);
	if (!r)
		WRITE_ONCE(store->known_size, size);
	if (!r && size < (u64)atomic64_read(&store->zero_from))
		atomic64_set(&store->zero_from, size);
	return r;
}

/*
 * Only an image that lies about its refcounts goes on far behind the end of its file; it gets a
 * hole up to there, so that it cannot fill the file system with what nobody wrote.
 */
static int file_grow(struct qc_store *store, u64 size)
{
	u64 old = qc_store_size(store), len;
	/* The end may cut off the last cluster; what is written there meanwhile is to stay. */
	u64 keep = round_up(old, SZ_2M);
	int r;

	if (qc_store_cut(store))
		return -EIO;
	if (size <= old)
		return 0;
	len = min(size - old, (size >> 3) + SZ_32M);
	r = vfs_fallocate(store->file, 0, size - len, len);
	times_note(store);
	if (r == -EOPNOTSUPP)
		r = vfs_truncate(&store->file->f_path, size);
	else if (r && qc_store_size(store) > keep)
		vfs_truncate(&store->file->f_path, keep);	/* r tells more than this could */
	if (!r)
		WRITE_ONCE(store->known_size, size);
	return r == -EDQUOT ? -ENOSPC : r;
}

static void file_close(struct qc_store *store)
{
	cancel_delayed_work_sync(&store->times_work);
	times_set(store);
}

static const struct qc_store_ops file_ops = {
	.submit_nowait	= file_submit_nowait,
	.rw		= file_rw,
	.flush		= file_flush,
	.zero_range	= file_zero_range,
	.discard	= file_discard,
	.grow		= file_grow,
	.truncate	= file_truncate,
	.close		= file_close,
};

/* Finds out whether and with which alignment the file system does direct I/O. */
static void file_setup_direct(struct qc_store *store, const struct kstat *stat)
{
	struct super_block *sb = file_inode(store->file)->i_sb;
	unsigned int offset_align, mem_align;

	/* Files in memory only pretend to, without any gain. */
	if (!(store->file->f_mode & FMODE_CAN_ODIRECT) || sb->s_magic == TMPFS_MAGIC ||
	    sb->s_magic == RAMFS_MAGIC)
		return;

	if (stat->result_mask & STATX_DIOALIGN) {
		offset_align = stat->dio_offset_align;
		mem_align = stat->dio_mem_align;
	} else {
		offset_align = i_blocksize(file_store_inode(store));
		mem_align = offset_align;
	}
	if (!is_power_of_2(offset_align) || !is_power_of_2(mem_align) ||
	    offset_align > PAGE_SIZE || mem_align > PAGE_SIZE)
		return;

	store->direct = true;
	store->file->f_mode |= FMODE_NOCMTIME;
	store->nowait = store->file->f_mode & FMODE_NOWAIT;
	store->align = offset_align;
	store->dma_mask = mem_align - 1;
}

int qc_store_file_setup(struct qc_store *store)
{
	struct inode *inode = file_store_inode(store);
	const struct file_operations *fops = store->file->f_op;
	struct kstat stat;
	int r;

	if (!fops->read_iter || (store->writable && !fops->write_iter))
		return -EINVAL;
	if (store->writable && IS_SWAPFILE(inode))
		return -ETXTBSY;
	r = vfs_getattr(&store->file->f_path, &stat, STATX_BASIC_STATS | STATX_DIOALIGN,
			AT_STATX_SYNC_AS_STAT);
	if (r)
		return r;

	mutex_init(&store->times_lock);
	INIT_DELAYED_WORK(&store->times_work, times_work);
	store->ops = &file_ops;
	/* Not those of the inode: subvolumes of one btrfs use the same numbers. */
	store->id.dev = stat.dev;
	store->id.ino = stat.ino;
	store->align = 1;
	file_setup_direct(store, &stat);
	store->block = max_t(unsigned int, i_blocksize(inode), store->align);
	atomic64_set(&store->zero_from, i_size_read(inode));
	return 0;
}
