// SPDX-License-Identifier: GPL-2.0-or-later
/* The state file, and finding everything again with its help. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "dm.h"
#include "export.h"
#include "job-state.h"
#include "job.h"
#include "log.h"
#include "node-open.h"
#include "standing.h"
#include "state.h"
#include "table.h"
#include "window.h"

#define DEFAULT_STATE "/run/qchain/qchaind.json"
#define VERSION 1
#define LOCK_TRIES 100		/* of 50 ms: a daemon that was killed may still be in the kernel */

#define SAVE_AGAIN_USEC 1000000	/* after one that failed */

static const char *state_path;	/* NULL before start */
static sd_event *save_loop;
static sd_event_source *save_again;	/* enabled while the file is not what it should be */
static bool unsaved;			/* that it is not */
static struct json_object *options;	/* those that are done: an object, "command name": true */

/* As a new string, or NULL. */
static char *option_key(const char *command, const char *name)
{
	char *key;

	return asprintf(&key, "%s %s", command, name) < 0 ? NULL : key;
}

bool state_option_done(const char *command, const char *name)
{
	CLEANUP_FREE char *key = option_key(command, name);

	return key && json_object_object_get_ex(options, key, NULL);
}

void state_option_note(const char *command, const char *name)
{
	CLEANUP_FREE char *key = option_key(command, name);

	if (!options)
		options = json_object_new_object();
	if (key)
		json_object_object_add(options, key, json_object_new_boolean(true));
}

void state_option_forget(const char *command, const char *name)
{
	CLEANUP_FREE char *key = option_key(command, name);

	/* There may have been none. */
	if (key && options)
		json_object_object_del(options, key);
}

/* --- writing ---------------------------------------------------------------------------------- */

static struct json_object *node_state(const struct node *node)
{
	struct json_object *object = json_object_new_object();

	qapi_add_str(object, "name", node->name);
	qapi_add_str(object, "driver", node_driver_name(node->driver));
	qapi_add_bool(object, "owned", node->owned);
	qapi_add_bool(object, "read-only", node->read_only);
	qapi_add_bool(object, "discard", node->discard);
	qapi_add_bool(object, "direct", node->direct);
	if (node_is_protocol(node)) {
		qapi_add_str(object, "filename", node->filename);
		qapi_add_str(object, "path", node->path);
		qapi_add_bool(object, "locking", node->locking);
		qapi_add_bool(object, "kept", (node->in_kernel && node->kept) ||
			      (node->store && node->store->writable));
		qapi_add_bool(object, "bdev", node->is_bdev);
		qapi_add_int(object, "dev", node->dev);
		qapi_add_int(object, "ino", node->ino);
	} else {
		qapi_add_str(object, "file", node->file.node->name);
	}
	if (node->backing.node)
		qapi_add_str(object, "backing", node->backing.node->name);
	return object;
}

static struct json_object *export_state(const struct export *export)
{
	struct json_object *object = json_object_new_object();

	qapi_add_str(object, "id", export->id);
	qapi_add_str(object, "name", export->name);
	qapi_add_bool(object, "writable", export->writable);
	qapi_add_bool(object, "loaded", export->loaded);
	qapi_add_str(object, "node", export->root.node->name);
	qapi_add_str(object, "group", export->group);
	if (export->cgroups)
		json_object_object_add(object, "cgroups", json_object_get(export->cgroups));
	return object;
}

struct json_object *state_graph(void)
{
	struct json_object *graph = json_object_new_object();
	struct json_object *nodes = json_object_new_array();
	struct json_object *exports = json_object_new_array();
	struct export *export;
	struct node *node;

	qapi_add_int(graph, "last-number", node_last_number);
	qapi_add_bool(graph, "stopped", export_stopped);
	TAILQ_FOREACH(node, &node_list, link)
		json_object_array_add(nodes, node_state(node));
	TAILQ_FOREACH(export, &export_list, link)
		json_object_array_add(exports, export_state(export));
	json_object_object_add(graph, "nodes", nodes);
	json_object_object_add(graph, "exports", exports);
	json_object_object_add(graph, "jobs", job_state_save());
	if (options)
		json_object_object_add(graph, "options", json_object_get(options));
	return graph;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int replace_file(struct json_object *state, struct qmp_error *error)
{
	const char *text = json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE);
	CLEANUP_FREE char *temp = NULL;
	CLEANUP_FD int fd = -1;
	int ret;

	if (!text || asprintf(&temp, "%s.new", state_path) < 0)
		return qmp_fail(error, "%s: out of memory", state_path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	ret = fd < 0 ? -errno : write_all(fd, text, strlen(text));
	if (!ret && rename(temp, state_path) < 0)
		ret = -errno;
	if (!ret)
		return 0;
	unlink(temp);
	return qmp_fail(error, "%s: cannot write it: %s; nothing was changed", state_path,
			strerror(-ret));
}

/* Without a part that was started, as in tests of the tables, there is no file. */
static int save(struct json_object *graph, struct json_object *next, struct json_object *files,
		struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *state = NULL;

	if (!state_path) {
		json_object_put(graph);
		json_object_put(next);
		return 0;
	}
	state = json_object_new_object();
	qapi_add_int(state, "version", VERSION);
	json_object_object_add(state, "graph", graph);
	if (next)
		json_object_object_add(state, "next", next);
	if (files)
		json_object_object_add(state, "files", json_object_get(files));
	return replace_file(state, error);
}

static int on_save_again(sd_event_source *source, uint64_t usec, void *ctx)
{
	struct qmp_error error;

	(void)source;
	(void)usec;
	(void)ctx;
	if (!state_save(&error))
		log_line(LOG_INFO, "%s: written now", state_path);
	return 0;
}

/* Some commands cannot be undone when their end cannot be written: it is tried until it can. */
static void save_later(bool later)
{
	if (!save_again && later && save_loop &&
	    sd_event_add_time_relative(save_loop, &save_again, CLOCK_MONOTONIC,
				       SAVE_AGAIN_USEC, 0, on_save_again, NULL) < 0)
		save_again = NULL;
	if (!save_again)
		return;
	if (later)
		sd_event_source_set_time_relative(save_again, SAVE_AGAIN_USEC);
	sd_event_source_set_enabled(save_again, later ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

int state_save(struct qmp_error *error)
{
	int ret = save(state_graph(), NULL, NULL, error);

	/* The ends of jobs wait for it. */
	if (unsaved && !ret)
		job_poll_soon();
	unsaved = ret;
	save_later(ret);
	return ret;
}

int state_save_or_log(void)
{
	struct qmp_error error;
	int ret = state_save(&error);

	if (ret)
		log_line(LOG_WARNING, "%s", error.text);
	return ret;
}

int state_save_change(struct json_object *before, struct json_object *files,
		      struct qmp_error *error)
{
	return save(json_object_get(before), state_graph(), files, error);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int fail_damaged(struct qmp_error *error)
{
	return qmp_fail(error, "%s: is damaged; remove it, and the devices with qchain detach",
			state_path);
}

static struct json_object *array_of(struct json_object *object, const char *member)
{
	struct json_object *array;

	if (!json_object_object_get_ex(object, member, &array) ||
	    !json_object_is_type(array, json_type_array))
		return NULL;
	return array;
}

static u64 get_u64(struct json_object *object, const char *member)
{
	struct json_object *value;

	return json_object_object_get_ex(object, member, &value) ? json_object_get_uint64(value) :
								   0;
}

static struct json_object *named(struct json_object *array, const char *key, const char *value)
{
	for (size_t i = 0; array && value && i < json_object_array_length(array); i++) {
		struct json_object *object = json_object_array_get_idx(array, i);

		if (!strcmp(qapi_get_str(object, key, ""), value))
			return object;
	}
	return NULL;
}

/* Which file or device is below a name. */
struct identity {
	bool known;
	bool is_bdev;
	dev_t dev;
	ino_t ino;
};

static bool same(const struct identity *a, const struct identity *b)
{
	return a->known && b->known && a->is_bdev == b->is_bdev && a->dev == b->dev &&
	       a->ino == b->ino;
}

/* Of the file of @node, a node in @nodes. */
static struct identity recorded(struct json_object *nodes, struct json_object *node)
{
	struct identity file = { 0 };

	while (node && qapi_has(node, "file"))
		node = named(nodes, "name", qapi_get_str(node, "file", NULL));
	if (!node)
		return file;
	file.known = true;
	file.is_bdev = qapi_get_bool(node, "bdev", false);
	file.dev = get_u64(node, "dev");
	file.ino = get_u64(node, "ino");
	return file;
}

/* The node of an export, as @graph has it; NULL when it is not there. */
static struct json_object *recorded_root(struct json_object *graph, const char *id)
{
	struct json_object *export = named(array_of(graph, "exports"), "id", id);

	return export ? named(array_of(graph, "nodes"), "name",
			      qapi_get_str(export, "node", NULL)) : NULL;
}

/* Of a layer that a device shows; not known when it has lost its name. */
static struct identity live(const struct qc_table_layer *layer)
{
	struct identity file = { 0 };
	struct stat st;

	if (stat(layer->device, &st) < 0)
		return file;
	file.known = true;
	file.is_bdev = S_ISBLK(st.st_mode);
	file.dev = file.is_bdev ? st.st_rdev : st.st_dev;
	file.ino = file.is_bdev ? 0 : st.st_ino;
	return file;
}

/* The layers that a device shows; none without a device. */
static void live_table(const char *name, struct qc_table *table)
{
	CLEANUP_FREE char *params = NULL;
	u64 sectors;

	memset(table, 0, sizeof(*table));
	if (qc_dm_table(name, &sectors, &params, NULL) == 0)
		qc_table_parse(params, name, table, NULL);
}

/* Does the device show the chain that the export has in @graph, as far as files have names? */
static bool shows(const char *name, struct json_object *graph, const char *id)
{
	CLEANUP_TABLE struct qc_table table = { 0 };
	struct json_object *nodes = array_of(graph, "nodes");
	struct json_object *node = recorded_root(graph, id);
	size_t i;

	live_table(name, &table);
	for (i = 0; node && i < table.count; i++) {
		struct identity wanted = recorded(nodes, node), now = live(&table.layers[i]);

		if (now.known && !same(&wanted, &now))
			return false;
		node = named(nodes, "name", qapi_get_str(node, "backing", NULL));
	}
	return i && !node && i == table.count;
}

/* Is the chain that the export has the same in both? */
static bool same_chain(struct json_object *a, struct json_object *b, const char *id)
{
	struct json_object *x = recorded_root(a, id), *y = recorded_root(b, id);
	struct json_object *in_x = array_of(a, "nodes"), *in_y = array_of(b, "nodes");

	while (x && y) {
		struct identity of_x = recorded(in_x, x), of_y = recorded(in_y, y);

		if (!same(&of_x, &of_y))
			return false;
		x = named(in_x, "name", qapi_get_str(x, "backing", NULL));
		y = named(in_y, "name", qapi_get_str(y, "backing", NULL));
	}
	return !x && !y;
}

/* Where the chain stays the table can have another option still. */
static bool discards(struct json_object *graph, const char *id)
{
	return qapi_get_bool(recorded_root(graph, id), "discard", false);
}

static bool shows_option(const char *name, struct json_object *graph, const char *id)
{
	CLEANUP_TABLE struct qc_table table = { 0 };

	live_table(name, &table);
	return discards(graph, id) == !(table.flags & QC_TABLE_NO_DISCARD_PASSDOWN);
}

/* A step from one graph to the next, as the devices show it that it changes. */
struct step {
	size_t changed;
	size_t before, after;		/* of these show what was, and what was to be */
	size_t suspended;		/* of these stand still */
};

static struct step look_at_step(struct json_object *graph, struct json_object *next)
{
	struct json_object *exports = array_of(next, "exports");
	struct step step = { 0 };

	for (size_t i = 0; exports && i < json_object_array_length(exports); i++) {
		struct json_object *export = json_object_array_get_idx(exports, i);
		const char *id = qapi_get_str(export, "id", "");
		const char *name = qapi_get_str(export, "name", "");
		bool stays = same_chain(graph, next, id);
		struct qc_dm_device device;

		if (stays && discards(graph, id) == discards(next, id))
			continue;
		step.changed++;
		step.before += shows(name, graph, id) && (!stays || shows_option(name, graph, id));
		step.after += shows(name, next, id) && (!stays || shows_option(name, next, id));
		step.suspended += !qc_dm_query(name, &device, NULL) && device.suspended;
	}
	return step;
}

static int link_edge(struct node_edge *edge, const char *name, bool writes,
		     struct qmp_error *error)
{
	struct node *node = node_find(name);

	if (!node)
		return fail_damaged(error);
	edge->node = node;
	edge->writes = writes;
	TAILQ_INSERT_TAIL(&node->users, edge, link);
	return 0;
}

static int restore_node(struct json_object *object, struct qmp_error *error)
{
	const char *name = qapi_get_str(object, "name", "");
	int driver = node_driver_parse(qapi_get_str(object, "driver", ""));
	struct node *node;

	if (driver < 0 || !*name || node_find(name))
		return fail_damaged(error);
	node = node_new(name, driver);
	if (!node)
		return qmp_fail(error, "Out of memory");
	node->owned = qapi_get_bool(object, "owned", false);
	node->read_only = qapi_get_bool(object, "read-only", false);
	node->discard = qapi_get_bool(object, "discard", false);
	node->direct = qapi_get_bool(object, "direct", false);
	if (!node_is_protocol(node))
		return 0;
	node->filename = strdup(qapi_get_str(object, "filename", ""));
	node->path = strdup(qapi_get_str(object, "path", ""));
	node->locking = qapi_get_bool(object, "locking", true);
	node->kept = qapi_get_bool(object, "kept", true);
	node->is_bdev = qapi_get_bool(object, "bdev", false);
	node->dev = get_u64(object, "dev");
	node->ino = get_u64(object, "ino");
	return node->filename && node->path ? 0 : qmp_fail(error, "Out of memory");
}

static int restore_edges(struct json_object *object, struct qmp_error *error)
{
	struct node *node = node_find(qapi_get_str(object, "name", ""));
	const char *backing = qapi_get_str(object, "backing", NULL);

	if (!node_is_protocol(node)) {
		if (link_edge(&node->file, qapi_get_str(object, "file", ""),
			      node->driver == NODE_QCOW2 && !node->read_only, error))
			return -1;
		node->file.claims = node->driver == NODE_QCOW2;
		if (!node_is_protocol(node->file.node))
			return fail_damaged(error);
	}
	if (backing) {
		if (link_edge(&node->backing, backing, false, error))
			return -1;
		node->backing.claims = true;
	}
	return 0;
}

static int restore_limits(struct export *export, struct json_object *object,
			  struct qmp_error *error)
{
	const char *group = qapi_get_str(object, "group", NULL);
	struct json_object *cgroups = array_of(object, "cgroups");

	for (size_t i = 0; cgroups && i < json_object_array_length(cgroups); i++)
		if (!json_object_is_type(json_object_array_get_idx(cgroups, i), json_type_string))
			return fail_damaged(error);
	export->cgroups = json_object_get(cgroups);
	export->group = group ? strdup(group) : NULL;
	return !group || export->group ? 0 : qmp_fail(error, "Out of memory");
}

static int restore_export(struct json_object *object, struct qmp_error *error)
{
	struct export *export = export_new(qapi_get_str(object, "id", ""),
					   qapi_get_str(object, "name", ""),
					   qapi_get_bool(object, "writable", false));

	if (!export)
		return qmp_fail(error, "Out of memory");
	export->loaded = qapi_get_bool(object, "loaded", false);
	if (restore_limits(export, object, error))
		return -1;
	return link_edge(&export->root, qapi_get_str(object, "node", ""), export->writable, error);
}

static int restore_graph(struct json_object *graph, struct qmp_error *error)
{
	struct json_object *nodes = array_of(graph, "nodes");
	struct json_object *exports = array_of(graph, "exports");

	if (!nodes || !exports)
		return fail_damaged(error);
	node_last_number = get_u64(graph, "last-number");
	export_stopped = qapi_get_bool(graph, "stopped", false);
	for (size_t i = 0; i < json_object_array_length(nodes); i++)
		if (restore_node(json_object_array_get_idx(nodes, i), error))
			return -1;
	for (size_t i = 0; i < json_object_array_length(nodes); i++)
		if (restore_edges(json_object_array_get_idx(nodes, i), error))
			return -1;
	for (size_t i = 0; i < json_object_array_length(exports); i++)
		if (restore_export(json_object_array_get_idx(exports, i), error))
			return -1;
	job_state_restore(array_of(graph, "jobs"));
	if (json_object_object_get_ex(graph, "options", &options)) {
		if (!json_object_is_type(options, json_type_object))
			return fail_damaged(error);
		json_object_get(options);
	}
	return 0;
}

/* --- the kernel's view ------------------------------------------------------------------------ */

/*
 * Open the node's file again.  Locks are not taken here: those of an image in a device are on a
 * description that lives in the kernel, and would be in the way of our own.
 */
static void reopen(struct node *node)
{
	struct identity before = { true, node->is_bdev, node->dev, node->ino };
	struct identity now;
	struct qmp_error error;

	if (node_open_file(node, false, &error)) {
		log_line(LOG_WARNING, "node %s: %s", node->name, error.text);
		return;
	}
	now = (struct identity){ true, node->is_bdev, node->dev, node->ino };
	if (same(&before, &now))
		return;
	log_line(LOG_WARNING, "node %s: %s is another file now; it is not used", node->name,
		 node->path);
	qc_store_close(node->store);
	node->store = NULL;
	node->is_bdev = before.is_bdev;
	node->dev = before.dev;
	node->ino = before.ino;
}

static void reopen_all(void)
{
	struct qmp_error error;
	struct node *node;

	TAILQ_FOREACH(node, &node_list, link)
		if (node_is_protocol(node))
			reopen(node);
	TAILQ_FOREACH(node, &node_list, link)
		if (node_settle(node, &error))
			log_line(LOG_WARNING, "node %s: %s", node->name, error.text);
	standing_read_headers();
}

/* Is there a device for the export, and does it show what it should, or did before the change? */
static bool is_there(const struct export *export, struct json_object *chosen,
		     struct json_object *other, bool *behind)
{
	struct qc_dm_device device;

	*behind = false;
	if (qc_dm_query(export->name, &device, NULL) < 0 || !device.exists || !device.ours ||
	    !device.live)
		return false;
	if (shows(export->name, chosen, export->id))
		return true;
	/*
	 * With a table that waits for cont it shows what was there any number of steps ago.  One
	 * that runs is somebody else's.
	 */
	*behind = (export->loaded && device.suspended) ||
		  (other && shows(export->name, other, export->id));
	return *behind;
}

/* Has the image grown, and the device not? */
static bool is_short(const struct export *export)
{
	CLEANUP_FREE char *params = NULL;
	struct qmp_error error;
	u64 sectors, size;

	return export->root.node->header && !node_size(export->root.node, &size, &error) &&
	       qc_dm_table(export->name, &sectors, &params, NULL) == 0 &&
	       sectors < size / QC_SECTOR_SIZE;
}

/*
 * The locks of layers that only the table has that waits for cont are on descriptions that go with
 * it, and whatever changes the chain replaces it: have one with our descriptions, locked.
 */
static int own_waiting(struct export *export, struct qmp_error *error)
{
	int ret;

	for (struct node *n = export->root.node; n; n = n->backing.node)
		node_lock_beside(node_protocol(n));
	qc_dm_clear(export->name, NULL);
	ret = export_load(export, error);
	for (struct node *n = export->root.node; n; n = n->backing.node)
		node_lock_take_over(node_protocol(n));
	return ret;
}

/* Bring a device into the state in which the export has it. */
static int bring_up(struct export *export, bool behind, struct qmp_error *error)
{
	const char *const names[] = { export->name };
	struct qc_dm_device device;
	struct qc_error err;
	bool load, switched = true;
	int ret = 0;

	if (qc_dm_query(export->name, &device, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	/* What was killed while it made the device may not have come to its node. */
	qc_dm_fix_node(export->name, NULL);
	if (!behind && device.loaded)
		qc_dm_clear(export->name, NULL);
	/* Layers of one that is suspended can have been released: then it needs a table anew. */
	load = behind ? !device.loaded || export->loaded :
			is_short(export) || device.suspended;
	if (load && export_stopped && standing_below_chain(export)) {
		/* Its layers cannot be read before that goes on. */
		export->loaded = true;
		load = false;
	}
	/* Without one, the table that it has is better than none: refused where it is not. */
	if (load && (standing_check_chain(export, error) || export_load(export, error) ||
		     (behind && own_waiting(export, error))))
		ret = -1;
	if (export_stopped && !device.suspended && qc_dm_suspend(export->name, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	/* Until it is switched: by cont, or by the next daemon. */
	if (behind)
		export->loaded = true;
	if (export_stopped || (ret && behind))
		return ret;
	if (behind && device.suspended)
		switched = !qc_dm_resume_new(export->name, &err);
	else if (behind || load || device.suspended)
		switched = window_switch(names, 1, &err);
	if (!switched)
		return ret ? ret : qmp_fail(error, "%s", err.text);
	export->loaded = false;
	/* What lies on it can be read now. */
	if (device.suspended)
		standing_read_headers();
	return ret;
}

static void mark_in_kernel(const struct export *export)
{
	for (struct node *n = export->root.node; n; n = n->backing.node)
		node_protocol(n)->in_kernel = true;
}

static void bring_up_or_log(struct export *export, struct json_object *chosen,
			    struct json_object *other)
{
	struct qmp_error error;
	bool behind;

	is_there(export, chosen, other, &behind);
	if (bring_up(export, behind, &error))
		log_line(LOG_ERR, "export %s: %s", export->id, error.text);
}

/*
 * The device of an export that was killed while it was made: it has never run, and the table that
 * waits in it holds the image's lock.
 */
static void remove_unborn(const struct export *export)
{
	struct qc_dm_device device;

	if (qc_dm_query(export->name, &device, NULL) == 0 && device.exists && device.ours &&
	    !device.live && qc_dm_remove(export->name, NULL) == 0)
		log_line(LOG_INFO, "%s: removed, as it was not made to the end", export->name);
}

/* What a step left without users: it was taken, and its end not saved. */
static void release_unused(void)
{
	struct node *node = TAILQ_FIRST(&node_list);

	while (node) {
		bool unused = !node->owned && TAILQ_EMPTY(&node->users);

		if (unused)
			node_release(node);
		/* Others may have gone with it. */
		node = unused ? TAILQ_FIRST(&node_list) : TAILQ_NEXT(node, link);
	}
}

static void reconcile(struct json_object *chosen, struct json_object *other)
{
	struct export *export, *next;
	bool behind;

	for (export = TAILQ_FIRST(&export_list); export; export = next) {
		next = TAILQ_NEXT(export, link);
		if (is_there(export, chosen, other, &behind)) {
			mark_in_kernel(export);
			continue;
		}
		log_line(LOG_WARNING,
			 "export %s: the device %s is gone, or shows something else; forgotten",
			 export->id, export->name);
		remove_unborn(export);
		state_option_forget("block-export-add", export->id);
		job_state_prune(export);
		export_free(export);
	}
	job_state_prune(NULL);
	release_unused();
	reopen_all();
	/* The newest may lie on an older one: it is suspended first, and resumed last. */
	if (export_stopped) {
		TAILQ_FOREACH_REVERSE(export, &export_list, export_list, link)
			bring_up_or_log(export, chosen, other);
	} else {
		TAILQ_FOREACH(export, &export_list, link)
			bring_up_or_log(export, chosen, other);
	}
}

/* @known: that the step was not taken; who cannot tell leaves them, as they may have data. */
static void remove_files(struct json_object *files, bool known)
{
	for (size_t i = 0; files && i < json_object_array_length(files); i++) {
		const char *path = json_object_get_string(json_object_array_get_idx(files, i));

		if (path && !known)
			log_line(LOG_WARNING,
				 "%s: left, as nobody knows whether the snapshot was made", path);
		else if (path && unlink(path) == 0)
			log_line(LOG_INFO, "%s: removed, as the snapshot was not made", path);
	}
}

static int restore(struct json_object *state, struct qmp_error *error)
{
	struct json_object *graph, *exports, *next = NULL;
	CLEANUP_FD int serial = -1;
	struct step step = { 0 };
	struct qc_error err;
	bool forward;

	if (get_u64(state, "version") != VERSION ||
	    !json_object_object_get_ex(state, "graph", &graph))
		return fail_damaged(error);
	json_object_object_get_ex(state, "next", &next);
	/* Where there are no devices device-mapper need not be there either. */
	exports = array_of(graph, "exports");
	if ((next || (exports && json_object_array_length(exports))) &&
	    qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (next)
		step = look_at_step(graph, next);
	/* The kernel has taken it at least for one device. */
	forward = step.after;
	/* While devices are stopped none can have taken it; but they may have gone on since. */
	if (next && !forward)
		remove_files(array_of(state, "files"), step.before == step.changed ||
			     (qapi_get_bool(graph, "stopped", false) &&
			      step.suspended == step.changed));
	if (restore_graph(forward ? next : graph, error))
		return -1;
	/* One that goes on with all of them has said so, and could not write it. */
	if (export_stopped && !TAILQ_EMPTY(&export_list) && !standing_any())
		export_stopped = false;
	reconcile(forward ? next : graph, forward ? graph : next);
	return 0;
}

/* --- start and end ---------------------------------------------------------------------------- */

static int make_directory(struct qmp_error *error)
{
	const char *slash = strrchr(state_path, '/');
	CLEANUP_FREE char *dir = slash ? strndup(state_path, slash - state_path) : NULL;

	if (slash && !dir)
		return qmp_fail(error, "Out of memory");
	if (dir && *dir && mkdir(dir, 0755) < 0 && errno != EEXIST)
		return qmp_fail(error, "%s: cannot make the directory: %s", dir, strerror(errno));
	return 0;
}

/* Of this process alone: unlike the other lock its children do not have it. */
static struct flock daemons_own(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
}

/*
 * Is the daemon gone that took the lock?  Then it is a child of it that has the lock, which will
 * end: an image that is edited takes its time.
 */
static bool only_child_left(int fd)
{
	struct flock lock = daemons_own();

	return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

/* Held until the process ends, and its children that change devices have ended. */
static int take_lock(struct qmp_error *error)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	struct flock lock = daemons_own();
	CLEANUP_FREE char *path = NULL;
	int fd;

	if (asprintf(&path, "%s.lock", state_path) < 0)
		return qmp_fail(error, "Out of memory");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return qmp_fail(error, "%s: cannot open: %s", path, strerror(errno));
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK || (i >= LOCK_TRIES && !only_child_left(fd))) {
			close(fd);
			return qmp_fail(error,
					"%s: another qchaind runs with it; stop that, or set QCHAIN_STATE to another file",
					state_path);
		}
		nanosleep(&pause, NULL);
	}
	/* The number is for people. */
	if (fcntl(fd, F_SETLK, &lock) < 0 || ftruncate(fd, 0) < 0 ||
	    dprintf(fd, "%d\n", getpid()) < 0)
		log_line(LOG_DEBUG, "%s: %s", path, strerror(errno));
	return 0;
}

static int start(sd_event *loop, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *state = NULL;
	const char *path = getenv("QCHAIN_STATE");

	save_loop = loop;
	qc_raise_nofile();
	state_path = path && *path ? path : DEFAULT_STATE;
	if (make_directory(error) || take_lock(error))
		return -1;
	if (access(state_path, F_OK) < 0 && errno == ENOENT)
		return 0;
	state = json_object_from_file(state_path);
	if (!state)
		return fail_damaged(error);
	if (restore(state, error))
		return -1;
	return state_save(error);
}

static int quit(bool keep, struct qmp_error *error)
{
	if (export_quit(keep, error))
		return -1;
	if (!keep && state_path)
		unlink(state_path);
	/* The last chance. */
	if (keep && unsaved)
		state_save_or_log();
	save_later(false);
	return 0;
}

const struct daemon_part graph_part = {
	.name = "graph",
	.start = start,
	.may_quit = export_may_quit,
	.quit = quit,
};
