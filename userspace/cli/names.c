// SPDX-License-Identifier: GPL-2.0-or-later
/* Names of exports and nodes. */
#include <errno.h>

#include "names.h"
#include "qapi.h"

/* Does @command list something whose @member is @name?  Returns 1, 0 or a negative errno. */
static int is_listed(struct client *client, const char *command, struct json_object *arguments,
		     const char *member, const char *name, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *list = NULL;
	int ret = client_execute(client, command, arguments, NULL, &list, err);

	for (size_t i = 0; !ret && i < json_object_array_length(list); i++)
		ret = !strcmp(name, qapi_get_str(json_object_array_get_idx(list, i), member, ""));
	return ret;
}

int name_meaning(struct client *client, const char *name, struct qc_error *err)
{
	struct json_object *flat;
	int ret;

	ret = is_listed(client, "query-block-exports", NULL, "id", name, err);
	if (ret)
		return ret < 0 ? ret : NAMED_EXPORT;
	flat = json_object_new_object();
	qapi_add_bool(flat, "flat", true);
	ret = is_listed(client, "query-named-block-nodes", flat, "node-name", name, err);
	if (ret)
		return ret < 0 ? ret : NAMED_NODE;
	return qc_fail(err, ENOENT, name, "see: qchain qmp query-block-exports",
		       "the daemon has no export and no node of this name");
}
