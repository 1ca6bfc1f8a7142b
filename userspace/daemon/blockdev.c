// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands that make, remove and change nodes. */
#include "blockdev.h"
#include "dm.h"
#include "export.h"
#include "job.h"
#include "log.h"
#include "node-open.h"
#include "schema-block.h"
#include "standing.h"
#include "state.h"
#include "window.h"

static int run_add(struct qmp_session *session, struct json_object *arguments,
		   struct json_object **result, struct qmp_error *error)
{
	const char *name = qapi_get_str(arguments, "node-name", NULL);
	struct node *node;

	(void)session;
	(void)result;
	if (!name)
		return qmp_fail(error, "'node-name' must be specified for the root node");
	node = node_open(arguments, error);
	if (!node)
		return -1;
	node->owned = true;
	if (!state_save(error))
		return 0;
	node->owned = false;
	node_release(node);
	return -1;
}

static bool is_exported(const struct node *node)
{
	const struct node_edge *user;

	TAILQ_FOREACH(user, &node->users, link)
		if (!user->parent)
			return true;
	return false;
}

static int run_del(struct qmp_session *session, struct json_object *arguments,
		   struct json_object **result, struct qmp_error *error)
{
	const char *name = qapi_get_str(arguments, "node-name", "");
	struct node *node = node_find(name);

	(void)session;
	(void)result;
	if (!node)
		return qmp_fail(error, "Failed to find node with node-name='%s'", name);
	if (is_exported(node))
		return qmp_fail(error, "Node %s is in use", name);
	if (node_check_busy(node, error))
		return -1;
	if (!node->owned)
		return qmp_fail(error, "Node %s is not owned by the monitor", name);
	if (!TAILQ_EMPTY(&node->users))
		return qmp_fail(error, "Block device %s is in use", name);
	node->owned = false;
	node_release(node);
	/* It is gone whether or not that can be written. */
	state_save_or_log();
	return 0;
}

/* The device that may write to the image of @node, or NULL. */
static const char *writing_device(const struct node *node)
{
	const struct node_edge *user;
	struct export *export;

	TAILQ_FOREACH(user, &node->users, link)
		TAILQ_FOREACH(export, &export_list, link)
			if (&export->root == user && export->writable)
				return export->name;
	return NULL;
}

static int change(struct node *node, const char *device, const char *backing, const char *format,
		  struct qmp_error *error)
{
	const struct node *protocol = node_protocol(node);
	CLEANUP_STORE struct qc_store *store = NULL;
	CLEANUP_FD int serial = -1;
	struct qc_error err;

	/* Through a description of its own: the other is for reading, where nobody writes. */
	if (node_open_again(protocol, &store, error))
		return -1;
	if ((device && qc_dm_serialise(&serial, &err) < 0) ||
	    window_set_backing(device, store, backing, format, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	return 0;
}

static int run_change_backing(struct qmp_session *session, struct json_object *arguments,
			      struct json_object **result, struct qmp_error *error)
{
	const char *device = qapi_get_str(arguments, "device", "");
	const char *name = qapi_get_str(arguments, "image-node-name", "");
	const char *backing = qapi_get_str(arguments, "backing-file", "");
	struct node *top = node_lookup_device(device, device, error);
	const char *format, *writer;
	struct node *node;

	(void)session;
	(void)result;
	if (!top || job_check_node(top, error))
		return -1;
	node = node_lookup(NULL, name, error);
	if (!node)
		return -1;
	if (!node->header || (!node->backing.node && !node->header->backing))
		return qmp_fail(error,
				"not allowing backing file change on an image without a backing file");
	if (!node_in_chain(top, node))
		return qmp_fail(error, "'%s' and image file are not in the same chain", device);
	/* A device that does not show @top may write to it. */
	if (job_check_node(node, error))
		return -1;
	if (export_stopped && writing_device(node))
		return qmp_fail(error, "'%s' is stopped; use cont first", device);
	if (!node_protocol(node)->store)
		return qmp_fail(error, "Could not open '%s'", node_filename(node));
	if (!*backing || strlen(backing) > QC_MAX_BACKING_NAME)
		return qmp_fail(error, "A backing file name has 1 to %d bytes",
				QC_MAX_BACKING_NAME);
	/* The format is that of what is there, whatever name it will have. */
	if (node->backing.node)
		format = qc_format_name(node_format(node->backing.node));
	else
		format = node->header->backing_format;
	if (!format)
		return qmp_fail(error, "'%s' does not say which format its backing file has",
				node_filename(node));
	if (standing_check(node, error))
		return -1;
	writer = writing_device(node);
	if (change(node, writer, backing, format, error))
		return -1;
	return node_read_header(node, error);
}

const struct qapi_command blockdev_commands[] = {
	{ "blockdev-add", .arguments = &schema_blockdev_options, .run = run_add },
	{ "blockdev-del", .arguments = &schema_blockdev_del, .run = run_del },
	{ "change-backing-file", .arguments = &schema_change_backing_file,
	  .run = run_change_backing },
	{ 0 }
};
