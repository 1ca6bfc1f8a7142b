// SPDX-License-Identifier: GPL-2.0-or-later
/* Dotted keys and their values. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json-stream.h"
#include "keyval.h"
#include "qapi-walk.h"
#include "util.h"

#define PART_MAX 127		/* bytes of a part of a key */
#define PARTS_MAX 64		/* parts of a key */
#define INDEX_MAX 1023		/* of an array */

/* Objects whose keys are numbers are arrays, once all is known. */
static bool is_index(const char *part)
{
	return part[0] && strspn(part, "0123456789") == strlen(part);
}

static bool is_name(const char *part)
{
	if (!isalpha((unsigned char)part[0]))
		return false;
	for (; *part; part++)
		if (!isalnum((unsigned char)*part) && *part != '-' && *part != '_')
			return false;
	return true;
}

/* The next part of a key, up to a dot or the end. */
static int next_part(const char *key, const char **at, bool first, char *part,
		     struct qmp_error *error)
{
	size_t len = strcspn(*at, ".");

	if (len > PART_MAX)
		return qmp_fail(error, "Parameter '%.*s' is too long", (int)(*at - key + len),
				key);
	memcpy(part, *at, len);
	part[len] = 0;
	if (!is_name(part) && (first || !is_index(part)))
		return qmp_fail(error, "Invalid parameter '%s'", key);
	if (is_index(part)) {
		unsigned long index = strtoul(part, NULL, 10);

		if (index > INDEX_MAX)
			return qmp_fail(error, "Parameter '%.*s' is too large, the last is %d",
					(int)(*at - key + len), key, INDEX_MAX);
		snprintf(part, PART_MAX + 1, "%lu", index);
	}
	*at += len;
	return 0;
}

int keyval_put(struct json_object *root, const char *key, struct json_object *value,
	       struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *owned = value;
	struct json_object *object = root;
	const char *at = key;

	for (int depth = 1;; depth++) {
		bool last;
		char part[PART_MAX + 1];
		struct json_object *member;
		bool there;

		if (next_part(key, &at, object == root, part, error))
			return -1;
		last = !*at;
		there = json_object_object_get_ex(object, part, &member);
		if ((there && last == json_object_is_type(member, json_type_object)) ||
		    depth == PARTS_MAX)
			return qmp_fail(error, "Parameters '%.*s.*' used inconsistently",
					(int)(at - key), key);
		if (last) {
			json_object_object_add(object, part, qc_steal(owned));
			return 0;
		}
		if (!there) {
			member = json_object_new_object();
			json_object_object_add(object, part, member);
		}
		object = member;
		at++;
	}
}

static int finish(struct json_object **value, const struct qapi_place *place,
		  struct qmp_error *error)
{
	size_t names = 0, indexes = 0;
	struct json_object *array;
	struct qapi_path path;

	if (!json_object_is_type(*value, json_type_object))
		return 0;
	json_object_object_foreach(*value, key, member) {
		const struct qapi_place at = { .up = place, .name = key };
		struct json_object *new = json_object_get(member);
		int ret = finish(&new, &at, error);

		if (new != member)
			json_object_object_add(*value, key, new);
		else
			json_object_put(new);
		if (ret)
			return -1;
		if (is_index(key))
			indexes++;
		else
			names++;
	}
	if (!indexes)
		return 0;
	if (names)
		return qmp_fail(error, "Parameters '%s.*' used inconsistently",
				qapi_path_of(place, &path));
	array = json_object_new_array_ext(indexes);
	for (size_t i = 0; i < indexes; i++) {
		struct json_object *element;
		char key[24];

		snprintf(key, sizeof(key), "%zu", i);
		if (!json_object_object_get_ex(*value, key, &element)) {
			json_object_put(array);
			return qmp_fail(error, "Parameter '%s.%zu' missing",
					qapi_path_of(place, &path), i);
		}
		json_object_array_add(array, json_object_get(element));
	}
	json_object_put(*value);
	*value = array;
	return 0;
}

int keyval_finish(struct json_object **root, struct qmp_error *error)
{
	const struct qapi_place place = { 0 };

	return finish(root, &place, error);
}

/* A value up to a single comma. */
static char *next_value(const char **at)
{
	char *value = malloc(strlen(*at) + 1), *to = value;

	if (!value)
		abort();
	for (; **at; ++*at) {
		if (**at == ',' && (*at)[1] != ',')
			break;
		if (**at == ',')
			++*at;
		*to++ = **at;
	}
	*to = 0;
	if (**at)
		++*at;
	return value;
}

static int split(const char *text, const char *implied, struct json_object *root,
		 struct qmp_error *error)
{
	const char *at = text;

	while (*at) {
		CLEANUP_FREE char *key = NULL, *value = NULL;
		size_t len = strcspn(at, "=,");

		if (implied && at == text && at[len] != '=' && len) {
			key = strdup(implied);
		} else {
			key = strndup(at, len);
			if (key && at[len] != '=')
				return *key ? qmp_fail(error, "Expected '=' after parameter '%s'",
						       key) :
					      qmp_fail(error, "Invalid parameter ''");
			at += len + 1;
		}
		if (!key)
			abort();
		value = next_value(&at);
		if (keyval_put(root, key, json_object_new_string(value), error))
			return -1;
	}
	return 0;
}

/* Returns 0. */
static int replace(struct json_object **value, struct json_object *new)
{
	json_object_put(*value);
	*value = new;
	return 0;
}

static int to_bool(struct json_object **value, const struct qapi_place *place,
		   struct qmp_error *error)
{
	static const char *const yes[] = { "on", "yes", "true", "y" };
	static const char *const no[] = { "off", "no", "false", "n" };
	const char *text = json_object_get_string(*value);
	struct qapi_path path;

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcmp(text, yes[i]))
			return replace(value, json_object_new_boolean(true));
		if (!strcmp(text, no[i]))
			return replace(value, json_object_new_boolean(false));
	}
	return qmp_fail(error, "Parameter '%s' expects 'on' or 'off'", qapi_path_of(place, &path));
}

/* A number, and for a size its suffix; nothing else. */
static int to_integer(const struct qapi_type *type, struct json_object **value,
		      const struct qapi_place *place, struct qmp_error *error)
{
	static const char suffixes[] = "BKMGTPE";
	const char *text = json_object_get_string(*value);
	bool negative = text[0] == '-';
	const char *digits = text + negative;
	const char *suffix = NULL;
	struct qapi_path path;
	unsigned int shift = 0;
	u64 number;
	char *end;

	errno = 0;
	number = strtoull(digits, &end, digits[0] == '0' && (digits[1] | 0x20) == 'x' ? 16 : 10);
	if (type == &qapi_size && *end)
		suffix = strchr(suffixes, toupper((unsigned char)*end));
	if (suffix && end[0] && !end[1]) {
		shift = 10 * (suffix - suffixes);
		end++;
	}
	if (!isdigit((unsigned char)digits[0]) || *end)
		return qmp_fail(error, "Parameter '%s' expects %s", qapi_path_of(place, &path),
				type == &qapi_size ? "a size" : "integer");
	if (errno || number << shift >> shift != number ||
	    (negative && (type->min == 0 || number > (u64)INT64_MAX + 1)))
		return qmp_fail(error, "Parameter '%s' expects %s", qapi_path_of(place, &path),
				type == &qapi_size ? "a non-negative number below 2^64" :
				"integer");
	number <<= shift;
	return replace(value, negative ? json_object_new_int64((int64_t)-number) :
				number > INT64_MAX ? json_object_new_uint64(number) :
				json_object_new_int64(number));
}

static int to_number(struct json_object **value, const struct qapi_place *place,
		     struct qmp_error *error)
{
	const char *text = json_object_get_string(*value);
	struct qapi_path path;
	double number;
	char *end;

	errno = 0;
	number = strtod(text, &end);
	if (!*text || strspn(text, "+-.0123456789eE") != strlen(text) || *end || errno)
		return qmp_fail(error, "Parameter '%s' expects a number",
				qapi_path_of(place, &path));
	return replace(value, json_object_new_double(number));
}

static int convert(const struct qapi_type *type, struct json_object **value,
		   const struct qapi_place *place, struct qmp_error *error);

static int convert_members(const struct qapi_type *type, struct json_object *object,
			   const struct qapi_place *place, struct qmp_error *error)
{
	for (const struct qapi_member *m = type->members; m && m->name; m++) {
		const struct qapi_place at = { .up = place, .name = m->name };
		struct json_object *old, *new;
		int ret;

		if (!json_object_object_get_ex(object, m->name, &old))
			continue;
		new = json_object_get(old);
		ret = convert(m->type, &new, &at, error);
		if (new != old)
			json_object_object_add(object, m->name, new);
		else
			json_object_put(new);
		if (ret)
			return -1;
	}
	return 0;
}

static int convert_array(const struct qapi_type *type, struct json_object *array,
			 const struct qapi_place *place, struct qmp_error *error)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		const struct qapi_place at = { .up = place, .index = i };
		struct json_object *old = json_object_array_get_idx(array, i);
		struct json_object *new = json_object_get(old);
		int ret = convert(type->element, &new, &at, error);

		if (new != old)
			json_object_array_put_idx(array, i, new);
		else
			json_object_put(new);
		if (ret)
			return -1;
	}
	return 0;
}

static int convert_builtin(const struct qapi_type *type, struct json_object **value,
			   const struct qapi_place *place, struct qmp_error *error)
{
	if (!json_object_is_type(*value, json_type_string))
		return 0;
	switch (type->builtin) {
	case QAPI_INT:
		return to_integer(type, value, place, error);
	case QAPI_NUMBER:
		return to_number(value, place, error);
	case QAPI_BOOL:
		return to_bool(value, place, error);
	case QAPI_STR:
	case QAPI_NULL:
	case QAPI_ANY:
		break;
	}
	return 0;
}

/*
 * Make what @type wants of the strings in *@value, in place.  Other values, and what has no place
 * in @type, are left for qapi_check() to find.
 */
static int convert(const struct qapi_type *type, struct json_object **value,
		   const struct qapi_place *place, struct qmp_error *error)
{
	const struct qapi_type *choice;

	switch (type->meta) {
	case QAPI_BUILTIN:
		return convert_builtin(type, value, place, error);
	case QAPI_ENUM:
		return 0;
	case QAPI_ARRAY:
		if (!json_object_is_type(*value, json_type_array))
			return 0;
		return convert_array(type, *value, place, error);
	case QAPI_OBJECT:
		if (!json_object_is_type(*value, json_type_object))
			return 0;
		for (const struct qapi_type *t = type; t; t = qapi_variant_of(t, *value))
			if (convert_members(t, *value, place, error))
				return -1;
		return 0;
	case QAPI_ALTERNATE:
		choice = qapi_choice_of(type, json_object_get_type(*value));
		return choice ? convert(choice, value, place, error) : 0;
	}
	return 0;
}

static int parse_json(const char *text, struct json_object **object, struct qmp_error *error)
{
	enum json_item item = json_stream_text(&text, object, error);

	if (item == JSON_VALUE && strspn(text, " \t\r\n") != strlen(text)) {
		json_object_put(*object);
		*object = NULL;
		return qmp_fail(error, "JSON parse error, more than one value");
	}
	return item == JSON_VALUE ? 0 : -1;
}

int keyval_parse(const char *text, const char *implied, const struct qapi_type *type,
		 struct json_object **object, struct qmp_error *error)
{
	const struct qapi_place whole = { 0 };
	int ret;

	*object = NULL;
	if (text[0] == '{') {
		ret = parse_json(text, object, error);
	} else {
		*object = json_object_new_object();
		ret = split(text, implied, *object, error) || keyval_finish(object, error) ||
		      convert(type, object, &whole, error);
	}
	if (ret || qapi_check(type, *object, error)) {
		json_object_put(*object);
		*object = NULL;
		return -1;
	}
	return 0;
}
