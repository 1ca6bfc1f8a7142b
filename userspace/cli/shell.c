// SPDX-License-Identifier: GPL-2.0-or-later
/* The shell of qchain qmp and qchain hmp. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "qapi.h"
#include "schema.h"
#include "shell.h"

#define HISTORY_MAX 1000

/* Readline's callbacks have no context. */
static struct {
	struct client *client;
	const struct shell_language *language;
	struct schema *schema;
	bool verbose;
	bool ended;
	int failure;			/* of the connection */
	struct qc_error *err;
} shell;

static void print_message(struct json_object *message)
{
	cli_print_json(json_object_get(message));
	fflush(stdout);
}

static void on_event(struct json_object *event, void *context)
{
	(void)context;
	if (shell.language->events)
		print_message(event);
}

static const struct client_listener show = { .event = on_event };

/* Run one line.  Returns 1 when the daemon or the line's writer said no, and a negative errno. */
static int run_line(const char *line, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *request = NULL, *result = NULL;
	struct qc_error own = { 0 };
	int ret;

	ret = shell.language->read(line, &request, &own);
	if (!ret && !request)
		return 0;
	if (!ret && shell.verbose)
		print_message(request);
	if (!ret)
		ret = client_call(shell.client, request, &show, &result, &own);
	if (!ret)
		return !shell.language->print(result) || fflush(stdout);
	if (ret == -EINVAL || ret == -EREMOTEIO) {
		fprintf(stderr, "%s\n", own.text);
		return 1;
	}
	*err = own;
	return ret;
}

/* Completion */

struct candidates {
	char **list;
	size_t count, room;
	const char *beginning;
};

static void add_candidate(const char *word, void *context)
{
	struct candidates *c = context;

	if (strncmp(word, c->beginning, strlen(c->beginning)))
		return;
	/* Variants of a union may have the same member. */
	for (size_t i = 0; i < c->count; i++)
		if (!strcmp(c->list[i], word))
			return;
	if (c->count + 1 >= c->room) {
		c->room = c->room ? 2 * c->room : 64;
		c->list = reallocarray(c->list, c->room, sizeof(*c->list));
		if (!c->list)
			abort();
	}
	c->list[c->count] = strdup(word);
	if (!c->list[c->count++])
		abort();
	c->list[c->count] = NULL;
}

/* All that can stand in place of @text, which begins at @start of the line. */
static struct candidates find_candidates(const char *text, int start)
{
	struct candidates c = { .beginning = text };
	CLEANUP_FREE char *command = NULL, *key = NULL;
	size_t skip = strspn(rl_line_buffer, " ");
	const char *equals;

	if ((int)skip >= start) {
		schema_commands(shell.schema, add_candidate, &c);
		return c;
	}
	command = strndup(rl_line_buffer + skip, strcspn(rl_line_buffer + skip, " "));
	equals = strchr(text, '=');
	if (equals) {
		key = strndup(text, equals - text);
		c.beginning = equals + 1;
		if (command && key)
			schema_values(shell.schema, command, key, add_candidate, &c);
	} else {
		const char *dot = strrchr(text, '.');

		key = strndup(text, dot ? dot + 1 - text : 0);
		if (command && key)
			schema_keys(shell.schema, command, key, add_candidate, &c);
	}
	return c;
}

/* Values come without their key, which is put before them again. */
static char *generate(const char *text, int state)
{
	static struct candidates c;
	static size_t next;
	const char *equals = strchr(text, '=');
	char *word;

	if (!state) {
		c = find_candidates(text, rl_point - (int)strlen(text));
		next = 0;
	}
	if (next == c.count) {
		free(c.list);
		c = (struct candidates){ 0 };
		next = 0;
		return NULL;
	}
	word = c.list[next++];
	if (equals) {
		char *whole = malloc(equals + 1 - text + strlen(word) + 1);

		if (!whole)
			abort();
		sprintf(whole, "%.*s%s", (int)(equals + 1 - text), text, word);
		free(word);
		word = whole;
	}
	rl_completion_append_character = word[strlen(word) - 1] == '=' ||
					 word[strlen(word) - 1] == '.' ? '\0' : ' ';
	return word;
}

static char **complete(const char *text, int start, int end)
{
	(void)start;
	(void)end;
	rl_attempted_completion_over = 1;
	return shell.schema ? rl_completion_matches(text, generate) : NULL;
}

/* History */

static char *history_path(void)
{
	const char *home = getenv("HOME");
	char *path;

	if (!home || asprintf(&path, "%s/%s", home, shell.language->history) < 0)
		return NULL;
	return path;
}

static void keep_history(void)
{
	CLEANUP_FREE char *path = history_path();
	mode_t mask = umask(0077);

	if (path)
		write_history(path);
	umask(mask);
}

/* The terminal */

static void on_line(char *line)
{
	int ret;

	if (!line) {
		putchar('\n');
		shell.ended = true;
		return;
	}
	if (line[strspn(line, " \t")])
		add_history(line);
	ret = run_line(line, shell.err);
	free(line);
	if (ret < 0) {
		shell.failure = ret;
		shell.ended = true;
	}
}

/* Events come at any time: they are written above the line that is being edited. */
static int show_events(void)
{
	struct json_object *message;
	int ret;

	for (;;) {
		ret = client_receive(shell.client, false, &message, shell.err);
		if (ret < 0 || !message)
			return ret;
		if (shell.language->events) {
			rl_clear_visible_line();
			print_message(message);
			rl_forced_update_display();
		}
		json_object_put(message);
	}
}

static int run_terminal(void)
{
	struct pollfd fds[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = client_fd(shell.client), .events = POLLIN },
	};
	CLEANUP_FREE char *path = history_path();

	rl_readline_name = "qchain";
	rl_attempted_completion_function = complete;
	rl_completer_word_break_characters = " \t";
	stifle_history(HISTORY_MAX);
	if (path)
		read_history(path);
	rl_callback_handler_install(shell.language->prompt, on_line);
	while (!shell.ended) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			rl_callback_read_char();
		if (fds[1].revents && !shell.ended) {
			shell.failure = show_events();
			shell.ended = shell.failure < 0;
		}
	}
	rl_callback_handler_remove();
	keep_history();
	return shell.failure < 0 ? shell.failure : CLI_OK;
}

static int run_script(struct qc_error *err)
{
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;
	int ret = 0;

	while (!ret && getline(&line, &room, stdin) > 0)
		ret = run_line(line, err);
	return ret < 0 ? ret : ret ? CLI_FAILURE : CLI_OK;
}

int shell_run(struct client *client, const struct shell_language *language, bool verbose,
	      struct qc_error *err)
{
	int ret = 0;

	shell.client = client;
	shell.language = language;
	shell.verbose = verbose;
	shell.err = err;
	if (!isatty(STDIN_FILENO))
		return run_script(err);
	if (language->schema)
		ret = schema_fetch(client, &shell.schema, err);
	if (ret < 0)
		return ret;
	ret = run_terminal();
	schema_free(shell.schema);
	return ret;
}
