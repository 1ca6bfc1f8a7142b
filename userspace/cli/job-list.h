/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's jobs, as its answers and events have told of them so far. */
#ifndef QCHAIN_JOB_LIST_H
#define QCHAIN_JOB_LIST_H

#include <sys/queue.h>

#include "client.h"
#include "progress.h"

enum job_end {
	JOB_GOES_ON,
	JOB_COMPLETED,
	JOB_CANCELLED,
	JOB_FAILED,
};

struct listed_job {
	TAILQ_ENTRY(listed_job) link;
	struct json_object *info;	/* of query-jobs, and what query-block-jobs has besides */
	struct progress progress;
	enum job_end end;
	bool gone;			/* the daemon does not have it any more */
	bool stopped;			/* by an error, until somebody resumes it */
	char shown[64];			/* for whoever shows it: what was shown last */
};

TAILQ_HEAD(jobs, listed_job);		/* in the order in which they were seen first */

/* Ask for all jobs, and hear of events meanwhile.  Returns 0 or a negative errno. */
int jobs_query(struct jobs *jobs, struct client *client, struct qc_error *err);

/* A struct client_listener whose context is the list. */
void jobs_event(struct json_object *event, void *jobs);

/* NULL when none of that ID was seen. */
struct listed_job *jobs_find(struct jobs *jobs, const char *id);
void jobs_free(struct jobs *jobs);

const char *listed_job_id(const struct listed_job *job);

/* The daemon's word; where it has ended "completed", "cancelled" or "failed". */
const char *listed_job_status(const struct listed_job *job);

/* Why it failed, or NULL. */
const char *listed_job_error(const struct listed_job *job);

#endif /* QCHAIN_JOB_LIST_H */
