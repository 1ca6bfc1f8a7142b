/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests as people write them: COMMAND key=value key={"json":1} dotted.key=value. */
#ifndef QCHAIN_WORDS_H
#define QCHAIN_WORDS_H

#include "cli.h"

/*
 * words_to_request - make a request of a command and its arguments.
 * A value that begins with { or [ is JSON, and so is one that begins with a quote; true, false,
 * null and numbers are what they look like; all else is a string.  Dots in keys make objects, and
 * arrays where the part is a number.
 */
int words_to_request(char *const *words, int count, struct json_object **request,
		     struct qc_error *err);

/*
 * words_split - split a line at white space, but not within quotes, braces or brackets.
 * Quotes are kept.  *@words ends with NULL; free it with words_free().  Returns how many there are,
 * or a negative errno.
 */
int words_split(const char *line, char ***words, struct qc_error *err);
void words_free(char **words);

#endif /* QCHAIN_WORDS_H */
