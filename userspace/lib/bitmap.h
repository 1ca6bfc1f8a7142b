/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory of persistent bitmaps: specification section "Bitmaps".
 */
#ifndef QCHAIN_BITMAP_H
#define QCHAIN_BITMAP_H

#include "header.h"

enum qc_bitmap_flags {
	QC_BITMAP_IN_USE = 1 << 0,
	QC_BITMAP_AUTO = 1 << 1,
};

/* Bitmap table entry */
#define QC_BITMAP_OFFSET_MASK 0x00fffffffffffe00ULL
#define QC_BITMAP_ALL_ONES BIT_ULL(0)

struct qc_bitmap {
	u64 table_offset;
	u32 table_size;		/* entries */
	u32 flags;
	u8 granularity_bits;
	char *name;
};

struct qc_bitmaps {
	struct qc_bitmap *list;
	u32 count;
};

/*
 * Read the directory.  Without bitmaps, or when the auto-clear bit says that they are
 * no longer consistent, the list is empty.  -EINVAL for a malformed directory.
 */
int qc_bitmaps_read(const struct qc_store *store, const struct qc_header *header,
		    struct qc_bitmaps *bitmaps, struct qc_error *err);

void qc_bitmaps_free(struct qc_bitmaps *bitmaps);
#define CLEANUP_BITMAPS __attribute__((cleanup(qc_bitmaps_free)))

#endif /* QCHAIN_BITMAP_H */
