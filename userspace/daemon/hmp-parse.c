// SPDX-License-Identifier: GPL-2.0-or-later
/* Words of a line, as the table of a command has them. */
#include <ctype.h>
#include <errno.h>

#include "hmp.h"
#include "util.h"

struct field {
	char name[32];
	char type;
	char letter;			/* of a flag */
	bool optional;
};

static const char *skip(const char *at)
{
	while (isspace((unsigned char)*at))
		at++;
	return at;
}

static size_t word_length(const char *at)
{
	size_t len = 0;

	while (at[len] && !isspace((unsigned char)at[len]))
		len++;
	return len;
}

/* --- the table -------------------------------------------------------------------------------- */

static bool has_name(const char *names, const char *word, size_t len)
{
	for (;;) {
		size_t this = strcspn(names, "|");

		if (this == len && !memcmp(names, word, len))
			return true;
		if (!names[this])
			return false;
		names += this + 1;
	}
}

const struct hmp_command *hmp_find(const struct hmp_command *table, const char **line)
{
	const char *word = skip(*line);
	size_t len = word_length(word);

	for (const struct hmp_command *c = table; c->name; c++) {
		if (len && has_name(c->name, word, len)) {
			*line = skip(word + len);
			return c;
		}
	}
	return NULL;
}

/* The description at *@at, which is moved behind it.  False at the end. */
static bool next_field(const char **at, struct field *field)
{
	size_t len;

	if (!*at || !**at)
		return false;
	memset(field, 0, sizeof(*field));
	len = strcspn(*at, ":");
	snprintf(field->name, sizeof(field->name), "%.*s", (int)len, *at);
	*at += len + 1;
	field->type = *(*at)++;
	if (field->type == '-')
		field->letter = *(*at)++;
	field->optional = **at == '?';
	*at += field->optional;
	*at += **at == ',';
	return true;
}

/* --- words ------------------------------------------------------------------------------------ */

/* What is within quotes, whose first one is at *@at.  NULL: it is no such thing. */
static char *read_quoted(const char **at, FILE *out)
{
	static const char codes[] = "n\nr\r\\\\''\"\"";
	char *word = malloc(strlen(*at) + 1), *end = word;
	const char *p = *at + 1;

	while (word && *p && *p != '"') {
		const char *code = codes;

		if (*p != '\\') {
			*end++ = *p++;
			continue;
		}
		while (*code && *code != p[1])
			code += 2;
		if (!*code || !p[1]) {
			fprintf(out, "unsupported escape code: '%.2s'\n", p);
			free(word);
			return NULL;
		}
		*end++ = code[1];
		p += 2;
	}
	if (!word)
		return NULL;
	if (*p != '"') {
		fprintf(out, "unterminated string\n");
		free(word);
		return NULL;
	}
	*end = 0;
	*at = p + 1;
	return word;
}

static char *read_word(const char **at, FILE *out)
{
	size_t len = word_length(*at);

	if (**at == '"')
		return read_quoted(at, out);
	*at += len;
	return len ? strndup(*at - len, len) : NULL;
}

/* A number, also hexadecimal or with a fraction, and a unit. */
static bool read_size(const char **at, int64_t *size)
{
	static const char units[] = "BKMGTPE";
	const char *unit = "M", *p = *at;
	bool hex = p[0] == '0' && (p[1] | 0x20) == 'x';
	long double value;
	char *end;

	if (!isdigit((unsigned char)*p))
		return false;
	value = strtold(p, &end);
	/* No exponents, which strtold() knows. */
	if (strcspn(p, hex ? "pP." : "eE") < (size_t)(end - p))
		return false;
	if (*end && strchr(units, toupper((unsigned char)*end)))
		unit = strchr(units, toupper((unsigned char)*end++));
	else
		unit = strchr(units, *unit);
	value *= BIT_ULL(10 * (unit - units));
	if (value >= (long double)INT64_MAX)
		return false;
	*size = value;
	*at = end;
	return true;
}

/* A number with signs, as C has it; what is none is said. */
static bool read_number(const char **at, int64_t *number, FILE *out)
{
	bool negative = false;
	uint64_t value;
	char *end;

	for (; **at == '-' || **at == '+'; *at = skip(*at + 1))
		negative ^= **at == '-';
	errno = 0;
	value = strtoull(*at, &end, 0);
	if (!**at) {
		fprintf(out, "unexpected end of expression\n");
		return false;
	}
	if (errno == ERANGE) {
		fprintf(out, "number too large\n");
		return false;
	}
	if (end == *at) {
		fprintf(out, "invalid char '%c' in expression\n", **at);
		return false;
	}
	*number = negative ? -value : value;
	*at = end;
	return true;
}

/* --- all of a line ---------------------------------------------------------------------------- */

/* Is there a flag that has not been given?  With a @letter: that one; then it is. */
static bool take_flag(const struct hmp_command *command, char letter, struct json_object *words)
{
	const char *at = command->arguments;
	struct field field;

	while (next_field(&at, &field)) {
		if (field.type != '-' || qapi_has(words, field.name))
			continue;
		if (letter == field.letter)
			qapi_add_bool(words, field.name, true);
		if (!letter || letter == field.letter)
			return true;
	}
	return false;
}

/* In any order; what begins with a dash when all were given is a word. */
static int read_flags(const struct hmp_command *command, const char **line,
		      struct json_object *words, FILE *out)
{
	while (**line == '-' && take_flag(command, 0, words)) {
		char letter = (*line)[1];

		if (!letter || !take_flag(command, letter, words)) {
			fprintf(out, "%s: unsupported option -%.1s\n", command->name, *line + 1);
			return -1;
		}
		*line = skip(*line + 2);
	}
	return 0;
}

static int read_field(const struct hmp_command *command, const struct field *field,
		      const char **line, struct json_object *words, FILE *out)
{
	const char *at = *line;
	int64_t number, size;

	if (!*at && field->optional)
		return 0;
	if (field->type == 'S') {
		qapi_add_str(words, field->name, at);
		*line += strlen(at);
	} else if (field->type == 'l') {
		if (!read_number(line, &number, out))
			return -1;
		json_object_object_add(words, field->name, json_object_new_int64(number));
	} else if (field->type == 'o' || field->type == 'O') {
		bool good = read_size(&at, &size);

		if (field->type == 'O' && (!good || word_length(at)))
			return 0;
		if (!good) {
			fprintf(out, "invalid size\n");
			return -1;
		}
		qapi_add_int(words, field->name, size);
		*line = at;
	} else {
		CLEANUP_FREE char *word = read_word(line, out);

		if (!word) {
			fprintf(out, "%s: %s expected\n", command->name,
				field->type == 'B' ? "block device name" : "string");
			return -1;
		}
		qapi_add_str(words, field->name, word);
	}
	return 0;
}

struct json_object *hmp_parse(const struct hmp_command *command, const char *line, FILE *out)
{
	struct json_object *words = json_object_new_object();
	const char *at = command->arguments;
	struct field field;
	int ret;

	ret = read_flags(command, &line, words, out);
	while (!ret && next_field(&at, &field)) {
		line = skip(line);
		if (field.type != '-')
			ret = read_field(command, &field, &line, words, out);
	}
	if (!ret && *skip(line)) {
		fprintf(out, "%s: extraneous characters at the end of line\n", command->name);
		ret = -1;
	}
	if (!ret)
		return words;
	json_object_put(words);
	return NULL;
}
