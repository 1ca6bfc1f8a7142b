/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes that go to two places: to the top layer, and to a second chain below which a job
 * copies what was there before.  An active commit is ready when that job is through: from then on
 * the two stay equal, however much is written.
 *
 * Only writes to what lies before the cursor are doubled.  What lies behind is copied
 * later, as it is then.  The cursor moves on so:
 *
 *	1. the job moves it, over a part of the disk that it is going to copy
 *	2. a grace period of in_flight: no fast write is under way that saw the old cursor
 *	3. the job copies, holding the range of each piece in the mirror's ranges
 *
 * A slow write to a top layer with a mirror holds its range from before it looks at the cursor
 * until both writes are through.  So it is either seen by the copy or doubled, and the two
 * places get writes to the same bytes in the same order.  Slow writes run inside the device's
 * SRCU domain "writers": a mirror is in use after a grace period of it, and gone after another.
 *
 * What is discarded or zeroed is not repeated but copied: the second chain may be unlike the
 * first (version, backing).  An error in the second place does not fail the write: it ends the job.
 *
 * When nobody mirrors this costs a fast write the look at one pointer.
 */
#ifndef QCHAIN_MIRROR_H
#define QCHAIN_MIRROR_H

#include "chain.h"

#define QC_MIRROR_PAGES	64	/* copied at once */

struct qc_mirror {
	u64 cursor;			/* bytes; moved by the job alone */
	struct qc_ranges ranges;	/* in units of a sector */
	struct qc_chain *target;
	struct qc_backing **source;	/* the job's: the layers above the target */
	struct mutex buffer_lock;	/* of a copy that a discard asks for */
	struct bio_vec *buffer;		/* QC_MIRROR_PAGES pages */
	/* Must not wait for writes.  @reading: as of qc_copy_layers(). */
	void (*failed)(struct qc_mirror *mirror, int error, bool reading);
};

/* Is a fast write at @pos to be a slow one?  Any context, inside in_flight. */
static inline bool qc_mirror_wants(const struct qc_image *top, u64 pos)
{
	const struct qc_mirror *mirror = READ_ONCE(top->mirror);

	return unlikely(mirror) && pos < READ_ONCE(mirror->cursor);
}

/*
 * qc_mirror_start - double writes to @top from now on, at first none.
 * qc_mirror_stop - no longer.  When it returns nobody uses the mirror.
 * Process context, sleep.
 */
void qc_mirror_start(struct qc_mirror *mirror, struct qc_image *top);
void qc_mirror_stop(struct qc_image *top);

/* Steps 1 and 2 above.  Process context, sleeps. */
void qc_mirror_advance(struct qc_mirror *mirror, struct qc_image *top, u64 cursor);

/*
 * qc_copy_layers - write what the layers of @source have at @pos into the chain @target.
 * Nothing where none of them has anything.  @len: at most so much; returns how much was looked at.
 * @buffer: QC_MIRROR_PAGES pages.  @reading: returns, on failure, whether that was of a read from
 * the layers.  Process context, sleeps, outside in_flight.
 */
int qc_copy_layers(struct qc_backing *source, struct qc_chain *target, u64 pos, u64 *len,
		   struct bio_vec *buffer, bool *reading);

/*
 * Around a slow write, discard or zeroing of the top image: begin before it, end after it with its
 * result, 0 or a negative errno.  In between the range is held if there is a mirror.
 * @write: the caller's, filled in by begin.  @bio: says what it was, and has the data of a write.
 * What goes wrong in the second place is told to failed().  Process context, sleep, outside
 * in_flight.
 */
struct qc_mirror_write {
	struct qc_mirror *mirror;
	struct qc_range range;
	u64 pos, len;
	bool entered;			/* writers, with token */
	int token;
};

void qc_mirror_begin(struct qc_mirror_write *write, struct qc_image *top, u64 pos, u64 len);
void qc_mirror_end(struct qc_mirror_write *write, struct qc_image *top, struct bio *bio, int error);

#endif /* QCHAIN_MIRROR_H */
