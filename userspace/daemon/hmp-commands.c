// SPDX-License-Identifier: GPL-2.0-or-later
/* The commands of the monitor for people. */
#include "commit.h"
#include "export.h"
#include "hmp-info.h"

static void run_help(struct hmp *hmp, struct json_object *arguments)
{
	hmp_help(hmp, qapi_get_str(arguments, "name", ""));
}

static void run_info(struct hmp *hmp, struct json_object *arguments)
{
	(void)arguments;
	hmp_help(hmp, "info");
}

static void run_stream(struct hmp *hmp, struct json_object *arguments)
{
	/* It is what there is. */
	json_object_object_del(arguments, "all");
	qapi_add_str(arguments, "job-id", qapi_get_str(arguments, "device", NULL));
	hmp_call(hmp, "block-stream", json_object_get(arguments), NULL);
}

static void run_snapshot(struct hmp *hmp, struct json_object *arguments)
{
	bool reuse = qapi_get_bool(arguments, "reuse", false);

	json_object_object_del(arguments, "reuse");
	qapi_add_str(arguments, "mode", reuse ? "existing" : "absolute-paths");
	hmp_call(hmp, "blockdev-snapshot-sync", json_object_get(arguments), NULL);
}

static void run_change(struct hmp *hmp, struct json_object *arguments)
{
	bool quiet = qapi_get_bool(arguments, "quiet", false);

	json_object_object_del(arguments, "quiet");
	qapi_add_bool(arguments, "notify", !quiet);
	hmp_call(hmp, "change", json_object_get(arguments), NULL);
}

static int commit_one(struct hmp *hmp, const struct export *export, const char *called)
{
	const struct node *backing = export->root.node->backing.node;
	struct qmp_error error = { 0 };

	if (!backing) {
		qmp_fail(&error, "Operation not supported");
	} else {
		CLEANUP_JSON struct json_object *arguments = json_object_new_object();

		qapi_add_str(arguments, "device", export->id);
		qapi_add_str(arguments, "base-node", backing->name);
		if (!commit_start(arguments, true, &error))
			return 0;
	}
	fprintf(hmp->out, "'commit' error for '%s': %s\n", called, error.text);
	return -1;
}

static void run_commit(struct hmp *hmp, struct json_object *arguments)
{
	const char *device = qapi_get_str(arguments, "device", "");
	const struct export *export = export_find(device);

	if (!strcmp(device, "all")) {
		TAILQ_FOREACH(export, &export_list, link)
			if (export->root.node->backing.node && commit_one(hmp, export, device))
				return;
	} else if (export) {
		commit_one(hmp, export, device);
	} else {
		fprintf(hmp->out, "Device '%s' not found\n", device);
	}
}

const struct hmp_command hmp_commands[] = {
	{ "block_job_cancel", "force:-f,device:B", "[-f] device",
	  "end a job (-f: also one that is paused, and at once when it is ready)",
	  .qmp = "block-job-cancel" },
	{ "block_job_complete", "device:B", "device",
	  "let the device go over to the base of a commit that is ready",
	  .qmp = "block-job-complete" },
	{ "block_job_pause", "device:B", "device", "let a job pause", .qmp = "block-job-pause" },
	{ "block_job_resume", "device:B", "device", "let a job go on that was paused",
	  .qmp = "block-job-resume" },
	{ "block_job_set_speed", "device:B,speed:o", "device speed",
	  "how much a job may copy in a second, in MiB unless there is a unit; 0: all it can",
	  .qmp = "block-job-set-speed" },
	{ "block_set_io_throttle",
	  "device:B,bps:l,bps_rd:l,bps_wr:l,iops:l,iops_rd:l,iops_wr:l",
	  "device bps bps_rd bps_wr iops iops_rd iops_wr",
	  "limit what processes in cgroups read and write in a second; 0: no limit",
	  .qmp = "block_set_io_throttle" },
	{ "block_stream", "all:-a,device:B,speed:O?,base:s?", "[-a] device [speed [base]]",
	  "copy into a device's image what those above base have, or all (-a: the default)",
	  .run = run_stream },
	{ "change", "quiet:-n,device:B,target:s,arg:s?", "[-n] device filename [format]",
	  "go on with an image that is there, over the device's one (-n: must be given)",
	  .run = run_change },
	{ "commit", "device:B", "device|all",
	  "copy what a device's image has into its backing file, in the background",
	  .run = run_commit },
	{ "cont|c", NULL, "", "let devices go on", .qmp = "cont" },
	{ "help|?", "name:S?", "[cmd]", "what there is", .run = run_help },
	{ "info", NULL, "[subcommand]", "what is known", .run = run_info,
	  .sub = hmp_info_commands },
	{ "quit|q", NULL, "", "end the daemon, after its devices", .qmp = "quit" },
	{ "snapshot_blkdev", "reuse:-n,device:B,snapshot-file:s?,format:s?",
	  "[-n] device [new-image-file] [format]",
	  "make a new image the device's one, over that it has (-n: the file is there already)",
	  .run = run_snapshot },
	{ "snapshot_blkdev_internal", "device:B,name:s", "device name",
	  "make an internal snapshot in a device's image, which must be a qcow2 one",
	  .qmp = "blockdev-snapshot-internal-sync" },
	{ "snapshot_delete_blkdev_internal", "device:B,name:s,id:s?", "device name [id]",
	  "delete an internal snapshot that a device's image has",
	  .qmp = "blockdev-snapshot-delete-internal-sync" },
	{ "stop|s", NULL, "", "suspend all devices", .qmp = "stop" },
	{ 0 }
};
