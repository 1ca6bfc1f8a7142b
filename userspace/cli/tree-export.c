// SPDX-License-Identifier: GPL-2.0-or-later
/* The chains of exports, as the daemon has them. */
#include "dm.h"
#include "human.h"
#include "qapi.h"
#include "table.h"
#include "tree.h"

struct tree_daemon {
	struct json_object *exports;	/* of query-block-exports */
	struct json_object *blocks;	/* of query-block */
	struct json_object *nodes;	/* of query-named-block-nodes */
	struct jobs jobs;
};

static int ask(struct client *client, struct tree_daemon *d, struct qc_error *err)
{
	int ret = client_query_nodes(client, &d->nodes, err);

	if (!ret)
		ret = client_execute(client, "query-block-exports", NULL, NULL, &d->exports, err);
	if (!ret)
		ret = client_execute(client, "query-block", NULL, NULL, &d->blocks, err);
	return ret ? ret : jobs_query(&d->jobs, client, err);
}

int tree_daemon_ask(const char *socket, struct tree_daemon **daemon, struct qc_error *err)
{
	CLEANUP_CLIENT struct client *client = NULL;
	struct qc_error cause;
	struct tree_daemon *d;
	int ret;

	*daemon = NULL;
	ret = client_connect(client_path(socket), &client, err);
	if (ret < 0)
		return socket ? ret : 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return qc_fail_nomem(err, "tree");
	TAILQ_INIT(&d->jobs);
	ret = ask(client, d, &cause);
	if (!ret) {
		*daemon = d;
		return 0;
	}
	tree_daemon_free(d);
	if (socket) {
		*err = cause;
		return ret;
	}
	fprintf(stderr, "qchain: %s; drawn without the daemon\n", cause.text);
	return 0;
}

void tree_daemon_free(struct tree_daemon *d)
{
	if (!d)
		return;
	json_object_put(d->exports);
	json_object_put(d->blocks);
	json_object_put(d->nodes);
	jobs_free(&d->jobs);
	free(d);
}

const struct jobs *tree_daemon_jobs(const struct tree_daemon *d)
{
	return &d->jobs;
}

const char *tree_export_of(const struct tree_daemon *d, const char *device)
{
	struct json_object *export = d ? client_find(d->exports, "name", device) : NULL;

	return export ? qapi_get_str(export, "id", NULL) : NULL;
}

/* A name only where no other node is of the same image: the daemon does not say which it is. */
static const char *node_of(const struct tree_daemon *d, struct json_object *image)
{
	const char *filename = qapi_get_str(image, "filename", "");
	const char *format = qapi_get_str(image, "format", "");
	const char *name = NULL;

	for (size_t i = 0; i < json_object_array_length(d->nodes); i++) {
		struct json_object *node = json_object_array_get_idx(d->nodes, i);

		if (strcmp(qapi_get_str(node, "file", ""), filename) ||
		    strcmp(qapi_get_str(node, "drv", ""), format))
			continue;
		if (name)
			return NULL;
		name = qapi_get_str(node, "node-name", NULL);
	}
	return name;
}

static struct json_object *inserted(struct json_object *block)
{
	return json_object_object_get(block, "inserted");
}

static struct json_object *top_image(struct json_object *block)
{
	return json_object_object_get(inserted(block), "image");
}

static struct json_object *below(struct json_object *image)
{
	return json_object_object_get(image, "backing-image");
}

static size_t count_images(struct json_object *image)
{
	size_t count = 0;

	for (; image; image = below(image))
		count++;
	return count;
}

const char *tree_node_of(const struct tree_daemon *d, const char *id, size_t layer, size_t count)
{
	struct json_object *block = d ? client_find(d->blocks, "device", id) : NULL;
	struct json_object *image = block ? top_image(block) : NULL;

	if (count_images(image) != count)
		return NULL;
	if (!layer)
		return qapi_get_str(inserted(block), "node-name", NULL);
	while (layer--)
		image = below(image);
	return node_of(d, image);
}

/* What is drawn of one. */
struct export_view {
	const struct tree_daemon *daemon;
	struct json_object *block;
	const char *id;
	const char *device;		/* NULL: the daemon does not tell */
	struct qc_table table;		/* of the device; empty when that cannot be asked */
};

/* Where the image is for this process: the daemon's names may be relative to another directory. */
static const char *path_of(const struct export_view *view, struct json_object *image, size_t depth)
{
	const char *filename = qapi_get_str(image, "filename", "");

	if (*filename == '/')
		return filename;
	return view->table.count == count_images(top_image(view->block)) ?
	       view->table.layers[depth].device : NULL;
}

/* @look: what its bitmaps are read from. */
static struct tree_layer layer_of(const struct export_view *view, struct json_object *image,
				  size_t depth, struct tree_image *look)
{
	const char *format = qapi_get_str(image, "format", "");
	const char *path = path_of(view, image, depth);

	memset(look, 0, sizeof(*look));
	if (path)
		tree_image_open(path, format, look);
	return (struct tree_layer){
		.filename = qapi_get_str(image, "filename", ""),
		.format = format,
		.node = depth ? node_of(view->daemon, image) :
				qapi_get_str(inserted(view->block), "node-name", NULL),
		.writable = !depth && !qapi_get_bool(inserted(view->block), "ro", true),
		.opened = true,
		.size = qapi_get_int(image, "virtual-size", 0),
		.allocated = qapi_has(image, "actual-size") ?
			     (u64)qapi_get_int(image, "actual-size", 0) : TREE_UNKNOWN,
		.cluster_size = qapi_get_int(image, "cluster-size", 0),
		.bitmaps = look->chain ? &look->bitmaps : NULL,
	};
}

static void print(const struct export_view *view)
{
	const char *io_status = qapi_get_str(view->block, "io-status", "ok");
	struct json_object *image = top_image(view->block);

	printf("%s  %s%s%s  %s", view->id,
	       qapi_get_bool(inserted(view->block), "ro", true) ? "ro" : "rw",
	       strcmp(io_status, "ok") ? " " : "", strcmp(io_status, "ok") ? io_status : "",
	       qc_human(qapi_get_int(image, "virtual-size", 0)));
	if (view->device)
		printf(", device %s", view->device);
	putchar('\n');
	for (size_t depth = 0; image; image = below(image)) {
		CLEANUP_TREE_IMAGE struct tree_image look;
		struct tree_layer layer = layer_of(view, image, depth, &look);

		tree_print_layer(&layer, depth++);
	}
	tree_print_jobs(&view->daemon->jobs, view->id);
}

static struct json_object *json(const struct export_view *view)
{
	struct json_object *image = top_image(view->block);
	struct json_object *layers = json_object_new_array();
	struct json_object *o = json_object_new_object();

	qapi_add_str(o, "name", view->id);
	qapi_add_str(o, "device", view->device);
	qapi_add_str(o, "io-status", qapi_get_str(view->block, "io-status", NULL));
	qapi_add_int(o, "size", qapi_get_int(image, "virtual-size", 0));
	for (size_t depth = 0; image; image = below(image)) {
		CLEANUP_TREE_IMAGE struct tree_image look;
		struct tree_layer layer = layer_of(view, image, depth++, &look);

		json_object_array_add(layers, tree_json_layer(&layer));
	}
	json_object_object_add(o, "layers", layers);
	json_object_object_add(o, "jobs", tree_json_jobs(&view->daemon->jobs, view->id));
	return o;
}

/* Whoever may ask the daemon need not be root, who alone may ask the kernel. */
static void read_table(struct export_view *view)
{
	CLEANUP_FREE char *params = NULL;
	u64 sectors;

	if (view->device && !qc_dm_table(view->device, &sectors, &params, NULL))
		qc_table_parse(params, view->device, &view->table, NULL);
}

bool tree_export(const struct tree_daemon *d, const char *id, struct json_object *array)
{
	struct json_object *export = d ? client_find(d->exports, "id", id) : NULL;
	struct export_view view = {
		.daemon = d,
		.block = export ? client_find(d->blocks, "device", id) : NULL,
		.id = id,
		.device = export ? qapi_get_str(export, "name", NULL) : NULL,
	};

	if (!view.block)
		return false;
	read_table(&view);
	if (array)
		json_object_array_add(array, json(&view));
	else
		print(&view);
	qc_table_free(&view.table);
	return true;
}

void tree_exports(const struct tree_daemon *d, struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(d->blocks); i++) {
		struct json_object *block = json_object_array_get_idx(d->blocks, i);

		tree_export(d, qapi_get_str(block, "device", ""), array);
	}
}
