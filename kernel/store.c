// SPDX-License-Identifier: GPL-2.0-only
/*
 * What block devices and files have in common as stores: opening, from which context the work is
 * done, and requests that direct I/O can't take as they are.
 */
#include <linux/backing-dev.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/magic.h>
#include <linux/mempool.h>
#include <linux/pagemap.h>
#include <linux/resource.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "log.h"
#include "store-internal.h"

#define BOUNCE_BYTES	SZ_64K

struct workqueue_struct *qc_store_done_wq;

/*
 * What all stores on one file system or block device share.  Work blocks there on I/O to
 * what is below, and that may be another of the module's devices: if both shared workers or
 * buffers, the upper one could take all of them and wait for the lower one forever.
 */
struct qc_store_queue {
	struct list_head list;
	const void *key;
	unsigned int users;
	struct workqueue_struct *wq;
	mempool_t bounce;		/* a page, for when there is no memory */
	struct qc_store_spare spare;
};

static LIST_HEAD(queues);
static DEFINE_MUTEX(queues_lock);

static void queue_free(struct qc_store_queue *queue)
{
	vfree(queue->spare.data);
	kvfree(queue->spare.bvec);
	if (queue->wq)
		destroy_workqueue(queue->wq);
	mempool_exit(&queue->bounce);
	kfree(queue);
}

static struct qc_store_queue *queue_get(const void *key, const char *name)
{
	struct qc_store_queue *queue;

	mutex_lock(&queues_lock);
	list_for_each_entry(queue, &queues, list) {
		if (queue->key == key) {
			queue->users++;
			goto out;
		}
	}

	queue = kzalloc(sizeof(*queue), GFP_KERNEL);
	if (!queue)
		goto out;
	queue->wq = alloc_workqueue("qc-%.16s", WQ_UNBOUND | WQ_MEM_RECLAIM, 0, name);
	if (!queue->wq || mempool_init_page_pool(&queue->bounce, 1, 0)) {
		queue_free(queue);
		queue = NULL;
		goto out;
	}
	mutex_init(&queue->spare.lock);
	queue->key = key;
	queue->users = 1;
	list_add(&queue->list, &queues);
out:
	mutex_unlock(&queues_lock);
	return queue;
}

static void queue_put(struct qc_store_queue *queue)
{
	mutex_lock(&queues_lock);
	if (--queue->users)
		queue = NULL;
	else
		list_del(&queue->list);
	mutex_unlock(&queues_lock);

	if (queue)
		queue_free(queue);
}

int qc_store_spare_reserve(struct qc_store *store, size_t len)
{
	unsigned int i, pages = DIV_ROUND_UP(len, PAGE_SIZE);
	struct qc_store_spare *spare = &store->queue->spare, old = {};
	struct bio_vec *bvec;
	void *data;

	if (READ_ONCE(spare->len) >= len)
		return 0;
	data = vmalloc(array_size(pages, PAGE_SIZE));
	bvec = kvcalloc(pages, sizeof(*bvec), GFP_KERNEL);
	if (!data || !bvec) {
		vfree(data);
		kvfree(bvec);
		return -ENOMEM;
	}
	for (i = 0; i < pages; i++)
		bvec_set_page(&bvec[i], vmalloc_to_page(data + i * PAGE_SIZE), PAGE_SIZE, 0);

	mutex_lock(&spare->lock);
	old.data = data;
	old.bvec = bvec;
	if (spare->len < len) {		/* somebody may have done it meanwhile */
		swap(spare->data, old.data);
		swap(spare->bvec, old.bvec);
		WRITE_ONCE(spare->len, len);
	}
	mutex_unlock(&spare->lock);
	vfree(old.data);
	kvfree(old.bvec);
	return 0;
}

struct qc_store_spare *qc_store_spare_get(struct qc_store *store)
{
	struct qc_store_spare *spare = &store->queue->spare;

	mutex_lock(&spare->lock);
	return spare;
}

void qc_store_spare_put(struct qc_store_spare *spare)
{
	mutex_unlock(&spare->lock);
}

/* The description of "fd:N", or NULL for a path. */
static struct file *get_named_fd(const char *name)
{
	struct file *file;
	unsigned int fd;

	if (strncmp(name, "fd:", 3))
		return NULL;
	if (kstrtouint(name + 3, 10, &fd))
		return ERR_PTR(-EINVAL);
	file = fget(fd);
	return file ? file : ERR_PTR(-EBADF);
}

/*
 * Opens a file description that only the store uses, so that its flags are the store's.
 * O_NONBLOCK is for the moment in which a FIFO may be opened, before it is refused.
 */
static struct file *open_own(const char *name, struct file *held, bool writable)
{
	int flags = O_LARGEFILE | O_NONBLOCK | (writable ? O_RDWR : O_RDONLY);
	struct file *file;

	if (held)
		return dentry_open(&held->f_path, flags | O_NOATIME, current_cred());
	file = filp_open(name, flags | O_NOATIME, 0);
	if (file == ERR_PTR(-EPERM))	/* neither owner nor privileged */
		file = filp_open(name, flags, 0);
	return file;
}

static void close_file(struct file *file)
{
	/* A kernel thread's fput() would leave the locks to some later moment. */
	if (current->flags & PF_KTHREAD)
		__fput_sync(file);
	else
		fput(file);
}

static int store_open_files(struct qc_store *store, const char *name)
{
	store->held = get_named_fd(name);
	if (IS_ERR(store->held)) {
		int error = PTR_ERR(store->held);

		store->held = NULL;
		return error;
	}
	if (store->held) {
		umode_t mode = file_inode(store->held)->i_mode;

		if (!S_ISREG(mode) && !S_ISBLK(mode))
			return -EINVAL;
		if (!(store->held->f_mode & FMODE_READ) ||
		    (store->writable && !(store->held->f_mode & FMODE_WRITE)))
			return -EBADF;
	}

	store->file = open_own(name, store->held, store->writable);
	if (IS_ERR(store->file)) {
		int error = PTR_ERR(store->file);

		store->file = NULL;
		return error;
	}
	return 0;
}

int qc_store_reread(struct qc_store *store)
{
	struct address_space *mapping = store->file->f_mapping;
	int r;

	if (!store->direct && !(store->writable && mapping_can_writeback(mapping)))
		return 0;
	r = filemap_write_and_wait(mapping);
	if (!r)
		invalidate_inode_pages2(mapping);	/* a page in use may stay: I/O copes */
	return r;
}

static int store_setup(struct qc_store *store)
{
	struct address_space *mapping = store->file->f_mapping;
	umode_t mode = file_inode(store->file)->i_mode;
	const void *key;
	const char *name;
	int i, r;

	store->known_size = i_size_read(mapping->host);
	atomic64_set(&store->zero_from, S64_MAX);
	if (S_ISBLK(mode)) {
		r = qc_store_bdev_setup(store);
		key = store->bdev;
		name = store->bdev ? store->bdev->bd_disk->disk_name : NULL;
	} else if (S_ISREG(mode)) {
		r = qc_store_file_setup(store);
		key = file_inode(store->file)->i_sb;
		name = file_inode(store->file)->i_sb->s_id;
	} else {
		r = -EINVAL;
	}
	if (r)
		return r;

	r = qc_store_reread(store);
	if (r)
		return r;

	if (store->writable) {
		store->rmw_locks = kcalloc(QC_RMW_LOCKS, sizeof(*store->rmw_locks), GFP_KERNEL);
		if (!store->rmw_locks)
			return -ENOMEM;
		for (i = 0; i < QC_RMW_LOCKS; i++)
			mutex_init(&store->rmw_locks[i]);
	}

	store->queue = queue_get(key, name);
	return store->queue ? 0 : -ENOMEM;
}

struct qc_store *qc_store_open(const char *name, bool writable)
{
	struct qc_store *store = kzalloc(sizeof(*store), GFP_KERNEL);
	int r;

	if (!store)
		return ERR_PTR(-ENOMEM);
	store->writable = writable;
	spin_lock_init(&store->told_lock);
	init_waitqueue_head(&store->flush_wait);
	r = store_open_files(store, name);
	if (!r)
		r = store_setup(store);
	if (r) {
		qc_store_put(store);
		return ERR_PTR(r);
	}
	return store;
}

/* Also takes what qc_store_open() left half-way. */
void qc_store_put(struct qc_store *store)
{
	if (store->ops && store->ops->close)
		store->ops->close(store);
	if (store->queue)
		queue_put(store->queue);
	if (store->file) {
		/* What others read of a device meanwhile through its page cache is old. */
		if (store->bdev && store->writable)
			invalidate_inode_pages2(store->file->f_mapping);
		close_file(store->file);
	}
	if (store->held)
		close_file(store->held);
	kfree(store->rmw_locks);
	kfree(store);
}

void qc_store_adopt_held(struct qc_store *store, struct qc_store *from)
{
	if (!store->held)
		swap(store->held, from->held);
}

void qc_store_swap_held(struct qc_store *a, struct qc_store *b)
{
	if (b->held)
		swap(a->held, b->held);
}

void qc_store_id(const struct qc_store *store, struct qc_store_id *id)
{
	*id = store->id;
}

struct block_device *qc_store_bdev(const struct qc_store *store)
{
	return store->bdev;
}

char *qc_store_path(const struct qc_store *store, char *buf, size_t len)
{
	return d_path(&store->file->f_path, buf, len);
}

unsigned int qc_store_align(const struct qc_store *store)
{
	return store->align;
}

bool qc_store_stable_writes(const struct qc_store *store)
{
	if (store->bdev)
		return bdev_stable_writes(store->bdev);
	/* Before 6.10 btrfs tells nobody about its checksums. */
	return mapping_stable_writes(store->file->f_mapping) ||
	       file_inode(store->file)->i_sb->s_magic == BTRFS_SUPER_MAGIC;
}

u64 qc_store_size(const struct qc_store *store)
{
	return max_t(u64, i_size_read(store->file->f_mapping->host), READ_ONCE(store->known_size));
}

u64 qc_store_zero_from(const struct qc_store *store)
{
	u64 from = atomic64_read(&store->zero_from);

	return from == S64_MAX ? U64_MAX : from;
}

void qc_store_note_written(struct qc_store *store, u64 end)
{
	s64 from = atomic64_read(&store->zero_from);

	while (from < end && !atomic64_try_cmpxchg(&store->zero_from, &from, end))
		;
}

/* The call below needs room for a file system's direct write, and for a driver below that. */
static bool stack_is_low(void)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	return here - (unsigned long)end_of_stack(current) < THREAD_SIZE / 2;
}

bool qc_store_context_ok(enum req_op op)
{
	if (current->journal_info || (current->flags & PF_MEMALLOC) || stack_is_low())
		return false;
	return op == REQ_OP_READ || rlimit(RLIMIT_FSIZE) == RLIM_INFINITY;
}

/* Whether file I/O may wait here: what the task has put on its list of bios would never start. */
static bool may_wait(enum req_op op)
{
	/* A task of user space may be killed or limited, or hold locks above the file system's. */
	return (current->flags & PF_KTHREAD) && !current->bio_list && qc_store_context_ok(op);
}

bool qc_store_aligned(const struct qc_store_req *req, unsigned int *nr_segs)
{
	unsigned int mask = req->store->align - 1, dma_mask = req->store->dma_mask;
	bool aligned = !((req->pos | req->iter.bi_size) & mask);
	struct bvec_iter iter = req->iter;
	unsigned int n = 0;

	while (iter.bi_size) {
		struct bio_vec bv = mp_bvec_iter_bvec(req->bvec, iter);

		if ((bv.bv_len & mask) || (bv.bv_offset & dma_mask))
			aligned = false;
		n++;
		bvec_iter_advance_single(req->bvec, &iter, bv.bv_len);
	}
	*nr_segs = n;
	return aligned;
}

void qc_store_defer(struct qc_store_req *req, work_func_t fn)
{
	INIT_WORK(&req->work, fn);
	queue_work(req->store->queue->wq, &req->work);
}

void qc_store_queue_later(struct qc_store *store, struct delayed_work *work, unsigned long delay)
{
	queue_delayed_work(store->queue->wq, work, delay);
}

void qc_store_zero_tail(const struct qc_store_req *req, unsigned int from)
{
	struct bvec_iter iter = req->iter;
	struct bio_vec bv;

	bvec_iter_advance(req->bvec, &iter, from);
	for_each_bvec(bv, req->bvec, iter, iter)
		memzero_bvec(&bv);
}

/* One piece of a bounced request: whole blocks of the store, in one buffer. */
struct bounce {
	struct qc_store *store;
	void *buf;
	u64 start;			/* in the store, aligned */
	unsigned int span;		/* bytes from there on, aligned */
	unsigned int head;		/* where the request's own bytes start in it */
	unsigned int len;		/* and how many there are */
	bool fua;
};

static int bounce_rw(const struct bounce *b, enum req_op op, unsigned int offset,
		     unsigned int len)
{
	struct bio_vec bv;
	struct qc_store_req req = {
		.store = b->store, .op = op, .fua = b->fua && op == REQ_OP_WRITE,
		.pos = b->start + offset, .bvec = &bv, .iter = { .bi_size = len },
	};

	bvec_set_page(&bv, virt_to_page(b->buf + offset), len, offset_in_page(b->buf + offset));
	return b->store->ops->rw(&req);
}

static void bounce_copy(const struct bounce *b, enum req_op op, const struct bio_vec *bvec,
			struct bvec_iter iter)
{
	char *at = b->buf + b->head;
	struct bio_vec bv;

	iter.bi_size = b->len;
	for_each_bvec(bv, bvec, iter, iter) {
		if (op == REQ_OP_WRITE)
			memcpy_from_bvec(at, &bv);
		else
			memcpy_to_bvec(&bv, at);
		at += bv.bv_len;
	}
}

static int bounce_write_locked(const struct bounce *b, const struct bio_vec *bvec,
			       struct bvec_iter iter)
{
	unsigned int align = b->store->align, last = b->span - align;
	bool head = b->head, tail = b->head + b->len != b->span;
	int r = 0;

	if (head || (tail && !last))
		r = bounce_rw(b, REQ_OP_READ, 0, align);
	if (!r && tail && last)
		r = bounce_rw(b, REQ_OP_READ, last, align);
	if (r)
		return r;
	bounce_copy(b, REQ_OP_WRITE, bvec, iter);
	return bounce_rw(b, REQ_OP_WRITE, 0, b->span);
}

static int bounce_write(const struct bounce *b, const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct qc_store *store = b->store;
	unsigned int shift = ilog2(store->align);
	unsigned int first = (b->start >> shift) % QC_RMW_LOCKS;
	unsigned int last = ((b->start + b->span - 1) >> shift) % QC_RMW_LOCKS;
	unsigned int low = min(first, last), high = max(first, last);
	int r;

	mutex_lock(&store->rmw_locks[low]);
	if (high != low)
		mutex_lock_nested(&store->rmw_locks[high], SINGLE_DEPTH_NESTING);
	r = bounce_write_locked(b, bvec, iter);
	if (high != low)
		mutex_unlock(&store->rmw_locks[high]);
	mutex_unlock(&store->rmw_locks[low]);
	return r;
}

/* Serves a request of any alignment through a buffer, piece by piece. */
static int bounce_request(const struct qc_store_req *req)
{
	struct qc_store *store = req->store;
	unsigned int align = store->align, size = PAGE_SIZE;
	struct bounce b = { .store = store, .fua = req->fua };
	struct bvec_iter iter = req->iter;
	u64 pos = req->pos;
	void *large = NULL;
	struct page *page = NULL;
	int r = 0;

	if (iter.bi_size > PAGE_SIZE - align) {
		size = min_t(u64, BOUNCE_BYTES, roundup_pow_of_two(iter.bi_size + 2 * align));
		large = kmalloc(size, GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
	}
	if (!large) {
		size = PAGE_SIZE;
		page = mempool_alloc(&store->queue->bounce, GFP_NOIO);
	}
	b.buf = large ? large : page_address(page);

	while (!r && iter.bi_size) {
		b.start = round_down(pos, align);
		b.head = pos - b.start;
		b.len = min(size - b.head, iter.bi_size);
		b.span = round_up(b.head + b.len, align);

		if (req->op == REQ_OP_WRITE) {
			r = bounce_write(&b, req->bvec, iter);
		} else {
			r = bounce_rw(&b, REQ_OP_READ, 0, b.span);
			if (!r)
				bounce_copy(&b, REQ_OP_READ, req->bvec, iter);
		}
		pos += b.len;
		bvec_iter_advance(req->bvec, &iter, b.len);
	}

	if (page)
		mempool_free(page, &store->queue->bounce);
	kfree(large);
	return r;
}

static int rw_any(struct qc_store_req *req)
{
	unsigned int nr_segs;

	if (!req->iter.bi_size)
		return 0;
	if (qc_store_aligned(req, &nr_segs))
		return req->store->ops->rw(req);
	return bounce_request(req);
}

bool qc_store_submit_nowait(struct qc_store_req *req)
{
	struct qc_store *store = req->store;

	if (!store->nowait || !req->iter.bi_size)
		return false;
	if (!qc_store_context_ok(req->op))
		return false;
	return store->ops->submit_nowait(req);
}

/* A synchronous operation, and the work that does it where the caller must not. */
struct sync_call {
	struct work_struct work;
	int (*fn)(struct sync_call *call);
	struct qc_store *store;
	struct qc_store_req *req;
	u64 pos;
	u64 len;
	int result;
};

static void sync_call_work(struct work_struct *work)
{
	struct sync_call *call = container_of(work, struct sync_call, work);
	unsigned int noio = memalloc_noio_save();

	call->result = call->fn(call);
	memalloc_noio_restore(noio);
}

int qc_store_final_error(int error)
{
	if (error == -EDQUOT)
		return -ENOSPC;
	return error == -ENOMEM || error == -EAGAIN ? -EIO : error;
}

static int sync_call(struct sync_call *call, enum req_op op)
{
	INIT_WORK_ONSTACK(&call->work, sync_call_work);
	if (may_wait(op)) {
		sync_call_work(&call->work);
	} else {
		queue_work(call->store->queue->wq, &call->work);
		flush_work(&call->work);
	}
	destroy_work_on_stack(&call->work);
	return qc_store_final_error(call->result);
}

static int call_rw(struct sync_call *call)
{
	return rw_any(call->req);
}

int qc_store_rw_bvec(struct qc_store *store, enum req_op op, u64 pos,
		     const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct qc_store_req req = {
		.store = store, .op = op, .pos = pos, .bvec = bvec, .iter = iter,
	};
	struct sync_call call = { .fn = call_rw, .store = store, .req = &req };

	return sync_call(&call, op);
}

static int rw_buffer(struct qc_store *store, enum req_op op, u64 pos, void *buf, size_t len)
{
	struct bvec_iter iter = { .bi_size = len };
	struct bio_vec bv;

	bvec_set_page(&bv, virt_to_page(buf), len, offset_in_page(buf));
	return qc_store_rw_bvec(store, op, pos, &bv, iter);
}

int qc_store_read(struct qc_store *store, u64 pos, void *buf, size_t len)
{
	return rw_buffer(store, REQ_OP_READ, pos, buf, len);
}

int qc_store_write(struct qc_store *store, u64 pos, const void *buf, size_t len)
{
	return rw_buffer(store, REQ_OP_WRITE, pos, (void *)buf, len);
}

static int call_flush(struct sync_call *call)
{
	int error;

	qc_store_flush_begin(call->store);
	error = call->store->ops->flush(call->store);
	qc_store_flush_end(call->store, error);
	return error;
}

int qc_store_flush(struct qc_store *store)
{
	struct sync_call call = { .fn = call_flush, .store = store };

	return store->writable ? sync_call(&call, REQ_OP_WRITE) : 0;
}

/* Or could the flush not even be tried, so that it may be repeated? */
static bool flush_loses(const struct qc_store *store, int error)
{
	/* The page cache forgets what it could not write, for whatever reason. */
	if (!store->direct)
		return true;
	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
	case -ENOMEM:
	case -EAGAIN:
	case -EINTR:
	case -ERESTARTSYS:
	case -EOPNOTSUPP:
		return false;
	default:
		return true;
	}
}

void qc_store_on_loss(struct qc_store *store, void (*lost)(void *owner), void *owner)
{
	store->owner = owner;
	store->lost = lost;
}

void qc_store_flush_begin(struct qc_store *store)
{
	atomic_inc(&store->flushing);
	smp_mb__after_atomic();		/* counted before the disk sees it */
}

void qc_store_flush_end(struct qc_store *store, int error)
{
	if (error) {
		errseq_set(&store->flush_errors, qc_store_final_error(error));
		if (store->lost && flush_loses(store, error))
			store->lost(store->owner);
	}
	/* Full barrier: who finds none in flight sees what this one has led to. */
	if (atomic_dec_and_test(&store->flushing) && wq_has_sleeper(&store->flush_wait))
		wake_up_all(&store->flush_wait);
}

void qc_store_flush_settle(struct qc_store *store)
{
	wait_event(store->flush_wait, !atomic_read_acquire(&store->flushing));
}

errseq_t qc_store_flush_sample(struct qc_store *store)
{
	return errseq_sample(&store->flush_errors);
}

bool qc_store_flush_failed(struct qc_store *store, errseq_t since)
{
	return errseq_check(&store->flush_errors, since);
}

int qc_store_flush_tell(struct qc_store *store, errseq_t *told)
{
	int error;

	if (!qc_store_flush_failed(store, READ_ONCE(*told)))
		return 0;
	spin_lock(&store->told_lock);
	error = errseq_check_and_advance(&store->flush_errors, told);
	spin_unlock(&store->told_lock);
	return error;
}

static int write_zeroes(struct qc_store *store, u64 pos, u64 len)
{
	struct bio_vec bvec[16];
	unsigned int i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(bvec); i++)
		bvec_set_page(&bvec[i], ZERO_PAGE(0), PAGE_SIZE, 0);

	while (!r && len) {
		struct qc_store_req req = {
			.store = store, .op = REQ_OP_WRITE, .pos = pos, .bvec = bvec,
			.iter.bi_size = min_t(u64, len, sizeof(bvec) / sizeof(*bvec) * PAGE_SIZE),
		};

		r = rw_any(&req);
		pos += req.iter.bi_size;
		len -= req.iter.bi_size;
	}
	return r;
}

static int call_zero_range(struct sync_call *call)
{
	struct qc_store *store = call->store;
	u64 pos = call->pos, end = pos + call->len;
	u64 from = round_up(pos, store->block), to = round_down(end, store->block);
	int r;

	if (from >= to)
		return write_zeroes(store, pos, call->len);
	r = store->ops->zero_range(store, from, to - from);
	if (r == -EOPNOTSUPP)
		return write_zeroes(store, pos, call->len);
	if (!r)
		r = write_zeroes(store, pos, from - pos);
	if (!r)
		r = write_zeroes(store, to, end - to);
	return r;
}

int qc_store_zero_range(struct qc_store *store, u64 pos, u64 len)
{
	struct sync_call call = { .fn = call_zero_range, .store = store, .pos = pos, .len = len };

	return sync_call(&call, REQ_OP_WRITE);
}

static int call_discard(struct sync_call *call)
{
	struct qc_store *store = call->store;
	u64 from = round_up(call->pos, store->block);
	u64 to = round_down(call->pos + call->len, store->block);

	return from < to ? store->ops->discard(store, from, to - from) : 0;
}

int qc_store_discard(struct qc_store *store, u64 pos, u64 len)
{
	struct sync_call call = { .fn = call_discard, .store = store, .pos = pos, .len = len };

	return sync_call(&call, REQ_OP_WRITE);
}

static int call_grow(struct sync_call *call)
{
	return call->store->ops->grow(call->store, call->len);
}

int qc_store_grow(struct qc_store *store, u64 size)
{
	struct sync_call call = { .fn = call_grow, .store = store, .len = size };

	return sync_call(&call, REQ_OP_WRITE);
}

static int call_truncate(struct sync_call *call)
{
	return call->store->ops->truncate(call->store, call->len);
}

int qc_store_truncate(struct qc_store *store, u64 size)
{
	struct sync_call call = { .fn = call_truncate, .store = store, .len = size };

	return sync_call(&call, REQ_OP_WRITE);
}

int qc_store_module_init(void)
{
	qc_store_done_wq = alloc_workqueue("qc-store-done", WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	return qc_store_done_wq ? 0 : -ENOMEM;
}

void qc_store_module_exit(void)
{
	destroy_workqueue(qc_store_done_wq);
}
