/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qchain qmp and qchain hmp without a command: read commands line by line. */
#ifndef QCHAIN_SHELL_H
#define QCHAIN_SHELL_H

#include "client.h"

/* What lines are, and what comes of them. */
struct shell_language {
	const char *prompt;
	const char *history;		/* the file's name, in the home directory */
	bool events;			/* are shown when they come */
	bool schema;			/* is what lines are completed from */
	/* The request that a line is; left NULL for a blank one.  0, or -EINVAL for a wrong one. */
	int (*read)(const char *line, struct json_object **request, struct qc_error *err);
	/* Print what was returned.  False: it is a refusal. */
	bool (*print)(struct json_object *result);
};

/*
 * shell_run - until the input or the connection ends.
 * With a terminal there are line editing, and a history that is kept.  Without one the first error
 * ends it.
 * @verbose: show the JSON that is sent.  Returns an exit code or a negative errno.
 */
int shell_run(struct client *client, const struct shell_language *language, bool verbose,
	      struct qc_error *err);

#endif /* QCHAIN_SHELL_H */
