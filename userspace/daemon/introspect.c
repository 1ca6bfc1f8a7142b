// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The schema as query-qmp-schema shows it.  Names of types are no part of the interface, so each
 * is shown as a number, in the order in which they are met; only built-in types have names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qapi.h"

struct types {
	struct json_object *array;		/* the answer */
	const struct qapi_type **list;		/* what has a number, by it */
	size_t count, room;
	bool builtins[QAPI_ANY + 1];		/* those that were met */
};

struct type_name {
	char text[32];
};

static const struct {
	const char *name, *json;
} builtins[] = {
	[QAPI_STR] = { "str", "string" },
	[QAPI_INT] = { "int", "int" },
	[QAPI_NUMBER] = { "number", "number" },
	[QAPI_BOOL] = { "bool", "boolean" },
	[QAPI_NULL] = { "null", "null" },
	[QAPI_ANY] = { "any", "value" },
};

static void put_features(struct json_object *object, const char *const *features)
{
	struct json_object *array;

	if (!features)
		return;
	array = json_object_new_array();
	for (; *features; features++)
		json_object_array_add(array, json_object_new_string(*features));
	json_object_object_add(object, "features", array);
}

static struct json_object *new_info(const char *name, const char *meta)
{
	struct json_object *info = json_object_new_object();

	qapi_add_str(info, "name", name);
	qapi_add_str(info, "meta-type", meta);
	return info;
}

static bool same(const struct qapi_type *a, const struct qapi_type *b)
{
	if (a->meta == QAPI_ARRAY && b->meta == QAPI_ARRAY)
		return same(a->element, b->element);
	if (a->meta == QAPI_BUILTIN && b->meta == QAPI_BUILTIN)
		return a->builtin == b->builtin;
	return a == b;
}

/* The place of a type in the list, where it is put when it is not there. */
static size_t index_of(struct types *types, const struct qapi_type *type)
{
	for (size_t i = 0; i < types->count; i++)
		if (same(types->list[i], type))
			return i;
	if (types->count == types->room) {
		types->room = types->room ? 2 * types->room : 256;
		types->list = realloc(types->list, types->room * sizeof(*types->list));
		if (!types->list)
			abort();
	}
	types->list[types->count] = type;
	return types->count++;
}

/* The shown name of a type, which by that is going to be shown itself. */
static const char *name_of(struct types *types, const struct qapi_type *type,
			   struct type_name *name)
{
	size_t index;

	if (type->meta == QAPI_BUILTIN) {
		types->builtins[type->builtin] = true;
		return builtins[type->builtin].name;
	}
	index = index_of(types, type);
	if (type->meta == QAPI_ARRAY) {
		struct type_name room;
		const char *element = name_of(types, type->element, &room);

		snprintf(name->text, sizeof(name->text), "[%.28s]", element);
	} else {
		snprintf(name->text, sizeof(name->text), "%zu", index);
	}
	return name->text;
}

static void put_type(struct types *types, struct json_object *object, const char *member,
		     const struct qapi_type *type)
{
	struct type_name name;

	qapi_add_str(object, member, name_of(types, type ? type : &qapi_empty, &name));
}

static void add_enum(struct json_object *info, const struct qapi_type *type)
{
	struct json_object *members = json_object_new_array();
	struct json_object *values = json_object_new_array();

	for (const char *const *v = type->values; *v; v++) {
		struct json_object *member = json_object_new_object();

		qapi_add_str(member, "name", *v);
		json_object_array_add(members, member);
		json_object_array_add(values, json_object_new_string(*v));
	}
	json_object_object_add(info, "members", members);
	json_object_object_add(info, "values", values);
}

/* The type of the union's other members for one value of its tag. */
static const struct qapi_type *case_type(const struct qapi_type *type, const char *value)
{
	for (const struct qapi_variant *v = type->variants; v && v->value; v++)
		if (!strcmp(v->value, value))
			return v->type;
	return NULL;
}

static void add_variants(struct types *types, struct json_object *info,
			 const struct qapi_type *type, const struct qapi_type *tag)
{
	struct json_object *array = json_object_new_array();

	qapi_add_str(info, "tag", type->tag);
	for (const char *const *v = tag->values; *v; v++) {
		struct json_object *variant = json_object_new_object();

		qapi_add_str(variant, "case", *v);
		put_type(types, variant, "type", case_type(type, *v));
		json_object_array_add(array, variant);
	}
	json_object_object_add(info, "variants", array);
}

static void add_object(struct types *types, struct json_object *info,
		       const struct qapi_type *type)
{
	struct json_object *array = json_object_new_array();
	const struct qapi_type *tag = NULL;

	for (const struct qapi_member *m = type->members; m && m->name; m++) {
		struct json_object *member = json_object_new_object();

		qapi_add_str(member, "name", m->name);
		put_type(types, member, "type", m->type);
		if (m->optional)
			json_object_object_add(member, "default", NULL);
		put_features(member, m->features);
		json_object_array_add(array, member);
		if (type->tag && !strcmp(type->tag, m->name))
			tag = m->type;
	}
	json_object_object_add(info, "members", array);
	if (tag)
		add_variants(types, info, type, tag);
}

static void add_alternate(struct types *types, struct json_object *info,
			  const struct qapi_type *type)
{
	struct json_object *array = json_object_new_array();

	for (const struct qapi_variant *v = type->variants; v->value; v++) {
		struct json_object *member = json_object_new_object();

		put_type(types, member, "type", v->type);
		json_object_array_add(array, member);
	}
	json_object_object_add(info, "members", array);
}

static void add_type(struct types *types, const struct qapi_type *type)
{
	static const char *const metas[] = {
		[QAPI_ENUM] = "enum",
		[QAPI_ARRAY] = "array",
		[QAPI_OBJECT] = "object",
		[QAPI_ALTERNATE] = "alternate",
	};
	struct json_object *info;
	struct type_name name;

	info = new_info(name_of(types, type, &name), metas[type->meta]);
	put_features(info, type->features);
	json_object_array_add(types->array, info);
	switch (type->meta) {
	case QAPI_ENUM:
		add_enum(info, type);
		break;
	case QAPI_ARRAY:
		put_type(types, info, "element-type", type->element);
		break;
	case QAPI_OBJECT:
		add_object(types, info, type);
		break;
	case QAPI_ALTERNATE:
		add_alternate(types, info, type);
		break;
	case QAPI_BUILTIN:
		break;
	}
}

static void add_commands(struct types *types)
{
	for (const struct qapi_command *const *table = qapi_commands; *table; table++) {
		for (const struct qapi_command *c = *table; c->name; c++) {
			struct json_object *info = new_info(c->name, "command");

			put_type(types, info, "arg-type", c->arguments);
			put_type(types, info, "ret-type", c->result);
			put_features(info, c->features);
			json_object_array_add(types->array, info);
		}
	}
}

static void add_events(struct types *types)
{
	for (const struct qapi_event *const *table = qapi_events; *table; table++) {
		for (const struct qapi_event *e = *table; e->name; e++) {
			struct json_object *info = new_info(e->name, "event");

			put_type(types, info, "arg-type", e->data);
			json_object_array_add(types->array, info);
		}
	}
}

struct json_object *qapi_introspect(void)
{
	struct types types = { .array = json_object_new_array() };

	add_commands(&types);
	add_events(&types);
	/* Showing a type may add more of them. */
	for (size_t i = 0; i < types.count; i++)
		add_type(&types, types.list[i]);
	for (size_t i = 0; i <= QAPI_ANY; i++) {
		struct json_object *info;

		if (!types.builtins[i])
			continue;
		info = new_info(builtins[i].name, "builtin");
		qapi_add_str(info, "json-type", builtins[i].json);
		json_object_array_add(types.array, info);
	}
	free(types.list);
	return types.array;
}
