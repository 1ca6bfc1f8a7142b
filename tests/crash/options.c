// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The command lines of the test's programs, see options.h.
 */
#include <err.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

static void set(const struct option_to *option, const char *value)
{
	char *end;

	if (!value)
		errx(2, "--%s needs a value", option->name);
	if (option->string) {
		*option->string = value;
		return;
	}
	*option->number = strtoull(value, &end, 0);
	if (end == value || *end)
		errx(2, "--%s: not a number: %s", option->name, value);
}

int options_parse(int argc, char **argv, const struct option_to *table)
{
	const struct option_to *option;
	int i;

	for (i = 1; i < argc && !strncmp(argv[i], "--", 2); i++) {
		for (option = table; option->name && strcmp(option->name, argv[i] + 2); option++)
			;
		if (!option->name)
			errx(2, "no such option: %s", argv[i]);
		if (option->flag)
			*option->flag = true;
		else
			set(option, argv[++i]);
	}
	return i;
}
