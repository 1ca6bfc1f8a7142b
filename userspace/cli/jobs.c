// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain jobs: what jobs the daemon has. */
#include <poll.h>

#include "follow.h"
#include "qapi.h"

#define MEASURE_MS 500		/* between two looks, which a rate takes */

enum {
	JOBS_WATCH,
	JOBS_JSON,
	JOBS_SOCKET,
};

static const struct cli_option options[] = {
	[JOBS_WATCH] = { "watch", 'w', CLI_FLAG, NULL, "go on until all of them have ended" },
	[JOBS_JSON] = { "json", 0, CLI_FLAG, NULL,
			"print an array of jobs; with --watch an object for each change" },
	[JOBS_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH", "of the daemon" },
	{ 0 }
};

static bool any_runs(const struct jobs *jobs)
{
	const struct listed_job *job;

	TAILQ_FOREACH(job, jobs, link)
		if (!strcmp(listed_job_status(job), "running"))
			return true;
	return false;
}

static void print_json(const struct jobs *jobs)
{
	struct json_object *array = json_object_new_array();
	const struct listed_job *job;

	TAILQ_FOREACH(job, jobs, link)
		if (!job->gone)
			json_object_array_add(array, job_json(job));
	cli_print_json(array);
}

static void print_text(const struct jobs *jobs)
{
	const struct listed_job *job;
	char line[JOB_LINE_MAX];

	TAILQ_FOREACH(job, jobs, link) {
		job_line(job, jobs_id_width(jobs), line, sizeof(line));
		puts(line);
	}
}

static int print_once(struct follow *f, bool json, struct qc_error *err)
{
	int ret = 0;

	if (any_runs(&f->jobs)) {
		poll(NULL, 0, MEASURE_MS);
		ret = jobs_query(&f->jobs, f->client, err);
	}
	if (ret < 0)
		return ret;
	if (json)
		print_json(&f->jobs);
	else
		print_text(&f->jobs);
	return CLI_OK;
}

static int run(const struct cli_call *call, struct qc_error *err)
{
	CLEANUP_CLIENT struct client *client = NULL;
	struct follow f = { .signals = -1 };
	int ret;

	TAILQ_INIT(&f.jobs);
	ret = client_connect(client_path(call->values[JOBS_SOCKET]), &client, err);
	f.client = client;
	if (!ret)
		ret = jobs_query(&f.jobs, client, err);
	if (!ret && !call->values[JOBS_WATCH]) {
		ret = print_once(&f, call->values[JOBS_JSON], err);
	} else if (!ret) {
		f.screen.how = call->values[JOBS_JSON] ? JOB_SHOW_JSON :
			       isatty(STDOUT_FILENO) ? JOB_SHOW_IN_PLACE : JOB_SHOW_CHANGES;
		ret = follow(&f, err);
	}
	jobs_free(&f.jobs);
	return ret < 0 ? ret : CLI_OK;
}

const struct cli_command cli_jobs = {
	.name = "jobs",
	.arguments = "",
	.help = "show the daemon's jobs and how far they are",
	.min_arguments = 0,
	.max_arguments = 0,
	.usage_exit = CLI_USAGE,
	.options = options,
	.run = run,
};
