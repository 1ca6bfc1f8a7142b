// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * blockdev-reopen: several nodes get other options, all of them or none.
 *
 * First the options of all are looked at.  Then node after node gets its new values, and what it
 * had is kept in their place: the same exchange undoes it.  Last come claims, locks and devices,
 * which depend on all of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "dm.h"
#include "export.h"
#include "job.h"
#include "log.h"
#include "node-open.h"
#include "reopen.h"
#include "schema-block.h"
#include "standing.h"
#include "state.h"

/* What a node is to have, or after the exchange what it had. */
struct change {
	struct node *node;
	bool read_only, discard, direct;
	bool auto_read_only;
	bool moves_backing, moves_file;
	struct node *backing, *file;	/* when they move */
	struct qc_header *header;	/* when the file moves, as are */
	struct qc_snapshots snapshots;
	struct qc_store *store;		/* the description besides the node's, or NULL */
	bool applied;			/* the exchange has been made */
	bool handed_over;		/* and the locks are on the other description */
};

struct reopening {
	struct json_object *before;	/* the graph */
	struct change *changes;
	size_t count, room;
	struct export **exports;	/* whose device gets another table */
	size_t nb_exports;
};

/* --- what is asked for ------------------------------------------------------------------------ */

static struct change *find_or_add(struct reopening *r, struct node *node)
{
	struct change *changes = r->changes;

	for (size_t i = 0; i < r->count; i++)
		if (changes[i].node == node)
			return &changes[i];
	if (r->count == r->room) {
		changes = reallocarray(changes, 2 * r->room + 4, sizeof(*changes));
		if (!changes)
			return NULL;
		r->changes = changes;
		r->room = 2 * r->room + 4;
	}
	memset(&changes[r->count], 0, sizeof(*changes));
	changes[r->count].node = node;
	return &changes[r->count++];
}

static int cannot_change(const char *option, struct qmp_error *error)
{
	return qmp_fail(error, "Cannot change the option '%s'", option);
}

static int check_locking(const struct node *node, struct json_object *options,
			 struct qmp_error *error)
{
	const char *locking = qapi_get_str(options, "locking", NULL);

	if (!locking && !node->locking)
		return qmp_fail(error, "Option 'locking' cannot be reset to its default value");
	return locking && node->locking != !!strcmp(locking, "off") ?
	       cannot_change("locking", error) : 0;
}

/* What a node is and is called stays. */
static int check_fixed(const struct node *node, struct json_object *options,
		       struct qmp_error *error)
{
	const char *name = qapi_get_str(options, "node-name", node->name);

	if (strcmp(qapi_get_str(options, "driver", ""), node_driver_name(node->driver)))
		return cannot_change("driver", error);
	if (strcmp(name, node->name))
		return cannot_change("node-name", error);
	if (!node_is_protocol(node))
		return 0;
	if (strcmp(qapi_get_str(options, "filename", ""), node->filename))
		return cannot_change("filename", error);
	return check_locking(node, options, error);
}

static int plan(struct reopening *r, struct node *node, struct json_object *options,
		struct node_values values, struct qmp_error *error);

/*
 * The node that @ref makes the child; a definition is of the one that is there, which gets what it
 * says.  One that has been defined in its parent goes by it in any case.
 */
static int plan_child(struct reopening *r, struct node *child, const char *role,
		      struct json_object *ref, const struct node_values *values,
		      struct node **wanted, struct qmp_error *error)
{
	*wanted = NULL;
	if (!ref)
		return 0;
	if (json_object_is_type(ref, json_type_string)) {
		const char *name = json_object_get_string(ref);

		*wanted = node_lookup(NULL, name, error);
		return *wanted ? 0 : -1;
	}
	if (!child || child->owned)
		return qmp_fail(error, "Cannot change the option '%s.driver'", role);
	*wanted = child;
	return plan(r, child, ref, *values, error);
}

static int plan_file(struct reopening *r, struct node *node, struct json_object *options,
		     const struct node_values *values, struct qmp_error *error)
{
	struct json_object *file = json_object_object_get(options, "file");
	struct node *wanted;
	struct change *change;

	/* Of another driver: that is refused below. */
	if (!file)
		return 0;
	if (plan_child(r, node->file.node, "file", file, values, &wanted, error))
		return -1;
	if (!node_is_protocol(wanted))
		return qmp_fail(error,
				"The file of a format node must be of driver 'file' or 'host_device'");
	/* One that was defined in its parent is read-only when that is. */
	if (wanted == node->file.node && !wanted->owned &&
	    json_object_is_type(file, json_type_string)) {
		change = find_or_add(r, wanted);
		if (!change)
			return qmp_fail(error, "Out of memory");
		change->discard = wanted->discard;
		change->direct = wanted->direct;
		change->read_only = values->read_only;
		change->auto_read_only = values->auto_read_only;
	}
	change = find_or_add(r, node);
	change->moves_file = wanted != node->file.node;
	change->file = wanted;
	return 0;
}

static int plan_backing(struct reopening *r, struct node *node, struct json_object *options,
			const struct node_values *values, struct qmp_error *error)
{
	struct node_values below = { .read_only = true, .direct = values->direct };
	struct json_object *backing;
	struct node *wanted;
	struct change *change;

	if (!json_object_object_get_ex(options, "backing", &backing)) {
		if (!node->backing.node && !(node->header && node->header->backing))
			return 0;
		return qmp_fail(error, "backing is missing for '%s'", node->name);
	}
	if (json_object_is_type(backing, json_type_object) &&
	    json_object_object_get_ex(backing, "read-only", NULL))
		json_object_object_add(backing, "read-only", json_object_new_boolean(true));
	if (plan_child(r, node->backing.node, "backing", backing, &below, &wanted, error))
		return -1;
	change = find_or_add(r, node);
	change->moves_backing = wanted != node->backing.node;
	change->backing = wanted;
	return 0;
}

static int plan(struct reopening *r, struct node *node, struct json_object *options,
		struct node_values values, struct qmp_error *error)
{
	struct change *change = find_or_add(r, node);

	if (!change)
		return qmp_fail(error, "Out of memory");
	if (node_values_apply(options, &values, error))
		return -1;
	change->read_only = values.read_only;
	change->auto_read_only = values.auto_read_only;
	change->discard = values.discard;
	change->direct = values.direct;
	if (node->driver == NODE_QCOW2 && plan_backing(r, node, options, &values, error))
		return -1;
	if (!node_is_protocol(node) && plan_file(r, node, options, &values, error))
		return -1;
	return check_fixed(node, options, error);
}

static int plan_all(struct reopening *r, struct json_object *list, struct qmp_error *error)
{
	const struct node_values values = { 0 };
	size_t length = json_object_array_length(list);

	for (size_t i = 0; i < length; i++) {
		const char *name = qapi_get_str(json_object_array_get_idx(list, i), "node-name",
						NULL);

		if (!name)
			return qmp_fail(error, "node-name not specified");
		if (!node_find(name))
			return qmp_fail(error, "Failed to find node with node-name='%s'", name);
	}
	for (size_t i = 0; i < length; i++) {
		struct json_object *options = json_object_array_get_idx(list, i);

		if (plan(r, node_find(qapi_get_str(options, "node-name", "")), options, values,
			 error))
			return -1;
	}
	return 0;
}

/* --- may it be, and can it? ------------------------------------------------------------------- */

/* An export in whose chain the node, or the format node over it, is; or NULL. */
static const struct export *used_by(struct node *node)
{
	const struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		for (struct node *n = export->root.node; n; n = n->backing.node)
			if (n == node || node_protocol(n) == node)
				return export;
	return NULL;
}

static int in_use(const struct change *c, const char *option, struct qmp_error *error)
{
	const struct export *export = used_by(c->node);

	if (!export)
		return 0;
	return qmp_fail(error, "Cannot change the option '%s' of node '%s', which export '%s' uses",
			option, c->node->name, export->id);
}

/* Another description of the file of a protocol node, for what is to be done with it. */
static int open_other(struct change *c, struct qmp_error *error)
{
	struct node *node = c->node;
	struct qc_error err;
	int ret;

	if (!node->store)
		return qmp_fail(error, "Could not open '%s'", node->filename);
	ret = node_open_store(node, !c->read_only, &c->store, &err);
	if ((ret == -EACCES || ret == -EPERM || ret == -EROFS) && c->auto_read_only) {
		c->read_only = true;
		return 0;
	}
	if (ret < 0)
		return qmp_fail(error, "Could not open '%s': %s", node->filename, strerror(-ret));
	if (!qc_store_same(c->store, node->store))
		return qmp_fail(error, "%s: is not the file any more that node '%s' was made of",
				node->path, node->name);
	return 0;
}

static bool is_exported_to_write(const struct node *node)
{
	const struct node_edge *user;

	TAILQ_FOREACH(user, &node->users, link)
		if (!user->parent && user->claims && user->writes)
			return true;
	return false;
}

static int fail_writers(const struct node *node, struct qmp_error *error)
{
	return qmp_fail(error, "Read-only block node '%s' cannot support read-write users",
			node->name);
}

/* The file of a format node has been asked before. */
static int prepare_read_only(struct change *c, struct qmp_error *error)
{
	struct node *node = c->node, *file = c->moves_file ? c->file : node->file.node;

	/* Whether it may be written to is asked again only where something can come of it. */
	if (c->auto_read_only && node->read_only && used_by(node))
		c->read_only = true;
	if (file && file->read_only && (c->auto_read_only || node->driver == NODE_RAW))
		c->read_only = true;
	if (c->read_only == node->read_only)
		return 0;
	if (in_use(c, "read-only", error))
		return -1;
	if (!c->read_only && node->header && node->header->incompatible & QC_INCOMPAT_CORRUPT)
		return qmp_fail(error, "qcow2: Image is corrupt; cannot be opened read/write");
	return node_is_protocol(node) ? open_other(c, error) : 0;
}

static int prepare_backing(const struct change *c, struct qmp_error *error)
{
	struct node *node = c->node, *before = node->backing.node;

	if (!c->moves_backing)
		return 0;
	if (c->backing && node_in_chain(c->backing, node))
		return qmp_fail(error, "Making '%s' a backing child of '%s' would create a cycle",
				c->backing->name, node->name);
	if (!job_check_chain(node, error))
		return 0;
	return before ? qmp_fail(error, "Cannot change frozen 'backing' link from '%s' to '%s'",
				 node->name, before->name) : -1;
}

/* The whole image is another one then. */
static int prepare_file(const struct change *c, struct qmp_error *error)
{
	if (!c->moves_file)
		return 0;
	if (standing_check(c->file, error))
		return -1;
	return job_check_chain(c->node, error) ? -1 : in_use(c, "file", error);
}

/* --- the exchange ----------------------------------------------------------------------------- */

static void exchange_flag(bool *a, bool *b)
{
	bool was = *a;

	*a = *b;
	*b = was;
}

static void exchange(struct change *c)
{
	struct node *node = c->node;
	struct qc_header *header = node->header;
	struct qc_store *store = node->store;
	struct qc_snapshots snapshots;

	exchange_flag(&node->read_only, &c->read_only);
	exchange_flag(&node->discard, &c->discard);
	exchange_flag(&node->direct, &c->direct);
	if (c->store) {
		node->store = c->store;
		c->store = store;
	}
	if (c->moves_backing)
		c->backing = node_backing_move(node, c->backing);
	if (c->moves_file) {
		c->file = node_file_move(node, c->file);
		node->header = c->header;
		c->header = header;
		snapshots = node->snapshots;
		node->snapshots = c->snapshots;
		c->snapshots = snapshots;
	}
	if (node->driver == NODE_QCOW2)
		node->file.writes = node->written || !node->read_only;
	c->applied = !c->applied;
}

static int apply_all(struct reopening *r, struct qmp_error *error)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct change *c = &r->changes[i];

		if (c->read_only && is_exported_to_write(c->node))
			return fail_writers(c->node, error);
	}
	/* Files come after the nodes on them, but decide whether those can be written to. */
	for (size_t i = r->count; i--;) {
		struct change *c = &r->changes[i];

		if (prepare_read_only(c, error) || prepare_backing(c, error) ||
		    prepare_file(c, error))
			return -1;
		if (c->direct && !c->node->direct && node_is_protocol(c->node) &&
		    node_check_direct(c->node, error))
			return -1;
		exchange(c);
		if (c->moves_file && c->node->driver == NODE_QCOW2 &&
		    node_read_header(c->node, error))
			return -1;
	}
	return 0;
}

/* --- claims and locks ------------------------------------------------------------------------- */

/* No file twice in what @node is part of. */
static int check_loops(const struct node *node, struct qmp_error *error)
{
	struct qmp_error below;
	struct node *top;

	TAILQ_FOREACH(top, &node_list, link) {
		if (!node_in_chain(top, node) || node_check_busy(top, &below))
			continue;
		for (struct node *n = top; n; n = n->backing.node)
			for (struct node *m = n->backing.node; m; m = m->backing.node)
				if (node_same_file(n, m))
					return qmp_fail(error,
							"Backing file '%s' is above itself in the chain",
							node_filename(m));
	}
	return 0;
}

static int check_claims(const struct reopening *r, struct qmp_error *error)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct change *c = &r->changes[i];
		struct node *node = c->node;

		/* In other words than for one that was read-only before. */
		if (!c->read_only && node->read_only && node_claimed(node, true))
			return fail_writers(node, error);
		if (node_check_claims(node, error) ||
		    (node->file.node && node_check_claims(node->file.node, error)))
			return -1;
		if (!c->moves_backing || !node->backing.node)
			continue;
		if (node_check_claims(node->backing.node, error) || check_loops(node, error))
			return -1;
	}
	return 0;
}

/*
 * Lock the file of a protocol node, which has got another description for that of @from.  Nobody
 * else can have it for writing in between.
 */
static int hand_over(struct node *node, struct qc_store *from, struct qmp_error *error)
{
	enum qc_lock_mode had = node->lock;
	struct qc_error err;

	node->lock = QC_LOCK_NONE;
	if (had == QC_LOCK_NONE)
		return node_settle(node, error);
	if (qc_lock(from, QC_LOCK_READ, &err) < 0 || qc_lock(node->store, QC_LOCK_READ, &err) < 0) {
		qmp_fail(error, "%s", err.text);
		goto back;
	}
	qc_lock(from, QC_LOCK_NONE, NULL);
	node->lock = QC_LOCK_READ;
	if (!node_settle(node, error))
		return 0;
back:
	qc_lock(node->store, QC_LOCK_NONE, NULL);
	node->lock = qc_lock(from, had, NULL) < 0 ? QC_LOCK_NONE : had;
	return -1;
}

/* Descriptions first: the others may be about the same files. */
static int settle_all(struct reopening *r, struct qmp_error *error)
{
	for (size_t i = 0; i < r->count; i++) {
		struct change *c = &r->changes[i];

		if (c->store && hand_over(c->node, c->store, error))
			return -1;
		c->handed_over = c->store;
	}
	for (size_t i = 0; i < r->count; i++) {
		const struct change *c = &r->changes[i];

		if (node_settle(c->node, error) ||
		    (c->moves_backing && c->node->backing.node &&
		     node_settle(c->node->backing.node, error)))
			return -1;
	}
	return 0;
}

static bool is_there(const struct node *node)
{
	const struct node *other;

	TAILQ_FOREACH(other, &node_list, link)
		if (other == node)
			return true;
	return false;
}

/* What a node has had, or was to have; it may have gone with another. */
static void let_go(struct node *node)
{
	struct qmp_error error;

	if (!is_there(node))
		return;
	if (node_settle(node, &error))
		log_line(LOG_WARNING, "%s", error.text);
	node_release(node);
}

static void let_go_all(struct reopening *r)
{
	for (size_t i = 0; i < r->count; i++) {
		if (r->changes[i].moves_backing)
			let_go(r->changes[i].backing);
		if (r->changes[i].moves_file)
			let_go(r->changes[i].file);
	}
}

/* Everything as it was. */
static void undo(struct reopening *r)
{
	struct qmp_error error;

	for (size_t i = 0; i < r->count; i++)
		if (r->changes[i].applied)
			exchange(&r->changes[i]);
	for (size_t i = 0; i < r->count; i++) {
		const struct change *c = &r->changes[i];

		if (c->handed_over && hand_over(c->node, c->store, &error))
			log_line(LOG_WARNING, "%s", error.text);
	}
	for (size_t i = 0; i < r->count; i++)
		if (node_settle(r->changes[i].node, &error))
			log_line(LOG_WARNING, "%s", error.text);
	let_go_all(r);
}

/* --- devices ---------------------------------------------------------------------------------- */

static bool is_concerned(const struct export *export, const void *ctx)
{
	const struct reopening *r = ctx;

	for (size_t i = 0; i < r->count; i++) {
		const struct change *c = &r->changes[i];

		if ((c->moves_backing && node_in_chain(export->root.node, c->node)) ||
		    (c->node == export->root.node && c->discard != c->node->discard))
			return true;
	}
	return false;
}

/* What a device reads through several layers must not be written to by anybody. */
static int check_device(const struct export *export, struct qmp_error *error)
{
	if (job_check_export(export, error))
		return -1;
	for (struct node *n = export->root.node->backing.node; n; n = n->backing.node)
		if (!n->read_only)
			return qmp_fail(error,
					"Node '%s' is writable, and cannot be part of export '%s'",
					n->name, export->id);
	return 0;
}

/* Of the devices that get another table. */
static int check_lies_on_none(const struct reopening *r, struct node *node,
			      struct qmp_error *error)
{
	for (size_t i = 0; i < r->nb_exports; i++)
		if (node_in_chain(r->exports[i]->root.node, node) &&
		    standing_check_loop(node_protocol(node)->path, r->exports[i], error))
			return -1;
	return 0;
}

/* What is new in the chains of devices is read by the kernel. */
static int check_standing(const struct reopening *r, struct qmp_error *error)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct change *c = &r->changes[i];

		if (!c->moves_backing || !used_by(c->node))
			continue;
		for (struct node *n = c->node->backing.node; n; n = n->backing.node)
			if (standing_check(n, error) || check_lies_on_none(r, n, error))
				return -1;
	}
	return 0;
}

static int find_exports(struct reopening *r, struct qmp_error *error)
{
	if (export_choose(is_concerned, r, &r->exports, &r->nb_exports, error))
		return -1;
	for (size_t i = 0; i < r->nb_exports; i++)
		if (check_device(r->exports[i], error))
			return -1;
	return 0;
}

/* A later device could not be switched: those before go back. */
static void switch_back(struct reopening *r, size_t switched)
{
	struct qmp_error error;

	if (export_load_all(r->exports, switched, &error) ||
	    export_switch_all(r->exports, switched, &error) < switched)
		log_line(LOG_ERR, "blockdev-reopen: %s", error.text);
}

static int save(void *ctx, struct qmp_error *error)
{
	(void)ctx;
	return state_save(error);
}

/* Returns 0, or -1 when the graph is to be undone; the devices have been then. */
static int switch_devices(struct reopening *r, size_t *switched, struct qmp_error *error)
{
	CLEANUP_FD int serial = -1;
	struct qc_error err;

	*switched = 0;
	if (r->nb_exports && qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (export_load_all(r->exports, r->nb_exports, error) ||
	    export_save_waiting(r->exports, r->nb_exports, save, NULL, error))
		return -1;
	*switched = export_switch_all(r->exports, r->nb_exports, error);
	return *switched == r->nb_exports ? 0 : -1;
}

/* --- the command ------------------------------------------------------------------------------ */

static int carry_out(struct reopening *r, struct qmp_error *error)
{
	size_t switched = 0;
	int ret;

	ret = apply_all(r, error);
	if (!ret)
		ret = check_claims(r, error);
	if (!ret)
		ret = find_exports(r, error);
	if (!ret)
		ret = check_standing(r, error);
	if (!ret)
		ret = settle_all(r, error);
	if (!ret)
		ret = state_save_change(r->before, NULL, error);
	if (!ret)
		ret = switch_devices(r, &switched, error);
	if (!ret) {
		let_go_all(r);
		export_take_back();
		return 0;
	}
	undo(r);
	if (switched)
		switch_back(r, switched);
	export_load_again();
	return -1;
}

static void free_all(struct reopening *r)
{
	for (size_t i = 0; i < r->count; i++) {
		qc_store_close(r->changes[i].store);
		qc_header_free(r->changes[i].header);
		qc_snapshots_free(&r->changes[i].snapshots);
	}
	json_object_put(r->before);
	free(r->changes);
	free(r->exports);
}

static int run_reopen(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	struct reopening r = { .before = state_graph() };
	int ret;

	(void)session;
	(void)result;
	ret = r.before ? plan_all(&r, json_object_object_get(arguments, "options"), error) :
			 qmp_fail(error, "Out of memory");
	if (!ret) {
		ret = carry_out(&r, error);
		state_save_or_log();
	}
	free_all(&r);
	return ret;
}

const struct qapi_command reopen_commands[] = {
	{ "blockdev-reopen", .arguments = &schema_blockdev_reopen, .run = run_reopen },
	{ 0 }
};
