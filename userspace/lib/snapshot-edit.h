/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Make and delete internal snapshots.
 *
 * All metadata that changes is written to free clusters, and one write of the header puts it to
 * use: a failure, or a crash at any point, leaves the image with or without the snapshot, and
 * nothing leaked.
 *
 * The caller has the image locked for writing, and no kernel has metadata of it in memory.
 * -EINVAL (a refcount is too narrow or wrong, the image is marked dirty or corrupt), -ENOTSUP,
 * -EFBIG (65536 snapshots), -ENOSPC, -EIO etc.
 */
#ifndef QCHAIN_SNAPSHOT_EDIT_H
#define QCHAIN_SNAPSHOT_EDIT_H

#include "snapshots.h"

/*
 * qc_snapshot_create - make an internal snapshot of what the image shows now.
 * @name: taken as it is, also when there is one of that name.
 * @id: NULL, or gets the new ID, a new string.
 */
int qc_snapshot_create(struct qc_store *store, const char *name, u32 date_sec, u32 date_nsec,
		       char **id, struct qc_error *err);

/* Delete the snapshot that qc_snapshot_find() finds.  -ENOENT: there is none. */
int qc_snapshot_delete(struct qc_store *store, const char *id, const char *name,
		       struct qc_error *err);

#endif /* QCHAIN_SNAPSHOT_EDIT_H */
