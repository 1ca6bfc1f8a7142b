// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain snapshot: a new layer on top of one that is in use. */
#include <errno.h>

#include "names.h"
#include "qapi.h"

enum {
	SNAPSHOT_NODE_NAME,
	SNAPSHOT_EXISTING,
	SNAPSHOT_FORMAT,
	SNAPSHOT_WAIT,
	SNAPSHOT_SOCKET,
};

static const struct cli_option options[] = {
	[SNAPSHOT_NODE_NAME] = { "node-name", 'n', CLI_ARGUMENT, "NODE", "of the new layer" },
	[SNAPSHOT_EXISTING] = { "existing", 0, CLI_FLAG, NULL, "FILE is an image already" },
	[SNAPSHOT_FORMAT] = { "format", 'f', CLI_ARGUMENT, "FORMAT", "of FILE; qcow2" },
	/* It is done when the daemon answers; stream and commit have the option, too. */
	[SNAPSHOT_WAIT] = { "wait", 'w', CLI_FLAG, NULL, "until it is done; it always is" },
	[SNAPSHOT_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH", "of the daemon" },
	{ 0 }
};

static int run(const struct cli_call *call, struct qc_error *err)
{
	/* The daemon's working directory is another one. */
	CLEANUP_FREE char *file = qc_absolute_name(call->arguments[1]);
	const char *name = call->arguments[0], *node_name = call->values[SNAPSHOT_NODE_NAME];
	CLEANUP_JSON struct json_object *result = NULL;
	CLEANUP_CLIENT struct client *client = NULL;
	struct json_object *arguments;
	int meaning, ret;

	if (!file)
		return qc_fail_nomem(err, call->arguments[1]);
	ret = client_connect(client_path(call->values[SNAPSHOT_SOCKET]), &client, err);
	if (ret < 0)
		return ret;
	meaning = name_meaning(client, name, err);
	if (meaning < 0)
		return meaning;
	if (meaning == NAMED_NODE && !node_name)
		return qc_fail(err, EINVAL, name, "give it with --node-name",
			       "what is put on a node needs a node name, too");
	arguments = json_object_new_object();
	qapi_add_str(arguments, meaning == NAMED_EXPORT ? "device" : "node-name", name);
	qapi_add_str(arguments, "snapshot-file", file);
	qapi_add_str(arguments, "snapshot-node-name", node_name);
	qapi_add_str(arguments, "format", call->values[SNAPSHOT_FORMAT]);
	if (call->values[SNAPSHOT_EXISTING])
		qapi_add_str(arguments, "mode", "existing");
	ret = client_execute(client, "blockdev-snapshot-sync", arguments, NULL, &result, err);
	return ret < 0 ? ret : CLI_OK;
}

const struct cli_command cli_snapshot = {
	.name = "snapshot",
	.arguments = "NAME FILE",
	.help = "put a new image on a device in use; what it has now stays as it is",
	.min_arguments = 2,
	.max_arguments = 2,
	.usage_exit = CLI_USAGE,
	.options = options,
	.run = run,
};
