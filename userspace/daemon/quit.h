/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The orderly end of the daemon. */
#ifndef QCHAIN_QUIT_H
#define QCHAIN_QUIT_H

#include "part.h"

/* The loop that is left when the daemon quits, and whether devices are kept when nobody says. */
void quit_init(struct sd_event *loop, bool keep);

/* What quit does without "keep". */
bool quit_keeps(void);

/*
 * quit_run - let all parts quit, the last one first, and leave the loop with status 0.
 * Returns 0, or -1 with @error set when something could not be taken down: then the daemon goes on,
 * with everything when that was known before, else with what is left.
 */
int quit_run(bool keep, struct qmp_error *error);

/* Has quit_run() succeeded?  Then no further command is run. */
bool quit_done(void);

#endif /* QCHAIN_QUIT_H */
