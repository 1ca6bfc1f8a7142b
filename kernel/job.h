/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Jobs: copying in the background, over a chain that stays in use.  They belong to the device, not
 * to a table: the next table of the same device goes on with them.
 *
 *	RUNNING --pause--> PAUSED --resume--> RUNNING
 *	RUNNING --error, if it is to wait--> STOPPED --resume--> RUNNING
 *	any of these --everything copied, error, cancel--> ENDING --> ENDED --forget--> gone
 *
 * A job's lanes are work items that copy a chunk each and queue themselves again.  A lane
 * starts a chunk only in RUNNING, on a device that is not halted (by suspend).  Whoever puts a
 * job into ENDING with no lane in a chunk ends it, else the last lane to leave its chunk does: commits,
 * when all went well, lets go of the chain, says ENDED and raises an event.
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

#include <linux/device-mapper.h>

#include "chain.h"

struct qc_device;
struct qc_target;

/*
 * qc_device_get - the device with @md, made when this is its first table.
 * With the last reference to a device its jobs are cancelled and gone.  NULL without memory.
 * Process context, sleep.
 */
struct qc_device *qc_device_get(struct mapped_device *md);
void qc_device_put(struct qc_device *device);

/*
 * qc_device_halt, qc_device_start - before and after a suspend: jobs stand still from halt to start.
 * @target: whose table is live from now on.  A job over layers that are not those of @target
 * any more ends with -ESTALE, one over a read-only table with -EROFS.  Process context, sleep.
 */
void qc_device_halt(struct qc_device *device);
void qc_device_start(struct qc_device *device, struct qc_target *target);

/* @target is about to go: no more events through it.  Any context. */
void qc_device_forget_target(struct qc_device *device, const struct qc_target *target);

/*
 * qc_job_message - the messages that begin with job_, see the admin guide.
 * 0; -EINVAL (malformed), -EEXIST, -ENOENT, -EBUSY (has not ended), -EROFS, -EOPNOTSUPP, -E2BIG (too
 * many jobs), -ENOMEM.  Process context, sleeps.
 */
int qc_job_message(struct qc_target *target, unsigned int argc, char **argv);

/* Add the number of jobs and a group of words for each to a status line; returns the new @sz. */
size_t qc_job_status(struct qc_device *device, char *result, size_t maxlen, size_t sz);

#endif /* QCHAIN_JOB_H */
