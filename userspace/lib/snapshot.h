/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: specification section "Snapshots".
 */
#ifndef QCHAIN_SNAPSHOT_H
#define QCHAIN_SNAPSHOT_H

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
};

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

void qc_snapshots_free(struct qc_snapshots *snapshots);
#define CLEANUP_SNAPSHOTS __attribute__((cleanup(qc_snapshots_free)))

#endif /* QCHAIN_SNAPSHOT_H */
