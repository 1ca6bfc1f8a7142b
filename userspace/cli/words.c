// SPDX-License-Identifier: GPL-2.0-or-later
/* From words to requests. */
#include <ctype.h>
#include <errno.h>

#include "client.h"
#include "json-stream.h"
#include "keyval.h"
#include "words.h"

/* Returns false when @text is not one JSON value; @error says why. */
static bool read_json(const char *text, struct json_object **value, struct qmp_error *error)
{
	enum json_item item = json_stream_text(&text, value, error);

	if (item == JSON_VALUE && *text) {
		json_object_put(*value);
		qmp_fail(error, "JSON parse error, more than one value");
		return false;
	}
	return item == JSON_VALUE;
}

static int read_value(const char *key, const char *text, struct json_object **value,
		      struct qc_error *err)
{
	struct qmp_error error;
	bool must = *text && strchr("{[\"'", *text);
	bool may = must || *text == '-' || isdigit((unsigned char)*text) ||
		   !strcmp(text, "true") || !strcmp(text, "false") || !strcmp(text, "null");

	if (may && read_json(text, value, &error))
		return 0;
	if (must)
		return qc_fail(err, EINVAL, key, NULL, "%s", error.text);
	*value = json_object_new_string(text);
	return 0;
}

static int add_word(struct json_object *arguments, const char *word, struct qc_error *err)
{
	CLEANUP_FREE char *key = NULL;
	const char *equals = strchr(word, '=');
	struct json_object *value;
	struct qmp_error error;
	int ret;

	if (!equals)
		return qc_fail(err, EINVAL, word, "write key=value", "this has no value");
	key = strndup(word, equals - word);
	if (!key)
		return qc_fail_nomem(err, word);
	ret = read_value(key, equals + 1, &value, err);
	if (ret < 0)
		return ret;
	if (keyval_put(arguments, key, value, &error))
		return qc_fail(err, EINVAL, word, NULL, "%s", error.text);
	return 0;
}

int words_to_request(char *const *words, int count, struct json_object **request,
		     struct qc_error *err)
{
	struct json_object *arguments = json_object_new_object();
	struct qmp_error error;
	int ret = 0;

	for (int i = 1; !ret && i < count; i++)
		ret = add_word(arguments, words[i], err);
	if (!ret && keyval_finish(&arguments, &error))
		ret = qc_fail(err, EINVAL, words[0], NULL, "%s", error.text);
	if (ret || count == 1) {
		json_object_put(arguments);
		arguments = NULL;
	}
	if (!ret)
		*request = client_request(words[0], arguments);
	return ret;
}

/* The end of the word that begins at @at, or NULL when a quote or bracket is not closed. */
static const char *word_end(const char *at)
{
	int depth = 0;
	char quote = 0;

	for (; *at; at++) {
		if (quote) {
			if (*at == '\\' && at[1])
				at++;
			else if (*at == quote)
				quote = 0;
		} else if (*at == '"' || *at == '\'') {
			quote = *at;
		} else if (*at == '{' || *at == '[') {
			depth++;
		} else if (*at == '}' || *at == ']') {
			depth--;
		} else if (isspace((unsigned char)*at) && depth <= 0) {
			break;
		}
	}
	return quote || depth > 0 ? NULL : at;
}

int words_split(const char *line, char ***words, struct qc_error *err)
{
	/* There are not more words than half the characters. */
	char **list = calloc(strlen(line) / 2 + 2, sizeof(*list));
	int count = 0;

	if (!list)
		return qc_fail_nomem(err, "line");
	for (;;) {
		const char *end;

		while (isspace((unsigned char)*line))
			line++;
		if (!*line)
			break;
		end = word_end(line);
		if (end)
			list[count] = strndup(line, end - line);
		if (!end || !list[count]) {
			words_free(list);
			return end ? qc_fail_nomem(err, "line") :
			       qc_fail(err, EINVAL, "line", NULL,
				       "a quote or bracket is not closed");
		}
		count++;
		line = end;
	}
	*words = list;
	return count;
}

void words_free(char **words)
{
	for (char **w = words; w && *w; w++)
		free(*w);
	free(words);
}
