// SPDX-License-Identifier: GPL-2.0-or-later
/* The daemon's own schema: whole, of its own type, and what is shown is what is accepted. */
#include "control.h"
#include "helper.h"
#include "part.h"
#include "qapi.h"

static struct json_object *schema;	/* as shown */
static struct json_object *by_name;	/* types of it */

static int setup(void **state)
{
	(void)state;
	schema = qapi_introspect();
	by_name = json_object_new_object();
	for (size_t i = 0; i < json_object_array_length(schema); i++) {
		struct json_object *info = json_object_array_get_idx(schema, i);
		const char *meta = qapi_get_str(info, "meta-type", "");

		if (!strcmp(meta, "command") || !strcmp(meta, "event"))
			continue;
		assert_false(qapi_has(by_name, qapi_get_str(info, "name", "")));
		json_object_object_add(by_name, qapi_get_str(info, "name", ""),
				       json_object_get(info));
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	json_object_put(schema);
	json_object_put(by_name);
	return 0;
}

static struct json_object *type_named(const char *name)
{
	struct json_object *info;

	assert_true(json_object_object_get_ex(by_name, name, &info));
	return info;
}

static struct json_object *type_in(struct json_object *holder, const char *member)
{
	const char *name = qapi_get_str(holder, member, NULL);

	assert_non_null(name);
	return type_named(name);
}

static struct json_object *list(struct json_object *info, const char *member)
{
	struct json_object *array;

	return json_object_object_get_ex(info, member, &array) ? array : NULL;
}

static void assert_object(struct json_object *type)
{
	assert_string_equal(qapi_get_str(type, "meta-type", ""), "object");
}

static size_t count(struct json_object *array)
{
	return array ? json_object_array_length(array) : 0;
}

/* The answer is of the type that it says itself. */
static void of_its_type(void **state)
{
	const struct qapi_command *command = qapi_find_command("query-qmp-schema");
	struct qmp_error error = { 0 };

	(void)state;
	assert_non_null(command);
	if (qapi_check(command->result, schema, &error))
		fail_msg("%s", error.text);
}

static void every_type_is_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < count(schema); i++) {
		struct json_object *info = json_object_array_get_idx(schema, i);
		const char *meta = qapi_get_str(info, "meta-type", "");
		struct json_object *members = list(info, "members");
		struct json_object *variants = list(info, "variants");

		if (!strcmp(meta, "command") || !strcmp(meta, "event"))
			assert_object(type_in(info, "arg-type"));
		if (!strcmp(meta, "command"))
			type_in(info, "ret-type");
		if (!strcmp(meta, "array"))
			type_in(info, "element-type");
		if (!strcmp(meta, "enum"))
			continue;
		for (size_t m = 0; m < count(members); m++)
			type_in(json_object_array_get_idx(members, m), "type");
		for (size_t v = 0; v < count(variants); v++)
			assert_object(type_in(json_object_array_get_idx(variants, v), "type"));
	}
}

/* A union's tag is one of its own members, needed and an enum, and each value has its case. */
static void unions(void **state)
{
	(void)state;
	for (size_t i = 0; i < count(schema); i++) {
		struct json_object *info = json_object_array_get_idx(schema, i);
		struct json_object *members = list(info, "members"), *values = NULL;
		const char *tag = qapi_get_str(info, "tag", NULL);

		if (!tag)
			continue;
		for (size_t m = 0; m < count(members); m++) {
			struct json_object *member = json_object_array_get_idx(members, m);

			if (strcmp(qapi_get_str(member, "name", ""), tag))
				continue;
			assert_false(qapi_has(member, "default"));
			values = list(type_in(member, "type"), "values");
		}
		assert_non_null(values);
		assert_int_equal(json_object_array_length(values),
				 json_object_array_length(list(info, "variants")));
	}
}

/* No two choices of an alternate begin with the same kind of JSON. */
static void alternates(void **state)
{
	(void)state;
	for (size_t i = 0; i < count(schema); i++) {
		struct json_object *info = json_object_array_get_idx(schema, i);
		struct json_object *members = list(info, "members");
		CLEANUP_JSON struct json_object *kinds = json_object_new_object();

		if (strcmp(qapi_get_str(info, "meta-type", ""), "alternate"))
			continue;
		for (size_t m = 0; m < count(members); m++) {
			struct json_object *type = type_in(json_object_array_get_idx(members, m),
							   "type");
			const char *meta = qapi_get_str(type, "meta-type", "");
			const char *kind = !strcmp(meta, "builtin") ?
					   qapi_get_str(type, "json-type", "") :
					   !strcmp(meta, "enum") ? "string" : meta;

			assert_false(qapi_has(kinds, kind));
			json_object_object_add(kinds, kind, NULL);
		}
	}
}

/* Names are QAPI's; nothing comes twice. */
static void names(void **state)
{
	CLEANUP_JSON struct json_object *seen = json_object_new_object();

	(void)state;
	for (size_t i = 0; i < count(schema); i++) {
		struct json_object *info = json_object_array_get_idx(schema, i);
		const char *name = qapi_get_str(info, "name", "");
		struct json_object *members = list(info, "members");
		CLEANUP_JSON struct json_object *inner = json_object_new_object();

		assert_true(name[0]);
		assert_false(qapi_has(seen, name));
		json_object_object_add(seen, name, NULL);
		for (size_t m = 0; m < count(members); m++) {
			const char *member = qapi_get_str(json_object_array_get_idx(members, m),
							  "name", NULL);

			if (!member)
				continue;
			assert_false(qapi_has(inner, member));
			json_object_object_add(inner, member, NULL);
		}
	}
}

/* A shown type's name is a number; each is used by something. */
static void masked(void **state)
{
	(void)state;
	json_object_object_foreach(by_name, name, info) {
		const char *meta = qapi_get_str(info, "meta-type", "");

		if (!strcmp(meta, "builtin"))
			continue;
		assert_int_equal(name[0] == '[', !strcmp(meta, "array"));
		if (name[0] != '[')
			assert_int_equal(strspn(name, "0123456789"), strlen(name));
	}
}

static void accept_values(const struct qapi_type *type, int depth);

static void accept_members(const struct qapi_type *type, int depth)
{
	for (const struct qapi_member *m = type->members; m && m->name; m++)
		accept_values(m->type, depth + 1);
	for (const struct qapi_variant *v = type->variants; v && v->value; v++)
		if (v->type)
			accept_values(v->type, depth + 1);
}

/* Every value of every enum below @type is accepted, and another is not. */
static void accept_values(const struct qapi_type *type, int depth)
{
	struct qmp_error error;

	if (depth > 6)
		return;
	if (type->meta == QAPI_ARRAY)
		accept_values(type->element, depth + 1);
	if (type->meta == QAPI_OBJECT || type->meta == QAPI_ALTERNATE)
		accept_members(type, depth);
	if (type->meta != QAPI_ENUM)
		return;
	for (const char *const *v = type->values; *v; v++) {
		CLEANUP_JSON struct json_object *value = json_object_new_string(*v);

		assert_int_equal(qapi_check(type, value, &error), 0);
	}
	CLEANUP_JSON struct json_object *other = json_object_new_string("no such value");

	assert_int_equal(qapi_check(type, other, &error), -1);
}

static void enums(void **state)
{
	(void)state;
	for (const struct qapi_command *const *table = qapi_commands; *table; table++) {
		for (const struct qapi_command *c = *table; c->name; c++) {
			assert_non_null(c->run);
			assert_ptr_equal(qapi_find_command(c->name), c);
			if (c->arguments)
				accept_values(c->arguments, 0);
			if (c->result)
				accept_values(c->result, 0);
		}
	}
	for (const struct qapi_event *const *table = qapi_events; *table; table++) {
		for (const struct qapi_event *e = *table; e->name; e++) {
			assert_ptr_equal(qapi_find_event(e->name), e);
			if (e->data)
				accept_values(e->data, 0);
		}
	}
	assert_null(qapi_find_command("no such command"));
	assert_null(qapi_find_event("NO_SUCH_EVENT"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_its_type),
		cmocka_unit_test(every_type_is_there),
		cmocka_unit_test(unions),
		cmocka_unit_test(alternates),
		cmocka_unit_test(names),
		cmocka_unit_test(masked),
		cmocka_unit_test(enums),
	};

	return cmocka_run_group_tests_name("schema", tests, setup, teardown);
}
