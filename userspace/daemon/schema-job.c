// SPDX-License-Identifier: GPL-2.0-or-later
/* Types of the commands and events about jobs. */
#include "qapi-define.h"
#include "schema-block.h"
#include "schema-job.h"

static const struct qapi_type job_type = ENUM("JobType", "commit", "stream", "create");
static const struct qapi_type job_status =
	ENUM("JobStatus", "undefined", "created", "running", "paused", "ready", "standby",
	     "waiting", "pending", "aborting", "concluded", "null");
static const struct qapi_type on_error =
	ENUM("BlockdevOnError", "report", "ignore", "enospc", "stop", "auto");

/* --- arguments -------------------------------------------------------------------------------- */

const struct qapi_type schema_job_id = OBJECT("q_obj_job-pause-arg", MEMBER("id", qapi_str));
const struct qapi_type schema_block_job_device =
	OBJECT("q_obj_block-job-pause-arg", MEMBER("device", qapi_str));
const struct qapi_type schema_block_job_cancel =
	OBJECT("q_obj_block-job-cancel-arg",
	       MEMBER("device", qapi_str),
	       OPTIONAL("force", qapi_bool));
const struct qapi_type schema_block_job_set_speed =
	OBJECT("q_obj_block-job-set-speed-arg",
	       MEMBER("device", qapi_str),
	       MEMBER("speed", qapi_int));

const struct qapi_type schema_block_stream =
	OBJECT("q_obj_block-stream-arg",
	       OPTIONAL("job-id", qapi_str),
	       MEMBER("device", qapi_str),
	       OPTIONAL("base", qapi_str),
	       OPTIONAL("base-node", qapi_str),
	       OPTIONAL("backing-file", qapi_str),
	       OPTIONAL("bottom", qapi_str),
	       OPTIONAL("speed", qapi_int),
	       OPTIONAL("on-error", on_error),
	       OPTIONAL("filter-node-name", qapi_str),
	       OPTIONAL("auto-finalize", qapi_bool),
	       OPTIONAL("auto-dismiss", qapi_bool));

const struct qapi_type schema_block_commit =
	OBJECT("q_obj_block-commit-arg",
	       OPTIONAL("job-id", qapi_str),
	       MEMBER("device", qapi_str),
	       OPTIONAL("base-node", qapi_str),
	       { .name = "base", .type = &qapi_str, .optional = true,
		 .features = FEATURES("deprecated") },
	       OPTIONAL("top-node", qapi_str),
	       { .name = "top", .type = &qapi_str, .optional = true,
		 .features = FEATURES("deprecated") },
	       OPTIONAL("backing-file", qapi_str),
	       OPTIONAL("speed", qapi_int),
	       OPTIONAL("on-error", on_error),
	       OPTIONAL("filter-node-name", qapi_str),
	       OPTIONAL("auto-finalize", qapi_bool),
	       OPTIONAL("auto-dismiss", qapi_bool));

/* --- results ---------------------------------------------------------------------------------- */

static const struct qapi_type job_info =
	OBJECT("JobInfo",
	       MEMBER("id", qapi_str),
	       MEMBER("type", job_type),
	       MEMBER("status", job_status),
	       MEMBER("current-progress", qapi_int),
	       MEMBER("total-progress", qapi_int),
	       OPTIONAL("error", qapi_str));
const struct qapi_type schema_job_infos = ARRAY(job_info);

static const struct qapi_type block_job_info =
	OBJECT("BlockJobInfo",
	       MEMBER("type", qapi_str),
	       MEMBER("device", qapi_str),
	       MEMBER("len", qapi_int),
	       MEMBER("offset", qapi_int),
	       MEMBER("busy", qapi_bool),
	       MEMBER("paused", qapi_bool),
	       MEMBER("speed", qapi_int),
	       MEMBER("io-status", schema_io_status),
	       MEMBER("ready", qapi_bool),
	       MEMBER("status", job_status),
	       MEMBER("auto-finalize", qapi_bool),
	       MEMBER("auto-dismiss", qapi_bool),
	       OPTIONAL("error", qapi_str),
	       /* not QEMU's: whose device does it */
	       OPTIONAL("export", qapi_str));
const struct qapi_type schema_block_job_infos = ARRAY(block_job_info);

/* --- events ----------------------------------------------------------------------------------- */

const struct qapi_type schema_job_status_change =
	OBJECT("q_obj_JOB_STATUS_CHANGE-arg",
	       MEMBER("id", qapi_str),
	       MEMBER("status", job_status));

const struct qapi_type schema_block_job_completed =
	OBJECT("q_obj_BLOCK_JOB_COMPLETED-arg",
	       MEMBER("type", job_type),
	       MEMBER("device", qapi_str),
	       MEMBER("len", qapi_int),
	       MEMBER("offset", qapi_int),
	       MEMBER("speed", qapi_int),
	       OPTIONAL("error", qapi_str));

#define PROGRESS(type_name)							\
	OBJECT(type_name,							\
	       MEMBER("type", job_type),					\
	       MEMBER("device", qapi_str),					\
	       MEMBER("len", qapi_int),						\
	       MEMBER("offset", qapi_int),					\
	       MEMBER("speed", qapi_int))

const struct qapi_type schema_block_job_cancelled = PROGRESS("q_obj_BLOCK_JOB_CANCELLED-arg");
const struct qapi_type schema_block_job_ready = PROGRESS("q_obj_BLOCK_JOB_READY-arg");

const struct qapi_type schema_block_job_error =
	OBJECT("q_obj_BLOCK_JOB_ERROR-arg",
	       MEMBER("device", qapi_str),
	       MEMBER("operation", schema_io_operation),
	       MEMBER("action", schema_error_action));

const struct qapi_type schema_block_job_pending =
	OBJECT("q_obj_BLOCK_JOB_PENDING-arg",
	       MEMBER("type", job_type),
	       MEMBER("id", qapi_str));
