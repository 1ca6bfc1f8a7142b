// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs in the state file. */
#include "job-graph.h"
#include "job-state.h"
#include "job.h"
#include "log.h"

static struct json_object *job_state(const struct job *job)
{
	struct json_object *object = json_object_new_object();

	qapi_add_str(object, "id", job->id);
	qapi_add_str(object, "type", job_type_name(job->type));
	qapi_add_bool(object, "auto-finalize", job->auto_finalize);
	qapi_add_bool(object, "auto-dismiss", job->auto_dismiss);
	qapi_add_int(object, "speed", job->speed);
	qapi_add_int(object, "offset", job->offset);
	qapi_add_int(object, "len", job->len);
	qapi_add_str(object, "error", job->error);
	qapi_add_bool(object, "cancelled", job->cancelled);
	qapi_add_bool(object, "concluded", job->status == JOB_CONCLUDED);
	qapi_add_bool(object, "ends-here", job->ends_here);
	qapi_add_bool(object, "completing", job->completing);
	qapi_add_bool(object, "paused", job->user_paused);
	qapi_add_bool(object, "done", job->done);
	qapi_add_str(object, "export", job->export);
	qapi_add_str(object, "on-error", job->on_error);
	qapi_add_str(object, "above", job->above ? job->above->name : NULL);
	qapi_add_str(object, "below", job->below ? job->below->name : NULL);
	qapi_add_str(object, "written", job->written ? job->written->name : NULL);
	qapi_add_str(object, "backing-file", job->backing_file);
	qapi_add_str(object, "filter-node-name", job->filter ? job->filter->name : NULL);
	return object;
}

struct json_object *job_state_save(void)
{
	struct json_object *array = json_object_new_array();
	struct job *job;

	TAILQ_FOREACH(job, &job_list, link)
		json_object_array_add(array, job_state(job));
	return array;
}

static char *copy(struct json_object *object, const char *member)
{
	const char *text = qapi_get_str(object, member, NULL);

	return text ? strdup(text) : NULL;
}

/* False when it is named, but not there. */
static bool find(struct json_object *object, const char *member, struct node **node)
{
	const char *name = qapi_get_str(object, member, NULL);

	*node = name ? node_find(name) : NULL;
	return !name || *node;
}

static bool restore(struct json_object *object)
{
	struct job *job = calloc(1, sizeof(*job));
	int type = job_type_parse(qapi_get_str(object, "type", ""));
	const char *filter = qapi_get_str(object, "filter-node-name", NULL);
	bool whole;

	if (!job)
		return false;
	TAILQ_INSERT_TAIL(&job_list, job, link);
	job->id = copy(object, "id");
	job->type = type < 0 ? JOB_COMMIT : type;
	job->auto_finalize = qapi_get_bool(object, "auto-finalize", true);
	job->auto_dismiss = qapi_get_bool(object, "auto-dismiss", true);
	job->speed = qapi_get_int(object, "speed", 0);
	job->offset = qapi_get_int(object, "offset", 0);
	job->len = qapi_get_int(object, "len", 0);
	job->error = copy(object, "error");
	job->cancelled = qapi_get_bool(object, "cancelled", false);
	job->status = qapi_get_bool(object, "concluded", false) ? JOB_CONCLUDED : JOB_CREATED;
	job->ends_here = qapi_get_bool(object, "ends-here", false);
	job->completing = qapi_get_bool(object, "completing", false);
	job->user_paused = qapi_get_bool(object, "paused", false);
	job->done = qapi_get_bool(object, "done", false);
	job->export = copy(object, "export");
	job->on_error = copy(object, "on-error");
	job->backing_file = copy(object, "backing-file");
	job->filter = filter ? node_reserve(filter) : NULL;
	whole = find(object, "above", &job->above) && find(object, "below", &job->below) &&
		find(object, "written", &job->written);
	if (whole && type >= 0 && job->id &&
	    (!job_is_block(job) || (job->export && job->on_error))) {
		job_graph_restore(job);
		return true;
	}
	job_free(job);
	return false;
}

void job_state_restore(struct json_object *jobs)
{
	for (size_t i = 0; jobs && i < json_object_array_length(jobs); i++)
		if (!restore(json_object_array_get_idx(jobs, i)))
			log_line(LOG_WARNING, "a job in the state file does not fit the graph; "
				 "forgotten");
}

void job_state_prune(const struct export *going)
{
	struct job *job, *next;

	for (job = TAILQ_FIRST(&job_list); job; job = next) {
		const struct export *export;

		next = TAILQ_NEXT(job, link);
		if (!job_is_block(job) || job->status == JOB_CONCLUDED)
			continue;
		export = export_find(job->export);
		if (export && export != going)
			continue;
		log_line(LOG_WARNING, "job %s: forgotten, as the device of export %s was", job->id,
			 job->export);
		job_graph_forget(job);
		job_free(job);
	}
}
