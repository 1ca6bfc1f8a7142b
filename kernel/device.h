/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mapped device: what its tables, one after the other, share.  Found by its mapped_device;
 * made by the constructor of its first table.
 */
#ifndef QCHAIN_DEVICE_H
#define QCHAIN_DEVICE_H

#include <linux/device-mapper.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

struct qc_image;
struct qc_target;

struct qc_device {
	struct kref kref;		/* tables, and images that are written */
	struct list_head list;
	struct mapped_device *md;
	unsigned int tables;		/* the last one takes the jobs with it */

	/*
	 * Whoever looks up a host position in an image that this device writes, and then reads or
	 * writes there, does both inside one section of this domain; see image.h.
	 */
	struct srcu_struct in_flight;
	struct srcu_struct writers;	/* around slow writes, see mirror.h */

	/* job.c, see job.h; the list under mutex */
	struct mutex mutex;
	bool quiet;			/* suspended, and what can be written back is */
	unsigned long untold;		/* a bit for each qc_tell: of a layer that was the top */
	struct list_head jobs;		/* in the order of their start */
	unsigned int nr_jobs;
	struct workqueue_struct *wq;
	wait_queue_head_t ended;

	spinlock_t lock;		/* states and counts of jobs, and: */
	struct list_head kept;		/* images, see below */
	bool halted;
	struct qc_target *target;	/* of the live table, for events */
};

/*
 * qc_device_get_table - the device with @md, for one more table.
 * qc_device_put_table - a table goes; with the last one, the device's jobs, and what was kept.
 * NULL without memory.  Process context, sleep.
 */
struct qc_device *qc_device_get_table(struct mapped_device *md);
void qc_device_put_table(struct qc_device *device);

/*
 * Images of a suspended device whose metadata could not be written back.  What is in memory only
 * is not to be lost when tables come and go before it is on disk: with one that is refused goes
 * the one before, which can be loaded again; and over another top layer a flush of the device
 * needs it, too.
 *
 * qc_device_keep - one more, the top layer; so it is no other device's.
 * qc_device_kept_written - @image is on disk; if it is kept it need not be any longer.
 * qc_device_let_go - nor this one: it is the top layer again, or no layer.
 * qc_device_keeps - are there any?  Any context.
 * qc_device_commit_kept - write them back and let them go; returns 0 or the first error.  Where
 * qc_commit() may be called.
 * Process context; all but keep and keeps sleep.
 */
void qc_device_keep(struct qc_device *device, struct qc_image *image);
void qc_device_kept_written(struct qc_device *device, struct qc_image *image);
void qc_device_let_go(struct qc_device *device, struct qc_image *image);
bool qc_device_keeps(const struct qc_device *device);
int qc_device_commit_kept(struct qc_device *device);

/*
 * qc_device_owe - @image, the top layer or one that is kept, may not be that any more: what the
 * user is still to be told of its flushes, the device owes.  Process context.
 */
void qc_device_owe(struct qc_device *device, struct qc_image *image);

/* Raise an event of the live table.  Any context but interrupts. */
void qc_device_event(struct qc_device *device);

/* One more reference, for somebody who has one; drop one.  Put: process context, sleeps. */
void qc_device_get(struct qc_device *device);
void qc_device_put(struct qc_device *device);

#endif /* QCHAIN_DEVICE_H */
