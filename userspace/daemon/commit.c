// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commit: a node gets what those above it have, up to a top.  Where that is the node that the
 * device writes to, the job stays, with both equal, until it is completed or cancelled.
 */
#include "commit.h"
#include "job-graph.h"
#include "job.h"
#include "node-open.h"
#include "schema-job.h"

/* The node of @device, which must not be below another one. */
static struct node *find_root(const char *device, struct qmp_error *error)
{
	const struct export *export = export_find(device);
	struct node *node = export ? export->root.node : node_find(device);
	const struct node_edge *user;

	if (!node) {
		qmp_fail_class(error, QMP_DEVICE_NOT_FOUND, "Device '%s' not found", device);
		return NULL;
	}
	TAILQ_FOREACH(user, &node->users, link) {
		if (user->parent) {
			qmp_fail(error, "Need a root block node");
			return NULL;
		}
	}
	return node;
}

/* In the chain from @top on. */
static struct node *find_node(struct node *top, const char *name, struct qmp_error *error)
{
	struct node *node = node_lookup(NULL, name, error);

	if (node && !node_in_chain(top, node)) {
		qmp_fail(error, "'%s' is not in this backing file chain", name);
		return NULL;
	}
	return node;
}

static struct node *find_top(struct node *root, struct json_object *arguments,
			     struct qmp_error *error)
{
	const char *name = qapi_get_str(arguments, "top-node", NULL);
	const char *file = qapi_get_str(arguments, "top", NULL);
	struct node *node = root;

	if (name && file) {
		qmp_fail(error, "'top-node' and 'top' are mutually exclusive");
		return NULL;
	}
	if (name)
		return find_node(root, name, error);
	if (file && strcmp(node_filename(root), file))
		node = job_graph_find(root, file);
	if (!node)
		qmp_fail(error, "Top image file %s not found", file);
	return node;
}

static struct node *find_base(struct node *top, struct json_object *arguments,
			      struct qmp_error *error)
{
	const char *name = qapi_get_str(arguments, "base-node", NULL);
	const char *file = qapi_get_str(arguments, "base", NULL);
	struct node *node = top;

	if (name && file) {
		qmp_fail(error, "'base-node' and 'base' are mutually exclusive");
		return NULL;
	}
	if (name)
		return find_node(top, name, error);
	if (!file) {
		while (node->backing.node)
			node = node->backing.node;
		return node;
	}
	node = job_graph_find(top, file);
	if (!node)
		qmp_fail(error, "Can't find '%s' in the backing chain", file);
	return node;
}

int commit_start(struct json_object *arguments, bool ends_here, struct qmp_error *error)
{
	const char *device = qapi_get_str(arguments, "device", "");
	struct node *root = find_root(device, error), *top, *base;
	struct export *export;
	struct job *job;

	if (!root || job_check_node(root, error))
		return -1;
	top = find_top(root, arguments, error);
	base = top ? find_base(top, arguments, error) : NULL;
	if (!base || job_check_nodes(top, base->backing.node, error))
		return -1;
	if (top == base)
		return qmp_fail(error, "cannot commit an image into itself");
	for (const struct node *n = top; n != base; n = n->backing.node)
		if (job_check_goes(n, error))
			return -1;
	if (top == root && qapi_has(arguments, "backing-file"))
		return qmp_fail(error,
				"'backing-file' specified, but 'top' is the active layer");
	if (job_check_filter(arguments, error))
		return -1;
	export = job_graph_export(top, error) ? job_graph_export(base, error) : NULL;
	if (!export)
		return -1;
	if (!export->writable)
		return qmp_fail(error, "Block node is read-only");
	/* Where @root is aside of that. */
	if (job_check_node(export->root.node, error))
		return -1;
	job = job_new(JOB_COMMIT, export, device, arguments, error);
	if (!job)
		return -1;
	job->above = job_graph_above(export, top);
	job->below = base;
	job->written = base;
	job->ends_here = ends_here;
	return job_start(job, error);
}

static int run_commit(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return commit_start(arguments, false, error);
}

const struct qapi_command commit_commands[] = {
	{ "block-commit", .arguments = &schema_block_commit, .run = run_commit },
	{ 0 }
};
