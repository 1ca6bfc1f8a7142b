// SPDX-License-Identifier: GPL-2.0-or-later
/* What happens to the devices of exports by themselves. */
#include <errno.h>
#include <stdio.h>

#include "device-state.h"
#include "dm-events.h"
#include "dm.h"
#include "job.h"
#include "log.h"
#include "schema-block.h"
#include "table.h"

static struct sd_event *watch_loop;	/* NULL before start, and in tests of the tables */
static bool watching;

int device_state_read(const struct export *export, enum export_trouble *trouble)
{
	CLEANUP_FREE char *params = NULL;
	struct qc_status status;
	u64 sectors;

	if (qc_dm_status(export->name, &sectors, &params, NULL) < 0 ||
	    qc_status_parse(params, export->name, &status, NULL) < 0)
		return -1;
	*trouble = !strcmp(status.mode, "out-of-space") ? EXPORT_NO_SPACE :
		   !strcmp(status.mode, "failed") ? EXPORT_CORRUPT :
		   !strcmp(status.mode, "flush-failed") ? EXPORT_FLUSH_FAILED : EXPORT_WELL;
	return 0;
}

static void tell_io_error(const struct export *export, const char *action, int error)
{
	struct json_object *data = json_object_new_object();

	qapi_add_str(data, "device", export->id);
	qapi_add_str(data, "node-name", export->root.node->name);
	qapi_add_str(data, "operation", "write");
	qapi_add_str(data, "action", action);
	qapi_add_bool(data, "nospace", error == ENOSPC);
	qapi_add_str(data, "reason", strerror(error));
	qmp_emit("BLOCK_IO_ERROR", data);
}

static void tell_no_space(const struct export *export)
{
	tell_io_error(export, "stop", ENOSPC);
	log_line(LOG_WARNING, "export %s: writes wait for space", export->id);
}

static void tell_flush_failed(const struct export *export)
{
	tell_io_error(export, "report", EIO);
	log_line(LOG_ERR, "export %s: a flush below has failed, and now writes do", export->id);
}

static void tell_corrupt(const struct export *export)
{
	struct json_object *data = json_object_new_object();

	qapi_add_str(data, "device", export->id);
	qapi_add_str(data, "node-name", export->root.node->name);
	qapi_add_str(data, "msg", "Metadata was found to be bad; see the kernel log");
	qapi_add_bool(data, "fatal", true);
	qmp_emit("BLOCK_IMAGE_CORRUPTED", data);
	log_line(LOG_ERR, "export %s: the image of node %s is corrupt", export->id,
		 export->root.node->name);
}

/*
 * Events of all devices come here, and a status is not for free: the first one has the kernel read
 * all of an image's metadata.  The number is older than the status, so what happens meanwhile is
 * looked at again, and so is what could not be seen.
 */
static void look(struct export *export)
{
	enum export_trouble trouble, before = export->trouble;
	struct qc_dm_device device;

	if (qc_dm_query(export->name, &device, NULL) < 0 || device.event_nr == export->event_nr ||
	    device_state_read(export, &trouble))
		return;
	export->event_nr = device.event_nr;
	/* Another image has its own. */
	if (strcmp(export->trouble_of, export->root.node->name))
		before = EXPORT_WELL;
	snprintf(export->trouble_of, sizeof(export->trouble_of), "%s", export->root.node->name);
	export->trouble = trouble;
	if (trouble == before)
		return;
	if (trouble == EXPORT_NO_SPACE)
		tell_no_space(export);
	else if (trouble == EXPORT_CORRUPT)
		tell_corrupt(export);
	else if (trouble == EXPORT_FLUSH_FAILED)
		tell_flush_failed(export);
}

static void on_change(void)
{
	struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		look(export);
	job_poll_all();
}

int device_state_watch(struct qmp_error *error)
{
	if (watching || !watch_loop)
		return 0;
	if (dm_events_watch(watch_loop, on_change, error))
		return -1;
	watching = true;
	return 0;
}

/* Those of an earlier daemon.  Nobody is there yet to be told what is the matter with them. */
static int start(sd_event *loop, struct qmp_error *error)
{
	struct export *export;

	watch_loop = loop;
	if (TAILQ_EMPTY(&export_list))
		return 0;
	if (device_state_watch(error))
		return -1;
	TAILQ_FOREACH(export, &export_list, link)
		look(export);
	return 0;
}

const struct daemon_part device_part = {
	.name = "devices",
	.start = start,
};

const struct qapi_event device_events[] = {
	{ "BLOCK_IO_ERROR", .data = &schema_block_io_error },
	{ "BLOCK_IMAGE_CORRUPTED", .data = &schema_block_image_corrupted },
	{ 0 }
};
