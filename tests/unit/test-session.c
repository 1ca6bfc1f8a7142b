// SPDX-License-Identifier: GPL-2.0-or-later
/* Sessions of the protocol, with commands of their own besides the monitor's. */
#include "control.h"
#include "helper.h"
#include "part.h"
#include "qapi-define.h"
#include "quit.h"
#include "session.h"

static const struct qapi_type echo_arguments =
	OBJECT("q_obj_echo-arg",
	       MEMBER("text", qapi_str),
	       OPTIONAL("fail", qapi_bool));
static const struct qapi_type echo_result = OBJECT("EchoResult", MEMBER("text", qapi_str));
static int runs;

static int run_echo(struct qmp_session *session, struct json_object *arguments,
		    struct json_object **result, struct qmp_error *error)
{
	assert_non_null(session);
	runs++;
	if (qapi_get_bool(arguments, "fail", false))
		return qmp_fail_class(error, QMP_DEVICE_NOT_FOUND, "no '%s'",
				      qapi_get_str(arguments, "text", ""));
	*result = json_object_new_object();
	json_object_object_add(*result, "text",
			       json_object_new_string(qapi_get_str(arguments, "text", "")));
	return 0;
}

static int run_emit(struct qmp_session *session, struct json_object *arguments,
		    struct json_object **result, struct qmp_error *error)
{
	(void)session;
	(void)arguments;
	(void)result;
	(void)error;
	qmp_emit("HAPPENED", NULL);
	return 0;
}

static const struct qapi_command test_commands[] = {
	{ "echo", .arguments = &echo_arguments, .result = &echo_result, .run = run_echo },
	{ "emit", .run = run_emit },
	{ 0 }
};

static const struct qapi_type happened = OBJECT("q_obj_HAPPENED-arg", OPTIONAL("text", qapi_str));
static const struct qapi_event test_events[] = {
	{ "HAPPENED", .data = &happened },
	{ 0 }
};

const struct qapi_command *const qapi_commands[] = { control_commands, test_commands, NULL };
const struct qapi_event *const qapi_events[] = { test_events, NULL };

static char quit_log[64];
static bool refuse, foresee;

static int may_quit_first(struct qmp_error *error)
{
	return foresee ? qmp_fail(error, "Device 'y' is in use") : 0;
}

static int quit_first(bool keep, struct qmp_error *error)
{
	(void)error;
	strcat(quit_log, keep ? "1k" : "1");
	return 0;
}

static int quit_second(bool keep, struct qmp_error *error)
{
	strcat(quit_log, keep ? "2k" : "2");
	return refuse && !keep ? qmp_fail(error, "Device 'x' is in use") : 0;
}

static const struct daemon_part first = {
	.name = "first", .may_quit = may_quit_first, .quit = quit_first
};
static const struct daemon_part second = { .name = "second", .quit = quit_second };
const struct daemon_part *const daemon_parts[] = { &first, &second, NULL };

static int woken;

static void wake(void *context)
{
	assert_ptr_equal(context, &woken);
	woken++;
}

static struct qmp_session *new_session(void)
{
	return qmp_session_new(false, wake, &woken);
}

/* All output as one string, which is taken. */
static const char *output(struct qmp_session *session)
{
	static char *text;
	const char *data;
	size_t len;

	free(text);
	data = qmp_session_output(session, &len);
	text = strndup(data ? data : "", len);
	assert_non_null(text);
	qmp_session_sent(session, len);
	assert_null(qmp_session_output(session, &len));
	return text;
}

static const char *ask(struct qmp_session *session, const char *text)
{
	size_t len = strlen(text);

	assert_int_equal(qmp_session_feed(session, text, len), len);
	return output(session);
}

#define ERROR(class, desc) "{\"error\":{\"class\":\"" class "\",\"desc\":\"" desc "\"}"

static struct qmp_session *negotiated(void)
{
	struct qmp_session *session = new_session();

	output(session);
	assert_string_equal(ask(session, "{'execute':'qmp_capabilities'}"), "{\"return\":{}}\r\n");
	return session;
}

#define QEMU "{\"major\":7,\"minor\":2,\"micro\":0}"
#define VERSION "{\"qemu\":" QEMU ",\"package\":\"qchain-" QCHAIN_VERSION "\"}"
#define GREETING "{\"QMP\":{\"version\":" VERSION ",\"capabilities\":[\"oob\"]}}\r\n"

static void greeting(void **state)
{
	struct qmp_session *s = new_session();

	(void)state;
	assert_string_equal(output(s), GREETING);
	qmp_session_free(s);
}

#define EXPECTING ERROR("CommandNotFound",					\
			"Expecting capabilities negotiation with 'qmp_capabilities'")

static void beginning(void **state)
{
	struct qmp_session *s = new_session();

	(void)state;
	output(s);
	runs = 0;
	assert_string_equal(ask(s, "{'execute':'echo','arguments':{'text':'x'},'id':1}"),
			    EXPECTING ",\"id\":1}\r\n");
	assert_string_equal(ask(s, "{'execute':'nonsense'}"), EXPECTING "}\r\n");
	assert_int_equal(runs, 0);
	assert_string_equal(ask(s, "{'execute':'qmp_capabilities','arguments':{'enable':['x']}}"),
			    ERROR("GenericError",
				  "Parameter 'enable[0]' does not accept value 'x'") "}\r\n");
	assert_false(qmp_session_negotiated(s));
	qmp_emit("HAPPENED", NULL);
	assert_string_equal(output(s), "");
	assert_string_equal(ask(s, "{'execute':'qmp_capabilities','arguments':{'enable':[]}}"),
			    "{\"return\":{}}\r\n");
	assert_string_equal(ask(s, "{'execute':'qmp_capabilities','id':'é'}"),
			    ERROR("CommandNotFound",
				  "Capabilities negotiation is already complete, command ignored")
			    ",\"id\":\"\\u00E9\"}\r\n");
	qmp_session_free(s);
}

static void out_of_band(void **state)
{
	struct qmp_session *s = negotiated();

	(void)state;
	assert_string_equal(ask(s, "{'exec-oob':'echo','id':1}"),
			    ERROR("GenericError", "QMP input member 'exec-oob' is unexpected")
			    ",\"id\":1}\r\n");
	qmp_session_free(s);
	s = new_session();
	output(s);
	ask(s, "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}");
	assert_string_equal(ask(s, "{'exec-oob':'query-version'}"),
			    ERROR("GenericError", "The command query-version does not support OOB")
			    "}\r\n");
	assert_string_equal(ask(s, "{'exec-oob':'nonsense'}"),
			    ERROR("CommandNotFound", "The command nonsense has not been found")
			    "}\r\n");
	assert_string_equal(ask(s, "{'execute':'a','exec-oob':'b'}"),
			    ERROR("GenericError",
				  "QMP input member 'exec-oob' clashes with 'execute'") "}\r\n");
	assert_string_equal(ask(s, "{'exec-oob':'b','execute':'a'}"),
			    ERROR("GenericError",
				  "QMP input member 'execute' clashes with 'exec-oob'") "}\r\n");
	qmp_session_free(s);
}

static void requests(void **state)
{
	struct qmp_session *s = negotiated();

	(void)state;
	assert_string_equal(ask(s,
				"{'execute':'echo','arguments':{'text':'\\ud83d\\ude00 \\u001f'}}"),
			    "{\"return\":{\"text\":\"\\uD83D\\uDE00 \\u001f\"}}\r\n");
	assert_string_equal(ask(s,
				"{'execute':'echo','arguments':{'text':''},'id':{'a':[1,null]}}"),
			    "{\"return\":{\"text\":\"\"},\"id\":{\"a\":[1,null]}}\r\n");
	assert_string_equal(ask(s, "{'execute':'echo','arguments':{'text':'t','fail':true}}"),
			    ERROR("DeviceNotFound", "no 't'") "}\r\n");
	assert_string_equal(ask(s, "{'execute':'echo'}"),
			    ERROR("GenericError", "Parameter 'text' is missing") "}\r\n");
	assert_string_equal(ask(s, "{'execute':'emit','arguments':{'x':1}}"),
			    ERROR("GenericError", "Parameter 'x' is unexpected") "}\r\n");
	assert_string_equal(ask(s, "{'execute':'nonsense','id':null}"),
			    ERROR("CommandNotFound", "The command nonsense has not been found")
			    ",\"id\":null}\r\n");
	assert_string_equal(ask(s, "[]\"x\"5 "),
			    ERROR("GenericError", "QMP input must be a JSON object") "}\r\n"
			    ERROR("GenericError", "QMP input must be a JSON object") "}\r\n"
			    ERROR("GenericError", "QMP input must be a JSON object") "}\r\n");
	assert_string_equal(ask(s, "{}"),
			    ERROR("GenericError", "QMP input lacks member 'execute'") "}\r\n");
	assert_string_equal(ask(s, "{'execute':5}"),
			    ERROR("GenericError", "QMP input member 'execute' must be a string")
			    "}\r\n");
	assert_string_equal(ask(s, "{'execute':'emit','arguments':[]}"),
			    ERROR("GenericError", "QMP input member 'arguments' must be an object")
			    "}\r\n");
	assert_string_equal(ask(s, "{'execute':'emit','foo':1}"),
			    ERROR("GenericError", "QMP input member 'foo' is unexpected") "}\r\n");
	assert_string_equal(ask(s, "{'execute':}"),
			    ERROR("GenericError", "JSON parse error, expecting value") "}\r\n");
	assert_string_equal(ask(s, "\xff{'execute':'nonsense"),
			    ERROR("GenericError", "JSON parse error, stray '\\uFFFD'") "}\r\n");
	assert_string_equal(ask(s, "\x01{}"),
			    ERROR("GenericError", "JSON parse error, stray ''nonsense\\u0001'")
			    "}\r\n"
			    ERROR("GenericError", "QMP input lacks member 'execute'") "}\r\n");
	qmp_session_free(s);
}

static void events(void **state)
{
	struct qmp_session *a = negotiated(), *b = negotiated(), *c = new_session();
	struct json_object *data = json_object_new_object();
	const char *text;

	(void)state;
	output(c);
	json_object_object_add(data, "text", json_object_new_string("bad \xc3 byte"));
	woken = 0;
	qmp_emit("HAPPENED", data);
	assert_int_equal(woken, 2);
	text = output(a);
	assert_memory_equal(text, "{\"timestamp\":{\"seconds\":", 24);
	assert_non_null(strstr(text, ",\"event\":\"HAPPENED\",\"data\":{\"text\":\"bad "));
	assert_non_null(strstr(text, "bad \\uFFFD byte\"}}\r\n"));
	assert_non_null(strstr(output(b), "HAPPENED"));
	assert_string_equal(output(c), "");
	/* The event comes before the answer to the command that caused it. */
	text = ask(a, "{'execute':'emit'}");
	assert_true(strstr(text, "HAPPENED") < strstr(text, "return"));
	qmp_session_free(b);
	qmp_emit("HAPPENED", NULL);
	assert_non_null(strstr(output(a), "\"event\":\"HAPPENED\",\"data\":{}}"));
	qmp_session_free(a);
	qmp_session_free(c);
}

/* Requests wait while the client does not read; what waits is bounded. */
static void slow_reader(void **state)
{
	static const char request[] = "{'execute':'query-commands'}";
	struct qmp_session *s = negotiated();
	size_t len, before = 0, taken;

	(void)state;
	for (;;) {
		taken = qmp_session_feed(s, request, strlen(request));
		qmp_session_output(s, &len);
		if (!taken)
			break;
		assert_true(len <= QMP_OUTPUT_LOW + 4096);
		assert_true(len > before);
		before = len;
	}
	assert_true(len > QMP_OUTPUT_LOW);
	assert_false(qmp_session_wants_input(s));
	output(s);
	assert_true(qmp_session_wants_input(s));
	assert_int_equal(qmp_session_feed(s, request, strlen(request)), strlen(request));
	output(s);
	/* Events do not wait. */
	for (int i = 0; i < 1000000 && !qmp_session_lost(s); i++)
		qmp_emit("HAPPENED", NULL);
	assert_true(qmp_session_lost(s));
	qmp_session_output(s, &len);
	assert_true(len <= QMP_OUTPUT_HIGH + 4096);
	assert_false(qmp_session_wants_input(s));
	qmp_session_free(s);
}

/* A client that has much to ask does not keep others waiting. */
static void turns(void **state)
{
	static const char request[] = "{'execute':'emit'}";
	struct qmp_session *s = negotiated();
	char text[100 * sizeof(request)] = "";
	size_t done = 0, feeds = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		strcat(text, request);
	while (done < strlen(text)) {
		done += qmp_session_feed(s, text + done, strlen(text) - done);
		assert_int_equal(done % strlen(request), 0);
		output(s);
		feeds++;
	}
	assert_int_equal(feeds, (100 + QMP_TURN - 1) / QMP_TURN);
	qmp_session_free(s);
}

static void pretty(void **state)
{
	struct qmp_session *s = qmp_session_new(true, wake, &woken);

	(void)state;
	assert_non_null(strstr(output(s), "{\n  \"QMP\": {\n"));
	qmp_session_free(s);
}

/* The last of all: after it nothing runs any more. */
static void quitting(void **state)
{
	struct qmp_session *s = negotiated();

	(void)state;
	/* What is known before keeps all from quitting. */
	foresee = true;
	assert_string_equal(ask(s, "{'execute':'quit'}"),
			    ERROR("GenericError", "Device 'y' is in use") "}\r\n");
	assert_string_equal(quit_log, "");
	assert_false(quit_done());
	foresee = false;
	refuse = true;
	assert_string_equal(ask(s, "{'execute':'quit'}"),
			    ERROR("GenericError", "Device 'x' is in use") "}\r\n");
	assert_string_equal(quit_log, "2");
	assert_false(quit_done());
	assert_non_null(strstr(ask(s, "{'execute':'emit'}"), "{\"return\":{}}"));
	qmp_session_free(s);
}

static void quitting_in_the_end(void **state)
{
	static const char text[] = "{'execute':'quit','arguments':{'keep':true}}{'execute':'emit'}";
	struct qmp_session *s = negotiated();

	(void)state;
	quit_log[0] = 0;
	foresee = true;
	assert_int_equal(qmp_session_feed(s, text, strlen(text)), strchr(text, '}') + 2 - text);
	assert_string_equal(output(s), "{\"return\":{}}\r\n");
	assert_string_equal(quit_log, "2k1k");
	assert_true(quit_done());
	assert_false(qmp_session_wants_input(s));
	qmp_session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greeting),
		cmocka_unit_test(beginning),
		cmocka_unit_test(out_of_band),
		cmocka_unit_test(requests),
		cmocka_unit_test(events),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(turns),
		cmocka_unit_test(pretty),
		cmocka_unit_test(quitting),
		cmocka_unit_test(quitting_in_the_end),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
