// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs on the screen. */
#include <sys/ioctl.h>

#include "human.h"
#include "job-show.h"
#include "qapi.h"

#define BAR_WIDTH 16

__attribute__((format(printf, 3, 4)))
static void add(char *line, size_t room, const char *fmt, ...)
{
	size_t len = strlen(line);
	va_list args;

	va_start(args, fmt);
	vsnprintf(line + len, room - len, fmt, args);
	va_end(args);
}

void job_line(const struct listed_job *job, int width, char *line, size_t room)
{
	const struct progress *p = &job->progress;
	const char *io_status = qapi_get_str(job->info, "io-status", "ok");
	const char *error = listed_job_error(job);
	u64 speed = qapi_get_int(job->info, "speed", 0);
	char bar[BAR_WIDTH + 1], left[PROGRESS_TIME_MAX];

	progress_bar(p, bar, BAR_WIDTH);
	progress_time(progress_left(p), left);
	/* What matters most comes first: the end is cut off on a narrow terminal. */
	snprintf(line, room, "%-*s  %-6s  %-9s  [%s] %3u%%  ", width, listed_job_id(job),
		 qapi_get_str(job->info, "type", ""), listed_job_status(job), bar,
		 progress_percent(p));
	if (error)
		add(line, room, "%s, ", error);
	if (job->end == JOB_GOES_ON && strcmp(io_status, "ok"))
		add(line, room, "%s, ", strcmp(io_status, "nospace") ? "I/O error" : "no space");
	if (progress_rate(p) != PROGRESS_UNKNOWN)
		add(line, room, "%s/s, ", qc_human(progress_rate(p)));
	if (*left)
		add(line, room, "%s left, ", left);
	add(line, room, "%s of %s", qc_human(p->done), qc_human(p->total));
	if (speed && job->end == JOB_GOES_ON)
		add(line, room, ", limit %s/s", qc_human(speed));
	qc_make_printable(line);
}

struct json_object *job_json(const struct listed_job *job)
{
	u64 rate = progress_rate(&job->progress), left = progress_left(&job->progress);
	struct json_object *o = json_object_new_object();

	json_object_object_foreach(job->info, name, value)
		json_object_object_add(o, name, json_object_get(value));
	if (rate != PROGRESS_UNKNOWN)
		qapi_add_int(o, "rate", rate);
	if (left != PROGRESS_UNKNOWN)
		qapi_add_int(o, "time-left", left);
	return o;
}

int jobs_id_width(const struct jobs *jobs)
{
	const struct listed_job *job;
	size_t width = 0;

	TAILQ_FOREACH(job, jobs, link)
		if (strlen(listed_job_id(job)) > width)
			width = strlen(listed_job_id(job));
	return width;
}

static bool is_meant(const struct listed_job *job, const char *id)
{
	return !id || !strcmp(listed_job_id(job), id);
}

/* A line that the terminal would break, or a line too many, could not be taken back. */
static void show_in_place(struct job_screen *screen, const struct jobs *jobs, const char *id)
{
	struct winsize size = { 0 };
	const struct listed_job *job;
	unsigned int lines = 0;

	/* A terminal that nobody told its size says 0. */
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	if (!size.ws_row)
		size.ws_row = 24;
	if (!size.ws_col)
		size.ws_col = 80;
	if (screen->lines)
		printf("\033[%uA", screen->lines);
	TAILQ_FOREACH(job, jobs, link) {
		char line[JOB_LINE_MAX];

		if (!is_meant(job, id) || lines + 1 >= size.ws_row)
			continue;
		job_line(job, id ? 0 : jobs_id_width(jobs), line, sizeof(line));
		printf("\r%.*s\033[K\n", size.ws_col - 1, line);
		lines++;
	}
	screen->lines = lines;
}

static void show_change(enum job_show how, struct listed_job *job)
{
	char line[JOB_LINE_MAX], shown[sizeof(job->shown)];

	snprintf(shown, sizeof(shown), "%s %u", listed_job_status(job),
		 progress_percent(&job->progress));
	if (!strcmp(shown, job->shown))
		return;
	memcpy(job->shown, shown, sizeof(shown));
	if (how == JOB_SHOW_JSON) {
		struct json_object *o = job_json(job);

		puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(o);
		return;
	}
	job_line(job, 0, line, sizeof(line));
	puts(line);
}

void jobs_show(struct job_screen *screen, struct jobs *jobs, const char *id)
{
	struct listed_job *job;

	if (screen->how == JOB_SHOW_IN_PLACE)
		show_in_place(screen, jobs, id);
	if (screen->how == JOB_SHOW_CHANGES || screen->how == JOB_SHOW_JSON)
		TAILQ_FOREACH(job, jobs, link)
			if (is_meant(job, id))
				show_change(screen->how, job);
	fflush(stdout);
}
