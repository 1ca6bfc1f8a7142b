/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The qcow2 format as it lies on disk: constants and field positions, nothing
 * else.  All numbers are big endian.  Section names are those of the qcow2
 * specification.
 */
#ifndef QCHAIN_FORMAT_H
#define QCHAIN_FORMAT_H

#include <linux/bits.h>
#include <linux/types.h>

#define QCOW2_MAGIC		0x514649fbU	/* "QFI\xfb" */

#define QCOW2_MIN_CLUSTER_BITS	9
#define QCOW2_MAX_CLUSTER_BITS	21
#define QCOW2_MAX_REFCOUNT_ORDER 6

/* Limits that QEMU keeps to; an image beyond them could not be opened elsewhere. */
#define QCOW2_MAX_L1_BYTES	(32U << 20)
#define QCOW2_MAX_REFTABLE_BYTES (8U << 20)
#define QCOW2_MAX_SNAPSHOTS	65536

/* Section "Header". */
struct qcow2_header {
	__be32 magic;
	__be32 version;
	__be64 backing_file_offset;
	__be32 backing_file_size;
	__be32 cluster_bits;
	__be64 size;
	__be32 crypt_method;
	__be32 l1_size;
	__be64 l1_table_offset;
	__be64 refcount_table_offset;
	__be32 refcount_table_clusters;
	__be32 nb_snapshots;
	__be64 snapshots_offset;
	/* version 3 and higher */
	__be64 incompatible_features;
	__be64 compatible_features;
	__be64 autoclear_features;
	__be32 refcount_order;
	__be32 header_length;
	/* additional fields */
	__u8 compression_type;
	__u8 padding[7];
} __packed;

#define QCOW2_V2_HEADER_LENGTH	72
#define QCOW2_V3_HEADER_LENGTH	104

#define QCOW2_INCOMPAT_DIRTY		BIT_ULL(0)
#define QCOW2_INCOMPAT_CORRUPT		BIT_ULL(1)
#define QCOW2_INCOMPAT_DATA_FILE	BIT_ULL(2)
#define QCOW2_INCOMPAT_COMPRESSION	BIT_ULL(3)
#define QCOW2_INCOMPAT_EXTENDED_L2	BIT_ULL(4)

/* What this module can work with. */
#define QCOW2_INCOMPAT_SUPPORTED	(QCOW2_INCOMPAT_DIRTY | \
					 QCOW2_INCOMPAT_CORRUPT | \
					 QCOW2_INCOMPAT_COMPRESSION)

enum qcow2_compression {
	QCOW2_COMPRESSION_ZLIB	= 0,
	QCOW2_COMPRESSION_ZSTD	= 1,
};

/* Section "Header extensions". */
struct qcow2_extension {
	__be32 type;
	__be32 length;
} __packed;

#define QCOW2_EXT_END			0x00000000U
#define QCOW2_EXT_FEATURE_TABLE		0x6803f857U

/* Section "Feature name table". */
struct qcow2_feature_name {
	__u8 type;		/* 0: incompatible */
	__u8 bit;
	char name[46];		/* padded with zeroes */
} __packed;

/* Section "Cluster mapping": L1 and L2 table entries. */
#define QCOW2_COPIED			BIT_ULL(63)
#define QCOW2_COMPRESSED		BIT_ULL(62)
#define QCOW2_ZERO			BIT_ULL(0)	/* version 3 */
#define QCOW2_OFFSET_MASK		GENMASK_ULL(55, 9)
#define QCOW2_L1_RESERVED		(GENMASK_ULL(62, 56) | GENMASK_ULL(8, 0))
#define QCOW2_L2_RESERVED		(GENMASK_ULL(61, 56) | GENMASK_ULL(8, 1))
/* Section "Host cluster management". */
#define QCOW2_REFTABLE_OFFSET_MASK	GENMASK_ULL(63, 9)

#define QCOW2_ENTRY_SIZE		8U

#endif /* QCHAIN_FORMAT_H */
