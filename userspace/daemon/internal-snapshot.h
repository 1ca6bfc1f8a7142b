/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots of images in use or not: blockdev-snapshot-internal-sync, alone and in a
 * transaction, and blockdev-snapshot-delete-internal-sync.
 */
#ifndef QCHAIN_INTERNAL_SNAPSHOT_H
#define QCHAIN_INTERNAL_SNAPSHOT_H

#include "export.h"

/* One that is to be made. */
struct internal_snapshot {
	struct node *node;
	const char *device, *name;	/* as the client has them */
	struct export *export;		/* whose device shows the image now, or NULL */
	struct qc_store *store;		/* of the image */
	bool own_store;			/* opened for this */
	u32 date_sec, date_nsec;
};

/*
 * internal_prepare - may there be the snapshot that @data, a BlockdevSnapshotInternal, asks for?
 * @live: tells whether the devices of a node show it already.
 * Fills in @snapshot, also on failure; internal_end() frees what is in it.
 */
int internal_prepare(struct internal_snapshot *snapshot, struct json_object *data,
		     bool (*live)(void *ctx, const struct node *node), void *ctx,
		     struct qmp_error *error);
void internal_end(struct internal_snapshot *snapshot);

/*
 * internal_make - make snapshots, and let devices go over to the chains that the graph has by now,
 * at one point in time.
 * @exports: all whose devices change, and all that show an image that gets a snapshot.
 * @switched: gets how many of the exports, from the first on, are changed; on failure the snapshots
 * of the other ones do not exist.
 * The caller holds what qc_dm_serialise() gave.
 */
int internal_make(struct internal_snapshot *const *snapshots, size_t count,
		  struct export *const *exports, size_t nb_exports, size_t *switched,
		  struct qmp_error *error);

extern const struct qapi_command internal_snapshot_commands[];

#endif /* QCHAIN_INTERNAL_SNAPSHOT_H */
