// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain tree: attached devices and their chains. */
#include <errno.h>

#include "dm.h"
#include "human.h"
#include "table.h"
#include "tree.h"

enum {
	TREE_JSON,
	TREE_SOCKET,
};

static const struct cli_option options[] = {
	[TREE_JSON] = { "json", 0, CLI_FLAG, NULL, "print an array of devices with their layers" },
	[TREE_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH",
			  "of the daemon, for an export's ID" },
	{ 0 }
};

struct attached {
	const char *name;
	u64 sectors;
	struct qc_dm_device device;
	struct qc_table table;
	struct qc_status status;
};

static void free_attached(struct attached *a)
{
	qc_table_free(&a->table);
}

static int load(const char *name, struct attached *a, struct qc_error *err)
{
	CLEANUP_FREE char *table = NULL;
	CLEANUP_FREE char *status = NULL;
	int ret;

	a->name = name;
	ret = qc_dm_query(name, &a->device, err);
	if (!ret)
		ret = qc_dm_table(name, &a->sectors, &table, err);
	if (!ret)
		ret = qc_dm_status(name, &a->sectors, &status, err);
	if (!ret)
		ret = qc_table_parse(table, name, &a->table, err);
	if (!ret)
		ret = qc_status_parse(status, name, &a->status, err);
	return ret;
}

/*
 * What can be told of a layer from outside.  The image is in use: only what does not
 * change while it is attached is looked at, without a lock.  NULL when it cannot be opened.
 */
static struct qc_chain *open_layer(const struct qc_table_layer *layer)
{
	struct qc_chain *chain;

	if (qc_chain_open(layer->device, qc_format_parse(layer->format),
			  QC_CHAIN_TOP | QC_CHAIN_ANY, &chain, NULL) < 0)
		return NULL;
	return chain;
}

/* Returns the chain that @tree refers to. */
static struct qc_chain *look_at(const struct attached *a, size_t i, struct tree_layer *tree)
{
	const struct qc_table_layer *layer = &a->table.layers[i];
	struct qc_chain *chain = open_layer(layer);

	*tree = (struct tree_layer){
		.filename = layer->device,
		.format = layer->format,
		.data = strcmp(layer->data, "-") ? layer->data : NULL,
		.writable = !i && !(a->table.flags & QC_TABLE_READ_ONLY),
		.allocated = TREE_UNKNOWN,
	};
	if (!chain)
		return NULL;
	tree->opened = true;
	tree->size = chain->layers[0].size;
	if (qc_store_allocated(chain->layers[0].store, &tree->allocated, NULL))
		tree->allocated = TREE_UNKNOWN;
	if (chain->layers[0].header)
		tree->cluster_size = qc_cluster_size(chain->layers[0].header);
	return chain;
}

static void print_text(const struct attached *a)
{
	const struct qc_status *s = &a->status;

	printf("%s  %s%s  %s", a->name, s->mode, a->device.suspended ? " (suspended)" : "",
	       qc_human(a->sectors << QC_SECTOR_SHIFT));
	if (s->cluster_sectors && s->mapped != QC_UNKNOWN_COUNT)
		printf(", %s mapped",
		       qc_human((s->mapped * s->cluster_sectors) << QC_SECTOR_SHIFT));
	printf(", %s of %s metadata memory\n", qc_human(s->metadata_kib << 10),
	       qc_human(s->metadata_limit_kib << 10));
	for (size_t i = 0; i < a->table.count; i++) {
		struct tree_layer layer;
		CLEANUP_CHAIN struct qc_chain *chain = look_at(a, i, &layer);

		tree_print_layer(&layer, i);
	}
}

static void add_count(struct json_object *o, const char *name, u64 value)
{
	json_object_object_add(o, name, value == QC_UNKNOWN_COUNT ? NULL : cli_json_u64(value));
}

static struct json_object *json_device(const struct attached *a)
{
	struct json_object *layers = json_object_new_array();
	struct json_object *o = json_object_new_object();
	const struct qc_status *s = &a->status;

	json_object_object_add(o, "name", json_object_new_string(a->name));
	json_object_object_add(o, "mode", json_object_new_string(s->mode));
	json_object_object_add(o, "suspended", json_object_new_boolean(a->device.suspended));
	json_object_object_add(o, "open-count", json_object_new_int(a->device.open_count));
	json_object_object_add(o, "size", cli_json_u64(a->sectors << QC_SECTOR_SHIFT));
	json_object_object_add(o, "cluster-size",
			       cli_json_u64(s->cluster_sectors << QC_SECTOR_SHIFT));
	add_count(o, "mapped-clusters", s->mapped);
	add_count(o, "total-clusters", s->total);
	add_count(o, "used-host-clusters", s->used);
	add_count(o, "total-host-clusters", s->host_total);
	add_count(o, "metadata-memory", s->metadata_kib << 10);
	add_count(o, "metadata-memory-limit", s->metadata_limit_kib << 10);
	for (size_t i = 0; i < a->table.count; i++) {
		struct tree_layer layer;
		CLEANUP_CHAIN struct qc_chain *chain = look_at(a, i, &layer);

		json_object_array_add(layers, tree_json_layer(&layer));
	}
	json_object_object_add(o, "layers", layers);
	return o;
}

/* Without a live table there is nothing to read: what an attach that was killed left. */
static int show(const char *name, struct json_object *array, struct qc_error *err)
{
	__attribute__((cleanup(free_attached))) struct attached a = { 0 };
	int ret;

	ret = load(name, &a, err);
	if (ret < 0 && a.device.exists && a.device.ours && !a.device.live) {
		cli_warn(name, "was not attached completely; attach it again or detach it");
		return 0;
	}
	if (ret < 0)
		return ret;
	if (array)
		json_object_array_add(array, json_device(&a));
	else
		print_text(&a);
	return 0;
}

/* One device that cannot be read does not hide the others; the last error is returned. */
static int show_all(struct json_object *array, struct qc_error *err)
{
	CLEANUP_DM_NAMES struct qc_dm_names names = { 0 };
	int ret = qc_dm_list(&names, err);

	for (size_t i = 0; i < names.count; i++) {
		int shown = show(names.list[i], array, err);

		if (shown < 0 && shown != -ENODEV)	/* not gone since it was listed */
			ret = shown;
	}
	return ret;
}

/* The daemon knows more of what is its own. */
static int show_named(const char *name, const char *socket, struct json_object *array,
		      struct qc_error *err)
{
	int ret = tree_export(name, socket, array, err);

	return ret ? ret : show(name, array, err);
}

static int run(const struct cli_call *call, struct qc_error *err)
{
	struct json_object *array = call->values[TREE_JSON] ? json_object_new_array() : NULL;
	int ret = call->nb_arguments ?
		  show_named(call->arguments[0], call->values[TREE_SOCKET], array, err) :
		  show_all(array, err);

	if (array && (ret >= 0 || !call->nb_arguments))
		cli_print_json(json_object_get(array));
	json_object_put(array);
	return ret < 0 ? ret : CLI_OK;
}

const struct cli_command cli_tree = {
	.name = "tree",
	.arguments = "[NAME]",
	.help = "draw attached devices, or an export of the daemon, and their chains",
	.min_arguments = 0,
	.max_arguments = 1,
	.usage_exit = CLI_USAGE,
	.options = options,
	.run = run,
};
