/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor for people: lines of words in, text out.  Each command is another form of QMP
 * commands, whose handlers do the work.
 */
#ifndef QCHAIN_HMP_H
#define QCHAIN_HMP_H

#include <stdio.h>

#include "qapi.h"

struct hmp {
	struct qmp_session *session;	/* who asked */
	FILE *out;
};

struct hmp_command {
	const char *name;	/* with its short forms: "stop|s"; NULL ends a table */
	/*
	 * What words there are, in their order: NAME:TYPE, separated by commas; with "?" behind it
	 * one may be missing.  NULL: none.  Types:
	 *	-c	a flag, a member that is true; all flags come before the other words
	 *	B	a device
	 *	s	a word
	 *	l	a number
	 *	o	bytes, in MiB where no unit is given
	 *	O	the same; what is no size is taken for the next word
	 *	S	the rest of the line
	 */
	const char *arguments;
	const char *params;	/* the same for people */
	const char *help;
	const char *qmp;	/* the command that gets the words as they are; NULL: run() */
	void (*run)(struct hmp *hmp, struct json_object *arguments);
	const struct hmp_command *sub;	/* commands whose names are the next word */
};

/* By name, as they are listed. */
extern const struct hmp_command hmp_commands[];

/*
 * The command that *@line begins with, without its blanks; *@line is moved behind that.  NULL when
 * there is none in @table.
 */
const struct hmp_command *hmp_find(const struct hmp_command *table, const char **line);

/*
 * hmp_parse - the words of @line, which has no blank at its begin, as members of a new object.
 * Returns NULL when they are not what the command takes, having said so on @out.
 */
struct json_object *hmp_parse(const struct hmp_command *command, const char *line, FILE *out);

/*
 * hmp_call - run the command of that name in the schema.  @arguments are taken over; NULL: none.
 * Returns 0, or -1 having said why.  @result may be NULL.
 */
int hmp_call(struct hmp *hmp, const char *command, struct json_object *arguments,
	     struct json_object **result);

/* What there is: one command, those of a table in a command, or all; @line is empty then. */
void hmp_help(struct hmp *hmp, const char *line);

/* human-monitor-command */
extern const struct qapi_command hmp_qmp_commands[];

#endif /* QCHAIN_HMP_H */
