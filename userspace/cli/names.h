/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a name on the command line means to the daemon. */
#ifndef QCHAIN_NAMES_H
#define QCHAIN_NAMES_H

#include "client.h"

enum named {
	NAMED_EXPORT,		/* the ID of an export */
	NAMED_NODE,
};

/* Returns what it is, -ENOENT with a remedy when it is neither, or another negative errno. */
int name_meaning(struct client *client, const char *name, struct qc_error *err);

#endif /* QCHAIN_NAMES_H */
