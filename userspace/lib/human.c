// SPDX-License-Identifier: GPL-2.0-or-later
/* Values for people. */
#include <stdio.h>

#include "human.h"

const char *qc_human(u64 bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	static char buffers[4][32];
	static unsigned int next;
	char *buffer = buffers[next++ % ARRAY_SIZE(buffers)];
	double value = bytes;
	size_t unit = 0;

	/* From 1000 on: a fourth digit has no room. */
	while (value >= 1000 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1024;
		unit++;
	}
	snprintf(buffer, sizeof(buffers[0]), "%.3g %s", value, units[unit]);
	return buffer;
}
