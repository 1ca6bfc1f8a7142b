// SPDX-License-Identifier: GPL-2.0-or-later
/* What jobs need of the graph, and make of it. */
#include "backing-name.h"
#include "dm.h"
#include "job-graph.h"
#include "log.h"
#include "node-open.h"
#include "state.h"
#include "window.h"

/* --- places in a chain ------------------------------------------------------------------------ */

static bool in_chain(const struct node *top, const struct node *node)
{
	while (top && top != node)
		top = top->backing.node;
	return top;
}

struct export *job_graph_export(const struct node *node, struct qmp_error *error)
{
	struct export *export, *found = NULL;

	TAILQ_FOREACH(export, &export_list, link) {
		if (!in_chain(export->root.node, node))
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

/* --- writing to a backing node ---------------------------------------------------------------- */

/* Have the device use what the graph says now. */
static int reload(struct export *export, struct qmp_error *error)
{
	const char *const names[] = { export->name };
	CLEANUP_FD int serial = -1;
	struct qc_error err;

	if (qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (export_load(export, error))
		return -1;
	return window_switch(names, 1, &err) ? 0 : qmp_fail(error, "%s", err.text);
}

static void set_written(struct node *node, bool written)
{
	node->written = written;
	node_protocol(node)->written = written;
	if (node->driver == NODE_QCOW2)
		node->file.writes = written || !node->read_only;
}

/* The file of @protocol, which may be open for reading only, once more. */
static int open_again(const struct node *protocol, struct qc_store **store, struct qmp_error *error)
{
	struct qc_error err;

	if (qc_store_open(protocol->path, QC_OPEN_WRITE, store, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if ((*store)->is_bdev == protocol->is_bdev && (*store)->dev == protocol->dev &&
	    (*store)->ino == protocol->ino)
		return 0;
	qc_store_close(*store);
	*store = NULL;
	return qmp_fail(error, "%s: is not the file any more that node '%s' was made of",
			protocol->path, protocol->name);
}

/*
 * Would others let us write?  @store is a description that is to take the place of the one that has
 * the lock for reading; it gets such a lock, too, so that there is one all the time.
 */
static int try_lock(struct node *protocol, struct qc_store *store, struct qmp_error *error)
{
	struct qc_error err;
	const char *denied;

	if (!protocol->locking || protocol->in_kernel)
		return 0;
	if (qc_lock(store, QC_LOCK_READ, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (protocol->lock != QC_LOCK_READ)
		return 0;
	qc_lock(protocol->store, QC_LOCK_NONE, NULL);
	denied = qc_lock_denied(store, QC_LOCK_WRITE);
	qc_lock(protocol->store, QC_LOCK_READ, NULL);
	return denied ? qmp_fail(error, "%s", denied) : 0;
}

/* Nobody else has it, or @protocol's lock is the kernel's alone: then there is a second one. */
static int lock(struct node *node, struct qmp_error *error)
{
	struct node *protocol = node_protocol(node);
	struct qc_error err;

	if (!protocol->locking)
		return 0;
	if (protocol->in_kernel && qc_lock_denied(protocol->store, QC_LOCK_WRITE))
		return qc_lock_beside(protocol->store, &err) < 0 ?
		       qmp_fail(error, "%s", err.text) : 0;
	if (protocol->in_kernel) {
		/* The kernel has let go of the old description, for the one of the new table. */
		protocol->in_kernel = false;
		protocol->lock = QC_LOCK_NONE;
	}
	return node_settle(node, error);
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
	if (!before->writable) {
		if (open_again(protocol, &other, error) || try_lock(protocol, other, error))
			return -1;
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
	if (job->written)
		set_written(job->written, true);
}

void job_graph_relock(struct job *job)
{
	struct qmp_error error;

	if (job->written && lock(job->written, &error))
		log_line(LOG_WARNING, "job %s: %s", job->id, error.text);
}

void job_graph_release(struct job *job)
{
	struct export *export = export_find(job->export);
	struct qmp_error error;

	if (!job->written)
		return;
	set_written(job->written, false);
	if (export && reload(export, &error))
		log_line(LOG_WARNING, "job %s: %s", job->id, error.text);
	if (node_protocol(job->written)->in_kernel)
		qc_lock(node_protocol(job->written)->store, QC_LOCK_NONE, NULL);
	else if (node_settle(job->written, &error))
		log_line(LOG_WARNING, "job %s: %s", job->id, error.text);
	job->written = NULL;
}

/* --- the end ---------------------------------------------------------------------------------- */

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
		format = job->below->driver == NODE_QCOW2 ? "qcow2" : "raw";
		if (!name)
			return qmp_fail(error, "Could not find '%s'", below->path);
	}
	if (open_again(above, &store, error))
		return -1;
	if (qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (export_load(export, error))
		return -1;
	return window_pivot(export->name, store, name, format, &err) < 0 ?
	       qmp_fail(error, "%s", err.text) : 0;
}

/* The graph is what the kernel has: let go of what is not in it any more. */
static void settle(struct job *job, struct node *written, struct node *dropped)
{
	struct qmp_error error;

	if (written && node_protocol(written)->in_kernel)
		qc_lock(node_protocol(written)->store, QC_LOCK_NONE, NULL);
	else if (written && node_settle(written, &error))
		log_line(LOG_WARNING, "job %s: %s", job->id, error.text);
	if (dropped) {
		node_settle(dropped, &error);
		node_release(dropped);
	}
	export_take_back();
	if (node_read_header(job->above, &error))
		log_line(LOG_WARNING, "node %s: %s", job->above->name, error.text);
	if (state_save(&error))
		log_line(LOG_WARNING, "%s", error.text);
}

int job_graph_pivot(struct job *job, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *before = state_graph();
	struct export *export = export_find(job->export);
	struct node *dropped, *written = job->written;
	struct qmp_error ignored;

	if (export_stopped)
		return qmp_fail(error, "'%s' is stopped; use cont first", export->id);
	if (written)
		set_written(written, false);
	job->written = NULL;
	dropped = node_backing_move(job->above, job->below);
	job->done = true;
	if (!state_save_change(before, NULL, error) && !switch_over(job, export, error)) {
		settle(job, written, dropped);
		return 0;
	}
	job->done = false;
	node_backing_move(job->above, dropped);
	job->written = written;
	if (written)
		set_written(written, true);
	if (state_save(&ignored))
		log_line(LOG_WARNING, "%s", ignored.text);
	return -1;
}
