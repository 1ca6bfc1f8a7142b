// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain attach, detach and table. */
#include <errno.h>

#include "attach-daemon.h"
#include "table.h"

/* Options that attach and table have in common come first, at the same places. */
enum {
	OPT_FORMAT,
	OPT_READ_ONLY,
	OPT_ERROR_IF_NO_SPACE,
	OPT_NO_DISCARD_PASSDOWN,
	ATTACH_NAME,
	ATTACH_SOCKET,
	ATTACH_NO_DAEMON,
	TABLE_JSON = ATTACH_NAME,
};

enum {
	DETACH_SOCKET,
	DETACH_NO_DAEMON,
};

#define COMMON_OPTIONS								\
	[OPT_FORMAT] = { "format", 'f', CLI_ARGUMENT, "FORMAT",			\
			 "of the image: qcow2 (the default) or raw" },		\
	[OPT_READ_ONLY] = { "read-only", 'r', CLI_FLAG, NULL,			\
			    "the device is read-only" },			\
	[OPT_ERROR_IF_NO_SPACE] = {						\
		"error-if-no-space", 0, CLI_FLAG, NULL,				\
		"writes fail when there is no room, instead of waiting" },	\
	[OPT_NO_DISCARD_PASSDOWN] = {						\
		"no-discard-passdown", 0, CLI_FLAG, NULL,			\
		"do not give freed clusters back to what lies below" }

#define DAEMON_OPTIONS(socket, no_daemon)					\
	[socket] = { "socket", 's', CLI_ARGUMENT, "PATH",			\
		     "of the daemon, which there must be" },			\
	[no_daemon] = { "no-daemon", 0, CLI_FLAG, NULL, "even if there is one" }

static const struct cli_option attach_options[] = {
	COMMON_OPTIONS,
	[ATTACH_NAME] = { "name", 'n', CLI_ARGUMENT, "NAME",
			  "name of the device; the image's base name if not given" },
	DAEMON_OPTIONS(ATTACH_SOCKET, ATTACH_NO_DAEMON),
	{ 0 }
};

static void print_note(void *ctx, const char *object, const char *message)
{
	(void)ctx;
	cli_warn(object, message);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static unsigned int table_flags(const struct cli_call *call)
{
	return (call->values[OPT_READ_ONLY] ? QC_TABLE_READ_ONLY : 0) |
	       (call->values[OPT_ERROR_IF_NO_SPACE] ? QC_TABLE_ERROR_IF_NO_SPACE : 0) |
	       (call->values[OPT_NO_DISCARD_PASSDOWN] ? QC_TABLE_NO_DISCARD_PASSDOWN : 0);
}

/*
 * The daemon that is to do it; *@client is NULL when there is none, or none is wanted.  One that is
 * there and cannot be asked is an error: what is done behind its back it does not know.
 * @ending_is_none: nor does one matter that is about to end.
 */
static int find_daemon(const char *socket, bool unwanted, bool ending_is_none,
		       struct client **client, struct qc_error *err)
{
	struct qc_error cause;
	int ret;

	*client = NULL;
	if (socket && unwanted)
		return qc_fail(err, EINVAL, "--no-daemon", "give one of them",
			       "contradicts --socket");
	if (unwanted)
		return 0;
	ret = client_connect(client_path(socket), client, &cause);
	if (!ret || (!socket && (ret == -ENOENT || ret == -ECONNREFUSED ||
				 (ret == -ECONNABORTED && ending_is_none))))
		return 0;
	if (socket) {
		*err = cause;
		return ret;
	}
	return qc_fail(err, -ret, "the daemon", "to do without it: --no-daemon", "%s", cause.text);
}

static int run_attach(const struct cli_call *call, struct qc_error *err)
{
	const char *image = call->arguments[0];
	const char *name = call->values[ATTACH_NAME];
	struct qc_attach_options options = {
		.name = name ? name : base_name(image),
		.read_only = call->values[OPT_READ_ONLY],
		.table_flags = table_flags(call),
		.note = print_note,
		.begin = cli_hold_signals,
		.cancelled = cli_signal_pending,
	};
	CLEANUP_CLIENT struct client *client = NULL;
	CLEANUP_FREE char *node = NULL;
	int ret;

	ret = cli_format(call->values[OPT_FORMAT], &options.format, err);
	if (!ret)
		ret = find_daemon(call->values[ATTACH_SOCKET], call->values[ATTACH_NO_DAEMON],
				  false, &client, err);
	if (!ret)
		ret = client ? attach_by_daemon(client, image, &options, err) :
			       qc_attach(image, &options, err);
	/* Else a signal comes too late: the exit status is to say that there is a device. */
	if (ret < 0) {
		cli_release_signals();
		return ret;
	}
	node = qc_dm_node(options.name);
	puts(node ? node : options.name);
	return CLI_OK;
}

const struct cli_command cli_attach = {
	.name = "attach",
	.arguments = "IMAGE",
	.help = "make a block device of an image and its backing chain",
	.min_arguments = 1,
	.max_arguments = 1,
	.usage_exit = CLI_USAGE,
	.options = attach_options,
	.run = run_attach,
};

static const struct cli_option detach_options[] = {
	DAEMON_OPTIONS(DETACH_SOCKET, DETACH_NO_DAEMON),
	{ 0 }
};

static int run_detach(const struct cli_call *call, struct qc_error *err)
{
	const char *name = base_name(call->arguments[0]);
	CLEANUP_CLIENT struct client *client = NULL;
	int ret;

	/* Services detach also while the daemon is stopped, whose socket the manager has. */
	ret = find_daemon(call->values[DETACH_SOCKET], call->values[DETACH_NO_DAEMON], true,
			  &client, err);
	if (client)
		ret = detach_by_daemon(client, name, err);
	if (ret > 0)
		return CLI_OK;
	cli_release_signals();
	return ret < 0 ? ret : qc_detach(name, err);
}

const struct cli_command cli_detach = {
	.name = "detach",
	.arguments = "NAME",
	.help = "write everything back and remove a block device",
	.min_arguments = 1,
	.max_arguments = 1,
	.usage_exit = CLI_USAGE,
	.options = detach_options,
	.run = run_detach,
};

static const struct cli_option table_options[] = {
	COMMON_OPTIONS,
	[TABLE_JSON] = { "json", 0, CLI_FLAG, NULL,
			 "print an object with start, length, target and params" },
	{ 0 }
};

static int run_table(const struct cli_call *call, struct qc_error *err)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	CLEANUP_FREE char *params = NULL;
	struct json_object *object;
	enum qc_format format;
	int ret;

	ret = cli_format(call->values[OPT_FORMAT], &format, err);
	if (!ret)
		ret = qc_chain_open(call->arguments[0], format, 0, &chain, err);
	if (!ret && !call->values[OPT_READ_ONLY])
		ret = qc_check_writable(chain, err);
	if (!ret)
		ret = qc_table_build(chain, table_flags(call), &params, err);
	if (ret < 0)
		return ret;
	if (!call->values[TABLE_JSON]) {
		printf("0 %llu " QC_TARGET " %s\n", qc_table_sectors(chain), params);
		return CLI_OK;
	}
	object = json_object_new_object();
	json_object_object_add(object, "start", cli_json_u64(0));
	json_object_object_add(object, "length", cli_json_u64(qc_table_sectors(chain)));
	json_object_object_add(object, "target", json_object_new_string(QC_TARGET));
	json_object_object_add(object, "params", json_object_new_string(params));
	cli_print_json(object);
	return CLI_OK;
}

const struct cli_command cli_table = {
	.name = "table",
	.arguments = "IMAGE",
	.help = "print the table line for dmsetup that attach would load",
	.min_arguments = 1,
	.max_arguments = 1,
	.usage_exit = CLI_USAGE,
	.options = table_options,
	.run = run_table,
};
