// SPDX-License-Identifier: GPL-2.0-or-later
/* Errors, and checking values against the schema. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "qapi-walk.h"

const char *const qmp_class_names[] = {
	[QMP_GENERIC_ERROR] = "GenericError",
	[QMP_COMMAND_NOT_FOUND] = "CommandNotFound",
	[QMP_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
	[QMP_DEVICE_NOT_FOUND] = "DeviceNotFound",
	[QMP_KVM_MISSING_CAP] = "KVMMissingCap",
};

static int fail(struct qmp_error *error, enum qmp_class class, const char *fmt, va_list args)
{
	char text[QMP_ERROR_MAX];

	if (vsnprintf(text, sizeof(text), fmt, args) >= (int)sizeof(text))
		memcpy(text + sizeof(text) - 4, "...", 4);
	error->class = class;
	memcpy(error->text, text, strlen(text) + 1);
	return -1;
}

int qmp_fail(struct qmp_error *error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail(error, QMP_GENERIC_ERROR, fmt, args);
	va_end(args);
	return -1;
}

int qmp_fail_class(struct qmp_error *error, enum qmp_class class, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail(error, class, fmt, args);
	va_end(args);
	return -1;
}

static int fail_type(const struct qapi_place *place, const char *expected, struct qmp_error *error)
{
	struct qapi_path path;

	return qmp_fail(error, "Invalid parameter type for '%s', expected: %s",
			qapi_path_of(place, &path), expected);
}

/* QEMU names some members without the path to them. */
static const char *short_path(const struct qapi_place *place, struct qapi_path *path)
{
	return place->name ? place->name : qapi_path_of(place, path);
}

static int check_integer(const struct qapi_type *type, struct json_object *value,
			 const struct qapi_place *place, struct qmp_error *error)
{
	bool large = type->max == UINT64_MAX;
	uint64_t positive;
	int64_t number;
	struct qapi_path path;

	if (!json_object_is_type(value, json_type_int)) {
		if (type->min < 0)
			return fail_type(place, "integer", error);
		return qmp_fail(error, "Parameter '%s' expects uint64", qapi_path_of(place, &path));
	}
	number = json_object_get_int64(value);
	positive = json_object_get_uint64(value);
	if (number >= type->min && (number < 0 || positive <= type->max))
		return 0;
	if (type->min == INT64_MIN)
		return fail_type(place, "integer", error);
	if (large)
		return qmp_fail(error, "Parameter '%s' expects uint64", qapi_path_of(place, &path));
	return qmp_fail(error, "Parameter '%s' expects %s_t", short_path(place, &path),
			type->name);
}

static int check_builtin(const struct qapi_type *type, struct json_object *value,
			 const struct qapi_place *place, struct qmp_error *error)
{
	switch (type->builtin) {
	case QAPI_STR:
		return json_object_is_type(value, json_type_string) ? 0 :
		       fail_type(place, "string", error);
	case QAPI_INT:
		return check_integer(type, value, place, error);
	case QAPI_NUMBER:
		return json_object_is_type(value, json_type_double) ||
		       json_object_is_type(value, json_type_int) ? 0 :
		       fail_type(place, "number", error);
	case QAPI_BOOL:
		return json_object_is_type(value, json_type_boolean) ? 0 :
		       fail_type(place, "boolean", error);
	case QAPI_NULL:
		return !value ? 0 : fail_type(place, "null", error);
	case QAPI_ANY:
		return 0;
	}
	return -1;
}

static int check_enum(const struct qapi_type *type, struct json_object *value,
		      const struct qapi_place *place, struct qmp_error *error)
{
	struct qapi_path path;
	const char *word;

	if (!json_object_is_type(value, json_type_string))
		return fail_type(place, "string", error);
	word = json_object_get_string(value);
	for (const char *const *v = type->values; *v; v++)
		if (!strcmp(*v, word))
			return 0;
	return qmp_fail(error, "Parameter '%s' does not accept value '%s'",
			short_path(place, &path), word);
}

static int check_value(const struct qapi_type *type, struct json_object *value,
		       const struct qapi_place *place, struct qmp_error *error);

static int check_array(const struct qapi_type *type, struct json_object *value,
		       const struct qapi_place *place, struct qmp_error *error)
{
	if (!json_object_is_type(value, json_type_array))
		return fail_type(place, "array", error);
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		const struct qapi_place element = { .up = place, .index = i };

		if (check_value(type->element, json_object_array_get_idx(value, i), &element,
				error))
			return -1;
	}
	return 0;
}

static bool has_member(const struct qapi_type *type, struct json_object *object, const char *name)
{
	for (; type; type = qapi_variant_of(type, object))
		for (const struct qapi_member *m = type->members; m && m->name; m++)
			if (!strcmp(m->name, name))
				return true;
	return false;
}

static int check_members(const struct qapi_type *type, struct json_object *value,
			 const struct qapi_place *place, struct qmp_error *error)
{
	for (const struct qapi_member *m = type->members; m && m->name; m++) {
		const struct qapi_place at = { .up = place, .name = m->name };
		struct json_object *member;
		struct qapi_path path;

		if (json_object_object_get_ex(value, m->name, &member)) {
			if (check_value(m->type, member, &at, error))
				return -1;
		} else if (!m->optional) {
			return qmp_fail(error, "Parameter '%s' is missing",
					qapi_path_of(&at, &path));
		}
	}
	return 0;
}

static int check_object(const struct qapi_type *type, struct json_object *value,
			const struct qapi_place *place, struct qmp_error *error)
{
	if (!json_object_is_type(value, json_type_object))
		return fail_type(place, "object", error);
	/* A type's own members include its tag, which is good when the variant is looked for. */
	for (const struct qapi_type *t = type; t; t = qapi_variant_of(t, value))
		if (check_members(t, value, place, error))
			return -1;
	json_object_object_foreach(value, name, member) {
		const struct qapi_place at = { .up = place, .name = name };
		struct qapi_path path;

		(void)member;
		if (!has_member(type, value, name))
			return qmp_fail(error, "Parameter '%s' is unexpected",
					qapi_path_of(&at, &path));
	}
	return 0;
}

static int check_alternate(const struct qapi_type *type, struct json_object *value,
			   const struct qapi_place *place, struct qmp_error *error)
{
	const struct qapi_type *choice = qapi_choice_of(type, json_object_get_type(value));

	return choice ? check_value(choice, value, place, error) :
	       fail_type(place, type->name, error);
}

static int check_value(const struct qapi_type *type, struct json_object *value,
		       const struct qapi_place *place, struct qmp_error *error)
{
	switch (type->meta) {
	case QAPI_BUILTIN:
		return check_builtin(type, value, place, error);
	case QAPI_ENUM:
		return check_enum(type, value, place, error);
	case QAPI_ARRAY:
		return check_array(type, value, place, error);
	case QAPI_OBJECT:
		return check_object(type, value, place, error);
	case QAPI_ALTERNATE:
		return check_alternate(type, value, place, error);
	}
	return -1;
}

int qapi_check(const struct qapi_type *type, struct json_object *value, struct qmp_error *error)
{
	const struct qapi_place root = { 0 };

	return check_value(type, value, &root, error);
}

int qapi_run(const struct qapi_command *command, struct qmp_session *session,
	     struct json_object *arguments, struct json_object **result, struct qmp_error *error)
{
	const struct qapi_type *type = command->arguments ? command->arguments : &qapi_empty;

	*result = NULL;
	if (qapi_check(type, arguments, error) ||
	    command->run(session, arguments, result, error))
		return -1;
	if (!*result)
		*result = json_object_new_object();
	return 0;
}

const char *qapi_get_str(struct json_object *object, const char *member, const char *otherwise)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, member, &value) || !value)
		return otherwise;
	return json_object_get_string(value);
}

int64_t qapi_get_int(struct json_object *object, const char *member, int64_t otherwise)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, member, &value))
		return otherwise;
	return json_object_get_int64(value);
}

bool qapi_get_bool(struct json_object *object, const char *member, bool otherwise)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, member, &value))
		return otherwise;
	return json_object_get_boolean(value);
}

bool qapi_has(struct json_object *object, const char *member)
{
	return json_object_object_get_ex(object, member, NULL);
}
