// SPDX-License-Identifier: GPL-2.0-only
/*
 * Images: found again or opened, checked, closed.  See image.h.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "compat.h"
#include "image.h"
#include "log.h"

/*
 * All images of the module.  The lock is never held across I/O: an image being opened is in
 * the list and busy, one whose last reference is gone stays in it until everything is on
 * disk, and whoever wants it meanwhile waits.
 */
static DEFINE_MUTEX(registry_lock);
static LIST_HEAD(registry);
static DECLARE_WAIT_QUEUE_HEAD(registry_wait);
static atomic_t changes;		/* counts what waiters wait for */

static void registry_changed(void)
{
	atomic_inc(&changes);
	wake_up_all(&registry_wait);
}

static const struct {
	u64 bit;
	const char *name;
} known_incompatible[] = {
	{ QCOW2_INCOMPAT_DATA_FILE, "external data file" },
	{ QCOW2_INCOMPAT_EXTENDED_L2, "extended L2 entries" },
};

/* Bytes of the first cluster that are looked at: fixed fields and the feature names. */
#define HEADER_BYTES	4096

/*
 * The name of an incompatible feature: from the image's own feature name table
 * (section "Feature name table"), else what we know it as.
 */
static void feature_name(const u8 *raw, u32 header_length, u64 bit, char name[48])
{
	u32 pos = header_length;
	unsigned int i;

	while (pos + sizeof(struct qcow2_extension) <= HEADER_BYTES) {
		const struct qcow2_extension *ext = (const void *)(raw + pos);
		u32 type = be32_to_cpu(ext->type), len = be32_to_cpu(ext->length);

		pos += sizeof(*ext);
		if (type == QCOW2_EXT_END || len > HEADER_BYTES - pos)
			break;
		if (type == QCOW2_EXT_FEATURE_TABLE) {
			const struct qcow2_feature_name *f = (const void *)(raw + pos);

			for (i = 0; i < len / sizeof(*f); i++, f++) {
				if (f->type == 0 && f->bit < 64 && BIT_ULL(f->bit) == bit) {
					/* It shall not look like more of the log. */
					snprintf(name, 48, "%*pE",
						 (int)strnlen(f->name, sizeof(f->name)),
						 f->name);
					return;
				}
			}
		}
		pos += round_up(len, 8);
	}
	for (i = 0; i < ARRAY_SIZE(known_incompatible); i++) {
		if (known_incompatible[i].bit == bit) {
			snprintf(name, 48, "%s", known_incompatible[i].name);
			return;
		}
	}
	snprintf(name, 48, "bit %u", (unsigned int)__ffs64(bit));
}

static int refuse_features(const u8 *raw, u32 header_length, u64 unknown, char **error)
{
	char name[48];

	*error = "image needs a feature that is not supported (see kernel log)";
	while (unknown) {
		u64 bit = unknown & -unknown;

		feature_name(raw, header_length, bit, name);
		qc_err("unsupported incompatible feature: %s", name);
		unknown &= ~bit;
	}
	return -EOPNOTSUPP;
}

bool qc_table_ok(const struct qc_image *image, u64 pos, u64 len)
{
	u64 size = round_up(qc_store_size(image->store), qc_cluster_size(image));

	return !qc_cluster_offset(image, pos) && pos && pos < size && len <= size - pos;
}

static bool ranges_overlap(u64 a, u64 a_len, u64 b, u64 b_len)
{
	return a_len && b_len && a < b + b_len && b < a + a_len;
}

/* Section "Header". */
static int parse_header(struct qc_image *image, const u8 *raw, char **error)
{
	const struct qcow2_header *h = (const void *)raw;
	u64 incompatible = 0, l1_bytes, reftable_bytes, covered;
	u32 header_length = QCOW2_V2_HEADER_LENGTH;

	*error = "not a qcow2 image";
	if (be32_to_cpu(h->magic) != QCOW2_MAGIC)
		return -EINVAL;
	image->version = be32_to_cpu(h->version);
	*error = "unknown qcow2 version";
	if (image->version < 2 || image->version > 3)
		return -EINVAL;

	image->cluster_bits = be32_to_cpu(h->cluster_bits);
	*error = "cluster size out of range";
	if (image->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
	    image->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return -EINVAL;

	image->refcount_order = 4;
	if (image->version >= 3) {
		header_length = be32_to_cpu(h->header_length);
		*error = "header length out of range";
		if (header_length < QCOW2_V3_HEADER_LENGTH || header_length > HEADER_BYTES ||
		    header_length > qc_cluster_size(image) || header_length % 8)
			return -EINVAL;
		incompatible = be64_to_cpu(h->incompatible_features);
		if (incompatible & ~QCOW2_INCOMPAT_SUPPORTED)
			return refuse_features(raw, header_length,
					       incompatible & ~QCOW2_INCOMPAT_SUPPORTED, error);
		image->features_written = !h->autoclear_features;
		image->refcount_order = be32_to_cpu(h->refcount_order);
		*error = "refcount width out of range";
		if (image->refcount_order > QCOW2_MAX_REFCOUNT_ORDER)
			return -EINVAL;
		if (header_length > offsetof(struct qcow2_header, compression_type))
			image->compression = h->compression_type;
		*error = "unknown compression type";
		if (image->compression > QCOW2_COMPRESSION_ZSTD ||
		    !(incompatible & QCOW2_INCOMPAT_COMPRESSION) != !image->compression)
			return -EINVAL;
	} else {
		image->features_written = true;
	}
	*error = "encrypted images are not supported";
	if (h->crypt_method)
		return -EOPNOTSUPP;

	image->corrupt = incompatible & QCOW2_INCOMPAT_CORRUPT;
	*error = "image is marked corrupt; repair it or attach read_only";
	if (image->corrupt && image->writable)
		return -EUCLEAN;
	*error = "image is marked dirty; repair it or attach read_only";
	if ((incompatible & QCOW2_INCOMPAT_DIRTY) && image->writable)
		return -EUCLEAN;

	image->l2_bits = image->cluster_bits - 3;
	image->size = round_up(be64_to_cpu(h->size), SECTOR_SIZE);
	image->l1_size = be32_to_cpu(h->l1_size);
	image->l1_offset = be64_to_cpu(h->l1_table_offset);
	l1_bytes = (u64)image->l1_size * QCOW2_ENTRY_SIZE;
	covered = (u64)image->l1_size << (image->l2_bits + image->cluster_bits);
	*error = "virtual size and L1 table do not fit together";
	if (be64_to_cpu(h->size) > BIT_ULL(62) || l1_bytes > QCOW2_MAX_L1_BYTES ||
	    covered < image->size)
		return -EINVAL;
	*error = "L1 table is misaligned or outside the image";
	if (image->l1_size && !qc_table_ok(image, image->l1_offset, l1_bytes))
		return -EINVAL;

	image->reftable_offset = be64_to_cpu(h->refcount_table_offset);
	image->reftable_clusters = be32_to_cpu(h->refcount_table_clusters);
	reftable_bytes = (u64)image->reftable_clusters << image->cluster_bits;
	*error = "refcount table is misaligned, too large or outside the image";
	if (reftable_bytes > max_t(u64, QCOW2_MAX_REFTABLE_BYTES, qc_cluster_size(image)) ||
	    (image->writable && (!image->reftable_clusters ||
				 !qc_table_ok(image, image->reftable_offset, reftable_bytes))))
		return -EINVAL;
	image->reftable_entries = reftable_bytes / QCOW2_ENTRY_SIZE;
	*error = "L1 table and refcount table overlap";
	if (ranges_overlap(image->l1_offset, l1_bytes, image->reftable_offset, reftable_bytes))
		return -EINVAL;

	image->snapshots_offset = be64_to_cpu(h->snapshots_offset);
	image->nb_snapshots = be32_to_cpu(h->nb_snapshots);
	*error = "snapshot table is misaligned, too large or outside the image";
	if (image->nb_snapshots > QCOW2_MAX_SNAPSHOTS ||
	    (image->nb_snapshots && !qc_table_ok(image, image->snapshots_offset, 1)))
		return -EINVAL;
	return 0;
}

static int load_l1(struct qc_image *image)
{
	u64 *l1 = kvcalloc(max(image->l1_size, 1U), sizeof(*l1), GFP_KERNEL);
	int error;

	if (!l1)
		return -ENOMEM;
	error = qc_read_table(image, image->l1_offset, l1, image->l1_size);
	if (error) {
		kvfree(l1);
		return error;
	}
	qc_l1_validate(image, l1);
	smp_store_release(&image->l1, l1);	/* pairs with l1_read() */
	return 0;
}

int qc_read_table(struct qc_image *image, u64 pos, u64 *table, u64 entries)
{
	void *buf = (void *)__get_free_page(GFP_KERNEL);
	u64 done, n, i;
	int error = 0;

	if (!buf)
		return -ENOMEM;
	for (done = 0; done < entries && !error; done += n) {
		n = min_t(u64, entries - done, PAGE_SIZE / QCOW2_ENTRY_SIZE);
		error = qc_store_read(image->store, pos + done * QCOW2_ENTRY_SIZE, buf,
				      n * QCOW2_ENTRY_SIZE);
		for (i = 0; i < n && !error; i++)
			table[done + i] = be64_to_cpu(((__be64 *)buf)[i]);
	}
	free_page((unsigned long)buf);
	return error;
}

/* Fields of the header that are changed while attached; all in one sector, so atomically. */
struct header_update {
	u64 set_incompatible;
	bool clear_autoclear;
	u64 reftable_offset;		/* 0: keep */
	u32 reftable_clusters;
};

static int update_header(struct qc_image *image, const struct header_update *update)
{
	struct qcow2_header *h = image->scratch;
	int error;

	lockdep_assert_held(&image->lock);
	if (qc_image_aborted(image))
		return -EIO;
	error = qc_store_read(image->store, 0, h, SECTOR_SIZE);
	if (!error) {
		if (image->version >= 3)
			h->incompatible_features |= cpu_to_be64(update->set_incompatible);
		if (update->clear_autoclear)
			h->autoclear_features = 0;
		if (update->reftable_offset) {
			h->refcount_table_offset = cpu_to_be64(update->reftable_offset);
			h->refcount_table_clusters = cpu_to_be32(update->reftable_clusters);
		}
		error = qc_image_aborted(image) ? -EIO :
			qc_store_write(image->store, 0, h, SECTOR_SIZE);
	}
	if (!error)
		error = qc_image_flush(image);
	return error;
}

int qc_image_write_reftable(struct qc_image *image)
{
	lockdep_assert_held(&image->lock);
	return update_header(image, &(struct header_update){
		.reftable_offset = image->reftable_offset,
		.reftable_clusters = image->reftable_clusters });
}

int qc_image_before_change(struct qc_image *image)
{
	int error;

	lockdep_assert_held(&image->lock);
	if (qc_image_aborted(image))
		return -EIO;
	if (READ_ONCE(image->corrupt))
		return -EROFS;
	if (image->features_written)
		return 0;
	/* From here on flushes wait for a commit, so that those in flight come to an end. */
	WRITE_ONCE(image->unclean, true);
	error = update_header(image, &(struct header_update){ .clear_autoclear = true });
	if (!error)
		image->features_written = true;
	return error;
}

void qc_image_mark_corrupt(struct qc_image *image)
{
	int error;

	if (!image->writable || image->version < 3 || qc_image_aborted(image))
		return;
	mutex_lock(&image->lock);
	error = update_header(image, &(struct header_update){
		.set_incompatible = QCOW2_INCOMPAT_CORRUPT });
	mutex_unlock(&image->lock);
	if (error)
		qc_err("cannot set the corrupt bit of an image: error %d", error);
}

static void mark_corrupt(struct work_struct *work)
{
	qc_image_mark_corrupt(container_of(work, struct qc_image, corrupt_work));
}

void qc_image_corrupt(struct qc_image *image, const char *what, u64 pos)
{
	if (cmpxchg(&image->corrupt, false, true))
		return;
	qc_err("image on %u:%u inode %llu is corrupt: %s at offset %#llx",
	       MAJOR(image->id.dev), MINOR(image->id.dev), image->id.ino, what, pos);
	if (image->writable && !READ_ONCE(image->released))
		queue_work(image->wq, &image->corrupt_work);
}

static void abort_work(struct work_struct *work)
{
	qc_device_event(container_of(work, struct qc_image, abort_work)->writer);
}

/* A flush has failed.  Any context. */
static void image_abort(void *owner)
{
	struct qc_image *image = owner;

	if (cmpxchg(&image->aborted, false, true))
		return;
	qc_err("image on %u:%u inode %llu: a flush failed, writing ends; load a table to go on",
	       MAJOR(image->id.dev), MINOR(image->id.dev), image->id.ino);
	queue_work(image->wq, &image->abort_work);
}

int qc_image_flush(struct qc_image *image)
{
	int error = qc_store_flush(image->store);

	/* With nothing to write none is needed, nor need there be an end of theirs. */
	if (READ_ONCE(image->unclean))
		qc_store_flush_settle(image->store);
	return qc_image_aborted(image) ? -EIO : error;
}

/* Fill a block of an image's cache with what lies on disk. */
static int fill_block(struct qc_cache *cache, struct qc_block *block)
{
	struct qc_image *image = container_of(cache, struct qc_image, cache);
	int error = qc_store_read(image->store, block->index << cache->block_bits, block->data,
				  qc_cache_block_size(cache));

	if (!error && block->kind == QC_BLOCK_L2)
		qc_l2_validate(image, block);
	return error;
}

static int open_qcow2(struct qc_image *image, char **error)
{
	void *raw = kzalloc(HEADER_BYTES, GFP_KERNEL);
	int r;

	*error = "out of memory";
	if (!raw)
		return -ENOMEM;
	*error = "cannot read the image's header";
	r = qc_store_read(image->store, 0, raw, HEADER_BYTES);
	if (!r)
		r = parse_header(image, raw, error);
	kfree(raw);
	if (r)
		return r;

	qc_cache_init(&image->cache, min_t(unsigned int, image->cluster_bits, QC_BLOCK_MAX_BITS),
		      fill_block);
	*error = "cannot get memory for compressed clusters";
	return qc_decompress_prepare(image);
}

static void image_free(struct qc_image *image)
{
	if (image->format == QC_QCOW2 && image->cache.fill) {
		qc_decompress_forget(image);
		qc_cache_destroy(&image->cache);
	}
	kvfree(image->l1);
	qc_store_put(image->store);
	if (image->writer)
		qc_device_put(image->writer);
	kfree(image);
}

/* An image of which nothing has been read yet. */
static struct qc_image *image_create(enum qc_format format, struct qc_store *store, bool writable,
				     struct qc_device *device, char **error)
{
	struct qc_image *image = kzalloc(sizeof(*image), GFP_KERNEL);

	*error = "out of memory";
	if (!image)
		return ERR_PTR(-ENOMEM);
	kref_init(&image->kref);
	image->format = format;
	image->store = store;
	image->writable = writable;
	INIT_LIST_HEAD(&image->uses);
	INIT_LIST_HEAD(&image->kept);
	if (writable) {
		qc_device_get(device);
		image->writer = device;
	}
	qc_store_id(store, &image->id);
	image->remap = qc_store_bdev(store);
	image->remap_mask = qc_store_align(store) - 1;
	image->remap_end = qc_store_size(store);
	INIT_WORK(&image->corrupt_work, mark_corrupt);
	INIT_WORK(&image->abort_work, abort_work);
	if (writable && format == QC_QCOW2)
		qc_store_on_loss(store, image_abort, image);
	return image;
}

/* Read what is needed and not there yet; the image is busy.  On failure it can only be put. */
static int image_load(struct qc_image *image, bool created, bool top, char **error)
{
	int r = 0;

	if (created && image->format == QC_RAW)
		image->size = round_up(qc_store_size(image->store), SECTOR_SIZE);
	if (image->format == QC_RAW)
		return 0;
	if (created)
		r = open_qcow2(image, error);
	if (!r && created && image->writable) {
		*error = "cannot load the image's refcounts";
		r = qc_writer_open(image);
	}
	if (!r && top && !image->l1) {
		*error = "cannot load the image's L1 table";
		r = load_l1(image);
		if (!r && image->writable)
			r = qc_tables_load(image);
	}
	return r;
}

static struct qc_image *registry_find(const struct qc_store_id *id)
{
	struct qc_image *image;

	list_for_each_entry(image, &registry, list)
		if (qc_store_id_equal(&image->id, id))
			return image;
	return NULL;
}

/* Has another device than @device a use of any object of the image?  Under registry_lock. */
static bool others_use(const struct qc_store_id *id, const struct qc_device *device)
{
	const struct qc_image *image;
	const struct qc_use *use;

	lockdep_assert_held(&registry_lock);
	list_for_each_entry(image, &registry, list) {
		if (!qc_store_id_equal(&image->id, id))
			continue;
		list_for_each_entry(use, &image->uses, list)
			if (use->device != device)
				return true;
	}
	return false;
}

/* Takes over the caller's reference to @image.  Under registry_lock. */
static void note_use(struct qc_image *image, struct qc_device *device, struct qc_use *use)
{
	lockdep_assert_held(&registry_lock);
	use->image = image;
	use->device = device;
	list_add(&use->list, &image->uses);
}

void qc_image_use(struct qc_image *image, struct qc_device *device, struct qc_use *use)
{
	mutex_lock(&registry_lock);
	note_use(qc_image_get(image), device, use);
	mutex_unlock(&registry_lock);
}

void qc_image_unuse(struct qc_use *use)
{
	struct qc_image *image = use->image;

	if (!image)
		return;
	mutex_lock(&registry_lock);
	list_del(&use->list);
	mutex_unlock(&registry_lock);
	use->image = NULL;
	qc_image_put(image);
}

/* May @device have @image, opened by somebody before, in this way?  Under registry_lock. */
static int may_share(const struct qc_image *image, enum qc_format format, bool writable,
		     const struct qc_device *device, char **error)
{
	*error = "image is in use as another format";
	if (image->format != format)
		return -EBUSY;
	*error = "image is attached for writing by another device";
	if (image->writable && image->writer != device)
		return -EBUSY;
	*error = "image is released by another device, to be edited";
	if (image->released && others_use(&image->id, device))
		return -EBUSY;
	*error = "image is in use read-only by another device, and cannot be written";
	if (writable && others_use(&image->id, device))
		return -EBUSY;
	return 0;
}

/* Nobody is to find it any more, but who has it already. */
static bool is_given_up(const struct qc_image *image)
{
	return image->released || qc_image_aborted(image);
}

struct qc_image *qc_image_open(enum qc_format format, const char *name, bool writable, bool top,
			       struct qc_device *device, struct qc_use *use, char **error)
{
	struct qc_store *store = qc_store_open(name, writable);
	struct qc_store_id id;
	struct qc_image *image, *again = NULL;
	int r = 0;

	*error = "cannot open a layer's file or device";
	if (IS_ERR(store))
		return ERR_CAST(store);
	qc_store_id(store, &id);

	mutex_lock(&registry_lock);
	while ((image = registry_find(&id)) &&
	       (image->busy || !kref_get_unless_zero(&image->kref))) {
		int seen = atomic_read(&changes);

		mutex_unlock(&registry_lock);
		wait_event(registry_wait, atomic_read(&changes) != seen);
		mutex_lock(&registry_lock);
	}
	if (image)
		r = may_share(image, format, writable, device, error);
	if (image && !r && (is_given_up(image) || (writable && !image->writable))) {
		/* The second one lies before the first in the list. */
		again = image;
		image = NULL;
	}
	if (!image) {
		image = image_create(format, store, writable, device, error);
		if (IS_ERR(image)) {
			mutex_unlock(&registry_lock);
			qc_store_put(store);
			if (again)
				qc_image_put(again);
			return image;
		}
		list_add(&image->list, &registry);
		store = NULL;
	}
	image->busy = true;
	mutex_unlock(&registry_lock);

	if (!r && again && qc_image_aborted(again)) {
		qc_writer_settle(again);
		/* By then it has written and grown the file for the last time. */
		qc_store_note_written(image->store, qc_store_size(image->store));
		r = qc_store_reread(image->store);
	}
	if (!r)
		r = image_load(image, !store, top, error);

	/* One that could not be opened stays busy until it is closed, below. */
	mutex_lock(&registry_lock);
	if (!r || store) {
		image->busy = false;
		registry_changed();
	}
	if (!r)
		note_use(qc_image_get(image), device, use);
	if (store && !r)
		qc_store_adopt_held(image->store, store);
	/* The locks are on the description that was there before, if any. */
	if (again && is_given_up(again))
		qc_store_swap_held(image->store, again->store);
	mutex_unlock(&registry_lock);
	if (store)
		qc_store_put(store);
	if (again)
		qc_image_put(again);
	if (r) {
		qc_image_put(image);
		return ERR_PTR(r);
	}
	return image;
}

/* All objects of an image, or none: it may have been opened for a table not in use yet. */
static int mark_released(const struct qc_image *image, const struct qc_device *device,
			 bool released)
{
	struct qc_image *other;
	int error;

	mutex_lock(&registry_lock);
	error = others_use(&image->id, device) ? -EBUSY : 0;
	list_for_each_entry(other, &registry, list)
		if (!error && qc_store_id_equal(&other->id, &image->id))
			WRITE_ONCE(other->released, released);
	mutex_unlock(&registry_lock);
	return error;
}

int qc_image_release(struct qc_image *image, const struct qc_device *device)
{
	bool again = image->released;
	int error = mark_released(image, device, true);

	/* What somebody has edited since the first time must not be cut. */
	if (error || again)
		return error;
	error = image->wq ? qc_writer_write_back(image) : qc_commit(image);
	if (error)
		mark_released(image, device, false);
	return error;
}

/*
 * The last reference is gone: nothing is in flight and nobody can find the image.  Work
 * that it still has is through when its queue is destroyed.
 */
static void image_close(struct kref *kref)
{
	struct qc_image *image = container_of(kref, struct qc_image, kref), *first;
	bool newest;

	if (image->wq)
		qc_writer_close(image);
	mutex_lock(&registry_lock);
	newest = registry_find(&image->id) == image;
	list_del(&image->list);
	/* A table was loaded and not used: what was there before has the locks again. */
	first = registry_find(&image->id);
	if (newest && first && is_given_up(first))
		qc_store_swap_held(first->store, image->store);
	registry_changed();
	mutex_unlock(&registry_lock);
	image_free(image);
}

void qc_image_put(struct qc_image *image)
{
	kref_put(&image->kref, image_close);
}
