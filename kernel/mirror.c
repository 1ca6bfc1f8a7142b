// SPDX-License-Identifier: GPL-2.0-only
/* Writes that go to two places.  See mirror.h. */
#include "compat.h"
#include "mirror.h"

void qc_mirror_start(struct qc_mirror *mirror, struct qc_image *top)
{
	smp_store_release(&top->mirror, mirror);	/* pairs with the loads of the pointer */
	synchronize_srcu(&top->writer->writers);
}

void qc_mirror_stop(struct qc_image *top)
{
	WRITE_ONCE(top->mirror, NULL);
	synchronize_srcu(&top->writer->writers);
	synchronize_srcu(&top->writer->in_flight);
}

void qc_mirror_advance(struct qc_mirror *mirror, struct qc_image *top, u64 cursor)
{
	WRITE_ONCE(mirror->cursor, cursor);
	synchronize_srcu(&top->writer->in_flight);
}

int qc_copy_layers(struct qc_backing *source, struct qc_chain *target, u64 pos, u64 *len,
		   struct bio_vec *buffer, bool *reading)
{
	struct srcu_struct *in_flight = &target->top->writer->in_flight;
	enum qc_extent_kind kind;
	struct bvec_iter iter = {};
	struct qc_extent extent;
	int error, token;

	token = qc_in_flight_enter(in_flight);
	error = qc_backing_lookup_upper(source, qc_backing_count(source), pos, *len, &extent);
	if (error)
		goto out;
	kind = extent.kind;
	*len = extent.len;
	if (kind == QC_EXTENT_DATA || kind == QC_EXTENT_COMPRESSED) {
		*len = min(*len, (u64)QC_MIRROR_PAGES << PAGE_SHIFT);
		iter.bi_size = *len;
		error = qc_extent_read(&extent, pos, buffer, iter);
	}
out:
	qc_in_flight_leave(in_flight, token);
	*reading = error;
	if (error || kind == QC_EXTENT_UNALLOCATED)
		return error;
	if (kind == QC_EXTENT_ZERO)
		return qc_chain_zero(target, pos, *len, false);
	return qc_chain_write(target, pos, *len, buffer, iter);
}

void qc_mirror_begin(struct qc_mirror_write *write, struct qc_image *top, u64 pos, u64 len)
{
	write->mirror = NULL;
	write->entered = qc_image_tracked(top) && len;
	if (!write->entered)
		return;
	/* To the end also without a mirror: one that begins meanwhile waits for this write. */
	write->token = qc_in_flight_enter(&top->writer->writers);
	write->pos = pos;
	write->len = len;
	write->mirror = smp_load_acquire(&top->mirror);	/* pairs with qc_mirror_start() */
	if (write->mirror)
		qc_range_lock(&write->mirror->ranges, &write->range, pos >> SECTOR_SHIFT,
			      (pos + len - 1) >> SECTOR_SHIFT);
}

/* Not repeated but copied. */
static int copy_again(struct qc_mirror *mirror, u64 pos, u64 len, bool *reading)
{
	u64 end = pos + len;
	int error = 0;

	mutex_lock(&mirror->buffer_lock);
	while (pos < end && !error) {
		len = end - pos;
		error = qc_copy_layers(*mirror->source, mirror->target, pos, &len, mirror->buffer,
				       reading);
		pos += len;
	}
	mutex_unlock(&mirror->buffer_lock);
	return error;
}

void qc_mirror_end(struct qc_mirror_write *write, struct qc_image *top, struct bio *bio, int error)
{
	struct qc_mirror *mirror = write->mirror;
	bool reading = false;

	if (!write->entered)
		return;
	if (mirror && write->pos < READ_ONCE(mirror->cursor)) {
		/* A write that failed may have changed some of it. */
		if (!error && bio_op(bio) == REQ_OP_WRITE)
			error = qc_chain_write(mirror->target, write->pos, write->len,
					       bio->bi_io_vec, bio->bi_iter);
		else
			error = copy_again(mirror, write->pos, write->len, &reading);
		if (error)
			mirror->failed(mirror, error, reading);
	}
	if (mirror)
		qc_range_unlock(&mirror->ranges, &write->range);
	qc_in_flight_leave(&top->writer->writers, write->token);
}
