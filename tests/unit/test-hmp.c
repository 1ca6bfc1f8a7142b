// SPDX-License-Identifier: GPL-2.0-or-later
/* The monitor for people: its table, and words of lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"
#include "hmp.h"

static const struct hmp_command subs[] = {
	{ .name = "one", .arguments = "word:s" },
	{ .name = "two" },
	{ 0 }
};

static const struct hmp_command table[] = {
	{ .name = "flags", .arguments = "first:-a,second:-b,device:B?" },
	{ .name = "nothing|n|?" },
	{ .name = "numbers", .arguments = "first:l,second:l?" },
	{ .name = "rest", .arguments = "text:S?" },
	{ .name = "size", .arguments = "size:o" },
	{ .name = "sizes", .arguments = "device:B,size:O?,word:s?" },
	{ .name = "subs", .sub = subs },
	{ .name = "words", .arguments = "first:s,second:s?" },
	{ 0 }
};

/* What becomes of a line: the words as JSON, or what is said. */
static const char *parse(const char *line)
{
	static char answer[512];
	CLEANUP_JSON struct json_object *words = NULL;
	CLEANUP_FREE char *said = NULL;
	const struct hmp_command *command = hmp_find(table, &line);
	size_t len;
	FILE *out;

	assert_non_null(command);
	out = open_memstream(&said, &len);
	words = hmp_parse(command, line, out);
	fclose(out);
	assert_true(!words == !!*said);
	snprintf(answer, sizeof(answer), "%s", words ?
		 json_object_to_json_string_ext(words, JSON_C_TO_STRING_PLAIN) : said);
	return answer;
}

static void find_names(void **state)
{
	static const struct {
		const char *line, *name, *rest;
	} lines[] = {
		{ "nothing", "nothing|n|?", "" },
		{ "  n\tx y", "nothing|n|?", "x y" },
		{ "?  ", "nothing|n|?", "" },
		{ "nothin", NULL, "nothin" },
		{ "n|?", NULL, "n|?" },
		{ "nothing|n|?", NULL, "nothing|n|?" },
		{ "size\nx", "size", "x" },
		{ "", NULL, "" },
		{ "  ", NULL, "  " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		const char *at = lines[i].line;
		const struct hmp_command *command = hmp_find(table, &at);

		if (lines[i].name)
			assert_string_equal(command->name, lines[i].name);
		else
			assert_null(command);
		assert_string_equal(at, lines[i].rest);
	}
}

static void parse_words(void **state)
{
	(void)state;
	assert_string_equal(parse("words a"), "{\"first\":\"a\"}");
	assert_string_equal(parse("words  a\t b "), "{\"first\":\"a\",\"second\":\"b\"}");
	assert_string_equal(parse("words \"a b\" c"), "{\"first\":\"a b\",\"second\":\"c\"}");
	assert_string_equal(parse("words \"\" \"\\\"\\\\\\n\\r\\'\""),
			    "{\"first\":\"\",\"second\":\"\\\"\\\\\\n\\r'\"}");
	assert_string_equal(parse("words a\"b c\""), "{\"first\":\"a\\\"b\",\"second\":\"c\\\"\"}");
	assert_string_equal(parse("words 'a b'"), "{\"first\":\"'a\",\"second\":\"b'\"}");
	assert_string_equal(parse("words -a"), "{\"first\":\"-a\"}");
	assert_string_equal(parse("words"), "words: string expected\n");
	assert_string_equal(parse("words a b c"),
			    "words: extraneous characters at the end of line\n");
	assert_string_equal(parse("words \"a"), "unterminated string\nwords: string expected\n");
	assert_string_equal(parse("words \"a\\"),
			    "unsupported escape code: '\\'\nwords: string expected\n");
	assert_string_equal(parse("words a \"\\x\""),
			    "unsupported escape code: '\\x'\nwords: string expected\n");
	assert_string_equal(parse("nothing"), "{}");
	assert_string_equal(parse("n x"),
			    "nothing|n|?: extraneous characters at the end of line\n");
	assert_string_equal(parse("rest"), "{}");
	assert_string_equal(parse("rest a \"b  "), "{\"text\":\"a \\\"b  \"}");
	assert_string_equal(parse("sizes"), "sizes: block device name expected\n");
}

static void parse_flags(void **state)
{
	(void)state;
	assert_string_equal(parse("flags"), "{}");
	assert_string_equal(parse("flags -a"), "{\"first\":true}");
	assert_string_equal(parse("flags -b x"), "{\"second\":true,\"device\":\"x\"}");
	assert_string_equal(parse("flags -b -a x"),
			    "{\"second\":true,\"first\":true,\"device\":\"x\"}");
	assert_string_equal(parse("flags -ax"), "{\"first\":true,\"device\":\"x\"}");
	assert_string_equal(parse("flags -a -b -c"),
			    "{\"first\":true,\"second\":true,\"device\":\"-c\"}");
	assert_string_equal(parse("flags -a -a"), "flags: unsupported option -a\n");
	assert_string_equal(parse("flags -c"), "flags: unsupported option -c\n");
	assert_string_equal(parse("flags -"), "flags: unsupported option -\n");
	assert_string_equal(parse("flags x -a"),
			    "flags: extraneous characters at the end of line\n");
}

static void parse_sizes(void **state)
{
	static const struct {
		const char *text;
		long long size;		/* -1: is none */
	} good[] = {
		{ "0", 0 }, { "1", 1 << 20 }, { "1B", 1 }, { "1b", 1 }, { "1k", 1024 },
		{ "0x10", 16 << 20 }, { "0x1fK", 31 << 10 }, { "1.5G", 3LL << 29 },
		{ "0.5K", 512 }, { "7E", 7LL << 60 }, { "9223372036854774784B",
		9223372036854774784LL }, { "8E", -1 }, { "9223372036854775808B", -1 },
		{ "99999999999999999999", -1 }, { "-1", -1 }, { "+1", -1 }, { "x", -1 },
		{ "\"5\"", -1 }, { "1e5", -1 }, { "0x1p4", -1 }, { ".5", -1 }, { "nan", -1 },
		{ "inf", -1 }, { "", -1 },
	};
	char line[64], answer[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		snprintf(line, sizeof(line), "size %s", good[i].text);
		snprintf(answer, sizeof(answer), "{\"size\":%lld}", good[i].size);
		assert_string_equal(parse(line), good[i].size < 0 ? "invalid size\n" : answer);
	}
	assert_string_equal(parse("size 5x"), "size: extraneous characters at the end of line\n");
	assert_string_equal(parse("size 5 x"), "size: extraneous characters at the end of line\n");
	/* Where it may be missing, what is none is the next word. */
	assert_string_equal(parse("sizes d"), "{\"device\":\"d\"}");
	assert_string_equal(parse("sizes d 2B"), "{\"device\":\"d\",\"size\":2}");
	assert_string_equal(parse("sizes d 2B w"),
			    "{\"device\":\"d\",\"size\":2,\"word\":\"w\"}");
	assert_string_equal(parse("sizes d 2B 3"),
			    "{\"device\":\"d\",\"size\":2,\"word\":\"3\"}");
	assert_string_equal(parse("sizes d w"), "{\"device\":\"d\",\"word\":\"w\"}");
	assert_string_equal(parse("sizes d 2B.qcow2"),
			    "{\"device\":\"d\",\"word\":\"2B.qcow2\"}");
	assert_string_equal(parse("sizes d w 2"),
			    "sizes: extraneous characters at the end of line\n");
}

static void parse_numbers(void **state)
{
	(void)state;
	assert_string_equal(parse("numbers 5"), "{\"first\":5}");
	assert_string_equal(parse("numbers -5\t- +-0x10 "), "{\"first\":-5,\"second\":16}");
	assert_string_equal(parse("numbers 010 18446744073709551615"),
			    "{\"first\":8,\"second\":-1}");
	assert_string_equal(parse("numbers"), "unexpected end of expression\n");
	assert_string_equal(parse("numbers 5 -"), "unexpected end of expression\n");
	assert_string_equal(parse("numbers 18446744073709551616"), "number too large\n");
	assert_string_equal(parse("numbers x"), "invalid char 'x' in expression\n");
	assert_string_equal(parse("numbers 5x"), "invalid char 'x' in expression\n");
	assert_string_equal(parse("numbers 5 6x"),
			    "numbers: extraneous characters at the end of line\n");
}

/* --- the real table --------------------------------------------------------------------------- */

static const char *run(const char *line)
{
	static char answer[8192];
	CLEANUP_JSON struct json_object *arguments = json_object_new_object(), *result = NULL;
	struct qmp_error error = { 0 };

	qapi_add_str(arguments, "command-line", line);
	assert_int_equal(qapi_run(qapi_find_command("human-monitor-command"), NULL, arguments,
				  &result, &error), 0);
	snprintf(answer, sizeof(answer), "%s", json_object_get_string(result));
	return answer;
}

static bool has_member(const struct qapi_type *type, const char *name, size_t len)
{
	for (const struct qapi_member *m = type ? type->members : NULL; m && m->name; m++)
		if (strlen(m->name) == len && !memcmp(m->name, name, len))
			return true;
	return false;
}

/* Words that are given on as they are have the names of the command's members. */
static void check_words(const struct hmp_command *command)
{
	const struct qapi_command *qmp = qapi_find_command(command->qmp);
	const char *at = command->arguments;

	assert_non_null(qmp);
	while (at && *at) {
		assert_true(has_member(qmp->arguments, at, strcspn(at, ":")));
		at += strcspn(at, ",");
		at += *at == ',';
	}
}

static void check_table(const struct hmp_command *commands)
{
	for (const struct hmp_command *c = commands; c->name; c++) {
		const char *at = c->name;

		if (c > commands)
			assert_true(strcmp(c[-1].name, c->name) < 0);
		assert_ptr_equal(hmp_find(commands, &at), strchr(c->name, '|') ? NULL : c);
		assert_non_null(c->params);
		assert_true(*c->help);
		assert_true(!c->qmp == !!c->run);
		assert_true(!c->params[0] == !c->arguments || c->sub);
		if (c->qmp)
			check_words(c);
		if (c->sub)
			check_table(c->sub);
	}
}

static void real_table(void **state)
{
	static const char *const used[] = {
		"block-stream", "block-commit", "blockdev-snapshot-sync", "change", "query-block",
		"query-named-block-nodes", "query-block-jobs", "query-status",
	};

	(void)state;
	check_table(hmp_commands);
	for (size_t i = 0; i < ARRAY_SIZE(used); i++)
		assert_non_null(qapi_find_command(used[i]));
}

static void real_lines(void **state)
{
	const char *help = run("help"), *at = help;
	size_t lines = 0, commands = 0;

	(void)state;
	while ((at = strstr(at, "\r\n"))) {
		lines++;
		at += 2;
	}
	while (hmp_commands[commands].name)
		commands++;
	assert_int_equal(lines, commands);
	assert_non_null(strstr(help, "\r\nblock_job_set_speed device speed -- "));
	assert_non_null(strstr(run("help info"), "info block [-n] [-v] [device] -- "));
	assert_non_null(strstr(run("info"), "\r\ninfo status  -- "));
	assert_true(!strncmp(run("help info block"), "info block [-n]", 15));
	assert_true(!strncmp(run("help q"), "quit|q  -- ", 11));
	assert_string_equal(run("help no"), "unknown command: 'no'\r\n");
	assert_string_equal(run("help info no x"), "unknown command: 'info no'\r\n");
	assert_string_equal(run(""), "");
	assert_string_equal(run(" \t"), "");
	assert_string_equal(run("info status"), "VM status: running\r\n");
	assert_string_equal(run("info block-jobs"), "No active jobs\r\n");
	assert_string_equal(run("info block"), "");
	assert_string_equal(run("block_job_pause x"), "Error: Block job 'x' not found\r\n");
	assert_string_equal(run("info block a b"),
			    "block: extraneous characters at the end of line\r\n"
			    "Try \"help info block\" for more information\r\n");
}

/* Whatever a line is, it is answered with lines. */
static void random_lines(void **state)
{
	static const char *const parts[] = {
		"info", "block", "block-jobs", "help", "?", "block_stream", "snapshot_blkdev",
		"block_job_set_speed", "commit", "all", "change", "\"", "\\", "\\n", "-", "-n",
		"-v", "-f", "x", "5", "0x", "1.", "1e", "E", "\n", "\t", "\xc3\xa9", "\xff", "|",
		"%s", " ", " ", " ",
	};
	unsigned int seed = 1;

	(void)state;
	for (int n = 0; n < 20000; n++) {
		char line[256] = "";
		const char *answer;
		int count = rand_r(&seed) % 12;

		for (int i = 0; i < count; i++)
			strcat(line, parts[rand_r(&seed) % ARRAY_SIZE(parts)]);
		answer = run(line);
		assert_true(!*answer || !strcmp(answer + strlen(answer) - 2, "\r\n"));
	}
}

static void no_cpu(void **state)
{
	CLEANUP_JSON struct json_object *arguments = json_object_new_object(), *result = NULL;
	struct qmp_error error = { 0 };

	(void)state;
	qapi_add_str(arguments, "command-line", "info status");
	qapi_add_int(arguments, "cpu-index", 0);
	assert_int_equal(qapi_run(qapi_find_command("human-monitor-command"), NULL, arguments,
				  &result, &error), -1);
	assert_string_equal(error.text, "Parameter 'cpu-index' expects a CPU number");
	assert_null(result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(find_names),
		cmocka_unit_test(parse_words),
		cmocka_unit_test(parse_flags),
		cmocka_unit_test(parse_sizes),
		cmocka_unit_test(parse_numbers),
		cmocka_unit_test(real_table),
		cmocka_unit_test(real_lines),
		cmocka_unit_test(random_lines),
		cmocka_unit_test(no_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
