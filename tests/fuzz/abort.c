// SPDX-License-Identifier: GPL-2.0-or-later
/* The end of a target that found something. */
#include <stdio.h>

#include "target.h"

void fuzz_abort(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
	abort();
}
