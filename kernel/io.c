// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of a bio.
 *
 *	.map() -- mapping in memory --> device: remapped
 *	   |                     \----> file: direct I/O submitted inline
 *	   |                      \---> zeroes: ended at once
 *	   |
 *	   +-- anything else ---> work item, which may sleep (copy.c)
 *	                             |
 *	                             +-- no space --> waiting, until somebody says
 *	                                             there is more (or a timer guesses)
 *
 * The fast path takes no lock and allocates nothing.  In a writable image it enters
 * in_flight before it looks up and leaves it in end_io, so that the host clusters it found are
 * not used for anything else meanwhile.  It takes as much of the bio as is contiguous
 * and gives the rest back to dm.
 */
#include <linux/bio.h>

#include "compat.h"
#include "mirror.h"
#include "target.h"

#define RETRY_PERIOD	(10 * HZ)

static void io_enter(struct qc_io *io, struct qc_image *top)
{
	if (!qc_image_tracked(top))
		return;
	io->token = qc_in_flight_enter(top->in_flight);
	io->in_flight = true;
}

static void io_leave(struct qc_io *io, struct qc_image *top)
{
	if (!io->in_flight)
		return;
	io->in_flight = false;
	qc_in_flight_leave(top->in_flight, io->token);
}

static void slow_work(struct work_struct *work);

static void io_defer(struct qc_io *io, struct qc_target *target)
{
	io_leave(io, target->chain.top);
	INIT_WORK(&io->work, slow_work);
	queue_work(target->wq, &io->work);
}

static struct bio *io_bio(struct qc_io *io)
{
	return dm_bio_from_per_bio_data(io, sizeof(*io));
}

/*
 * Has what a write changed to be committed before a flush or FUA write may end, or has it to be
 * told of a flush that has failed?
 */
static bool needs_commit(const struct qc_target *target, enum qc_tell kind)
{
	const struct qc_image *top = target->chain.top;

	if (qc_image_aborted(top))
		return true;
	if (qc_device_keeps(target->device) || test_bit(kind, &target->device->untold) ||
	    qc_store_flush_failed(top->store, READ_ONCE(top->told[kind])))
		return true;
	/* Pairs with the order in change_entry(): who sees a new entry sees this too. */
	smp_rmb();
	return qc_image_tracked(top) && READ_ONCE(top->unclean);
}

/*
 * What was written before is on stable storage, for a flush or a FUA write.  Each kind is told of a
 * flush that has failed: of a flush before a FUA write dm does not look at the error.
 */
static int commit_for(struct qc_target *target, enum qc_tell kind)
{
	struct qc_image *top = target->chain.top;
	errseq_t before = qc_store_flush_sample(top->store);
	bool failed;
	int error;

	/* Not ENOSPC, which is waited for: there may be room for all that this device writes. */
	if (qc_device_commit_kept(target->device))
		return -EIO;
	error = qc_commit(top);
	failed = qc_store_flush_tell(top->store, &top->told[kind]);
	failed |= test_and_clear_bit(kind, &target->device->untold);
	/* Or another one has been told meanwhile. */
	failed |= !error && qc_store_flush_failed(top->store, before);
	return failed ? -EIO : error;
}

/* Look up without sleeping; for reads down to the backing. */
static bool fast_lookup(struct qc_chain *chain, u64 pos, u64 len, bool write,
			struct qc_extent *extent)
{
	bool found;

	rcu_read_lock();
	found = qc_image_peek(chain->top, pos, len, write, extent);
	if (found && extent->kind == QC_EXTENT_UNALLOCATED && !write) {
		if (qc_chain_backed(chain, pos))
			found = qc_backing_peek(chain->backing, pos, extent->len, extent);
		else
			extent->kind = QC_EXTENT_ZERO;
	}
	rcu_read_unlock();
	return found;
}

static void file_done(struct qc_store_req *req, int error)
{
	struct qc_io *io = container_of(req, struct qc_io, req);
	struct bio *bio = io_bio(io);

	if (error == -ENOSPC && op_is_write(bio_op(bio))) {
		/* Even an overwrite can need space in the file system: wait for it. */
		io_defer(io, io->target);
		return;
	}
	bio->bi_status = errno_to_blk_status(error);
	bio_endio(bio);
}

/* It goes down as it is, and its end is to be looked at. */
static void flush_begin(struct qc_io *io, struct qc_image *top)
{
	io->flush = true;
	qc_store_flush_begin(top->store);
}

/* DATA: to the device or the file.  False when that would sleep. */
static bool fast_data(struct qc_io *io, struct bio *bio, const struct qc_extent *extent,
		      int *result)
{
	struct qc_image *image = extent->image;

	if (image->remap) {
		unsigned int len = bio->bi_iter.bi_size;

		/* The last cluster of a device may be cut off. */
		if (((extent->host | len) & image->remap_mask) ||
		    extent->host + len > READ_ONCE(image->remap_end))
			return false;
		/* Below, it may be a write and a flush. */
		if (op_is_write(bio_op(bio)) && (bio->bi_opf & REQ_FUA) &&
		    qc_image_tracked(image) && bdev_write_cache(image->remap))
			flush_begin(io, image);
		bio_set_dev(bio, image->remap);
		bio->bi_iter.bi_sector = extent->host >> SECTOR_SHIFT;
		*result = DM_MAPIO_REMAPPED;
		return true;
	}
	io->req.store = image->store;
	io->req.done = file_done;
	io->req.op = bio_op(bio);
	io->req.fua = bio->bi_opf & REQ_FUA;
	io->req.pos = extent->host;
	io->req.bvec = bio->bi_io_vec;
	io->req.iter = bio->bi_iter;
	*result = DM_MAPIO_SUBMITTED;
	return qc_store_submit_nowait(&io->req);
}

static bool fast_rw(struct qc_target *target, struct qc_io *io, struct bio *bio, int *result)
{
	struct qc_chain *chain = &target->chain;
	u64 pos = (u64)bio->bi_iter.bi_sector << SECTOR_SHIFT;
	bool write = op_is_write(bio_op(bio));
	struct qc_extent extent;

	io_enter(io, chain->top);
	if (write && qc_mirror_wants(chain->top, pos))
		return false;
	if (!fast_lookup(chain, pos, bio->bi_iter.bi_size, write, &extent))
		return false;
	switch (extent.kind) {
	case QC_EXTENT_DATA:
		if (write && (!extent.in_place ||
			      ((bio->bi_opf & REQ_FUA) &&
			       needs_commit(target, QC_TELL_FUA))))
			return false;
		if (extent.len < bio->bi_iter.bi_size)
			dm_accept_partial_bio(bio, extent.len >> SECTOR_SHIFT);
		return fast_data(io, bio, &extent, result);
	case QC_EXTENT_ZERO:
		if (write)
			return false;
		if (extent.len < bio->bi_iter.bi_size)
			dm_accept_partial_bio(bio, extent.len >> SECTOR_SHIFT);
		zero_fill_bio(bio);
		bio_endio(bio);
		*result = DM_MAPIO_SUBMITTED;
		return true;
	default:
		return false;
	}
}

/* An empty flush with nothing of ours to commit goes down as it is; read-only, nowhere. */
static bool fast_flush(struct qc_target *target, struct qc_io *io, struct bio *bio, int *result)
{
	struct qc_image *top = target->chain.top;

	if (!top->writable) {
		bio_endio(bio);
		*result = DM_MAPIO_SUBMITTED;
		return true;
	}
	if (!top->remap || needs_commit(target, QC_TELL_FLUSH))
		return false;
	flush_begin(io, top);
	bio_set_dev(bio, top->remap);
	*result = DM_MAPIO_REMAPPED;
	return true;
}

int qc_io_map(struct dm_target *ti, struct bio *bio)
{
	struct qc_target *target = ti->private;
	struct qc_io *io = dm_per_bio_data(bio, sizeof(*io));
	int result;

	io->target = target;
	io->in_flight = false;
	io->waited = false;
	io->flush = false;
	bio->bi_iter.bi_sector = dm_target_offset(ti, bio->bi_iter.bi_sector);

	if (target->read_only && op_is_write(bio_op(bio)) && bio_sectors(bio))
		return DM_MAPIO_KILL;

	switch (bio_op(bio)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		if (!bio->bi_iter.bi_size ? fast_flush(target, io, bio, &result) :
		    fast_rw(target, io, bio, &result))
			return result;
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_WRITE_ZEROES:
		break;
	default:
		return DM_MAPIO_KILL;
	}

	if (bio->bi_opf & REQ_NOWAIT) {
		bio_wouldblock_error(bio);
		return DM_MAPIO_SUBMITTED;
	}
	io_defer(io, target);
	return DM_MAPIO_SUBMITTED;
}

int qc_io_end(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct qc_target *target = ti->private;
	struct qc_io *io = dm_per_bio_data(bio, sizeof(*io));

	/* Of one before a FUA write dm does not look at the error; nor does a job see it. */
	if (io->flush) {
		/* With NOWAIT it may not even have been tried. */
		qc_store_flush_end(target->chain.top->store, *error == BLK_STS_AGAIN ? 0 :
				   blk_status_to_errno(*error));
		/* Another one may have failed before it, and left it nothing to do. */
		if (!*error && qc_image_aborted(target->chain.top))
			*error = BLK_STS_IOERR;
	}
	io_leave(io, target->chain.top);
	return DM_ENDIO_DONE;
}

static int slow_change(struct qc_chain *chain, struct bio *bio, u64 pos, u64 len)
{
	switch (bio_op(bio)) {
	case REQ_OP_DISCARD:
		return qc_chain_discard(chain, pos, len);
	case REQ_OP_WRITE_ZEROES:
		return qc_chain_zero(chain, pos, len, bio->bi_opf & REQ_NOUNMAP);
	default:
		return len ? qc_chain_write(chain, pos, len, bio->bi_io_vec, bio->bi_iter) : 0;
	}
}

/* The top layer is aborted.  Who asks for stable storage is told of the flush with this error. */
static int refuse(struct qc_target *target, const struct bio *bio)
{
	if (!bio_sectors(bio))
		commit_for(target, QC_TELL_FLUSH);
	else if (bio->bi_opf & REQ_FUA)
		commit_for(target, QC_TELL_FUA);
	return -EIO;
}

static int slow_bio(struct qc_target *target, struct bio *bio)
{
	struct qc_chain *chain = &target->chain;
	u64 pos = (u64)bio->bi_iter.bi_sector << SECTOR_SHIFT;
	u64 len = bio->bi_iter.bi_size;
	struct qc_mirror_write write;
	int error;

	if (bio_op(bio) == REQ_OP_READ)
		return qc_chain_read(chain, pos, bio->bi_io_vec, bio->bi_iter);
	if (qc_image_aborted(chain->top))
		return refuse(target, bio);
	qc_mirror_begin(&write, chain->top, pos, len);
	error = slow_change(chain, bio, pos, len);
	qc_mirror_end(&write, chain->top, bio, error);
	if (!error && (!len || (bio->bi_opf & REQ_FUA)))
		error = commit_for(target, len ? QC_TELL_FUA : QC_TELL_FLUSH);
	return error;
}

/* Enter a write among those that wait for space.  False: it shall not wait. */
static bool wait_for_space(struct qc_io *io, struct qc_target *target, struct bio *bio)
{
	unsigned long flags;
	bool wait;

	if (target->error_if_no_space)
		return false;
	spin_lock_irqsave(&target->lock, flags);
	wait = !target->suspending;
	if (wait) {
		target->nr_waited += !io->waited;
		io->waited = true;
		bio_list_add(&target->waiting, bio);
		/* Under the lock: without it, a suspend may end the bio and free the target. */
		queue_delayed_work(target->wq, &target->retry, RETRY_PERIOD);
		if (!target->out_of_space)
			queue_work(target->wq, &target->event);
		target->out_of_space = true;
	}
	spin_unlock_irqrestore(&target->lock, flags);
	return wait;
}

/*
 * A write ends that may have waited.  When it went through there is space, and when it was the last
 * one nobody waits any more, whatever became of it.  Process context.
 */
static void end_wait(struct qc_io *io, struct qc_target *target, int error)
{
	unsigned long flags;
	bool was;

	if (!io->waited)
		return;
	spin_lock_irqsave(&target->lock, flags);
	was = target->out_of_space;
	target->nr_waited--;
	if (!error || !target->nr_waited)
		target->out_of_space = false;
	was &= !target->out_of_space;
	spin_unlock_irqrestore(&target->lock, flags);
	if (was)
		dm_table_event(target->ti->table);
}

static void end_without_space(struct qc_io *io, struct qc_target *target, struct bio *bio)
{
	end_wait(io, target, -ENOSPC);
	bio->bi_status = dm_noflush_suspending(target->ti) ? BLK_STS_DM_REQUEUE : BLK_STS_NOSPC;
	bio_endio(bio);
}

static void slow_work(struct work_struct *work)
{
	struct qc_io *io = container_of(work, struct qc_io, work);
	struct qc_target *target = io->target;
	struct bio *bio = io_bio(io);
	int error = slow_bio(target, bio);

	if (error == -ENOSPC) {
		if (!wait_for_space(io, target, bio))
			end_without_space(io, target, bio);
		return;
	}
	end_wait(io, target, error);
	if (error && READ_ONCE(target->chain.top->corrupt) && !xchg(&target->corrupt_told, true))
		queue_work(target->wq, &target->event);
	bio->bi_status = errno_to_blk_status(error);
	bio_endio(bio);
}

/* Take everything that waits. */
static void take_waiting(struct qc_target *target, struct bio_list *bios)
{
	unsigned long flags;

	bio_list_init(bios);
	spin_lock_irqsave(&target->lock, flags);
	bio_list_merge(bios, &target->waiting);
	bio_list_init(&target->waiting);
	spin_unlock_irqrestore(&target->lock, flags);
}

void qc_io_retry(struct qc_target *target)
{
	struct bio_list bios;
	struct bio *bio;

	take_waiting(target, &bios);
	while ((bio = bio_list_pop(&bios)))
		io_defer(dm_per_bio_data(bio, sizeof(struct qc_io)), target);
}

static void retry_work(struct work_struct *work)
{
	qc_io_retry(container_of(to_delayed_work(work), struct qc_target, retry));
}

static void event_work(struct work_struct *work)
{
	dm_table_event(container_of(work, struct qc_target, event)->ti->table);
}

void qc_io_stop_waiting(struct qc_target *target)
{
	struct bio_list bios;
	struct bio *bio;
	unsigned long flags;

	spin_lock_irqsave(&target->lock, flags);
	target->suspending = true;
	target->out_of_space = false;	/* nobody waits any more */
	spin_unlock_irqrestore(&target->lock, flags);
	cancel_delayed_work_sync(&target->retry);
	take_waiting(target, &bios);
	while ((bio = bio_list_pop(&bios)))
		end_without_space(dm_per_bio_data(bio, sizeof(struct qc_io)), target, bio);
}

void qc_io_start(struct qc_target *target)
{
	unsigned long flags;

	spin_lock_irqsave(&target->lock, flags);
	target->suspending = false;
	spin_unlock_irqrestore(&target->lock, flags);
}

void qc_io_init(struct qc_target *target)
{
	spin_lock_init(&target->lock);
	bio_list_init(&target->waiting);
	INIT_DELAYED_WORK(&target->retry, retry_work);
	INIT_WORK(&target->event, event_work);
}
