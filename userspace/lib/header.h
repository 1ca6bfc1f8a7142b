/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The header of a qcow2 image: specification sections "Header", "Header
 * extensions", "Feature name table", "Bitmaps extension".
 */
#ifndef QCHAIN_HEADER_H
#define QCHAIN_HEADER_H

#include "store.h"

#define QC_MAGIC 0x514649fbU
#define QC_MIN_CLUSTER_BITS 9
#define QC_MAX_CLUSTER_BITS 21
#define QC_V2_HEADER_LENGTH 72
#define QC_V3_HEADER_LENGTH 104
#define QC_MAX_BACKING_NAME 1023

/* Limits of QEMU's that keep what an image makes us read at once small. */
#define QC_MAX_L1_BYTES (32U << 20)
#define QC_MAX_REFTABLE_BYTES (8U << 20)
#define QC_MAX_SNAPSHOTS 65536

/* Incompatible features */
#define QC_INCOMPAT_DIRTY BIT_ULL(0)
#define QC_INCOMPAT_CORRUPT BIT_ULL(1)
#define QC_INCOMPAT_DATA_FILE BIT_ULL(2)
#define QC_INCOMPAT_COMPRESSION BIT_ULL(3)
#define QC_INCOMPAT_EXTENDED_L2 BIT_ULL(4)
#define QC_INCOMPAT_KNOWN (BIT_ULL(5) - 1)
/* Compatible features */
#define QC_COMPAT_LAZY_REFCOUNTS BIT_ULL(0)
/* Auto-clear features */
#define QC_AUTOCLEAR_BITMAPS BIT_ULL(0)
#define QC_AUTOCLEAR_RAW_DATA_FILE BIT_ULL(1)
#define QC_AUTOCLEAR_KNOWN (BIT_ULL(2) - 1)

enum qc_header_extension {
	QC_EXT_END = 0,
	QC_EXT_BACKING_FORMAT = 0xe2792aca,
	QC_EXT_FEATURE_NAMES = 0x6803f857,
	QC_EXT_BITMAPS = 0x23852875,
	QC_EXT_CRYPTO = 0x0537be77,
	QC_EXT_DATA_FILE = 0x44415441,
};

enum qc_compression {
	QC_COMPRESSION_ZLIB,
	QC_COMPRESSION_ZSTD,
	QC_NR_COMPRESSIONS
};

struct qc_extension {
	u32 type;
	u32 len;
	u8 *data;
};

struct qc_header {
	u32 version;			/* 2 or 3 */
	u32 cluster_bits;
	u64 size;			/* virtual size in bytes */
	u32 crypt_method;
	u32 l1_size;			/* entries */
	u64 l1_offset;
	u64 reftable_offset;
	u32 reftable_clusters;
	u32 nb_snapshots;
	u64 snapshots_offset;
	u64 incompatible;
	u64 compatible;
	u64 autoclear;
	u32 refcount_order;		/* refcounts have 1 << refcount_order bits */
	u32 length;			/* of the fixed part: 72, or 104 and more */
	u8 compression;			/* enum qc_compression */

	char *backing;			/* NULL without a backing file */
	char *backing_format;		/* NULL when the image does not say */

	/* Every extension in its order, also those decoded above. */
	struct qc_extension *extensions;
	size_t nb_extensions;

	/* What of the fixed part the fields above do not cover, as read. */
	u8 *extra;			/* from byte 105 on */
	u32 nb_extra;
};

/* Contents of the bitmaps extension. */
struct qc_bitmaps_extension {
	u32 nb_bitmaps;
	u64 directory_size;		/* in bytes */
	u64 directory_offset;
};

/* A name for the table of names that new images get, and for error messages. */
struct qc_feature {
	u8 type;			/* 0 incompatible, 1 compatible, 2 auto-clear */
	u8 bit;
	const char *name;
};

extern const struct qc_feature qc_features[];
extern const size_t qc_nb_features;
extern const char *const qc_compression_names[QC_NR_COMPRESSIONS];

static inline u32 qc_cluster_size(const struct qc_header *h)
{
	return 1U << h->cluster_bits;
}

/* Entries of one L2 table (without extended L2 entries). */
static inline u32 qc_l2_entries(const struct qc_header *h)
{
	return qc_cluster_size(h) / sizeof(u64);
}

/* Refcounts in one refcount block. */
static inline u32 qc_refblock_entries(const struct qc_header *h)
{
	return (u32)((u64)qc_cluster_size(h) * 8 >> h->refcount_order);
}

/* True when @buf, at least 4 bytes long, starts as a qcow image does. */
bool qc_header_magic(const void *buf);

/*
 * qc_header_parse - decode and validate a header.
 * @buf, @len: the image's first bytes: its first cluster or less if the image is shorter.
 * @name: of the image, for messages.
 * Refuses what the specification forbids, and unknown incompatible features by their
 * names.  Offsets are checked for alignment, not against the image's size.
 * Features that are known but not supported here pass: see qc_header_supported().
 * Does no I/O.  Returns 0, -EINVAL (not a valid qcow2 header), -ENOTSUP, -ENOMEM.
 */
int qc_header_parse(const void *buf, size_t len, const char *name, struct qc_header **header,
		    struct qc_error *err);

/* Read and parse the header of the image in @store.  Errors of qc_header_parse() and of reading. */
int qc_header_read(const struct qc_store *store, struct qc_header **header,
		   struct qc_error *err);

/* NULL is fine. */
void qc_header_free(struct qc_header *header);
void qc_cleanup_header(struct qc_header **header);
#define CLEANUP_HEADER __attribute__((cleanup(qc_cleanup_header)))

/*
 * Before anything else of an image is written: what only unknown features know is out of date from
 * then on, and what is in @stale (QC_AUTOCLEAR_*), too.  On stable storage when this returns 0.
 */
int qc_header_begin_change(struct qc_header *header, u64 stale, struct qc_store *store,
			   struct qc_error *err);

/* Refuse an image that is marked corrupt or dirty: it is to be repaired first.  -EUCLEAN. */
int qc_header_sound(const struct qc_header *header, const char *name, struct qc_error *err);

/*
 * Refuse, by name and with a remedy, what neither this library nor the module can
 * do: encryption, external data files, extended L2 entries.  -ENOTSUP.
 */
int qc_header_supported(const struct qc_header *header, const char *name,
			struct qc_error *err);

/*
 * qc_header_encode - the header as it lies in the image.
 * @buf: gets one cluster's worth of header: fixed part, extensions, backing name; zeroed
 * behind them.  -ENOSPC when it does not fit into one cluster.
 */
int qc_header_encode(const struct qc_header *header, const char *name, u8 *buf,
		     struct qc_error *err);

/*
 * Encode and write the header, then flush.  The caller has flushed what the new
 * header refers to, and holds the write lock.  A crash in it leaves the old backing file's name or
 * the new one, unless the first cluster is too small for both.
 */
int qc_header_write(const struct qc_header *header, struct qc_store *store,
		    struct qc_error *err);

/* The extension of a type, or NULL. */
const struct qc_extension *qc_header_extension(const struct qc_header *header, u32 type);

/* Replace or append an extension; @data NULL removes it.  -ENOMEM. */
int qc_header_set_extension(struct qc_header *header, u32 type, const void *data, u32 len);

/* Decode the bitmaps extension.  Returns 0, -ENOENT without one, -EINVAL for a bad one. */
int qc_header_bitmaps(const struct qc_header *header, const char *name,
		      struct qc_bitmaps_extension *bitmaps, struct qc_error *err);

#endif /* QCHAIN_HEADER_H */
