// SPDX-License-Identifier: GPL-2.0-or-later
/* What jobs need of the graph, and make of it. */
#include <stdio.h>

#include "backing-name.h"
#include "dm.h"
#include "job-graph.h"
#include "log.h"
#include "node-open.h"
#include "resize.h"
#include "state.h"
#include "table.h"
#include "window.h"

/* --- places in a chain ------------------------------------------------------------------------ */

struct export *job_graph_export(const struct node *node, struct qmp_error *error)
{
	struct export *export, *found = NULL;

	TAILQ_FOREACH(export, &export_list, link) {
		if (!node_in_chain(export->root.node, node))
			continue;
		if (found) {
			qmp_fail(error, "Node '%s' is used by export '%s' and by export '%s'",
				 node->name, found->id, export->id);
			return NULL;
		}
		found = export;
	}
	if (!found)
		qmp_fail(error, "Node '%s' is not used by any export; use block-export-add first",
			 node->name);
	return found;
}

size_t job_graph_layer(const struct export *export, const struct node *node)
{
	size_t layer = 0;

	for (struct node *n = export->root.node; n != node; n = n->backing.node)
		layer++;
	return layer;
}

struct node *job_graph_above(const struct export *export, const struct node *node)
{
	struct node *above = export->root.node;

	if (above == node)
		return NULL;
	while (above->backing.node != node)
		above = above->backing.node;
	return above;
}

bool job_graph_uses(const struct job *job, const struct node *node)
{
	const struct export *export = export_find(job->export);
	const struct node *root = export ? export->root.node : NULL, *top = job->above;

	if (job->type == JOB_COMMIT) {
		if (node == root || node == job->below)
			return true;
		top = top ? top->backing.node : root;
	}
	return node_in_chain(top, node) && !node_in_chain(job->below, node);
}

struct node *job_graph_find(struct node *top, const char *filename)
{
	for (struct node *n = top; n->backing.node; n = n->backing.node) {
		const struct node *protocol = node_protocol(n->backing.node);

		if (!strcmp(protocol->filename, filename) ||
		    backing_name_means(node_filename(n), filename, protocol))
			return n->backing.node;
	}
	return NULL;
}

static void settle_or_log(struct job *job, struct node *node)
{
	struct qmp_error error;

	if (node_settle(node, &error))
		log_line(LOG_WARNING, "job %s: %s", job->id, error.text);
}

/* --- writing to a backing node ---------------------------------------------------------------- */

/* Have the device use what the graph says now; one that is stopped, with cont. */
static int reload(struct export *export, struct qmp_error *error)
{
	const char *const names[] = { export->name };
	CLEANUP_FD int serial = -1;
	struct qc_error err;

	if (qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (export_load(export, error))
		return -1;
	if (export_stopped) {
		export->loaded = true;
		return 0;
	}
	if (!window_switch(names, 1, &err))
		return qmp_fail(error, "%s", err.text);
	export->loaded = false;
	return 0;
}

static void set_written(struct node *node, bool written)
{
	node->written = written;
	node_protocol(node)->written = written;
	if (node->driver == NODE_QCOW2)
		node->file.writes = written || !node->read_only;
}

/*
 * Would others let us write?  @store is a description that is to take the place of the one that has
 * the lock for reading; it gets such a lock, too, so that there is one all the time.
 */
static int try_lock(struct node *protocol, struct qc_store *store, struct qmp_error *error)
{
	struct qc_error err;
	const char *denied;

	if (!protocol->locking)
		return 0;
	/* Whose the locks are can be seen when the kernel has this one: see lock(). */
	if (protocol->in_kernel)
		return qc_lock_beside(store, QC_LOCK_READ, &err) < 0 ?
		       qmp_fail(error, "%s", err.text) : 0;
	if (qc_lock(store, QC_LOCK_READ, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (protocol->lock != QC_LOCK_READ)
		return 0;
	qc_lock(protocol->store, QC_LOCK_NONE, NULL);
	denied = qc_lock_denied(store, QC_LOCK_WRITE);
	qc_lock(protocol->store, QC_LOCK_READ, NULL);
	return denied ? qmp_fail(error, "%s", denied) : 0;
}

/*
 * Nobody else has it, or @protocol's lock is the kernel's alone: then there is a second one.  Where
 * the kernel has let go of the old description any lock that is in the way is somebody else's.
 */
static int lock(struct node *node, struct qmp_error *error)
{
	struct node *protocol = node_protocol(node);
	struct qc_error err;

	if (!protocol->locking)
		return 0;
	if (protocol->in_kernel && protocol->kept &&
	    qc_lock_denied(protocol->store, QC_LOCK_WRITE))
		return qc_lock_beside(protocol->store, QC_LOCK_WRITE, &err) < 0 ?
		       qmp_fail(error, "%s", err.text) : 0;
	if (protocol->in_kernel) {
		/* It was for the one of the new table. */
		protocol->in_kernel = false;
		protocol->lock = QC_LOCK_NONE;
	}
	return node_settle(node, error);
}

/*
 * A base that is shorter than what is committed to it is made as long.  That is done to an image
 * that the kernel has open for reading only: for writing it will read the header again.
 * @store: to write through, NULL when the kernel may have it open for writing already.
 */
static int grow_base(const struct job *job, struct export *export, struct qc_store *store,
		     struct qmp_error *error)
{
	struct node *top = job->above ? job->above->backing.node : export->root.node;
	struct node *base = job->below, *protocol;
	struct qc_error err;
	u64 size, base_size, below;
	bool locked;
	int ret;

	/* A stream need not have a base. */
	if (job->type != JOB_COMMIT)
		return 0;
	protocol = node_protocol(base);
	locked = protocol->locking && !protocol->in_kernel;
	if (node_size(top, &size, error) || node_size(base, &base_size, error) ||
	    node_size_below(base, &below, error))
		return -1;
	if (base_size >= size)
		return 0;
	if (!store || protocol->in_kernel)
		return qmp_fail(error,
				"Node '%s' cannot be grown while in use; detach, and qemu-img resize it",
				base->name);
	if (locked)
		qc_lock(protocol->store, QC_LOCK_NONE, NULL);
	ret = locked ? qc_lock(store, QC_LOCK_WRITE, &err) : 0;
	if (!ret)
		ret = qc_resize_layer(store, node_format(base), size, below, &err);
	if (locked) {
		qc_lock(store, QC_LOCK_READ, NULL);
		qc_lock(protocol->store, QC_LOCK_READ, NULL);
	}
	if (ret)
		return qmp_fail(error, "%s", err.text);
	return base->driver == NODE_QCOW2 ? node_read_header(base, error) : 0;
}

int job_graph_prepare(struct job *job, struct qmp_error *error)
{
	struct export *export = export_find(job->export);
	CLEANUP_STORE struct qc_store *other = NULL;
	struct node *node = job->written, *protocol;
	struct qc_store *before;

	if (!node)
		return 0;
	protocol = node_protocol(node);
	if (export_stopped)
		return qmp_fail(error, "'%s' is stopped; use cont first", export->id);
	if (!protocol->store)
		return qmp_fail(error, "Could not open '%s'", protocol->filename);
	before = protocol->store;
	if (!before->writable &&
	    (node_open_again(protocol, &other, error) || try_lock(protocol, other, error)))
		return -1;
	if (grow_base(job, export, other, error))
		return -1;
	if (other) {
		protocol->store = other;
		other = before;
	}
	set_written(node, true);
	if (!reload(export, error)) {
		/* The lock of the old description is in the way of the new one. */
		if (other) {
			qc_store_close(other);
			other = NULL;
			if (!protocol->in_kernel)
				protocol->lock = QC_LOCK_READ;
		}
		if (!lock(node, error))
			return 0;
		job_graph_release(job);
		return -1;
	}
	set_written(node, false);
	if (other) {
		other = protocol->store;
		protocol->store = before;
	}
	job->written = NULL;
	return -1;
}

void job_graph_restore(struct job *job)
{
	if (!job->written)
		return;
	set_written(job->written, true);
	node_protocol(job->written)->kept = true;
}

void job_graph_forget(struct job *job)
{
	if (job->written)
		set_written(job->written, false);
	job->written = NULL;
}

void job_graph_relock(struct job *job)
{
	struct qmp_error error;

	if (job->written && lock(job->written, &error))
		log_line(LOG_WARNING, "job %s: %s", job->id, error.text);
}

void job_graph_release(struct job *job)
{
	struct export *export;
	struct qmp_error error;

	if (!job->written)
		return;
	export = export_find(job->export);
	set_written(job->written, false);
	if (export && reload(export, &error))
		log_line(LOG_WARNING, "job %s: %s", job->id, error.text);
	if (node_protocol(job->written)->in_kernel)
		qc_lock(node_protocol(job->written)->store, QC_LOCK_NONE, NULL);
	else
		settle_or_log(job, job->written);
	job->written = NULL;
}

/* --- the end ---------------------------------------------------------------------------------- */

/*
 * Of an active commit: what was its base becomes the top, and its header is right as it is.  The
 * kernel refuses that as long as not all of it is on the base's disk; then the device goes on with
 * the table of @sectors and @params, that from before.
 */
static int switch_to_base(const struct job *job, struct export *export, u64 sectors,
			  const char *params, struct qmp_error *error)
{
	char message[sizeof("job_complete ") + JOB_ID_MAX];
	CLEANUP_FD int serial = -1;
	struct qc_error err;

	snprintf(message, sizeof(message), "job_complete %s", job->id);
	if (qc_dm_message(export->name, message, &err) < 0 || qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (export_load(export, error))
		return -1;
	return window_switch_or_back(export->name, sectors, params, &err) < 0 ?
	       qmp_fail(error, "%s", err.text) : 0;
}

static int switch_over(const struct job *job, struct export *export, struct qmp_error *error)
{
	struct node *above = node_protocol(job->above);
	struct node *below = job->below ? node_protocol(job->below) : NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	CLEANUP_FREE char *name = NULL;
	const char *format = NULL;
	CLEANUP_FD int serial = -1;
	struct qc_error err;

	if (below) {
		name = job->backing_file ? strdup(job->backing_file) :
					   backing_name_of(below, above->filename);
		format = qc_format_name(node_format(job->below));
		if (!name)
			return qmp_fail(error, "Could not find '%s'", below->path);
	}
	if (node_open_again(above, &store, error))
		return -1;
	if (qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (export_load(export, error))
		return -1;
	return window_pivot(export->name, store, name, format, &err) < 0 ?
	       qmp_fail(error, "%s", err.text) : 0;
}

/* What becomes of the graph, and back; between them it can be saved and tables can be built. */
struct change {
	struct node *dropped;		/* a node, or several that lie below each other */
	struct node *written;
	bool read_only, file_read_only;	/* of job->below */
};

static void change(struct job *job, struct export *export, struct change *c)
{
	struct node *below = job->below;

	c->written = job->written;
	if (job->written)
		set_written(job->written, false);
	job->written = NULL;
	if (job->above) {
		c->dropped = node_backing_move(job->above, below);
		return;
	}
	c->dropped = export->root.node;
	c->read_only = below->read_only;
	c->file_read_only = node_protocol(below)->read_only;
	node_exports_move(c->dropped, below);
	node_protocol(below)->read_only = false;
	below->read_only = false;
	if (below->driver == NODE_QCOW2)
		below->file.writes = true;
}

static void change_back(struct job *job, const struct change *c)
{
	struct node *below = job->below;

	if (job->above) {
		node_backing_move(job->above, c->dropped);
	} else {
		node_exports_move(below, c->dropped);
		node_protocol(below)->read_only = c->file_read_only;
		below->read_only = c->read_only;
	}
	job->written = c->written;
	if (job->written)
		set_written(job->written, true);
}

/* The kernel has what the graph says: let go of what is not in it any more. */
static void settle(struct job *job, const struct change *c)
{
	struct qmp_error error;

	if (job->above && c->written && node_protocol(c->written)->in_kernel)
		qc_lock(node_protocol(c->written)->store, QC_LOCK_NONE, NULL);
	else if (c->written)
		settle_or_log(job, c->written);
	if (c->dropped) {
		settle_or_log(job, c->dropped);
		node_release(c->dropped);
	}
	export_take_back();
	if (job->above && node_read_header(job->above, &error))
		log_line(LOG_WARNING, "node %s: %s", job->above->name, error.text);
	state_save_or_log();
}

int job_graph_pivot(struct job *job, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *before = state_graph();
	struct export *export = export_find(job->export);
	CLEANUP_NODE_CHAIN struct qc_chain chain = { 0 };
	CLEANUP_FREE char *params = NULL;
	struct change c = { 0 };

	if (export_stopped)
		return qmp_fail(error, "'%s' is stopped; use cont first", export->id);
	if (!job->above && export_params(export, &chain, &params, error))
		return -1;
	change(job, export, &c);
	job->done = true;
	if (!state_save_change(before, NULL, error) &&
	    !(job->above ? switch_over(job, export, error) :
			   switch_to_base(job, export, qc_table_sectors(&chain), params, error))) {
		settle(job, &c);
		return 0;
	}
	job->done = false;
	change_back(job, &c);
	state_save_or_log();
	return -1;
}
