// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of internal snapshots. */
#include <errno.h>

#include "snapshots.h"

#define SNAPSHOT_FIXED 40
#define MAX_EXTRA 1024		/* QEMU's limit, to keep what is read small */

static const char remedy[] = "repair it with: qemu-img check -r all";

static char *string_at(const u8 *from, u32 len)
{
	return strndup((const char *)from, len);
}

/* One entry at *@at; advances *@at. */
static int read_one(const struct qc_store *store, const struct qc_header *h, u64 *at,
		    struct qc_snapshot *snap, struct qc_error *err)
{
	u8 fixed[SNAPSHOT_FIXED];
	u64 start = *at;
	u32 id_len, name_len, extra_len;
	CLEANUP_FREE u8 *rest = NULL;
	int ret;

	ret = qc_store_read(store, *at, fixed, sizeof(fixed), err);
	if (ret < 0)
		return ret;
	snap->l1_offset = qc_get_be64(fixed);
	snap->l1_size = qc_get_be32(fixed + 8);
	id_len = qc_get_be16(fixed + 12);
	name_len = qc_get_be16(fixed + 14);
	snap->date_sec = qc_get_be32(fixed + 16);
	snap->date_nsec = qc_get_be32(fixed + 20);
	snap->vm_clock_nsec = qc_get_be64(fixed + 24);
	snap->vm_state_size = qc_get_be32(fixed + 32);
	extra_len = qc_get_be32(fixed + 36);
	if (extra_len > MAX_EXTRA)
		return qc_fail(err, EINVAL, store->path, remedy,
			       "snapshot table entry at 0x%llx has %u bytes of extra data", *at,
			       extra_len);

	rest = malloc(extra_len + id_len + name_len + 1);
	if (!rest)
		return qc_fail_nomem(err, store->path);
	ret = qc_store_read(store, *at + sizeof(fixed), rest, extra_len + id_len + name_len, err);
	if (ret < 0)
		return ret;
	if (extra_len >= 8)
		snap->vm_state_size = qc_get_be64(rest);
	snap->disk_size = extra_len >= 16 ? qc_get_be64(rest + 8) : h->size;
	snap->icount = extra_len >= 24 ? qc_get_be64(rest + 16) : QC_NO_ICOUNT;
	snap->id = string_at(rest + extra_len, id_len);
	snap->name = string_at(rest + extra_len + id_len, name_len);
	if (!snap->id || !snap->name)
		return qc_fail_nomem(err, store->path);

	if ((u64)snap->l1_size * sizeof(u64) > QC_MAX_L1_BYTES ||
	    snap->l1_offset % qc_cluster_size(h) || snap->l1_offset > INT64_MAX)
		return qc_fail(err, EINVAL, store->path, remedy,
			       "snapshot '%s' has a bad L1 table: %u entries at 0x%llx",
			       snap->name, snap->l1_size, snap->l1_offset);
	*at = qc_round_up(*at + sizeof(fixed) + extra_len + id_len + name_len, 8);
	snap->entry_offset = start - h->snapshots_offset;
	snap->entry_bytes = *at - start;
	return 0;
}

int qc_snapshots_read(const struct qc_store *store, const struct qc_header *h,
		      struct qc_snapshots *out, struct qc_error *err)
{
	CLEANUP_SNAPSHOTS struct qc_snapshots found = { 0 };
	u64 at = h->snapshots_offset, size;
	int ret;

	if (h->nb_snapshots) {
		ret = qc_store_size(store, &size, err);
		if (ret < 0)
			return ret;
		if (at > size || size - at < (u64)h->nb_snapshots * SNAPSHOT_FIXED)
			return qc_fail(err, EINVAL, store->path, remedy,
				       "the table of %u snapshots at 0x%llx lies outside of the image",
				       h->nb_snapshots, at);
		found.list = calloc(h->nb_snapshots, sizeof(*found.list));
		if (!found.list)
			return qc_fail_nomem(err, store->path);
	}
	while (found.count < h->nb_snapshots) {
		ret = read_one(store, h, &at, &found.list[found.count++], err);
		if (ret < 0)
			return ret;
		if (at - h->snapshots_offset > QC_MAX_SNAPSHOT_TABLE)
			return qc_fail(err, EINVAL, store->path, remedy,
				       "the snapshot table is too large");
	}
	found.table_bytes = at - h->snapshots_offset;
	*out = found;
	memset(&found, 0, sizeof(found));
	return 0;
}

const struct qc_snapshot *qc_snapshot_find(const struct qc_snapshots *snapshots, const char *id,
					   const char *name)
{
	for (u32 i = 0; i < snapshots->count; i++) {
		const struct qc_snapshot *s = &snapshots->list[i];

		if ((!id || !strcmp(s->id, id)) && (!name || !strcmp(s->name, name)))
			return s;
	}
	return NULL;
}

void qc_snapshots_free(struct qc_snapshots *snapshots)
{
	for (u32 i = 0; i < snapshots->count; i++) {
		free(snapshots->list[i].id);
		free(snapshots->list[i].name);
	}
	free(snapshots->list);
}
