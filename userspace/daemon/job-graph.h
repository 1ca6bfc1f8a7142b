/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a job needs of the graph and of the kernel's table, and what it makes of them at its end. */
#ifndef QCHAIN_JOB_GRAPH_H
#define QCHAIN_JOB_GRAPH_H

#include "job.h"

/*
 * The export whose chain the node is in, which must be the only one, as it is going to be written
 * to.
 */
struct export *job_graph_export(const struct node *node, struct qmp_error *error);

/* Its number among the layers of the export's device; the top is 0. */
size_t job_graph_layer(const struct export *export, const struct node *node);

/* The node right above, in the export's chain; NULL for the top. */
struct node *job_graph_above(const struct export *export, const struct node *node);

/*
 * Does the job copy from the node or to it?  A commit has the top of its device besides, which is
 * in the way of other jobs in QEMU, too.
 */
bool job_graph_uses(const struct job *job, const struct node *node);

/* By the name that it was opened with, or that means the same file; among those below @top. */
struct node *job_graph_find(struct node *top, const char *filename);

/*
 * Let the kernel write to job->written: its file is opened and locked for that, and the device
 * gets a table that says so.  Nothing to do when it is NULL.
 */
int job_graph_prepare(struct job *job, struct qmp_error *error);

/* What job_graph_prepare() did was done by an earlier daemon: first to nodes, then to locks. */
void job_graph_restore(struct job *job);

/* Of a job that nobody will end: to nodes alone, before their files are opened. */
void job_graph_forget(struct job *job);
void job_graph_relock(struct job *job);

/* The end of that: for reading only again.  What cannot be undone is logged. */
void job_graph_release(struct job *job);

/*
 * Give the chain its new shape: header, table, graph and state file.  On failure all is as it was.
 * The job's @done is set in what the state file says after it.
 */
int job_graph_pivot(struct job *job, struct qmp_error *error);

#endif /* QCHAIN_JOB_GRAPH_H */
