// SPDX-License-Identifier: GPL-2.0-only
/*
 * Internal snapshots, as far as a writer has to know of them: where their tables are, so that
 * nothing is ever written over one.  Section "Snapshots" of the specification.
 */
#include <linux/slab.h>

#include "compat.h"
#include "image.h"
#include "log.h"

#define TABLE_MAX	SZ_64M		/* as in QEMU: 1 KiB a snapshot */

/* The fixed part of a snapshot table entry; only what is looked at has a name. */
struct snapshot_entry {
	__be64 l1_table_offset;
	__be32 l1_size;
	__be16 id_str_size;
	__be16 name_size;
	__u8 times_and_vm_state[20];
	__be32 extra_data_size;
} __packed;

int qc_snapshots_mark(struct qc_image *image)
{
	struct snapshot_entry *entry;
	u64 pos = image->snapshots_offset, l1_offset, l1_bytes;
	u32 i;
	int error = 0;

	if (!image->nb_snapshots)
		return 0;
	entry = kmalloc(sizeof(*entry), GFP_KERNEL);
	if (!entry)
		return -ENOMEM;
	for (i = 0; i < image->nb_snapshots && !error; i++) {
		error = qc_store_read(image->store, pos, entry, sizeof(*entry));
		if (error)
			break;
		l1_offset = be64_to_cpu(entry->l1_table_offset);
		l1_bytes = (u64)be32_to_cpu(entry->l1_size) * QCOW2_ENTRY_SIZE;
		if (l1_bytes > QCOW2_MAX_L1_BYTES ||
		    (l1_bytes && !qc_table_ok(image, l1_offset, l1_bytes))) {
			qc_err("L1 table of internal snapshot %u is misaligned or outside the image",
			       i);
			error = -EUCLEAN;
			break;
		}
		if (l1_bytes)
			error = qc_tables_mark_once(image, l1_offset, l1_bytes,
						    "L1 table of a snapshot");
		pos += sizeof(*entry);
		pos += (u64)be32_to_cpu(entry->extra_data_size) + be16_to_cpu(entry->id_str_size) +
		       be16_to_cpu(entry->name_size);
		pos = round_up(pos, 8);
		if (pos - image->snapshots_offset > TABLE_MAX) {
			qc_err("snapshot table is longer than %u bytes", TABLE_MAX);
			error = -EUCLEAN;
		}
	}
	kfree(entry);
	return error ?: qc_tables_mark_once(image, image->snapshots_offset,
					    pos - image->snapshots_offset, "snapshot table");
}
