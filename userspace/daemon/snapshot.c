// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Snapshots of devices in use, one or several at one point in time.
 *
 * First everything that may fail for a reason that lies with the request is done: files are
 * made and opened, and the graph gets its new shape.  Then the state file is told, tables are
 * loaded, and the kernel switches.  What has not been switched then is undone.
 *
 * Internal snapshots are made in between, while the devices are suspended; then the tables are
 * loaded behind them, too.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "backing-name.h"
#include "create.h"
#include "dm.h"
#include "internal-snapshot.h"
#include "job.h"
#include "log.h"
#include "node-open.h"
#include "schema-block.h"
#include "snapshot.h"
#include "standing.h"
#include "state.h"

/* One snapshot that is being made. */
struct action {
	struct node *node;
	struct internal_snapshot *internal;	/* it is one of these, or */
	struct node *overlay;		/* has this one */
	char *created;			/* path of the overlay, if it was not there before */
	bool opened;			/* the overlay is a node of this action's making */
	bool put;			/* the overlay is over the node, by this action */
	bool done;			/* carried out, or undone */
	bool undone;
};

struct transaction {
	struct json_object *before;	/* the graph */
	struct json_object *files;	/* paths of what was created */
	struct action *actions;
	size_t count;
	size_t nb_internal;
	bool grouped;			/* the completion mode */
	struct export **exports;	/* whose chain changes, or whose image gets a snapshot */
	size_t nb_exports;
	bool failed;			/* as a whole, or in part */
	bool settled;			/* the graph is as the kernel has it */
};

static int create_failed(const char *filename, int ret, const char *lock,
			 const struct qc_error *err, struct qmp_error *error)
{
	struct stat st;

	if (ret == -EBUSY && lock)
		return qmp_fail(error, "%s", lock);
	if (ret == -EINVAL && stat(filename, &st) == 0 && S_ISDIR(st.st_mode))
		ret = -EISDIR;
	switch (ret) {
	case -ENOENT:
	case -ENOTDIR:
	case -EISDIR:
	case -EACCES:
	case -EPERM:
	case -EROFS:
	case -ENOSPC:
	case -EDQUOT:
	case -ENAMETOOLONG:
	case -EBUSY:
		return qmp_fail(error, "Could not create '%s': %s", filename, strerror(-ret));
	default:
		return qmp_fail(error, "%s", err->text);
	}
}

/* Who has a lock on what is there already? */
static const char *denied(const char *path)
{
	CLEANUP_STORE struct qc_store *store = NULL;

	return qc_store_open(path, 0, &store, NULL) < 0 ? NULL :
	       qc_lock_denied(store, QC_LOCK_WRITE);
}

/* A device that lies in a file system on itself would never come to an end with a write. */
static int check_loop(const struct node *node, const char *path, struct qmp_error *error)
{
	const struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (export->root.node == node && standing_check_loop(path, export, error))
			return -1;
	return 0;
}

static int create_overlay(struct transaction *t, struct action *action, const char *filename,
			  struct qmp_error *error)
{
	struct node *protocol = node_protocol(action->node);
	CLEANUP_FREE char *backing = backing_name_of(protocol, filename);
	struct qc_create_options options = {
		.backing = backing,
		.backing_format = qc_format_name(node_format(action->node)),
		.force = true,
	};
	CLEANUP_FREE char *path = qc_absolute_name(filename);
	struct qc_error err;
	int ret;

	if (!backing)
		return qmp_fail(error, "Could not find '%s'", protocol->path);
	if (!path)
		return qmp_fail(error, "Out of memory");
	if (node_size(action->node, &options.size, error))
		return -1;
	if (!*filename)
		return qmp_fail(error, "Could not create '': %s", strerror(ENOENT));
	if (standing_check_path(path, error) || check_loop(action->node, path, error))
		return -1;
	if (access(path, F_OK) < 0 && errno == ENOENT) {
		/* Written first, so that a file that nobody asked for is not left. */
		action->created = strdup(path);
		if (!action->created)
			return qmp_fail(error, "Out of memory");
		json_object_array_add(t->files, json_object_new_string(path));
		if (state_save_change(t->before, t->files, error))
			return -1;
	}
	ret = qc_create(path, &options, &err);
	if (ret < 0) {
		free(action->created);
		action->created = NULL;
		return create_failed(filename, ret, denied(path), &err, error);
	}
	return 0;
}

/* The overlay as a node that has no backing node yet. */
static struct node *open_overlay(const struct node *node, const char *filename, const char *name,
				 struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *options = json_object_new_object();
	struct json_object *cache = json_object_new_object();

	qapi_add_bool(cache, "direct", node->direct);
	qapi_add_str(options, "driver", "qcow2");
	qapi_add_str(options, "node-name", name);
	qapi_add_bool(options, "read-only", node->read_only);
	qapi_add_str(options, "discard", node->discard ? "unmap" : "ignore");
	json_object_object_add(options, "cache", cache);
	json_object_object_add(options, "file", node_file_options(filename));
	json_object_object_add(options, "backing", NULL);
	return node_open(options, error);
}

/* Can there be a snapshot of the node at all? */
static int check_node(const struct node *node, struct qmp_error *error)
{
	const struct node_edge *user;

	if (job_check_node(node, error) || node_check_busy(node, error))
		return -1;
	TAILQ_FOREACH(user, &node->users, link)
		if (user->parent)
			return qmp_fail(error, "Node '%s' is busy: node is used as %s of '%s'",
					node->name, user->role, user->parent->name);
	return 0;
}

static int check_overlay(struct node *node, struct node *overlay, struct qmp_error *error)
{
	const struct node_edge *user;
	u64 size, overlay_size;

	TAILQ_FOREACH(user, &overlay->users, link)
		if (!user->parent)
			return qmp_fail(error, "The overlay is already in use");
	if (overlay->backing.node)
		return qmp_fail(error, "The overlay already has a backing image");
	if (overlay->driver != NODE_QCOW2)
		return qmp_fail(error, "The overlay does not support backing images");
	if (!TAILQ_EMPTY(&overlay->users))
		return qmp_fail(error, "The overlay is already in use");
	if (overlay == node)
		return qmp_fail(error, "Making '%s' a backing child of '%s' would create a cycle",
				node->name, overlay->name);
	if (check_loop(node, node_protocol(overlay)->path, error) ||
	    node_size(node, &size, error) || node_size(overlay, &overlay_size, error))
		return -1;
	if (overlay_size < size && !TAILQ_EMPTY(&node->users))
		return qmp_fail(error,
				"The overlay has %llu bytes, fewer than the %llu of node '%s' in use",
				overlay_size, size, node->name);
	return 0;
}

static int prepare_sync(struct transaction *t, struct action *action, struct json_object *data,
			struct qmp_error *error)
{
	const char *filename = qapi_get_str(data, "snapshot-file", "");
	const char *name = qapi_get_str(data, "snapshot-node-name", NULL);
	const char *format = qapi_get_str(data, "format", "qcow2");
	bool existing = !strcmp(qapi_get_str(data, "mode", ""), "existing");
	const char *by_name = qapi_get_str(data, "node-name", NULL);
	int driver = node_driver_parse(format);

	action->node = node_lookup_device(qapi_get_str(data, "device", NULL), by_name, error);
	if (!action->node || check_node(action->node, error))
		return -1;
	if (by_name && !name)
		return qmp_fail(error, "New overlay node-name missing");
	if (name && node_name_taken(name))
		return qmp_fail(error, "New overlay node-name already in use");
	/* Before there is a file that nobody needs. */
	if (name && node_check_name(name, error))
		return -1;
	if (driver < 0)
		return qmp_fail(error, existing ? "Unknown driver '%s'" :
				"Unknown file format '%s'", format);
	if (driver != NODE_QCOW2)
		return existing ? qmp_fail(error, "The overlay does not support backing images") :
		       qmp_fail(error, "Backing file not supported for file format '%s'", format);
	if (!existing && create_overlay(t, action, filename, error))
		return -1;
	action->overlay = open_overlay(action->node, filename, name, error);
	if (!action->overlay)
		return -1;
	action->opened = true;
	return check_overlay(action->node, action->overlay, error);
}

static int prepare_snapshot(struct action *action, struct json_object *data,
			    struct qmp_error *error)
{
	const char *node = qapi_get_str(data, "node", "");
	const char *overlay = qapi_get_str(data, "overlay", "");

	action->node = node_lookup(node, node, error);
	if (!action->node)
		return -1;
	action->overlay = node_lookup(overlay, overlay, error);
	if (!action->overlay)
		return -1;
	if (check_node(action->node, error))
		return -1;
	if (check_overlay(action->node, action->overlay, error))
		return -1;
	if (action->overlay->read_only && !action->node->read_only)
		return qmp_fail(error, "Block node is read-only");
	return standing_check(action->overlay, error);
}

/* Is the node on top of its device already? */
static bool is_on_top(void *ctx, const struct node *node)
{
	const struct transaction *t = ctx;

	for (size_t i = 0; i < t->count; i++)
		if (t->actions[i].overlay == node)
			return false;
	return true;
}

static int prepare_internal(struct transaction *t, struct action *action, struct json_object *data,
			    struct qmp_error *error)
{
	struct internal_snapshot *snapshot = calloc(1, sizeof(*snapshot));

	action->internal = snapshot;
	if (!snapshot)
		return qmp_fail(error, "Out of memory");
	if (internal_prepare(snapshot, data, is_on_top, t, error))
		return -1;
	action->node = snapshot->node;
	for (const struct action *a = t->actions; a != action; a++)
		if (a->internal && a->node == action->node &&
		    !strcmp(a->internal->name, snapshot->name))
			return qmp_fail(error,
					"Snapshot with name '%s' already exists on device '%s'",
					snapshot->name, snapshot->device);
	t->nb_internal++;
	return 0;
}

/* On failure the action's files and nodes are those of the caller to undo. */
static int prepare(struct transaction *t, struct action *action, struct json_object *request,
		   struct qmp_error *error)
{
	const char *type = qapi_get_str(request, "type", "");
	struct json_object *data = json_object_object_get(request, "data");
	int ret;

	if (!strcmp(type, "abort"))
		return qmp_fail(error, "Transaction aborted using Abort action");
	/* That is for actions that start jobs. */
	if (t->grouped)
		return qmp_fail(error,
				"Action '%s' does not support Transaction property completion-mode = grouped",
				type);
	if (!strcmp(type, "blockdev-snapshot-internal-sync"))
		return prepare_internal(t, action, data, error);
	if (!strcmp(type, "blockdev-snapshot-sync"))
		ret = prepare_sync(t, action, data, error);
	else
		ret = prepare_snapshot(action, data, error);
	if (ret)
		return ret;
	node_overlay_put(action->node, action->overlay);
	action->put = true;
	return 0;
}

static void undo(struct action *action)
{
	if (action->done)
		return;
	action->done = true;
	action->undone = true;
	if (action->put)
		node_overlay_undo(action->node, action->overlay);
	if (action->opened)
		node_release(action->overlay);
	action->opened = false;
}

static void remove_undone(struct transaction *t)
{
	for (size_t i = t->count; i--;) {
		const char *path = t->actions[i].undone ? t->actions[i].created : NULL;

		if (path && unlink(path) < 0 && errno != ENOENT)
			log_line(LOG_WARNING, "%s: cannot remove it: %s", path, strerror(errno));
	}
}

/* Is the device to change, now that the graph has its new shape? */
static bool is_concerned(const struct export *export, const void *ctx)
{
	const struct transaction *t = ctx;

	for (size_t i = 0; i < t->count; i++) {
		const struct action *action = &t->actions[i];

		if (action->internal ? action->internal->export == export :
		    action->overlay == export->root.node)
			return true;
	}
	return false;
}

/* export_switch_all(), with internal snapshots before.  Sets @error, also for a failure in part. */
static size_t make_internal(struct transaction *t, struct qmp_error *error)
{
	CLEANUP_FREE struct internal_snapshot **list = calloc(t->nb_internal, sizeof(*list));
	size_t switched = 0, count = 0;

	if (!list) {
		qmp_fail(error, "Out of memory");
		return 0;
	}
	for (size_t i = 0; i < t->count; i++)
		if (t->actions[i].internal)
			list[count++] = t->actions[i].internal;
	t->failed = internal_make(list, count, t->exports, t->nb_exports, &switched, error);
	return switched;
}

/* Whether a device shows the overlay of @action. */
static bool is_live(const struct transaction *t, const struct action *action, size_t switched)
{
	for (size_t i = 0; i < switched; i++)
		for (struct node *n = t->exports[i]->root.node; n; n = n->backing.node)
			if (n == action->overlay)
				return true;
	return false;
}

/* A device that was not switched shows what it did, also where another one of the node was. */
static void move_back(const struct transaction *t, struct export *export)
{
	for (size_t i = t->count; i--;)
		if (!t->actions[i].internal && export->root.node == t->actions[i].overlay)
			node_root_move(&export->root, t->actions[i].node);
}

/* The kernel has decided: make the graph agree with it. */
static void settle(struct transaction *t, size_t switched)
{
	bool all = switched == t->nb_exports;

	t->settled = true;
	for (size_t i = switched; i < t->nb_exports; i++)
		move_back(t, t->exports[i]);
	for (size_t i = t->count; i--;) {
		struct action *action = &t->actions[i];

		if (action->internal) {
			action->done = true;
		} else if (all || is_live(t, action, switched)) {
			node_overlay_done(action->node);
			action->done = true;
		} else {
			undo(action);
		}
	}
	/* Where nobody uses the node nobody uses the overlay; but one may be below the next. */
	for (size_t i = 0; i < t->count; i++)
		if (t->actions[i].done && t->actions[i].opened)
			node_release(t->actions[i].overlay);
}

/* Remove the files of what was not switched, but not while the state file has it in the graph. */
static void drop_undone(struct transaction *t)
{
	CLEANUP_JSON struct json_object *files = json_object_new_array();
	CLEANUP_JSON struct json_object *now = state_graph();
	struct qmp_error error;

	for (size_t i = 0; i < t->count; i++)
		if (t->actions[i].undone && t->actions[i].created)
			json_object_array_add(files,
					      json_object_new_string(t->actions[i].created));
	if (!json_object_array_length(files))
		return;
	if (state_save_change(now, files, &error))
		log_line(LOG_WARNING, "%s; files of snapshots that were not made are left",
			 error.text);
	else
		remove_undone(t);
}

/*
 * What the file says of the nodes below is what they are when it has come to that.
 * @done: it says that it has.
 */
static int save_change(struct transaction *t, bool done, struct qmp_error *error)
{
	struct before {
		bool node, protocol, writes;
	};
	CLEANUP_FREE struct before *before = calloc(t->count, sizeof(*before));
	int ret;

	if (!before)
		return qmp_fail(error, "Out of memory");
	for (size_t i = 0; i < t->count; i++) {
		struct node *node = t->actions[i].node, *protocol = node_protocol(node);

		before[i] = (struct before){ node->read_only, protocol->read_only,
					     node->file.writes };
		if (!t->actions[i].put)
			continue;
		node->read_only = true;
		protocol->read_only = true;
		node->file.writes = false;
	}
	ret = done ? state_save(error) : state_save_change(t->before, t->files, error);
	for (size_t i = t->count; i--;) {
		struct node *node = t->actions[i].node, *protocol = node_protocol(node);

		if (!t->actions[i].put)
			continue;
		node->read_only = before[i].node;
		protocol->read_only = before[i].protocol;
		node->file.writes = before[i].writes;
	}
	return ret;
}

static int save_done(void *ctx, struct qmp_error *error)
{
	return save_change(ctx, true, error);
}

static int carry_out(struct transaction *t, struct qmp_error *error)
{
	CLEANUP_FD int serial = -1;
	struct qc_error err;
	size_t switched;

	if (export_choose(is_concerned, t, &t->exports, &t->nb_exports, error) ||
	    save_change(t, false, error))
		return -1;
	if (t->nb_exports && qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (!t->nb_internal && export_load_all(t->exports, t->nb_exports, error))
		return -1;
	if (!t->nb_internal &&
	    export_save_waiting(t->exports, t->nb_exports, save_done, t, error))
		return -1;
	switched = t->nb_internal ? make_internal(t, error) :
		   export_switch_all(t->exports, t->nb_exports, error);
	if (!switched && (t->nb_exports || t->failed))
		return -1;
	settle(t, switched);
	drop_undone(t);
	/* The kernel can tell, or the file does, so this is no reason to fail. */
	state_save_or_log();
	return switched == t->nb_exports && !t->failed ? 0 : -1;
}

static int transact(struct json_object *requests, bool grouped, struct qmp_error *error)
{
	size_t count = json_object_array_length(requests);
	struct transaction t = {
		.before = state_graph(),
		.files = json_object_new_array(),
		.actions = calloc(count + 1, sizeof(struct action)),
		.grouped = grouped,
	};
	int ret = 0;

	if (!t.before || !t.files || !t.actions)
		ret = qmp_fail(error, "Out of memory");
	while (!ret && t.count < count) {
		struct action *action = &t.actions[t.count++];

		ret = prepare(&t, action, json_object_array_get_idx(requests, t.count - 1), error);
	}
	if (!ret && count)
		ret = carry_out(&t, error);
	if (ret && t.actions) {
		for (size_t i = t.count; i--;)
			undo(&t.actions[i]);
		if (!t.settled)
			remove_undone(&t);
		export_load_again();
		state_save_or_log();
	}
	for (size_t i = 0; i < t.count; i++) {
		free(t.actions[i].created);
		if (t.actions[i].internal)
			internal_end(t.actions[i].internal);
		free(t.actions[i].internal);
	}
	free(t.actions);
	free(t.exports);
	json_object_put(t.before);
	json_object_put(t.files);
	return ret;
}

/* A command of its own is a transaction of one action. */
static int transact_one(const char *type, struct json_object *data, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *requests = json_object_new_array();
	struct json_object *request = json_object_new_object();

	json_object_object_add(request, "type", json_object_new_string(type));
	json_object_object_add(request, "data", json_object_get(data));
	json_object_array_add(requests, request);
	return transact(requests, false, error);
}

static int run_sync(struct qmp_session *session, struct json_object *arguments,
		    struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return transact_one("blockdev-snapshot-sync", arguments, error);
}

static int run_snapshot(struct qmp_session *session, struct json_object *arguments,
			struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return transact_one("blockdev-snapshot", arguments, error);
}

static int run_internal(struct qmp_session *session, struct json_object *arguments,
			struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return transact_one("blockdev-snapshot-internal-sync", arguments, error);
}

static int run_transaction(struct qmp_session *session, struct json_object *arguments,
			   struct json_object **result, struct qmp_error *error)
{
	struct json_object *properties = json_object_object_get(arguments, "properties");
	const char *mode = qapi_get_str(properties, "completion-mode", "individual");

	(void)session;
	(void)result;
	return transact(json_object_object_get(arguments, "actions"), !strcmp(mode, "grouped"),
			error);
}

const struct qapi_command snapshot_commands[] = {
	{ "blockdev-snapshot-sync", .arguments = &schema_snapshot_sync, .run = run_sync },
	{ "blockdev-snapshot", .arguments = &schema_snapshot, .run = run_snapshot },
	{ "blockdev-snapshot-internal-sync", .arguments = &schema_snapshot_internal,
	  .run = run_internal },
	{ "transaction", .arguments = &schema_transaction, .run = run_transaction },
	{ 0 }
};
