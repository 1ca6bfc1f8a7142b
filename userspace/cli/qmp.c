// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain qmp and qchain events. */
#include <errno.h>

#include "client.h"
#include "qapi.h"
#include "shell.h"
#include "words.h"

enum {
	QMP_SOCKET,
	QMP_VERBOSE,
};

static const struct cli_option qmp_options[] = {
	[QMP_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH", "of the daemon" },
	[QMP_VERBOSE] = { "verbose", 'v', CLI_FLAG, NULL, "print the JSON that is sent" },
	{ 0 }
};

static int read_line(const char *line, struct json_object **request, struct qc_error *err)
{
	char **words;
	int ret, count;

	count = words_split(line, &words, err);
	if (count < 0)
		return count;
	ret = count ? words_to_request(words, count, request, err) : 0;
	words_free(words);
	return ret;
}

static bool print_result(struct json_object *result)
{
	cli_print_json(json_object_get(result));
	return true;
}

static const struct shell_language language = {
	.prompt = "(qchain) ",
	.history = ".qchain_history",
	.events = true,
	.schema = true,
	.read = read_line,
	.print = print_result,
};

static int run_qmp(const struct cli_call *call, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *request = NULL, *result = NULL;
	CLEANUP_CLIENT struct client *client = NULL;
	int ret;

	if (call->nb_arguments) {
		ret = words_to_request(call->arguments, call->nb_arguments, &request, err);
		if (ret < 0)
			return ret;
	}
	ret = client_connect(client_path(call->values[QMP_SOCKET]), &client, err);
	if (ret < 0)
		return ret;
	if (!request)
		return shell_run(client, &language, call->values[QMP_VERBOSE], err);
	if (call->values[QMP_VERBOSE])
		cli_print_json(json_object_get(request));
	ret = client_call(client, request, NULL, &result, err);
	if (ret < 0)
		return ret;
	cli_print_json(json_object_get(result));
	return CLI_OK;
}

enum {
	EVENTS_SOCKET,
};

static const struct cli_option events_options[] = {
	[EVENTS_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH", "of the daemon" },
	{ 0 }
};

static int run_events(const struct cli_call *call, struct qc_error *err)
{
	CLEANUP_CLIENT struct client *client = NULL;
	int ret;

	ret = client_connect(client_path(call->values[EVENTS_SOCKET]), &client, err);
	while (!ret) {
		struct json_object *message;

		ret = client_receive(client, true, &message, err);
		if (ret < 0)
			break;
		puts(json_object_to_json_string_ext(message, JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(message);
		if (fflush(stdout))
			return CLI_FAILURE;
	}
	return ret;
}

const struct cli_command cli_qmp = {
	.name = "qmp",
	.arguments = "[COMMAND [KEY=VALUE]...]",
	.help = "run a QMP command of the daemon, or a shell for them",
	.min_arguments = 0,
	.max_arguments = 1 << 20,
	.usage_exit = CLI_USAGE,
	.options = qmp_options,
	.run = run_qmp,
};

const struct cli_command cli_events = {
	.name = "events",
	.arguments = "",
	.help = "print the daemon's events, one JSON object in a line, as they come",
	.min_arguments = 0,
	.max_arguments = 0,
	.usage_exit = CLI_USAGE,
	.options = events_options,
	.run = run_events,
};
