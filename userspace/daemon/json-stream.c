// SPDX-License-Identifier: GPL-2.0-or-later
/* Splits a stream of bytes into tokens, and finds where a value ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json-parse.h"
#include "json-stream.h"

#define SHOWN 256		/* bytes of a bad token in an error */

enum state {
	BETWEEN,		/* tokens */
	STRING,
	ESCAPE,			/* in a string, behind a backslash */
	WORD,
	MINUS,
	ZERO,			/* a leading one */
	DIGITS,
	POINT,
	FRACTION,
	E,
	E_SIGN,
	EXPONENT,
	SKIPPING,		/* what follows a bad token */
};

struct json_stream {
	size_t limit;
	long depth;
	enum state state;
	long braces, brackets;	/* that are open */
	size_t tokens;
	size_t token;		/* where the last one begins in text[] */
	char first;		/* character of it */
	bool dropping;		/* a value that is over a limit, of which nothing is kept */
	char *text;		/* the value so far */
	size_t len, room;
};

struct json_stream *json_stream_new(size_t limit, long depth)
{
	struct json_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		abort();
	stream->limit = limit;
	stream->depth = depth;
	return stream;
}

void json_stream_free(struct json_stream *stream)
{
	if (!stream)
		return;
	free(stream->text);
	free(stream);
}

static void begin_value(struct json_stream *s)
{
	s->braces = 0;
	s->brackets = 0;
	s->tokens = 0;
	s->token = 0;
	s->len = 0;
	s->dropping = false;
	s->state = BETWEEN;
	/* One large value shall not cost its memory for ever. */
	if (s->room > 64 << 10) {
		free(s->text);
		s->text = NULL;
		s->room = 0;
	}
}

static void append(struct json_stream *s, char c)
{
	if (s->len + 1 >= s->room) {
		s->room = s->room ? 2 * s->room : 512;
		s->text = realloc(s->text, s->room);
		if (!s->text)
			abort();
	}
	s->text[s->len++] = c;
	s->text[s->len] = 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What can a token begin with?  BETWEEN: it is that character alone.  SKIPPING: nothing. */
static enum state first_state(char c)
{
	if (c == '"' || c == '\'')
		return STRING;
	if (c == '-')
		return MINUS;
	if (c == '0')
		return ZERO;
	if (is_digit(c))
		return DIGITS;
	if (c >= 'a' && c <= 'z')
		return WORD;
	return c && strchr("{}[],:", c) ? BETWEEN : SKIPPING;
}

/* The state behind @c in a word or number.  BETWEEN: the token ended before @c. */
static enum state next_state(enum state state, char c)
{
	bool e = c == 'e' || c == 'E';

	switch (state) {
	case WORD:
		return c >= 'a' && c <= 'z' ? WORD : BETWEEN;
	case MINUS:
		return c == '0' ? ZERO : is_digit(c) ? DIGITS : SKIPPING;
	case ZERO:
		return is_digit(c) ? SKIPPING : c == '.' ? POINT : e ? E : BETWEEN;
	case DIGITS:
		return is_digit(c) ? DIGITS : c == '.' ? POINT : e ? E : BETWEEN;
	case POINT:
		return is_digit(c) ? FRACTION : SKIPPING;
	case FRACTION:
		return is_digit(c) ? FRACTION : e ? E : BETWEEN;
	case E:
		return is_digit(c) ? EXPONENT : c == '+' || c == '-' ? E_SIGN : SKIPPING;
	case E_SIGN:
		return is_digit(c) ? EXPONENT : SKIPPING;
	case EXPONENT:
		return is_digit(c) ? EXPONENT : BETWEEN;
	default:
		return SKIPPING;
	}
}

static bool in_string(char c)
{
	return (unsigned char)c >= ' ' && (unsigned char)c < 0xfe;
}

/* What is never in the middle of something, whatever a bad token was meant to be. */
static bool ends_skipping(char c)
{
	return (c && strchr("{}[],:", c)) || (!in_string(c) && c != '\t');
}

static enum json_item bad(struct qmp_error *error, const char *text)
{
	error->class = QMP_GENERIC_ERROR;
	snprintf(error->text, sizeof(error->text), "%s", text);
	return JSON_BAD;
}

/* The value is over a limit, which is said once; its rest is read, but not kept. */
static enum json_item drop(struct json_stream *s, struct qmp_error *error, const char *text)
{
	bool said = s->dropping;

	s->dropping = true;
	s->token = 0;
	s->len = 0;
	return said ? JSON_NOTHING : bad(error, text);
}

/* The token so far, with @c, is none. */
static enum json_item bad_token(struct json_stream *s, char c, struct qmp_error *error)
{
	char text[SHOWN + 64];

	append(s, c);
	snprintf(text, sizeof(text), "JSON parse error, stray '%.*s'", SHOWN, s->text + s->token);
	begin_value(s);
	s->state = SKIPPING;
	return bad(error, text);
}

/* A token is complete: is the value? */
static enum json_item token_done(struct json_stream *s, struct json_object **value,
				 struct qmp_error *error)
{
	bool dropping = s->dropping;
	int ret;

	switch (s->first) {
	case '{':
		s->braces++;
		break;
	case '}':
		s->braces--;
		break;
	case '[':
		s->brackets++;
		break;
	case ']':
		s->brackets--;
		break;
	}
	s->state = BETWEEN;
	s->tokens++;
	if (s->braces >= 0 && s->brackets >= 0 && (s->braces || s->brackets)) {
		if (s->braces + s->brackets > s->depth)
			return drop(s, error, "JSON nesting depth limit exceeded");
		if (s->tokens > s->limit / 8)
			return drop(s, error, "JSON token count limit exceeded");
		if (dropping)
			s->len = 0;
		else
			append(s, ' ');		/* keeps apart what white space did */
		return JSON_NOTHING;
	}
	ret = dropping ? 0 : json_parse(s->text, s->len, value, error);
	begin_value(s);
	return ret ? JSON_BAD : dropping ? JSON_NOTHING : JSON_VALUE;
}

/* Take one byte, or, with *@again set, do what comes before it. */
static enum json_item take(struct json_stream *s, char c, bool *again,
			   struct json_object **value, struct qmp_error *error)
{
	enum state next;

	switch (s->state) {
	case SKIPPING:
		*again = ends_skipping(c);
		if (*again)
			s->state = BETWEEN;
		return JSON_NOTHING;
	case BETWEEN:
		if (c && strchr(" \t\r\n", c))
			return JSON_NOTHING;
		s->token = s->len;
		next = first_state(c);
		if (next == SKIPPING)
			return bad_token(s, c, error);
		append(s, c);
		s->first = c;
		s->state = next;
		return next == BETWEEN ? token_done(s, value, error) : JSON_NOTHING;
	case STRING:
	case ESCAPE:
		if (!in_string(c))
			return bad_token(s, c, error);
		append(s, c);
		if (s->state == STRING && c == s->first)
			return token_done(s, value, error);
		s->state = s->state == STRING && c == '\\' ? ESCAPE : STRING;
		return JSON_NOTHING;
	default:
		next = next_state(s->state, c);
		if (next == SKIPPING)
			return bad_token(s, c, error);
		if (next == BETWEEN) {
			*again = true;
			return token_done(s, value, error);
		}
		append(s, c);
		s->state = next;
		return JSON_NOTHING;
	}
}

enum json_item json_stream_next(struct json_stream *stream, const char **data, size_t *len,
				struct json_object **value, struct qmp_error *error)
{
	while (*len) {
		bool again = false;
		enum json_item item = take(stream, **data, &again, value, error);

		if (!again) {
			++*data;
			--*len;
		}
		if (item != JSON_NOTHING)
			return item;
		if (stream->len > stream->limit) {
			item = drop(stream, error, "JSON token size limit exceeded");
			if (item != JSON_NOTHING)
				return item;
		}
	}
	return JSON_NOTHING;
}

enum json_item json_stream_end(struct json_stream *stream, struct json_object **value,
			       struct qmp_error *error)
{
	const char *newline = "\n";
	size_t len = 1;
	enum json_item item = json_stream_next(stream, &newline, &len, value, error);

	if (item != JSON_NOTHING || (!stream->braces && !stream->brackets))
		return item;
	begin_value(stream);
	return bad(error, "JSON parse error, premature EOI");
}

enum json_item json_stream_text(const char **text, struct json_object **value,
				struct qmp_error *error)
{
	struct json_stream *stream = json_stream_new(SIZE_MAX, JSON_STREAM_DEPTH);
	size_t len = strlen(*text);
	enum json_item item = json_stream_next(stream, text, &len, value, error);

	if (item == JSON_NOTHING)
		item = json_stream_end(stream, value, error);
	json_stream_free(stream);
	return item;
}
