/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of the daemon besides the QMP server: what has state that must be found again at start
 * and put in order at the end.  tables.c lists them; they start in that order and quit in the
 * reverse one.
 */
#ifndef QCHAIN_PART_H
#define QCHAIN_PART_H

#include <systemd/sd-event.h>

#include "qapi.h"

struct daemon_part {
	const char *name;		/* for the log */
	/*
	 * Find again what an earlier daemon left, and watch what is to be watched.  Called once,
	 * before --blockdev and --export are done and before any client is accepted.  On -1 the
	 * daemon does not start.  May be NULL.
	 */
	int (*start)(struct sd_event *loop, struct qmp_error *error);
	/*
	 * May quit() take everything down, as far as can be known before?  Changes nothing.  All
	 * parts are asked before the first one quits; not with @keep.  May be NULL.
	 */
	int (*may_quit)(struct qmp_error *error);
	/*
	 * The daemon is about to end.  @keep: leave devices running as they are, for the next
	 * daemon to find; this must not fail.  Otherwise take down all that was set up.  On -1
	 * with @error, for what may_quit() could not know, the rest goes on as it is, and the
	 * daemon goes on (quit) or calls again with @keep (signals); but parts that have quit
	 * before, and what was taken down before, are not made anew.  May be NULL.
	 */
	int (*quit)(bool keep, struct qmp_error *error);
};

/* Ends with NULL. */
extern const struct daemon_part *const daemon_parts[];

#endif /* QCHAIN_PART_H */
