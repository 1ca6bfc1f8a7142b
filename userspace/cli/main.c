// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain: the command line.  Finds the command, parses its options, reports errors. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>

#include "cli.h"

static const struct cli_command *const commands[] = {
	&cli_attach, &cli_detach, &cli_table, &cli_create, &cli_info, &cli_check, &cli_tree,
	&cli_snapshot, &cli_stream, &cli_commit, &cli_jobs, &cli_qmp, &cli_hmp, &cli_events,
};

#define OPT_HELP 256		/* getopt values of options without a letter follow */

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: qchain COMMAND [OPTION]... [ARGUMENT]...\n"
		"Block devices from qcow2 backing chains.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->help);
	fprintf(out, "\n'qchain COMMAND --help' shows a command's options; see also man qchain.\n");
}

static void print_help(const struct cli_command *command)
{
	printf("Usage: qchain %s [OPTION]...%s%s\n%s\n\n", command->name,
	       *command->arguments ? " " : "", command->arguments, command->help);
	for (const struct cli_option *o = command->options; o->name; o++) {
		char text[64];

		snprintf(text, sizeof(text), "--%s%s%s%s", o->name,
			 o->kind == CLI_FLAG ? "" : o->kind == CLI_OPTIONAL ? "[=" : " ",
			 o->argument ? o->argument : "", o->kind == CLI_OPTIONAL ? "]" : "");
		if (o->letter)
			printf("  -%c, %-28s %s\n", o->letter, text, o->help);
		else
			printf("      %-28s %s\n", text, o->help);
	}
	printf("  -h, %-28s show this\n", "--help");
}

static int usage_error(const struct cli_command *command, const char *cause)
{
	fprintf(stderr, "qchain: %s: %s; see: qchain %s --help\n", command->name, cause,
		command->name);
	return command->usage_exit;
}

static int set_value(struct cli_call *call, int index, const char *value)
{
	char *old = call->values[index];
	char *new = NULL;

	if (old && call->command->options[index].kind == CLI_LIST) {
		new = malloc(strlen(old) + strlen(value) + 2);
		if (new)
			sprintf(new, "%s,%s", old, value);
	} else {
		new = strdup(value ? value : "");
	}
	free(old);
	call->values[index] = new;
	return new ? 0 : -ENOMEM;
}

/* Index of the option that getopt_long() returned, or -1. */
static int option_index(const struct cli_command *command, int value)
{
	for (int i = 0; command->options[i].name; i++)
		if (value == OPT_HELP + 1 + i || value == command->options[i].letter)
			return i;
	return -1;
}

/* Translate the table for getopt_long(). */
static void fill_getopt(const struct cli_command *command, char *letters, struct option *longs)
{
	if (command->words)
		*letters++ = '+';
	*letters++ = ':';
	*letters++ = 'h';
	*longs++ = (struct option){ "help", no_argument, NULL, 'h' };
	for (int i = 0; command->options[i].name; i++) {
		const struct cli_option *o = &command->options[i];

		*longs++ = (struct option){
			.name = o->name,
			.has_arg = o->kind == CLI_FLAG ? no_argument :
				   o->kind == CLI_OPTIONAL ? optional_argument :
				   required_argument,
			.val = OPT_HELP + 1 + i,
		};
		if (!o->letter)
			continue;
		*letters++ = o->letter;
		if (o->kind != CLI_FLAG)
			*letters++ = ':';
		if (o->kind == CLI_OPTIONAL)
			*letters++ = ':';
	}
	*letters = 0;
	memset(longs, 0, sizeof(*longs));
}

/* Returns -1 when the command is to run, else the exit code. */
static int parse(struct cli_call *call, int argc, char **argv)
{
	const struct cli_command *command = call->command;
	struct option longs[CLI_MAX_OPTIONS + 2];
	char letters[3 * CLI_MAX_OPTIONS + 4];
	int value;

	fill_getopt(command, letters, longs);
	opterr = 0;
	while ((value = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		int index;
		char cause[128];

		if (value == 'h') {
			print_help(command);
			return CLI_OK;
		}
		if (value == ':' || value == '?') {
			snprintf(cause, sizeof(cause), "%s '%.80s'", value == ':' ?
				 "no argument to" : "unknown or ambiguous option",
				 argv[optind - 1]);
			return usage_error(command, cause);
		}
		index = option_index(command, value);
		if (set_value(call, index, optarg) < 0)
			return usage_error(command, strerror(ENOMEM));
	}
	call->arguments = argv + optind;
	call->nb_arguments = argc - optind;
	if (call->nb_arguments < command->min_arguments)
		return usage_error(command, "an argument is missing");
	if (call->nb_arguments > command->max_arguments)
		return usage_error(command, "too many arguments");
	return -1;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
	struct cli_call call = { .command = command };
	struct qc_error err = { 0 };
	int ret;

	ret = parse(&call, argc, argv);
	if (ret < 0) {
		ret = command->run(&call, &err);
		if (ret < 0) {
			fprintf(stderr, "qchain: %s\n", err.code ? err.text : strerror(-ret));
			ret = CLI_FAILURE;
		}
	}
	for (int i = 0; i < CLI_MAX_OPTIONS; i++)
		free(call.values[i]);
	if (fflush(stdout) || ferror(stdout)) {
		cli_warn("standard output", strerror(errno));
		return CLI_FAILURE;
	}
	return ret;
}

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	qc_raise_nofile();

	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
			  !strcmp(argv[1], "help"))) {
		print_usage(stdout);
		return CLI_OK;
	}
	if (argc < 2) {
		print_usage(stderr);
		return CLI_USAGE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i]->name))
			return run(commands[i], argc - 1, argv + 1);
	fprintf(stderr, "qchain: %s: no such command; see: qchain --help\n", argv[1]);
	return CLI_USAGE;
}
