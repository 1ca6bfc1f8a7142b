// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands about jobs that there are, and their events. */
#include <errno.h>

#include "job.h"
#include "schema-job.h"

/* One that an earlier daemon left is looked at first: how far it is says what may be asked. */
static struct job *find(const char *id)
{
	struct job *job = job_find(id);

	if (!job || job->status != JOB_CREATED)
		return job;
	job_poll_all();
	return job_find(id);
}

static struct job *find_job(struct json_object *arguments, struct qmp_error *error)
{
	struct job *job = find(qapi_get_str(arguments, "id", ""));

	if (!job)
		qmp_fail(error, "Job not found");
	return job;
}

/* Of a block job the older commands have "device", and the two newer of them "id". */
static struct job *find_block_job(struct json_object *arguments, struct qmp_error *error)
{
	const char *id = qapi_get_str(arguments, "device", NULL);
	struct job *job;

	if (!id)
		id = qapi_get_str(arguments, "id", "");
	job = find(id);
	if (job && job_is_block(job))
		return job;
	qmp_fail_class(error, QMP_DEVICE_NOT_ACTIVE, "Block job '%s' not found", id);
	return NULL;
}

static int cancel(struct job *job, bool force, struct qmp_error *error)
{
	if (job_apply_verb(job, JOB_VERB_CANCEL, error))
		return -1;
	job_cancel(job, force);
	return 0;
}

static int pause_it(struct job *job, struct qmp_error *error)
{
	return job_apply_verb(job, JOB_VERB_PAUSE, error) ? -1 : job_pause(job, error);
}

static int resume_it(struct job *job, struct qmp_error *error)
{
	/* In this order, as in QEMU. */
	if (!job->user_paused)
		return qmp_fail(error, "Can't resume a job that was not paused");
	return job_apply_verb(job, JOB_VERB_RESUME, error) ? -1 : job_resume(job, error);
}

static int complete(struct job *job, struct qmp_error *error)
{
	if (job_apply_verb(job, JOB_VERB_COMPLETE, error))
		return -1;
	if (export_stopped)
		return qmp_fail(error, "'%s' is stopped; use cont first", job->export);
	job_complete(job);
	return 0;
}

static int finalize(struct job *job, struct qmp_error *error)
{
	if (job_apply_verb(job, JOB_VERB_FINALIZE, error))
		return -1;
	if (export_stopped)
		return qmp_fail(error, "'%s' is stopped; use cont first", job->export);
	job_finalize(job);
	return 0;
}

static int dismiss(struct job *job, struct qmp_error *error)
{
	if (job_apply_verb(job, JOB_VERB_DISMISS, error))
		return -1;
	job_dismiss(job);
	return 0;
}

static int cancel_by_force(struct job *job, struct qmp_error *error)
{
	return cancel(job, true, error);
}

static int on_job(struct json_object *arguments, int (*call)(struct job *, struct qmp_error *),
		  struct qmp_error *error)
{
	struct job *job = find_job(arguments, error);

	return job ? call(job, error) : -1;
}

static int on_block_job(struct json_object *arguments,
			int (*call)(struct job *, struct qmp_error *), struct qmp_error *error)
{
	struct job *job = find_block_job(arguments, error);

	return job ? call(job, error) : -1;
}

static int run_job_cancel(struct qmp_session *session, struct json_object *arguments,
			  struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_job(arguments, cancel_by_force, error);
}

static int run_job_pause(struct qmp_session *session, struct json_object *arguments,
			 struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_job(arguments, pause_it, error);
}

static int run_job_resume(struct qmp_session *session, struct json_object *arguments,
			  struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_job(arguments, resume_it, error);
}

static int run_job_complete(struct qmp_session *session, struct json_object *arguments,
			    struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_job(arguments, complete, error);
}

static int run_job_finalize(struct qmp_session *session, struct json_object *arguments,
			    struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_job(arguments, finalize, error);
}

static int run_job_dismiss(struct qmp_session *session, struct json_object *arguments,
			   struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_job(arguments, dismiss, error);
}

static int run_block_job_pause(struct qmp_session *session, struct json_object *arguments,
			       struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_block_job(arguments, pause_it, error);
}

static int run_block_job_resume(struct qmp_session *session, struct json_object *arguments,
				struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_block_job(arguments, resume_it, error);
}

static int run_block_job_complete(struct qmp_session *session, struct json_object *arguments,
				  struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_block_job(arguments, complete, error);
}

static int run_block_job_finalize(struct qmp_session *session, struct json_object *arguments,
				  struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_block_job(arguments, finalize, error);
}

static int run_block_job_dismiss(struct qmp_session *session, struct json_object *arguments,
				 struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return on_block_job(arguments, dismiss, error);
}

static int run_block_job_cancel(struct qmp_session *session, struct json_object *arguments,
				struct json_object **result, struct qmp_error *error)
{
	bool force = qapi_get_bool(arguments, "force", false);
	struct job *job = find_block_job(arguments, error);

	(void)session;
	(void)result;
	if (!job)
		return -1;
	if (job->user_paused && !force)
		return qmp_fail(error, "The block job for device '%s' is currently paused",
				job->id);
	return cancel(job, force, error);
}

static int run_set_speed(struct qmp_session *session, struct json_object *arguments,
			 struct json_object **result, struct qmp_error *error)
{
	struct job *job = find_block_job(arguments, error);
	int64_t speed = qapi_get_int(arguments, "speed", 0);

	(void)session;
	(void)result;
	if (!job || job_apply_verb(job, JOB_VERB_SET_SPEED, error))
		return -1;
	if (speed < 0)
		return qmp_fail(error, "Parameter 'speed' expects a non-negative value");
	return job_set_speed(job, speed, error);
}

/* --- queries ---------------------------------------------------------------------------------- */

static int run_query_jobs(struct qmp_session *session, struct json_object *arguments,
			  struct json_object **result, struct qmp_error *error)
{
	struct job *job;

	(void)session;
	(void)arguments;
	(void)error;
	*result = json_object_new_array();
	TAILQ_FOREACH(job, &job_list, link) {
		struct json_object *info = json_object_new_object();

		job_refresh(job);
		qapi_add_str(info, "id", job->id);
		qapi_add_str(info, "type", job_type_name(job->type));
		qapi_add_str(info, "status", job_status_name(job->status));
		qapi_add_int(info, "current-progress", job->offset);
		qapi_add_int(info, "total-progress", job->len);
		qapi_add_str(info, "error", job->error);
		json_object_array_add(*result, info);
	}
	return 0;
}

static struct json_object *block_job_info(struct job *job)
{
	struct json_object *info = json_object_new_object();

	job_refresh(job);
	qapi_add_str(info, "type", job_type_name(job->type));
	qapi_add_str(info, "device", job->id);
	qapi_add_int(info, "len", job->len);
	qapi_add_int(info, "offset", job->offset);
	qapi_add_bool(info, "busy", job->status == JOB_RUNNING);
	qapi_add_bool(info, "paused", job->user_paused);
	qapi_add_int(info, "speed", job->speed);
	qapi_add_str(info, "io-status", !job->io_error ? "ok" :
				   job->io_error == ENOSPC ? "nospace" : "failed");
	qapi_add_bool(info, "ready", job_is_ready(job));
	qapi_add_str(info, "status", job_status_name(job->status));
	qapi_add_bool(info, "auto-finalize", job->auto_finalize);
	qapi_add_bool(info, "auto-dismiss", job->auto_dismiss);
	qapi_add_str(info, "error", job->error);
	qapi_add_str(info, "export", job->export);
	return info;
}

static int run_query_block_jobs(struct qmp_session *session, struct json_object *arguments,
				struct json_object **result, struct qmp_error *error)
{
	struct job *job;

	(void)session;
	(void)arguments;
	(void)error;
	*result = json_object_new_array();
	TAILQ_FOREACH(job, &job_list, link)
		if (job_is_block(job))
			json_object_array_add(*result, block_job_info(job));
	return 0;
}

const struct qapi_command job_commands[] = {
	{ "query-jobs", .result = &schema_job_infos, .run = run_query_jobs },
	{ "query-block-jobs", .result = &schema_block_job_infos, .run = run_query_block_jobs },
	{ "job-cancel", .arguments = &schema_job_id, .run = run_job_cancel },
	{ "job-pause", .arguments = &schema_job_id, .run = run_job_pause },
	{ "job-resume", .arguments = &schema_job_id, .run = run_job_resume },
	{ "job-complete", .arguments = &schema_job_id, .run = run_job_complete },
	{ "job-finalize", .arguments = &schema_job_id, .run = run_job_finalize },
	{ "job-dismiss", .arguments = &schema_job_id, .run = run_job_dismiss },
	{ "block-job-cancel", .arguments = &schema_block_job_cancel, .run = run_block_job_cancel },
	{ "block-job-pause", .arguments = &schema_block_job_device, .run = run_block_job_pause },
	{ "block-job-resume", .arguments = &schema_block_job_device, .run = run_block_job_resume },
	{ "block-job-complete", .arguments = &schema_block_job_device,
	  .run = run_block_job_complete },
	{ "block-job-finalize", .arguments = &schema_job_id, .run = run_block_job_finalize },
	{ "block-job-dismiss", .arguments = &schema_job_id, .run = run_block_job_dismiss },
	{ "block-job-set-speed", .arguments = &schema_block_job_set_speed, .run = run_set_speed },
	{ 0 }
};

const struct qapi_event job_events[] = {
	{ "JOB_STATUS_CHANGE", .data = &schema_job_status_change },
	{ "BLOCK_JOB_COMPLETED", .data = &schema_block_job_completed },
	{ "BLOCK_JOB_CANCELLED", .data = &schema_block_job_cancelled },
	{ "BLOCK_JOB_ERROR", .data = &schema_block_job_error },
	{ "BLOCK_JOB_READY", .data = &schema_block_job_ready },
	{ "BLOCK_JOB_PENDING", .data = &schema_block_job_pending },
	{ 0 }
};
