/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Types of the block layer's commands: what of QEMU's block-core.json, block-export.json and
 * transaction.json is honoured here.  A member that would be accepted and ignored is not there.
 */
#ifndef QCHAIN_SCHEMA_BLOCK_H
#define QCHAIN_SCHEMA_BLOCK_H

#include "qapi.h"

/* Arguments. */
extern const struct qapi_type schema_blockdev_options, schema_blockdev_del,
	schema_change_backing_file, schema_query_named_block_nodes, schema_export_options,
	schema_export_del, schema_snapshot_sync, schema_snapshot, schema_snapshot_internal,
	schema_snapshot_delete, schema_transaction, schema_blockdev_create, schema_block_resize,
	schema_blockdev_reopen, schema_io_throttle, schema_query_blockstats;

/* Results. */
extern const struct qapi_type schema_block_device_infos, schema_block_infos, schema_block_stats,
	schema_export_infos, schema_status_info, schema_snapshot_info;

/* Data of events. */
extern const struct qapi_type schema_export_deleted, schema_block_io_error,
	schema_block_image_corrupted;

/* Enums, which those of jobs have in them, too. */
extern const struct qapi_type schema_io_status, schema_io_operation, schema_error_action;

#endif /* QCHAIN_SCHEMA_BLOCK_H */
