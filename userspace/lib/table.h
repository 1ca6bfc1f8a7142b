/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qchain target's table line and status line:
 *
 *   <#layers> <format> <device> <data device | -> ... [<#features> <feature>...]
 *   <mode> <cluster sectors> <mapped>/<total> <used>/<host total>
 *	<metadata KiB>/<limit KiB> <#layers> <#bitmaps> <#jobs> <job>...
 *   <job>: <id> <kind> <state> <done>/<length> <speed> <error> <operation>
 *
 * Everything here is text processing; nothing talks to the kernel.
 */
#ifndef QCHAIN_TABLE_H
#define QCHAIN_TABLE_H

#include "chain.h"

#define QC_TARGET "qchain"

enum qc_table_flags {
	QC_TABLE_READ_ONLY = 1 << 0,
	QC_TABLE_ERROR_IF_NO_SPACE = 1 << 1,
	QC_TABLE_NO_DISCARD_PASSDOWN = 1 << 2,
	QC_TABLE_BY_FD = 1 << 3,	/* name layers fd:N, for a table that this process loads */
};

/* Length of the device for a chain, in sectors. */
u64 qc_table_sectors(const struct qc_chain *chain);

/*
 * The target's parameters for a chain, as a new string.  By path, names are absolute and
 * without symbolic links, and white space and backslashes in them are written in octal (\040).
 */
int qc_table_build(const struct qc_chain *chain, unsigned int flags, char **params,
		   struct qc_error *err);

struct qc_table_layer {
	char *format;
	char *device;
	char *data;		/* "-" for none */
};

struct qc_table {
	struct qc_table_layer *layers;
	size_t count;
	unsigned int flags;	/* enum qc_table_flags */
};

/* Take parameters apart, as the kernel prints them for @name.  -EINVAL when malformed. */
int qc_table_parse(const char *params, const char *name, struct qc_table *table,
		   struct qc_error *err);
void qc_table_free(struct qc_table *table);
#define CLEANUP_TABLE __attribute__((cleanup(qc_table_free)))

#define QC_UNKNOWN_COUNT UINT64_MAX	/* "-" in the status line */

#define QC_MAX_JOBS 16

enum qc_job_state {
	QC_JOB_RUNNING,
	QC_JOB_PAUSED,		/* by a message */
	QC_JOB_STOPPED,		/* by an error; waits to be resumed */
	QC_JOB_READY,		/* an active commit: top and base are equal, and stay so */
	QC_JOB_ENDING,
	QC_JOB_ENDED,
};

struct qc_job_status {
	char id[64];
	char kind[16];
	enum qc_job_state state;
	u64 done, length;	/* bytes */
	u64 speed;		/* bytes a second, 0: no limit */
	int error;		/* positive errno it stopped or ended with, or 0 */
	bool reading;		/* what failed was a read */
};

struct qc_status {
	char mode[16];		/* rw, ro, out-of-space, failed, flush-failed */
	u64 cluster_sectors;
	u64 mapped, total;	/* guest clusters of the top layer */
	u64 used, host_total;	/* host clusters */
	u64 metadata_kib, metadata_limit_kib;
	u64 layers, bitmaps;
	u64 jobs;		/* how many of: */
	struct qc_job_status job[QC_MAX_JOBS];
};

/* Take a status line apart, as the kernel prints it for @name.  -EINVAL when malformed. */
int qc_status_parse(const char *params, const char *name, struct qc_status *status,
		    struct qc_error *err);

#endif /* QCHAIN_TABLE_H */
