/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Jobs: copying in the background, over a chain that stays in use.  They belong to the device, not
 * to a table: the next table of the same device goes on with them.
 *
 *	RUNNING, STOPPED --pause--> PAUSED --resume--> RUNNING
 *	RUNNING --error, if it is to wait--> STOPPED --resume--> RUNNING
 *	RUNNING --everything copied, of an active commit--> READY, see mirror.h
 *	READY --told to complete, a table that begins with the base--> ENDING
 *	any of these --everything copied, error, cancel--> ENDING --> ENDED --forget--> gone
 *
 * A job's lanes are work items that copy a chunk each and queue themselves again.  A lane
 * starts a chunk only in RUNNING, on a device that is not halted (by suspend).  Whoever puts a
 * job into ENDING with no lane in a chunk ends it, else the last lane to leave its chunk does:
 * commits, when all went well, lets go of the chain, says ENDED and raises an event.
 *
 * Locks, outermost first:
 *
 *	device->mutex	the list of jobs; messages, suspend, resume.  Held while a chunk ends
 *	those of image.h, by a lane in a chunk
 *	device->lock	(spinlock) states, cursors, counts; leaf
 *
 * A lane never takes the mutex, never waits for space, and holds nothing between two pieces.
 */
#ifndef QCHAIN_JOB_H
#define QCHAIN_JOB_H

#include "chain.h"

struct qc_target;

/*
 * qc_jobs_halt, qc_jobs_start - before and after a suspend: jobs stand still from halt to start.
 * @target: whose table is live from now on.  Jobs go on over its images.  A job's layers, from its
 * top to its base, must be in it, one behind the other; others may have come above them, and gone
 * below; what a commit copies from is the table's top layer before and after, or never.  A job for
 * which that is not so ends with -ESTALE, one that may not write any more with -EROFS.
 * Process context, sleep; start allocates without I/O.
 */
void qc_jobs_halt(struct qc_device *device);
void qc_jobs_start(struct qc_device *device, struct qc_target *target);

/*
 * qc_jobs_check - between halt and start: may @target's table be resumed?
 * A negative errno when its top layer is the base of a commit that was told to complete and failed
 * since: writes are missing in it.  Process context, sleeps.
 */
int qc_jobs_check(struct qc_device *device, const struct qc_target *target);

/* @target is about to go: no more events through it.  Process context. */
void qc_jobs_forget_target(struct qc_device *device, const struct qc_target *target);

/* End all jobs and forget them.  Process context, sleeps. */
void qc_jobs_cancel(struct qc_device *device);

/*
 * qc_job_message - the messages that begin with job_, see the admin guide.
 * 0; -EINVAL (malformed), -EEXIST, -ENOENT, -EBUSY (not in this state), -EROFS, -EOPNOTSUPP,
 * -EFBIG (longer than the base), -E2BIG (too many jobs), -ENOMEM.  Process context, sleeps.
 */
int qc_job_message(struct qc_target *target, unsigned int argc, char **argv);

/*
 * qc_job_stream_cluster - give a layer the next cluster of what a stream job would.
 * @layers: the layer and the base, as the message job_start has them for a stream
 * @pos: bytes, from which cluster on; returns the end of the one that was copied, or of the last
 * one that was looked at.
 * Errors as qc_job_message(), those of the copying, -EBUSY when the device is suspended, -EINTR.
 * Process context, sleeps.
 */
int qc_job_stream_cluster(struct qc_target *target, char **layers, u64 *pos);

/* Add the number of jobs and a group of words for each to a status line; returns the new @sz. */
size_t qc_job_status(struct qc_device *device, char *result, size_t maxlen, size_t sz);

#endif /* QCHAIN_JOB_H */
