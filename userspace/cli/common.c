// SPDX-License-Identifier: GPL-2.0-or-later
/* Values on the command line, output, and signals. */
#include <ctype.h>
#include <errno.h>
#include <signal.h>

#include "cli.h"

void cli_warn(const char *object, const char *message)
{
	fprintf(stderr, "qchain: %s: %s\n", object, message);
}

int cli_format(const char *value, enum qc_format *format, struct qc_error *err)
{
	*format = value ? qc_format_parse(value) : QC_FORMAT_UNKNOWN;
	if (value && *format == QC_FORMAT_UNKNOWN)
		return qc_fail(err, EINVAL, value, "use qcow2 or raw",
			       "no such image format here");
	return 0;
}

int cli_size(const char *what, const char *text, u64 *size, struct qc_error *err)
{
	static const char suffixes[] = "BKMGTPE";
	unsigned int shift = 0;
	char *end;
	u64 value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (end != text && *end) {
		const char *suffix = strchr(suffixes, toupper((unsigned char)*end));

		if (suffix) {
			shift = 10 * (suffix - suffixes);
			end++;
		}
	}
	if (!isdigit((unsigned char)*text) || *end || errno || value << shift >> shift != value)
		return qc_fail(err, EINVAL, what, "use a number with K, M, G, T, P or E behind it",
			       "'%s' is not a size", text);
	*size = value << shift;
	return 0;
}

void cli_print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
					    JSON_C_TO_STRING_SPACED |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

struct json_object *cli_json_u64(u64 value)
{
	return json_object_new_uint64(value);
}

static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

void cli_hold_signals(void *ctx)
{
	sigset_t set;

	(void)ctx;
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(end_signals); i++)
		sigaddset(&set, end_signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

bool cli_signal_pending(void *ctx)
{
	sigset_t set;

	(void)ctx;
	if (sigpending(&set) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(end_signals); i++)
		if (sigismember(&set, end_signals[i]) == 1)
			return true;
	return false;
}

void cli_release_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}
