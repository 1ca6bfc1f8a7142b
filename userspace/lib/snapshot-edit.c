// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Make and delete internal snapshots.
 *
 * Nothing that the image uses is overwritten but its header.  A snapshot gets the L1 table that was
 * the active one, and the L2 tables as they are.  The image goes on with a new L1 table, and with
 * new L2 tables where copied flags change; the others are shared.
 */
#include <errno.h>
#include <stdio.h>

#include "entry.h"
#include "recount.h"
#include "snapshot-edit.h"
#include "walk.h"

#define FIXED 40
#define EXTRA 24		/* VM state size, disk size, icount */

/* What becomes of refcounts. */
enum counting {
	RAISE,
	LOWER,
	EXPECT,			/* it must not be 0 */
};

struct editing {
	struct qc_store *store;
	struct qc_header *header;
	struct qc_snapshots snapshots;
	struct qc_recount *recount;
	bool creates;		/* or deletes */
	enum counting mode;
	struct qc_error *err;
};

/* --- what the mapping refers to --------------------------------------------------------------- */

static int use(struct qc_walk *walk, enum qc_use use, u64 offset, u64 len)
{
	struct editing *e = walk->ctx;
	bool table = use == QC_USE_L1 || use == QC_USE_L2;

	if (e->mode == LOWER)
		return qc_recount_lower(e->recount, offset, len, e->err);
	/* Tables are the snapshot's from now on, or are seen to with the active L1 table. */
	if (e->mode == EXPECT || table)
		return qc_recount_expect(e->recount, offset, len, e->err);
	return qc_recount_raise(e->recount, offset, len, e->err);
}

static void bad(struct qc_walk *walk, enum qc_use use, const char *message)
{
	struct editing *e = walk->ctx;

	(void)use;
	qc_fail(e->err, EINVAL, e->store->path, "repair it with: qemu-img check -r all", "%s",
		message);
}

/* Go through the refcounts of all that an L1 table refers to: of @snapshot, or the active one. */
static int count_mapping(struct editing *e, enum counting mode,
			 const struct qc_snapshot *snapshot)
{
	struct qc_walk walk = {
		.store = e->store, .header = e->header, .ctx = e, .use = use, .bad = bad,
	};
	int ret;

	e->err->code = 0;
	e->mode = mode;
	ret = snapshot ? qc_walk_l1(&walk, snapshot->name, snapshot->l1_offset, snapshot->l1_size,
				    e->err) :
	      qc_walk_l1(&walk, NULL, e->header->l1_offset, e->header->l1_size, e->err);
	return ret ? ret : -e->err->code;
}

/* --- the active tables ------------------------------------------------------------------------ */

/* The entry with the copied flag that its cluster's refcount wants, by now. */
static int with_flag(struct editing *e, u64 entry, u64 *right)
{
	u64 offset = entry & QC_OFFSET_MASK, refcount = 0;
	int ret;

	*right = entry & ~QC_COPIED;
	if (!offset)
		return 0;
	ret = qc_recount_get(e->recount, offset >> e->header->cluster_bits, &refcount, e->err);
	if (ret < 0)
		return ret;
	if (refcount == 1)
		*right |= QC_COPIED;
	return 0;
}

/* Set the flags of a table in memory right; *@changed tells whether any was wrong. */
static int set_flags(struct editing *e, u64 *l2, bool *changed)
{
	*changed = false;
	for (u32 i = 0; i < qc_l2_entries(e->header); i++) {
		u64 entry = be64toh(l2[i]), right;
		int ret;

		if (!entry || entry & QC_COMPRESSED)
			continue;
		ret = with_flag(e, entry, &right);
		if (ret < 0)
			return ret;
		if (right == entry)
			continue;
		l2[i] = htobe64(right);
		*changed = true;
	}
	return 0;
}

/* One entry of the active L1 table; @l2 is a buffer. */
static int renew_l2(struct editing *e, u64 *l1_entry, u64 *l2)
{
	u32 cluster = qc_cluster_size(e->header);
	u64 offset = be64toh(*l1_entry) & QC_OFFSET_MASK, right;
	bool changed = false;
	int ret;

	if (!offset)
		return 0;
	ret = qc_store_read(e->store, offset, l2, cluster, e->err);
	if (!ret)
		ret = set_flags(e, l2, &changed);
	if (ret < 0)
		return ret;
	if (changed) {
		/* The old one stays with the snapshot that is made. */
		if (!e->creates)
			ret = qc_recount_lower(e->recount, offset, cluster, e->err);
		if (!ret)
			ret = qc_recount_alloc(e->recount, cluster, &offset, e->err);
		if (!ret)
			ret = qc_store_write(e->store, offset, l2, cluster, e->err);
	} else if (e->creates) {
		ret = qc_recount_raise(e->recount, offset, cluster, e->err);
	}
	if (!ret)
		ret = with_flag(e, offset, &right);
	if (!ret)
		*l1_entry = htobe64(right);
	return ret;
}

/* A new active L1 table, in the header in memory. */
static int renew_l1(struct editing *e)
{
	struct qc_header *h = e->header;
	u64 bytes = qc_round_up(h->l1_size * sizeof(u64), qc_cluster_size(h)), offset;
	CLEANUP_FREE u64 *l2 = malloc(qc_cluster_size(h));
	CLEANUP_FREE u64 *l1 = calloc(1, bytes ? bytes : 1);
	int ret;

	if (!l1 || !l2)
		return qc_fail_nomem(e->err, e->store->path);
	if (!bytes)
		return 0;
	ret = qc_store_read(e->store, h->l1_offset, l1, h->l1_size * sizeof(u64), e->err);
	for (u32 i = 0; i < h->l1_size && !ret; i++)
		ret = renew_l2(e, &l1[i], l2);
	if (!ret && !e->creates)
		ret = qc_recount_lower(e->recount, h->l1_offset, h->l1_size * sizeof(u64), e->err);
	if (!ret)
		ret = qc_recount_alloc(e->recount, bytes, &offset, e->err);
	if (!ret)
		ret = qc_store_write(e->store, offset, l1, bytes, e->err);
	if (!ret)
		h->l1_offset = offset;
	return ret;
}

/* --- the table of snapshots ------------------------------------------------------------------- */

/* The entry of @s in its place in @table, which is zeroes: no clock, no state of a machine. */
static void put_entry(u8 *table, const struct qc_snapshot *s)
{
	u8 *entry = table + s->entry_offset;

	qc_put_be64(entry, s->l1_offset);
	qc_put_be32(entry + 8, s->l1_size);
	qc_put_be32(entry + 12, (u32)strlen(s->id) << 16 | (u32)strlen(s->name));
	qc_put_be32(entry + 16, s->date_sec);
	qc_put_be32(entry + 20, s->date_nsec);
	qc_put_be32(entry + 36, EXTRA);
	qc_put_be64(entry + FIXED + 8, s->disk_size);
	qc_put_be64(entry + FIXED + 16, s->icount);
	memcpy(entry + FIXED + EXTRA, s->id, strlen(s->id));
	memcpy(entry + FIXED + EXTRA + strlen(s->id), s->name, strlen(s->name));
}

/* A new table with @added behind the others, or without @removed, in the header in memory. */
static int renew_table(struct editing *e, const struct qc_snapshot *added,
		       const struct qc_snapshot *removed)
{
	struct qc_header *h = e->header;
	u64 before = e->snapshots.table_bytes, bytes = before, offset = 0;
	CLEANUP_FREE u8 *table = calloc(1, before + (added ? added->entry_bytes : 0) + 1);
	int ret;

	if (!table)
		return qc_fail_nomem(e->err, e->store->path);
	ret = qc_store_read(e->store, h->snapshots_offset, table, before, e->err);
	if (ret < 0)
		return ret;
	if (added) {
		put_entry(table, added);
		bytes += added->entry_bytes;
	} else {
		u8 *entry = table + removed->entry_offset;

		bytes -= removed->entry_bytes;
		memmove(entry, entry + removed->entry_bytes, bytes - removed->entry_offset);
	}
	if (bytes > QC_MAX_SNAPSHOT_TABLE)
		return qc_fail(e->err, EFBIG, e->store->path, "delete some",
			       "there are too many snapshots");
	if (before)
		ret = qc_recount_lower(e->recount, h->snapshots_offset, before, e->err);
	if (!ret && bytes)
		ret = qc_recount_alloc(e->recount, bytes, &offset, e->err);
	if (!ret && bytes)
		ret = qc_store_write(e->store, offset, table, bytes, e->err);
	h->snapshots_offset = offset;
	h->nb_snapshots += added ? 1 : -1;
	return ret;
}

/* --- both ------------------------------------------------------------------------------------- */

static int begin(struct editing *e)
{
	const char *path = e->store->path;
	int ret = qc_header_read(e->store, &e->header, e->err);

	if (!ret)
		ret = qc_header_supported(e->header, path, e->err);
	if (!ret && e->header->incompatible & (QC_INCOMPAT_DIRTY | QC_INCOMPAT_CORRUPT))
		ret = qc_fail(e->err, EINVAL, path, "repair it with: qemu-img check -r all",
			      "the image is marked as dirty or corrupt");
	if (!ret)
		ret = qc_snapshots_read(e->store, e->header, &e->snapshots, e->err);
	if (!ret)
		ret = qc_recount_new(e->store, e->header, &e->recount, e->err);
	if (!ret && e->snapshots.table_bytes)
		ret = qc_recount_expect(e->recount, e->header->snapshots_offset,
					e->snapshots.table_bytes, e->err);
	return ret;
}

/* All is ready to be put to use. */
static int commit(struct editing *e)
{
	int ret = qc_recount_write(e->recount, e->header, e->err);

	if (!ret)
		ret = qc_store_flush(e->store, e->err);
	e->header->autoclear &= QC_AUTOCLEAR_KNOWN;
	return ret ? ret : qc_header_write(e->header, e->store, e->err);
}

static void end(struct editing *e)
{
	qc_recount_free(e->recount);
	qc_snapshots_free(&e->snapshots);
	qc_header_free(e->header);
}

static int create(struct editing *e, struct qc_snapshot *new)
{
	struct qc_header *h = e->header;
	int ret;

	if (h->nb_snapshots == QC_MAX_SNAPSHOTS)
		return qc_fail(e->err, EFBIG, e->store->path, "delete some",
			       "there are too many snapshots");
	new->l1_offset = h->l1_offset;
	new->l1_size = h->l1_size;
	new->disk_size = h->size;
	new->icount = QC_NO_ICOUNT;
	new->entry_offset = e->snapshots.table_bytes;
	new->entry_bytes = qc_round_up(FIXED + EXTRA + strlen(new->id) + strlen(new->name), 8);
	e->creates = true;
	ret = count_mapping(e, RAISE, NULL);
	if (!ret)
		ret = renew_l1(e);
	if (!ret)
		ret = renew_table(e, new, NULL);
	return ret ? ret : commit(e);
}

/* The number behind all that are in use; IDs can be other words, too. */
static char *new_id(const struct qc_snapshots *snapshots)
{
	unsigned long max = 0;
	char id[24];

	for (u32 i = 0; i < snapshots->count; i++) {
		unsigned long number = strtoul(snapshots->list[i].id, NULL, 10);

		if (number > max)
			max = number;
	}
	snprintf(id, sizeof(id), "%lu", max + 1);
	return strdup(id);
}

int qc_snapshot_create(struct qc_store *store, const char *name, u32 date_sec, u32 date_nsec,
		       char **id, struct qc_error *err)
{
	struct qc_snapshot new = {
		.name = (char *)name, .date_sec = date_sec, .date_nsec = date_nsec,
	};
	struct qc_error ignored;
	__attribute__((cleanup(end))) struct editing e = {
		.store = store, .err = err ? err : &ignored,
	};
	int ret;

	if (strlen(name) > QC_MAX_SNAPSHOT_NAME)
		return qc_fail(err, EINVAL, store->path, NULL,
			       "a snapshot's name has at most %d bytes", QC_MAX_SNAPSHOT_NAME);
	ret = begin(&e);
	if (ret < 0)
		return ret;
	new.id = new_id(&e.snapshots);
	ret = new.id ? create(&e, &new) : qc_fail_nomem(err, store->path);
	if (!ret && id)
		*id = qc_steal(new.id);
	free(new.id);
	return ret;
}

int qc_snapshot_delete(struct qc_store *store, const char *id, const char *name,
		       struct qc_error *err)
{
	struct qc_error ignored;
	__attribute__((cleanup(end))) struct editing e = {
		.store = store, .err = err ? err : &ignored,
	};
	const struct qc_snapshot *old;
	int ret = begin(&e);

	if (ret < 0)
		return ret;
	old = qc_snapshot_find(&e.snapshots, id, name);
	if (!old)
		return qc_fail(err, ENOENT, store->path, NULL, "there is no such snapshot: %s",
			       name ? name : id ? id : "");
	ret = count_mapping(&e, EXPECT, NULL);
	if (!ret)
		ret = count_mapping(&e, LOWER, old);
	if (!ret)
		ret = renew_l1(&e);
	if (!ret)
		ret = renew_table(&e, NULL, old);
	return ret ? ret : commit(&e);
}
