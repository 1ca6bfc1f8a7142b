// SPDX-License-Identifier: GPL-2.0-or-later
/* What nodes and devices there are, and what they do. */
#include <stdio.h>
#include <sys/stat.h>

#include "device-state.h"
#include "dm.h"
#include "export.h"
#include "job.h"
#include "query.h"
#include "schema-block.h"
#include "snapshot-info.h"
#include "throttle.h"

static struct json_object *format_specific(const struct qc_header *h)
{
	struct json_object *specific = json_object_new_object();
	struct json_object *data = json_object_new_object();

	qapi_add_str(specific, "type", "qcow2");
	qapi_add_str(data, "compat", h->version == 2 ? "0.10" : "1.1");
	qapi_add_str(data, "compression-type", qc_compression_names[h->compression]);
	if (h->version >= 3) {
		qapi_add_bool(data, "lazy-refcounts", h->compatible & QC_COMPAT_LAZY_REFCOUNTS);
		qapi_add_bool(data, "corrupt", h->incompatible & QC_INCOMPAT_CORRUPT);
		qapi_add_bool(data, "extended-l2", h->incompatible & QC_INCOMPAT_EXTENDED_L2);
	}
	qapi_add_int(data, "refcount-bits", 1U << h->refcount_order);
	json_object_object_add(specific, "data", data);
	return specific;
}

static void add_header_info(struct json_object *info, const struct node *node)
{
	const struct qc_header *h = node->header;
	CLEANUP_FREE char *full = NULL;
	struct json_object *snapshots;

	qapi_add_int(info, "cluster-size", qc_cluster_size(h));
	qapi_add_bool(info, "dirty-flag", h->incompatible & QC_INCOMPAT_DIRTY);
	if (h->backing) {
		qapi_add_str(info, "backing-filename", h->backing);
		if (!qc_chain_resolve_name(node_filename(node), h->backing, &full, NULL))
			qapi_add_str(info, "full-backing-filename", full);
	}
	if (h->backing_format)
		qapi_add_str(info, "backing-filename-format", h->backing_format);
	snapshots = snapshot_infos(&node->snapshots);
	if (snapshots)
		json_object_object_add(info, "snapshots", snapshots);
	json_object_object_add(info, "format-specific", format_specific(h));
}

static struct json_object *image_info(struct node *node)
{
	const struct node *protocol = node_protocol(node);
	struct json_object *info = json_object_new_object();
	struct qmp_error ignored;
	u64 size = 0, allocated;

	qapi_add_str(info, "filename", protocol->filename);
	qapi_add_str(info, "format", node_driver_name(node->driver));
	/* A file that is not to be had any more has no size; the node is there all the same. */
	node_size(node, &size, &ignored);
	qapi_add_int(info, "virtual-size", size);
	if (protocol->store && !qc_store_allocated(protocol->store, &allocated, NULL))
		qapi_add_int(info, "actual-size", allocated);
	if (node->header)
		add_header_info(info, node);
	else
		qapi_add_bool(info, "dirty-flag", false);
	return info;
}

/* The image, and as far as is asked for, those below, one within the other. */
static struct json_object *image_infos(struct node *node, bool flat, u64 *depth)
{
	struct json_object *info = image_info(node), *inner = info;

	*depth = 0;
	while (!flat && node->backing.node) {
		struct json_object *below;

		node = node->backing.node;
		below = image_info(node);
		json_object_object_add(inner, "backing-image", below);
		inner = below;
		++*depth;
	}
	return info;
}

/* @export: NULL: of a node that is no device. */
static void add_limits(struct json_object *info, const struct export *export)
{
	struct cgroup_limits limits = { 0 };

	if (export && throttle_get(export, &limits))
		qapi_add_str(info, "group", export->group ? export->group : "/");
	/* There are none of reads and writes together. */
	qapi_add_int(info, "bps", 0);
	qapi_add_int(info, "bps_rd", limits.bps_rd);
	qapi_add_int(info, "bps_wr", limits.bps_wr);
	qapi_add_int(info, "iops", 0);
	qapi_add_int(info, "iops_rd", limits.iops_rd);
	qapi_add_int(info, "iops_wr", limits.iops_wr);
}

static struct json_object *device_info(struct node *node, const struct export *export, bool flat)
{
	struct json_object *info = json_object_new_object();
	struct json_object *cache = json_object_new_object();
	struct json_object *image;
	u64 depth;

	image = image_infos(node, flat, &depth);
	qapi_add_str(info, "file", node_filename(node));
	qapi_add_str(info, "node-name", node->name);
	qapi_add_bool(info, "ro", node->read_only);
	qapi_add_str(info, "drv", node_driver_name(node->driver));
	if (node->backing.node)
		qapi_add_str(info, "backing_file", node_filename(node->backing.node));
	qapi_add_int(info, "backing_file_depth", depth);
	qapi_add_bool(info, "encrypted", false);
	qapi_add_str(info, "detect_zeroes", "off");
	add_limits(info, export);
	json_object_object_add(info, "image", image);
	qapi_add_bool(cache, "writeback", true);
	qapi_add_bool(cache, "direct", node->direct);
	qapi_add_bool(cache, "no-flush", false);
	json_object_object_add(info, "cache", cache);
	qapi_add_int(info, "write_threshold", 0);
	return info;
}

/* What QEMU has to tell of the filter of a job, which is over the node that the job copies from. */
static struct json_object *filter_info(const struct job *job, struct node *node,
				       const char *driver, bool flat)
{
	static const char *const same[] = { "virtual-size", "actual-size" };
	struct json_object *info, *below, *value, *image = json_object_new_object();

	info = device_info(node, NULL, flat);
	json_object_object_add(info, "node-name", json_object_new_string(job->filter->name));
	json_object_object_add(info, "drv", json_object_new_string(driver));
	json_object_object_del(info, "backing_file");
	below = json_object_object_get(info, "image");
	qapi_add_str(image, "filename", node_protocol(node)->filename);
	qapi_add_str(image, "format", driver);
	qapi_add_bool(image, "dirty-flag", false);
	for (size_t i = 0; i < ARRAY_SIZE(same); i++)
		if (json_object_object_get_ex(below, same[i], &value))
			json_object_object_add(image, same[i], json_object_get(value));
	if (!flat) {
		value = json_object_object_get(info, "backing_file_depth");
		json_object_set_int64(value, json_object_get_int64(value) + 1);
		json_object_object_add(image, "backing-image", json_object_get(below));
	}
	json_object_object_add(info, "image", image);
	return info;
}

/* The device that the node is, or the first of several that has limits. */
static const struct export *limited_export(const struct node *node)
{
	const struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (export->root.node == node && export->cgroups)
			break;
	return export;
}

static int run_nodes(struct qmp_session *session, struct json_object *arguments,
		     struct json_object **result, struct qmp_error *error)
{
	bool flat = qapi_get_bool(arguments, "flat", false);
	const char *driver;
	struct node *node;
	struct job *job;

	(void)session;
	(void)error;
	*result = json_object_new_array();
	TAILQ_FOREACH_REVERSE(job, &job_list, job_list, link) {
		node = job_filtered(job, &driver);
		if (node)
			json_object_array_add(*result, filter_info(job, node, driver, flat));
	}
	TAILQ_FOREACH_REVERSE(node, &node_list, node_list, link)
		json_object_array_add(*result, device_info(node, limited_export(node), flat));
	return 0;
}

static const char *io_status(const struct export *export)
{
	enum export_trouble trouble;

	if (device_state_read(export, &trouble))
		return "failed";
	return trouble == EXPORT_NO_SPACE ? "nospace" : trouble == EXPORT_WELL ? "ok" : "failed";
}

static int run_block(struct qmp_session *session, struct json_object *arguments,
		     struct json_object **result, struct qmp_error *error)
{
	struct export *export;

	(void)session;
	(void)arguments;
	(void)error;
	*result = json_object_new_array();
	TAILQ_FOREACH(export, &export_list, link) {
		struct json_object *info = json_object_new_object();

		qapi_add_str(info, "device", export->id);
		qapi_add_str(info, "type", "unknown");
		qapi_add_bool(info, "removable", false);
		qapi_add_bool(info, "locked", false);
		json_object_object_add(info, "inserted",
				       device_info(export->root.node, export, false));
		qapi_add_str(info, "io-status", io_status(export));
		json_object_array_add(*result, info);
	}
	return 0;
}

/* Fields of /sys/dev/block/M:N/stat, see the kernel's Documentation/block/stat.rst. */
enum stat_field {
	READ_IOS, READ_MERGES, READ_SECTORS, READ_MS,
	WRITE_IOS, WRITE_MERGES, WRITE_SECTORS, WRITE_MS,
	IN_FLIGHT, BUSY_MS, WAIT_MS,
	DISCARD_IOS, DISCARD_MERGES, DISCARD_SECTORS, DISCARD_MS,
	FLUSH_IOS, FLUSH_MS,
	NR_STAT_FIELDS
};

/* What the kernel has counted; zeroes for a device that somebody removed. */
static void read_stat(const struct export *export, u64 *fields)
{
	struct qc_dm_device device;
	char path[64];
	FILE *file;

	memset(fields, 0, NR_STAT_FIELDS * sizeof(*fields));
	if (qc_dm_query(export->name, &device, NULL) < 0 || !device.exists)
		return;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", device.major, device.minor);
	file = fopen(path, "re");
	if (!file)
		return;
	for (size_t i = 0; i < NR_STAT_FIELDS && fscanf(file, "%llu", &fields[i]) == 1; i++)
		;
	fclose(file);
}

/* @export: NULL: of a node.  Nobody counts what goes to the layers of a device. */
static struct json_object *device_stats(const struct export *export)
{
	static const char *const none[] = {
		"wr_highest_offset", "failed_rd_operations", "failed_wr_operations",
		"failed_flush_operations", "failed_unmap_operations", "invalid_rd_operations",
		"invalid_wr_operations", "invalid_flush_operations", "invalid_unmap_operations",
	};
	static const struct {
		const char *member;
		enum stat_field field;
		u64 unit;
	} counted[] = {
		{ "rd_bytes", READ_SECTORS, 512 },
		{ "wr_bytes", WRITE_SECTORS, 512 },
		{ "unmap_bytes", DISCARD_SECTORS, 512 },
		{ "rd_operations", READ_IOS, 1 },
		{ "wr_operations", WRITE_IOS, 1 },
		{ "flush_operations", FLUSH_IOS, 1 },
		{ "unmap_operations", DISCARD_IOS, 1 },
		{ "rd_total_time_ns", READ_MS, 1000000 },
		{ "wr_total_time_ns", WRITE_MS, 1000000 },
		{ "flush_total_time_ns", FLUSH_MS, 1000000 },
		{ "unmap_total_time_ns", DISCARD_MS, 1000000 },
		{ "rd_merged", READ_MERGES, 1 },
		{ "wr_merged", WRITE_MERGES, 1 },
		{ "unmap_merged", DISCARD_MERGES, 1 },
	};
	struct json_object *stats = json_object_new_object();
	u64 fields[NR_STAT_FIELDS] = { 0 };

	if (export)
		read_stat(export, fields);
	for (size_t i = 0; i < ARRAY_SIZE(counted); i++)
		qapi_add_int(stats, counted[i].member, fields[counted[i].field] * counted[i].unit);
	/* Nobody counts these. */
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		qapi_add_int(stats, none[i], 0);
	qapi_add_bool(stats, "account_invalid", false);
	qapi_add_bool(stats, "account_failed", false);
	json_object_object_add(stats, "timed_stats", json_object_new_array());
	return stats;
}

/* Of a node, and of its file. */
static struct json_object *node_stats(const struct node *node, const struct export *export)
{
	struct json_object *info = json_object_new_object();

	qapi_add_str(info, "device", export ? export->id : NULL);
	qapi_add_str(info, "node-name", node->name);
	json_object_object_add(info, "stats", device_stats(export));
	if (node->file.node)
		json_object_object_add(info, "parent", node_stats(node->file.node, NULL));
	return info;
}

/* With all that it is backed by, one within the other. */
static struct json_object *chain_stats(const struct export *export)
{
	struct json_object *info = node_stats(export->root.node, export), *over = info;

	for (struct node *n = export->root.node->backing.node; n; n = n->backing.node) {
		struct json_object *below = node_stats(n, NULL);

		json_object_object_add(over, "backing", below);
		over = below;
	}
	return info;
}

static int run_stats(struct qmp_session *session, struct json_object *arguments,
		     struct json_object **result, struct qmp_error *error)
{
	struct export *export;
	struct node *node;

	(void)session;
	(void)error;
	*result = json_object_new_array();
	if (qapi_get_bool(arguments, "query-nodes", false)) {
		TAILQ_FOREACH(node, &node_list, link)
			json_object_array_add(*result, node_stats(node, NULL));
		return 0;
	}
	TAILQ_FOREACH(export, &export_list, link)
		json_object_array_add(*result, chain_stats(export));
	return 0;
}

const struct qapi_command query_commands[] = {
	{ "query-named-block-nodes", .arguments = &schema_query_named_block_nodes,
	  .result = &schema_block_device_infos, .run = run_nodes },
	{ "query-block", .result = &schema_block_infos, .run = run_block },
	{ "query-blockstats", .arguments = &schema_query_blockstats,
	  .result = &schema_block_stats, .run = run_stats },
	{ 0 }
};
