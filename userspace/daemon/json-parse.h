/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes a value of text that has been split into good tokens and balanced; see json-stream.h. */
#ifndef QCHAIN_JSON_PARSE_H
#define QCHAIN_JSON_PARSE_H

#include "qapi.h"

/*
 * @text consists of good tokens and white space, nested no deeper than the stack allows, and
 * ends with a NUL that @len does not count.  Returns 0 or -1.
 */
int json_parse(const char *text, size_t len, struct json_object **value, struct qmp_error *error);

#endif /* QCHAIN_JSON_PARSE_H */
