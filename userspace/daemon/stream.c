// SPDX-License-Identifier: GPL-2.0-or-later
/* Stream: a node gets what those between it and its base have. */
#include <stdio.h>

#include "dm.h"
#include "job-graph.h"
#include "job.h"
#include "node-open.h"
#include "schema-job.h"
#include "stream.h"

static int both(const char *a, const char *b, struct qmp_error *error)
{
	return qmp_fail(error, "'%s' and '%s' cannot be specified at the same time", a, b);
}

/* What is to stay below @top: at most one of three arguments says it.  *@base NULL: nothing. */
static int find_base(struct node *top, struct json_object *arguments, struct node **base,
		     struct qmp_error *error)
{
	const char *device = qapi_get_str(arguments, "device", "");
	const char *file = qapi_get_str(arguments, "base", NULL);
	const char *name = qapi_get_str(arguments, "base-node", NULL);
	const char *bottom = qapi_get_str(arguments, "bottom", NULL);
	struct node *node;

	*base = NULL;
	if (file && name)
		return both("base", "base-node", error);
	if (file && bottom)
		return both("base", "bottom", error);
	if (bottom && name)
		return both("bottom", "base-node", error);
	if (file) {
		*base = job_graph_find(top, file);
		return *base ? 0 : qmp_fail(error, "Can't find '%s' in the backing chain", file);
	}
	if (name) {
		*base = node_lookup(NULL, name, error);
		if (!*base)
			return -1;
		return *base != top && node_in_chain(top, *base) ? 0 :
		       qmp_fail(error, "Node '%s' is not a backing image of '%s'", name, device);
	}
	if (bottom) {
		node = node_lookup(NULL, bottom, error);
		if (!node)
			return -1;
		if (!node_in_chain(top, node))
			return qmp_fail(error, "Node '%s' is not in a chain starting from '%s'",
					bottom, device);
		*base = node->backing.node;
	}
	return 0;
}

/* The device that @top is a layer of, if it can be filled. */
static struct export *find_export(struct node *top, struct qmp_error *error)
{
	struct export *export = job_graph_export(top, error);

	if (!export)
		return NULL;
	if (!export->writable || (top == export->root.node && top->read_only)) {
		qmp_fail(error, "Block node is read-only");
		return NULL;
	}
	if (top->driver != NODE_QCOW2) {
		qmp_fail(error, "Node '%s' cannot have a backing file", top->name);
		return NULL;
	}
	/* The kernel's layers are still those from before, among which this is another one. */
	if (export->loaded) {
		qmp_fail(error, "'%s' is stopped; use cont first", export->id);
		return NULL;
	}
	return export;
}

int stream_one_cluster(struct export *export, u64 *offset, struct qmp_error *error)
{
	struct node *top = export->root.node;
	CLEANUP_FREE char *answer = NULL;
	struct qc_error err;
	char message[64];

	if (job_check_nodes(top, NULL, error) || !find_export(top, error))
		return -1;
	snprintf(message, sizeof(message), "stream_cluster 0 - %llu", top->streamed);
	if (qc_dm_ask(export->name, message, &answer, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	top->streamed = strtoull(answer, NULL, 10);
	*offset = top->streamed;
	return 0;
}

static int run_stream(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	const char *device = qapi_get_str(arguments, "device", "");
	struct node *top = node_lookup_device(device, device, error), *base;
	struct qmp_error cause = { 0 };
	struct export *export;
	struct job *job;

	(void)session;
	(void)result;
	if (!top || find_base(top, arguments, &base, error) || job_check_nodes(top, base, error) ||
	    (base && job_check_stays(base, error)))
		return -1;
	if (!base && qapi_has(arguments, "backing-file"))
		return qmp_fail(error, "backing file specified, but streaming the entire chain");
	if (job_check_filter(arguments, &cause))
		return qmp_fail(error, "Could not create node: %s", cause.text);
	export = find_export(top, error);
	if (!export)
		return -1;
	job = job_new(JOB_STREAM, export, device, arguments, error);
	if (!job)
		return -1;
	job->above = top;
	job->below = base;
	job->written = top == export->root.node ? NULL : top;
	return job_start(job, error);
}

const struct qapi_command stream_commands[] = {
	{ "block-stream", .arguments = &schema_block_stream, .run = run_stream },
	{ 0 }
};
