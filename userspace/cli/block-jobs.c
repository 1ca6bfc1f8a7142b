// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain stream and qchain commit: start a job, and stay with it if that is wanted. */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "follow.h"
#include "names.h"
#include "qapi.h"

/* Options that both have come first, at the same places. */
enum {
	OPT_BASE,
	OPT_BASE_NODE,
	OPT_SPEED,
	OPT_ON_ERROR,
	OPT_JOB,
	OPT_WAIT,
	OPT_SOCKET,
	COMMIT_TOP,
	COMMIT_TOP_NODE,
	COMMIT_COMPLETE,
};

#define COMMON_OPTIONS								\
	[OPT_SPEED] = { "speed", 0, CLI_ARGUMENT, "SIZE", "bytes a second, at most" },	\
	[OPT_ON_ERROR] = { "on-error", 0, CLI_ARGUMENT, "WHAT",			\
			   "report (the default), ignore, enospc or stop" },	\
	[OPT_JOB] = { "job", 'j', CLI_ARGUMENT, "ID", "of the job; NAME if not given" },	\
	[OPT_WAIT] = { "wait", 'w', CLI_FLAG, NULL,				\
		       "until it has ended; the exit status tells how" },	\
	[OPT_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH", "of the daemon" }

static const struct cli_option stream_options[] = {
	[OPT_BASE] = { "base", 'b', CLI_ARGUMENT, "FILE", "the layer that stays below" },
	[OPT_BASE_NODE] = { "base-node", 0, CLI_ARGUMENT, "NODE", "the same by its node name" },
	COMMON_OPTIONS,
	{ 0 }
};

static const struct cli_option commit_options[] = {
	[OPT_BASE] = { "base", 'b', CLI_ARGUMENT, "FILE",
		       "the layer that gets the data; the lowest if not given" },
	[OPT_BASE_NODE] = { "base-node", 0, CLI_ARGUMENT, "NODE", "the same by its node name" },
	COMMON_OPTIONS,
	[COMMIT_TOP] = { "top", 't', CLI_ARGUMENT, "FILE",
			 "the highest layer to commit; the active one if not given" },
	[COMMIT_TOP_NODE] = { "top-node", 0, CLI_ARGUMENT, "NODE", "the same by its node name" },
	[COMMIT_COMPLETE] = { "complete", 0, CLI_FLAG, NULL,
			      "start nothing; complete the commit that is there" },
	{ 0 }
};

/* The arguments that are given as they are. */
static const struct {
	int option;
	const char *argument;
} given[] = {
	{ OPT_BASE, "base" },
	{ OPT_BASE_NODE, "base-node" },
	{ OPT_ON_ERROR, "on-error" },
	{ COMMIT_TOP, "top" },
	{ COMMIT_TOP_NODE, "top-node" },
};

/* What ends the process ends its wait instead, from here on. */
static int catch_signals(int *fd, struct qc_error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	*fd = signalfd(-1, &set, SFD_CLOEXEC);
	return *fd < 0 ? qc_fail_errno(err, errno, "signals", "cannot wait for them") : 0;
}

/* How it ended, as an exit code. */
static int exit_code(struct follow *f, struct qc_error *err)
{
	const struct listed_job *job = jobs_find(&f->jobs, f->id);

	switch (job ? job->end : JOB_GOES_ON) {
	case JOB_COMPLETED:
		return CLI_OK;
	case JOB_CANCELLED:
		cli_warn(f->id, "the job was cancelled");
		return CLI_JOB_CANCELLED;
	case JOB_FAILED:
		return qc_fail(err, EIO, f->id, "the chain has the layers that it had",
			       "the job failed: %s", listed_job_error(job));
	default:
		if (!f->other_daemon)
			return qc_fail(err, EIO, f->id, "see: qchain tree",
				       "nobody told how the job ended");
		cli_warn(f->id, "the job ended while there was no daemon to tell how; "
			 "see: qchain tree");
		return CLI_JOB_GOES_ON;
	}
}

static int wait_for_end(struct follow *f, struct qc_error *err)
{
	int ret;

	f->screen.how = isatty(STDOUT_FILENO) ? JOB_SHOW_IN_PLACE : JOB_SHOW_NOTHING;
	ret = follow(f, err);
	if (ret == FOLLOW_ENDED)
		return exit_code(f, err);
	if (ret == FOLLOW_INTERRUPTED)
		cli_warn(f->id, "the job goes on; see: qchain jobs --watch");
	else if (ret == -EPIPE || ret == -ECONNRESET)
		cli_warn(f->id, "the daemon has closed the connection, and the job may go on; "
			 "see: qchain jobs");
	else
		return ret;
	return CLI_JOB_GOES_ON;
}

static int start(struct follow *f, const char *command, const struct cli_call *call,
		 struct qc_error *err)
{
	const struct client_listener listener = { .event = jobs_event, .context = &f->jobs };
	const char *name = call->arguments[0];
	CLEANUP_JSON struct json_object *result = NULL;
	struct json_object *arguments;
	u64 speed;
	int ret;

	if (call->values[OPT_SPEED]) {
		ret = cli_size("--speed", call->values[OPT_SPEED], &speed, err);
		if (ret < 0)
			return ret;
	}
	ret = name_meaning(f->client, name, err);
	if (ret < 0)
		return ret;
	if (!call->values[OPT_JOB] && name[0] == '#')
		return qc_fail(err, EINVAL, name, "give one with --job",
			       "this cannot be a job's ID");
	arguments = json_object_new_object();
	qapi_add_str(arguments, "device", name);
	qapi_add_str(arguments, "job-id", f->id);
	for (size_t i = 0; i < ARRAY_SIZE(given); i++)
		qapi_add_str(arguments, given[i].argument, call->values[given[i].option]);
	if (call->values[OPT_SPEED])
		qapi_add_int(arguments, "speed", speed);
	return client_execute(f->client, command, arguments, &listener, &result, err);
}

/* Is there the commit that is to be completed? */
static int find_commit(struct follow *f, const struct cli_call *call, struct qc_error *err)
{
	const struct listed_job *job;
	int ret;

	for (size_t i = 0; i < ARRAY_SIZE(given); i++)
		if (call->values[given[i].option] || call->values[OPT_SPEED])
			return qc_fail(err, EINVAL, "--complete",
				       "start the commit without --complete",
				       "this takes only --job, --wait and --socket besides");
	ret = jobs_query(&f->jobs, f->client, err);
	if (ret < 0)
		return ret;
	job = jobs_find(&f->jobs, f->id);
	if (!job || job->gone)
		return qc_fail(err, ENOENT, f->id, "see: qchain jobs", "there is no such job");
	return 0;
}

static int run(const char *command, const struct cli_call *call, struct qc_error *err)
{
	bool complete = call->values[COMMIT_COMPLETE], wait = call->values[OPT_WAIT];
	CLEANUP_FD int signals = -1;
	struct follow f = {
		.id = call->values[OPT_JOB] ? call->values[OPT_JOB] : call->arguments[0],
		.complete = true,
		.path = client_path(call->values[OPT_SOCKET]),
	};
	int ret;

	TAILQ_INIT(&f.jobs);
	ret = client_connect(f.path, &f.client, err);
	if (!ret && wait)
		ret = catch_signals(&signals, err);
	f.signals = signals;
	if (!ret)
		ret = complete ? find_commit(&f, call, err) : start(&f, command, call, err);
	if (!ret && wait)
		ret = wait_for_end(&f, err);
	else if (!ret && complete)
		ret = follow_complete(&f, err);
	jobs_free(&f.jobs);
	client_close(f.client);
	return ret;
}

static int run_stream(const struct cli_call *call, struct qc_error *err)
{
	return run("block-stream", call, err);
}

static int run_commit(const struct cli_call *call, struct qc_error *err)
{
	return run("block-commit", call, err);
}

const struct cli_command cli_stream = {
	.name = "stream",
	.arguments = "NAME",
	.help = "have an image get what those below it have",
	.min_arguments = 1,
	.max_arguments = 1,
	.usage_exit = CLI_USAGE,
	.options = stream_options,
	.run = run_stream,
};

const struct cli_command cli_commit = {
	.name = "commit",
	.arguments = "NAME",
	.help = "write images into one below them",
	.min_arguments = 1,
	.max_arguments = 1,
	.usage_exit = CLI_USAGE,
	.options = commit_options,
	.run = run_commit,
};
