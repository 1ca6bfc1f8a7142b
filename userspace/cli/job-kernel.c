// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs as the kernel's status has them. */
#include <errno.h>

#include "job-kernel.h"
#include "qapi.h"

/* In the daemon's words. */
static const char *const states[] = {
	[QC_JOB_RUNNING] = "running",
	[QC_JOB_PAUSED] = "paused",
	[QC_JOB_STOPPED] = "paused",
	[QC_JOB_READY] = "ready",
	[QC_JOB_ENDING] = "running",
	[QC_JOB_ENDED] = "concluded",
};

static const char *io_status(const struct qc_job_status *status)
{
	if (status->state != QC_JOB_STOPPED)
		return "ok";
	return status->error == ENOSPC ? "nospace" : "failed";
}

static struct json_object *info_of(const struct qc_job_status *status)
{
	struct json_object *info = json_object_new_object();

	qapi_add_str(info, "id", status->id);
	qapi_add_str(info, "type", status->kind);
	qapi_add_str(info, "status", states[status->state]);
	qapi_add_int(info, "current-progress", status->done);
	qapi_add_int(info, "total-progress", status->length);
	qapi_add_int(info, "speed", status->speed);
	qapi_add_str(info, "io-status", io_status(status));
	if (status->state == QC_JOB_ENDED && status->error)
		qapi_add_str(info, "error", strerror(status->error));
	return info;
}

void jobs_of_status(struct jobs *jobs, const struct qc_status *status)
{
	for (u64 i = 0; i < status->jobs; i++) {
		struct listed_job *job = calloc(1, sizeof(*job));

		if (!job)
			abort();
		job->info = info_of(&status->job[i]);
		/* Once is not enough for a rate. */
		progress_update(&job->progress, status->job[i].done, status->job[i].length, 0);
		TAILQ_INSERT_TAIL(jobs, job, link);
	}
}
