// SPDX-License-Identifier: GPL-2.0-or-later
/* Exports: making devices of nodes, and removing them; stop and cont. */
#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "attach.h"
#include "device-state.h"
#include "export.h"
#include "job.h"
#include "log.h"
#include "node-open.h"
#include "schema-block.h"
#include "standing.h"
#include "state.h"
#include "table.h"
#include "window.h"

struct export_list export_list = TAILQ_HEAD_INITIALIZER(export_list);
bool export_stopped;

struct export *export_find(const char *id)
{
	struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (!strcmp(export->id, id))
			return export;
	return NULL;
}

int export_of_node(const struct node *node, struct export **found, struct qmp_error *error)
{
	struct export *export;

	*found = NULL;
	TAILQ_FOREACH(export, &export_list, link) {
		if (export->root.node != node)
			continue;
		if (*found)
			return qmp_fail(error,
					"Node '%s' is used by export '%s' and by export '%s'",
					node->name, (*found)->id, export->id);
		*found = export;
	}
	return 0;
}

int export_choose(bool (*concerned)(const struct export *export, const void *ctx), const void *ctx,
		  struct export ***exports, size_t *count, struct qmp_error *error)
{
	struct export *export;
	size_t all = 0;

	TAILQ_FOREACH(export, &export_list, link)
		all++;
	*count = 0;
	*exports = calloc(all + 1, sizeof(**exports));
	if (!*exports)
		return qmp_fail(error, "Out of memory");
	TAILQ_FOREACH(export, &export_list, link)
		if (concerned(export, ctx))
			(*exports)[(*count)++] = export;
	return 0;
}

struct export *export_new(const char *id, const char *name, bool writable)
{
	struct export *export = calloc(1, sizeof(*export));

	if (!export)
		return NULL;
	export->id = strdup(id);
	export->name = strdup(name);
	if (!export->id || !export->name) {
		free(export->id);
		free(export->name);
		free(export);
		return NULL;
	}
	export->writable = writable;
	export->root.role = "root";
	export->root.claims = true;
	export->root.writes = writable;
	TAILQ_INSERT_TAIL(&export_list, export, link);
	return export;
}

void export_free(struct export *export)
{
	TAILQ_REMOVE(&export_list, export, link);
	if (export->root.node)
		node_detach(&export->root);
	json_object_put(export->cgroups);
	free(export->group);
	free(export->id);
	free(export->name);
	free(export);
}

static unsigned int table_flags(const struct export *export)
{
	return export->root.node->discard ? 0 : QC_TABLE_NO_DISCARD_PASSDOWN;
}

int export_params(const struct export *export, struct qc_chain *chain, char **params,
		  struct qmp_error *error)
{
	struct qc_error err;

	if (node_chain(export->root.node, chain, error))
		return -1;
	return qc_table_build(chain, table_flags(export) | QC_TABLE_BY_FD |
			      (export->writable ? 0 : QC_TABLE_READ_ONLY), params, &err) < 0 ?
	       qmp_fail(error, "%s", err.text) : 0;
}

int export_load(struct export *export, struct qmp_error *error)
{
	CLEANUP_NODE_CHAIN struct qc_chain chain = { 0 };
	CLEANUP_FREE char *params = NULL;
	struct qc_error err;

	if (export_params(export, &chain, &params, error))
		return -1;
	if (qc_dm_load(export->name, qc_table_sectors(&chain), params, !export->writable,
		       &err) < 0)
		return qmp_fail(error, "%s", err.text);
	return 0;
}

void export_load_again(void)
{
	struct qmp_error error;
	struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (export->loaded && export_load(export, &error))
			log_line(LOG_WARNING, "export %s: %s; cont will try it again", export->id,
				 error.text);
}

static void clear_all(struct export *const *exports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		qc_dm_clear(exports[i]->name, NULL);
}

int export_load_all(struct export *const *exports, size_t count, struct qmp_error *error)
{
	for (size_t i = 0; i < count; i++) {
		if (!export_load(exports[i], error))
			continue;
		clear_all(exports, i);
		return -1;
	}
	return 0;
}

int export_save_waiting(struct export *const *exports, size_t count,
			int (*save)(void *ctx, struct qmp_error *error), void *ctx,
			struct qmp_error *error)
{
	CLEANUP_FREE bool *loaded = calloc(count + 1, sizeof(*loaded));
	int ret;

	if (count && !export_stopped)
		return 0;
	for (size_t i = 0; i < count && loaded; i++) {
		loaded[i] = exports[i]->loaded;
		exports[i]->loaded = true;
	}
	ret = loaded ? save(ctx, error) : qmp_fail(error, "Out of memory");
	for (size_t i = 0; i < count && loaded && ret; i++)
		exports[i]->loaded = loaded[i];
	if (ret)
		clear_all(exports, count);
	return ret;
}

size_t export_switch_all(struct export *const *exports, size_t count, struct qmp_error *error)
{
	CLEANUP_FREE const char **names = calloc(count + 1, sizeof(*names));
	struct qc_error err = { 0 };
	size_t switched;

	if (export_stopped) {
		/* Nothing can be written meanwhile: it is the same when it is done with cont. */
		for (size_t i = 0; i < count; i++)
			exports[i]->loaded = true;
		return count;
	}
	if (!count)
		return 0;
	if (!names) {
		qmp_fail(error, "Out of memory");
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		names[i] = exports[i]->name;
	switched = window_switch(names, count, &err);
	for (size_t i = 0; i < switched; i++)
		exports[i]->loaded = false;
	if (switched < count)
		qmp_fail(error, "%s", err.text);
	return switched;
}

static bool in_chain(const struct export *export, const struct node *protocol)
{
	for (struct node *n = export->root.node; n; n = n->backing.node)
		if (node_protocol(n) == protocol)
			return true;
	return false;
}

void export_take_back(void)
{
	struct qmp_error error;
	struct export *export;
	struct node *node;

	TAILQ_FOREACH(node, &node_list, link) {
		if (!node_is_protocol(node) || !node->in_kernel)
			continue;
		TAILQ_FOREACH(export, &export_list, link)
			if (in_chain(export, node))
				break;
		if (export)
			continue;
		node->in_kernel = false;
		node->lock = QC_LOCK_NONE;
		if (node_settle(node, &error))
			log_line(LOG_WARNING, "%s: %s", node->filename, error.text);
	}
}

static int attach(struct export *export, struct qmp_error *error)
{
	CLEANUP_NODE_CHAIN struct qc_chain chain = { 0 };
	const struct qc_attach_options options = {
		.name = export->name,
		.read_only = !export->writable,
		.table_flags = table_flags(export),
	};
	struct qc_error err;

	if (node_chain(export->root.node, &chain, error))
		return -1;
	if (qc_attach_chain(&chain, &options, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (export_stopped && qc_dm_suspend(export->name, &err) < 0) {
		qc_detach(export->name, NULL);
		return qmp_fail(error, "%s", err.text);
	}
	return 0;
}

static int run_add(struct qmp_session *session, struct json_object *arguments,
		   struct json_object **result, struct qmp_error *error)
{
	const char *id = qapi_get_str(arguments, "id", "");
	const char *name = qapi_get_str(arguments, "name", "");
	bool writable = qapi_get_bool(arguments, "writable", false);
	struct qmp_error ignored;
	struct export *export;
	struct qc_error err;
	struct node *node;

	(void)session;
	(void)result;
	if (qapi_get_bool(arguments, "writethrough", false))
		return qmp_fail(error, "writethrough=on is not supported");
	if (!node_wellformed(id))
		return qmp_fail(error, "Invalid block export id");
	if (export_find(id))
		return qmp_fail(error, "Block export id '%s' is already in use", id);
	if (node_name_taken(id))
		return qmp_fail(error, "Device name '%s' conflicts with an existing node name", id);
	node = node_lookup(NULL, qapi_get_str(arguments, "node-name", ""), error);
	if (!node)
		return -1;
	if (writable && node->read_only)
		return qmp_fail(error, "Cannot export read-only node as writable");
	if (qc_dm_check_name(name, &err) < 0)
		return qmp_fail(error, "%s", err.text);

	export = export_new(id, name, writable);
	if (!export)
		return qmp_fail(error, "Out of memory");
	if (node_attach(&export->root, node, error)) {
		export_free(export);
		return -1;
	}
	/* Written first: a device that is there must be known. */
	if (!standing_check_chain(export, error) && !device_state_watch(error) &&
	    !state_save(error) && !attach(export, error))
		return 0;
	export_free(export);
	state_save(&ignored);
	return -1;
}

static void deleted(const char *id)
{
	struct json_object *data = json_object_new_object();

	json_object_object_add(data, "id", json_object_new_string(id));
	qmp_emit("BLOCK_EXPORT_DELETED", data);
}

static int go_on(struct export *export, struct qmp_error *error);

/*
 * A device that waits for cont goes on before it is removed: with the table that it is to have, by
 * which the next daemon knows it.  That of before is for what cannot.
 */
static int detach_waiting(struct export *export, struct qc_error *err)
{
	struct qmp_error ignored;
	int ret = qc_detach_check(export->name, NULL, 0, err);
	bool running;

	if (ret < 0)
		return ret;
	running = !go_on(export, &ignored);
	ret = qc_detach(export->name, err);
	if (ret < 0 && running && export_stopped)
		qc_dm_suspend(export->name, NULL);
	return ret;
}

/* The device is removed, or was so by somebody else. */
static int detach(struct export *export, struct qmp_error *error)
{
	CLEANUP_FREE char *id = strdup(export->id);
	struct qc_error err = { 0 };
	int ret = export->loaded ? detach_waiting(export, &err) : qc_detach(export->name, &err);

	if (ret == -EBUSY)
		return qmp_fail(error, "export '%s' still in use: %s", export->id, err.text);
	if (ret < 0 && ret != -EIO && ret != -ENODEV)
		return qmp_fail(error, "%s", err.text);
	export_free(export);
	export_take_back();
	state_save_or_log();
	if (id)
		deleted(id);
	return ret == -EIO ? qmp_fail(error, "%s", err.text) : 0;
}

static int run_del(struct qmp_session *session, struct json_object *arguments,
		   struct json_object **result, struct qmp_error *error)
{
	const char *id = qapi_get_str(arguments, "id", "");
	struct export *export = export_find(id);

	(void)session;
	(void)result;
	if (!export)
		return qmp_fail(error, "Export '%s' is not found", id);
	/* What it has to write would wait for that. */
	if (job_check_export(export, error) || standing_check_chain(export, error))
		return -1;
	return detach(export, error);
}

static int run_query(struct qmp_session *session, struct json_object *arguments,
		     struct json_object **result, struct qmp_error *error)
{
	struct export *export;

	(void)session;
	(void)arguments;
	(void)error;
	*result = json_object_new_array();
	TAILQ_FOREACH_REVERSE(export, &export_list, export_list, link) {
		struct json_object *info = json_object_new_object();

		json_object_object_add(info, "id", json_object_new_string(export->id));
		json_object_object_add(info, "type", json_object_new_string("dm"));
		json_object_object_add(info, "node-name",
				       json_object_new_string(export->root.node->name));
		json_object_object_add(info, "shutting-down", json_object_new_boolean(false));
		qapi_add_str(info, "name", export->name);
		json_object_array_add(*result, info);
	}
	return 0;
}

/* --- stop, cont ------------------------------------------------------------------------------- */

/* A device that somebody removed is no obstacle. */
static int suspend(const char *name, struct qc_error *err)
{
	int ret = qc_dm_suspend(name, err);

	return ret == -ENODEV ? 0 : ret;
}

static int run_stop(struct qmp_session *session, struct json_object *arguments,
		    struct json_object **result, struct qmp_error *error)
{
	CLEANUP_FD int serial = -1;
	struct qmp_error ignored;
	struct export *export;
	struct qc_error err;

	(void)session;
	(void)arguments;
	(void)result;
	if (export_stopped)
		return 0;
	if (qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	/* Nothing may be written to any file system between the first device and the answer. */
	export_stopped = true;
	if (state_save(error)) {
		export_stopped = false;
		return -1;
	}
	/* The newest first: it may lie on an older one, which it needs to write back. */
	TAILQ_FOREACH_REVERSE(export, &export_list, export_list, link)
		if (suspend(export->name, &err) < 0)
			break;
	if (!export) {
		qmp_emit("STOP", NULL);
		return 0;
	}
	while ((export = TAILQ_NEXT(export, link)))
		qc_dm_resume(export->name, NULL);
	export_stopped = false;
	state_save(&ignored);
	return qmp_fail(error, "%s", err.text);
}

/*
 * Let the device of @export run with the table that it is to have.  When that fails it stays, or is
 * again, suspended, and the table is to be loaded: with the old one it would write to what is a
 * backing file by now.
 */
static int go_on(struct export *export, struct qmp_error *error)
{
	struct qc_dm_device device;
	struct qc_error err;
	int ret = qc_dm_query(export->name, &device, &err);

	/* What it lies on goes on already. */
	standing_read_headers();
	if (!ret && device.exists && export->loaded && !device.loaded && export_load(export, error))
		return -1;
	if (!ret)
		ret = export->loaded ? qc_dm_resume_new(export->name, &err) :
		      qc_dm_resume(export->name, &err);
	/* Layers can have been released by an earlier daemon: then it needs a table anew. */
	if (ret == -ESTALE && !export->loaded && !export_load(export, error))
		ret = qc_dm_resume_new(export->name, &err);
	if (ret && ret != -ENODEV)
		return qmp_fail(error, "%s", err.text);
	export->loaded = false;
	return 0;
}

/* All or none: after cont, or the end, has failed in the middle. */
static void stop_again(void)
{
	struct export *export;
	struct qc_error err;

	TAILQ_FOREACH_REVERSE(export, &export_list, export_list, link)
		if (suspend(export->name, &err) < 0)
			log_line(LOG_ERR, "%s", err.text);
	state_save_or_log();
}

static int run_cont(struct qmp_session *session, struct json_object *arguments,
		    struct json_object **result, struct qmp_error *error)
{
	CLEANUP_FD int serial = -1;
	struct qmp_error ignored;
	struct export *export;
	struct qc_error err;
	bool failed = false;

	(void)session;
	(void)arguments;
	(void)result;
	if (!export_stopped)
		return 0;
	if (qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	TAILQ_FOREACH(export, &export_list, link)
		if (go_on(export, failed ? &ignored : error))
			failed = true;
	if (failed) {
		stop_again();
		return -1;
	}
	export_stopped = false;
	state_save_or_log();
	qmp_emit("RESUME", NULL);
	/* What has ended meanwhile has waited for this. */
	job_poll_soon();
	return 0;
}

static int run_query_status(struct qmp_session *session, struct json_object *arguments,
			    struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)arguments;
	(void)error;
	*result = json_object_new_object();
	json_object_object_add(*result, "running", json_object_new_boolean(!export_stopped));
	json_object_object_add(*result, "singlestep", json_object_new_boolean(false));
	json_object_object_add(*result, "status",
			       json_object_new_string(export_stopped ? "paused" : "running"));
	return 0;
}

static bool chain_lies_on(struct node *node, const struct export *export)
{
	while (node && !standing_lies_on(node, export))
		node = node->backing.node;
	return node;
}

/* Nodes that nobody uses have the device open that they lie on. */
static void close_nodes_on(const struct export *export)
{
	struct node *node = TAILQ_FIRST(&node_list);

	while (node) {
		if (TAILQ_EMPTY(&node->users) && chain_lies_on(node, export)) {
			node->owned = false;
			node_release(node);
			/* Others may have gone with it, or are not used any more. */
			node = TAILQ_FIRST(&node_list);
		} else {
			node = TAILQ_NEXT(node, link);
		}
	}
}

static size_t count_exports(void)
{
	struct export *export;
	size_t count = 0;

	TAILQ_FOREACH(export, &export_list, link)
		count++;
	return count;
}

int export_may_quit(struct qmp_error *error)
{
	CLEANUP_FREE dev_t *going = calloc(count_exports() + 1, sizeof(*going));
	struct qc_dm_device device;
	struct export *export;
	struct qc_error err;
	size_t count = 0;

	if (!going)
		return qmp_fail(error, "Out of memory");
	/* The newest is removed first: it may lie on an older one. */
	TAILQ_FOREACH_REVERSE(export, &export_list, export_list, link) {
		if (qc_detach_check(export->name, going, count, &err) < 0)
			return qmp_fail(error, "export '%s' still in use: %s", export->id,
					err.text);
		if (!qc_dm_query(export->name, &device, NULL) && device.exists && device.ours)
			going[count++] = makedev(device.major, device.minor);
	}
	return 0;
}

int export_quit(bool keep, struct qmp_error *error)
{
	struct export *export, *before, *below;

	if (keep)
		return 0;
	for (export = TAILQ_LAST(&export_list, export_list); export; export = before) {
		before = TAILQ_PREV(export, export_list, link);
		/* Only what it lies on: that is removed next. */
		while ((below = standing_below_chain(export)) && below != export &&
		       !go_on(below, error))
			;
		close_nodes_on(export);
		if (standing_check_chain(export, error) || detach(export, error)) {
			if (export_stopped)
				stop_again();
			return -1;
		}
	}
	return 0;
}

const struct qapi_command export_commands[] = {
	{ "block-export-add", .arguments = &schema_export_options, .run = run_add },
	{ "block-export-del", .arguments = &schema_export_del, .run = run_del },
	{ "query-block-exports", .result = &schema_export_infos, .run = run_query },
	{ "stop", .run = run_stop },
	{ "cont", .run = run_cont },
	{ "query-status", .result = &schema_status_info, .run = run_query_status },
	{ 0 }
};

const struct qapi_event export_events[] = {
	{ "BLOCK_EXPORT_DELETED", .data = &schema_export_deleted },
	{ "STOP", .data = NULL },
	{ "RESUME", .data = NULL },
	{ 0 }
};
