// SPDX-License-Identifier: GPL-2.0-or-later
/* The daemon's jobs, as a client knows them. */
#include <time.h>

#include "job-list.h"
#include "qapi.h"

static u64 now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

const char *listed_job_id(const struct listed_job *job)
{
	return qapi_get_str(job->info, "id", "");
}

const char *listed_job_status(const struct listed_job *job)
{
	static const char *const ends[] = {
		[JOB_COMPLETED] = "completed",
		[JOB_CANCELLED] = "cancelled",
		[JOB_FAILED] = "failed",
	};

	return job->end == JOB_GOES_ON ? qapi_get_str(job->info, "status", "") : ends[job->end];
}

const char *listed_job_error(const struct listed_job *job)
{
	return qapi_get_str(job->info, "error", NULL);
}

struct listed_job *jobs_find(struct jobs *jobs, const char *id)
{
	struct listed_job *job;

	TAILQ_FOREACH(job, jobs, link)
		if (!strcmp(listed_job_id(job), id))
			return job;
	return NULL;
}

/* With that ID; one that had it before and is gone is not the same. */
static struct listed_job *find_or_add(struct jobs *jobs, const char *id)
{
	struct listed_job *job = jobs_find(jobs, id);

	if (job && !job->gone)
		return job;
	if (job) {
		json_object_put(job->info);
		job->end = JOB_GOES_ON;
		job->gone = false;
		job->stopped = false;
		progress_stand(&job->progress);
	} else {
		job = calloc(1, sizeof(*job));
		if (!job)
			abort();
		TAILQ_INSERT_TAIL(jobs, job, link);
	}
	job->info = json_object_new_object();
	qapi_add_str(job->info, "id", id);
	return job;
}

/* Under the names of query-jobs. */
static void take_members(struct listed_job *job, struct json_object *from)
{
	json_object_object_foreach(from, name, value) {
		if (!strcmp(name, "len"))
			name = "total-progress";
		else if (!strcmp(name, "offset"))
			name = "current-progress";
		else if (!strcmp(name, "device"))
			name = "id";
		json_object_object_add(job->info, name, json_object_get(value));
	}
}

static void settle(struct listed_job *job)
{
	const char *status = qapi_get_str(job->info, "status", "");

	if (!strcmp(status, "null"))
		job->gone = true;
	if (!strcmp(status, "running"))
		job->stopped = false;
	/* One that is to be dismissed; how it ended was told when nobody heard. */
	if (job->end == JOB_GOES_ON && !strcmp(status, "concluded"))
		job->end = listed_job_error(job) ? JOB_FAILED : JOB_COMPLETED;
	progress_update(&job->progress, qapi_get_int(job->info, "current-progress", 0),
			qapi_get_int(job->info, "total-progress", 0), now_ms());
	if (job->end != JOB_GOES_ON || strcmp(status, "running"))
		progress_stand(&job->progress);
}

void jobs_event(struct json_object *event, void *context)
{
	const char *name = qapi_get_str(event, "event", "");
	struct jobs *jobs = context;
	struct json_object *data;
	struct listed_job *job;
	const char *id;

	if (!json_object_object_get_ex(event, "data", &data))
		return;
	id = qapi_get_str(data, strcmp(name, "JOB_STATUS_CHANGE") ? "device" : "id", "");
	if (!strcmp(name, "BLOCK_JOB_ERROR")) {
		job = find_or_add(jobs, id);
		job->stopped = !strcmp(qapi_get_str(data, "action", ""), "stop");
		return;
	}
	if (strcmp(name, "JOB_STATUS_CHANGE") && strcmp(name, "BLOCK_JOB_COMPLETED") &&
	    strcmp(name, "BLOCK_JOB_CANCELLED") && strcmp(name, "BLOCK_JOB_READY"))
		return;
	job = find_or_add(jobs, id);
	take_members(job, data);
	if (!strcmp(name, "BLOCK_JOB_CANCELLED"))
		job->end = JOB_CANCELLED;
	else if (!strcmp(name, "BLOCK_JOB_COMPLETED"))
		job->end = listed_job_error(job) ? JOB_FAILED : JOB_COMPLETED;
	settle(job);
}

static void take_answer(struct jobs *jobs, struct json_object *answer, const char *id)
{
	for (size_t i = 0; i < json_object_array_length(answer); i++) {
		struct json_object *info = json_object_array_get_idx(answer, i);

		take_members(find_or_add(jobs, qapi_get_str(info, id, "")), info);
	}
}

static bool has(struct json_object *answer, const char *id)
{
	for (size_t i = 0; i < json_object_array_length(answer); i++)
		if (!strcmp(id, qapi_get_str(json_object_array_get_idx(answer, i), "id", "")))
			return true;
	return false;
}

/* @answer has all that there are. */
static void settle_all(struct jobs *jobs, struct json_object *answer)
{
	struct listed_job *job;

	TAILQ_FOREACH(job, jobs, link) {
		if (has(answer, listed_job_id(job)))
			settle(job);
		else
			job->gone = true;
	}
}

int jobs_query(struct jobs *jobs, struct client *client, struct qc_error *err)
{
	const struct client_listener listener = { .event = jobs_event, .context = jobs };
	CLEANUP_JSON struct json_object *block = NULL, *all = NULL;
	int ret;

	ret = client_execute(client, "query-block-jobs", NULL, &listener, &block, err);
	if (ret < 0)
		return ret;
	take_answer(jobs, block, "device");
	ret = client_execute(client, "query-jobs", NULL, &listener, &all, err);
	if (ret < 0)
		return ret;
	take_answer(jobs, all, "id");
	settle_all(jobs, all);
	return 0;
}

void jobs_free(struct jobs *jobs)
{
	struct listed_job *job;

	while ((job = TAILQ_FIRST(jobs))) {
		TAILQ_REMOVE(jobs, job, link);
		json_object_put(job->info);
		free(job);
	}
}
