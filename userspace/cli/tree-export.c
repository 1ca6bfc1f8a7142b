// SPDX-License-Identifier: GPL-2.0-or-later
/* The chain of an export, as the daemon has it. */
#include "human.h"
#include "job-show.h"
#include "qapi.h"
#include "tree.h"

struct export_view {
	struct json_object *block;	/* of query-block: its own */
	struct json_object *nodes;	/* of query-named-block-nodes */
	struct jobs jobs;
};

/* A name only where no other node is of the same image: the daemon does not say which it is. */
static const char *node_of(const struct export_view *view, struct json_object *image)
{
	const char *filename = qapi_get_str(image, "filename", "");
	const char *format = qapi_get_str(image, "format", "");
	const char *name = NULL;

	for (size_t i = 0; i < json_object_array_length(view->nodes); i++) {
		struct json_object *node = json_object_array_get_idx(view->nodes, i);

		if (strcmp(qapi_get_str(node, "file", ""), filename) ||
		    strcmp(qapi_get_str(node, "drv", ""), format))
			continue;
		if (name)
			return NULL;
		name = qapi_get_str(node, "node-name", NULL);
	}
	return name;
}

static struct json_object *inserted(const struct export_view *view)
{
	return json_object_object_get(view->block, "inserted");
}

/* The layer of @image, which is the top one when @top. */
static struct tree_layer layer_of(const struct export_view *view, struct json_object *image,
				  bool top)
{
	return (struct tree_layer){
		.filename = qapi_get_str(image, "filename", ""),
		.format = qapi_get_str(image, "format", ""),
		.node = top ? qapi_get_str(inserted(view), "node-name", NULL) :
			      node_of(view, image),
		.writable = top && !qapi_get_bool(inserted(view), "ro", true),
		.opened = true,
		.size = qapi_get_int(image, "virtual-size", 0),
		.allocated = qapi_has(image, "actual-size") ?
			     (u64)qapi_get_int(image, "actual-size", 0) : TREE_UNKNOWN,
		.cluster_size = qapi_get_int(image, "cluster-size", 0),
	};
}

static bool is_its_job(const struct export_view *view, const struct listed_job *job)
{
	return job->end == JOB_GOES_ON && !job->gone &&
	       !strcmp(qapi_get_str(job->info, "export", ""),
		       qapi_get_str(view->block, "device", ""));
}

static void print(const struct export_view *view, struct json_object *image)
{
	const char *io_status = qapi_get_str(view->block, "io-status", "ok");
	const struct listed_job *job;
	size_t depth = 0;
	char line[JOB_LINE_MAX];

	printf("%s  %s%s%s  %s\n", qapi_get_str(view->block, "device", ""),
	       qapi_get_bool(inserted(view), "ro", true) ? "ro" : "rw",
	       strcmp(io_status, "ok") ? " " : "", strcmp(io_status, "ok") ? io_status : "",
	       qc_human(qapi_get_int(image, "virtual-size", 0)));
	for (; image; image = json_object_object_get(image, "backing-image")) {
		struct tree_layer layer = layer_of(view, image, !depth);

		tree_print_layer(&layer, depth++);
	}
	TAILQ_FOREACH(job, &view->jobs, link) {
		if (!is_its_job(view, job))
			continue;
		job_line(job, 0, line, sizeof(line));
		printf("job %s\n", line);
	}
}

static struct json_object *json(const struct export_view *view, struct json_object *image)
{
	struct json_object *layers = json_object_new_array(), *jobs = json_object_new_array();
	struct json_object *o = json_object_new_object();
	const struct listed_job *job;
	bool top = true;

	qapi_add_str(o, "name", qapi_get_str(view->block, "device", ""));
	qapi_add_str(o, "io-status", qapi_get_str(view->block, "io-status", NULL));
	qapi_add_int(o, "size", qapi_get_int(image, "virtual-size", 0));
	for (; image; image = json_object_object_get(image, "backing-image")) {
		struct tree_layer layer = layer_of(view, image, top);

		json_object_array_add(layers, tree_json_layer(&layer));
		top = false;
	}
	json_object_object_add(o, "layers", layers);
	TAILQ_FOREACH(job, &view->jobs, link)
		if (is_its_job(view, job))
			json_object_array_add(jobs, job_json(job));
	json_object_object_add(o, "jobs", jobs);
	return o;
}

/* The one that is of @name; NULL when there is none. */
static struct json_object *find(struct json_object *blocks, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(blocks); i++) {
		struct json_object *block = json_object_array_get_idx(blocks, i);

		if (!strcmp(qapi_get_str(block, "device", ""), name))
			return block;
	}
	return NULL;
}

static int draw(struct client *client, const char *name, struct json_object *array,
		struct qc_error *err)
{
	CLEANUP_JSON struct json_object *blocks = NULL, *nodes = NULL;
	struct export_view view = { .jobs = TAILQ_HEAD_INITIALIZER(view.jobs) };
	struct json_object *flat, *image;
	int ret;

	ret = client_execute(client, "query-block", NULL, NULL, &blocks, err);
	if (ret < 0)
		return ret;
	view.block = find(blocks, name);
	if (!view.block)
		return 0;
	flat = json_object_new_object();
	qapi_add_bool(flat, "flat", true);
	ret = client_execute(client, "query-named-block-nodes", flat, NULL, &nodes, err);
	view.nodes = nodes;
	if (!ret)
		ret = jobs_query(&view.jobs, client, err);
	if (!ret) {
		image = json_object_object_get(inserted(&view), "image");
		if (array)
			json_object_array_add(array, json(&view, image));
		else
			print(&view, image);
		ret = 1;
	}
	jobs_free(&view.jobs);
	return ret;
}

int tree_export(const char *name, const char *socket, struct json_object *array,
		struct qc_error *err)
{
	CLEANUP_CLIENT struct client *client = NULL;
	int ret = client_connect(client_path(socket), &client, err);

	if (ret < 0)
		return socket ? ret : 0;
	return draw(client, name, array, err);
}
