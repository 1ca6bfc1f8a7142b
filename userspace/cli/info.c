// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain info. */
#include <errno.h>

#include "bitmap-info.h"
#include "cli.h"
#include "human.h"
#include "snapshot-info.h"

enum {
	INFO_FORMAT,
	INFO_CHAIN,
	INFO_FORCE_SHARE,
	INFO_JSON,
};

static const struct cli_option options[] = {
	[INFO_FORMAT] = { "format", 'f', CLI_ARGUMENT, "FORMAT",
			  "of the image: qcow2 (the default) or raw" },
	[INFO_CHAIN] = { "backing-chain", 0, CLI_FLAG, NULL, "show every layer, top first" },
	[INFO_FORCE_SHARE] = { "force-share", 'U', CLI_FLAG, NULL,
			       "look even while the image is in use" },
	[INFO_JSON] = { "json", 0, CLI_FLAG, NULL, "print an object, or an array of them" },
	{ 0 }
};

/* Everything there is to tell about a layer besides its header. */
struct details {
	u64 allocated;
	char *backing_path;
	struct qc_snapshots snapshots;
	struct qc_bitmaps bitmaps;
};

static void free_details(struct details *d)
{
	free(d->backing_path);
	qc_snapshots_free(&d->snapshots);
	qc_bitmaps_free(&d->bitmaps);
}

static int gather(const struct qc_layer *layer, struct details *d, struct qc_error *err)
{
	const struct qc_header *h = layer->header;
	int ret;

	ret = qc_store_allocated(layer->store, &d->allocated, err);
	if (ret < 0 || !h)
		return ret;
	/* A name that cannot be resolved is shown as it is. */
	if (h->backing)
		qc_chain_resolve_name(layer->store->path, h->backing, &d->backing_path, NULL);
	ret = qc_snapshots_read(layer->store, h, &d->snapshots, err);
	return ret < 0 ? ret : qc_bitmaps_read(layer->store, h, &d->bitmaps, err);
}

static struct json_object *json_specific(const struct qc_header *h, const struct details *d)
{
	struct json_object *data = json_object_new_object();
	struct json_object *o = json_object_new_object();

	json_object_object_add(data, "compat",
			       json_object_new_string(h->version == 2 ? "0.10" : "1.1"));
	json_object_object_add(data, "compression-type",
			       json_object_new_string(qc_compression_names[h->compression]));
	json_object_object_add(data, "refcount-bits", cli_json_u64(BIT_ULL(h->refcount_order)));
	if (h->version >= 3) {
		json_object_object_add(data, "lazy-refcounts",
				       json_object_new_boolean(h->compatible &
							       QC_COMPAT_LAZY_REFCOUNTS));
		json_object_object_add(data, "corrupt",
				       json_object_new_boolean(h->incompatible &
							       QC_INCOMPAT_CORRUPT));
		json_object_object_add(data, "extended-l2",
				       json_object_new_boolean(h->incompatible &
							       QC_INCOMPAT_EXTENDED_L2));
		if (d->bitmaps.count)
			json_object_object_add(data, "bitmaps", bitmap_infos(&d->bitmaps));
	}
	json_object_object_add(o, "type", json_object_new_string("qcow2"));
	json_object_object_add(o, "data", data);
	return o;
}

static struct json_object *json_layer(const struct qc_layer *layer, const struct details *d)
{
	struct json_object *o = json_object_new_object();
	const struct qc_header *h = layer->header;

	json_object_object_add(o, "filename", json_object_new_string(layer->store->path));
	json_object_object_add(o, "format", json_object_new_string(qc_format_name(layer->format)));
	json_object_object_add(o, "virtual-size", cli_json_u64(layer->size));
	json_object_object_add(o, "actual-size", cli_json_u64(d->allocated));
	if (!h)
		return o;
	json_object_object_add(o, "cluster-size", cli_json_u64(qc_cluster_size(h)));
	json_object_object_add(o, "dirty-flag",
			       json_object_new_boolean(h->incompatible & QC_INCOMPAT_DIRTY));
	if (h->crypt_method)
		json_object_object_add(o, "encrypted", json_object_new_boolean(true));
	if (h->backing)
		json_object_object_add(o, "backing-filename", json_object_new_string(h->backing));
	if (d->backing_path)
		json_object_object_add(o, "full-backing-filename",
				       json_object_new_string(d->backing_path));
	if (h->backing_format)
		json_object_object_add(o, "backing-filename-format",
				       json_object_new_string(h->backing_format));
	if (d->snapshots.count)
		json_object_object_add(o, "snapshots", snapshot_infos(&d->snapshots));
	json_object_object_add(o, "format-specific", json_specific(h, d));
	return o;
}

static void print_qcow2(const struct qc_header *h, const struct details *d)
{
	static const char *const crypt[] = { "none", "AES", "LUKS" };

	printf("cluster_size: %u\n", qc_cluster_size(h));
	if (h->backing && d->backing_path && strcmp(h->backing, d->backing_path))
		printf("backing file: %s (actual path: %s)\n", h->backing, d->backing_path);
	else if (h->backing)
		printf("backing file: %s\n", h->backing);
	if (h->backing_format)
		printf("backing file format: %s\n", h->backing_format);
	for (u32 i = 0; i < d->snapshots.count; i++)
		printf("snapshot: %s %s (VM state %s)\n", d->snapshots.list[i].id,
		       d->snapshots.list[i].name, qc_human(d->snapshots.list[i].vm_state_size));
	printf("Format specific information:\n");
	printf("    compat: %s\n", h->version == 2 ? "0.10" : "1.1");
	printf("    compression type: %s\n", qc_compression_names[h->compression]);
	printf("    refcount bits: %u\n", 1 << h->refcount_order);
	if (h->crypt_method)
		printf("    encryption: %s\n", h->crypt_method < ARRAY_SIZE(crypt) ?
		       crypt[h->crypt_method] : "unknown");
	if (h->version < 3)
		return;
	printf("    lazy refcounts: %s\n",
	       h->compatible & QC_COMPAT_LAZY_REFCOUNTS ? "true" : "false");
	printf("    dirty: %s\n", h->incompatible & QC_INCOMPAT_DIRTY ? "true" : "false");
	printf("    corrupt: %s\n", h->incompatible & QC_INCOMPAT_CORRUPT ? "true" : "false");
	printf("    extended l2: %s\n",
	       h->incompatible & QC_INCOMPAT_EXTENDED_L2 ? "true" : "false");
	for (u32 i = 0; i < d->bitmaps.count; i++) {
		fputs("    bitmap: ", stdout);
		bitmap_print(&d->bitmaps.list[i]);
	}
}

static void print_layer(const struct qc_layer *layer, const struct details *d)
{
	printf("image: %s\n", layer->store->path);
	printf("file format: %s\n", qc_format_name(layer->format));
	printf("virtual size: %s (%llu bytes)\n", qc_human(layer->size), layer->size);
	printf("disk size: %s\n", qc_human(d->allocated));
	if (layer->header)
		print_qcow2(layer->header, d);
}

static int run(const struct cli_call *call, struct qc_error *err)
{
	unsigned int flags = QC_CHAIN_ANY |
			     (call->values[INFO_CHAIN] ? 0 : QC_CHAIN_TOP) |
			     (call->values[INFO_FORCE_SHARE] ? 0 : QC_CHAIN_LOCK);
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct json_object *array = NULL;
	enum qc_format format;
	int ret;

	ret = cli_format(call->values[INFO_FORMAT], &format, err);
	if (!ret)
		ret = qc_chain_open(call->arguments[0], format, flags, &chain, err);
	if (ret < 0)
		return ret;
	if (call->values[INFO_JSON])
		array = json_object_new_array();

	for (size_t i = 0; i < chain->count; i++) {
		__attribute__((cleanup(free_details))) struct details d = { 0 };

		ret = gather(&chain->layers[i], &d, err);
		if (ret < 0)
			break;
		if (array) {
			json_object_array_add(array, json_layer(&chain->layers[i], &d));
			continue;
		}
		if (i)
			putchar('\n');
		print_layer(&chain->layers[i], &d);
	}
	if (array && !ret) {
		if (call->values[INFO_CHAIN])
			cli_print_json(json_object_get(array));
		else
			cli_print_json(json_object_get(json_object_array_get_idx(array, 0)));
	}
	json_object_put(array);
	return ret < 0 ? ret : CLI_OK;
}

const struct cli_command cli_info = {
	.name = "info",
	.arguments = "IMAGE",
	.help = "show what an image is, or its whole backing chain",
	.min_arguments = 1,
	.max_arguments = 1,
	.usage_exit = CLI_USAGE,
	.options = options,
	.run = run,
};
