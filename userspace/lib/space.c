// SPDX-License-Identifier: GPL-2.0-or-later
/* Refcounts of an image, a block at a time. */
#include <errno.h>

#include "refcount.h"
#include "space.h"
#include "walk.h"

static int check_reftable(const struct qc_space *s)
{
	for (u64 i = 0; i < s->reftable_entries; i++)
		if (!qc_reftable_entry_sound(s->header, be64toh(s->reftable[i])))
			return qc_fail(s->err, EUCLEAN, s->store->path,
				       "repair it with: qchain check --repair",
				       "entry %llu of the refcount table is damaged", i);
	return 0;
}

int qc_space_open(struct qc_space *s, struct qc_store *store, const struct qc_header *header,
		  struct qc_error *err)
{
	int ret;

	*s = (struct qc_space){
		.store = store,
		.header = header,
		.reftable_entries = (u64)header->reftable_clusters * qc_cluster_size(header) /
				    sizeof(u64),
		.block = malloc(qc_cluster_size(header)),
		.err = err,
	};
	if (!s->block)
		return qc_fail_nomem(err, store->path);
	ret = qc_header_sound(header, store->path, err);
	if (!ret)
		ret = qc_read_table(store, header->reftable_offset, s->reftable_entries,
				    &s->reftable, err);
	return ret ? ret : check_reftable(s);
}

void qc_space_close(struct qc_space *s)
{
	free(s->block);
	free(s->reftable);
	s->block = NULL;
	s->reftable = NULL;
}

static int write_back(struct qc_space *s)
{
	int ret = 0;

	if (s->dirty)
		ret = qc_store_write(s->store, s->offset, s->block, qc_cluster_size(s->header),
				     s->err);
	s->dirty = s->dirty && ret;
	return ret;
}

static int load(struct qc_space *s, u64 index)
{
	int ret;

	if (s->loaded && s->index == index)
		return 0;
	ret = write_back(s);
	if (ret < 0)
		return ret;
	s->loaded = false;
	s->index = index;
	s->offset = index < s->reftable_entries ? be64toh(s->reftable[index]) : 0;
	if (s->offset)
		ret = qc_store_read(s->store, s->offset, s->block, qc_cluster_size(s->header),
				    s->err);
	s->loaded = !ret;
	return ret;
}

int qc_space_get(struct qc_space *s, u64 cluster, u64 *refcount)
{
	u32 entries = qc_refblock_entries(s->header);
	int ret = load(s, cluster / entries);

	*refcount = ret || !s->offset ? 0 :
		    qc_refcount_get(s->block, s->header->refcount_order, cluster % entries);
	return ret;
}

int qc_space_set(struct qc_space *s, u64 cluster, u64 refcount)
{
	u32 entries = qc_refblock_entries(s->header);
	int ret = load(s, cluster / entries);

	if (ret || !s->offset)
		return ret;
	qc_refcount_set(s->block, s->header->refcount_order, cluster % entries, refcount);
	s->dirty = true;
	if (!refcount && cluster < s->next)
		s->next = cluster;
	return 0;
}

static int find(struct qc_space *s, u64 from, u64 count, u64 *first)
{
	u32 entries = qc_refblock_entries(s->header);
	u64 run = 0, room, refcount;
	int ret;

	*first = 0;
	ret = qc_store_size(s->store, &room, s->err);
	if (ret < 0)
		return ret;
	room = s->store->is_bdev ? room / qc_cluster_size(s->header) : UINT64_MAX;
	for (u64 cluster = from; cluster < s->reftable_entries * entries; cluster++) {
		ret = qc_space_get(s, cluster, &refcount);
		if (ret < 0)
			return ret;
		run = !s->offset || cluster >= room || refcount ? 0 : run + 1;
		if (!s->offset)
			cluster += entries - 1 - cluster % entries;
		if (run == count) {
			*first = cluster - count + 1;
			return 0;
		}
	}
	return 0;
}

int qc_space_find(struct qc_space *s, u64 count, u64 *first)
{
	return find(s, 0, count, first);
}

int qc_space_take(struct qc_space *s, u64 *offset)
{
	u64 cluster;
	int ret = find(s, s->next, 1, &cluster);

	if (!ret && !cluster)
		ret = qc_fail(s->err, ENOSPC, s->store->path, "use qemu-img resize, detached",
			      "there is no free cluster in what its refcounts cover");
	if (!ret)
		ret = qc_space_set(s, cluster, 1);
	if (!ret)
		s->next = cluster + 1;
	*offset = cluster << s->header->cluster_bits;
	return ret;
}

int qc_space_end(struct qc_space *s, u64 *end)
{
	u32 entries = qc_refblock_entries(s->header);
	u64 refcount;
	int ret;

	for (u64 i = s->reftable_entries; i--;) {
		if (!s->reftable[i])
			continue;
		for (u32 j = entries; j--;) {
			ret = qc_space_get(s, i * entries + j, &refcount);
			if (ret < 0)
				return ret;
			if (!refcount)
				continue;
			*end = i * entries + j + 1;
			return 0;
		}
	}
	*end = 0;
	return 0;
}

int qc_space_flush(struct qc_space *s)
{
	int ret = write_back(s);

	return ret ? ret : qc_store_flush(s->store, s->err);
}
