// SPDX-License-Identifier: GPL-2.0-or-later
/* Finding commands and events in the tables. */
#include <string.h>

#include "qapi.h"

const struct qapi_command *qapi_find_command(const char *name)
{
	for (const struct qapi_command *const *table = qapi_commands; *table; table++)
		for (const struct qapi_command *c = *table; c->name; c++)
			if (!strcmp(c->name, name))
				return c;
	return NULL;
}

const struct qapi_event *qapi_find_event(const char *name)
{
	for (const struct qapi_event *const *table = qapi_events; *table; table++)
		for (const struct qapi_event *e = *table; e->name; e++)
			if (!strcmp(e->name, name))
				return e;
	return NULL;
}
