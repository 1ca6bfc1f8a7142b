// SPDX-License-Identifier: GPL-2.0-or-later
/* Arguments against types, with every error that there is. */
#include <stdio.h>

#include "helper.h"
#include "qapi-define.h"

static const struct qapi_type colour = ENUM("Colour", "red", "green");
static const struct qapi_type colours = ARRAY(colour);
static const struct qapi_type numbers = ARRAY(qapi_int);
static const struct qapi_type file = OBJECT("File", MEMBER("filename", qapi_str));
static const struct qapi_type no_more = { .name = "NoMore", .meta = QAPI_OBJECT };
static const struct qapi_type kind = ENUM("Kind", "file", "none", "plain", "nested");
static const struct qapi_type node;
static const struct qapi_type node_ref = {
	.name = "NodeRef",
	.meta = QAPI_ALTERNATE,
	.variants = (const struct qapi_variant[]){
		{ "definition", &node },
		{ "reference", &qapi_str },
		{ "null", &qapi_null },
		{ 0 }
	},
};

static const struct qapi_type nested = OBJECT("Nested", MEMBER("child", node_ref));
static const struct qapi_type node = {
	.name = "Node",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("kind", kind),
		OPTIONAL("name", qapi_str),
		{ 0 }
	},
	.tag = "kind",
	.variants = (const struct qapi_variant[]){
		{ "file", &file },
		{ "plain", NULL },
		{ "none", &no_more },
		{ "nested", &nested },
		{ 0 }
	},
};

static const struct qapi_type nodes = ARRAY(node);
static const struct qapi_type arguments =
	OBJECT("Arguments",
	       OPTIONAL("str", qapi_str),
	       OPTIONAL("int", qapi_int),
	       OPTIONAL("int32", qapi_int32),
	       OPTIONAL("u8", qapi_uint8),
	       OPTIONAL("u16", qapi_uint16),
	       OPTIONAL("u32", qapi_uint32),
	       OPTIONAL("u64", qapi_uint64),
	       OPTIONAL("size", qapi_size),
	       OPTIONAL("number", qapi_number),
	       OPTIONAL("bool", qapi_bool),
	       OPTIONAL("null", qapi_null),
	       OPTIONAL("any", qapi_any),
	       OPTIONAL("colour", colour),
	       OPTIONAL("colours", colours),
	       OPTIONAL("numbers", numbers),
	       OPTIONAL("node", node),
	       OPTIONAL("ref", node_ref),
	       OPTIONAL("nodes", nodes));

/* The error, or "" when @json is good. */
static const char *check(const struct qapi_type *type, const char *json)
{
	CLEANUP_JSON struct json_object *value = json_tokener_parse(json);
	static struct qmp_error error;

	assert_true(value || !strcmp(json, "null"));
	error.text[0] = 0;
	if (!qapi_check(type, value, &error)) {
		assert_string_equal(error.text, "");
		return "";
	}
	assert_int_equal(error.class, QMP_GENERIC_ERROR);
	assert_true(error.text[0]);
	return error.text;
}

#define assert_good(json) assert_string_equal(check(&arguments, json), "")
#define assert_bad(json, text) assert_string_equal(check(&arguments, json), text)

static void good(void **state)
{
	(void)state;
	assert_good("{}");
	assert_good("{'str':'','int':-5,'number':1,'bool':false,'null':null}");
	assert_good("{'number':1.5,'any':{'x':[1]},'colour':'red'}");
	assert_good("{'any':null}");
	assert_good("{'colours':[],'numbers':[1,2]}");
	assert_good("{'node':{'kind':'file','filename':'x','name':'y'}}");
	assert_good("{'node':{'kind':'none'},'ref':'x'}");
	assert_good("{'node':{'kind':'plain'},'ref':null}");
	assert_good("{'ref':{'kind':'nested','child':{'kind':'nested','child':null}}}");
}

static void limits(void **state)
{
	(void)state;
	assert_good("{'u8':255,'u16':65535,'u32':4294967295,'int32':-2147483648}");
	assert_good("{'u64':18446744073709551615,'size':18446744073709551615}");
	assert_good("{'int':-9223372036854775808}");
	assert_bad("{'u8':256}", "Parameter 'u8' expects uint8_t");
	assert_bad("{'u16':65536}", "Parameter 'u16' expects uint16_t");
	assert_bad("{'u32':4294967296}", "Parameter 'u32' expects uint32_t");
	assert_bad("{'u32':18446744073709551615}", "Parameter 'u32' expects uint32_t");
	assert_bad("{'u8':-1}", "Parameter 'u8' expects uint8_t");
	assert_bad("{'int32':2147483648}", "Parameter 'int32' expects int32_t");
	assert_bad("{'size':-1}", "Parameter 'size' expects uint64");
	assert_bad("{'u64':-1}", "Parameter 'u64' expects uint64");
	assert_bad("{'int':9223372036854775808}",
		   "Invalid parameter type for 'int', expected: integer");
}

static void wrong_types(void **state)
{
	(void)state;
	assert_bad("5", "Invalid parameter type for '', expected: object");
	assert_bad("{'str':5}", "Invalid parameter type for 'str', expected: string");
	assert_bad("{'str':null}", "Invalid parameter type for 'str', expected: string");
	assert_bad("{'int':'5'}", "Invalid parameter type for 'int', expected: integer");
	assert_bad("{'int':1.0}", "Invalid parameter type for 'int', expected: integer");
	assert_bad("{'u8':'5'}", "Parameter 'u8' expects uint64");
	assert_bad("{'number':'5'}", "Invalid parameter type for 'number', expected: number");
	assert_bad("{'bool':'on'}", "Invalid parameter type for 'bool', expected: boolean");
	assert_bad("{'bool':1}", "Invalid parameter type for 'bool', expected: boolean");
	assert_bad("{'null':0}", "Invalid parameter type for 'null', expected: null");
	assert_bad("{'colour':5}", "Invalid parameter type for 'colour', expected: string");
	assert_bad("{'colour':'Red'}", "Parameter 'colour' does not accept value 'Red'");
	assert_bad("{'colours':'red'}", "Invalid parameter type for 'colours', expected: array");
	assert_bad("{'colours':['red','x']}",
		   "Parameter 'colours[1]' does not accept value 'x'");
	assert_bad("{'numbers':[1,'x']}",
		   "Invalid parameter type for 'numbers[1]', expected: integer");
	assert_bad("{'ref':5}", "Invalid parameter type for 'ref', expected: NodeRef");
	assert_bad("{'ref':[]}", "Invalid parameter type for 'ref', expected: NodeRef");
	assert_bad("{'node':'x'}", "Invalid parameter type for 'node', expected: object");
}

static void members(void **state)
{
	(void)state;
	assert_bad("{'foo':5}", "Parameter 'foo' is unexpected");
	assert_bad("{'node':{}}", "Parameter 'node.kind' is missing");
	assert_bad("{'node':{'kind':'x'}}", "Parameter 'kind' does not accept value 'x'");
	assert_bad("{'node':{'kind':'file'}}", "Parameter 'node.filename' is missing");
	assert_bad("{'node':{'kind':'none','filename':'x'}}",
		   "Parameter 'node.filename' is unexpected");
	assert_bad("{'node':{'kind':'plain','child':null}}",
		   "Parameter 'node.child' is unexpected");
	assert_bad("{'nodes':[{'kind':'none'},{'kind':'file','filename':1}]}",
		   "Invalid parameter type for 'nodes[1].filename', expected: string");
	assert_bad("{'ref':{'kind':'nested','child':{'kind':'none','x':1}}}",
		   "Parameter 'ref.child.x' is unexpected");
	assert_string_equal(check(&node, "{'name':'x'}"), "Parameter 'kind' is missing");
}

/* As deep as JSON may be: the path loses its beginning, nothing else. */
static void depth(void **state)
{
	char json[1024 * 40] = "", *to = json;
	const char *text;

	(void)state;
	for (int i = 0; i < 600; i++)
		to += sprintf(to, "{'kind':'nested','child':");
	to += sprintf(to, "5");
	for (int i = 0; i < 600; i++)
		*to++ = '}';
	*to = 0;
	CLEANUP_JSON struct json_object *value = NULL;
	struct json_tokener *tokener = json_tokener_new_ex(2000);
	struct qmp_error error;

	value = json_tokener_parse_ex(tokener, json, strlen(json));
	json_tokener_free(tokener);
	assert_non_null(value);
	assert_int_equal(qapi_check(&node, value, &error), -1);
	text = strstr(error.text, ".child.child', expected: NodeRef");
	assert_non_null(text);
}

static void getters(void **state)
{
	CLEANUP_JSON struct json_object *o =
		json_tokener_parse("{'s':'x','n':null,'i':-3,'u':18446744073709551615,'b':true}");

	(void)state;
	assert_string_equal(qapi_get_str(o, "s", "y"), "x");
	assert_string_equal(qapi_get_str(o, "n", "y"), "y");
	assert_string_equal(qapi_get_str(o, "none", "y"), "y");
	assert_int_equal(qapi_get_int(o, "i", 1), -3);
	assert_int_equal(qapi_get_int(o, "u", 1), INT64_MAX);
	assert_int_equal(qapi_get_int(o, "none", 7), 7);
	assert_true(qapi_get_bool(o, "b", false));
	assert_true(qapi_get_bool(o, "none", true));
	assert_true(qapi_has(o, "n"));
	assert_false(qapi_has(o, "none"));
}

static void errors(void **state)
{
	struct qmp_error error = { 0 };
	char text[2 * QMP_ERROR_MAX];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	assert_int_equal(qmp_fail(&error, "a\nb%s", text), -1);
	assert_int_equal(strlen(error.text), QMP_ERROR_MAX - 1);
	assert_memory_equal(error.text, "a\nbxxx", 6);
	assert_string_equal(error.text + QMP_ERROR_MAX - 4, "...");
	qmp_fail(&error, "short");
	qmp_fail_class(&error, QMP_DEVICE_NOT_FOUND, "very %s", error.text);
	assert_string_equal(error.text, "very short");
	assert_int_equal(error.class, QMP_DEVICE_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(limits),
		cmocka_unit_test(wrong_types),
		cmocka_unit_test(members),
		cmocka_unit_test(depth),
		cmocka_unit_test(getters),
		cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests_name("qapi", tests, NULL, NULL);
}
