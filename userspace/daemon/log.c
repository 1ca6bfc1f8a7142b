// SPDX-License-Identifier: GPL-2.0-or-later
/* The daemon's log. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "log.h"
#include "qapi.h"
#include "util.h"

static const struct {
	const char *name;
	int level;
} levels[] = {
	{ "error", LOG_ERR },
	{ "warning", LOG_WARNING },
	{ "info", LOG_INFO },
	{ "debug", LOG_DEBUG },
};

static int limit = LOG_INFO;

bool log_set_level(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(levels[i].name, name))
			continue;
		limit = levels[i].level;
		return true;
	}
	return false;
}

void log_line(int level, const char *fmt, ...)
{
	char text[QMP_ERROR_MAX + 256];
	char line[sizeof(text) + 32];
	va_list args;
	int len;

	if (level > limit)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	qc_make_printable(text);
	/* The journal knows a level by its number in front. */
	if (getenv("JOURNAL_STREAM"))
		len = snprintf(line, sizeof(line), "<%d>%s\n", level, text);
	else
		len = snprintf(line, sizeof(line), "qchaind: %s\n", text);
	/* There is nobody to tell when this fails. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}
