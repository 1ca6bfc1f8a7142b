/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Types of the commands and events about jobs: what of QEMU's job.json and of the jobs in
 * block-core.json is honoured here.  A member that would be accepted and ignored is not there.
 */
#ifndef QCHAIN_SCHEMA_JOB_H
#define QCHAIN_SCHEMA_JOB_H

#include "qapi.h"

/* Arguments. */
extern const struct qapi_type schema_job_id, schema_block_job_device, schema_block_job_cancel,
	schema_block_job_set_speed, schema_block_stream, schema_block_commit;

/* Results. */
extern const struct qapi_type schema_job_infos, schema_block_job_infos;

/* Data of events. */
extern const struct qapi_type schema_job_status_change, schema_block_job_completed,
	schema_block_job_cancelled, schema_block_job_ready, schema_block_job_error,
	schema_block_job_pending;

#endif /* QCHAIN_SCHEMA_JOB_H */
