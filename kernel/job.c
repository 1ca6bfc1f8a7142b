// SPDX-License-Identifier: GPL-2.0-only
/* Jobs: started, steered by messages, their lanes, ended.  See job.h. */
#include <linux/ctype.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "job.h"
#include "log.h"
#include "target.h"

#define LANES		2
#define CHUNK		SZ_1M		/* between two looks at state and speed */
#define CHUNKS_A_SECOND	10		/* of a job whose speed is limited */
#define MAX_JOBS	16		/* of one device */
#define MAX_ID		63

enum job_state {
	JOB_RUNNING,
	JOB_PAUSED,
	JOB_STOPPED,
	JOB_ENDING,
	JOB_ENDED,
};

static const char *const state_names[] = {
	"running", "paused", "stopped", "ending", "ended",
};

/* What an error of a piece leads to. */
enum job_policy {
	JOB_REPORT,		/* the job ends with it */
	JOB_IGNORE,		/* the piece is left out; the job ends with it after all others */
	JOB_STOP,		/* the job waits to be resumed, and tries again */
	JOB_ENOSPC,		/* that for lack of space, REPORT for others */
};

static const char *const policy_names[] = { "report", "ignore", "stop", "enospc" };

struct qc_job;

struct lane {
	struct delayed_work work;
	struct qc_job *job;
	u64 pos, end;			/* what is left of its chunk */
};

struct qc_job {
	struct list_head list;
	struct qc_device *device;
	char id[MAX_ID + 1];
	struct qc_chain chain;		/* with references of its own */
	unsigned int upper;		/* backing layers whose data is copied */
	enum job_policy policy;
	struct lane lanes[LANES];

	/* under device->lock */
	enum job_state state;
	u64 cursor, len;		/* next chunk; all of it */
	u64 done;			/* bytes looked at, and copied where they had to be */
	u64 speed;			/* bytes a second, 0: no limit */
	u64 not_before;			/* ktime ns, what the speed allows */
	unsigned int busy;		/* lanes in a chunk */
	int error;			/* negative errno */
};

struct qc_device {
	struct kref kref;
	struct list_head list;
	struct mapped_device *md;
	struct mutex mutex;
	struct list_head jobs;		/* in the order of their start */
	unsigned int nr_jobs;
	struct workqueue_struct *wq;
	wait_queue_head_t ended;

	spinlock_t lock;
	bool halted;
	struct qc_target *target;	/* of the live table, for events */
};

static DEFINE_MUTEX(devices_lock);
static LIST_HEAD(devices);

static void raise_event(struct qc_device *device)
{
	unsigned long flags;

	spin_lock_irqsave(&device->lock, flags);
	if (device->target)
		queue_work(device->target->wq, &device->target->event);
	spin_unlock_irqrestore(&device->lock, flags);
}

/* ---- lanes ---- */

/* What was copied at @pos and behind is not to be copied again; beyond the end there is nothing. */
static int copy_some(struct qc_job *job, struct lane *lane)
{
	u64 len = lane->end - lane->pos;
	unsigned long flags;
	int error = qc_commit_throttle(job->chain.top);

	if (!error)
		error = qc_chain_pull(&job->chain, job->upper, lane->pos, &len);
	if (error)
		return error;
	spin_lock_irqsave(&job->device->lock, flags);
	lane->pos += len;
	job->done += len;
	spin_unlock_irqrestore(&job->device->lock, flags);
	return 0;
}

/* Let go of the chain and say so.  No lane is in a chunk, and none starts one any more. */
static void job_end(struct qc_job *job)
{
	struct qc_device *device = job->device;
	int error = 0;

	if (job->done == job->len)
		error = qc_commit(job->chain.top);
	if (job->chain.backing)
		qc_backing_put(job->chain.backing);
	qc_image_put(job->chain.top);
	qc_chain_exit(&job->chain);

	spin_lock_irq(&device->lock);
	job->error = job->error ?: error;
	job->state = JOB_ENDED;
	spin_unlock_irq(&device->lock);
	wake_up_all(&device->ended);
	raise_event(device);
}

/* Under the lock.  True: it is for the caller to end the job. */
static bool job_ending(struct qc_job *job, int error)
{
	if (job->state >= JOB_ENDING)
		return false;
	if (error)
		job->error = error;
	job->state = JOB_ENDING;
	return !job->busy;
}

/* Enter a chunk: the old one if something is left of it.  False: not now, or no more. */
static bool lane_enter(struct lane *lane, unsigned long *delay, bool *end)
{
	struct qc_job *job = lane->job;
	u64 now = ktime_get_ns(), chunk = CHUNK;
	bool enter = false;

	*delay = 0;
	*end = false;
	spin_lock_irq(&job->device->lock);
	if (job->state != JOB_RUNNING || job->device->halted)
		goto out;
	if (job->speed && now < job->not_before) {
		*delay = max(nsecs_to_jiffies(job->not_before - now), 1UL);
		goto out;
	}
	if (lane->pos == lane->end) {
		if (job->speed)
			chunk = clamp(div_u64(job->speed, CHUNKS_A_SECOND),
				      qc_cluster_size(job->chain.top), chunk);
		chunk = round_up(chunk, qc_cluster_size(job->chain.top));
		lane->pos = job->cursor;
		lane->end = min(job->cursor + chunk, job->len);
		job->cursor = lane->end;
	}
	enter = lane->pos < lane->end;
	if (enter)
		job->busy++;
	else if (job->done == job->len)
		*end = job_ending(job, 0);
out:
	spin_unlock_irq(&job->device->lock);
	return enter;
}

/* Leave the chunk, after @moved bytes.  True: it is for the caller to end the job. */
static bool lane_leave(struct lane *lane, u64 moved, int error)
{
	struct qc_job *job = lane->job;
	bool end, stopped = false;

	spin_lock_irq(&job->device->lock);
	job->busy--;
	if (job->speed)
		job->not_before = max(job->not_before, ktime_get_ns()) +
				  div64_u64(moved * NSEC_PER_SEC, job->speed);
	if (error == -ENOSPC && job->policy == JOB_ENOSPC)
		stopped = true;
	else if (error && job->policy == JOB_STOP)
		stopped = true;
	if (stopped && job->state == JOB_RUNNING) {
		job->state = JOB_STOPPED;
		job->error = error;
	} else if (error && !stopped) {
		if (job->policy == JOB_IGNORE) {
			/* The whole rest of the chunk: which part of it was bad is not known. */
			job->done += lane->end - lane->pos;
			lane->pos = lane->end;
			job->error = job->error ?: error;
		} else {
			job_ending(job, error);
		}
	}
	end = job->state == JOB_ENDING && !job->busy;
	spin_unlock_irq(&job->device->lock);
	if (stopped)
		raise_event(job->device);
	return end;
}

static void lane_work(struct work_struct *work)
{
	struct lane *lane = container_of(to_delayed_work(work), struct lane, work);
	struct qc_job *job = lane->job;
	unsigned long delay;
	u64 start;
	bool end;
	int error = 0;

	if (!lane_enter(lane, &delay, &end)) {
		if (end)
			job_end(job);
		else if (delay)
			queue_delayed_work(job->device->wq, &lane->work, delay);
		return;
	}
	start = lane->pos;
	while (!error && lane->pos < lane->end && READ_ONCE(job->state) == JOB_RUNNING)
		error = copy_some(job, lane);
	if (lane_leave(lane, lane->pos - start, error))
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

	spin_lock_irq(&job->device->lock);
	state = job->state;
	spin_unlock_irq(&job->device->lock);
	return state;
}

/* End it with @error, if it has not ended by itself; returns when it has. */
static void job_stop(struct qc_job *job, int error)
{
	bool end;

	spin_lock_irq(&job->device->lock);
	end = job_ending(job, error);
	spin_unlock_irq(&job->device->lock);
	if (end)
		job_end(job);
	wait_event(job->device->ended, job_state(job) == JOB_ENDED);
}

static void job_free(struct qc_job *job)
{
	job_drain(job);
	list_del(&job->list);
	job->device->nr_jobs--;
	kfree(job);
}

/* ---- the device ---- */

static void device_release(struct kref *kref)
{
	struct qc_device *device = container_of(kref, struct qc_device, kref);
	struct qc_job *job, *next;

	list_del(&device->list);
	mutex_unlock(&devices_lock);
	list_for_each_entry_safe(job, next, &device->jobs, list) {
		job_stop(job, -ECANCELED);
		job_free(job);
	}
	destroy_workqueue(device->wq);
	kfree(device);
}

void qc_device_put(struct qc_device *device)
{
	kref_put_mutex(&device->kref, device_release, &devices_lock);
}

struct qc_device *qc_device_get(struct mapped_device *md)
{
	struct qc_device *device;

	mutex_lock(&devices_lock);
	list_for_each_entry(device, &devices, list) {
		if (device->md == md) {
			kref_get(&device->kref);
			goto out;
		}
	}
	device = kzalloc(sizeof(*device), GFP_KERNEL);
	if (!device)
		goto out;
	device->wq = alloc_workqueue("qchain-job", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!device->wq) {
		kfree(device);
		device = NULL;
		goto out;
	}
	kref_init(&device->kref);
	device->md = md;
	mutex_init(&device->mutex);
	spin_lock_init(&device->lock);
	INIT_LIST_HEAD(&device->jobs);
	init_waitqueue_head(&device->ended);
	device->halted = true;
	list_add(&device->list, &devices);
out:
	mutex_unlock(&devices_lock);
	return device;
}

void qc_device_halt(struct qc_device *device)
{
	struct qc_job *job;

	mutex_lock(&device->mutex);
	spin_lock_irq(&device->lock);
	device->halted = true;
	spin_unlock_irq(&device->lock);
	list_for_each_entry(job, &device->jobs, list)
		job_drain(job);
	mutex_unlock(&device->mutex);
}

/* Can the job go on over this table?  0 or a negative errno. */
static int job_fits(const struct qc_job *job, const struct qc_target *target)
{
	if (job->chain.top != target->chain.top || job->chain.backing != target->chain.backing)
		return -ESTALE;
	return target->read_only ? -EROFS : 0;
}

void qc_device_start(struct qc_device *device, struct qc_target *target)
{
	struct qc_job *job;
	int error;

	mutex_lock(&device->mutex);
	spin_lock_irq(&device->lock);
	device->target = target;
	spin_unlock_irq(&device->lock);
	list_for_each_entry(job, &device->jobs, list) {
		error = job_fits(job, target);
		if (error && job_state(job) < JOB_ENDING)
			job_stop(job, error);
	}
	spin_lock_irq(&device->lock);
	device->halted = false;
	spin_unlock_irq(&device->lock);
	list_for_each_entry(job, &device->jobs, list)
		if (job_state(job) < JOB_ENDING)
			job_kick(job);
	mutex_unlock(&device->mutex);
}

void qc_device_forget_target(struct qc_device *device, const struct qc_target *target)
{
	unsigned long flags;

	spin_lock_irqsave(&device->lock, flags);
	if (device->target == target)
		device->target = NULL;
	spin_unlock_irqrestore(&device->lock, flags);
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

/* @base: number of the layer that stays below, the top layer being 0; "-" for none. */
static int parse_base(const struct qc_target *target, const char *base, unsigned int *upper)
{
	unsigned int number = target->layers;
	int error = 0;

	if (strcmp(base, "-"))
		error = kstrtouint(base, 10, &number);
	if (!error && (!number || number > target->layers))
		error = -EINVAL;
	*upper = number - 1;
	return error;
}

static void job_add(struct qc_device *device, struct qc_job *job, const struct qc_target *target)
{
	unsigned int i;

	job->device = device;
	job->chain.top = qc_image_get(target->chain.top);
	if (target->chain.backing)
		job->chain.backing = qc_backing_ref(target->chain.backing);
	job->chain.backing_size = target->chain.backing_size;
	job->len = job->chain.top->size;
	job->state = JOB_RUNNING;
	for (i = 0; i < LANES; i++) {
		job->lanes[i].job = job;
		INIT_DELAYED_WORK(&job->lanes[i].work, lane_work);
	}
	list_add_tail(&job->list, &device->jobs);
	device->nr_jobs++;
	job_kick(job);
}

/* job_start <id> stream <base> [<option>...]; under the mutex. */
static int job_start(struct qc_target *target, unsigned int argc, char **argv)
{
	struct qc_device *device = target->device;
	struct qc_job *job;
	unsigned int i;
	int error;

	if (argc < 4 || !id_ok(argv[1]) || strcmp(argv[2], "stream"))
		return -EINVAL;
	if (target->read_only)
		return -EROFS;
	if (target->chain.top->format != QC_QCOW2)
		return -EOPNOTSUPP;
	if (job_find(device, argv[1]))
		return -EEXIST;
	if (device->nr_jobs >= MAX_JOBS)
		return -E2BIG;
	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (!job)
		return -ENOMEM;
	strscpy(job->id, argv[1], sizeof(job->id));
	error = parse_base(target, argv[3], &job->upper);
	for (i = 4; i < argc && !error; i++)
		error = parse_option(job, argv[i]);
	if (!error)
		error = qc_chain_init(&job->chain);
	if (error)
		kfree(job);
	else
		job_add(device, job, target);
	return error;
}

static int job_set_speed(struct qc_job *job, const char *word)
{
	u64 speed;
	int error = kstrtou64(word, 10, &speed);

	if (error)
		return error;
	spin_lock_irq(&job->device->lock);
	job->speed = speed;
	job->not_before = 0;
	spin_unlock_irq(&job->device->lock);
	return 0;
}

/* From one of two states to another: -EBUSY in others. */
static int job_move(struct qc_job *job, enum job_state from, enum job_state or, enum job_state to)
{
	int error = 0;

	spin_lock_irq(&job->device->lock);
	if (job->state == from || job->state == or) {
		if (job->state == JOB_STOPPED)
			job->error = 0;
		job->state = to;
	} else {
		error = -EBUSY;
	}
	spin_unlock_irq(&job->device->lock);
	return error;
}

static int job_steer(struct qc_job *job, unsigned int argc, char **argv)
{
	enum job_state state = job_state(job);
	int error = -EINVAL;

	if (!strcmp(argv[0], "job_forget") && argc == 2) {
		if (state != JOB_ENDED)
			return -EBUSY;
		job_free(job);
		return 0;
	}
	if (state >= JOB_ENDING)
		return -EBUSY;
	if (!strcmp(argv[0], "job_speed") && argc == 3) {
		error = job_set_speed(job, argv[2]);
	} else if (!strcmp(argv[0], "job_pause") && argc == 2) {
		error = job_move(job, JOB_RUNNING, JOB_STOPPED, JOB_PAUSED);
		if (!error)
			job_drain(job);
		return error;
	} else if (!strcmp(argv[0], "job_resume") && argc == 2) {
		error = job_move(job, JOB_PAUSED, JOB_STOPPED, JOB_RUNNING);
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

size_t qc_job_status(struct qc_device *device, char *result, size_t maxlen, size_t sz)
{
	struct qc_job *job;

	mutex_lock(&device->mutex);
	DMEMIT(" %u", device->nr_jobs);
	list_for_each_entry(job, &device->jobs, list) {
		spin_lock_irq(&device->lock);
		DMEMIT(" %s stream %s %llu/%llu %llu %d", job->id, state_names[job->state],
		       job->done, job->len, job->speed, -job->error);
		spin_unlock_irq(&device->lock);
	}
	mutex_unlock(&device->mutex);
	return sz;
}
