// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compressed clusters.  Section "Cluster mapping", "Compressed Clusters Descriptor".
 *
 * The module has a few decompressors with buffers large enough for the largest cluster
 * of any image opened so far; a reader that finds none free waits for one, which
 * somebody is running with.  Each remembers the cluster it holds, so that small reads in
 * sequence decompress it once.
 */
#include <linux/highmem.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/zlib.h>
#include <linux/zstd.h>

#include "compat.h"
#include "image.h"

#define DECOMPRESSORS	4
#define READ_ALIGN	4096U		/* no store asks for more */

struct decompressor {
	struct mutex lock;
	void *in, *out;			/* vmalloc()ed */
	struct bio_vec *bvec;		/* of the pages of in */
	void *zlib, *zstd;		/* workspaces */
	const struct qc_image *image;	/* what out holds; NULL: nothing */
	u64 entry;
};

static struct decompressor decompressors[DECOMPRESSORS];
static atomic_t next_decompressor;
static size_t cluster_max;		/* bytes that every out can hold */
static DEFINE_MUTEX(grow_lock);

static size_t in_bytes(size_t cluster)
{
	/* The descriptor can name two clusters' worth of sectors; plus alignment. */
	return 2 * cluster + 2 * READ_ALIGN;
}

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

static int read_and_inflate(struct decompressor *d, struct qc_image *image, u64 entry)
{
	struct bvec_iter iter = {};
	u64 pos, len, start;
	int error;

	if (!qc_compressed_range(image, entry, &pos, &len))
		return -EIO;
	start = round_down(pos, READ_ALIGN);
	iter.bi_size = round_up(pos + len, READ_ALIGN) - start;
	error = qc_store_rw_bvec(image->store, REQ_OP_READ, start, d->bvec, iter);
	if (error)
		return error;
	invalidate_kernel_vmap_range(d->in, iter.bi_size);
	if (image->compression == QCOW2_COMPRESSION_ZSTD)
		return inflate_zstd(d, d->in + (pos - start), len, qc_cluster_size(image));
	return inflate_zlib(d, d->in + (pos - start), len, qc_cluster_size(image));
}

/* One that holds the cluster already, or is free, or the next in turn. */
static struct decompressor *decompressor_get(const struct qc_image *image, u64 entry)
{
	struct decompressor *d;
	unsigned int i;

	for (i = 0; i < DECOMPRESSORS; i++) {
		d = &decompressors[i];
		if (READ_ONCE(d->image) == image && READ_ONCE(d->entry) == entry) {
			mutex_lock(&d->lock);
			return d;
		}
	}
	i = atomic_inc_return(&next_decompressor) % DECOMPRESSORS;
	d = &decompressors[i];
	mutex_lock(&d->lock);
	return d;
}

int qc_decompress(struct qc_image *image, u64 entry, u64 offset,
		  const struct bio_vec *bvec, struct bvec_iter iter)
{
	struct decompressor *d = decompressor_get(image, entry);
	struct bio_vec bv;
	int error = 0;

	if (d->image != image || d->entry != entry) {
		WRITE_ONCE(d->image, NULL);
		error = read_and_inflate(d, image, entry);
		if (!error) {
			WRITE_ONCE(d->entry, entry);
			WRITE_ONCE(d->image, image);
		}
	}
	while (!error && iter.bi_size) {
		bv = bvec_iter_bvec(bvec, iter);
		memcpy_to_bvec(&bv, d->out + offset);
		offset += bv.bv_len;
		bvec_iter_advance(bvec, &iter, bv.bv_len);
	}
	mutex_unlock(&d->lock);
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
	vfree(d->in);
	vfree(d->out);
	kvfree(d->bvec);
	kvfree(d->zlib);
	kvfree(d->zstd);
}

/* Give @d buffers for clusters of @cluster bytes; as it was on failure. */
static int decompressor_grow(struct decompressor *d, size_t cluster)
{
	unsigned int i, pages = DIV_ROUND_UP(in_bytes(cluster), PAGE_SIZE);
	struct decompressor old = *d, new = {
		.in = vmalloc(pages * PAGE_SIZE),
		.out = vmalloc(cluster),
		.bvec = kvcalloc(pages, sizeof(*new.bvec), GFP_KERNEL),
		.zlib = kvmalloc(zlib_inflate_workspacesize(), GFP_KERNEL),
		.zstd = kvmalloc(zstd_dctx_workspace_bound(), GFP_KERNEL),
	};

	if (!new.in || !new.out || !new.bvec || !new.zlib || !new.zstd) {
		decompressor_free(&new);
		return -ENOMEM;
	}
	for (i = 0; i < pages; i++)
		bvec_set_page(&new.bvec[i], vmalloc_to_page(new.in + i * PAGE_SIZE), PAGE_SIZE, 0);

	mutex_lock(&d->lock);
	d->in = new.in;
	d->out = new.out;
	d->bvec = new.bvec;
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
	return error;
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
