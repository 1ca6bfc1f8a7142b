// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands about the monitor and the daemon itself. */
#include "control.h"
#include "qapi-define.h"
#include "quit.h"
#include "session.h"

static const struct qapi_type strings = ARRAY(qapi_str);

/* qmp_capabilities */

static const struct qapi_type capability = ENUM("QMPCapability", "oob");
static const struct qapi_type capabilities = ARRAY(capability);
static const struct qapi_type capabilities_arguments =
	OBJECT("q_obj_qmp_capabilities-arg", OPTIONAL("enable", capabilities));

static int run_capabilities(struct qmp_session *session, struct json_object *arguments,
			    struct json_object **result, struct qmp_error *error)
{
	struct json_object *enable;

	(void)result;
	if (qmp_session_negotiated(session))
		return qmp_fail_class(error, QMP_COMMAND_NOT_FOUND,
				      "Capabilities negotiation is already complete, command ignored");
	/* There is one capability, and nothing else has passed the check. */
	qmp_session_negotiate(session, json_object_object_get_ex(arguments, "enable", &enable) &&
			      json_object_array_length(enable));
	return 0;
}

/* query-version */

static const struct qapi_type version_triple =
	OBJECT("VersionTriple",
	       MEMBER("major", qapi_int),
	       MEMBER("minor", qapi_int),
	       MEMBER("micro", qapi_int));
static const struct qapi_type version_info =
	OBJECT("VersionInfo",
	       MEMBER("qemu", version_triple),
	       MEMBER("package", qapi_str));

struct json_object *control_version(void)
{
	struct json_object *triple = json_object_new_object();
	struct json_object *info = json_object_new_object();

	json_object_object_add(triple, "major", json_object_new_int(QMP_VERSION_MAJOR));
	json_object_object_add(triple, "minor", json_object_new_int(QMP_VERSION_MINOR));
	json_object_object_add(triple, "micro", json_object_new_int(QMP_VERSION_MICRO));
	json_object_object_add(info, "qemu", triple);
	json_object_object_add(info, "package", json_object_new_string("qchain-" QCHAIN_VERSION));
	return info;
}

static int run_version(struct qmp_session *session, struct json_object *arguments,
		       struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)arguments;
	(void)error;
	*result = control_version();
	return 0;
}

/* query-commands */

static const struct qapi_type command_info = OBJECT("CommandInfo", MEMBER("name", qapi_str));
static const struct qapi_type command_infos = ARRAY(command_info);

static int run_commands(struct qmp_session *session, struct json_object *arguments,
			struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)arguments;
	(void)error;
	*result = json_object_new_array();
	for (const struct qapi_command *const *table = qapi_commands; *table; table++) {
		for (const struct qapi_command *c = *table; c->name; c++) {
			struct json_object *info = json_object_new_object();

			json_object_object_add(info, "name", json_object_new_string(c->name));
			json_object_array_add(*result, info);
		}
	}
	return 0;
}

/* query-qmp-schema */

static const struct qapi_type schema_meta =
	ENUM("SchemaMetaType", "builtin", "enum", "array", "object", "alternate", "command",
	     "event");
static const struct qapi_type json_types =
	ENUM("JSONType", "string", "number", "int", "boolean", "null", "object", "array", "value");
static const struct qapi_type schema_builtin =
	OBJECT("SchemaInfoBuiltin", MEMBER("json-type", json_types));
static const struct qapi_type schema_enum_member =
	OBJECT("SchemaInfoEnumMember",
	       MEMBER("name", qapi_str),
	       OPTIONAL("features", strings));
static const struct qapi_type schema_enum_members = ARRAY(schema_enum_member);
static const struct qapi_type schema_enum =
	OBJECT("SchemaInfoEnum",
	       MEMBER("members", schema_enum_members),
	       { .name = "values", .type = &strings, .features = FEATURES("deprecated") });
static const struct qapi_type schema_array =
	OBJECT("SchemaInfoArray", MEMBER("element-type", qapi_str));
static const struct qapi_type schema_member =
	OBJECT("SchemaInfoObjectMember",
	       MEMBER("name", qapi_str),
	       MEMBER("type", qapi_str),
	       OPTIONAL("default", qapi_any),
	       OPTIONAL("features", strings));
static const struct qapi_type schema_members = ARRAY(schema_member);
static const struct qapi_type schema_variant =
	OBJECT("SchemaInfoObjectVariant",
	       MEMBER("case", qapi_str),
	       MEMBER("type", qapi_str));
static const struct qapi_type schema_variants = ARRAY(schema_variant);
static const struct qapi_type schema_object =
	OBJECT("SchemaInfoObject",
	       MEMBER("members", schema_members),
	       OPTIONAL("tag", qapi_str),
	       OPTIONAL("variants", schema_variants));
static const struct qapi_type schema_choice =
	OBJECT("SchemaInfoAlternateMember", MEMBER("type", qapi_str));
static const struct qapi_type schema_choices = ARRAY(schema_choice);
static const struct qapi_type schema_alternate =
	OBJECT("SchemaInfoAlternate", MEMBER("members", schema_choices));
static const struct qapi_type schema_command =
	OBJECT("SchemaInfoCommand",
	       MEMBER("arg-type", qapi_str),
	       MEMBER("ret-type", qapi_str),
	       OPTIONAL("allow-oob", qapi_bool));
static const struct qapi_type schema_event =
	OBJECT("SchemaInfoEvent", MEMBER("arg-type", qapi_str));
static const struct qapi_type schema_info = {
	.name = "SchemaInfo",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("name", qapi_str),
		MEMBER("meta-type", schema_meta),
		OPTIONAL("features", strings),
		{ 0 }
	},
	.tag = "meta-type",
	.variants = (const struct qapi_variant[]){
		{ "builtin", &schema_builtin },
		{ "enum", &schema_enum },
		{ "array", &schema_array },
		{ "object", &schema_object },
		{ "alternate", &schema_alternate },
		{ "command", &schema_command },
		{ "event", &schema_event },
		{ 0 }
	},
};

static const struct qapi_type schema_infos = ARRAY(schema_info);

static int run_schema(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)arguments;
	(void)error;
	*result = qapi_introspect();
	return 0;
}

/* quit */

static const struct qapi_type quit_arguments =
	OBJECT("q_obj_quit-arg", OPTIONAL("keep", qapi_bool));

static int run_quit(struct qmp_session *session, struct json_object *arguments,
		    struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)result;
	return quit_run(qapi_get_bool(arguments, "keep", quit_keeps()), error);
}

const struct qapi_command control_commands[] = {
	{ "qmp_capabilities", .arguments = &capabilities_arguments, .run = run_capabilities },
	{ "query-version", .result = &version_info, .run = run_version },
	{ "query-commands", .result = &command_infos, .run = run_commands },
	{ "query-qmp-schema", .result = &schema_infos, .run = run_schema },
	{ "quit", .arguments = &quit_arguments, .run = run_quit },
	{ 0 }
};
