// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything that reads an image without checking it: header, chain, snapshots, bitmaps, table.
 * A header that was accepted is the same after it was encoded and parsed again.
 */
#include <errno.h>
#include <stdio.h>

#include "bitmap.h"
#include "chain.h"
#include "snapshots.h"
#include "table.h"
#include "target.h"

static bool same_string(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static void compare(const struct qc_header *a, const struct qc_header *b)
{
	FUZZ_MUST(a->version == b->version && a->cluster_bits == b->cluster_bits);
	FUZZ_MUST(a->size == b->size && a->crypt_method == b->crypt_method);
	FUZZ_MUST(a->l1_size == b->l1_size && a->l1_offset == b->l1_offset);
	FUZZ_MUST(a->reftable_offset == b->reftable_offset);
	FUZZ_MUST(a->reftable_clusters == b->reftable_clusters);
	FUZZ_MUST(a->nb_snapshots == b->nb_snapshots);
	FUZZ_MUST(a->snapshots_offset == b->snapshots_offset);
	FUZZ_MUST(a->incompatible == b->incompatible && a->compatible == b->compatible);
	FUZZ_MUST(a->autoclear == b->autoclear && a->refcount_order == b->refcount_order);
	FUZZ_MUST(a->compression == b->compression);
	FUZZ_MUST(same_string(a->backing, b->backing));
	FUZZ_MUST(same_string(a->backing_format, b->backing_format));
	FUZZ_MUST(a->nb_extensions == b->nb_extensions);
	for (size_t i = 0; i < a->nb_extensions; i++) {
		FUZZ_MUST(a->extensions[i].type == b->extensions[i].type);
		FUZZ_MUST(a->extensions[i].len == b->extensions[i].len);
		FUZZ_MUST(!memcmp(a->extensions[i].data, b->extensions[i].data,
				  a->extensions[i].len));
	}
}

static void encode_again(const struct qc_header *h)
{
	CLEANUP_FREE u8 *cluster = malloc(qc_cluster_size(h));
	CLEANUP_HEADER struct qc_header *again = NULL;
	struct qc_error err = { 0 };
	int ret = qc_header_encode(h, "top", cluster, &err);

	fuzz_judge(ret, &err);
	if (ret) {
		FUZZ_MUST(ret == -ENOSPC);
		return;
	}
	FUZZ_MUST(!qc_header_parse(cluster, qc_cluster_size(h), "top", &again, &err));
	compare(h, again);
}

static void look_at(const struct qc_layer *layer)
{
	CLEANUP_SNAPSHOTS struct qc_snapshots snapshots = { 0 };
	CLEANUP_BITMAPS struct qc_bitmaps bitmaps = { 0 };
	struct qc_error err = { 0 };

	if (!layer->header)
		return;
	fuzz_judge(qc_header_supported(layer->header, "top", &err), &err);
	fuzz_judge(qc_snapshots_read(layer->store, layer->header, &snapshots, &err), &err);
	fuzz_judge(qc_bitmaps_read(layer->store, layer->header, &bitmaps, &err), &err);
	encode_again(layer->header);
}

static void open_chain(unsigned int flags)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	CLEANUP_FREE char *params = NULL;
	struct qc_error err = { 0 };
	struct qc_table table;
	int ret = qc_chain_open("top", QC_FORMAT_UNKNOWN, flags, &chain, &err);

	fuzz_judge(ret, &err);
	if (ret)
		return;
	look_at(&chain->layers[0]);
	if (flags & QC_CHAIN_ANY)
		return;
	FUZZ_MUST(!qc_table_build(chain, 0, &params, &err));
	FUZZ_MUST(!qc_table_parse(params, "top", &table, &err));
	FUZZ_MUST(table.count == chain->count);
	qc_table_free(&table);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	fuzz_write(data, size);
	open_chain(0);
	open_chain(QC_CHAIN_TOP | QC_CHAIN_ANY);
	return 0;
}
