// SPDX-License-Identifier: GPL-2.0-or-later
/* Names of exports and nodes. */
#include <errno.h>

#include "names.h"
#include "qapi.h"

int name_meaning(struct client *client, const char *name, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *exports = NULL, *nodes = NULL;
	int ret;

	ret = client_execute(client, "query-block-exports", NULL, NULL, &exports, err);
	if (ret < 0)
		return ret;
	if (client_find(exports, "id", name))
		return NAMED_EXPORT;
	ret = client_query_nodes(client, &nodes, err);
	if (ret < 0)
		return ret;
	if (client_find(nodes, "node-name", name))
		return NAMED_NODE;
	return qc_fail(err, ENOENT, name, "see: qchain qmp query-block-exports",
		       "the daemon has no export and no node of this name");
}
