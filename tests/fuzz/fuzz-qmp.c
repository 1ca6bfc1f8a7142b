// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A QMP session that is fed anything.  Whatever came, what it says is good JSON in ASCII, does not
 * depend on the pieces in which the bytes came, and after the byte that the protocol has for it, it
 * understands the next command.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "json-stream.h"
#include "part.h"
#include "quit.h"
#include "session.h"
#include "target.h"

#define ANSWER_MAX (64U << 20)

/* Something is in use, so that quit is run but the session goes on. */
static int refuse(bool keep, struct qmp_error *error)
{
	(void)keep;
	return qmp_fail(error, "Device 'x' is in use");
}

static const struct daemon_part part = { .name = "part", .quit = refuse };
const struct daemon_part *const daemon_parts[] = { &part, NULL };
const struct qapi_command *const qapi_commands[] = { control_commands, NULL };
const struct qapi_event *const qapi_events[] = { NULL };

struct text {
	char *bytes;
	size_t len, room;
};

static void wake(void *context)
{
	(void)context;
}

static void collect(struct qmp_session *session, struct text *text)
{
	const char *data;
	size_t len;

	while ((data = qmp_session_output(session, &len))) {
		if (text->len + len >= text->room) {
			text->room = 2 * (text->len + len) + 1;
			text->bytes = realloc(text->bytes, text->room);
			FUZZ_MUST(text->bytes);
		}
		memcpy(text->bytes + text->len, data, len);
		text->len += len;
		qmp_session_sent(session, len);
	}
}

static void feed(struct qmp_session *session, const char *data, size_t size, size_t step,
		 struct text *text)
{
	while (size) {
		size_t len = step < size ? step : size;
		size_t taken = qmp_session_feed(session, data, len);

		FUZZ_MUST(taken <= len && taken);
		data += taken;
		size -= taken;
		collect(session, text);
	}
}

static struct text talk(const u8 *data, size_t size, size_t step)
{
	static const char sync[] = "\xff\n{'execute':'query-version','id':'sync'}";
	struct qmp_session *session = qmp_session_new(false, wake, NULL);
	struct text text = { 0 };

	collect(session, &text);
	feed(session, (const char *)data, size, step, &text);
	feed(session, sync, strlen(sync), step, &text);
	FUZZ_MUST(!qmp_session_lost(session));
	qmp_session_free(session);
	return text;
}

/* Each line, and the answer to what came last. */
static void judge(const struct text *text)
{
	struct json_stream *stream = json_stream_new(ANSWER_MAX, JSON_STREAM_DEPTH);
	struct json_object *value;
	const char *at = text->bytes;
	size_t left = text->len;
	struct qmp_error error;
	bool synced = false;

	FUZZ_MUST(left > 2 && !memcmp(at + left - 2, "\r\n", 2));
	for (size_t i = 0; i < left; i++)
		FUZZ_MUST((at[i] >= ' ' && !(at[i] & 0x80)) || at[i] == '\r' || at[i] == '\n');
	while (left) {
		enum json_item item = json_stream_next(stream, &at, &left, &value, &error);
		struct json_object *id;

		FUZZ_MUST(item != JSON_BAD);
		if (item == JSON_NOTHING)
			break;
		FUZZ_MUST(json_object_is_type(value, json_type_object));
		FUZZ_MUST(qapi_has(value, "QMP") + qapi_has(value, "return") +
			  qapi_has(value, "error") == 1);
		synced = json_object_object_get_ex(value, "id", &id) &&
			 json_object_is_type(id, json_type_string) &&
			 !strcmp(json_object_get_string(id), "sync");
		json_object_put(value);
	}
	FUZZ_MUST(synced);
	json_stream_free(stream);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct text whole = talk(data, size, SIZE_MAX);
	struct text pieces = talk(data, size, 1 + size % 7);

	judge(&whole);
	FUZZ_MUST(whole.len == pieces.len && !memcmp(whole.bytes, pieces.bytes, whole.len));
	free(whole.bytes);
	free(pieces.bytes);
	return 0;
}
