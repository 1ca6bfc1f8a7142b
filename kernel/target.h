/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One table's target: what target.c (constructor, status, messages, suspend) and
 * io.c (bios) share.
 */
#ifndef QCHAIN_TARGET_H
#define QCHAIN_TARGET_H

#include <linux/device-mapper.h>

#include "chain.h"

struct qc_device;

struct qc_target {
	struct dm_target *ti;
	struct qc_device *device;	/* what outlives this table */
	struct qc_chain chain;
	unsigned int layers;
	struct dm_dev **devices;	/* block devices below; NULL where a layer is a file */
	struct qc_use *uses;		/* one for each layer */

	/*
	 * For bios that may sleep.  The target's own: they wait for the layers' stores, which
	 * may lie on another of the module's devices.
	 */
	struct workqueue_struct *wq;

	unsigned long *writable;	/* a bit for each layer that may be written */
	bool read_only;
	bool error_if_no_space;
	bool no_discard_passdown;

	/* Writes that wait for space, see io.c. */
	spinlock_t lock;
	struct bio_list waiting;
	unsigned int nr_waited;		/* those that are tried again included */
	bool out_of_space;
	bool suspending;		/* do not wait any longer */
	bool corrupt_told;		/* an event was raised */
	struct delayed_work retry;
	struct work_struct event;	/* tells user space that the mode changed */
};

/* Per bio. */
struct qc_io {
	struct work_struct work;
	struct qc_target *target;
	int token;
	bool in_flight;			/* inside the top image's in_flight */
	bool waited;			/* for space */
	bool flush;			/* a flush, or a write with FUA, that went down as it is */
	struct qc_store_req req;
};

/* Layer @i of the table, the top one being 0. */
static inline struct qc_image *qc_target_layer(const struct qc_target *target, unsigned int i)
{
	return i ? qc_backing_layer(target->chain.backing, i - 1) : target->chain.top;
}

/* ---- io.c ---- */

void qc_io_init(struct qc_target *target);

/* The target's map and end_io.  map never sleeps; end_io from any context. */
int qc_io_map(struct dm_target *ti, struct bio *bio);
int qc_io_end(struct dm_target *ti, struct bio *bio, blk_status_t *error);

/* Try the writes that wait for space again.  Any context. */
void qc_io_retry(struct qc_target *target);

/* Before and after a suspend: waiting writes go back to dm, or fail when it does not take them. */
void qc_io_stop_waiting(struct qc_target *target);
void qc_io_start(struct qc_target *target);

#endif /* QCHAIN_TARGET_H */
