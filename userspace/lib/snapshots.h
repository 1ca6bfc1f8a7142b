/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: specification section "Snapshots".
 */
#ifndef QCHAIN_SNAPSHOTS_H
#define QCHAIN_SNAPSHOTS_H

#include "header.h"

struct qc_snapshot {
	u64 l1_offset;
	u32 l1_size;		/* entries */
	char *id;
	char *name;
	u32 date_sec;
	u32 date_nsec;
	u64 vm_clock_nsec;
	u64 vm_state_size;
	u64 disk_size;		/* in bytes; the image's own when not recorded */
	u64 icount;		/* QC_NO_ICOUNT when not recorded */
	u64 entry_offset;	/* where it is in the table, in bytes, and what it takes up there */
	u64 entry_bytes;
};

#define QC_MAX_SNAPSHOT_TABLE (64U << 20)	/* bytes; QEMU's limit */
#define QC_NO_ICOUNT UINT64_MAX
#define QC_MAX_SNAPSHOT_NAME 255	/* bytes; QEMU cuts off what is longer */

struct qc_snapshots {
	struct qc_snapshot *list;
	u32 count;
	u64 table_bytes;	/* length of the table in the image */
};

/*
 * Read the snapshot table.  The entries' L1 tables are checked for size and alignment,
 * not read.  -EINVAL for a malformed table.
 */
int qc_snapshots_read(const struct qc_store *store, const struct qc_header *header,
		      struct qc_snapshots *snapshots, struct qc_error *err);

/*
 * The one that has this ID and this name, of which one may be NULL; the first one if there are
 * several.  NULL when there is none.
 */
const struct qc_snapshot *qc_snapshot_find(const struct qc_snapshots *snapshots, const char *id,
					   const char *name);

void qc_snapshots_free(struct qc_snapshots *snapshots);
#define CLEANUP_SNAPSHOTS __attribute__((cleanup(qc_snapshots_free)))

#endif /* QCHAIN_SNAPSHOTS_H */
