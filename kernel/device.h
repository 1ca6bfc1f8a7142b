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
	bool quiet;			/* suspended, with everything written back */
	struct qc_image *kept;		/* suspended without that: not closed before the resume */
	struct list_head jobs;		/* in the order of their start */
	unsigned int nr_jobs;
	struct workqueue_struct *wq;
	wait_queue_head_t ended;

	spinlock_t lock;		/* states and counts of jobs, and: */
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
 * qc_device_keep - the device is suspended, and metadata of @image, which its user writes to, could
 * not be written back: it stays in memory also when the next table is refused and takes the one
 * before with it, so that this can be loaded again.
 * qc_device_let_go - of what was kept, after a resume.
 * Process context, sleep.
 */
void qc_device_keep(struct qc_device *device, struct qc_image *image);
void qc_device_let_go(struct qc_device *device);

/* One more reference, for somebody who has one; drop one.  Put: process context, sleeps. */
void qc_device_get(struct qc_device *device);
void qc_device_put(struct qc_device *device);

#endif /* QCHAIN_DEVICE_H */
