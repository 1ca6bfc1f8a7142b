// SPDX-License-Identifier: GPL-2.0-or-later
/* Types of the block layer's commands. */
#include "qapi-define.h"
#include "schema-block.h"

/* --- blockdev-add and its like ---------------------------------------------------------------- */

static const struct qapi_type blockdev_driver =
	ENUM("BlockdevDriver", "file", "host_device", "qcow2", "raw");
static const struct qapi_type discard_options = ENUM("BlockdevDiscardOptions", "ignore", "unmap");
static const struct qapi_type compression_type = ENUM("Qcow2CompressionType", "zlib", "zstd");
static const struct qapi_type qcow2_version = ENUM("BlockdevQcow2Version", "v2", "v3");
static const struct qapi_type prealloc_mode =
	ENUM("PreallocMode", "off", "metadata", "falloc", "full");
static const struct qapi_type on_off_auto = ENUM("OnOffAuto", "auto", "on", "off");

static const struct qapi_type aio_options =
	ENUM("BlockdevAioOptions", "threads", "native", "io_uring");
static const struct qapi_type detect_zeroes_options =
	ENUM("BlockdevDetectZeroesOptions", "off", "on", "unmap");

static const struct qapi_type cache_options =
	OBJECT("BlockdevCacheOptions",
	       OPTIONAL("direct", qapi_bool),
	       OPTIONAL("no-flush", qapi_bool));

static const struct qapi_type options_file =
	OBJECT("BlockdevOptionsFile",
	       MEMBER("filename", qapi_str),
	       OPTIONAL("locking", on_off_auto),
	       OPTIONAL("aio", aio_options));

static const struct qapi_type blockdev_ref = {
	.name = "BlockdevRef",
	.meta = QAPI_ALTERNATE,
	.variants = (const struct qapi_variant[]){
		{ "definition", &schema_blockdev_options },
		{ "reference", &qapi_str },
		{ 0 }
	},
};

static const struct qapi_type blockdev_ref_or_null = {
	.name = "BlockdevRefOrNull",
	.meta = QAPI_ALTERNATE,
	.variants = (const struct qapi_variant[]){
		{ "definition", &schema_blockdev_options },
		{ "reference", &qapi_str },
		{ "null", &qapi_null },
		{ 0 }
	},
};

static const struct qapi_type options_raw =
	OBJECT("BlockdevOptionsRaw",
	       MEMBER("file", blockdev_ref));

static const struct qapi_type options_qcow2 =
	OBJECT("BlockdevOptionsQcow2",
	       MEMBER("file", blockdev_ref),
	       OPTIONAL("backing", blockdev_ref_or_null));

const struct qapi_type schema_blockdev_options = {
	.name = "BlockdevOptions",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("driver", blockdev_driver),
		OPTIONAL("node-name", qapi_str),
		OPTIONAL("discard", discard_options),
		OPTIONAL("cache", cache_options),
		OPTIONAL("read-only", qapi_bool),
		OPTIONAL("auto-read-only", qapi_bool),
		OPTIONAL("force-share", qapi_bool),
		OPTIONAL("detect-zeroes", detect_zeroes_options),
		{ 0 }
	},
	.tag = "driver",
	.variants = (const struct qapi_variant[]){
		{ "file", &options_file },
		{ "host_device", &options_file },
		{ "qcow2", &options_qcow2 },
		{ "raw", &options_raw },
		{ 0 }
	},
};

static const struct qapi_type blockdev_options_list = ARRAY(schema_blockdev_options);

const struct qapi_type schema_blockdev_reopen =
	OBJECT("q_obj_blockdev-reopen-arg",
	       MEMBER("options", blockdev_options_list));

static const struct qapi_type create_file =
	OBJECT("BlockdevCreateOptionsFile",
	       MEMBER("filename", qapi_str),
	       MEMBER("size", qapi_size),
	       OPTIONAL("preallocation", prealloc_mode));

static const struct qapi_type create_qcow2 =
	OBJECT("BlockdevCreateOptionsQcow2",
	       MEMBER("file", blockdev_ref),
	       MEMBER("size", qapi_size),
	       OPTIONAL("version", qcow2_version),
	       OPTIONAL("backing-file", qapi_str),
	       OPTIONAL("backing-fmt", blockdev_driver),
	       OPTIONAL("cluster-size", qapi_size),
	       OPTIONAL("preallocation", prealloc_mode),
	       OPTIONAL("lazy-refcounts", qapi_bool),
	       OPTIONAL("refcount-bits", qapi_int),
	       OPTIONAL("compression-type", compression_type));

static const struct qapi_type create_options = {
	.name = "BlockdevCreateOptions",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("driver", blockdev_driver),
		{ 0 }
	},
	.tag = "driver",
	.variants = (const struct qapi_variant[]){
		{ "file", &create_file },
		{ "qcow2", &create_qcow2 },
		{ 0 }
	},
};

const struct qapi_type schema_blockdev_create =
	OBJECT("q_obj_blockdev-create-arg",
	       MEMBER("job-id", qapi_str),
	       MEMBER("options", create_options));

const struct qapi_type schema_block_resize =
	OBJECT("q_obj_block_resize-arg",
	       OPTIONAL("device", qapi_str),
	       OPTIONAL("node-name", qapi_str),
	       MEMBER("size", qapi_int));

const struct qapi_type schema_io_throttle =
	OBJECT("BlockIOThrottle",
	       { .name = "device", .type = &qapi_str, .optional = true,
		 .features = FEATURES("deprecated") },
	       OPTIONAL("id", qapi_str),
	       MEMBER("bps", qapi_int),
	       MEMBER("bps_rd", qapi_int),
	       MEMBER("bps_wr", qapi_int),
	       MEMBER("iops", qapi_int),
	       MEMBER("iops_rd", qapi_int),
	       MEMBER("iops_wr", qapi_int),
	       OPTIONAL("bps_max", qapi_int),
	       OPTIONAL("bps_rd_max", qapi_int),
	       OPTIONAL("bps_wr_max", qapi_int),
	       OPTIONAL("iops_max", qapi_int),
	       OPTIONAL("iops_rd_max", qapi_int),
	       OPTIONAL("iops_wr_max", qapi_int),
	       OPTIONAL("bps_max_length", qapi_int),
	       OPTIONAL("bps_rd_max_length", qapi_int),
	       OPTIONAL("bps_wr_max_length", qapi_int),
	       OPTIONAL("iops_max_length", qapi_int),
	       OPTIONAL("iops_rd_max_length", qapi_int),
	       OPTIONAL("iops_wr_max_length", qapi_int),
	       OPTIONAL("iops_size", qapi_int),
	       OPTIONAL("group", qapi_str));

const struct qapi_type schema_blockdev_del =
	OBJECT("q_obj_blockdev-del-arg",
	       MEMBER("node-name", qapi_str));

const struct qapi_type schema_change_backing_file =
	OBJECT("q_obj_change-backing-file-arg",
	       MEMBER("device", qapi_str),
	       MEMBER("image-node-name", qapi_str),
	       MEMBER("backing-file", qapi_str));

/* --- queries ---------------------------------------------------------------------------------- */

static const struct qapi_type info_kind = ENUM("ImageInfoSpecificKind", "qcow2");
const struct qapi_type schema_io_status = ENUM("BlockDeviceIoStatus", "ok", "failed", "nospace");
static const struct qapi_type run_state = ENUM("RunState", "paused", "running");

const struct qapi_type schema_query_named_block_nodes =
	OBJECT("q_obj_query-named-block-nodes-arg",
	       OPTIONAL("flat", qapi_bool));

static const struct qapi_type specific_qcow2 =
	OBJECT("ImageInfoSpecificQCow2",
	       MEMBER("compat", qapi_str),
	       OPTIONAL("extended-l2", qapi_bool),
	       OPTIONAL("lazy-refcounts", qapi_bool),
	       OPTIONAL("corrupt", qapi_bool),
	       MEMBER("refcount-bits", qapi_int),
	       MEMBER("compression-type", compression_type));

static const struct qapi_type specific_qcow2_wrapper =
	OBJECT("ImageInfoSpecificQCow2Wrapper",
	       MEMBER("data", specific_qcow2));

static const struct qapi_type image_specific = {
	.name = "ImageInfoSpecific",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("type", info_kind),
		{ 0 }
	},
	.tag = "type",
	.variants = (const struct qapi_variant[]){
		{ "qcow2", &specific_qcow2_wrapper },
		{ 0 }
	},
};

const struct qapi_type schema_snapshot_info =
	OBJECT("SnapshotInfo",
	       MEMBER("id", qapi_str),
	       MEMBER("name", qapi_str),
	       MEMBER("vm-state-size", qapi_int),
	       MEMBER("date-sec", qapi_int),
	       MEMBER("date-nsec", qapi_int),
	       MEMBER("vm-clock-sec", qapi_int),
	       MEMBER("vm-clock-nsec", qapi_int),
	       OPTIONAL("icount", qapi_int));

static const struct qapi_type snapshot_infos = ARRAY(schema_snapshot_info);

static const struct qapi_type image_info;
static const struct qapi_type image_info =
	OBJECT("ImageInfo",
	       MEMBER("filename", qapi_str),
	       MEMBER("format", qapi_str),
	       OPTIONAL("dirty-flag", qapi_bool),
	       OPTIONAL("actual-size", qapi_int),
	       MEMBER("virtual-size", qapi_int),
	       OPTIONAL("cluster-size", qapi_int),
	       OPTIONAL("backing-filename", qapi_str),
	       OPTIONAL("full-backing-filename", qapi_str),
	       OPTIONAL("backing-filename-format", qapi_str),
	       OPTIONAL("snapshots", snapshot_infos),
	       OPTIONAL("backing-image", image_info),
	       OPTIONAL("format-specific", image_specific));

static const struct qapi_type cache_info =
	OBJECT("BlockdevCacheInfo",
	       MEMBER("writeback", qapi_bool),
	       MEMBER("direct", qapi_bool),
	       MEMBER("no-flush", qapi_bool));

static const struct qapi_type block_device_info =
	OBJECT("BlockDeviceInfo",
	       MEMBER("file", qapi_str),
	       OPTIONAL("node-name", qapi_str),
	       MEMBER("ro", qapi_bool),
	       MEMBER("drv", qapi_str),
	       OPTIONAL("backing_file", qapi_str),
	       MEMBER("backing_file_depth", qapi_int),
	       MEMBER("encrypted", qapi_bool),
	       MEMBER("detect_zeroes", detect_zeroes_options),
	       MEMBER("bps", qapi_int),
	       MEMBER("bps_rd", qapi_int),
	       MEMBER("bps_wr", qapi_int),
	       MEMBER("iops", qapi_int),
	       MEMBER("iops_rd", qapi_int),
	       MEMBER("iops_wr", qapi_int),
	       OPTIONAL("group", qapi_str),
	       MEMBER("image", image_info),
	       MEMBER("cache", cache_info),
	       MEMBER("write_threshold", qapi_int));

const struct qapi_type schema_block_device_infos = ARRAY(block_device_info);

static const struct qapi_type block_info =
	OBJECT("BlockInfo",
	       MEMBER("device", qapi_str),
	       MEMBER("type", qapi_str),
	       MEMBER("removable", qapi_bool),
	       MEMBER("locked", qapi_bool),
	       OPTIONAL("inserted", block_device_info),
	       OPTIONAL("io-status", schema_io_status));

const struct qapi_type schema_block_infos = ARRAY(block_info);

static const struct qapi_type timed_stats =
	OBJECT("BlockDeviceTimedStats",
	       MEMBER("interval_length", qapi_int),
	       MEMBER("min_rd_latency_ns", qapi_int),
	       MEMBER("max_rd_latency_ns", qapi_int),
	       MEMBER("avg_rd_latency_ns", qapi_int),
	       MEMBER("min_wr_latency_ns", qapi_int),
	       MEMBER("max_wr_latency_ns", qapi_int),
	       MEMBER("avg_wr_latency_ns", qapi_int),
	       MEMBER("min_flush_latency_ns", qapi_int),
	       MEMBER("max_flush_latency_ns", qapi_int),
	       MEMBER("avg_flush_latency_ns", qapi_int),
	       MEMBER("avg_rd_queue_depth", qapi_number),
	       MEMBER("avg_wr_queue_depth", qapi_number));

/* No interval can be set, so there never is one. */
static const struct qapi_type timed_stats_list = ARRAY(timed_stats);

static const struct qapi_type device_stats =
	OBJECT("BlockDeviceStats",
	       MEMBER("rd_bytes", qapi_int),
	       MEMBER("wr_bytes", qapi_int),
	       MEMBER("unmap_bytes", qapi_int),
	       MEMBER("rd_operations", qapi_int),
	       MEMBER("wr_operations", qapi_int),
	       MEMBER("flush_operations", qapi_int),
	       MEMBER("unmap_operations", qapi_int),
	       MEMBER("rd_total_time_ns", qapi_int),
	       MEMBER("wr_total_time_ns", qapi_int),
	       MEMBER("flush_total_time_ns", qapi_int),
	       MEMBER("unmap_total_time_ns", qapi_int),
	       MEMBER("wr_highest_offset", qapi_int),
	       MEMBER("rd_merged", qapi_int),
	       MEMBER("wr_merged", qapi_int),
	       MEMBER("unmap_merged", qapi_int),
	       MEMBER("failed_rd_operations", qapi_int),
	       MEMBER("failed_wr_operations", qapi_int),
	       MEMBER("failed_flush_operations", qapi_int),
	       MEMBER("failed_unmap_operations", qapi_int),
	       MEMBER("invalid_rd_operations", qapi_int),
	       MEMBER("invalid_wr_operations", qapi_int),
	       MEMBER("invalid_flush_operations", qapi_int),
	       MEMBER("invalid_unmap_operations", qapi_int),
	       MEMBER("account_invalid", qapi_bool),
	       MEMBER("account_failed", qapi_bool),
	       MEMBER("timed_stats", timed_stats_list));

const struct qapi_type schema_query_blockstats =
	OBJECT("q_obj_query-blockstats-arg",
	       OPTIONAL("query-nodes", qapi_bool));

static const struct qapi_type block_stats;
static const struct qapi_type block_stats =
	OBJECT("BlockStats",
	       OPTIONAL("device", qapi_str),
	       OPTIONAL("node-name", qapi_str),
	       MEMBER("stats", device_stats),
	       OPTIONAL("parent", block_stats),
	       OPTIONAL("backing", block_stats));

const struct qapi_type schema_block_stats = ARRAY(block_stats);

const struct qapi_type schema_status_info =
	OBJECT("StatusInfo",
	       MEMBER("running", qapi_bool),
	       MEMBER("singlestep", qapi_bool),
	       MEMBER("status", run_state));

/* --- exports ---------------------------------------------------------------------------------- */

static const struct qapi_type export_type = ENUM("BlockExportType", "dm");
static const struct qapi_type export_remove_mode = ENUM("BlockExportRemoveMode", "safe");

static const struct qapi_type export_dm =
	OBJECT("BlockExportOptionsDm",
	       MEMBER("name", qapi_str));

const struct qapi_type schema_export_options = {
	.name = "BlockExportOptions",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("type", export_type),
		MEMBER("id", qapi_str),
		MEMBER("node-name", qapi_str),
		OPTIONAL("writable", qapi_bool),
		OPTIONAL("writethrough", qapi_bool),
		{ 0 }
	},
	.tag = "type",
	.variants = (const struct qapi_variant[]){
		{ "dm", &export_dm },
		{ 0 }
	},
};

const struct qapi_type schema_export_del =
	OBJECT("q_obj_block-export-del-arg",
	       MEMBER("id", qapi_str),
	       OPTIONAL("mode", export_remove_mode));

static const struct qapi_type export_info =
	OBJECT("BlockExportInfo",
	       MEMBER("id", qapi_str),
	       MEMBER("type", export_type),
	       MEMBER("node-name", qapi_str),
	       MEMBER("shutting-down", qapi_bool),
	       MEMBER("name", qapi_str));

const struct qapi_type schema_export_infos = ARRAY(export_info);

const struct qapi_type schema_export_deleted =
	OBJECT("q_obj_BLOCK_EXPORT_DELETED-arg",
	       MEMBER("id", qapi_str));

/* --- what happens to devices ------------------------------------------------------------------ */

const struct qapi_type schema_io_operation = ENUM("IoOperationType", "read", "write");
const struct qapi_type schema_error_action = ENUM("BlockErrorAction", "ignore", "report", "stop");

const struct qapi_type schema_block_io_error =
	OBJECT("q_obj_BLOCK_IO_ERROR-arg",
	       MEMBER("device", qapi_str),
	       OPTIONAL("node-name", qapi_str),
	       MEMBER("operation", schema_io_operation),
	       MEMBER("action", schema_error_action),
	       OPTIONAL("nospace", qapi_bool),
	       MEMBER("reason", qapi_str));

const struct qapi_type schema_block_image_corrupted =
	OBJECT("q_obj_BLOCK_IMAGE_CORRUPTED-arg",
	       MEMBER("device", qapi_str),
	       OPTIONAL("node-name", qapi_str),
	       MEMBER("msg", qapi_str),
	       OPTIONAL("offset", qapi_int),
	       OPTIONAL("size", qapi_int),
	       MEMBER("fatal", qapi_bool));

/* --- snapshots -------------------------------------------------------------------------------- */

static const struct qapi_type new_image_mode = ENUM("NewImageMode", "existing", "absolute-paths");
static const struct qapi_type action_kind =
	ENUM("TransactionActionKind", "abort", "blockdev-snapshot",
	     "blockdev-snapshot-internal-sync", "blockdev-snapshot-sync");
static const struct qapi_type completion_mode =
	ENUM("ActionCompletionMode", "individual", "grouped");

const struct qapi_type schema_snapshot_sync =
	OBJECT("BlockdevSnapshotSync",
	       OPTIONAL("device", qapi_str),
	       OPTIONAL("node-name", qapi_str),
	       MEMBER("snapshot-file", qapi_str),
	       OPTIONAL("snapshot-node-name", qapi_str),
	       OPTIONAL("format", qapi_str),
	       OPTIONAL("mode", new_image_mode));

const struct qapi_type schema_snapshot =
	OBJECT("BlockdevSnapshot",
	       MEMBER("node", qapi_str),
	       MEMBER("overlay", qapi_str));

const struct qapi_type schema_snapshot_internal =
	OBJECT("BlockdevSnapshotInternal",
	       MEMBER("device", qapi_str),
	       MEMBER("name", qapi_str));

const struct qapi_type schema_snapshot_delete =
	OBJECT("q_obj_blockdev-snapshot-delete-internal-sync-arg",
	       MEMBER("device", qapi_str),
	       OPTIONAL("id", qapi_str),
	       OPTIONAL("name", qapi_str));

static const struct qapi_type action_abort = {
	.name = "Abort",
	.meta = QAPI_OBJECT,
};

static const struct qapi_type abort_wrapper =
	OBJECT("AbortWrapper", MEMBER("data", action_abort));

static const struct qapi_type snapshot_wrapper =
	OBJECT("BlockdevSnapshotWrapper", MEMBER("data", schema_snapshot));

static const struct qapi_type snapshot_internal_wrapper =
	OBJECT("BlockdevSnapshotInternalWrapper", MEMBER("data", schema_snapshot_internal));

static const struct qapi_type snapshot_sync_wrapper =
	OBJECT("BlockdevSnapshotSyncWrapper", MEMBER("data", schema_snapshot_sync));

static const struct qapi_type transaction_action = {
	.name = "TransactionAction",
	.meta = QAPI_OBJECT,
	.members = (const struct qapi_member[]){
		MEMBER("type", action_kind),
		{ 0 }
	},
	.tag = "type",
	.variants = (const struct qapi_variant[]){
		{ "abort", &abort_wrapper },
		{ "blockdev-snapshot", &snapshot_wrapper },
		{ "blockdev-snapshot-internal-sync", &snapshot_internal_wrapper },
		{ "blockdev-snapshot-sync", &snapshot_sync_wrapper },
		{ 0 }
	},
};

static const struct qapi_type transaction_actions = ARRAY(transaction_action);

static const struct qapi_type transaction_properties =
	OBJECT("TransactionProperties",
	       OPTIONAL("completion-mode", completion_mode));

const struct qapi_type schema_transaction =
	OBJECT("q_obj_transaction-arg",
	       MEMBER("actions", transaction_actions),
	       OPTIONAL("properties", transaction_properties));
