// SPDX-License-Identifier: GPL-2.0-or-later
/* The monitor for people: from lines to commands, and human-monitor-command. */
#include <ctype.h>

#include "hmp.h"
#include "qapi-define.h"
#include "util.h"

int hmp_call(struct hmp *hmp, const char *command, struct json_object *arguments,
	     struct json_object **result)
{
	struct qmp_error error = { 0 };

	if (!qapi_call(command, hmp->session, arguments, result, &error))
		return 0;
	fprintf(hmp->out, "Error: %s\n", error.text);
	return -1;
}

static void print_help(struct hmp *hmp, const char *before, const struct hmp_command *command)
{
	fprintf(hmp->out, "%s%s %s -- %s\n", before, command->name, command->params, command->help);
}

static void print_table(struct hmp *hmp, const char *before, const struct hmp_command *table)
{
	for (const struct hmp_command *c = table; c->name; c++)
		print_help(hmp, before, c);
}

static void say_unknown(struct hmp *hmp, const char *typed, const char *at)
{
	size_t len = at - typed;

	while (typed[len] && !isspace((unsigned char)typed[len]))
		len++;
	fprintf(hmp->out, "unknown command: '%.*s'\n", (int)len, typed);
}

void hmp_help(struct hmp *hmp, const char *line)
{
	const char *at = line;
	const struct hmp_command *command = hmp_find(hmp_commands, &at), *sub;

	if (!*line) {
		print_table(hmp, "", hmp_commands);
	} else if (!command) {
		say_unknown(hmp, line, at);
	} else if (!command->sub) {
		print_help(hmp, "", command);
	} else {
		char before[32];

		snprintf(before, sizeof(before), "%s ", command->name);
		sub = hmp_find(command->sub, &at);
		if (sub)
			print_help(hmp, before, sub);
		else if (*at)
			say_unknown(hmp, line, at);
		else
			print_table(hmp, before, command->sub);
	}
}

/* What is said goes to hmp->out. */
static void run(struct hmp *hmp, const char *line)
{
	CLEANUP_JSON struct json_object *words = NULL;
	const struct hmp_command *command, *sub;
	const char *typed, *at;

	while (isspace((unsigned char)*line))
		line++;
	if (!*line)
		return;
	typed = line;
	at = line;
	command = hmp_find(hmp_commands, &at);
	if (command && command->sub && *at) {
		sub = hmp_find(command->sub, &at);
		command = sub;
	}
	if (!command) {
		say_unknown(hmp, typed, at);
		return;
	}
	words = hmp_parse(command, at, hmp->out);
	if (!words) {
		while (at > typed && isspace((unsigned char)at[-1]))
			at--;
		fprintf(hmp->out, "Try \"help %.*s\" for more information\n", (int)(at - typed),
			typed);
	} else if (command->qmp) {
		hmp_call(hmp, command->qmp, json_object_get(words), NULL);
	} else {
		command->run(hmp, words);
	}
}

/* A line ends as on a terminal. */
static struct json_object *text_of(const char *said)
{
	CLEANUP_FREE char *text = malloc(2 * strlen(said) + 1);
	char *end = text;

	if (!text)
		return NULL;
	for (; *said; said++) {
		if (*said == '\n')
			*end++ = '\r';
		*end++ = *said;
	}
	*end = 0;
	return json_object_new_string(text);
}

static int run_line(struct qmp_session *session, struct json_object *arguments,
		    struct json_object **result, struct qmp_error *error)
{
	struct hmp hmp = { .session = session };
	CLEANUP_FREE char *said = NULL;
	size_t len;

	/* There is none. */
	if (qapi_has(arguments, "cpu-index"))
		return qmp_fail(error, "Parameter 'cpu-index' expects a CPU number");
	hmp.out = open_memstream(&said, &len);
	if (!hmp.out)
		return qmp_fail(error, "Out of memory");
	run(&hmp, qapi_get_str(arguments, "command-line", ""));
	if (!fclose(hmp.out))
		*result = text_of(said);
	return *result ? 0 : qmp_fail(error, "Out of memory");
}

static const struct qapi_type command_arguments =
	OBJECT("q_obj_human-monitor-command-arg",
	       MEMBER("command-line", qapi_str),
	       OPTIONAL("cpu-index", qapi_int));

const struct qapi_command hmp_qmp_commands[] = {
	{ "human-monitor-command", .arguments = &command_arguments, .result = &qapi_str,
	  .run = run_line },
	{ 0 }
};
