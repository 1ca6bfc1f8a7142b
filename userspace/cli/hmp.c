// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain hmp. */
#include <errno.h>

#include "client.h"
#include "qapi.h"
#include "shell.h"

enum {
	HMP_SOCKET,
};

static const struct cli_option hmp_options[] = {
	[HMP_SOCKET] = { "socket", 's', CLI_ARGUMENT, "PATH", "of the daemon" },
	{ 0 }
};

/* Words are all that tells whether a command was refused; these are QEMU's. */
static bool is_refusal(const char *text)
{
	static const char *const beginnings[] = {
		"Error: ", "unknown command: ", "'commit' error for ", "Device '",
	};

	for (size_t i = 0; i < ARRAY_SIZE(beginnings); i++)
		if (!strncmp(text, beginnings[i], strlen(beginnings[i])))
			return true;
	return strstr(text, "\nTry \"help ");
}

static bool print_text(struct json_object *result)
{
	CLEANUP_FREE char *text = strdup(json_object_get_string(result));
	bool refused = text && is_refusal(text);
	char *end = text;

	if (!text)
		abort();
	for (const char *p = text; *p; p++)
		if (*p != '\r')
			*end++ = *p;
	*end = 0;
	fputs(text, refused ? stderr : stdout);
	return !refused;
}

static struct json_object *request_of(const char *line)
{
	struct json_object *arguments = json_object_new_object();

	qapi_add_str(arguments, "command-line", line);
	return client_request("human-monitor-command", arguments);
}

static int read_line(const char *line, struct json_object **request, struct qc_error *err)
{
	(void)err;
	*request = request_of(line);
	return 0;
}

static const struct shell_language language = {
	.prompt = "(qchain hmp) ",
	.history = ".qchain_hmp_history",
	.read = read_line,
	.print = print_text,
};

/* A word as it is in a line: with quotes where it would be several otherwise. */
static char *put_word(char *end, const char *word)
{
	bool quotes = !*word || *word == '"' || strpbrk(word, " \t\n\r\v\f");

	if (quotes)
		*end++ = '"';
	for (; *word; word++) {
		if (quotes && (*word == '"' || *word == '\\'))
			*end++ = '\\';
		*end++ = *word;
	}
	if (quotes)
		*end++ = '"';
	return end;
}

/* One argument is a line, several are its words. */
static char *join(char *const *words, int count)
{
	size_t len = 1;
	char *line, *end;

	if (count == 1)
		return strdup(words[0]);
	for (int i = 0; i < count; i++)
		len += 2 * strlen(words[i]) + 3;
	line = malloc(len);
	if (!line)
		return NULL;
	end = line;
	for (int i = 0; i < count; i++) {
		if (i)
			*end++ = ' ';
		end = put_word(end, words[i]);
	}
	*end = 0;
	return line;
}

static int run_hmp(const struct cli_call *call, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *request = NULL, *result = NULL;
	CLEANUP_CLIENT struct client *client = NULL;
	CLEANUP_FREE char *line = NULL;
	int ret;

	line = join(call->arguments, call->nb_arguments);
	if (!line)
		return qc_fail_nomem(err, "hmp");
	ret = client_connect(client_path(call->values[HMP_SOCKET]), &client, err);
	if (ret < 0)
		return ret;
	if (!call->nb_arguments)
		return shell_run(client, &language, false, err);
	request = request_of(line);
	ret = client_call(client, request, NULL, &result, err);
	if (ret < 0)
		return ret;
	return print_text(result) ? CLI_OK : CLI_FAILURE;
}

const struct cli_command cli_hmp = {
	.name = "hmp",
	.arguments = "[COMMAND [WORD]...]",
	.help = "run a command of the daemon's monitor for people, or a shell for them",
	.min_arguments = 0,
	.max_arguments = 1 << 20,
	.words = true,
	.usage_exit = CLI_USAGE,
	.options = hmp_options,
	.run = run_hmp,
};
