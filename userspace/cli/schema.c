// SPDX-License-Identifier: GPL-2.0-or-later
/* Finding one's way in what query-qmp-schema answers. */
#include <errno.h>

#include "qapi.h"
#include "schema.h"

struct schema {
	struct json_object *infos;	/* the answer */
	struct json_object *types;	/* the same by name, without commands and events */
	struct json_object *commands;
};

typedef void (*found_fn)(const char *word, void *context);

int schema_fetch(struct client *client, struct schema **schema, struct qc_error *err)
{
	struct json_object *infos;
	int ret = client_execute(client, "query-qmp-schema", NULL, NULL, &infos, err);
	struct schema *s;

	if (ret < 0)
		return ret;
	s = calloc(1, sizeof(*s));
	if (!s) {
		json_object_put(infos);
		return qc_fail_nomem(err, "schema");
	}
	s->infos = infos;
	s->types = json_object_new_object();
	s->commands = json_object_new_object();
	for (size_t i = 0; i < json_object_array_length(infos); i++) {
		struct json_object *info = json_object_array_get_idx(infos, i);
		const char *meta = qapi_get_str(info, "meta-type", "");

		if (!strcmp(meta, "event"))
			continue;
		json_object_object_add(strcmp(meta, "command") ? s->types : s->commands,
				       qapi_get_str(info, "name", ""), json_object_get(info));
	}
	*schema = s;
	return 0;
}

void schema_free(struct schema *schema)
{
	if (!schema)
		return;
	json_object_put(schema->types);
	json_object_put(schema->commands);
	json_object_put(schema->infos);
	free(schema);
}

void schema_commands(const struct schema *schema, found_fn found, void *context)
{
	json_object_object_foreach(schema->commands, name, info) {
		(void)info;
		found(name, context);
	}
}

static struct json_object *type_of(const struct schema *s, struct json_object *holder,
				   const char *member)
{
	struct json_object *type;

	if (!json_object_object_get_ex(s->types, qapi_get_str(holder, member, ""), &type))
		return NULL;
	return type;
}

static bool is(struct json_object *type, const char *meta)
{
	return !strcmp(qapi_get_str(type, "meta-type", ""), meta);
}

/* Call @visit for each member of an object, of all its variants, of all choices. */
static void each_member(const struct schema *s, struct json_object *type, int depth,
			void (*visit)(const struct schema *s, struct json_object *member, void *),
			void *context)
{
	static const char *const lists[] = { "members", "variants" };

	if (!type || depth > 8)
		return;
	for (size_t l = 0; l < ARRAY_SIZE(lists); l++) {
		struct json_object *list;

		if (!json_object_object_get_ex(type, lists[l], &list))
			continue;
		for (size_t i = 0; i < json_object_array_length(list); i++) {
			struct json_object *entry = json_object_array_get_idx(list, i);

			if (l == 0 && is(type, "object"))
				visit(s, entry, context);
			else
				each_member(s, type_of(s, entry, "type"), depth + 1, visit,
					    context);
		}
	}
}

struct step {
	const char *name;
	size_t len;
	struct json_object *type;
};

static void match(const struct schema *s, struct json_object *member, void *context)
{
	struct step *step = context;
	const char *name = qapi_get_str(member, "name", "");

	if (strlen(name) == step->len && !memcmp(name, step->name, step->len))
		step->type = type_of(s, member, "type");
}

/* The type of the argument with the dotted @key; that of the arguments when it is empty. */
static struct json_object *find(const struct schema *s, const char *command, const char *key,
				size_t len)
{
	struct json_object *info, *type;

	if (!json_object_object_get_ex(s->commands, command, &info))
		return NULL;
	type = type_of(s, info, "arg-type");
	while (len && type) {
		size_t part = strcspn(key, ".");
		struct step step = { .name = key, .len = part < len ? part : len };

		if (is(type, "array"))
			step.type = type_of(s, type, "element-type");
		else
			each_member(s, type, 0, match, &step);
		type = step.type;
		part = part < len ? part + 1 : len;
		key += part;
		len -= part;
	}
	return type;
}

struct report {
	const char *prefix;
	found_fn found;
	void *context;
};

static void report_key(const struct schema *s, struct json_object *member, void *context)
{
	const struct report *report = context;
	struct json_object *type = type_of(s, member, "type");
	bool deeper = type && (is(type, "object") || is(type, "array"));
	char word[512];

	snprintf(word, sizeof(word), "%s%s%s", report->prefix, qapi_get_str(member, "name", ""),
		 deeper ? "." : "=");
	report->found(word, report->context);
}

void schema_keys(const struct schema *schema, const char *command, const char *prefix,
		 found_fn found, void *context)
{
	struct report report = { .prefix = prefix, .found = found, .context = context };

	each_member(schema, find(schema, command, prefix, strlen(prefix)), 0, report_key, &report);
}

void schema_values(const struct schema *schema, const char *command, const char *key,
		   found_fn found, void *context)
{
	struct json_object *type = find(schema, command, key, strlen(key)), *values;

	if (!type)
		return;
	if (!strcmp(qapi_get_str(type, "json-type", ""), "boolean")) {
		found("true", context);
		found("false", context);
	}
	if (!is(type, "enum") || !json_object_object_get_ex(type, "values", &values))
		return;
	for (size_t i = 0; i < json_object_array_length(values); i++)
		found(json_object_get_string(json_object_array_get_idx(values, i)), context);
}
