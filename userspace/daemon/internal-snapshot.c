// SPDX-License-Identifier: GPL-2.0-or-later
/* Internal snapshots, made and deleted. */
#include <errno.h>
#include <time.h>

#include "dm.h"
#include "internal-snapshot.h"
#include "job.h"
#include "log.h"
#include "node-open.h"
#include "schema-block.h"
#include "snapshot-info.h"
#include "standing.h"
#include "state.h"
#include "table.h"
#include "window.h"

/* --- may it? ---------------------------------------------------------------------------------- */

/* QEMU's order. */
static struct node *find_root(const char *device, struct qmp_error *error)
{
	struct node *node = node_lookup(device, device, error);
	const struct node_edge *user;

	if (!node)
		return NULL;
	TAILQ_FOREACH(user, &node->users, link) {
		if (!user->parent)
			continue;
		qmp_fail(error, "Need a root block node");
		return NULL;
	}
	return node;
}

/* An image cannot be edited while what it lies on stands still. */
static int check_below(struct node *node, const struct export *still,
		       struct qmp_error *error)
{
	if (!standing_lies_on(node, still))
		return 0;
	return qmp_fail(error,
			"Node '%s' lies on the device of export '%s', which stands still meanwhile",
			node->name, still->id);
}

static int check_stopped(struct node *node, struct qmp_error *error)
{
	const struct export *export;
	int ret = 0;

	if (!export_stopped)
		return 0;
	TAILQ_FOREACH(export, &export_list, link)
		ret = ret ? ret : check_below(node, export, error);
	return ret;
}

/* The image for writing. */
static int open_image(struct internal_snapshot *s, struct qmp_error *error)
{
	struct node *protocol = node_protocol(s->node);

	if (!s->export) {
		s->store = protocol->store;
		return s->store ? 0 : qmp_fail(error, "Could not open '%s'", protocol->filename);
	}
	/* Afresh, so that nothing of it is in memory from before. */
	s->own_store = !node_open_again(protocol, &s->store, error);
	return s->own_store ? 0 : -1;
}

int internal_prepare(struct internal_snapshot *s, struct json_object *data,
		     bool (*live)(void *ctx, const struct node *node), void *ctx,
		     struct qmp_error *error)
{
	struct timespec now;

	s->device = qapi_get_str(data, "device", "");
	s->name = qapi_get_str(data, "name", "");
	s->node = find_root(s->device, error);
	if (!s->node || job_check_node(s->node, error))
		return -1;
	if (s->node->read_only)
		return qmp_fail(error, "Device '%s' is read only", s->device);
	if (s->node->driver != NODE_QCOW2)
		return qmp_fail(error,
				"Block format '%s' used by device '%s' does not support internal snapshots",
				node_driver_name(s->node->driver), s->device);
	if (!*s->name)
		return qmp_fail(error, "Name is empty");
	if (strlen(s->name) > QC_MAX_SNAPSHOT_NAME)
		return qmp_fail(error, "Name is too long");
	if (qc_snapshot_find(&s->node->snapshots, NULL, s->name))
		return qmp_fail(error, "Snapshot with name '%s' already exists on device '%s'",
				s->name, s->device);
	if (export_of_node(s->node, &s->export, error))
		return -1;
	if (s->export && !live(ctx, s->node))
		s->export = NULL;
	if (check_stopped(s->node, error))
		return -1;
	clock_gettime(CLOCK_REALTIME, &now);
	s->date_sec = now.tv_sec;
	s->date_nsec = now.tv_nsec;
	return open_image(s, error);
}

void internal_end(struct internal_snapshot *s)
{
	if (s->own_store)
		qc_store_close(s->store);
}

/* --- do it ------------------------------------------------------------------------------------ */

/* A table, with what it is made of. */
struct table {
	struct qc_chain chain;
	char *params;
};

static void free_tables(struct table *tables, size_t count)
{
	for (size_t i = 0; tables && i < count; i++) {
		node_chain_free(&tables[i].chain);
		free(tables[i].params);
	}
	free(tables);
}

static int fill_device(struct window_device *device, struct export *export, struct table *table,
		       struct qmp_error *error)
{
	if (export_params(export, &table->chain, &table->params, error))
		return -1;
	device->name = export->name;
	device->read_only = !export->writable;
	device->sectors = qc_table_sectors(&table->chain);
	device->params = table->params;
	return 0;
}

/* @edit: what is to be done to the image of @node, which the device of @export shows, if any. */
static void aim(struct window_edit *edit, const struct node *node, const struct export *export,
		struct window_device *devices, struct export *const *exports, size_t count)
{
	edit->device = -1;
	for (size_t i = 0; i < count; i++) {
		if (exports[i] != export)
			continue;
		edit->device = i;
		devices[i].released = true;
		devices[i].relayered = export->root.node != node;
	}
}

/* Let the node know, and say what was left undone. */
static void look_again(struct node *node, const struct export *export)
{
	struct qc_dm_device device;
	struct qmp_error error;

	if (node_read_header(node, &error))
		log_line(LOG_WARNING, "node %s: %s", node->name, error.text);
	if (export && !export_stopped && !qc_dm_query(export->name, &device, NULL) &&
	    device.suspended)
		log_line(LOG_ERR, "%s: waits, suspended, until qchaind is started again",
			 export->name);
}

/* As QEMU says it; the log has the whole of it. */
static const char *cause(const struct window_edit *failed, const struct qc_error *err)
{
	if (!failed)
		return err->text;
	log_line(LOG_WARNING, "%s", err->text);
	return strerror(err->code);
}

static int make(struct internal_snapshot *const *snapshots, struct window_editing *editing,
		struct export *const *exports, size_t *switched, struct qmp_error *error)
{
	const struct window_edit *failed;
	struct internal_snapshot *s;
	struct qc_error err;
	int ret = window_edit(editing, switched, &failed, &err);

	for (size_t i = 0; i < editing->nb_edits; i++)
		look_again(snapshots[i]->node, snapshots[i]->export);
	for (size_t i = 0; i < *switched && export_stopped; i++)
		exports[i]->loaded = true;
	if (!ret)
		return 0;
	s = snapshots[failed ? failed - editing->edits : 0];
	return qmp_fail(error, "Failed to create snapshot '%s' on device '%s': %s", s->name,
			s->device, cause(failed, &err));
}

int internal_make(struct internal_snapshot *const *snapshots, size_t count,
		  struct export *const *exports, size_t nb_exports, size_t *switched,
		  struct qmp_error *error)
{
	CLEANUP_FREE struct window_device *devices = calloc(nb_exports + 1, sizeof(*devices));
	CLEANUP_FREE struct window_edit *edits = calloc(count, sizeof(*edits));
	struct table *tables = calloc(nb_exports + 1, sizeof(*tables));
	struct window_editing editing = {
		.devices = devices, .nb_devices = nb_exports,
		.edits = edits, .nb_edits = count, .stopped = export_stopped,
	};
	int ret = 0;

	*switched = 0;
	if (!devices || !edits || !tables)
		ret = qmp_fail(error, "Out of memory");
	for (size_t i = 0; i < nb_exports && !ret; i++)
		ret = fill_device(&devices[i], exports[i], &tables[i], error);
	/* New overlays, too: they are read when all stand still. */
	for (size_t i = 0; i < nb_exports && !ret; i++)
		for (size_t j = 0; j < nb_exports && !ret; j++)
			ret = check_below(exports[i]->root.node, exports[j], error);
	for (size_t i = 0; i < count && !ret; i++) {
		const struct internal_snapshot *s = snapshots[i];

		for (size_t j = 0; j < nb_exports && !ret; j++)
			ret = check_below(s->node, exports[j], error);

		edits[i] = (struct window_edit){
			.store = s->store, .create = s->name,
			.date_sec = s->date_sec, .date_nsec = s->date_nsec,
		};
		aim(&edits[i], s->node, s->export, devices, exports, nb_exports);
	}
	if (!ret)
		ret = make(snapshots, &editing, exports, switched, error);
	free_tables(tables, nb_exports);
	return ret;
}

/* --- delete ----------------------------------------------------------------------------------- */

static const char *or_null(const char *text)
{
	return text ? text : "null";
}

static const struct qc_snapshot *find_snapshot(const struct node *node, const char *device,
					       const char *id, const char *name,
					       struct qmp_error *error)
{
	const struct qc_snapshot *found;

	if (node->driver != NODE_QCOW2) {
		qmp_fail(error, "Failed to get a snapshot list: %s", strerror(EOPNOTSUPP));
		return NULL;
	}
	found = qc_snapshot_find(&node->snapshots, id, name);
	if (!found)
		qmp_fail(error, "Snapshot with id '%s' and name '%s' does not exist on device '%s'",
			 or_null(id), or_null(name), device);
	return found;
}

/* @info: the SnapshotInfo. */
static int remove_snapshot(struct internal_snapshot *s, struct json_object *info,
			   struct qmp_error *error)
{
	struct window_edit edit = {
		.store = s->store,
		.delete_id = qapi_get_str(info, "id", ""),
		.delete_name = qapi_get_str(info, "name", ""),
	};
	struct window_device device = { 0 };
	struct window_editing editing = {
		.devices = &device, .nb_devices = !!s->export,
		.edits = &edit, .nb_edits = 1, .stopped = export_stopped,
	};
	struct table *table = calloc(1, sizeof(*table));
	const struct window_edit *failed;
	CLEANUP_FD int serial = -1;
	struct qc_error err;
	size_t switched;
	int ret = table ? 0 : qmp_fail(error, "Out of memory");

	if (!ret && s->export)
		ret = fill_device(&device, s->export, table, error);
	if (!ret && s->export && qc_dm_serialise(&serial, &err) < 0)
		ret = qmp_fail(error, "%s", err.text);
	if (!ret) {
		aim(&edit, s->node, s->export, &device, &s->export, !!s->export);
		ret = window_edit(&editing, &switched, &failed, &err);
		look_again(s->node, s->export);
		if (export_stopped && s->export && !ret) {
			s->export->loaded = true;
			state_save_or_log();
		}
		if (ret) {
			ret = qmp_fail(error, "Failed to remove snapshot from snapshot list: %s",
				       cause(failed, &err));
			export_load_again();
		}
	}
	free_tables(table, 1);
	return ret;
}

static int run_delete(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	__attribute__((cleanup(internal_end))) struct internal_snapshot s = {
		.device = qapi_get_str(arguments, "device", ""),
		.name = qapi_get_str(arguments, "name", NULL),
	};
	const char *id = qapi_get_str(arguments, "id", NULL);
	const struct qc_snapshot *found;
	struct json_object *info;

	(void)session;
	s.node = find_root(s.device, error);
	if (!s.node)
		return -1;
	if (!id && !s.name)
		return qmp_fail(error, "Name or id must be provided");
	if (job_check_node(s.node, error))
		return -1;
	found = find_snapshot(s.node, s.device, id, s.name, error);
	if (!found)
		return -1;
	if (s.node->read_only)
		return qmp_fail(error, "Failed to remove snapshot from snapshot list: %s",
				strerror(EPERM));
	if (export_of_node(s.node, &s.export, error) || check_stopped(s.node, error) ||
	    open_image(&s, error))
		return -1;
	info = snapshot_info(found);
	if (remove_snapshot(&s, info, error)) {
		json_object_put(info);
		return -1;
	}
	*result = info;
	return 0;
}

const struct qapi_command internal_snapshot_commands[] = {
	{ "blockdev-snapshot-delete-internal-sync", .arguments = &schema_snapshot_delete,
	  .result = &schema_snapshot_info, .run = run_delete },
	{ 0 }
};
