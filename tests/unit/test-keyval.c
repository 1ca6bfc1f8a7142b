// SPDX-License-Identifier: GPL-2.0-or-later
/* Arguments of options. */
#include <stdio.h>

#include "helper.h"
#include "keyval.h"
#include "qapi-define.h"

static const struct qapi_type strings = ARRAY(qapi_str);
static const struct qapi_type driver = ENUM("Driver", "file", "qcow2");
static const struct qapi_type file = OBJECT("File", MEMBER("filename", qapi_str));
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

static const struct qapi_type nodes = ARRAY(node_ref);
static const struct qapi_type cache = OBJECT("Cache", OPTIONAL("direct", qapi_bool));
static const struct qapi_type qcow2 =
	OBJECT("Qcow2",
	       MEMBER("file", node_ref),
	       OPTIONAL("backing", node_ref));
static const struct qapi_type node = {
	.name = "Node",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("driver", driver),
		OPTIONAL("node-name", qapi_str),
		OPTIONAL("read-only", qapi_bool),
		OPTIONAL("cache", cache),
		OPTIONAL("size", qapi_size),
		OPTIONAL("int", qapi_int),
		OPTIONAL("u8", qapi_uint8),
		OPTIONAL("number", qapi_number),
		OPTIONAL("list", strings),
		OPTIONAL("nodes", nodes),
		{ 0 }
	},
	.tag = "driver",
	.variants = (const struct qapi_variant[]){
		{ "file", &file },
		{ "qcow2", &qcow2 },
		{ 0 }
	},
};

/* The object as JSON with single quotes, or the error. */
static const char *parse(const char *text)
{
	CLEANUP_JSON struct json_object *object = NULL;
	static char out[8192];
	struct qmp_error error = { 0 };

	if (keyval_parse(text, "driver", &node, &object, &error)) {
		assert_null(object);
		assert_true(error.text[0]);
		snprintf(out, sizeof(out), "%s", error.text);
		return out;
	}
	snprintf(out, sizeof(out), "%s",
		 json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
						JSON_C_TO_STRING_NOSLASHESCAPE));
	for (char *c = out; *c; c++)
		if (*c == '"')
			*c = '\'';
	return out;
}

#define assert_parsed(text, expected) assert_string_equal(parse(text), expected)

static void good(void **state)
{
	(void)state;
	assert_parsed("file,filename=/a", "{'driver':'file','filename':'/a'}");
	assert_parsed("driver=file,filename=a,,b=c,", "{'driver':'file','filename':'a,b=c'}");
	assert_parsed("filename=,driver=file", "{'filename':'','driver':'file'}");
	assert_parsed("file,filename=a,filename=b", "{'driver':'file','filename':'b'}");
	assert_parsed("qcow2,file.driver=file,file.filename=x,file.read-only=on,backing=y",
		      "{'driver':'qcow2','file':{'driver':'file','filename':'x','read-only':true},'backing':'y'}");
	assert_parsed("file,filename=a,cache.direct=on,read-only=off",
		      "{'driver':'file','filename':'a','cache':{'direct':true},'read-only':false}");
	assert_parsed("file,filename=a,list.1=y,list.0=x",
		      "{'driver':'file','filename':'a','list':['x','y']}");
	assert_parsed("file,filename=a,nodes.0=x,nodes.1.driver=file,nodes.1.filename=5",
		      "{'driver':'file','filename':'a','nodes':['x',{'driver':'file','filename':'5'}]}");
	assert_parsed("{\"driver\":\"file\",\"filename\":\"/a\"} ",
		      "{'driver':'file','filename':'/a'}");
}

static void numbers(void **state)
{
	(void)state;
	assert_parsed("file,filename=a,size=1G,int=-5,u8=0x10,number=1.5",
		      "{'driver':'file','filename':'a','size':1073741824,'int':-5,'u8':16,'number':1.5}");
	assert_parsed("file,filename=a,size=18446744073709551615",
		      "{'driver':'file','filename':'a','size':18446744073709551615}");
	assert_parsed("file,filename=a,int=-9223372036854775808",
		      "{'driver':'file','filename':'a','int':-9223372036854775808}");
	assert_parsed("file,filename=a,size=16E",
		      "Parameter 'size' expects a non-negative number below 2^64");
	assert_parsed("file,filename=a,size=-1",
		      "Parameter 'size' expects a non-negative number below 2^64");
	assert_parsed("file,filename=a,size=1Q", "Parameter 'size' expects a size");
	assert_parsed("file,filename=a,size=1KB", "Parameter 'size' expects a size");
	assert_parsed("file,filename=a,size=", "Parameter 'size' expects a size");
	assert_parsed("file,filename=a,int=1k", "Parameter 'int' expects integer");
	assert_parsed("file,filename=a,int=", "Parameter 'int' expects integer");
	assert_parsed("file,filename=a,int=--1", "Parameter 'int' expects integer");
	assert_parsed("file,filename=a,int= 1", "Parameter 'int' expects integer");
	assert_parsed("file,filename=a,int=-9223372036854775809",
		      "Parameter 'int' expects integer");
	assert_parsed("file,filename=a,u8=-1", "Parameter 'u8' expects integer");
	assert_parsed("file,filename=a,u8=256", "Parameter 'u8' expects uint8_t");
	assert_parsed("file,filename=a,number=nan", "Parameter 'number' expects a number");
	assert_parsed("file,filename=a,number=1e999", "Parameter 'number' expects a number");
}

static void bad(void **state)
{
	(void)state;
	assert_parsed("", "Parameter 'driver' is missing");
	assert_parsed("x", "Parameter 'driver' does not accept value 'x'");
	assert_parsed(",", "Invalid parameter ''");
	assert_parsed("=5", "Invalid parameter ''");
	assert_parsed("file,filename", "Expected '=' after parameter 'filename'");
	assert_parsed("file,=3", "Invalid parameter ''");
	assert_parsed("file.=3", "Invalid parameter 'file.'");
	assert_parsed(".a=3", "Invalid parameter '.a'");
	assert_parsed("5=3", "Invalid parameter '5'");
	assert_parsed("a$=3", "Invalid parameter 'a$'");
	assert_parsed("qcow2,file=x,file.driver=file", "Parameters 'file.*' used inconsistently");
	assert_parsed("qcow2,file.driver=file,file=x", "Parameters 'file.*' used inconsistently");
	assert_parsed("file,filename=a,list.1=x", "Parameter 'list.0' missing");
	assert_parsed("file,filename=a,list.0=x,list.2=x", "Parameter 'list.1' missing");
	assert_parsed("file,filename=a,list.0=x,list.a=x",
		      "Parameters 'list.*' used inconsistently");
	assert_parsed("file,filename=a,list.99999999999=x",
		      "Parameter 'list.99999999999' is too large, the last is 1023");
	assert_parsed("file,filename=a,read-only=maybe",
		      "Parameter 'read-only' expects 'on' or 'off'");
	assert_parsed("file,filename=a,cache.direct=",
		      "Parameter 'cache.direct' expects 'on' or 'off'");
	assert_parsed("file,filename=a,cache=on",
		      "Invalid parameter type for 'cache', expected: object");
	assert_parsed("file,filename=a,foo=1", "Parameter 'foo' is unexpected");
	assert_parsed("qcow2,file.filename=x", "Parameter 'file.driver' is missing");
	assert_parsed("{\"driver\":", "JSON parse error, premature EOI");
	assert_parsed("{\"driver\":\"file\",\"filename\":5}",
		      "Invalid parameter type for 'filename', expected: string");
	assert_parsed("{}{}", "JSON parse error, more than one value");
	assert_parsed("{\"driver\":\"file\",\"filename\":\"a\",\"size\":\"5\"}",
		      "Parameter 'size' expects uint64");
}

static void long_ones(void **state)
{
	char text[4096];

	(void)state;
	memset(text, 'k', sizeof(text));
	memcpy(text + 200, "=1", 3);
	assert_non_null(strstr(parse(text), "is too long"));
	for (int i = 0; i < 200; i += 2)
		memcpy(text + i, "a.", 2);
	memcpy(text + 200, "a=1", 4);
	assert_non_null(strstr(parse(text), "used inconsistently"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(numbers),
		cmocka_unit_test(bad),
		cmocka_unit_test(long_ones),
	};

	return cmocka_run_group_tests_name("keyval", tests, NULL, NULL);
}
