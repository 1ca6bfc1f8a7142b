/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Staying with jobs until they have ended. */
#ifndef QCHAIN_FOLLOW_H
#define QCHAIN_FOLLOW_H

#include "job-show.h"

struct follow {
	struct client *client;
	struct jobs jobs;		/* what has been seen before is in it */
	const char *id;			/* this one alone; NULL: all that there are */
	bool complete;			/* @id, as soon as it is ready */
	int signals;			/* a signalfd that ends it, or -1 */
	struct job_screen screen;
	bool told;			/* that @id waits after an error */
	const char *path;		/* of the socket, to go on with the next daemon; or NULL */
	bool other_daemon;		/* it is another one than at the start */
};

enum follow_end {
	FOLLOW_ENDED,			/* the jobs have */
	FOLLOW_INTERRUPTED,		/* a signal came; jobs go on */
};

/*
 * follow - show jobs, and hear of them, until they have ended.  One that waits to be dismissed
 * has; of @id, when it waits after an error, a line on standard error tells.  Nothing is missed
 * that happened since the client was connected if jobs_event() heard it in what was called
 * meanwhile.  When the daemon is gone and another one comes within seconds, @client is a connection
 * to that, and what it does not have any more has ended unheard.
 * Returns an end, or a negative errno: -EPIPE or -ECONNRESET when the daemon is gone.
 */
int follow(struct follow *f, struct qc_error *err);

/*
 * follow_complete - have @id complete, which is ready.  Returns 0, -EREMOTEIO when it is refused,
 * or as client_execute().
 */
int follow_complete(struct follow *f, struct qc_error *err);

#endif /* QCHAIN_FOLLOW_H */
