/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the sub-commands of qchain share.  A command is a table entry: its options,
 * its arguments, and a function.  main.c does the parsing and prints errors.
 */
#ifndef QCHAIN_CLI_H
#define QCHAIN_CLI_H

#include <stdio.h>

#include <json-c/json.h>

#include "chain.h"
#include "error.h"
#include "util.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILURE = 1,
	CLI_USAGE = 2,
	/* check only, as qemu-img check has them */
	CLI_CHECK_CORRUPT = 2,
	CLI_CHECK_LEAKS = 3,
	/* stream and commit with --wait only */
	CLI_JOB_CANCELLED = 3,
	CLI_JOB_GOES_ON = 4,		/* for all that is known, or nothing is */
};

#define CLI_MAX_OPTIONS 16

enum cli_option_kind {
	CLI_FLAG,
	CLI_ARGUMENT,
	CLI_OPTIONAL,		/* --name[=VALUE] */
	CLI_LIST,		/* may be given again; values are joined with commas */
};

struct cli_option {
	const char *name;	/* NULL ends the table */
	char letter;		/* 0: none */
	enum cli_option_kind kind;
	const char *argument;	/* its name in the help */
	const char *help;
};

struct cli_call;

struct cli_command {
	const char *name;
	const char *arguments;		/* for the help */
	const char *help;
	int min_arguments, max_arguments;
	bool words;			/* options come before the first argument only */
	int usage_exit;			/* exit code for wrong usage */
	const struct cli_option *options;
	/* Returns an exit code, or a negative errno with @err set. */
	int (*run)(const struct cli_call *call, struct qc_error *err);
};

struct cli_call {
	const struct cli_command *command;
	/* By the index in command->options: NULL when not given, "" for a flag. */
	char *values[CLI_MAX_OPTIONS];
	char **arguments;
	int nb_arguments;
};

extern const struct cli_command cli_attach, cli_detach, cli_table, cli_create, cli_info,
	cli_check, cli_tree, cli_qmp, cli_hmp, cli_events, cli_jobs, cli_stream, cli_commit,
	cli_snapshot;

/* "qchain: <object>: <message>" on stderr. */
void cli_warn(const char *object, const char *message);

/* --format: -EINVAL for what is neither qcow2 nor raw.  @value may be NULL. */
int cli_format(const char *value, enum qc_format *format, struct qc_error *err);

/* "10G" and the like, in powers of 1024. */
int cli_size(const char *what, const char *text, u64 *size, struct qc_error *err);

/* Print and release @object.  */
void cli_print_json(struct json_object *object);

struct json_object *cli_json_u64(u64 value);

/*
 * Signals that end the process wait until what is being made is whole, or undone; has one come?
 * They are let through after what failed.  After what went well they are not: the exit status says
 * that it did.  @ctx plays no part.
 */
void cli_hold_signals(void *ctx);
bool cli_signal_pending(void *ctx);
void cli_release_signals(void);

#endif /* QCHAIN_CLI_H */
