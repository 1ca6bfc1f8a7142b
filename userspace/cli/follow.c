// SPDX-License-Identifier: GPL-2.0-or-later
/* Staying with jobs until they have ended. */
#include <errno.h>
#include <poll.h>

#include "follow.h"
#include "qapi.h"

#define LOOK_MS 500		/* how often numbers are asked for; all else is told by events */
#define CONNECT_MS 100		/* between attempts to reach the next daemon */
#define CONNECT_TRIES 100

/* Take in what has come. */
static int hear(struct follow *f, struct qc_error *err)
{
	struct json_object *message;
	int ret;

	for (;;) {
		ret = client_receive(f->client, false, &message, err);
		if (ret < 0 || !message)
			return ret;
		jobs_event(message, &f->jobs);
		json_object_put(message);
	}
}

static bool goes_on(const struct listed_job *job)
{
	return !job->gone && job->end == JOB_GOES_ON;
}

static bool has_ended(struct follow *f)
{
	const struct listed_job *job;

	if (f->id) {
		job = jobs_find(&f->jobs, f->id);
		return job && !goes_on(job);
	}
	TAILQ_FOREACH(job, &f->jobs, link)
		if (goes_on(job))
			return false;
	return true;
}

static bool is_ready(struct follow *f)
{
	const struct listed_job *job = jobs_find(&f->jobs, f->id);

	return job && !strcmp(listed_job_status(job), "ready");
}

int follow_complete(struct follow *f, struct qc_error *err)
{
	const struct client_listener listener = { .event = jobs_event, .context = &f->jobs };
	struct json_object *arguments = json_object_new_object(), *result;
	int ret;

	qapi_add_str(arguments, "id", f->id);
	ret = client_execute(f->client, "job-complete", arguments, &listener, &result, err);
	json_object_put(result);
	return ret;
}

static int complete_it(struct follow *f, struct qc_error *err)
{
	int ret = follow_complete(f, err);

	if (!ret)
		f->complete = false;
	/* Refused where somebody else did something meanwhile: that has been told before. */
	return ret == -EREMOTEIO && !is_ready(f) ? 0 : ret;
}

/* It would wait for ever, and so would we. */
static void tell_stopped(struct follow *f)
{
	const struct listed_job *job = f->id ? jobs_find(&f->jobs, f->id) : NULL;
	char text[256];

	if (!job || job->stopped == f->told)
		return;
	f->told = job->stopped;
	if (!f->told)
		return;
	snprintf(text, sizeof(text),
		 "the job waits after an error; when that is mended: qchain qmp job-resume id=%s",
		 f->id);
	cli_warn(f->id, text);
	/* What comes next goes below that. */
	f->screen.lines = 0;
}

/* Returns 1 when there is nothing more to follow.  Has read all that has come. */
static int look(struct follow *f, struct qc_error *err)
{
	int ret = 0;

	if (f->screen.how != JOB_SHOW_NOTHING && !has_ended(f))
		ret = jobs_query(&f->jobs, f->client, err);
	if (!ret)
		ret = hear(f, err);
	while (!ret && f->complete && is_ready(f)) {
		ret = complete_it(f, err);
		if (!ret)
			ret = hear(f, err);
	}
	if (ret < 0)
		return ret;
	tell_stopped(f);
	jobs_show(&f->screen, &f->jobs, f->id);
	return has_ended(f);
}

static bool is_gone(int ret)
{
	return ret == -EPIPE || ret == -ECONNRESET;
}

/* With the next daemon, which has the jobs of the last one.  Returns 1 when a signal came. */
static int go_on(struct follow *f, struct qc_error *err)
{
	struct pollfd signals = { .fd = f->signals, .events = POLLIN };

	for (int i = 0; i < CONNECT_TRIES; i++) {
		struct client *client;
		int ret;

		if (poll(&signals, 1, CONNECT_MS) > 0)
			return 1;
		if (client_connect(f->path, &client, NULL) < 0)
			continue;
		client_close(f->client);
		f->client = client;
		f->other_daemon = true;
		ret = jobs_query(&f->jobs, client, err);
		if (!is_gone(ret))
			return ret;
	}
	return qc_fail(err, EPIPE, f->path, NULL, "the daemon is gone");
}

int follow(struct follow *f, struct qc_error *err)
{
	int timeout = f->screen.how == JOB_SHOW_NOTHING ? -1 : LOOK_MS;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = client_fd(f->client), .events = POLLIN },
			{ .fd = f->signals, .events = POLLIN },
		};
		int ret = look(f, err);

		if (is_gone(ret) && f->path) {
			ret = go_on(f, err);
			if (ret)
				return ret < 0 ? ret : FOLLOW_INTERRUPTED;
			continue;
		}
		if (ret)
			return ret < 0 ? ret : FOLLOW_ENDED;
		if (poll(fds, ARRAY_SIZE(fds), timeout) < 0 && errno != EINTR)
			return qc_fail_errno(err, errno, "jobs", "cannot wait");
		if (fds[1].revents)
			return FOLLOW_INTERRUPTED;
	}
}
