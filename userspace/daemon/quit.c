// SPDX-License-Identifier: GPL-2.0-or-later
/* The orderly end of the daemon. */
#include "quit.h"

static struct sd_event *quit_loop;
static bool keep_devices;
static bool done;

void quit_init(struct sd_event *loop, bool keep)
{
	quit_loop = loop;
	keep_devices = keep;
}

bool quit_keeps(void)
{
	return keep_devices;
}

int quit_run(bool keep, struct qmp_error *error)
{
	size_t count;

	for (count = 0; daemon_parts[count]; count++)
		if (!keep && daemon_parts[count]->may_quit && daemon_parts[count]->may_quit(error))
			return -1;
	while (count) {
		const struct daemon_part *part = daemon_parts[--count];

		if (part->quit && part->quit(keep, error))
			return -1;
	}
	done = true;
	if (quit_loop)
		sd_event_exit(quit_loop, 0);
	return 0;
}

bool quit_done(void)
{
	return done;
}
