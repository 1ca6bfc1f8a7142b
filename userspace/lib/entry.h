/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * L1 and L2 table entries: specification section "Cluster mapping".  Entries are in
 * the machine's byte order.
 */
#ifndef QCHAIN_ENTRY_H
#define QCHAIN_ENTRY_H

#include "header.h"

#define QC_COPIED BIT_ULL(63)
#define QC_COMPRESSED BIT_ULL(62)
#define QC_ZERO BIT_ULL(0)
#define QC_OFFSET_MASK 0x00fffffffffffe00ULL	/* bits 9-55, of L1 and L2 entries */
#define QC_L1_RESERVED 0x7f000000000001ffULL	/* bits 0-8 and 56-62 */
#define QC_L2_RESERVED 0x3f000000000001feULL	/* bits 1-8 and 56-61 */

/* Reserved bits of a standard cluster's L2 entry; the zero flag came with version 3. */
static inline u64 qc_l2_reserved(const struct qc_header *h)
{
	return QC_L2_RESERVED | (h->version < 3 ? QC_ZERO : 0);
}

/*
 * "Compressed Clusters Descriptor": the 512-byte sectors that hold the data.
 * Returns false when offset bits beyond 55 are set.
 */
static inline bool qc_compressed_extent(const struct qc_header *h, u64 entry, u64 *offset,
					u64 *len)
{
	u32 x = 62 - (h->cluster_bits - 8);
	u64 first = entry & (BIT_ULL(x) - 1);
	u64 additional = entry >> x & (BIT_ULL(h->cluster_bits - 8) - 1);

	*offset = first & ~(u64)(QC_SECTOR_SIZE - 1);
	*len = (additional + 1) * QC_SECTOR_SIZE;
	return first < BIT_ULL(56);
}

#endif /* QCHAIN_ENTRY_H */
