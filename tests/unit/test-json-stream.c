// SPDX-License-Identifier: GPL-2.0-or-later
/* Reading JSON values from a stream. */
#include <stdio.h>

#include "helper.h"
#include "json-stream.h"

#define LIMIT (1U << 20)

static void append_item(char *out, size_t room, enum json_item item, struct json_object *value,
			const struct qmp_error *error)
{
	size_t len = strlen(out);

	if (item == JSON_BAD)
		snprintf(out + len, room - len, "!%s|", error->text);
	else
		snprintf(out + len, room - len, "%s|",
			 json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
	json_object_put(value);
}

/* Read @len bytes, @step at a time: values and errors, each followed by a '|'. */
static const char *read_in_steps(const char *text, size_t len, size_t step)
{
	struct json_stream *stream = json_stream_new(LIMIT, JSON_STREAM_DEPTH);
	static char out[65536];
	struct json_object *value;
	struct qmp_error error;
	enum json_item item;

	out[0] = 0;
	while (len) {
		size_t left = step < len ? step : len;

		len -= left;
		while ((item = json_stream_next(stream, &text, &left, &value, &error)))
			append_item(out, sizeof(out), item, item == JSON_VALUE ? value : NULL,
				    &error);
		assert_int_equal(left, 0);
	}
	while ((item = json_stream_end(stream, &value, &error)))
		append_item(out, sizeof(out), item, item == JSON_VALUE ? value : NULL, &error);
	json_stream_free(stream);
	return out;
}

/* However the bytes come, they read the same. */
static void assert_bytes(const char *text, size_t len, const char *expected)
{
	assert_string_equal(read_in_steps(text, len, len), expected);
	assert_string_equal(read_in_steps(text, len, 1), expected);
	assert_string_equal(read_in_steps(text, len, 3), expected);
}

static void assert_reads(const char *text, const char *expected)
{
	assert_bytes(text, strlen(text), expected);
}

#define ERROR(text) "!JSON parse error, " text "|"

static void values(void **state)
{
	(void)state;
	assert_reads("{}[]\"a\"5 true null", "{}|[]|\"a\"|5|true|null|");
	assert_reads("  {\"a\":{\"b\":[1,\r\n2 , [ ]]}\t}", "{\"a\":{\"b\":[1,2,[]]}}|");
	assert_reads("{'a':'it\\'s \"q\"'}", "{\"a\":\"it's \\\"q\\\"\"}|");
	assert_reads("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\'\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t'\"|");
	assert_reads("\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\"é€😀\"|");
	assert_reads("\"é€😀\"", "\"é€😀\"|");
	assert_reads("falsetrue", ERROR("invalid keyword 'falsetrue'"));
	assert_reads("", "");
	assert_reads("\t \t", "");
}

static void numbers(void **state)
{
	(void)state;
	assert_reads("0 -0 1 -1 9223372036854775807 -9223372036854775808",
		     "0|0|1|-1|9223372036854775807|-9223372036854775808|");
	assert_reads("9223372036854775808 18446744073709551615",
		     "9223372036854775808|18446744073709551615|");
	assert_reads("18446744073709551616", "1.8446744073709552e+19|");
	assert_reads("1.5 -2.5e3 1E+2 0.25", "1.5|-2500.0|100.0|0.25|");
	assert_reads("1e400", ERROR("number '1e400' is out of range"));
	assert_reads("[-1e999]", ERROR("number '-1e999' is out of range"));
	assert_reads("01 ", ERROR("stray '01'"));
	assert_reads("-x", ERROR("stray '-x'"));
	assert_reads("1.x", ERROR("stray '1.x'"));
	assert_reads("1e+x", ERROR("stray '1e+x'"));
	assert_reads("NaN ", ERROR("stray 'N'"));
	assert_reads("+1", ERROR("stray '+'"));
}

static void bad_structure(void **state)
{
	(void)state;
	assert_reads("{\"execute\":}", ERROR("expecting value"));
	assert_reads("{,}", ERROR("expecting value"));
	assert_reads("[1,]", ERROR("expecting value"));
	assert_reads("{\"a\":1,}", ERROR("expecting value"));
	assert_reads("{\"a\"}", ERROR("missing : in object pair"));
	assert_reads("{\"a\" 1}", ERROR("missing : in object pair"));
	assert_reads("{\"a\":1 \"b\":2}", ERROR("expected separator in dict"));
	assert_reads("{\"a\":1]", ERROR("expected separator in dict"));
	assert_reads("[1 2]", ERROR("expected separator in list"));
	assert_reads("[1}", ERROR("expected separator in list"));
	assert_reads("{5:1}", ERROR("key is not a string in object"));
	assert_reads("{a:1}", ERROR("invalid keyword 'a'"));
	assert_reads("{\"a\":1,\"a\":2}", ERROR("duplicate key"));
	assert_reads("{\"a\":{\"b\":1,\"c\":2,\"b\":1}}", ERROR("duplicate key"));
	assert_reads("{\"a\":1,\"\\u0061\":2}", ERROR("duplicate key"));
	assert_reads("}5", ERROR("expecting value") "5|");
	assert_reads("]:,", ERROR("expecting value") ERROR("expecting value")
		     ERROR("expecting value"));
	assert_reads("{\"a\":[}]5", ERROR("expecting value") "5|");
	assert_reads("nul 5", ERROR("invalid keyword 'nul'") "5|");
	assert_reads("/* */ ", ERROR("stray '/'"));
}

static void bad_strings(void **state)
{
	(void)state;
	assert_reads("\"\\q\"5", ERROR("invalid escape sequence in string") "5|");
	assert_reads("\"\\u12\"", ERROR("\\u12\" is not a valid Unicode character"));
	assert_reads("\"\\u00zz\"", ERROR("\\u00zz is not a valid Unicode character"));
	assert_reads("\"\\u0000\"", ERROR("\\u0000 is not a valid Unicode character"));
	assert_reads("\"\\ud800\"", ERROR("\\ud800 is not a valid Unicode character"));
	assert_reads("\"\\ud800\\u0041\"", ERROR("\\ud800 is not a valid Unicode character"));
	assert_reads("\"\\udc00\\ud800\"", ERROR("\\udc00 is not a valid Unicode character"));
	assert_reads("\"\\uffff\"", ERROR("\\uffff is not a valid Unicode character"));
	assert_reads("\"\xc3(\"", ERROR("invalid UTF-8 sequence in string"));
	assert_reads("\"\x80\"", ERROR("invalid UTF-8 sequence in string"));
	assert_reads("\"\xc0\xaf\"", ERROR("invalid UTF-8 sequence in string"));
	assert_reads("\"\xe0\x80\xaf\"", ERROR("invalid UTF-8 sequence in string"));
	assert_reads("\"\xed\xa0\x80\"", ERROR("invalid UTF-8 sequence in string"));
	assert_reads("\"\xf4\x90\x80\x80\"", ERROR("invalid UTF-8 sequence in string"));
	assert_reads("\"\xe2\x82\"5", ERROR("invalid UTF-8 sequence in string") "5|");
}

static void finding_its_feet(void **state)
{
	(void)state;
	assert_reads("\xff{}", ERROR("stray '\xff'") "{}|");
	assert_reads("{\"a\":\"b\xff{\"c\":1}", ERROR("stray '\"b\xff'") "{\"c\":1}|");
	assert_reads("{\"a\":[\xff{\"c\":1}", ERROR("stray '\xff'") "{\"c\":1}|");
	assert_reads("[[[\x01[]", ERROR("stray '\x01'") "[]|");
	assert_reads("\"a\nb\"\n5", ERROR("stray '\"a\n'") "5|");
	assert_reads("@ junk \"x\" 5\n5", ERROR("stray '@'") "5|");
	assert_reads("@ junk {}", ERROR("stray '@'") "{}|");
	assert_reads("@\xff@\x02", ERROR("stray '@'") ERROR("stray '\xff'") ERROR("stray '\x02'"));
	assert_bytes("\0{}", 3, ERROR("stray ''") "{}|");
	assert_bytes("{\"a\0\"{}", 7, ERROR("stray '\"a'") "{}|");
	assert_reads("{\"a\": foo$bar}", ERROR("stray '$'") ERROR("expecting value"));
	assert_reads("{\"a\":", ERROR("premature EOI"));
	assert_reads("\"abc", ERROR("stray '\"abc\n'"));
}

static void *repeat(const char *unit, size_t times)
{
	size_t len = strlen(unit);
	char *text = malloc(len * times + 64);

	assert_non_null(text);
	for (size_t i = 0; i < times; i++)
		memcpy(text + i * len, unit, len);
	text[len * times] = 0;
	return text;
}

/* What is over a limit is said once, and dropped to its end. */
static void limits(void **state)
{
	CLEANUP_FREE char *deep = repeat("[", 1024);
	CLEANUP_FREE char *deeper = repeat("[", 1025);
	CLEANUP_FREE char *closing = repeat("]", 1025);
	CLEANUP_FREE char *objects = repeat("{\"a\":", 1025);
	CLEANUP_FREE char *many = repeat("[],", 50000);
	CLEANUP_FREE char *large = repeat("xxxxxxxx", LIMIT / 8);
	CLEANUP_FREE char *text = NULL;

	(void)state;
	text = repeat(" ", 3 * LIMIT);
	sprintf(text, "%s%.1024s5 ", deep, closing);
	assert_string_equal(read_in_steps(text, strlen(text), 4096) + 2048, "|5|");
	sprintf(text, "%s%s5 ", deeper, closing);
	assert_string_equal(read_in_steps(text, strlen(text), 4096),
			    "!JSON nesting depth limit exceeded|5|");
	sprintf(text, "%s\x01 5 ", objects);
	assert_string_equal(read_in_steps(text, strlen(text), 4096),
			    "!JSON nesting depth limit exceeded|" ERROR("stray '\x01'"));
	sprintf(text, "[%s[]]5 ", many);
	assert_string_equal(read_in_steps(text, strlen(text), 4096),
			    "!JSON token count limit exceeded|5|");
	sprintf(text, "\"%s\"5 ", large);
	assert_string_equal(read_in_steps(text, strlen(text), 4096),
			    "!JSON token size limit exceeded|5|");
	sprintf(text, "{\"%s\":[1,2,\"%s\"]}{}5 ", large, large);
	assert_string_equal(read_in_steps(text, strlen(text), 4096),
			    "!JSON token size limit exceeded|{}|5|");
	sprintf(text, "x%s 5 ", large);
	assert_string_equal(read_in_steps(text, strlen(text), 4096),
			    "!JSON token size limit exceeded|5|");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(numbers),
		cmocka_unit_test(bad_structure),
		cmocka_unit_test(bad_strings),
		cmocka_unit_test(finding_its_feet),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests_name("json-stream", tests, NULL, NULL);
}
