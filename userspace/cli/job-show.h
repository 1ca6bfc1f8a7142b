/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs on the screen. */
#ifndef QCHAIN_JOB_SHOW_H
#define QCHAIN_JOB_SHOW_H

#include "job-list.h"

enum job_show {
	JOB_SHOW_NOTHING,
	JOB_SHOW_IN_PLACE,	/* on a terminal: each time over what was there before */
	JOB_SHOW_CHANGES,	/* a line for each job whose status or percentage is another one */
	JOB_SHOW_JSON,		/* the same, as JSON */
};

/* The lines so far, for JOB_SHOW_IN_PLACE; all zeroes at the start. */
struct job_screen {
	enum job_show how;
	unsigned int lines;
};

/* Room that is enough for a line. */
#define JOB_LINE_MAX 512

/* One line without its end: bar, rate and what is left.  The ID takes @width columns at least. */
void job_line(const struct listed_job *job, int width, char *line, size_t room);

/* A new object with what is known, also "rate" and "time-left" (bytes a second, seconds). */
struct json_object *job_json(const struct listed_job *job);

/* Columns for the longest ID. */
int jobs_id_width(const struct jobs *jobs);

/* @id: that one alone; NULL: all. */
void jobs_show(struct job_screen *screen, struct jobs *jobs, const char *id);

#endif /* QCHAIN_JOB_SHOW_H */
