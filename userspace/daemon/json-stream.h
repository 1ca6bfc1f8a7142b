/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads JSON values from a stream of bytes as QMP wants it: values follow each other with or
 * without white space between them, strings may also be 'single-quoted', and after an error reading
 * goes on: what cannot be part of a value ends it, and any control character or 0xFF cannot.
 *
 * Refused, besides what is no JSON: keys that come twice, numbers that are not finite, strings with
 * U+0000 or invalid UTF-8, and, to its end, a value that is over a limit.  An integer beyond 64
 * bits becomes a double.
 */
#ifndef QCHAIN_JSON_STREAM_H
#define QCHAIN_JSON_STREAM_H

#include "qapi.h"

#define JSON_STREAM_DEPTH 1024		/* of requests, as in QEMU */

enum json_item {
	JSON_NOTHING,		/* all bytes were taken, more are needed */
	JSON_VALUE,
	JSON_BAD,
};

struct json_stream;

/*
 * Never NULL.  @limit: bytes of one value; it has no more tokens than an eighth of that, which
 * bounds the memory that is made of it.  @depth: how deep objects and arrays may be nested, which
 * bounds the stack: each takes some hundred bytes of it.
 */
struct json_stream *json_stream_new(size_t limit, long depth);
void json_stream_free(struct json_stream *stream);

/*
 * json_stream_next - the next value or error.
 * @data, @len: input; moved behind what was taken.
 * @value: a JSON_VALUE, owned by the caller; may be NULL, which is JSON's null.
 * @error: of JSON_BAD, as QEMU says it; may have any character in it.
 */
enum json_item json_stream_next(struct json_stream *stream, const char **data, size_t *len,
				struct json_object **value, struct qmp_error *error);

/* The input has ended: finish a number or word at its end.  Bytes that are left are JSON_BAD. */
enum json_item json_stream_end(struct json_stream *stream, struct json_object **value,
			       struct qmp_error *error);

/* The value that begins a whole text; moves @text behind it. */
enum json_item json_stream_text(const char **text, struct json_object **value,
				struct qmp_error *error);

#endif /* QCHAIN_JSON_STREAM_H */
