// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stores on block devices: a request becomes a bio, which is embedded in it, so that
 * nothing is allocated.
 */
#include <linux/pagemap.h>

#include "log.h"
#include "store-internal.h"

/*
 * Fills in the request's bio.  Returns 1, 0 when there is nothing to transfer (a read
 * beyond the end), or an error.
 */
static int bdev_prepare(struct qc_store_req *req)
{
	struct block_device *bdev = req->store->bdev;
	u64 size = bdev_nr_bytes(bdev);
	unsigned int len = req->iter.bi_size;
	blk_opf_t opf = req->op;

	if (req->op == REQ_OP_WRITE)
		opf |= REQ_SYNC | (req->fua ? REQ_FUA : 0);
	if (len > size || req->pos > size - len) {
		if (qc_store_cut(req->store))
			return -EIO;
		if (req->op == REQ_OP_WRITE)
			return -ENOSPC;
		len = req->pos < size ? size - req->pos : 0;
		qc_store_zero_tail(req, len);
		if (!len)
			return 0;
	}

	bio_init(&req->bio, bdev, (struct bio_vec *)req->bvec, 0, opf);
	bio_set_flag(&req->bio, BIO_CLONED);	/* the vector is not the bio's own */
	req->bio.bi_iter = req->iter;
	req->bio.bi_iter.bi_sector = req->pos >> SECTOR_SHIFT;
	req->bio.bi_iter.bi_size = len;
	return 1;
}

static int bdev_rw(struct qc_store_req *req)
{
	int r = bdev_prepare(req);

	if (r <= 0)
		return r;
	r = submit_bio_wait(&req->bio);
	bio_uninit(&req->bio);
	return r;
}

static int bdev_flush(struct qc_store *store)
{
	return blkdev_issue_flush(store->bdev);
}

/*
 * Something without data; the block layer splits it by the limits of the device.  With a bio of
 * its own: blkdev_issue_*() take theirs from the pool from which swap takes its own, and those
 * may wait for us.
 */
static int bdev_issue(struct qc_store *store, enum req_op op, u64 pos, u64 len)
{
	struct bio bio;
	u64 n;
	int r = 0;

	for (; len && !r; pos += n, len -= n) {
		n = min_t(u64, len, SZ_1G);
		bio_init(&bio, store->bdev, NULL, 0, op);
		bio.bi_iter.bi_sector = pos >> SECTOR_SHIFT;
		bio.bi_iter.bi_size = n;
		r = submit_bio_wait(&bio);
		bio_uninit(&bio);
	}
	return r;
}

static int bdev_zero_range(struct qc_store *store, u64 pos, u64 len)
{
	struct block_device *bdev = store->bdev;
	int r;

	if (pos + len > bdev_nr_bytes(bdev))
		return qc_store_cut(store) ? -EIO : -ENOSPC;
	if (!bdev_write_zeroes_sectors(bdev))
		return -EOPNOTSUPP;
	r = bdev_issue(store, REQ_OP_WRITE_ZEROES, pos, len);
	/* The device has found out that it cannot. */
	return r && !bdev_write_zeroes_sectors(bdev) ? -EOPNOTSUPP : r;
}

static int bdev_discard(struct qc_store *store, u64 pos, u64 len)
{
	if (!bdev_max_discard_sectors(store->bdev))
		return -EOPNOTSUPP;
	return bdev_issue(store, REQ_OP_DISCARD, pos, len);
}

static int bdev_grow(struct qc_store *store, u64 size)
{
	u64 now = bdev_nr_bytes(store->bdev);

	if (size > now)
		return qc_store_cut(store) ? -EIO : -ENOSPC;
	/* From here on something may be in all of it, and is lost when that is cut off. */
	if (now > READ_ONCE(store->known_size))
		WRITE_ONCE(store->known_size, now);
	return 0;
}

static int bdev_truncate(struct qc_store *store, u64 size)
{
	return 0;
}

static const struct qc_store_ops bdev_ops = {
	.rw		= bdev_rw,
	.flush		= bdev_flush,
	.zero_range	= bdev_zero_range,
	.discard	= bdev_discard,
	.grow		= bdev_grow,
	.truncate	= bdev_truncate,
};

int qc_store_bdev_setup(struct qc_store *store)
{
	struct block_device *bdev = I_BDEV(store->file->f_mapping->host);

	if (store->writable && bdev_read_only(bdev))
		return -EROFS;
	if (bdev_logical_block_size(bdev) > PAGE_SIZE) {
		qc_err("%pg: logical blocks larger than %lu bytes are not supported", bdev,
		       PAGE_SIZE);
		return -EINVAL;
	}

	store->ops = &bdev_ops;
	store->bdev = bdev;
	store->id.dev = bdev->bd_dev;
	store->align = bdev_logical_block_size(bdev);
	store->dma_mask = bdev_dma_alignment(bdev);
	store->block = store->align;
	store->direct = true;
	return 0;
}
