// SPDX-License-Identifier: GPL-2.0-or-later
/* The QMP protocol, for one client. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "control.h"
#include "json-stream.h"
#include "log.h"
#include "quit.h"
#include "session.h"

struct qmp_session {
	struct qmp_session *next, **link;	/* of all sessions */
	struct json_stream *input;
	void (*wake)(void *context);
	void *context;
	bool pretty;
	bool negotiated;
	bool oob;
	bool lost;
	char *output;
	size_t head, tail, room;		/* what waits is from head to tail */
};

static struct qmp_session *sessions;

static void append(struct qmp_session *s, const char *data, size_t len)
{
	if (s->head && s->tail + len > s->room) {
		s->tail -= s->head;
		memmove(s->output, s->output + s->head, s->tail);
		s->head = 0;
	}
	if (s->tail + len > s->room) {
		s->room = 2 * (s->tail + len);
		s->output = realloc(s->output, s->room);
		if (!s->output)
			abort();
	}
	memcpy(s->output + s->tail, data, len);
	s->tail += len;
}

/* The character at @at, or U+FFFD for a byte that is not part of one, and where the next is. */
static unsigned int decode(const char *at, const char **next)
{
	static const unsigned int least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *s = (const unsigned char *)at;
	unsigned int more = s[0] >= 0xf0 ? 3 : s[0] >= 0xe0 ? 2 : 1;
	unsigned int c = s[0] & (0x3f >> more);

	*next = at + 1;
	if (s[0] < 0xc0 || s[0] > 0xf7)
		return 0xfffd;
	for (unsigned int i = 1; i <= more; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0xfffd;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0xfffd;
	*next = at + 1 + more;
	return c;
}

/* JSON in ASCII: other characters are only in strings, and can be written as escapes. */
static void append_ascii(struct qmp_session *s, const char *text)
{
	while (*text) {
		size_t plain = 0;
		unsigned int c;
		char escape[16];
		int len;

		while (text[plain] && !(text[plain] & 0x80))
			plain++;
		append(s, text, plain);
		text += plain;
		if (!*text)
			break;
		c = decode(text, &text);
		if (c < 0x10000)
			len = snprintf(escape, sizeof(escape), "\\u%04X", c);
		else
			len = snprintf(escape, sizeof(escape), "\\u%04X\\u%04X",
				       0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
		append(s, escape, len);
	}
}

/* Takes @message over. */
static void send_message(struct qmp_session *s, struct json_object *message)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE |
		    (s->pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : 0);

	append_ascii(s, json_object_to_json_string_ext(message, flags));
	append(s, "\r\n", 2);
	json_object_put(message);
}

static void greet(struct qmp_session *s)
{
	struct json_object *capabilities = json_object_new_array();
	struct json_object *greeting = json_object_new_object();
	struct json_object *message = json_object_new_object();

	json_object_array_add(capabilities, json_object_new_string("oob"));
	json_object_object_add(greeting, "version", control_version());
	json_object_object_add(greeting, "capabilities", capabilities);
	json_object_object_add(message, "QMP", greeting);
	send_message(s, message);
}

struct qmp_session *qmp_session_new(bool pretty, void (*wake)(void *context), void *context)
{
	struct qmp_session *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->input = json_stream_new(QMP_REQUEST_MAX, JSON_STREAM_DEPTH);
	s->pretty = pretty;
	s->wake = wake;
	s->context = context;
	s->link = &sessions;
	s->next = sessions;
	if (sessions)
		sessions->link = &s->next;
	sessions = s;
	greet(s);
	return s;
}

void qmp_session_free(struct qmp_session *session)
{
	if (!session)
		return;
	*session->link = session->next;
	if (session->next)
		session->next->link = session->link;
	json_stream_free(session->input);
	free(session->output);
	free(session);
}

static struct json_object *new_error(const struct qmp_error *error)
{
	struct json_object *o = json_object_new_object();
	struct json_object *answer = json_object_new_object();

	json_object_object_add(o, "class", json_object_new_string(qmp_class_names[error->class]));
	json_object_object_add(o, "desc", json_object_new_string(error->text));
	json_object_object_add(answer, "error", o);
	return answer;
}

struct request {
	const char *name;
	struct json_object *arguments;
	bool oob;
};

static int read_name(struct request *r, const char *key, struct json_object *value,
		     struct qmp_error *error)
{
	if (r->name)
		return qmp_fail(error, "QMP input member '%s' clashes with '%s'", key,
				r->oob ? "exec-oob" : "execute");
	if (!json_object_is_type(value, json_type_string))
		return qmp_fail(error, "QMP input member '%s' must be a string", key);
	r->name = json_object_get_string(value);
	r->oob = !strcmp(key, "exec-oob");
	return 0;
}

static int read_request(struct qmp_session *s, struct json_object *input, struct request *r,
			struct qmp_error *error)
{
	json_object_object_foreach(input, key, value) {
		if (!strcmp(key, "execute") || (s->oob && !strcmp(key, "exec-oob"))) {
			if (read_name(r, key, value, error))
				return -1;
		} else if (!strcmp(key, "arguments")) {
			if (!json_object_is_type(value, json_type_object))
				return qmp_fail(error,
						"QMP input member 'arguments' must be an object");
			r->arguments = value;
		} else if (strcmp(key, "id")) {
			return qmp_fail(error, "QMP input member '%s' is unexpected", key);
		}
	}
	return r->name ? 0 : qmp_fail(error, "QMP input lacks member 'execute'");
}

/* The schema is what clients are told.  To send something that is not of its type is our fault. */
static void check_sent(const char *name, const struct qapi_type *type, struct json_object *value)
{
	struct qmp_error error;

	if (qapi_check(type ? type : &qapi_empty, value, &error))
		log_line(LOG_ERR, "%s: what is sent is not as the schema says: %s", name,
			 error.text);
}

static int execute(struct qmp_session *s, const struct request *r, struct json_object **result,
		   struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *arguments = NULL;
	const struct qapi_command *command = qapi_find_command(r->name);

	if (!s->negotiated && strcmp(r->name, "qmp_capabilities"))
		return qmp_fail_class(error, QMP_COMMAND_NOT_FOUND,
				      "Expecting capabilities negotiation with 'qmp_capabilities'");
	if (!command)
		return qmp_fail_class(error, QMP_COMMAND_NOT_FOUND,
				      "The command %s has not been found", r->name);
	if (r->oob)
		return qmp_fail(error, "The command %s does not support OOB", r->name);
	arguments = r->arguments ? json_object_get(r->arguments) : json_object_new_object();
	if (qapi_run(command, s, arguments, result, error)) {
		log_line(LOG_DEBUG, "%s: %s", r->name, error->text);
		return -1;
	}
	log_line(LOG_DEBUG, "%s: done", r->name);
	check_sent(command->name, command->result, *result);
	return 0;
}

static void answer(struct qmp_session *s, struct json_object *input)
{
	struct qmp_error error = { 0 };
	struct json_object *result = NULL, *id, *message;
	struct request request = { 0 };

	if (!json_object_is_type(input, json_type_object)) {
		qmp_fail(&error, "QMP input must be a JSON object");
		send_message(s, new_error(&error));
		return;
	}
	if (read_request(s, input, &request, &error) || execute(s, &request, &result, &error)) {
		message = new_error(&error);
	} else {
		message = json_object_new_object();
		json_object_object_add(message, "return", result);
	}
	if (json_object_object_get_ex(input, "id", &id))
		json_object_object_add(message, "id", json_object_get(id));
	send_message(s, message);
}

size_t qmp_session_feed(struct qmp_session *session, const char *data, size_t len)
{
	const char *at = data;
	int turn = QMP_TURN;

	while (len && turn-- && qmp_session_wants_input(session)) {
		CLEANUP_JSON struct json_object *value = NULL;
		struct qmp_error error;

		switch (json_stream_next(session->input, &at, &len, &value, &error)) {
		case JSON_VALUE:
			answer(session, value);
			break;
		case JSON_BAD:
			send_message(session, new_error(&error));
			break;
		case JSON_NOTHING:
			break;
		}
	}
	return at - data;
}

const char *qmp_session_output(const struct qmp_session *session, size_t *len)
{
	*len = session->tail - session->head;
	return *len ? session->output + session->head : NULL;
}

void qmp_session_sent(struct qmp_session *session, size_t len)
{
	session->head += len;
	if (session->head < session->tail)
		return;
	session->head = 0;
	session->tail = 0;
	/* One long answer shall not cost its memory for ever. */
	if (session->room > QMP_OUTPUT_LOW) {
		free(session->output);
		session->output = NULL;
		session->room = 0;
	}
}

bool qmp_session_wants_input(const struct qmp_session *session)
{
	return session->tail - session->head <= QMP_OUTPUT_LOW && !session->lost && !quit_done();
}

bool qmp_session_lost(const struct qmp_session *session)
{
	return session->lost;
}

bool qmp_session_negotiated(const struct qmp_session *session)
{
	return session->negotiated;
}

void qmp_session_negotiate(struct qmp_session *session, bool oob)
{
	session->negotiated = true;
	session->oob = oob;
}

static struct json_object *timestamp(void)
{
	struct json_object *o = json_object_new_object();
	struct timeval now = { -1, -1 };

	gettimeofday(&now, NULL);
	json_object_object_add(o, "seconds", json_object_new_int64(now.tv_sec));
	json_object_object_add(o, "microseconds", json_object_new_int64(now.tv_usec));
	return o;
}

void qmp_emit(const char *event, struct json_object *data)
{
	struct json_object *message = json_object_new_object();
	const struct qapi_event *entry = qapi_find_event(event);

	assert(entry);
	if (!data && entry->data)
		data = json_object_new_object();
	if (data)
		check_sent(event, entry->data, data);
	json_object_object_add(message, "timestamp", timestamp());
	json_object_object_add(message, "event", json_object_new_string(event));
	if (data)
		json_object_object_add(message, "data", data);
	for (struct qmp_session *s = sessions; s; s = s->next) {
		if (!s->negotiated || s->lost)
			continue;
		if (s->tail - s->head > QMP_OUTPUT_HIGH)
			s->lost = true;
		else
			send_message(s, json_object_get(message));
		s->wake(s->context);
	}
	json_object_put(message);
}
