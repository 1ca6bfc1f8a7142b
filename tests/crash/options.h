/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command lines of the test's programs.
 */
#ifndef CRASH_OPTIONS_H
#define CRASH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* --NAME VALUE, or --NAME alone where only a flag is given.  The last of a table has no name. */
struct option_to {
	const char *name;
	const char **string;
	uint64_t *number;
	bool *flag;
};

/* Returns the index of the first argument that is no option.  Ends the program on errors. */
int options_parse(int argc, char **argv, const struct option_to *table);

#endif /* CRASH_OPTIONS_H */
