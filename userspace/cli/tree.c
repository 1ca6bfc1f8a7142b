// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain tree: attached devices and their chains. */
#include <errno.h>

#include "dm.h"
#include "human.h"
#include "job-kernel.h"
#include "qapi.h"
#include "tree.h"

enum {
	TREE_JSON,
	TREE_SOCKET,
	TREE_NO_DAEMON,
};

static const struct cli_option options[] = {
	[TREE_JSON] = { "json", 0, CLI_FLAG, NULL, "print an array of devices with their layers" },
	[TREE_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH", "of the daemon" },
	[TREE_NO_DAEMON] = { "no-daemon", 0, CLI_FLAG, NULL,
			     "do not ask it; show what the kernel knows" },
	{ 0 }
};

struct attached {
	const char *name;
	u64 sectors;
	struct qc_dm_device device;
	struct qc_table table;
	struct qc_status status;
	const struct tree_daemon *daemon;
	const char *export;		/* its ID for the daemon, or NULL */
	struct jobs kernel_jobs;
	const struct jobs *jobs;	/* among others, when it is an export */
};

static void free_attached(struct attached *a)
{
	qc_table_free(&a->table);
	jobs_free(&a->kernel_jobs);
}

static int load(struct attached *a, struct qc_error *err)
{
	const char *name = a->name;
	CLEANUP_FREE char *table = NULL;
	CLEANUP_FREE char *status = NULL;
	int ret;

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

static bool read_only(const struct attached *a)
{
	return a->table.flags & QC_TABLE_READ_ONLY;
}

/* What can be told of a layer from outside; @image is what it is found in. */
static struct tree_layer layer_of(const struct attached *a, size_t i, struct tree_image *image)
{
	const struct qc_table_layer *layer = &a->table.layers[i];
	const struct qc_layer *found;
	struct tree_layer tree = {
		.filename = layer->device,
		.format = layer->format,
		.data = strcmp(layer->data, "-") ? layer->data : NULL,
		/* With a table that waits to be used the daemon's chain is that one's. */
		.node = a->export && !a->device.loaded ?
			tree_node_of(a->daemon, a->export, i, a->table.count) : NULL,
		.writable = !i && !read_only(a),
		.allocated = TREE_UNKNOWN,
	};

	tree_image_open(layer->device, layer->format, image);
	if (!image->chain)
		return tree;
	found = &image->chain->layers[0];
	tree.opened = true;
	tree.size = found->size;
	if (qc_store_allocated(found->store, &tree.allocated, NULL))
		tree.allocated = TREE_UNKNOWN;
	if (found->header)
		tree.cluster_size = qc_cluster_size(found->header);
	tree.bitmaps = &image->bitmaps;
	return tree;
}

static void print_text(const struct attached *a)
{
	const struct qc_status *s = &a->status;

	printf("%s  %s%s  %s", a->name, s->mode, a->device.suspended ? " (suspended)" : "",
	       qc_human(a->sectors << QC_SECTOR_SHIFT));
	if (s->cluster_sectors && s->mapped != QC_UNKNOWN_COUNT)
		printf(", %s mapped",
		       qc_human((s->mapped * s->cluster_sectors) << QC_SECTOR_SHIFT));
	printf(", %s of %s metadata memory", qc_human(s->metadata_kib << 10),
	       qc_human(s->metadata_limit_kib << 10));
	if (a->export)
		printf(", export %s", a->export);
	putchar('\n');
	for (size_t i = 0; i < a->table.count; i++) {
		CLEANUP_TREE_IMAGE struct tree_image image;
		struct tree_layer layer = layer_of(a, i, &image);

		tree_print_layer(&layer, i);
	}
	tree_print_jobs(a->jobs, a->export);
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
	qapi_add_str(o, "export", a->export);
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
		CLEANUP_TREE_IMAGE struct tree_image image;
		struct tree_layer layer = layer_of(a, i, &image);

		json_object_array_add(layers, tree_json_layer(&layer));
	}
	json_object_object_add(o, "layers", layers);
	json_object_object_add(o, "jobs", tree_json_jobs(a->jobs, a->export));
	return o;
}

/* Without a live table there is nothing to read: what an attach that was killed left. */
static int show(const char *name, const struct tree_daemon *daemon, struct json_object *array,
		struct qc_error *err)
{
	__attribute__((cleanup(free_attached))) struct attached a = {
		.name = name,
		.daemon = daemon,
		.export = tree_export_of(daemon, name),
		.kernel_jobs = TAILQ_HEAD_INITIALIZER(a.kernel_jobs),
	};
	int ret;

	ret = load(&a, err);
	if (ret < 0 && a.device.exists && a.device.ours && !a.device.live) {
		cli_warn(name, "was not attached completely; attach it again or detach it");
		return 0;
	}
	if (ret < 0)
		return ret;
	/* The daemon knows more of its own. */
	if (a.export) {
		a.jobs = tree_daemon_jobs(daemon);
	} else {
		jobs_of_status(&a.kernel_jobs, &a.status);
		a.jobs = &a.kernel_jobs;
	}
	if (array)
		json_object_array_add(array, json_device(&a));
	else
		print_text(&a);
	return 0;
}

/* One device that cannot be read does not hide the others; the last error is returned. */
static int show_all(const struct tree_daemon *daemon, struct json_object *array,
		    struct qc_error *err)
{
	CLEANUP_DM_NAMES struct qc_dm_names names = { 0 };
	int ret = qc_dm_list(&names, err);

	/* Whoever may ask the daemon need not be root, who alone may ask the kernel. */
	if (ret < 0 && daemon) {
		tree_exports(daemon, array);
		return 0;
	}
	for (size_t i = 0; i < names.count; i++) {
		int shown = show(names.list[i], daemon, array, err);

		if (shown < 0 && shown != -ENODEV)	/* not gone since it was listed */
			ret = shown;
	}
	return ret;
}

static int draw(const struct cli_call *call, const struct tree_daemon *daemon,
		struct json_object *array, struct qc_error *err)
{
	const char *name = call->arguments[0];

	if (!call->nb_arguments)
		return show_all(daemon, array, err);
	return tree_export(daemon, name, array) ? 0 : show(name, daemon, array, err);
}

static int run(const struct cli_call *call, struct qc_error *err)
{
	struct tree_daemon *daemon = NULL;
	struct json_object *array;
	int ret = 0;

	if (call->values[TREE_SOCKET] && call->values[TREE_NO_DAEMON])
		return qc_fail(err, EINVAL, "--no-daemon", "give one of them",
			       "contradicts --socket");
	if (!call->values[TREE_NO_DAEMON])
		ret = tree_daemon_ask(call->values[TREE_SOCKET], &daemon, err);
	if (ret < 0)
		return ret;
	array = call->values[TREE_JSON] ? json_object_new_array() : NULL;
	ret = draw(call, daemon, array, err);
	if (array && (ret >= 0 || !call->nb_arguments))
		cli_print_json(json_object_get(array));
	json_object_put(array);
	tree_daemon_free(daemon);
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
