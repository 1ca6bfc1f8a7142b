/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A store is where the bytes of one image lie: a block device or a regular
 * file.  Above this header nobody knows which of the two it is, except for
 * the one shortcut that qc_store_bdev() offers to a bio that can be remapped.
 *
 * Units: every position and length is in bytes.  Errors are negative errnos.
 * Reads beyond the end of a store return zeroes; a store whose size is no
 * multiple of a sector therefore needs no special case above.  Writes beyond the
 * end extend a file and fail with -ENOSPC on a device.
 * The time stamps of a file are set within a second of a write, and before a flush ends.
 *
 * Alignment: qc_store_align() tells the unit in which direct I/O goes through
 * unchanged.  Requests that do not keep to it are served all the same (bounced;
 * a write reads, modifies and writes the blocks at its ends under locks of the
 * store, so that two such writes into one block both survive), only slower and
 * never "nowait".  A write that covers whole blocks takes no lock: when it overlaps
 * an unaligned write in flight, as two writes of one sector do on a disk, the
 * blocks that they share may have older content in the bytes of only one of them.
 */
#ifndef QCHAIN_STORE_H
#define QCHAIN_STORE_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/errseq.h>
#include <linux/fs.h>
#include <linux/workqueue.h>

struct qc_store;
struct qc_store_req;

/* Called once for each submitted request, from any context, also from interrupts. */
typedef void (*qc_store_done_fn)(struct qc_store_req *req, int error);

/*
 * One read or write in flight.  The caller owns the memory (it may live in a
 * dm per-bio area), sets the first group and leaves the rest alone; the
 * request must not be touched from submission until done() was called, and may be
 * freed by done().  The first group is unchanged then.
 */
struct qc_store_req {
	struct qc_store *store;
	qc_store_done_fn done;
	enum req_op op;			/* REQ_OP_READ or REQ_OP_WRITE */
	bool fua;			/* write: on stable storage before done() */
	u64 pos;
	const struct bio_vec *bvec;	/* with iter: the memory, as in a bio */
	struct bvec_iter iter;		/* bi_size is the length; bi_sector is ignored */

	/* private to the store */
	atomic_t ref;			/* files: the call into the file system, the completion */
	long result;			/* files: bytes moved or an error */
	struct work_struct work;
	union {
		struct kiocb iocb;	/* files */
		struct bio bio;		/* block devices */
	};
};

/*
 * qc_store_open - open what a table line names.
 * @name: path of a block device or of a regular file, or "fd:N", a descriptor
 *	of the calling process, whose file description is then held (and with it
 *	its OFD locks) until the last qc_store_put().
 * @writable: open for reading and writing; an fd:N that is read-only is refused.
 *
 * A regular file gets direct I/O where its file system offers that.  What the page
 * cache holds is written back and dropped, so that later direct I/O neither misses it
 * nor has to wait for it.  A block device is not claimed here: the target does that with
 * dm_get_device(), because other targets (a dm-crypt over the same image) share the claim.
 * Returns the store, or ERR_PTR: -ENOENT, -EACCES, -EBADF (not open, or not for writing),
 * -EINVAL (neither a block device nor a regular file, or blocks larger than 4096 bytes),
 * -EROFS, -ETXTBSY (swap file), -ENOMEM, ...  Process context, sleeps.
 */
struct qc_store *qc_store_open(const char *name, bool writable);

/*
 * Let go of the file or device; the description of an fd:N is closed (and its locks are
 * dropped) before this returns in a kernel thread, else before the task is back in
 * user space.  No request may be in flight.  Sleeps.
 */
void qc_store_put(struct qc_store *store);

/*
 * qc_store_adopt_held - have @store hold the file description that @from was opened with as
 * fd:N, unless it holds one already: @from goes away, the locks on it are to stay.
 */
void qc_store_adopt_held(struct qc_store *store, struct qc_store *from);

/*
 * Have either hold the file description, and so the locks, of the other; where @b holds none both
 * keep what they have.
 */
void qc_store_swap_held(struct qc_store *a, struct qc_store *b);

/* What names the same bytes: equal for two stores over one inode or one device. */
struct qc_store_id {
	dev_t dev;			/* of the file system, or of the block device itself */
	u64 ino;			/* 0 for a block device */
};

void qc_store_id(const struct qc_store *store, struct qc_store_id *id);

static inline bool qc_store_id_equal(const struct qc_store_id *a, const struct qc_store_id *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/*
 * The block device that a bio may be remapped to, or NULL.  Any context.  A bio whose
 * position in the store is not a multiple of qc_store_align() (image clusters may be
 * smaller than the device's blocks) must come as a request instead.
 */
struct block_device *qc_store_bdev(const struct qc_store *store);

/* The path to print in a table: d_path() in @buf.  Returns it, or ERR_PTR.  Sleeps. */
char *qc_store_path(const struct qc_store *store, char *buf, size_t len);

/* Alignment of position and length for unbounced I/O: power of two, 1 ... 4096. */
unsigned int qc_store_align(const struct qc_store *store);

/* Whether pages must not change while they are written (checksums below). */
bool qc_store_stable_writes(const struct qc_store *store);

/*
 * Current size, read afresh from the inode or the device.  What somebody else cut off counts as
 * there: reading and writing it gives -EIO.  Any context.
 */
u64 qc_store_size(const struct qc_store *store);

/*
 * qc_store_submit_nowait - start a read or write of a file from .map(): does not wait.
 * Returns true when the request was taken (done() was or will be called), false when
 * it would have to wait: then done() is not called and the caller defers the bio.  Parts of
 * the data may have been transferred by then, as a repetition will.
 * This needs direct I/O with NOWAIT below, no FUA, and a write within the file.
 */
bool qc_store_submit_nowait(struct qc_store_req *req);

/*
 * Synchronous forms, for metadata and copies.  Process context, sleep; no
 * allocation that could recurse into I/O.  @buf is kmalloc()ed or page memory (not
 * vmalloc()ed, not on a stack).
 */
int qc_store_read(struct qc_store *store, u64 pos, void *buf, size_t len);
int qc_store_write(struct qc_store *store, u64 pos, const void *buf, size_t len);
int qc_store_rw_bvec(struct qc_store *store, enum req_op op, u64 pos,
		     const struct bio_vec *bvec, struct bvec_iter iter);

/*
 * Everything that was done() before this call is on stable storage when it returns 0, but for what
 * a flush before it that failed has lost: a disk may forget what it could not write, and do well
 * afterwards.  Sleeps.
 */
int qc_store_flush(struct qc_store *store);

/*
 * Memory for one read of @len bytes, which all stores of one file system or device share.
 *
 * qc_store_spare_reserve - have at least so much; returns 0 or -ENOMEM.  Process context, sleeps.
 * qc_store_spare_get - take it, and wait for who has it.  Who has it waits for nothing but I/O to
 * this store, which may lie on another of the module's devices: that one has its own.  Sleeps.
 * qc_store_spare_put - let the next one have it.
 */
struct qc_store_spare {
	struct mutex lock;		/* whose it is */
	void *data;			/* vmalloc()ed */
	struct bio_vec *bvec;		/* its pages */
	size_t len;
};

int qc_store_spare_reserve(struct qc_store *store, size_t len);
struct qc_store_spare *qc_store_spare_get(struct qc_store *store);
void qc_store_spare_put(struct qc_store_spare *spare);

/*
 * So who asks for stable storage has to be told of all flushes that have failed, whoever sent them.
 * @told is the asker's, 0 or a sample: what it has been told of.
 *
 * qc_store_flush_begin, qc_store_flush_end - around one that qc_store_flush() does not send, or a
 * write with FUA; @error: 0 or a negative errno.  Any context.
 * qc_store_flush_settle - wait for all that are in flight.  One that is well finds nothing of what
 * another one, which failed before it, has lost; after this that one is known.  Whoever calls this
 * sees to it that they come to an end.  Sleeps.
 * qc_store_on_loss - have @lost called for a flush that fails and may have lost what it was to
 * make stable: by whatever context sees it fail, before anybody is told.  Before the first flush.
 * qc_store_flush_sample - what has failed until now need not be told, unless nobody was told of it.
 * Any context.
 * qc_store_flush_failed - is there one to be told of?  Any context.
 * qc_store_flush_tell - the error of one that failed, once, or 0.  Several may share a @told.  Any
 * context but interrupts.
 */
enum qc_tell {			/* by what a device's user is told; each kind tells of each one */
	QC_TELL_FLUSH,
	QC_TELL_FUA,
	QC_TELLS
};

void qc_store_flush_begin(struct qc_store *store);
void qc_store_flush_end(struct qc_store *store, int error);
void qc_store_flush_settle(struct qc_store *store);
void qc_store_on_loss(struct qc_store *store, void (*lost)(void *owner), void *owner);
errseq_t qc_store_flush_sample(struct qc_store *store);
bool qc_store_flush_failed(struct qc_store *store, errseq_t told);
int qc_store_flush_tell(struct qc_store *store, errseq_t *told);

/*
 * qc_store_zero_range - make a range read as zeroes without data being transferred where
 * that can be had (WRITE_ZEROES, FALLOC_FL_ZERO_RANGE), else by writing zeroes.
 * The range lies inside the store.  Sleeps.
 */
int qc_store_zero_range(struct qc_store *store, u64 pos, u64 len);

/*
 * qc_store_discard - give the range's space back (REQ_OP_DISCARD, punched hole).
 * A hint: -EOPNOTSUPP where it can't be; the content is undefined afterwards.  Blocks that
 * the range covers in part keep their content.  Sleeps.
 */
int qc_store_discard(struct qc_store *store, u64 pos, u64 len);

/*
 * qc_store_grow - make sure that bytes up to @size exist and can be written.
 * A file is extended (preallocated; new bytes read as zeroes), a device only checked.
 * Returns 0, -ENOSPC (device too small, file system full: nothing changed), other errors.
 * Sleeps.  Not concurrently with itself or with qc_store_truncate().
 */
int qc_store_grow(struct qc_store *store, u64 size);

/*
 * Cut a regular file back to @size; a no-op on a device or when it is not larger.  Sleeps.
 * No request beyond @size may be in flight.
 */
int qc_store_truncate(struct qc_store *store, u64 size);

/*
 * qc_store_reread - what is read from here on is what lies on the disk.
 * The page cache is written out and dropped: what it could not write it holds as if it had.  Of
 * memory file systems it is all there is.  0 or a negative errno.  Process context, sleeps.
 */
int qc_store_reread(struct qc_store *store);

/*
 * qc_store_zero_from - the position from which on everything in the store is known to
 * read as zeroes and never was written since (U64_MAX when unknown).  A regular file:
 * its size when opened, moved up by the users through qc_store_note_written().
 */
u64 qc_store_zero_from(const struct qc_store *store);
void qc_store_note_written(struct qc_store *store, u64 end);

/* Module set-up: the work queue in which stores complete file I/O that ended in an interrupt. */
int qc_store_module_init(void);
void qc_store_module_exit(void);

#endif /* QCHAIN_STORE_H */
