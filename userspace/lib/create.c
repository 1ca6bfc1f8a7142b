// SPDX-License-Identifier: GPL-2.0-or-later
/* New images: header, refcount structures and an empty L1 table. */
#include <errno.h>
#include <fcntl.h>

#include "create.h"
#include "entry.h"
#include "locks.h"
#include "refcount.h"

#define FEATURE_NAME_ENTRY 48
#define FEATURE_NAMES_MIN_CLUSTER 4096	/* below, the table would take up the header's room */

static bool is_power_of_two(u64 value)
{
	return value && !(value & (value - 1));
}

static int add_feature_names(struct qc_header *h)
{
	CLEANUP_FREE u8 *table = calloc(qc_nb_features, FEATURE_NAME_ENTRY);

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < qc_nb_features; i++) {
		u8 *entry = table + i * FEATURE_NAME_ENTRY;

		entry[0] = qc_features[i].type;
		entry[1] = qc_features[i].bit;
		memcpy(entry + 2, qc_features[i].name, strlen(qc_features[i].name));
	}
	return qc_header_set_extension(h, QC_EXT_FEATURE_NAMES, table,
				       qc_nb_features * FEATURE_NAME_ENTRY);
}

static int check_version2(const struct qc_create_options *o, const char *path,
			  struct qc_error *err)
{
	static const char remedy[] = "use version 3 (compat=1.1)";

	if (o->lazy_refcounts)
		return qc_fail(err, EINVAL, path, remedy, "version 2 has no lazy refcounts");
	if (o->compression != QC_COMPRESSION_ZLIB)
		return qc_fail(err, EINVAL, path, remedy, "version 2 compresses with zlib only");
	if (o->refcount_bits && o->refcount_bits != 16)
		return qc_fail(err, EINVAL, path, remedy, "version 2 has 16-bit refcounts only");
	return 0;
}

static int fill_extensions(struct qc_header *h, const struct qc_create_options *o,
			   const char *path, struct qc_error *err)
{
	int ret = 0;

	if (o->backing) {
		h->backing = strdup(o->backing);
		if (!h->backing)
			return qc_fail_nomem(err, path);
		ret = qc_header_set_extension(h, QC_EXT_BACKING_FORMAT, o->backing_format,
					      strlen(o->backing_format));
	}
	if (!ret && h->version >= 3 && qc_cluster_size(h) >= FEATURE_NAMES_MIN_CLUSTER)
		ret = add_feature_names(h);
	return ret ? qc_fail_nomem(err, path) : 0;
}

/* Everything of the header but where things lie. */
static int fill_header(struct qc_header *h, const struct qc_create_options *o, const char *path,
		       struct qc_error *err)
{
	u64 cluster_size = o->cluster_size ? o->cluster_size : 65536;
	u32 refcount_bits = o->refcount_bits ? o->refcount_bits : 16;
	u64 l1_size;
	int ret;

	if (!is_power_of_two(cluster_size) || cluster_size < 1U << QC_MIN_CLUSTER_BITS ||
	    cluster_size > 1U << QC_MAX_CLUSTER_BITS)
		return qc_fail(err, EINVAL, path, "use a power of two from 512 to 2M",
			       "bad cluster size %llu", cluster_size);
	if (!is_power_of_two(refcount_bits) || refcount_bits > 64)
		return qc_fail(err, EINVAL, path, "use a power of two from 1 to 64",
			       "bad refcount width %u", refcount_bits);
	if (o->backing && !o->backing_format)
		return qc_fail(err, EINVAL, path, "say -F qcow2 or -F raw",
			       "the format of the backing file is not given");
	if (o->backing && strlen(o->backing) > QC_MAX_BACKING_NAME)
		return qc_fail(err, EINVAL, path, "use a shorter name, relative to the image",
			       "the backing file's name has more than %d bytes",
			       QC_MAX_BACKING_NAME);
	if (o->backing && o->preallocate)
		return qc_fail(err, EINVAL, path, "leave one of them out",
			       "preallocated clusters would hide the backing file");
	if (o->size > INT64_MAX - QC_SECTOR_SIZE)
		return qc_fail(err, EINVAL, path, NULL, "bad size %llu", o->size);

	h->version = o->version ? o->version : 3;
	h->length = QC_V2_HEADER_LENGTH;
	if (h->version == 2) {
		ret = check_version2(o, path, err);
		if (ret < 0)
			return ret;
	} else if (h->version == 3) {
		/* Room for the compression type, padded. */
		h->length = QC_V3_HEADER_LENGTH + 8;
	} else {
		return qc_fail(err, EINVAL, path, "use 2 or 3", "bad version %u", h->version);
	}
	h->cluster_bits = __builtin_ctzll(cluster_size);
	h->refcount_order = __builtin_ctz(refcount_bits);
	h->size = qc_round_up(o->size, QC_SECTOR_SIZE);
	h->compression = o->compression;
	if (o->compression != QC_COMPRESSION_ZLIB)
		h->incompatible |= QC_INCOMPAT_COMPRESSION;
	if (o->lazy_refcounts)
		h->compatible |= QC_COMPAT_LAZY_REFCOUNTS;

	l1_size = qc_div_round_up(h->size, (u64)qc_l2_entries(h) << h->cluster_bits);
	if (l1_size * sizeof(u64) > QC_MAX_L1_BYTES)
		return qc_fail(err, EFBIG, path, "use a larger cluster size",
			       "a size of %llu bytes is too large for clusters of %llu bytes",
			       h->size, cluster_size);
	h->l1_size = l1_size;
	return fill_extensions(h, o, path, err);
}

/* Everything below layout->first is in use, once. */
static int fill_block(void *ctx, void *block, u64 first, struct qc_error *err)
{
	const struct qc_header *h = ((void **)ctx)[0];
	const struct qc_refcount_layout *layout = ((void **)ctx)[1];

	(void)err;
	for (u64 i = 0; i < qc_refblock_entries(h) && first + i < layout->first; i++)
		qc_refcount_set(block, h->refcount_order, i, 1);
	return 0;
}

/* Where tables and clusters lie, in clusters: header, L1 table, L2 tables, data, refcounts. */
struct image_layout {
	u64 l1_clusters;
	u64 l2_first, l2_tables;	/* the last two for preallocation only */
	u64 data_first, data_clusters;
	struct qc_refcount_layout refcounts;
};

static int lay_out(struct qc_header *h, bool preallocate, struct image_layout *layout)
{
	/* An image of size 0 has an L1 table too, so that it can be grown. */
	if (!h->l1_size)
		h->l1_size = 1;
	memset(layout, 0, sizeof(*layout));
	layout->l1_clusters = qc_div_round_up(h->l1_size * sizeof(u64), qc_cluster_size(h));
	layout->l2_first = 1 + layout->l1_clusters;
	if (preallocate) {
		layout->data_clusters = qc_div_round_up(h->size, qc_cluster_size(h));
		layout->l2_tables = qc_div_round_up(layout->data_clusters, qc_l2_entries(h));
	}
	layout->data_first = layout->l2_first + layout->l2_tables;
	return qc_refcount_layout(h, layout->data_first + layout->data_clusters,
				  &layout->refcounts);
}

static int check_cancelled(const struct qc_create_options *o, const char *path,
			   struct qc_error *err)
{
	return o->cancelled && o->cancelled(o->ctx) ?
	       qc_fail(err, ECANCELED, path, NULL, "interrupted") : 0;
}

/* @count clusters of tables from cluster @at on that refer to @targets clusters from @first on. */
static int write_entries(struct qc_store *store, const struct qc_header *h,
			 const struct qc_create_options *o, u64 at, u64 count, u64 first,
			 u64 targets, struct qc_error *err)
{
	CLEANUP_FREE u8 *cluster = malloc(qc_cluster_size(h));
	u64 entries = qc_l2_entries(h);
	int ret = 0;

	if (!cluster)
		return qc_fail_nomem(err, store->path);
	for (u64 i = 0; i < count && !ret; i++) {
		memset(cluster, 0, qc_cluster_size(h));
		for (u64 j = 0; j < entries && i * entries + j < targets; j++)
			qc_put_be64(cluster + j * sizeof(u64),
				    (first + i * entries + j) << h->cluster_bits | QC_COPIED);
		ret = qc_store_write(store, (at + i) << h->cluster_bits, cluster,
				     qc_cluster_size(h), err);
		if (!ret)
			ret = check_cancelled(o, store->path, err);
	}
	return ret;
}

/* Would the new header fit?  Else that comes out when what was there is gone. */
static int check_header(const struct qc_header *h, const char *path, struct qc_error *err)
{
	CLEANUP_FREE u8 *cluster = malloc(qc_cluster_size(h));

	return cluster ? qc_header_encode(h, path, cluster, err) : qc_fail_nomem(err, path);
}

/*
 * From here on there is no image.  Old bytes of a file would otherwise show through in clusters
 * that are allocated later, and a device's old header would refer to new tables.
 */
static int wipe(struct qc_store *store, struct qc_error *err)
{
	const u8 zeroes[QC_SECTOR_SIZE] = { 0 };
	int ret;

	if (!store->is_bdev)
		return qc_store_resize(store, 0, err);
	ret = qc_store_write(store, 0, zeroes, sizeof(zeroes), err);
	return ret ? ret : qc_store_flush(store, err);
}

/* The header comes last: until then there is no image. */
static int write_image(struct qc_store *store, struct qc_header *h,
		       const struct qc_create_options *o, bool fresh, struct qc_error *err)
{
	struct image_layout layout;
	void *ctx[] = { h, &layout.refcounts };
	int ret;

	if (store->is_bdev && o->preallocate)
		return qc_fail(err, EINVAL, store->path, "use a file, or no preallocation",
			       "what a device holds would show in preallocated clusters");
	ret = lay_out(h, o->preallocate, &layout);
	if (ret < 0)
		return qc_fail(err, -ret, store->path, "use a larger cluster size",
			       "the refcount table would be too large");
	if (!fresh) {
		ret = check_header(h, store->path, err);
		if (!ret)
			ret = wipe(store, err);
	}
	if (!ret)
		ret = qc_store_resize(store, layout.refcounts.end << h->cluster_bits, err);
	/* Without entries, too: a device still has its old contents there. */
	if (!ret)
		ret = write_entries(store, h, o, 1, layout.l1_clusters, layout.l2_first,
				    layout.l2_tables, err);
	if (!ret)
		ret = write_entries(store, h, o, layout.l2_first, layout.l2_tables,
				    layout.data_first, layout.data_clusters, err);
	if (!ret)
		ret = qc_refcount_build(store, h, &layout.refcounts, fill_block, ctx, err);
	if (ret < 0)
		return ret;
	h->l1_offset = qc_cluster_size(h);
	h->reftable_offset = layout.refcounts.first << h->cluster_bits;
	h->reftable_clusters = layout.refcounts.table_clusters;
	return qc_header_write(h, store, err);
}

/* Refuse to overwrite what the user may not have meant. */
static int check_existing(const struct qc_store *store, const struct qc_create_options *o,
			  struct qc_error *err)
{
	CLEANUP_FREE char *type = NULL;
	u8 magic[4] = { 0 };
	int ret;

	if (o->force)
		return 0;
	if (!store->is_bdev)
		return qc_fail(err, EEXIST, store->path,
			       "choose another name, or say --force", "exists already");
	ret = qc_store_read(store, 0, magic, sizeof(magic), err);
	if (!ret)
		ret = qc_store_signature(store, &type, err);
	if (ret < 0)
		return ret;
	if (type || qc_header_magic(magic))
		return qc_fail(err, EEXIST, store->path, "wipe it, or say --force",
			       "the device holds data: %s", type ? type : "qcow2");
	return 0;
}

/* Have the new name of a file on stable storage, too. */
static int flush_directory(const char *path, struct qc_error *err)
{
	const char *slash = strrchr(path, '/');
	CLEANUP_FREE char *dir = slash ? strndup(path, slash - path + 1) : strdup(".");
	CLEANUP_FD int fd = -1;

	if (!dir)
		return qc_fail_nomem(err, path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
		return qc_fail_errno(err, errno, dir, "cannot flush the directory");
	return 0;
}

int qc_create(const char *path, const struct qc_create_options *o, struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *h = calloc(1, sizeof(*h));
	CLEANUP_STORE struct qc_store *store = NULL;
	bool created = true, locked;
	int ret;

	if (!h)
		return qc_fail_nomem(err, path);
	ret = fill_header(h, o, path, err);
	if (ret < 0)
		return ret;

	ret = qc_store_open(path, QC_OPEN_WRITE | QC_OPEN_CREATE, &store, err);
	if (ret == -EEXIST) {
		created = false;
		ret = qc_store_open(path, QC_OPEN_WRITE | QC_OPEN_EXCL, &store, err);
	}
	if (ret < 0)
		return ret;

	ret = qc_lock(store, QC_LOCK_WRITE, err);
	locked = !ret;
	if (!ret && !created)
		ret = check_existing(store, o, err);
	if (!ret)
		ret = write_image(store, h, o, created, err);
	if (!ret && created)
		ret = flush_directory(path, err);
	/* Who has the lock instead may have made it an image of his own. */
	if (ret < 0 && created && locked)
		unlink(path);
	return ret;
}

int qc_create_in(struct qc_store *store, const struct qc_create_options *o, struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return qc_fail_nomem(err, store->path);
	ret = fill_header(h, o, store->path, err);
	return ret ? ret : write_image(store, h, o, false, err);
}
