// SPDX-License-Identifier: GPL-2.0-or-later
/* What the daemon is made of. */
#include "control.h"
#include "part.h"
#include "qapi.h"

const struct qapi_command *const qapi_commands[] = {
	control_commands,
	NULL
};

const struct qapi_event *const qapi_events[] = {
	NULL
};

const struct daemon_part *const daemon_parts[] = {
	NULL
};
