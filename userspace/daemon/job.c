// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs: their states, and following the kernel's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <errno.h>
#include <stdio.h>

#include "dm.h"
#include "job-graph.h"
#include "job.h"
#include "log.h"
#include "state.h"
#include "table.h"

struct job_list job_list = TAILQ_HEAD_INITIALIZER(job_list);

static sd_event_source *poll_source;	/* NULL before start */

static const struct {
	const char *name;
	bool is_block;
} types[] = {
	[JOB_COMMIT] = { "commit", true },
	[JOB_STREAM] = { "stream", true },
	[JOB_CREATE] = { "create", false },
};

static const char *const status_names[] = {
	[JOB_UNDEFINED] = "undefined",
	[JOB_CREATED] = "created",
	[JOB_RUNNING] = "running",
	[JOB_PAUSED] = "paused",
	[JOB_READY] = "ready",
	[JOB_STANDBY] = "standby",
	[JOB_WAITING] = "waiting",
	[JOB_PENDING] = "pending",
	[JOB_ABORTING] = "aborting",
	[JOB_CONCLUDED] = "concluded",
	[JOB_NULL] = "null",
};

/* What may be asked in which status. */
#define UNTIL_READY (1 << JOB_CREATED | 1 << JOB_RUNNING | 1 << JOB_PAUSED | 1 << JOB_READY | \
		     1 << JOB_STANDBY)

static const struct {
	const char *name;
	unsigned int allowed;
} verbs[] = {
	[JOB_VERB_CANCEL] = { "cancel", UNTIL_READY | 1 << JOB_WAITING | 1 << JOB_PENDING },
	[JOB_VERB_PAUSE] = { "pause", UNTIL_READY },
	[JOB_VERB_RESUME] = { "resume", UNTIL_READY },
	[JOB_VERB_SET_SPEED] = { "set-speed", UNTIL_READY },
	[JOB_VERB_COMPLETE] = { "complete", 1 << JOB_READY },
	[JOB_VERB_FINALIZE] = { "finalize", 1 << JOB_PENDING },
	[JOB_VERB_DISMISS] = { "dismiss", 1 << JOB_CONCLUDED },
};

const char *job_type_name(enum job_type type)
{
	return types[type].name;
}

int job_type_parse(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(name, types[i].name))
			return i;
	return -1;
}

bool job_is_block(const struct job *job)
{
	return types[job->type].is_block;
}

bool job_is_ready(const struct job *job)
{
	return job->status == JOB_READY || job->status == JOB_STANDBY;
}

const char *job_status_name(enum job_status status)
{
	return status_names[status];
}

struct job *job_find(const char *id)
{
	struct job *job;

	TAILQ_FOREACH(job, &job_list, link)
		if (!strcmp(job->id, id))
			return job;
	return NULL;
}

int job_apply_verb(const struct job *job, enum job_verb verb, struct qmp_error *error)
{
	if (verbs[verb].allowed & 1 << job->status)
		return 0;
	return qmp_fail(error, "Job '%s' in state '%s' cannot accept command verb '%s'", job->id,
			job_status_name(job->status), verbs[verb].name);
}

/* --- who is in the way ------------------------------------------------------------------------ */

/* Until it is concluded it has nodes, and the kernel's job is there. */
static bool is_active(const struct job *job)
{
	return job->status < JOB_CONCLUDED;
}

/* A block job that has begun. */
static bool has_nodes(const struct job *job)
{
	return job_is_block(job) && is_active(job) && job->status > JOB_UNDEFINED;
}

/* As QEMU calls it: the node of a device by the device's name. */
static int say_busy(const struct node *node, const struct job *job, struct qmp_error *error)
{
	const char *name = node->name;
	const struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (export->root.node == node)
			name = export->id;
	return qmp_fail(error, "Node '%s' is busy: block device is in use by block job: %s", name,
			job_type_name(job->type));
}

int job_check_export(const struct export *export, struct qmp_error *error)
{
	const struct job *job;

	TAILQ_FOREACH(job, &job_list, link)
		if (has_nodes(job) && !strcmp(job->export, export->id))
			return say_busy(export->root.node, job, error);
	return 0;
}

static bool in_its_chain(const struct job *job, const struct node *node)
{
	const struct export *export = export_find(job->export);

	return export && node_in_chain(export->root.node, node);
}

static bool drops(const struct job *job, const struct node *node)
{
	return node != job->above && node != job->below && job_graph_uses(job, node);
}

static bool ends_on(const struct job *job, const struct node *node)
{
	return node == job->below;
}

static int check(const struct node *node,
		 bool (*in_the_way)(const struct job *job, const struct node *node),
		 struct qmp_error *error)
{
	const struct job *job;

	TAILQ_FOREACH(job, &job_list, link)
		if (has_nodes(job) && in_the_way(job, node))
			return say_busy(node, job, error);
	return 0;
}

int job_check_chain(const struct node *node, struct qmp_error *error)
{
	return check(node, in_its_chain, error);
}

int job_check_node(const struct node *node, struct qmp_error *error)
{
	return check(node, job_graph_uses, error);
}

int job_check_nodes(const struct node *from, const struct node *to, struct qmp_error *error)
{
	for (const struct node *n = from; n != to; n = n->backing.node)
		if (job_check_node(n, error))
			return -1;
	return 0;
}

int job_check_stays(const struct node *node, struct qmp_error *error)
{
	return check(node, drops, error);
}

int job_check_goes(const struct node *node, struct qmp_error *error)
{
	return check(node, ends_on, error);
}

/* --- events ----------------------------------------------------------------------------------- */

static void set_status(struct job *job, enum job_status status)
{
	struct json_object *data;

	if (job->status == status)
		return;
	job->status = status;
	data = json_object_new_object();
	qapi_add_str(data, "id", job->id);
	qapi_add_str(data, "status", job_status_name(status));
	qmp_emit("JOB_STATUS_CHANGE", data);
}

static void tell_progress(const struct job *job, const char *event)
{
	struct json_object *data;

	if (!job_is_block(job))
		return;
	data = json_object_new_object();
	qapi_add_str(data, "type", job_type_name(job->type));
	qapi_add_str(data, "device", job->id);
	qapi_add_int(data, "len", job->len);
	qapi_add_int(data, "offset", job->offset);
	qapi_add_int(data, "speed", job->speed);
	if (job->error && !strcmp(event, "BLOCK_JOB_COMPLETED"))
		qapi_add_str(data, "error", job->error);
	qmp_emit(event, data);
}

static void tell_pending(const struct job *job)
{
	struct json_object *data = json_object_new_object();

	qapi_add_str(data, "type", job_type_name(job->type));
	qapi_add_str(data, "id", job->id);
	qmp_emit("BLOCK_JOB_PENDING", data);
}

/* Once for each time that it runs: the kernel keeps the first error only. */
static void tell_error(struct job *job, const struct qc_job_status *kernel, const char *action)
{
	struct json_object *data;

	if (job->error_told)
		return;
	job->error_told = true;
	data = json_object_new_object();
	qapi_add_str(data, "device", job->id);
	qapi_add_str(data, "operation", kernel->reading ? "read" : "write");
	qapi_add_str(data, "action", action);
	qmp_emit("BLOCK_JOB_ERROR", data);
}

/* --- the kernel's job ------------------------------------------------------------------------- */

static const char *device_of(const struct job *job)
{
	const struct export *export = export_find(job->export);

	return export ? export->name : "";
}

static int send(const struct job *job, const char *what, struct qc_error *err)
{
	CLEANUP_FREE char *text = NULL;

	if (asprintf(&text, "job_%s %s", what, job->id) < 0) {
		text = NULL;
		return qc_fail_nomem(err, job->id);
	}
	return qc_dm_message(device_of(job), text, err);
}

static void forget(const struct job *job)
{
	struct qc_error err;
	int ret = job_is_block(job) ? send(job, "forget", &err) : 0;

	if (ret && ret != -ENOENT && ret != -ENODEV)
		log_line(LOG_WARNING, "%s", err.text);
}

static void cancel_kernel(struct job *job)
{
	struct qc_error err;
	int ret = send(job, "cancel", &err);

	if (ret && ret != -EBUSY && ret != -ENOENT && ret != -ENODEV)
		log_line(LOG_WARNING, "%s", err.text);
}

/* Returns 1 when it is there, 0 when not, -1 when that is not known. */
static int look(struct job *job, struct qc_job_status *found)
{
	CLEANUP_FREE char *params = NULL;
	struct qc_status status;
	struct qc_error err;
	u64 sectors;
	int ret;

	ret = qc_dm_status(device_of(job), &sectors, &params, &err);
	if (ret == -ENODEV)
		return 0;
	if (ret < 0 || qc_status_parse(params, job->id, &status, &err) < 0) {
		log_line(LOG_WARNING, "%s", err.text);
		return -1;
	}
	for (u64 i = 0; i < status.jobs; i++) {
		if (strcmp(status.job[i].id, job->id))
			continue;
		*found = status.job[i];
		job->offset = found->done;
		job->len = found->length;
		job->speed = found->speed;
		return 1;
	}
	return 0;
}

void job_refresh(struct job *job)
{
	struct qc_job_status status;

	if (job_is_block(job) && is_active(job))
		look(job, &status);
}

/* --- the end ---------------------------------------------------------------------------------- */

void job_dismiss(struct job *job)
{
	if (job->unsaved)
		forget(job);
	set_status(job, JOB_NULL);
	job_free(job);
	state_save_or_log();
}

static void fail(struct job *job, const char *text)
{
	if (!job->error)
		job->error = strdup(text);
	set_status(job, JOB_ABORTING);
}

static void end_work(struct job *job)
{
	if (job->work)
		job->work->end(job->work_data, job->error);
	job->work = NULL;
}

/*
 * It is concluded.  The kernel is told after the file: a job that is not in the kernel any more
 * would look as if it had been taken away.
 */
static void let_go(struct job *job)
{
	job->unsaved = state_save_or_log();
	if (job->unsaved)
		return;
	forget(job);
	if (job->auto_dismiss)
		job_dismiss(job);
}

/* Whether it went well is in job->error. */
static void conclude(struct job *job)
{
	if (job->error && job_is_block(job))
		cancel_kernel(job);
	job_graph_release(job);
	node_unreserve(job->filter);
	job->filter = NULL;
	end_work(job);
	tell_progress(job, job->error && job->cancelled ? "BLOCK_JOB_CANCELLED" :
							  "BLOCK_JOB_COMPLETED");
	set_status(job, JOB_CONCLUDED);
	job->above = NULL;
	job->below = NULL;
	let_go(job);
}

void job_finalize(struct job *job)
{
	struct qmp_error error;

	if (job_is_block(job) && !job->done && !job->error && job_graph_pivot(job, &error)) {
		log_line(LOG_ERR, "job %s: %s", job->id, error.text);
		fail(job, error.text);
	}
	conclude(job);
}

static void converge(struct job *job)
{
	set_status(job, JOB_WAITING);
	set_status(job, JOB_PENDING);
	if (!job->auto_finalize)
		tell_pending(job);
	else
		job_finalize(job);
}

/* It goes on, where it was. */
static void resumed(struct job *job)
{
	job->user_paused = false;
	set_status(job, job_is_ready(job) ? JOB_READY : JOB_RUNNING);
}

/* The kernel's has ended. */
static void ended(struct job *job, const struct qc_job_status *kernel)
{
	int code = kernel->error;

	if (job->status == JOB_PAUSED || job->status == JOB_STANDBY)
		resumed(job);
	/* Cancelled when it was ready: base has what top had then, and nothing else changes. */
	if (code == ECANCELED && job->ends_here)
		job->done = true;
	if (!code || job->done) {
		converge(job);
		return;
	}
	if (code == ECANCELED)
		job->cancelled = true;
	else
		tell_error(job, kernel, strcmp(job->on_error, "ignore") ? "report" : "ignore");
	fail(job, strerror(code));
	conclude(job);
}

/* --- the daemon's own ------------------------------------------------------------------------- */

static void do_step(struct job *job)
{
	struct qmp_error error;
	int ret;

	if (job->user_paused || (job->work->waits && job->work->waits(job->work_data)))
		return;
	ret = job->work->step(job->work_data, &error);
	if (ret > 0) {
		job_poll_soon();
		return;
	}
	job->offset = job->len;
	if (!ret) {
		converge(job);
		return;
	}
	fail(job, error.text);
	conclude(job);
}

/* --- following the kernel --------------------------------------------------------------------- */

static void paused(struct job *job, const struct qc_job_status *kernel)
{
	job->user_paused = true;
	if (kernel->state == QC_JOB_STOPPED) {
		job->io_error = kernel->error;
		tell_error(job, kernel, "stop");
	}
	set_status(job, job_is_ready(job) ? JOB_STANDBY : JOB_PAUSED);
}

static void running(struct job *job, const struct qc_job_status *kernel)
{
	if (kernel->error)
		tell_error(job, kernel, "ignore");
	job->io_error = 0;
	resumed(job);
}

static void ready(struct job *job)
{
	bool new = !job_is_ready(job);

	if (new) {
		set_status(job, JOB_READY);
		tell_progress(job, "BLOCK_JOB_READY");
		if (job->ends_here)
			cancel_kernel(job);
	}
	/* That takes a device that runs; cont comes back here. */
	if (job->completing && !export_stopped) {
		converge(job);
		return;
	}
	/* There is nothing that would have to stop: writes go to both places by themselves. */
	set_status(job, job->user_paused ? JOB_STANDBY : JOB_READY);
}

static void catch_up(struct job *job)
{
	struct qc_job_status kernel;
	int there;

	if (job->unsaved) {
		let_go(job);
		return;
	}
	/* Waits for a client, or is still being started. */
	if (job->status == JOB_UNDEFINED || job->status >= JOB_WAITING)
		return;
	if (!job_is_block(job)) {
		do_step(job);
		return;
	}
	there = look(job, &kernel);
	if (there < 0)
		return;
	if (!there) {
		fail(job, "The device or its job was taken away");
		conclude(job);
		return;
	}
	switch (kernel.state) {
	case QC_JOB_RUNNING:
		running(job, &kernel);
		break;
	case QC_JOB_PAUSED:
	case QC_JOB_STOPPED:
		paused(job, &kernel);
		break;
	case QC_JOB_READY:
		ready(job);
		break;
	case QC_JOB_ENDING:
		break;
	case QC_JOB_ENDED:
		/* What it leads to takes a device that runs; cont comes back here. */
		if (!export_stopped || kernel.error)
			ended(job, &kernel);
		break;
	}
}

void job_poll_all(void)
{
	struct job *job, *next;

	for (job = TAILQ_FIRST(&job_list); job; job = next) {
		next = TAILQ_NEXT(job, link);
		catch_up(job);
	}
}

static int on_poll(sd_event_source *source, void *context)
{
	(void)source;
	(void)context;
	job_poll_all();
	return 0;
}

void job_poll_soon(void)
{
	if (poll_source)
		sd_event_source_set_enabled(poll_source, SD_EVENT_ONESHOT);
}

/* --- what clients want of it ------------------------------------------------------------------ */

static int kernel_failed(int ret, const struct qc_error *err, struct qmp_error *error)
{
	/* It has ended meanwhile: that is told, and there is nothing to steer any more. */
	job_poll_soon();
	return ret == -EBUSY || ret == -ENOENT ? 0 : qmp_fail(error, "%s", err->text);
}

/*
 * Have the kernel pause or resume it.  One that is ready copies nothing, which the kernel would not
 * pause: then it is only for us to know; also when it has become so and we have not seen that yet.
 */
static int steer(struct job *job, const char *what, struct qc_error *err)
{
	struct qc_job_status status;
	int ret;

	if (job->work || job_is_ready(job))
		return 0;
	ret = send(job, what, err);
	return ret == -EBUSY && look(job, &status) == 1 && status.state == QC_JOB_READY ? 0 : ret;
}

int job_pause(struct job *job, struct qmp_error *error)
{
	struct qc_error err;
	int ret;

	if (job->user_paused)
		return qmp_fail(error, "Job is already paused");
	/* Written first: of one that is ready the kernel does not know it. */
	job->user_paused = true;
	ret = job->work ? 0 : state_save(error);
	if (ret) {
		job->user_paused = false;
		return ret;
	}
	ret = steer(job, "pause", &err);
	if (ret) {
		job->user_paused = false;
		return kernel_failed(ret, &err, error);
	}
	if (job->work)
		set_status(job, JOB_PAUSED);
	job_poll_soon();
	return 0;
}

int job_resume(struct job *job, struct qmp_error *error)
{
	struct qc_error err;
	int ret;

	if (!job->user_paused)
		return qmp_fail(error, "Can't resume a job that was not paused");
	/* Written first: of one that does not go on yet the kernel knows that it is paused. */
	job->user_paused = false;
	ret = state_save(error);
	if (ret) {
		job->user_paused = true;
		return ret;
	}
	job->error_told = false;
	ret = steer(job, "resume", &err);
	if (ret) {
		job->user_paused = true;
		return kernel_failed(ret, &err, error);
	}
	if (job->work)
		set_status(job, JOB_RUNNING);
	job->io_error = 0;
	job_poll_soon();
	return 0;
}

int job_set_speed(struct job *job, u64 speed, struct qmp_error *error)
{
	CLEANUP_FREE char *message = NULL;
	struct qc_error err;
	int ret;

	if (asprintf(&message, "job_speed %s %llu", job->id, speed) < 0) {
		message = NULL;
		return qmp_fail(error, "Out of memory");
	}
	ret = qc_dm_message(device_of(job), message, &err);
	if (ret)
		return kernel_failed(ret, &err, error);
	job->speed = speed;
	return 0;
}

/* At once, whatever the kernel's job does. */
static void end_cancelled(struct job *job)
{
	job->cancelled = true;
	fail(job, strerror(ECANCELED));
	conclude(job);
}

void job_cancel(struct job *job, bool force)
{
	if (!job_is_block(job) || job->status == JOB_WAITING || job->status == JOB_PENDING) {
		end_cancelled(job);
		return;
	}
	job->ends_here = !force && job->status == JOB_READY;
	state_save_or_log();
	cancel_kernel(job);
	job_poll_soon();
}

void job_complete(struct job *job)
{
	/* Answered before it is done: a daemon that is started meanwhile goes on with it. */
	job->completing = true;
	state_save_or_log();
	converge(job);
}

/* --- start ------------------------------------------------------------------------------------ */

void job_free(struct job *job)
{
	TAILQ_REMOVE(&job_list, job, link);
	free(job->id);
	free(job->error);
	free(job->export);
	free(job->on_error);
	free(job->backing_file);
	node_unreserve(job->filter);
	free(job);
}

static int check_id(const char *id, struct qmp_error *error)
{
	if (!node_wellformed(id) || strlen(id) > JOB_ID_MAX)
		return qmp_fail(error, "Invalid job ID '%s'", id);
	if (job_find(id))
		return qmp_fail(error, "Job ID '%s' already in use", id);
	return 0;
}

/* A job in the list that has nothing but a name. */
static struct job *add(enum job_type type, const char *id, struct qmp_error *error)
{
	struct job *job;

	if (check_id(id, error))
		return NULL;
	job = calloc(1, sizeof(*job));
	if (job)
		job->id = strdup(id);
	if (!job || !job->id) {
		free(job);
		qmp_fail(error, "Out of memory");
		return NULL;
	}
	job->type = type;
	TAILQ_INSERT_TAIL(&job_list, job, link);
	return job;
}

int job_check_filter(struct json_object *arguments, struct qmp_error *error)
{
	const char *name = qapi_get_str(arguments, "filter-node-name", NULL);

	if (!name)
		return 0;
	if (export_find(name))
		return qmp_fail(error, "node-name=%s is conflicting with a device id", name);
	return node_check_name(name, error);
}

struct node *job_filtered(const struct job *job, const char **driver)
{
	const struct export *export = job->filter ? export_find(job->export) : NULL;

	if (!export)
		return NULL;
	if (job->type == JOB_STREAM) {
		*driver = "copy-on-read";
		return job->above;
	}
	*driver = job->above ? "commit_top" : "mirror_top";
	return job->above ? job->above->backing.node : export->root.node;
}

struct job *job_new(enum job_type type, struct export *export, const char *device,
		    struct json_object *arguments, struct qmp_error *error)
{
	const char *id = qapi_get_str(arguments, "job-id", NULL);
	const char *on_error = qapi_get_str(arguments, "on-error", "report");
	const char *backing_file = qapi_get_str(arguments, "backing-file", NULL);
	const char *filter = qapi_get_str(arguments, "filter-node-name", NULL);
	int64_t speed = qapi_get_int(arguments, "speed", 0);
	struct job *job;

	/* Named by the device; one that was found by the name of a node has none. */
	if (!id)
		id = export_find(device) ? device : "";
	if (speed < 0) {
		qmp_fail(error, "Parameter 'speed' expects a non-negative value");
		return NULL;
	}
	if (backing_file && strlen(backing_file) > QC_MAX_BACKING_NAME) {
		qmp_fail(error, "A backing file name has 1 to %d bytes", QC_MAX_BACKING_NAME);
		return NULL;
	}
	job = add(type, id, error);
	if (!job)
		return NULL;
	job->speed = speed;
	job->auto_finalize = qapi_get_bool(arguments, "auto-finalize", true);
	job->auto_dismiss = qapi_get_bool(arguments, "auto-dismiss", true);
	job->export = strdup(export->id);
	job->on_error = strdup(strcmp(on_error, "auto") ? on_error : "enospc");
	job->backing_file = backing_file ? strdup(backing_file) : NULL;
	job->filter = filter ? node_reserve(filter) : NULL;
	if (job->export && job->on_error && (job->backing_file || !backing_file) &&
	    (job->filter || !filter))
		return job;
	job_free(job);
	qmp_fail(error, "Out of memory");
	return NULL;
}

/* The layers between which it copies, by number; for a stream "-" where nothing stays below. */
static char *start_message(const struct job *job)
{
	const struct export *export = export_find(job->export);
	struct node *top = job->above;
	char base[24] = "-", *text;

	if (job->type == JOB_COMMIT)
		top = top ? top->backing.node : export->root.node;
	if (job->below)
		snprintf(base, sizeof(base), "%zu", job_graph_layer(export, job->below));
	return asprintf(&text, "job_start %s %s %zu %s speed=%llu on_error=%s", job->id,
			job_type_name(job->type), job_graph_layer(export, top), base, job->speed,
			job->on_error) < 0 ? NULL : text;
}

static int start_kernel(struct job *job, struct qmp_error *error)
{
	CLEANUP_FREE char *message = start_message(job);
	struct qc_error err;
	int ret;

	if (!message)
		return qmp_fail(error, "Out of memory");
	ret = qc_dm_message(device_of(job), message, &err);
	if (ret == -EOPNOTSUPP)
		return qmp_fail(error, "%s: the kernel module cannot do this job", job->id);
	return ret ? qmp_fail(error, "%s", err.text) : 0;
}

int job_start(struct job *job, struct qmp_error *error)
{
	/*
	 * Written before a base is made writable, and before there is a job: either would be in the
	 * way when nobody knows of it.
	 */
	if (!state_save(error) && !job_graph_prepare(job, error)) {
		if (!state_save(error) && !start_kernel(job, error)) {
			set_status(job, JOB_CREATED);
			set_status(job, JOB_RUNNING);
			job_poll_soon();
			return 0;
		}
		job_graph_release(job);
	}
	job_free(job);
	state_save_or_log();
	return -1;
}

int job_run(enum job_type type, const char *id, const struct job_work *work, void *data,
	    struct qmp_error *error)
{
	struct job *job = add(type, id, error);

	if (!job)
		return -1;
	job->auto_finalize = true;
	job->len = 1;	/* done, or not done */
	if (state_save(error)) {
		job_free(job);
		return -1;
	}
	job->work = work;
	job->work_data = data;
	set_status(job, JOB_CREATED);
	set_status(job, JOB_RUNNING);
	job_poll_soon();
	return 0;
}

/* --- the part --------------------------------------------------------------------------------- */

/* Go on with what an earlier daemon began. */
static void take_up(void)
{
	struct job *job, *next;

	for (job = TAILQ_FIRST(&job_list); job; job = next) {
		next = TAILQ_NEXT(job, link);
		if (job->status == JOB_CONCLUDED) {
			forget(job);
			if (job->auto_dismiss)
				job_dismiss(job);
		} else if (job->done && !job->ends_here) {
			conclude(job);
		} else if (!job_is_block(job)) {
			fail(job, "The daemon ended before the job did");
			conclude(job);
		} else {
			job_graph_relock(job);
			job->status = JOB_CREATED;
		}
	}
	job_poll_soon();
}

static int start(sd_event *loop, struct qmp_error *error)
{
	int ret;

	ret = sd_event_add_defer(loop, &poll_source, on_poll, NULL);
	/* Clients come first: a step of a job leads to the next one. */
	if (ret >= 0)
		ret = sd_event_source_set_priority(poll_source, SD_EVENT_PRIORITY_IDLE);
	if (ret < 0)
		return qmp_fail(error, "cannot watch jobs: %s", strerror(-ret));
	take_up();
	return 0;
}

static int quit(bool keep, struct qmp_error *error)
{
	struct job *job, *next;

	(void)error;
	for (job = TAILQ_FIRST(&job_list); job; job = next) {
		next = TAILQ_NEXT(job, link);
		if (is_active(job) && (!keep || !job_is_block(job)))
			job_cancel(job, true);
	}
	if (keep)
		return 0;
	job_poll_all();
	/* One that had done its work by then waits for a client, or for cont. */
	for (job = TAILQ_FIRST(&job_list); job; job = next) {
		next = TAILQ_NEXT(job, link);
		if (is_active(job))
			end_cancelled(job);
	}
	return 0;
}

const struct daemon_part job_part = {
	.name = "jobs",
	.start = start,
	.quit = quit,
};
