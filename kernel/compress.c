// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compressed clusters.  Section "Cluster mapping", "Compressed Clusters Descriptor".
 *
 * The module has a few decompressors with buffers large enough for the largest cluster
 * of any image opened so far, which readers use in turn.  Each remembers the cluster it
 * holds, so that small reads in sequence decompress it once.
 */
#include <linux/highmem.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/zlib.h>
#include <linux/zstd.h>

#include "compat.h"
#include "image.h"

#define DECOMPRESSORS	4

struct decompressor {
	struct mutex lock;		/* never held across I/O: stores may lie on each other */
	void *out;			/* vmalloc()ed */
	void *zlib, *zstd;		/* workspaces */
	const struct qc_image *image;	/* what out holds; NULL: nothing */
	u64 entry;
};

static struct decompressor decompressors[DECOMPRESSORS];
static atomic_t next_decompressor;
static size_t cluster_max;		/* bytes that every out can hold */
static DEFINE_MUTEX(grow_lock);

bool qc_compressed_range(const struct qc_image *image, u64 entry, u64 *pos, u64 *len)
{
	unsigned int sector_bits = image->cluster_bits - 8, shift = 62 - sector_bits;

	*pos = entry & (BIT_ULL(shift) - 1);
	*len = (((entry >> shift) & (BIT_ULL(sector_bits) - 1)) + 1) * 512 - (*pos & 511);
	return *pos && !(*pos >> 56) && *pos < qc_store_size(image->store);
}

static int inflate_zlib(struct decompressor *d, const void *in, size_t in_len, size_t out_len)
{
	struct z_stream_s stream = {
		.next_in = in,
		.avail_in = in_len,
		.next_out = d->out,
		.avail_out = out_len,
		.workspace = d->zlib,
	};

	/* Raw deflate, without zlib's header. */
	if (zlib_inflateInit2(&stream, -MAX_WBITS) != Z_OK)
		return -EIO;
	zlib_inflate(&stream, Z_FINISH);
	zlib_inflateEnd(&stream);
	return stream.total_out == out_len ? 0 : -EIO;
}

static int inflate_zstd(struct decompressor *d, const void *in, size_t in_len, size_t out_len)
{
	zstd_dctx *dctx = zstd_init_dctx(d->zstd, zstd_dctx_workspace_bound());
	size_t frame = zstd_find_frame_compressed_size(in, in_len);

	if (!dctx || zstd_is_error(frame))
		return -EIO;
	return zstd_decompress_dctx(dctx, d->out, out_len, in, frame) == out_len ? 0 : -EIO;
}

static void copy_out(const struct decompressor *d, u64 offset, const struct bio_vec *bvec,
		     struct bvec_iter iter)
{
	while (iter.bi_size) {
		struct bio_vec bv = bvec_iter_bvec(bvec, iter);

		memcpy_to_bvec(&bv, d->out + offset);
		offset += bv.bv_len;
		bvec_iter_advance(bvec, &iter, bv.bv_len);
	}
}

/* Serve the read from a decompressor that holds the cluster already. */
static bool copy_remembered(const struct qc_image *image, u64 entry, u64 offset,
			    const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct decompressor *d;
	bool found = false;
	unsigned int i;

	for (i = 0; i < DECOMPRESSORS && !found; i++) {
		d = &decompressors[i];
		if (READ_ONCE(d->image) != image || READ_ONCE(d->entry) != entry)
			continue;
		mutex_lock(&d->lock);
		found = d->image == image && d->entry == entry;
		if (found)
			copy_out(d, offset, bvec, iter);
		mutex_unlock(&d->lock);
	}
	return found;
}

static int inflate(struct qc_image *image, u64 entry, const void *in, size_t len, u64 offset,
		   const struct bio_vec *bvec, struct bvec_iter iter)
{
	unsigned int turn = atomic_inc_return(&next_decompressor);
	struct decompressor *d = &decompressors[turn % DECOMPRESSORS];
	int error;

	mutex_lock(&d->lock);
	WRITE_ONCE(d->image, NULL);
	if (image->compression == QCOW2_COMPRESSION_ZSTD)
		error = inflate_zstd(d, in, len, qc_cluster_size(image));
	else
		error = inflate_zlib(d, in, len, qc_cluster_size(image));
	if (!error) {
		WRITE_ONCE(d->entry, entry);
		WRITE_ONCE(d->image, image);
		copy_out(d, offset, bvec, iter);
	}
	mutex_unlock(&d->lock);
	return error;
}

/*
 * The compressed bytes.  Other I/O may have to wait for this read, and memory for that I/O, so
 * memory is not waited for: without it what was set aside is used, by one after the other.
 */
struct compressed {
	u64 start;			/* in the store, both aligned to pages */
	size_t span;
	size_t skip, len;		/* those of the cluster in there */
};

static int read_spare(struct qc_store *store, const struct compressed *c,
		      const struct qc_store_spare *spare)
{
	struct bvec_iter iter = { .bi_size = c->span };
	int error;

	if (WARN_ON_ONCE(c->span > spare->len))
		return -EIO;
	error = qc_store_rw_bvec(store, REQ_OP_READ, c->start, spare->bvec, iter);
	invalidate_kernel_vmap_range(spare->data, c->span);
	return error;
}

int qc_decompress(struct qc_image *image, u64 entry, u64 offset,
		  const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct qc_store_spare *spare = NULL;
	struct compressed c;
	u64 pos, len;
	void *in;
	int error;

	if (copy_remembered(image, entry, offset, bvec, iter))
		return 0;
	if (!qc_compressed_range(image, entry, &pos, &len))
		return -EIO;
	c.start = round_down(pos, PAGE_SIZE);
	c.span = round_up(pos + len, PAGE_SIZE) - c.start;
	c.skip = pos - c.start;
	c.len = len;

	in = kmalloc(c.span, QC_GFP_LOCKED);
	if (in) {
		error = qc_store_read(image->store, c.start, in, c.span);
	} else {
		spare = qc_store_spare_get(image->store);
		error = read_spare(image->store, &c, spare);
	}
	if (!error)
		error = inflate(image, entry, (spare ? spare->data : in) + c.skip, c.len, offset,
				bvec, iter);
	if (spare)
		qc_store_spare_put(spare);
	kfree(in);
	return error;
}

void qc_decompress_forget(const struct qc_image *image)
{
	unsigned int i;

	for (i = 0; i < DECOMPRESSORS; i++) {
		mutex_lock(&decompressors[i].lock);
		if (decompressors[i].image == image)
			decompressors[i].image = NULL;
		mutex_unlock(&decompressors[i].lock);
	}
}

static void decompressor_free(struct decompressor *d)
{
	vfree(d->out);
	kvfree(d->zlib);
	kvfree(d->zstd);
}

/* Give @d buffers for clusters of @cluster bytes; as it was on failure. */
static int decompressor_grow(struct decompressor *d, size_t cluster)
{
	struct decompressor old = *d, new = {
		.out = vmalloc(cluster),
		.zlib = kvmalloc(zlib_inflate_workspacesize(), GFP_KERNEL),
		.zstd = kvmalloc(zstd_dctx_workspace_bound(), GFP_KERNEL),
	};

	if (!new.out || !new.zlib || !new.zstd) {
		decompressor_free(&new);
		return -ENOMEM;
	}
	mutex_lock(&d->lock);
	d->out = new.out;
	d->zlib = new.zlib;
	d->zstd = new.zstd;
	d->image = NULL;
	mutex_unlock(&d->lock);
	decompressor_free(&old);
	return 0;
}

int qc_decompress_prepare(const struct qc_image *image)
{
	size_t cluster = max_t(size_t, qc_cluster_size(image), SZ_64K);
	unsigned int i;
	int error = 0;

	mutex_lock(&grow_lock);
	if (cluster > cluster_max) {
		for (i = 0; i < DECOMPRESSORS && !error; i++)
			error = decompressor_grow(&decompressors[i], cluster);
		if (!error)
			cluster_max = cluster;
	}
	mutex_unlock(&grow_lock);
	/* Up to two clusters, in sectors, that may begin and end within a page. */
	return error ?: qc_store_spare_reserve(image->store,
					       2 * qc_cluster_size(image) + 2 * PAGE_SIZE);
}

int qc_decompress_module_init(void)
{
	unsigned int i;

	for (i = 0; i < DECOMPRESSORS; i++)
		mutex_init(&decompressors[i].lock);
	return 0;
}

void qc_decompress_module_exit(void)
{
	unsigned int i;

	for (i = 0; i < DECOMPRESSORS; i++)
		decompressor_free(&decompressors[i]);
}
