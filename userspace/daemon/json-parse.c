// SPDX-License-Identifier: GPL-2.0-or-later
/* From text to values. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json-parse.h"

#define SHOWN 128		/* bytes of a word in an error */

struct parser {
	const char *at, *end;
	struct qmp_error *error;
};

static int fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct parser *p, const char *fmt, ...)
{
	char text[QMP_ERROR_MAX / 2];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	p->error->class = QMP_GENERIC_ERROR;
	snprintf(p->error->text, sizeof(p->error->text), "JSON parse error, %s", text);
	return -1;
}

/* The first character of the next token, 0 at the end. */
static char peek(struct parser *p)
{
	while (p->at < p->end && strchr(" \t\r\n", *p->at))
		p->at++;
	return p->at < p->end ? *p->at : 0;
}

/* How many bytes the UTF-8 sequence of a character at @at has, 0 when it is none. */
static size_t sequence(const char *at, const char *end)
{
	const unsigned char *s = (const unsigned char *)at;
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 :
		     s[0] < 0xf5 ? 4 : 0;

	if (len > (size_t)(end - at))
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong, surrogates, beyond U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static char *put_utf8(char *to, unsigned int c)
{
	if (c < 0x80) {
		*to++ = c;
	} else if (c < 0x800) {
		*to++ = 0xc0 | c >> 6;
		*to++ = 0x80 | (c & 0x3f);
	} else if (c < 0x10000) {
		*to++ = 0xe0 | c >> 12;
		*to++ = 0x80 | (c >> 6 & 0x3f);
		*to++ = 0x80 | (c & 0x3f);
	} else {
		*to++ = 0xf0 | c >> 18;
		*to++ = 0x80 | (c >> 12 & 0x3f);
		*to++ = 0x80 | (c >> 6 & 0x3f);
		*to++ = 0x80 | (c & 0x3f);
	}
	return to;
}

/* The number of "\uXXXX" at @at, or -1. */
static int unit(const char *at, const char *end)
{
	int value = 0;

	if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		char c = at[i];

		value <<= 4;
		if (c >= '0' && c <= '9')
			value |= c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value |= (c | 0x20) - 'a' + 10;
		else
			return -1;
	}
	return value;
}

/* "\uXXXX", or two of them for one character.  U+0000 and non-characters are none. */
static int parse_unicode(struct parser *p, char **to)
{
	int high = unit(p->at, p->end), low;
	unsigned int c = high;
	size_t len = 6;

	if (high >= 0xd800 && high <= 0xdbff) {
		low = unit(p->at + 6, p->end);
		if (low >= 0xdc00 && low <= 0xdfff) {
			c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
			len = 12;
		}
	}
	if (high <= 0 || (c >= 0xd800 && c <= 0xdfff) || (c & 0xfffe) == 0xfffe ||
	    (c >= 0xfdd0 && c <= 0xfdef)) {
		int shown = p->end - p->at < 6 ? p->end - p->at : 6;

		return fail(p, "%.*s is not a valid Unicode character", shown, p->at);
	}
	*to = put_utf8(*to, c);
	p->at += len;
	return 0;
}

static int parse_escape(struct parser *p, char **to)
{
	static const char names[] = "\"'\\/bfnrt", values[] = "\"'\\/\b\f\n\r\t";
	const char *name;

	if (p->at[1] == 'u')
		return parse_unicode(p, to);
	name = strchr(names, p->at[1]);
	if (!name || !*name)
		return fail(p, "invalid escape sequence in string");
	*(*to)++ = values[name - names];
	p->at += 2;
	return 0;
}

/* At a quote.  No escape makes a string longer than it is written. */
static int parse_string(struct parser *p, struct json_object **value)
{
	char quote = *p->at++;
	char *text = malloc(p->end - p->at + 1), *to = text;
	int ret = 0;

	if (!text)
		abort();
	while (!ret && *p->at != quote) {
		size_t len = sequence(p->at, p->end);

		if (*p->at == '\\') {
			ret = parse_escape(p, &to);
		} else if (!len) {
			ret = fail(p, "invalid UTF-8 sequence in string");
		} else {
			memcpy(to, p->at, len);
			to += len;
			p->at += len;
		}
	}
	p->at++;
	if (!ret)
		*value = json_object_new_string_len(text, to - text);
	free(text);
	return ret;
}

static int parse_number(struct parser *p, struct json_object **value)
{
	size_t len = strspn(p->at, "+-.0123456789eE");
	const char *at = p->at;
	double number;
	char *end;

	p->at += len;
	if (!memchr(at, '.', len) && !memchr(at, 'e', len) && !memchr(at, 'E', len)) {
		errno = 0;
		*value = json_object_new_int64(strtoll(at, &end, 10));
		if (!errno)
			return 0;
		json_object_put(*value);
		*value = NULL;
		if (*at != '-') {
			errno = 0;
			*value = json_object_new_uint64(strtoull(at, &end, 10));
			if (!errno)
				return 0;
			json_object_put(*value);
			*value = NULL;
		}
	}
	number = strtod(at, &end);
	if (!isfinite(number))
		return fail(p, "number '%.*s' is out of range", len < SHOWN ? (int)len : SHOWN, at);
	*value = json_object_new_double(number);
	return 0;
}

static int parse_word(struct parser *p, struct json_object **value)
{
	size_t len = 0;
	const char *at = p->at;

	while (at[len] >= 'a' && at[len] <= 'z')
		len++;
	p->at += len;
	if (len == 4 && !memcmp(at, "true", 4))
		*value = json_object_new_boolean(true);
	else if (len == 5 && !memcmp(at, "false", 5))
		*value = json_object_new_boolean(false);
	else if (len != 4 || memcmp(at, "null", 4))
		return fail(p, "invalid keyword '%.*s'", len < SHOWN ? (int)len : SHOWN, at);
	return 0;
}

static int parse_value(struct parser *p, struct json_object **value);

static int parse_pair(struct parser *p, struct json_object *object)
{
	CLEANUP_JSON struct json_object *key = NULL, *value = NULL;
	const char *name;

	if (parse_value(p, &key))
		return -1;
	if (!json_object_is_type(key, json_type_string))
		return fail(p, "key is not a string in object");
	if (peek(p) != ':')
		return fail(p, "missing : in object pair");
	p->at++;
	if (parse_value(p, &value))
		return -1;
	name = json_object_get_string(key);
	if (json_object_object_get_ex(object, name, NULL))
		return fail(p, "duplicate key");
	json_object_object_add(object, name, value);
	value = NULL;
	return 0;
}

static int parse_object(struct parser *p, struct json_object **value)
{
	p->at++;
	*value = json_object_new_object();
	if (peek(p) == '}') {
		p->at++;
		return 0;
	}
	for (;;) {
		if (parse_pair(p, *value))
			return -1;
		if (peek(p) == '}')
			break;
		if (peek(p) != ',')
			return fail(p, "expected separator in dict");
		p->at++;
	}
	p->at++;
	return 0;
}

static int parse_array(struct parser *p, struct json_object **value)
{
	p->at++;
	*value = json_object_new_array_ext(1);
	if (peek(p) == ']') {
		p->at++;
		return 0;
	}
	for (;;) {
		struct json_object *element;

		if (parse_value(p, &element))
			return -1;
		json_object_array_add(*value, element);
		if (peek(p) == ']')
			break;
		if (peek(p) != ',')
			return fail(p, "expected separator in list");
		p->at++;
	}
	p->at++;
	return 0;
}

/* On an error *@value is NULL. */
static int parse_value(struct parser *p, struct json_object **value)
{
	char first = peek(p);
	int ret;

	*value = NULL;
	if (first == '{')
		ret = parse_object(p, value);
	else if (first == '[')
		ret = parse_array(p, value);
	else if (first == '"' || first == '\'')
		ret = parse_string(p, value);
	else if (first == '-' || (first >= '0' && first <= '9'))
		ret = parse_number(p, value);
	else if (first >= 'a' && first <= 'z')
		ret = parse_word(p, value);
	else
		ret = fail(p, "expecting value");
	if (ret) {
		json_object_put(*value);
		*value = NULL;
	}
	return ret;
}

int json_parse(const char *text, size_t len, struct json_object **value, struct qmp_error *error)
{
	struct parser p = { .at = text, .end = text + len, .error = error };

	return parse_value(&p, value);
}
