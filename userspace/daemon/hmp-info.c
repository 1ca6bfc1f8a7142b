// SPDX-License-Identifier: GPL-2.0-or-later
/* What the queries answer, as text. */
#include <time.h>

#include "hmp-info.h"
#include "human.h"

static struct json_object *member(struct json_object *object, const char *name)
{
	return json_object_object_get(object, name);
}

static const char *yes_no(struct json_object *object, const char *name)
{
	return qapi_get_bool(object, name, false) ? "true" : "false";
}

/* --- block ------------------------------------------------------------------------------------ */

static void print_specific(FILE *out, struct json_object *data)
{
	fprintf(out, "Format specific information:\n");
	fprintf(out, "    compat: %s\n", qapi_get_str(data, "compat", ""));
	fprintf(out, "    compression type: %s\n", qapi_get_str(data, "compression-type", ""));
	if (qapi_has(data, "lazy-refcounts"))
		fprintf(out, "    lazy refcounts: %s\n", yes_no(data, "lazy-refcounts"));
	fprintf(out, "    refcount bits: %lld\n",
		(long long)qapi_get_int(data, "refcount-bits", 0));
	if (qapi_has(data, "corrupt"))
		fprintf(out, "    corrupt: %s\n", yes_no(data, "corrupt"));
	if (qapi_has(data, "extended-l2"))
		fprintf(out, "    extended l2: %s\n", yes_no(data, "extended-l2"));
}

static void print_snapshots(FILE *out, struct json_object *list)
{
	size_t count = list ? json_object_array_length(list) : 0;

	if (count)
		fprintf(out, "Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE",
			"DATE", "VM CLOCK", "ICOUNT");
	for (size_t i = 0; i < count; i++) {
		struct json_object *s = json_object_array_get_idx(list, i);
		time_t when = qapi_get_int(s, "date-sec", 0);
		u64 clock = qapi_get_int(s, "vm-clock-sec", 0);
		char date[32] = "", ran[48], icount[24] = "";
		struct tm tm;

		if (localtime_r(&when, &tm))
			strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
		snprintf(ran, sizeof(ran), "%02llu:%02llu:%02llu.%03llu", clock / 3600,
			 clock / 60 % 60, clock % 60,
			 (u64)qapi_get_int(s, "vm-clock-nsec", 0) / 1000000);
		if (qapi_has(s, "icount"))
			snprintf(icount, sizeof(icount), "%lld",
				 (long long)qapi_get_int(s, "icount", 0));
		fprintf(out, "%-9s %-16s %8s%20s%13s%11s\n", qapi_get_str(s, "id", ""),
			qapi_get_str(s, "name", ""), qc_human(qapi_get_int(s, "vm-state-size", 0)),
			date, ran, icount);
	}
}

static void print_image(FILE *out, struct json_object *image)
{
	const char *backing = qapi_get_str(image, "backing-filename", NULL);
	const char *full = qapi_get_str(image, "full-backing-filename", backing);
	u64 size = qapi_get_int(image, "virtual-size", 0);

	fprintf(out, "image: %s\n", qapi_get_str(image, "filename", ""));
	fprintf(out, "file format: %s\n", qapi_get_str(image, "format", ""));
	fprintf(out, "virtual size: %s (%llu bytes)\n", qc_human(size), size);
	fprintf(out, "disk size: %s\n", qapi_has(image, "actual-size") ?
		qc_human(qapi_get_int(image, "actual-size", 0)) : "unavailable");
	if (qapi_has(image, "cluster-size"))
		fprintf(out, "cluster_size: %lld\n",
			(long long)qapi_get_int(image, "cluster-size", 0));
	if (qapi_get_bool(image, "dirty-flag", false))
		fprintf(out, "cleanly shut down: no\n");
	if (backing && strcmp(backing, full))
		fprintf(out, "backing file: %s (actual path: %s)\n", backing, full);
	else if (backing)
		fprintf(out, "backing file: %s\n", backing);
	if (qapi_has(image, "backing-filename-format"))
		fprintf(out, "backing file format: %s\n",
			qapi_get_str(image, "backing-filename-format", ""));
	print_snapshots(out, member(image, "snapshots"));
	if (qapi_has(image, "format-specific"))
		print_specific(out, member(member(image, "format-specific"), "data"));
}

static void print_limits(FILE *out, struct json_object *node)
{
	static const char *const names[] = {
		"bps", "bps_rd", "bps_wr", "bps_max", "bps_rd_max", "bps_wr_max",
		"iops", "iops_rd", "iops_wr", "iops_max", "iops_rd_max", "iops_wr_max",
		"iops_size",
	};

	if (!qapi_has(node, "group"))
		return;
	fprintf(out, "    I/O throttling:  ");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		fprintf(out, " %s=%lld", names[i], (long long)qapi_get_int(node, names[i], 0));
	fprintf(out, " group=%s\n", qapi_get_str(node, "group", ""));
}

/* @block: of query-block, or NULL for a node alone.  @node: a BlockDeviceInfo. */
static void print_block(FILE *out, struct json_object *block, struct json_object *node,
			bool verbose)
{
	const char *device = qapi_get_str(block, "device", NULL);
	const char *name = qapi_get_str(node, "node-name", "");
	const char *status = qapi_get_str(block, "io-status", "ok");
	struct json_object *cache = member(node, "cache");

	if (device)
		fprintf(out, "%s (%s)", device, name);
	else
		fprintf(out, "%s", name);
	fprintf(out, ": %s (%s%s)\n", qapi_get_str(node, "file", ""), qapi_get_str(node, "drv", ""),
		qapi_get_bool(node, "ro", false) ? ", read-only" : "");
	if (strcmp(status, "ok"))
		fprintf(out, "    I/O status:       %s\n", status);
	fprintf(out, "    Cache mode:       writeback%s\n",
		qapi_get_bool(cache, "direct", false) ? ", direct" : "");
	if (qapi_has(node, "backing_file"))
		fprintf(out, "    Backing file:     %s (chain depth: %lld)\n",
			qapi_get_str(node, "backing_file", ""),
			(long long)qapi_get_int(node, "backing_file_depth", 0));
	print_limits(out, node);
	if (!verbose)
		return;
	fprintf(out, "\nImages:\n");
	for (struct json_object *image = member(node, "image"); image;
	     image = member(image, "backing-image"))
		print_image(out, image);
}

/* Those of a list that have this name, or all.  Returns how many. */
static size_t print_blocks(struct hmp *hmp, const char *query, const char *key, const char *wanted,
			   bool verbose)
{
	CLEANUP_JSON struct json_object *list = NULL;
	size_t printed = 0;

	if (hmp_call(hmp, query, NULL, &list))
		return 0;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *block = json_object_array_get_idx(list, i);
		struct json_object *node = member(block, "inserted");

		if (wanted && strcmp(wanted, qapi_get_str(block, key, "")))
			continue;
		if (printed++)
			fprintf(hmp->out, "\n");
		print_block(hmp->out, node ? block : NULL, node ? node : block, verbose);
	}
	return printed;
}

static void info_block(struct hmp *hmp, struct json_object *arguments)
{
	const char *wanted = qapi_get_str(arguments, "device", NULL);
	bool nodes = qapi_get_bool(arguments, "nodes", false);
	bool verbose = qapi_get_bool(arguments, "verbose", false);

	if (!nodes && (print_blocks(hmp, "query-block", "device", wanted, verbose) || !wanted))
		return;
	print_blocks(hmp, "query-named-block-nodes", "node-name", wanted, verbose);
}

/* --- jobs, status ----------------------------------------------------------------------------- */

static void info_jobs(struct hmp *hmp, struct json_object *arguments)
{
	CLEANUP_JSON struct json_object *list = NULL;

	(void)arguments;
	if (hmp_call(hmp, "query-block-jobs", NULL, &list))
		return;
	if (!json_object_array_length(list))
		fprintf(hmp->out, "No active jobs\n");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *job = json_object_array_get_idx(list, i);
		const char *type = qapi_get_str(job, "type", "");
		const char *device = qapi_get_str(job, "device", "");

		if (!strcmp(type, "stream"))
			fprintf(hmp->out, "Streaming device %s: ", device);
		else
			fprintf(hmp->out, "Type %s, device %s: ", type, device);
		fprintf(hmp->out, "Completed %lld of %lld bytes, speed limit %lld bytes/s\n",
			(long long)qapi_get_int(job, "offset", 0),
			(long long)qapi_get_int(job, "len", 0),
			(long long)qapi_get_int(job, "speed", 0));
	}
}

static void info_status(struct hmp *hmp, struct json_object *arguments)
{
	CLEANUP_JSON struct json_object *status = NULL;

	(void)arguments;
	if (!hmp_call(hmp, "query-status", NULL, &status))
		fprintf(hmp->out, "VM status: %s\n", qapi_get_str(status, "status", ""));
}

const struct hmp_command hmp_info_commands[] = {
	{ "block", "nodes:-n,verbose:-v,device:B?", "[-n] [-v] [device]",
	  "devices, or one of them, or a node (-n: all nodes; -v: with the images below)",
	  .run = info_block },
	{ "block-jobs", NULL, "", "jobs that run, and how far they are", .run = info_jobs },
	{ "status", NULL, "", "whether devices run or are stopped", .run = info_status },
	{ 0 }
};
