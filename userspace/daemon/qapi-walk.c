// SPDX-License-Identifier: GPL-2.0-or-later
/* Places, unions and alternates. */
#include <stdio.h>
#include <string.h>

#include "qapi-walk.h"

const char *qapi_path_of(const struct qapi_place *place, struct qapi_path *path)
{
	char *at = path->text + sizeof(path->text) - 1;

	*at = 0;
	for (; place->up; place = place->up) {
		char index[24];
		const char *part = place->name;
		bool dot = part && place->up->up;
		size_t len;

		if (!part) {
			snprintf(index, sizeof(index), "[%zu]", place->index);
			part = index;
		}
		len = strlen(part);
		if (len + dot > (size_t)(at - path->text))
			break;
		at -= len;
		memcpy(at, part, len);
		if (dot)
			*--at = '.';
	}
	return at;
}

const struct qapi_type *qapi_variant_of(const struct qapi_type *type, struct json_object *object)
{
	const char *value;

	if (!type->tag)
		return NULL;
	value = qapi_get_str(object, type->tag, "");
	for (const struct qapi_variant *v = type->variants; v && v->value; v++)
		if (!strcmp(v->value, value))
			return v->type;
	return NULL;
}

/* Can a value of JSON's @json be of this type? */
static bool fits(const struct qapi_type *type, json_type json)
{
	switch (type->meta) {
	case QAPI_ENUM:
		return json == json_type_string;
	case QAPI_ARRAY:
		return json == json_type_array;
	case QAPI_OBJECT:
		return json == json_type_object;
	case QAPI_ALTERNATE:
		return false;
	case QAPI_BUILTIN:
		break;
	}
	switch (type->builtin) {
	case QAPI_STR:
		return json == json_type_string;
	case QAPI_INT:
		return json == json_type_int;
	case QAPI_NUMBER:
		return json == json_type_int || json == json_type_double;
	case QAPI_BOOL:
		return json == json_type_boolean;
	case QAPI_NULL:
		return json == json_type_null;
	case QAPI_ANY:
		return true;
	}
	return false;
}

const struct qapi_type *qapi_choice_of(const struct qapi_type *alternate, json_type json)
{
	for (const struct qapi_variant *v = alternate->variants; v->value; v++)
		if (fits(v->type, json))
			return v->type;
	return NULL;
}
