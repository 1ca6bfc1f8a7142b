// SPDX-License-Identifier: GPL-2.0-or-later
/* Parse, validate and write qcow2 headers. */
#include <errno.h>
#include <stdio.h>

#include "header.h"

/* Offsets of the fixed part's fields, as the specification lists them. */
enum header_field {
	F_MAGIC = 0,
	F_VERSION = 4,
	F_BACKING_OFFSET = 8,
	F_BACKING_SIZE = 16,
	F_CLUSTER_BITS = 20,
	F_SIZE = 24,
	F_CRYPT_METHOD = 32,
	F_L1_SIZE = 36,
	F_L1_OFFSET = 40,
	F_REFTABLE_OFFSET = 48,
	F_REFTABLE_CLUSTERS = 56,
	F_NB_SNAPSHOTS = 60,
	F_SNAPSHOTS_OFFSET = 64,
	F_INCOMPATIBLE = 72,
	F_COMPATIBLE = 80,
	F_AUTOCLEAR = 88,
	F_REFCOUNT_ORDER = 96,
	F_HEADER_LENGTH = 100,
	F_COMPRESSION = 104,
	F_EXTRA = 105,
};

#define MAX_EXTENSIONS 1024	/* far more than anybody has defined */
#define EXTENSION_HEADER 8	/* type and length */
#define FEATURE_ENTRY 48	/* of the feature name table */
#define FEATURE_NAME 46

const struct qc_feature qc_features[] = {
	{ 0, 0, "dirty bit" },
	{ 0, 1, "corrupt bit" },
	{ 0, 2, "external data file" },
	{ 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" },
	{ 1, 0, "lazy refcounts" },
	{ 2, 0, "bitmaps" },
	{ 2, 1, "raw external data" },
};

const size_t qc_nb_features = ARRAY_SIZE(qc_features);

const char *const qc_compression_names[QC_NR_COMPRESSIONS] = { "zlib", "zstd" };

static const char not_valid[] =
	"restore the image, or convert what can be read of it with qemu-img";

bool qc_header_magic(const void *buf)
{
	return qc_get_be32(buf) == QC_MAGIC;
}

const struct qc_extension *qc_header_extension(const struct qc_header *h, u32 type)
{
	for (size_t i = 0; i < h->nb_extensions; i++)
		if (h->extensions[i].type == type)
			return &h->extensions[i];
	return NULL;
}

static int append_extension(struct qc_header *h, u32 type, const void *data, u32 len)
{
	struct qc_extension *grown;
	u8 *copy = malloc(len ? len : 1);

	if (!copy)
		return -ENOMEM;
	grown = realloc(h->extensions, (h->nb_extensions + 1) * sizeof(*grown));
	if (!grown) {
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy, data, len);
	h->extensions = grown;
	h->extensions[h->nb_extensions++] = (struct qc_extension){ type, len, copy };
	return 0;
}

int qc_header_set_extension(struct qc_header *h, u32 type, const void *data, u32 len)
{
	for (size_t i = 0; i < h->nb_extensions; i++) {
		struct qc_extension *ext = &h->extensions[i];
		u8 *copy;

		if (ext->type != type)
			continue;
		if (data) {
			/* Those behind it stay where they are, if it stays as long. */
			copy = malloc(len ? len : 1);
			if (!copy)
				return -ENOMEM;
			memcpy(copy, data, len);
			free(ext->data);
			*ext = (struct qc_extension){ type, len, copy };
			return 0;
		}
		free(ext->data);
		memmove(ext, ext + 1, (h->nb_extensions - i - 1) * sizeof(*ext));
		h->nb_extensions--;
		break;
	}
	return data ? append_extension(h, type, data, len) : 0;
}

/* "Feature name table": the image's own name for a feature, else ours, else NULL. */
static void feature_name(const struct qc_header *h, u8 type, u8 bit, char *name, size_t size)
{
	const struct qc_extension *table = qc_header_extension(h, QC_EXT_FEATURE_NAMES);

	for (u32 at = 0; table && at + FEATURE_ENTRY <= table->len; at += FEATURE_ENTRY) {
		const u8 *entry = table->data + at;

		if (entry[0] == type && entry[1] == bit && entry[2]) {
			snprintf(name, size, "%.*s", FEATURE_NAME, (const char *)entry + 2);
			return;
		}
	}
	snprintf(name, size, "incompatible feature bit %u", bit);
}

static int check_incompatible(const struct qc_header *h, const char *name, struct qc_error *err)
{
	u64 unknown = h->incompatible & ~QC_INCOMPAT_KNOWN;
	char list[1024] = "";
	size_t used = 0;

	if (!unknown)
		return 0;
	for (unsigned int bit = 0; bit < 64; bit++) {
		char feature[64];

		if (!(unknown & BIT_ULL(bit)))
			continue;
		feature_name(h, 0, bit, feature, sizeof(feature));
		used += snprintf(list + used, sizeof(list) - used, "%s'%s'", used ? ", " : "",
				 feature);
		if (used >= sizeof(list))
			break;
	}
	return qc_fail(err, ENOTSUP, name, "convert it with the program that wrote it",
		       "needs features that are not supported: %s", list);
}

static int parse_extensions(struct qc_header *h, const u8 *buf, u64 end, const char *name,
			    struct qc_error *err)
{
	u64 at = h->length;

	while (at + EXTENSION_HEADER <= end) {
		u32 type = qc_get_be32(buf + at);
		u32 len = qc_get_be32(buf + at + 4);
		int ret;

		if (type == QC_EXT_END)
			return 0;
		at += EXTENSION_HEADER;
		if (len > end - at)
			return qc_fail(err, EINVAL, name, not_valid,
				       "header extension 0x%08x is too long: %u bytes", type,
				       len);
		if (h->nb_extensions == MAX_EXTENSIONS)
			return qc_fail(err, EINVAL, name, not_valid,
				       "more than %d header extensions", MAX_EXTENSIONS);
		if (qc_header_extension(h, type) && type != QC_EXT_FEATURE_NAMES)
			return qc_fail(err, EINVAL, name, not_valid,
				       "header extension 0x%08x appears twice", type);
		ret = append_extension(h, type, buf + at, len);
		if (ret < 0)
			return qc_fail_nomem(err, name);
		at += qc_round_up(len, 8);
	}
	return 0;
}

static int parse_backing(struct qc_header *h, const u8 *buf, u64 limit, const char *name,
			 struct qc_error *err)
{
	u64 offset = qc_get_be64(buf + F_BACKING_OFFSET);
	u32 size = qc_get_be32(buf + F_BACKING_SIZE);

	if (!offset || !size)
		return 0;
	if (size > QC_MAX_BACKING_NAME)
		return qc_fail(err, EINVAL, name, not_valid,
			       "backing file name of %u bytes is too long", size);
	if (offset < h->length || offset > limit || size > limit - offset)
		return qc_fail(err, EINVAL, name, not_valid,
			       "backing file name at 0x%llx lies outside of the header", offset);
	if (memchr(buf + offset, 0, size))
		return qc_fail(err, EINVAL, name, "set it anew with: qemu-img rebase -u",
			       "backing file name contains a null byte");
	h->backing = strndup((const char *)buf + offset, size);
	return h->backing ? 0 : qc_fail_nomem(err, name);
}

static int parse_version3(struct qc_header *h, const u8 *buf, size_t len, const char *name,
			  struct qc_error *err)
{
	if (len < QC_V3_HEADER_LENGTH)
		return qc_fail(err, EINVAL, name, not_valid, "the header is cut off");
	h->incompatible = qc_get_be64(buf + F_INCOMPATIBLE);
	h->compatible = qc_get_be64(buf + F_COMPATIBLE);
	h->autoclear = qc_get_be64(buf + F_AUTOCLEAR);
	h->refcount_order = qc_get_be32(buf + F_REFCOUNT_ORDER);
	h->length = qc_get_be32(buf + F_HEADER_LENGTH);

	if (h->length < QC_V3_HEADER_LENGTH || h->length % 8 || h->length > len ||
	    h->length > qc_cluster_size(h))
		return qc_fail(err, EINVAL, name, not_valid, "bad header length %u", h->length);
	if (h->length > F_COMPRESSION)
		h->compression = buf[F_COMPRESSION];
	if (h->length > F_EXTRA) {
		h->nb_extra = h->length - F_EXTRA;
		h->extra = malloc(h->nb_extra);
		if (!h->extra)
			return qc_fail_nomem(err, name);
		memcpy(h->extra, buf + F_EXTRA, h->nb_extra);
	}
	return 0;
}

/* A table of @bytes at @offset: aligned, behind the header, and not past the last offset. */
static int check_table(const struct qc_header *h, const char *what, u64 offset, u64 bytes,
		       const char *name, struct qc_error *err)
{
	if (bytes && (!offset || offset % qc_cluster_size(h) || offset > INT64_MAX - bytes))
		return qc_fail(err, EINVAL, name, not_valid, "bad %s offset 0x%llx", what, offset);
	return 0;
}

static int check_geometry(const struct qc_header *h, const char *name, struct qc_error *err)
{
	u64 l1_bytes = h->l1_size * sizeof(u64);
	u64 reftable_bytes = (u64)h->reftable_clusters << h->cluster_bits;
	u64 l1_needed;
	int ret;

	if (h->size > INT64_MAX)
		return qc_fail(err, EINVAL, name, not_valid, "bad virtual size %llu", h->size);
	if (h->refcount_order > 6)
		return qc_fail(err, EINVAL, name, not_valid, "bad refcount order %u",
			       h->refcount_order);
	if (!h->reftable_clusters || reftable_bytes > QC_MAX_REFTABLE_BYTES)
		return qc_fail(err, EINVAL, name, not_valid, "bad refcount table size: %u clusters",
			       h->reftable_clusters);
	ret = check_table(h, "refcount table", h->reftable_offset, reftable_bytes, name, err);
	if (ret < 0)
		return ret;

	l1_needed = qc_div_round_up(h->size, (u64)qc_l2_entries(h) << h->cluster_bits);
	if (l1_bytes > QC_MAX_L1_BYTES || h->l1_size < l1_needed)
		return qc_fail(err, EINVAL, name, not_valid,
			       "bad L1 table size: %u entries, %llu are needed", h->l1_size,
			       l1_needed);
	ret = check_table(h, "L1 table", h->l1_offset, l1_bytes, name, err);
	if (ret < 0)
		return ret;

	if (h->nb_snapshots > QC_MAX_SNAPSHOTS)
		return qc_fail(err, EINVAL, name, not_valid, "too many snapshots: %u",
			       h->nb_snapshots);
	return check_table(h, "snapshot table", h->snapshots_offset, h->nb_snapshots, name, err);
}

static int check_compression(const struct qc_header *h, const char *name, struct qc_error *err)
{
	bool flagged = h->incompatible & QC_INCOMPAT_COMPRESSION;
	bool other = h->compression != QC_COMPRESSION_ZLIB;

	if (flagged != other)
		return qc_fail(err, EINVAL, name, not_valid,
			       "compression type %u and its feature bit contradict each other",
			       h->compression);
	if (h->compression >= QC_NR_COMPRESSIONS)
		return qc_fail(err, ENOTSUP, name, "convert it with the program that wrote it",
			       "unknown compression type %u", h->compression);
	return 0;
}

static int parse(struct qc_header *h, const u8 *buf, size_t len, const char *name,
		 struct qc_error *err)
{
	const struct qc_extension *format;
	u64 limit, ext_end;
	int ret;

	if (len < QC_V2_HEADER_LENGTH || !qc_header_magic(buf))
		return qc_fail(err, EINVAL, name, "name the right format, such as --format raw",
			       "is not a qcow2 image");
	h->version = qc_get_be32(buf + F_VERSION);
	if (h->version != 2 && h->version != 3)
		return qc_fail(err, ENOTSUP, name, "convert it: qemu-img convert -O qcow2",
			       "version %u of the format is not supported", h->version);
	h->cluster_bits = qc_get_be32(buf + F_CLUSTER_BITS);
	if (h->cluster_bits < QC_MIN_CLUSTER_BITS || h->cluster_bits > QC_MAX_CLUSTER_BITS)
		return qc_fail(err, EINVAL, name, not_valid,
			       "bad cluster size: 2^%u bytes, must be 2^9 to 2^21",
			       h->cluster_bits);
	h->size = qc_get_be64(buf + F_SIZE);
	h->crypt_method = qc_get_be32(buf + F_CRYPT_METHOD);
	h->l1_size = qc_get_be32(buf + F_L1_SIZE);
	h->l1_offset = qc_get_be64(buf + F_L1_OFFSET);
	h->reftable_offset = qc_get_be64(buf + F_REFTABLE_OFFSET);
	h->reftable_clusters = qc_get_be32(buf + F_REFTABLE_CLUSTERS);
	h->nb_snapshots = qc_get_be32(buf + F_NB_SNAPSHOTS);
	h->snapshots_offset = qc_get_be64(buf + F_SNAPSHOTS_OFFSET);
	h->length = QC_V2_HEADER_LENGTH;
	h->refcount_order = 4;

	if (h->version >= 3) {
		ret = parse_version3(h, buf, len, name, err);
		if (ret < 0)
			return ret;
	}

	limit = len < qc_cluster_size(h) ? len : qc_cluster_size(h);
	ret = parse_backing(h, buf, limit, name, err);
	if (ret < 0)
		return ret;
	ext_end = h->backing ? qc_get_be64(buf + F_BACKING_OFFSET) : limit;
	ret = parse_extensions(h, buf, ext_end, name, err);
	if (ret < 0)
		return ret;

	/* Names first: of an image with unknown features nothing else can be believed. */
	ret = check_incompatible(h, name, err);
	if (ret < 0)
		return ret;
	ret = check_geometry(h, name, err);
	if (ret < 0)
		return ret;
	ret = check_compression(h, name, err);
	if (ret < 0)
		return ret;

	format = qc_header_extension(h, QC_EXT_BACKING_FORMAT);
	if (h->backing && format && format->len) {
		h->backing_format = strndup((const char *)format->data, format->len);
		if (!h->backing_format)
			return qc_fail_nomem(err, name);
	}
	return 0;
}

int qc_header_parse(const void *buf, size_t len, const char *name, struct qc_header **out,
		    struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return qc_fail_nomem(err, name);
	ret = parse(h, buf, len, name, err);
	if (ret < 0)
		return ret;
	*out = qc_steal(h);
	return 0;
}

int qc_header_read(const struct qc_store *store, struct qc_header **header, struct qc_error *err)
{
	u8 start[QC_V2_HEADER_LENGTH];
	CLEANUP_FREE u8 *cluster = NULL;
	size_t len = sizeof(start);
	u64 size;
	u32 bits;
	int ret;

	ret = qc_store_size(store, &size, err);
	if (ret < 0)
		return ret;
	if (size < len)
		len = size;
	memset(start, 0, sizeof(start));
	ret = qc_store_read(store, 0, start, len, err);
	if (ret < 0)
		return ret;

	/* Everything that belongs to the header is within the first cluster. */
	bits = qc_get_be32(start + F_CLUSTER_BITS);
	if (!qc_header_magic(start) || bits < QC_MIN_CLUSTER_BITS || bits > QC_MAX_CLUSTER_BITS)
		return qc_header_parse(start, len, store->path, header, err);

	len = size < BIT_ULL(bits) ? size : BIT_ULL(bits);
	cluster = malloc(len);
	if (!cluster)
		return qc_fail_nomem(err, store->path);
	ret = qc_store_read(store, 0, cluster, len, err);
	if (ret < 0)
		return ret;
	return qc_header_parse(cluster, len, store->path, header, err);
}

void qc_header_free(struct qc_header *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->nb_extensions; i++)
		free(h->extensions[i].data);
	free(h->extensions);
	free(h->extra);
	free(h->backing);
	free(h->backing_format);
	free(h);
}

void qc_cleanup_header(struct qc_header **header)
{
	qc_header_free(*header);
}

int qc_header_begin_change(struct qc_header *header, u64 stale, struct qc_store *store,
			   struct qc_error *err)
{
	u64 autoclear = header->autoclear & QC_AUTOCLEAR_KNOWN & ~stale;

	if (autoclear == header->autoclear)
		return 0;
	header->autoclear = autoclear;
	return qc_header_write(header, store, err);
}

int qc_header_sound(const struct qc_header *header, const char *name, struct qc_error *err)
{
	if (header->incompatible & QC_INCOMPAT_CORRUPT)
		return qc_fail(err, EUCLEAN, name,
			       "repair it with qchain check --repair, or use --read-only to save data",
			       "the image is marked corrupt");
	if (header->incompatible & QC_INCOMPAT_DIRTY)
		return qc_fail(err, EUCLEAN, name, "repair it with: qchain check --repair",
			       "the image is marked dirty: it was not closed properly");
	return 0;
}

int qc_header_supported(const struct qc_header *h, const char *name, struct qc_error *err)
{
	static const char convert[] = "convert it: qemu-img convert -O qcow2";

	if (h->crypt_method)
		return qc_fail(err, ENOTSUP, name, convert, "%s encryption is not supported",
			       h->crypt_method == 1 ? "AES" : "LUKS");
	if (h->incompatible & QC_INCOMPAT_DATA_FILE)
		return qc_fail(err, ENOTSUP, name, convert,
			       "an external data file is not supported");
	if (h->incompatible & QC_INCOMPAT_EXTENDED_L2)
		return qc_fail(err, ENOTSUP, name, convert,
			       "extended L2 entries are not supported");
	return 0;
}

static void encode_fixed(const struct qc_header *h, u8 *buf)
{
	qc_put_be32(buf + F_MAGIC, QC_MAGIC);
	qc_put_be32(buf + F_VERSION, h->version);
	qc_put_be32(buf + F_CLUSTER_BITS, h->cluster_bits);
	qc_put_be64(buf + F_SIZE, h->size);
	qc_put_be32(buf + F_CRYPT_METHOD, h->crypt_method);
	qc_put_be32(buf + F_L1_SIZE, h->l1_size);
	qc_put_be64(buf + F_L1_OFFSET, h->l1_offset);
	qc_put_be64(buf + F_REFTABLE_OFFSET, h->reftable_offset);
	qc_put_be32(buf + F_REFTABLE_CLUSTERS, h->reftable_clusters);
	qc_put_be32(buf + F_NB_SNAPSHOTS, h->nb_snapshots);
	qc_put_be64(buf + F_SNAPSHOTS_OFFSET, h->snapshots_offset);
	if (h->version < 3)
		return;
	qc_put_be64(buf + F_INCOMPATIBLE, h->incompatible);
	qc_put_be64(buf + F_COMPATIBLE, h->compatible);
	qc_put_be64(buf + F_AUTOCLEAR, h->autoclear);
	qc_put_be32(buf + F_REFCOUNT_ORDER, h->refcount_order);
	qc_put_be32(buf + F_HEADER_LENGTH, h->length);
	if (h->length > F_COMPRESSION)
		buf[F_COMPRESSION] = h->compression;
	if (h->nb_extra)
		memcpy(buf + F_EXTRA, h->extra, h->nb_extra);
}

int qc_header_encode(const struct qc_header *h, const char *name, u8 *buf, struct qc_error *err)
{
	u64 at = h->length;
	u64 end = qc_cluster_size(h);
	size_t backing_len = h->backing ? strlen(h->backing) : 0;

	memset(buf, 0, end);
	encode_fixed(h, buf);

	for (size_t i = 0; i < h->nb_extensions; i++) {
		const struct qc_extension *ext = &h->extensions[i];
		u64 need = EXTENSION_HEADER + qc_round_up(ext->len, 8);

		if (at + need > end)
			goto too_large;
		qc_put_be32(buf + at, ext->type);
		qc_put_be32(buf + at + 4, ext->len);
		memcpy(buf + at + EXTENSION_HEADER, ext->data, ext->len);
		at += need;
	}
	/* The end marker is zeroes, but must have its room. */
	at += EXTENSION_HEADER;
	if (at + backing_len > end)
		goto too_large;
	if (h->backing) {
		qc_put_be64(buf + F_BACKING_OFFSET, at);
		qc_put_be32(buf + F_BACKING_SIZE, backing_len);
		memcpy(buf + at, h->backing, backing_len);
	}
	return 0;

too_large:
	return qc_fail(err, ENOSPC, name, "use larger clusters, or a shorter backing file name",
		       "the header does not fit into one cluster of %llu bytes", end);
}

/* Where the extensions end, and with them what may not be used for a name. */
static u64 extensions_end(const struct qc_header *h)
{
	u64 end = h->length + EXTENSION_HEADER;

	for (size_t i = 0; i < h->nb_extensions; i++)
		end += EXTENSION_HEADER + qc_round_up(h->extensions[i].len, 8);
	return end;
}

/*
 * Leave the name that the header @old has where it is in @new, which is to be written over it, and
 * put the new name behind it if it would take its place.  Without room for both nothing is changed.
 */
static void keep_old_name(u8 *new, const u8 *old, u64 first, u64 size)
{
	u64 old_at = qc_get_be64(old + F_BACKING_OFFSET), at = qc_get_be64(new + F_BACKING_OFFSET);
	u64 old_len = qc_get_be32(old + F_BACKING_SIZE), len = qc_get_be32(new + F_BACKING_SIZE);
	u64 old_end = qc_round_up(old_at + old_len, 8);

	if (!qc_header_magic(old) || !old_len || old_len > QC_MAX_BACKING_NAME ||
	    old_at < first || old_at > size || old_end > size)
		return;
	if (at == old_at && len == old_len && !memcmp(new + at, old + at, len))
		return;
	if (at < old_end && old_at < at + len) {
		if (old_end + len > size)
			return;
		memmove(new + old_end, new + at, len);
		memset(new + at, 0, old_end - at);
		qc_put_be64(new + F_BACKING_OFFSET, old_end);
	}
	memcpy(new + old_at, old + old_at, old_len);
}

int qc_header_write(const struct qc_header *h, struct qc_store *store, struct qc_error *err)
{
	u32 size = qc_cluster_size(h);
	CLEANUP_FREE u8 *buf = malloc(size), *old = malloc(size);
	int ret;

	if (!buf || !old)
		return qc_fail_nomem(err, store->path);
	ret = qc_header_encode(h, store->path, buf, err);
	if (!ret)
		ret = qc_store_read(store, 0, old, size, err);
	if (ret < 0)
		return ret;
	/*
	 * A disk that loses its power has written a sector or not, but any of several.  So the
	 * first one, which says where everything else is, comes when the others are there.
	 */
	keep_old_name(buf, old, extensions_end(h), size);
	if (memcmp(buf + QC_SECTOR_SIZE, old + QC_SECTOR_SIZE, size - QC_SECTOR_SIZE)) {
		ret = qc_store_write(store, QC_SECTOR_SIZE, buf + QC_SECTOR_SIZE,
				     size - QC_SECTOR_SIZE, err);
		if (!ret)
			ret = qc_store_flush(store, err);
		if (ret < 0)
			return ret;
	}
	ret = qc_store_write(store, 0, buf, QC_SECTOR_SIZE, err);
	return ret ? ret : qc_store_flush(store, err);
}

int qc_header_bitmaps(const struct qc_header *h, const char *name,
		      struct qc_bitmaps_extension *bitmaps, struct qc_error *err)
{
	const struct qc_extension *ext = qc_header_extension(h, QC_EXT_BITMAPS);

	if (!ext) {
		if (h->autoclear & QC_AUTOCLEAR_BITMAPS)
			return qc_fail(err, EINVAL, name, not_valid,
				       "says it has bitmaps, but has no bitmaps extension");
		return -ENOENT;
	}
	if (ext->len != 24)
		return qc_fail(err, EINVAL, name, not_valid,
			       "bitmaps extension of %u bytes", ext->len);
	bitmaps->nb_bitmaps = qc_get_be32(ext->data);
	bitmaps->directory_size = qc_get_be64(ext->data + 8);
	bitmaps->directory_offset = qc_get_be64(ext->data + 16);
	if (!bitmaps->nb_bitmaps || bitmaps->nb_bitmaps > 65535 ||
	    bitmaps->directory_size > (64U << 20))
		return qc_fail(err, EINVAL, name, not_valid,
			       "bad bitmaps extension: %u bitmaps, directory of %llu bytes",
			       bitmaps->nb_bitmaps, bitmaps->directory_size);
	return check_table(h, "bitmap directory", bitmaps->directory_offset,
			   bitmaps->directory_size, name, err);
}
