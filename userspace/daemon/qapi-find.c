// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands and events by name, in the tables. */
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

int qapi_call(const char *name, struct qmp_session *session, struct json_object *arguments,
	      struct json_object **result, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *words = arguments ? arguments : json_object_new_object();
	CLEANUP_JSON struct json_object *returned = NULL;

	if (qapi_run(qapi_find_command(name), session, words, &returned, error))
		return -1;
	if (result)
		*result = json_object_get(returned);
	return 0;
}
