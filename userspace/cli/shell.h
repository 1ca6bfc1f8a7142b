/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qchain qmp without a command: reads commands line by line. */
#ifndef QCHAIN_SHELL_H
#define QCHAIN_SHELL_H

#include "client.h"

/*
 * shell_run - until the input or the connection ends.
 * With a terminal there are line editing, a history that is kept, completion from the daemon's
 * schema, and events are shown when they come.  Without one the first error ends it.
 * @verbose: show the JSON that is sent.  Returns an exit code or a negative errno.
 */
int shell_run(struct client *client, bool verbose, struct qc_error *err);

#endif /* QCHAIN_SHELL_H */
