// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much of an image is mapped and in use, for status.  An image does not say, so it is
 * counted: in the background, the first time that somebody asks, since it reads all of the
 * image's tables.
 */
#include "compat.h"
#include "image.h"

typedef int (*count_step_fn)(struct qc_image *image, u64 cluster, u64 *sum, u64 *next);

static void count_all(struct qc_image *image, struct qc_count *count, count_step_fn step)
{
	int error = 0;

	while (!error && count->cursor != U64_MAX && !READ_ONCE(image->closing) &&
	       !READ_ONCE(image->quiesced)) {
		u64 next;

		mutex_lock(&image->lock);
		error = step(image, count->cursor, &count->sum, &next);
		if (!error)
			WRITE_ONCE(count->cursor, next);
		mutex_unlock(&image->lock);
		cond_resched();
	}
}

static void count_work(struct work_struct *work)
{
	struct qc_image *image = container_of(work, struct qc_image, count_work);

	count_all(image, &image->mapped, qc_l2_count);
	count_all(image, &image->used, qc_refcount_count);
}

void qc_count_start(struct qc_image *image)
{
	if (READ_ONCE(image->released) || READ_ONCE(image->quiesced))
		return;
	if (READ_ONCE(image->used.cursor) != U64_MAX || READ_ONCE(image->mapped.cursor) != U64_MAX)
		queue_work(image->wq, &image->count_work);
}

void qc_count_init(struct qc_image *image)
{
	INIT_WORK(&image->count_work, count_work);
}
