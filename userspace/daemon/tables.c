// SPDX-License-Identifier: GPL-2.0-or-later
/* What the daemon is made of. */
#include "block-resize.h"
#include "blockdev.h"
#include "commit.h"
#include "control.h"
#include "create-job.h"
#include "device-state.h"
#include "export.h"
#include "hmp.h"
#include "internal-snapshot.h"
#include "job.h"
#include "old-commands.h"
#include "part.h"
#include "qapi.h"
#include "query.h"
#include "reopen.h"
#include "snapshot.h"
#include "state.h"
#include "stream.h"
#include "throttle.h"

const struct qapi_command *const qapi_commands[] = {
	control_commands,
	blockdev_commands,
	export_commands,
	query_commands,
	snapshot_commands,
	internal_snapshot_commands,
	job_commands,
	stream_commands,
	commit_commands,
	old_commands,
	hmp_qmp_commands,
	create_job_commands,
	block_resize_commands,
	reopen_commands,
	throttle_commands,
	NULL
};

const struct qapi_event *const qapi_events[] = {
	export_events,
	device_events,
	job_events,
	NULL
};

const struct daemon_part *const daemon_parts[] = {
	&graph_part,
	&device_part,
	&job_part,
	NULL
};
