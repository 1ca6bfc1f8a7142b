// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is new in an image that grows reads as zeroes, also where the image below it is longer:
 * before the header has the new size, clusters behind the old end get the zero flag (specification
 * section "Cluster mapping").
 *
 *	1. the end of the cluster that the old end lies in
 *	2. L2 tables, where they are shared or were not there: in new clusters
 *	3. the L1 table
 *
 * each on stable storage before the next.  Nobody sees any of it before the header is written; a
 * crash in between leaves clusters that are counted and not used.
 */
#include <errno.h>

#include "entry.h"
#include "walk.h"
#include "zero-new.h"

struct zeroing {
	struct qc_store *store;
	const struct qc_header *header;
	struct qc_space *space;
	u64 first, end;			/* clusters to be zeroed */
	u64 *l1;			/* big-endian, as it is to be */
	u64 *l2;			/* big-endian */
	u64 shared;			/* the table that was in other's use, 0: none */
	struct qc_error *err;
};

static int fail_damaged(const struct zeroing *z)
{
	return qc_fail(z->err, EUCLEAN, z->store->path, "see: qchain check",
		       "its tables are damaged");
}

static int fail_end(const struct zeroing *z, const char *what)
{
	return qc_fail(z->err, ENOTSUP, z->store->path, "use qemu-img resize, detached",
		       "its end lies in a cluster that %s, and what is below is longer", what);
}

/* The end of a cluster, of which the image has had the beginning. */
static int zero_tail(struct zeroing *z, u64 entry)
{
	static const u8 zeroes[4096];
	u32 size = qc_cluster_size(z->header), from = z->header->size & (size - 1);
	u64 host = entry & QC_OFFSET_MASK, refcount;
	int ret;

	if (entry & QC_COMPRESSED)
		return fail_end(z, "is compressed");
	if (entry & qc_l2_reserved(z->header) || host % size)
		return fail_damaged(z);
	if (entry & QC_ZERO)
		return 0;
	if (!host)
		return fail_end(z, "it does not have");
	ret = qc_space_get(z->space, host / size, &refcount);
	if (!ret && refcount != 1)
		return fail_end(z, "a snapshot has, too");
	for (u32 len; !ret && from < size; from += len) {
		len = size - from < sizeof(zeroes) ? size - from : sizeof(zeroes);
		ret = qc_store_write(z->store, host + from, zeroes, len, z->err);
	}
	return ret;
}

static int read_l2(struct zeroing *z, u64 l1_entry)
{
	u64 offset = l1_entry & QC_OFFSET_MASK;
	u32 size = qc_cluster_size(z->header);

	memset(z->l2, 0, size);
	if (l1_entry & QC_L1_RESERVED || offset % size)
		return fail_damaged(z);
	return offset ? qc_store_read(z->store, offset, z->l2, size, z->err) : 0;
}

/* In place, or in a new cluster if there is none, or others refer to it.  Changes @entry. */
static int write_l2(struct zeroing *z, u64 *entry)
{
	u64 offset = *entry & QC_OFFSET_MASK, refcount = 0;
	u32 size = qc_cluster_size(z->header);
	int ret = 0;

	if (offset)
		ret = qc_space_get(z->space, offset / size, &refcount);
	if (!ret && refcount != 1) {
		z->shared = offset;
		ret = qc_space_take(z->space, &offset);
	}
	if (ret < 0)
		return ret;
	*entry = offset | QC_COPIED;
	return qc_store_write(z->store, offset, z->l2, size, z->err);
}

static int zero_in_table(struct zeroing *z, u64 index)
{
	u32 entries = qc_l2_entries(z->header);
	u64 first = index * entries, entry = be64toh(z->l1[index]);
	u64 from = z->first > first ? z->first - first : 0;
	u64 to = z->end - first < entries ? z->end - first : entries;
	int ret = read_l2(z, entry);

	if (!ret && from && z->header->size & (qc_cluster_size(z->header) - 1))
		ret = zero_tail(z, be64toh(z->l2[from - 1]));
	for (u64 i = from; !ret && i < to; i++) {
		/* Nobody has written there. */
		if (z->l2[i] & htobe64(QC_COMPRESSED | qc_l2_reserved(z->header)))
			ret = fail_damaged(z);
		z->l2[i] |= htobe64(QC_ZERO);
	}
	if (!ret)
		ret = write_l2(z, &entry);
	z->l1[index] = htobe64(entry);
	return ret;
}

static int put_to_use(struct zeroing *z)
{
	int ret = qc_space_flush(z->space);

	if (!ret)
		ret = qc_store_write(z->store, z->header->l1_offset, z->l1,
				     z->header->l1_size * sizeof(u64), z->err);
	return ret ? ret : qc_store_flush(z->store, z->err);
}

/* Tables that nothing refers to, as it has failed before that. */
static void give_back(struct zeroing *z)
{
	CLEANUP_FREE u64 *before = NULL;
	struct qc_error *err = z->space->err;

	z->space->err = NULL;
	if (!qc_read_table(z->store, z->header->l1_offset, z->header->l1_size, &before, NULL))
		for (u32 i = 0; i < z->header->l1_size; i++)
			if (before[i] != z->l1[i])
				qc_space_set(z->space, (be64toh(z->l1[i]) & QC_OFFSET_MASK) >>
					     z->header->cluster_bits, 0);
	qc_space_flush(z->space);
	z->space->err = err;
}

int qc_zero_new(struct qc_space *space, u64 end, u64 *shared, struct qc_error *err)
{
	const struct qc_header *h = space->header;
	u32 size = qc_cluster_size(h), entries = qc_l2_entries(h);
	struct zeroing z = {
		.store = space->store, .header = h, .space = space, .err = err,
		.first = qc_div_round_up(h->size, size), .end = qc_div_round_up(end, size),
	};
	/* With the cluster that the old end lies in. */
	u64 first_table = h->size / size / entries;
	int ret;

	*shared = 0;
	if (h->version < 3)
		return qc_fail(err, ENOTSUP, z.store->path,
			       "qemu-img amend -o compat=1.1 makes it version 3",
			       "version 2 has no zero clusters, and what is below is longer");
	if (qc_div_round_up(z.end, entries) > h->l1_size)
		return fail_damaged(&z);
	z.l2 = malloc(size);
	ret = z.l2 ? qc_read_table(z.store, h->l1_offset, h->l1_size, &z.l1, err) :
		     qc_fail_nomem(err, z.store->path);
	for (u64 i = first_table; !ret && i * entries < z.end; i++)
		ret = zero_in_table(&z, i);
	if (ret && z.l1)
		give_back(&z);
	if (!ret)
		ret = put_to_use(&z);
	*shared = z.shared;
	free(z.l2);
	free(z.l1);
	return ret;
}
