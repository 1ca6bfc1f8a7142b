// SPDX-License-Identifier: GPL-2.0-only
/* Jobs: started, steered by messages, their lanes, ended.  See job.h. */
#include <linux/ctype.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "job.h"
#include "log.h"
#include "mirror.h"
#include "target.h"

#define LANES		2
#define CHUNK		SZ_1M		/* between two looks at state and speed */
#define CHUNKS_A_SECOND	10		/* of a job whose speed is limited */
#define MAX_JOBS	16		/* of one device */
#define MAX_ID		63
#define SEGMENT		SZ_4M		/* by which the cursor of a mirror moves on */
#define STEP_MIN	SZ_64K		/* a chunk is a multiple of this, or of a larger cluster */
#define CLUSTERS_MAX	65536		/* that one message looks at to copy one of them */

enum job_state {
	JOB_RUNNING,
	JOB_PAUSED,
	JOB_STOPPED,
	JOB_READY,
	JOB_ENDING,
	JOB_ENDED,
};

static const char *const state_names[] = {
	"running", "paused", "stopped", "ready", "ending", "ended",
};

/* What an error of a piece leads to. */
enum job_policy {
	JOB_REPORT,		/* the job ends with it */
	JOB_IGNORE,		/* the piece is left out; the job ends with it after all others */
	JOB_STOP,		/* the job waits to be resumed, and tries again */
	JOB_ENOSPC,		/* that for lack of space, REPORT for others */
};

static const char *const policy_names[] = { "report", "ignore", "stop", "enospc" };

/* What an error was of. */
enum job_operation {
	JOB_NOTHING,		/* no error, or one that is not of I/O */
	JOB_READ,
	JOB_WRITE,
};

static const char *const operation_names[] = { "-", "read", "write" };

struct qc_job;

struct lane {
	struct delayed_work work;
	struct qc_job *job;
	u64 pos, end;			/* what is left of its chunk */
	struct bio_vec *buffer;		/* QC_MIRROR_PAGES pages, where the kind needs them */
};

struct job_kind {
	const char *name;
	bool buffered;
	/*
	 * Copy at @lane->pos, at most *@len bytes, a part of a chunk; returns in @len how many, and
	 * in @reading, on failure, whether that was of a read.
	 */
	int (*copy)(struct lane *lane, u64 *len, bool *reading);
};

struct qc_job {
	struct list_head list;
	struct qc_device *device;
	char id[MAX_ID + 1];
	const struct job_kind *kind;
	unsigned int layers, top, base;	/* of the table; base == layers: there is none */
	enum job_policy policy;

	/* Over the images of the live table, with references of its own; see job_bind(). */
	struct qc_chain chain;		/* what is written: a layer, over those below it */
	struct qc_backing *source;	/* commit: the layers that are copied */
	struct qc_use *uses;		/* of all these */
	unsigned int nr_uses;
	struct qc_store_id written;	/* what is written, known also when the job has ended */
	errseq_t flush_told;		/* of its failed flushes, this job */

	/* An active commit: writes to the device are doubled. */
	bool mirrors;
	struct qc_mirror mirror;
	struct bio_vec *buffer;

	struct lane lanes[LANES];

	/* under device->lock */
	enum job_state state;
	u64 cursor, len;		/* next chunk; all of it */
	u64 step;			/* chunks are multiples of it */
	u64 limit;			/* no chunk goes beyond: what the mirror covers */
	bool moving;			/* a lane is moving the limit */
	bool completing;		/* READY, and the next table is to begin with the base */
	bool end_taken;			/* somebody ends it */
	u64 done;			/* bytes looked at, and copied where they had to be */
	u64 speed;			/* bytes a second, 0: no limit */
	u64 not_before;			/* ktime ns, what the speed allows */
	unsigned int busy;		/* lanes in a chunk */
	int error;			/* negative errno */
	enum job_operation operation;	/* that error was of */
};

/* ---- kinds ---- */

/* Top gets what the layers between it and base have. */
static int stream_copy(struct lane *lane, u64 *len, bool *reading)
{
	struct qc_job *job = lane->job;
	int ret = qc_chain_pull(&job->chain, job->base - job->top - 1, lane->pos, len, reading);

	return min(ret, 0);
}

/* Base gets what the layers from top to above it have. */
static int commit_copy(struct lane *lane, u64 *len, bool *reading)
{
	struct qc_job *job = lane->job;
	struct qc_range range;
	int error;

	if (!job->mirrors)
		return qc_copy_layers(job->source, &job->chain, lane->pos, len, lane->buffer,
				      reading);
	*len = min(*len, (u64)QC_MIRROR_PAGES << PAGE_SHIFT);
	qc_range_lock(&job->mirror.ranges, &range, lane->pos >> SECTOR_SHIFT,
		      (lane->pos + *len - 1) >> SECTOR_SHIFT);
	error = qc_copy_layers(job->source, &job->chain, lane->pos, len, lane->buffer, reading);
	qc_range_unlock(&job->mirror.ranges, &range);
	return error;
}

static const struct job_kind kinds[] = {
	{ .name = "stream", .copy = stream_copy },
	{ .name = "commit", .copy = commit_copy, .buffered = true },
};

/* ---- binding to a table ---- */

/* The layer that is written, by its number in the table. */
static unsigned int written_layer(const struct qc_job *job)
{
	return job->kind->buffered ? job->base : job->top;
}

/* Layers @from to @to - 1 of a table, NULL when that is none. */
static struct qc_backing *layers_get(const struct qc_target *target, unsigned int from,
				     unsigned int to)
{
	struct qc_backing *backing;
	struct qc_image **images;
	unsigned int i;

	if (from == to)
		return NULL;
	if (from == 1 && to == target->layers)
		return qc_backing_ref(target->chain.backing);
	images = kvcalloc(to - from, sizeof(*images), GFP_KERNEL);
	if (!images)
		return ERR_PTR(-ENOMEM);
	for (i = from; i < to; i++)
		images[i - from] = qc_image_get(qc_target_layer(target, i));
	backing = qc_backing_get(images, to - from);
	kvfree(images);
	return backing;
}

static void job_unbind(struct qc_job *job)
{
	unsigned int i;

	for (i = 0; i < job->nr_uses; i++)
		qc_image_unuse(&job->uses[i]);
	kvfree(job->uses);
	job->uses = NULL;
	job->nr_uses = 0;
	if (job->source)
		qc_backing_put(job->source);
	if (job->chain.backing)
		qc_backing_put(job->chain.backing);
	if (job->chain.top)
		qc_image_put(job->chain.top);
	job->source = NULL;
	job->chain.backing = NULL;
	job->chain.top = NULL;
}

/*
 * Take the images of a table, in which @top is the job's top layer; the old ones, if any, are let
 * go.  On failure all is as it was.
 */
static int job_bind(struct qc_job *job, const struct qc_target *target, unsigned int top)
{
	unsigned int base = top + job->base - job->top;
	unsigned int written = top + written_layer(job) - job->top;
	unsigned int i, nr_uses = target->layers - top;
	struct qc_backing *backing, *source = NULL;
	struct qc_image *image;
	struct qc_use *uses;

	backing = layers_get(target, written + 1, target->layers);
	if (!IS_ERR(backing) && job->kind->buffered)
		source = layers_get(target, top, base);
	uses = kvcalloc(nr_uses, sizeof(*uses), GFP_KERNEL);
	if (IS_ERR(backing) || IS_ERR(source) || !uses) {
		if (!IS_ERR_OR_NULL(backing))
			qc_backing_put(backing);
		if (!IS_ERR_OR_NULL(source))
			qc_backing_put(source);
		kvfree(uses);
		return -ENOMEM;
	}
	for (i = 0; i < nr_uses; i++)
		qc_image_use(qc_target_layer(target, top + i), job->device, &uses[i]);
	image = qc_image_get(qc_target_layer(target, written));
	job_unbind(job);
	job->layers = target->layers;
	job->top = top;
	job->base = base;
	job->chain.top = image;
	job->chain.backing = backing;
	job->chain.backing_size = backing ? qc_backing_size(backing) : 0;
	job->source = source;
	job->flush_told = source ? qc_store_flush_sample(image->store) : 0;
	job->uses = uses;
	job->nr_uses = nr_uses;
	return 0;
}

/* Layer @i of the table that the job is bound to, from its top on. */
static struct qc_image *job_layer(const struct qc_job *job, unsigned int i)
{
	unsigned int written = written_layer(job);

	if (i < written)
		return qc_backing_layer(job->source, i - job->top);
	if (i == written)
		return job->chain.top;
	return qc_backing_layer(job->chain.backing, i - written - 1);
}

/* Can this be done to the images?  They are bound. */
static int job_check(const struct qc_job *job, const struct qc_target *target)
{
	const struct qc_image *written = job->chain.top;

	if (!test_bit(written_layer(job), target->writable))
		return -EROFS;
	if (qc_image_aborted(written))
		return -EIO;
	if (!job->source) {
		if (written->format != QC_QCOW2)
			return -EOPNOTSUPP;
		/* An earlier one's clusters are there, though a failed flush may have lost them. */
		return qc_store_flush_failed(written->store, 0) ? -EIO : 0;
	}
	return written->size < job->len ? -EFBIG : 0;
}

/*
 * All of the layer that is copied or filled.  When a layer goes that another lies on, what that
 * sees as zeroes behind its end has to be zeroes in the base.
 */
static u64 job_length(const struct qc_job *job, const struct qc_target *target)
{
	u64 len = job_layer(job, job->top)->size;

	if (!job->source || !job->top)
		return len;
	return max(len, min(qc_target_layer(target, job->top - 1)->size, job->chain.top->size));
}

/* What a lane takes at least. */
static u64 job_step(const struct qc_job *job)
{
	return max_t(u64, qc_cluster_size(job->chain.top), STEP_MIN);
}

/* Nothing counts as copied any more.  No lane is in a chunk. */
static void job_start_over(struct qc_job *job)
{
	unsigned int i;

	spin_lock(&job->device->lock);
	for (i = 0; i < LANES; i++) {
		job->lanes[i].pos = 0;
		job->lanes[i].end = 0;
	}
	job->cursor = 0;
	job->done = 0;
	spin_unlock(&job->device->lock);
}

/* Where a job is in another table. */
struct place {
	unsigned int top;
	bool moved;		/* it has to be bound again: to other layers, or images of them */
	bool again;		/* down to the base there are other images of them */
	bool edited;		/* which somebody can have changed meanwhile */
};

/*
 * Find the layers of a job, from @old on, in a table, from @new on: down to its base they are all
 * there, one behind the other.  Below, some may be gone: what they had another job has copied.
 */
static int match_layers(const struct qc_job *job, unsigned int old, const struct qc_target *target,
			unsigned int new, struct place *place)
{
	struct qc_image *image;

	*place = (struct place) {
		.top = new,
		.moved = new != old || target->layers != job->layers,
	};
	for (; old < job->layers; old++) {
		image = job_layer(job, old);
		if (new == target->layers || !qc_image_same(image, qc_target_layer(target, new))) {
			if (old <= job->base)
				return -ESTALE;
			continue;
		}
		place->moved |= image != qc_target_layer(target, new);
		if (old <= job->base) {
			place->again |= image != qc_target_layer(target, new);
			place->edited |= READ_ONCE(image->released) || qc_image_aborted(image);
		}
		new++;
	}
	return new == target->layers ? 0 : -ESTALE;
}

static int job_place(const struct qc_job *job, const struct qc_target *target, struct place *place)
{
	unsigned int top = 0;

	while (top < target->layers &&
	       !qc_image_same(job_layer(job, job->top), qc_target_layer(target, top)))
		top++;
	return match_layers(job, job->top, target, top, place);
}

/* Is it the table that a job in READY was told to expect: what was its base is the top layer? */
static bool job_completed(const struct qc_job *job, const struct qc_target *target)
{
	struct place place;

	return job->completing && !match_layers(job, job->base, target, 0, &place);
}

/* Go on over another table, if that is possible.  No lane is in a chunk. */
static int job_rebind(struct qc_job *job, const struct qc_target *target)
{
	struct place place;
	int error = job_place(job, target, &place);

	if (error)
		return error;
	/* A mirror is of the top layer, and in use through the images that there were... */
	if (job->mirrors && (place.top || place.again))
		return -ESTALE;
	/* ...and without one nothing is copied from a layer that is written to meanwhile. */
	if (job->source && !job->mirrors && !place.top)
		return -ESTALE;
	if (!test_bit(place.top + written_layer(job) - job->top, target->writable))
		return -EROFS;
	if (qc_store_flush_failed(job->chain.top->store, job->flush_told))
		return -EIO;
	if (place.moved) {
		error = job_bind(job, target, place.top);
		if (error)
			return error;
	}
	/* Nothing was worked out for another length, nor for what a released one may be by now. */
	if (job_length(job, target) != job->len)
		return -ESTALE;
	if (place.moved && (job_step(job) != job->step || job_check(job, target)))
		return -ESTALE;
	/* Going back to an internal snapshot takes away what a stream has copied since. */
	if (place.again && place.edited)
		job_start_over(job);
	return 0;
}

/* ---- lanes ---- */

/* What was copied at @pos and behind is not to be copied again; beyond the end there is nothing. */
static int copy_some(struct qc_job *job, struct lane *lane, bool *reading)
{
	u64 len = lane->end - lane->pos;
	int error = qc_commit_throttle(job->chain.top);

	*reading = false;
	if (!error)
		error = job->kind->copy(lane, &len, reading);
	if (error)
		return error;
	spin_lock(&job->device->lock);
	lane->pos += len;
	job->done += len;
	spin_unlock(&job->device->lock);
	return 0;
}

/* Under the lock. */
static void job_set_error(struct qc_job *job, int error, enum job_operation operation)
{
	job->error = error;
	job->operation = operation;
}

/* Under the lock, while it ends.  Who cancels what was READY takes its base for equal. */
static void job_fails_late(struct qc_job *job, int error, enum job_operation operation)
{
	if (error && job->done == job->len && (!job->error || job->error == -ECANCELED))
		job_set_error(job, error, operation);
}

/* Let go of the chain and say so.  No lane is in a chunk, and none starts one any more. */
static void job_end(struct qc_job *job)
{
	struct qc_device *device = job->device;
	struct qc_image *written = job->chain.top;
	enum qc_tell kind;
	int error = 0;

	if (job->mirrors && job->source)
		qc_mirror_stop(job_layer(job, job->top));
	if (written && job->done == job->len)
		error = qc_commit(written);
	if (written)
		error = qc_store_flush_tell(written->store, &job->flush_told) ?: error;
	/* When it becomes the top layer: what failed before is not for the device's user. */
	for (kind = 0; kind < QC_TELLS && job->mirrors && written && !error; kind++)
		written->told[kind] = job->flush_told;
	job_unbind(job);

	spin_lock(&device->lock);
	job_fails_late(job, error, JOB_WRITE);
	job->state = JOB_ENDED;
	spin_unlock(&device->lock);
	wake_up_all(&device->ended);
	qc_device_event(device);
}

/* Under the lock. */
static void job_ending(struct qc_job *job, int error, enum job_operation operation)
{
	if (job->state >= JOB_ENDING)
		return;
	if (error)
		job_set_error(job, error, operation);
	job->state = JOB_ENDING;
}

/* Under the lock.  True, once: it is for the caller to end the job. */
static bool take_end(struct qc_job *job)
{
	if (job->state != JOB_ENDING || job->busy || job->end_taken)
		return false;
	job->end_taken = true;
	return true;
}

/* The second of two writes has failed: what the base has is of no use any more. */
static void mirror_failed(struct qc_mirror *mirror, int error, bool reading)
{
	struct qc_job *job = container_of(mirror, struct qc_job, mirror);

	spin_lock(&job->device->lock);
	if (job->state == JOB_ENDING)
		job_fails_late(job, error, reading ? JOB_READ : JOB_WRITE);
	else
		job_ending(job, error, reading ? JOB_READ : JOB_WRITE);
	spin_unlock(&job->device->lock);
	/* At once: with a speed it may be waiting for its time. */
	mod_delayed_work(job->device->wq, &job->lanes[0].work, 0);
}

/* Everything is copied: the end, or for a mirror the moment from which on both are equal. */
static void job_through(struct qc_job *job)
{
	if (job->mirrors && job->state == JOB_RUNNING && !job->error)
		job->state = JOB_READY;
	else
		job_ending(job, 0, JOB_NOTHING);
}

/*
 * Let the mirror cover more of the disk, if all that it covers is copied or being copied.
 * True: it is for the caller to end the job.
 */
static bool move_mirror(struct qc_job *job)
{
	u64 limit = 0;
	bool end;

	spin_lock(&job->device->lock);
	if (job->mirrors && job->state == JOB_RUNNING && !job->device->halted &&
	    !job->moving && job->cursor == job->limit && job->limit < job->len) {
		limit = min(job->limit + SEGMENT, job->len);
		job->moving = true;
		job->busy++;
	}
	spin_unlock(&job->device->lock);
	if (!limit)
		return false;
	qc_mirror_advance(&job->mirror, job_layer(job, job->top), limit);
	spin_lock(&job->device->lock);
	job->limit = limit;
	job->moving = false;
	job->busy--;
	end = take_end(job);
	spin_unlock(&job->device->lock);
	return end;
}

/* Enter a chunk: the old one if something is left of it.  False: not now, or no more. */
static bool lane_enter(struct lane *lane, unsigned long *delay, bool *end)
{
	struct qc_job *job = lane->job;
	u64 now = ktime_get_ns(), chunk = CHUNK;
	bool enter = false, ready = false;

	*delay = 0;
	spin_lock(&job->device->lock);
	if (job->state != JOB_RUNNING || job->device->halted)
		goto out;
	if (job->speed && now < job->not_before) {
		*delay = max(nsecs_to_jiffies(job->not_before - now), 1UL);
		goto out;
	}
	if (lane->pos == lane->end) {
		if (job->speed)
			chunk = min(chunk, div_u64(job->speed, CHUNKS_A_SECOND));
		chunk = max(round_up(chunk, job->step), job->step);
		lane->pos = job->cursor;
		lane->end = min(job->cursor + chunk, job->limit);
		job->cursor = lane->end;
	}
	enter = lane->pos < lane->end;
	if (enter) {
		job->busy++;
	} else if (job->done == job->len) {
		job_through(job);
		ready = job->state == JOB_READY;
	} else if (job->cursor < job->len) {
		*delay = 1;	/* the other lane is moving the limit */
	}
out:
	*end = take_end(job);
	spin_unlock(&job->device->lock);
	if (ready)
		qc_device_event(job->device);
	return enter;
}

/* Is it to wait after this error, to try again when it is resumed? */
static bool waits(const struct qc_job *job, int error)
{
	if (qc_image_aborted(job->chain.top))
		return false;
	return job->policy == JOB_STOP || (job->policy == JOB_ENOSPC && error == -ENOSPC);
}

/* Leave the chunk, after @moved bytes.  True: it is for the caller to end the job. */
static bool lane_leave(struct lane *lane, u64 moved, int error, bool reading)
{
	enum job_operation operation = reading ? JOB_READ : JOB_WRITE;
	struct qc_job *job = lane->job;
	bool stopped = error && waits(job, error);
	bool end;

	spin_lock(&job->device->lock);
	job->busy--;
	if (job->speed)
		job->not_before = max(job->not_before, ktime_get_ns()) +
				  div64_u64(moved * NSEC_PER_SEC, job->speed);
	if (stopped && job->state == JOB_RUNNING) {
		job->state = JOB_STOPPED;
		job_set_error(job, error, operation);
	} else if (error && !stopped) {
		if (job->policy == JOB_IGNORE && !qc_image_aborted(job->chain.top)) {
			/* The whole rest of the chunk: which part of it was bad is not known. */
			job->done += lane->end - lane->pos;
			lane->pos = lane->end;
			if (!job->error)
				job_set_error(job, error, operation);
		} else {
			job_ending(job, error, operation);
		}
	}
	end = take_end(job);
	spin_unlock(&job->device->lock);
	if (stopped)
		qc_device_event(job->device);
	return end;
}

static void lane_work(struct work_struct *work)
{
	struct lane *lane = container_of(to_delayed_work(work), struct lane, work);
	struct qc_job *job = lane->job;
	bool end, reading = false;
	unsigned long delay;
	u64 start;
	int error = 0;

	if (move_mirror(job)) {
		job_end(job);
		return;
	}
	if (!lane_enter(lane, &delay, &end)) {
		if (end)
			job_end(job);
		else if (delay)
			queue_delayed_work(job->device->wq, &lane->work, delay);
		return;
	}
	start = lane->pos;
	while (!error && lane->pos < lane->end && READ_ONCE(job->state) == JOB_RUNNING)
		error = copy_some(job, lane, &reading);
	if (lane_leave(lane, lane->pos - start, error, reading))
		job_end(job);
	else
		queue_delayed_work(job->device->wq, &lane->work, 0);
}

static void job_kick(struct qc_job *job)
{
	unsigned int i;

	for (i = 0; i < LANES; i++)
		mod_delayed_work(job->device->wq, &job->lanes[i].work, 0);
}

/* After this no lane is in a chunk; they look at the state before they start another. */
static void job_drain(struct qc_job *job)
{
	unsigned int i;

	for (i = 0; i < LANES; i++)
		cancel_delayed_work_sync(&job->lanes[i].work);
}

static enum job_state job_state(struct qc_job *job)
{
	enum job_state state;

	spin_lock(&job->device->lock);
	state = job->state;
	spin_unlock(&job->device->lock);
	return state;
}

/* End it with @error, if it has not ended by itself; returns when it has. */
static void job_stop(struct qc_job *job, int error)
{
	bool end;

	spin_lock(&job->device->lock);
	job_ending(job, error, JOB_NOTHING);
	end = take_end(job);
	spin_unlock(&job->device->lock);
	if (end)
		job_end(job);
	wait_event(job->device->ended, job_state(job) == JOB_ENDED);
}

static void free_buffer(struct bio_vec *buffer)
{
	unsigned int page;

	for (page = 0; buffer && page < QC_MIRROR_PAGES && buffer[page].bv_page; page++)
		__free_page(buffer[page].bv_page);
	kfree(buffer);
}

static void job_free(struct qc_job *job)
{
	unsigned int i;

	job_drain(job);
	for (i = 0; i < LANES; i++)
		free_buffer(job->lanes[i].buffer);
	free_buffer(job->buffer);
	qc_chain_exit(&job->chain);
	kfree(job);
}

static void job_remove(struct qc_job *job)
{
	list_del(&job->list);
	job->device->nr_jobs--;
	job_free(job);
}

/* ---- the device ---- */

void qc_jobs_cancel(struct qc_device *device)
{
	struct qc_job *job, *next;

	mutex_lock(&device->mutex);
	list_for_each_entry_safe(job, next, &device->jobs, list) {
		job_stop(job, -ECANCELED);
		job_remove(job);
	}
	mutex_unlock(&device->mutex);
}

/* No lane is in a chunk after this; what was left for one to end has ended. */
static void job_settle(struct qc_job *job)
{
	job_drain(job);
	if (job_state(job) == JOB_ENDING)
		job_stop(job, 0);
}

void qc_jobs_halt(struct qc_device *device)
{
	struct qc_job *job;

	mutex_lock(&device->mutex);
	spin_lock(&device->lock);
	device->halted = true;
	spin_unlock(&device->lock);
	list_for_each_entry(job, &device->jobs, list)
		job_settle(job);
	mutex_unlock(&device->mutex);
}

/* Of a suspended device. */
static bool on_disk(const struct qc_job *job)
{
	return job->device->quiet && READ_ONCE(job->chain.top->written_back) &&
	       !qc_store_flush_failed(job->chain.top->store, job->flush_told);
}

int qc_jobs_check(struct qc_device *device, const struct qc_target *target)
{
	const struct qc_store_id *top = &target->chain.top->id;
	struct qc_job *job;
	int error = 0;

	mutex_lock(&device->mutex);
	list_for_each_entry(job, &device->jobs, list) {
		spin_lock(&device->lock);
		/* What is not on the base's disk by now would be lost with a crash. */
		if (job->completing && !(job->state == JOB_ENDED && !job->error) &&
		    qc_store_id_equal(&job->written, top))
			error = job->error ?: (on_disk(job) ? 0 : -EIO);
		spin_unlock(&device->lock);
	}
	mutex_unlock(&device->mutex);
	return error;
}

void qc_jobs_start(struct qc_device *device, struct qc_target *target)
{
	unsigned int noio = memalloc_noio_save();
	struct qc_job *job;
	bool completed;
	int error;

	mutex_lock(&device->mutex);
	spin_lock(&device->lock);
	device->target = target;
	spin_unlock(&device->lock);
	list_for_each_entry(job, &device->jobs, list) {
		job_settle(job);
		if (job_state(job) == JOB_ENDED)
			continue;
		completed = job_completed(job, target);
		error = completed ? 0 : job_rebind(job, target);
		if (completed || error)
			job_stop(job, error);
	}
	spin_lock(&device->lock);
	device->halted = false;
	spin_unlock(&device->lock);
	list_for_each_entry(job, &device->jobs, list)
		if (job_state(job) < JOB_ENDING)
			job_kick(job);
	mutex_unlock(&device->mutex);
	memalloc_noio_restore(noio);
}

void qc_jobs_forget_target(struct qc_device *device, const struct qc_target *target)
{
	spin_lock(&device->lock);
	if (device->target == target)
		device->target = NULL;
	spin_unlock(&device->lock);
}

/* ---- messages ---- */

static struct qc_job *job_find(struct qc_device *device, const char *id)
{
	struct qc_job *job;

	list_for_each_entry(job, &device->jobs, list)
		if (!strcmp(job->id, id))
			return job;
	return NULL;
}

static bool id_ok(const char *id)
{
	const char *c;

	for (c = id; *c; c++)
		if (!isalnum(*c) && !strchr("-._#:@+=", *c))
			return false;
	return c != id && c - id <= MAX_ID;
}

static int parse_option(struct qc_job *job, const char *option)
{
	int policy;

	if (!strncmp(option, "speed=", 6))
		return kstrtou64(option + 6, 10, &job->speed);
	if (strncmp(option, "on_error=", 9))
		return -EINVAL;
	policy = match_string(policy_names, ARRAY_SIZE(policy_names), option + 9);
	if (policy < 0)
		return policy;
	job->policy = policy;
	return 0;
}

/* @layers: <top> <base>, the top layer of the table being 0; base "-": all layers are copied. */
static int parse_what(struct qc_job *job, const struct qc_target *target, const char *kind,
		      char **layers)
{
	unsigned int i;
	int error;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kind, kinds[i].name))
			job->kind = &kinds[i];
	if (!job->kind)
		return -EINVAL;
	job->layers = target->layers;
	job->base = target->layers;
	error = kstrtouint(layers[0], 10, &job->top);
	if (!error && strcmp(layers[1], "-"))
		error = kstrtouint(layers[1], 10, &job->base);
	if (error)
		return error;
	if (job->top >= job->base || job->base > job->layers)
		return -EINVAL;
	return job->kind->buffered && job->base == job->layers ? -EINVAL : 0;
}

static struct bio_vec *alloc_buffer(void)
{
	struct bio_vec *buffer = kcalloc(QC_MIRROR_PAGES, sizeof(*buffer), GFP_KERNEL);
	unsigned int page;

	for (page = 0; buffer && page < QC_MIRROR_PAGES; page++) {
		bvec_set_page(&buffer[page], alloc_page(GFP_KERNEL), PAGE_SIZE, 0);
		if (!buffer[page].bv_page) {
			free_buffer(buffer);
			return NULL;
		}
	}
	return buffer;
}

/* One for each lane, and one for the mirror. */
static int alloc_buffers(struct qc_job *job)
{
	unsigned int i;

	if (!job->kind->buffered)
		return 0;
	job->buffer = alloc_buffer();
	for (i = 0; i < LANES; i++) {
		job->lanes[i].buffer = alloc_buffer();
		if (!job->lanes[i].buffer)
			return -ENOMEM;
	}
	return job->buffer ? 0 : -ENOMEM;
}

/* The commit of a top layer: from now on writes to it are not missed. */
static int job_start_mirror(struct qc_job *job)
{
	struct qc_image *top = job_layer(job, 0);

	if (!qc_image_tracked(top))
		return -EOPNOTSUPP;
	if (top->mirror)
		return -EBUSY;
	job->mirrors = true;
	job->limit = 0;
	qc_ranges_init(&job->mirror.ranges);
	mutex_init(&job->mirror.buffer_lock);
	job->mirror.target = &job->chain;
	job->mirror.source = &job->source;
	job->mirror.buffer = job->buffer;
	job->mirror.failed = mirror_failed;
	qc_mirror_start(&job->mirror, top);
	return 0;
}

/* Everything that the words demand; on failure job_free() has to follow a job_unbind(). */
static int job_prepare(struct qc_job *job, const struct qc_target *target, unsigned int nr_options,
		       char **options)
{
	unsigned int i;
	int error;

	error = alloc_buffers(job);
	if (!error)
		error = qc_chain_init(&job->chain);
	for (i = 0; i < nr_options && !error; i++)
		error = parse_option(job, options[i]);
	if (!error)
		error = job_bind(job, target, job->top);
	if (error)
		return error;
	job->written = job->chain.top->id;
	job->len = job_length(job, target);
	job->step = job_step(job);
	job->limit = job->len;
	error = job_check(job, target);
	if (!error && job->source && !job->top)
		error = job_start_mirror(job);
	return error;
}

/* Would one of them, a commit, write over what the other reads or writes?  Streams do no harm. */
static bool jobs_clash(const struct qc_job *a, const struct qc_job *b)
{
	unsigned int a_last = a->base - !a->kind->buffered;
	unsigned int b_last = b->base - !b->kind->buffered;

	return (a->kind->buffered || b->kind->buffered) && a->top <= b_last && b->top <= a_last;
}

static int job_clashes(const struct qc_job *job)
{
	const struct qc_job *other;

	list_for_each_entry(other, &job->device->jobs, list)
		if (other->state != JOB_ENDED && jobs_clash(job, other))
			return -EBUSY;
	return 0;
}

/* A job that nobody else knows, and that does nothing by itself; @layers: see parse_what(). */
static struct qc_job *job_new(struct qc_target *target, const char *kind, char **layers,
			      unsigned int nr_options, char **options)
{
	struct qc_job *job;
	unsigned int i;
	int error;

	if (target->read_only)
		return ERR_PTR(-EROFS);
	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (!job)
		return ERR_PTR(-ENOMEM);
	job->device = target->device;
	for (i = 0; i < LANES; i++) {
		job->lanes[i].job = job;
		INIT_DELAYED_WORK(&job->lanes[i].work, lane_work);
	}
	error = parse_what(job, target, kind, layers);
	if (!error)
		error = job_clashes(job);
	if (error) {
		kfree(job);
		return ERR_PTR(error);
	}
	error = job_prepare(job, target, nr_options, options);
	if (error) {
		job_unbind(job);
		job_free(job);
		return ERR_PTR(error);
	}
	return job;
}

/* job_start <id> <kind> <top> <base> [<option>...]; under the mutex. */
static int job_start(struct qc_target *target, unsigned int argc, char **argv)
{
	struct qc_device *device = target->device;
	struct qc_job *job;

	if (argc < 5 || !id_ok(argv[1]))
		return -EINVAL;
	if (job_find(device, argv[1]))
		return -EEXIST;
	if (device->nr_jobs >= MAX_JOBS)
		return -E2BIG;
	job = job_new(target, argv[2], argv + 3, argc - 5, argv + 5);
	if (IS_ERR(job))
		return PTR_ERR(job);
	strscpy(job->id, argv[1], sizeof(job->id));
	list_add_tail(&job->list, &device->jobs);
	device->nr_jobs++;
	job_kick(job);
	return 0;
}

static int job_set_speed(struct qc_job *job, const char *word)
{
	u64 speed;
	int error = kstrtou64(word, 10, &speed);

	if (error)
		return error;
	spin_lock(&job->device->lock);
	job->speed = speed;
	job->not_before = 0;
	spin_unlock(&job->device->lock);
	return 0;
}

/* From one of two states to another: -EBUSY in others. */
static int job_move(struct qc_job *job, enum job_state from, enum job_state or, enum job_state to)
{
	int error = 0;

	spin_lock(&job->device->lock);
	if (job->state == from || job->state == or) {
		if (job->state == JOB_STOPPED)
			job_set_error(job, 0, JOB_NOTHING);
		job->state = to;
	} else {
		error = -EBUSY;
	}
	spin_unlock(&job->device->lock);
	return error;
}

static int job_steer(struct qc_job *job, unsigned int argc, char **argv)
{
	enum job_state state = job_state(job);
	int error = -EINVAL;

	if (!strcmp(argv[0], "job_forget") && argc == 2) {
		if (state != JOB_ENDED)
			return -EBUSY;
		job_remove(job);
		return 0;
	}
	if (state >= JOB_ENDING)
		return -EBUSY;
	if (!strcmp(argv[0], "job_speed") && argc == 3) {
		error = job_set_speed(job, argv[2]);
	} else if (!strcmp(argv[0], "job_pause") && argc == 2) {
		error = job_move(job, JOB_RUNNING, JOB_STOPPED, JOB_PAUSED);
		if (!error)
			job_settle(job);
		return error;
	} else if (!strcmp(argv[0], "job_resume") && argc == 2) {
		error = job_move(job, JOB_PAUSED, JOB_STOPPED, JOB_RUNNING);
	} else if (!strcmp(argv[0], "job_complete") && argc == 2) {
		if (state != JOB_READY)
			return -EBUSY;
		job->completing = true;
		return 0;
	} else if (!strcmp(argv[0], "job_cancel") && argc == 2) {
		job_stop(job, -ECANCELED);
		return 0;
	}
	if (!error)
		job_kick(job);
	return error;
}

int qc_job_message(struct qc_target *target, unsigned int argc, char **argv)
{
	struct qc_device *device = target->device;
	unsigned int noio = memalloc_noio_save();
	struct qc_job *job;
	int error = -EINVAL;

	mutex_lock(&device->mutex);
	if (!strcmp(argv[0], "job_start")) {
		error = job_start(target, argc, argv);
	} else if (argc >= 2) {
		job = job_find(device, argv[1]);
		error = job ? job_steer(job, argc, argv) : -ENOENT;
	}
	mutex_unlock(&device->mutex);
	memalloc_noio_restore(noio);
	return error;
}

/* The next cluster that there is to copy, as long as the search takes no longer than it may. */
static int copy_cluster(struct qc_job *job, u64 *pos)
{
	unsigned int upper = job->base - job->top - 1, looks;
	bool reading;
	int ret = 0;

	for (looks = 0; looks < CLUSTERS_MAX && !ret && *pos < job->len; looks++) {
		u64 len = min(qc_cluster_size(job->chain.top), job->len - *pos);

		if (fatal_signal_pending(current))
			return -EINTR;
		ret = qc_commit_throttle(job->chain.top) ?:
		      qc_chain_pull(&job->chain, upper, *pos, &len, &reading);
		if (ret >= 0)
			*pos += len;
		cond_resched();
	}
	return min(ret, 0);
}

int qc_job_stream_cluster(struct qc_target *target, char **layers, u64 *pos)
{
	struct qc_device *device = target->device;
	unsigned int noio = memalloc_noio_save();
	struct qc_job *job;
	int error;

	mutex_lock(&device->mutex);
	job = device->halted ? ERR_PTR(-EBUSY) : job_new(target, "stream", layers, 0, NULL);
	error = PTR_ERR_OR_ZERO(job);
	if (!error) {
		*pos = round_down(*pos, qc_cluster_size(job->chain.top));
		error = *pos < job->len ? copy_cluster(job, pos) : 0;
		*pos = min(*pos, job->len);
		job_unbind(job);
		job_free(job);
	}
	mutex_unlock(&device->mutex);
	memalloc_noio_restore(noio);
	return error;
}

size_t qc_job_status(struct qc_device *device, char *result, size_t maxlen, size_t sz)
{
	struct qc_job *job;

	mutex_lock(&device->mutex);
	DMEMIT(" %u", device->nr_jobs);
	list_for_each_entry(job, &device->jobs, list) {
		spin_lock(&device->lock);
		DMEMIT(" %s %s %s %llu/%llu %llu %d %s", job->id, job->kind->name,
		       state_names[job->state], job->done, job->len, job->speed, -job->error,
		       operation_names[job->operation]);
		spin_unlock(&device->lock);
	}
	mutex_unlock(&device->mutex);
	return sz;
}
