// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Devices are suspended, resumed, given new tables, removed and created again while
 * threads read and write them, and every block is judged.
 *
 *	churn [OPTION]... BASE NAME:OVERLAY[,OVERLAY]... ...
 *
 * Each NAME is a device of its own over the shared BASE, with its first overlay on top to begin
 * with; the others, one over the other, are put on top at random moments. Each device has
 * a process (libdevmapper is not made for threads), in which one thread does to the device what
 * the seed says, and the others do I/O until that is through.
 *
 * In the end the device is read as a whole, what it holds is written to MODEL.NAME, and it is
 * removed. Exit status: 0 all was well, 1 it was not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <libdevmapper.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "slots.h"

#define MAX_OVERLAYS 64

static struct {
	unsigned int steps;
	unsigned int threads;
	unsigned int timeout;
	uint64_t seed;
	uint64_t size;
	unsigned char initial;
	const char *model;
} opt = { .steps = 100, .threads = 3, .timeout = 600, .size = 8 << 20 };

static const char *base, *name;
static char *overlays[MAX_OVERLAYS];
static unsigned int nr_overlays, depth = 1;	/* overlays there are, and in the table */
static const char *features = "";
static char *node;

static int fd = -1;
static struct slots slots;
static uint64_t rng;

/* Held for reading by whoever does I/O, for writing while there is no device. */
static pthread_rwlock_t device_lock;
/* Odd while the device has a table of errors. */
static atomic_uint error_epoch;
static atomic_bool stop;
static atomic_ulong ios, errors_seen;

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	flockfile(stdout);
	printf("# churn: %s: ", name);
	vprintf(fmt, ap);
	printf(" (seed %" PRIu64 ")\n", opt.seed);
	fflush(stdout);
	_exit(1);
}

/* ---- device-mapper ---- */

static void be_quiet(int level, const char *file, int line, int class, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void be_quiet(int level, const char *file, int line, int class, const char *fmt, ...)
{
	(void)level;
	(void)file;
	(void)line;
	(void)class;
	(void)fmt;
}

enum { NO_FLUSH = 1, SKIP_LOCKFS = 2 };

/* Runs the task; 0 or an errno. */
static int dm(int type, unsigned int flags, const char *target, const char *params,
	      const char *message)
{
	struct dm_task *task = dm_task_create(type);
	uint32_t cookie = 0;
	int error = 0;

	if (!task || !dm_task_set_name(task, name))
		fail("no memory for a task");
	if (target && !dm_task_add_target(task, 0, opt.size / 512, target, params))
		fail("no memory for a table");
	if (message && (!dm_task_set_message(task, message) || !dm_task_set_sector(task, 0)))
		fail("no memory for a message");
	if ((flags & NO_FLUSH) && !dm_task_no_flush(task))
		fail("no_flush");
	if ((flags & SKIP_LOCKFS) && !dm_task_skip_lockfs(task))
		fail("skip_lockfs");
	if ((type == DM_DEVICE_RESUME || type == DM_DEVICE_CREATE || type == DM_DEVICE_REMOVE) &&
	    !dm_task_set_cookie(task, &cookie, 0))
		fail("no cookie");
	if (!dm_task_run(task))
		error = dm_task_get_errno(task) ?: EIO;
	if (cookie)
		dm_udev_wait(cookie);
	dm_task_update_nodes();
	dm_task_destroy(task);
	return error;
}

static void must(const char *what, int error)
{
	if (error)
		fail("%s: %s", what, strerror(error));
}

static char *table(const char *more)
{
	char *params = NULL;
	size_t size;
	FILE *f = open_memstream(&params, &size);

	fprintf(f, "%u", depth + 1);
	for (unsigned int i = depth; i--; )
		fprintf(f, " qcow2 %s -", overlays[i]);
	fprintf(f, " qcow2 %s -%s", base, more);
	fclose(f);
	return params;
}

static int load(const char *more)
{
	char *params = table(more);
	int error = dm(DM_DEVICE_RELOAD, 0, "qchain", params, NULL);

	free(params);
	return error;
}

static void open_device(void)
{
	fd = open(node, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		fail("%s: %s", node, strerror(errno));
}

static void create(void)
{
	char *params = table(features);

	must("create", dm(DM_DEVICE_CREATE, 0, "qchain", params, NULL));
	free(params);
	open_device();
}

/* Sometimes plain, sometimes without flushing, sometimes all in the one call. */
static void suspend_resume(void)
{
	unsigned int flags = slot_random(&rng) % 4;

	if (slot_random(&rng) % 4)
		must("suspend", dm(DM_DEVICE_SUSPEND, flags, NULL, NULL, NULL));
	must("resume", dm(DM_DEVICE_RESUME, flags, NULL, NULL, NULL));
}

static void suspended(void)
{
	suspend_resume();
}

static void same_table(void)
{
	must("load", load(features));
	suspend_resume();
}

static void other_features(void)
{
	static const char * const all[] = {
		"", " 1 error_if_no_space", " 1 no_discard_passdown",
	};

	features = all[slot_random(&rng) % 3];
	same_table();
}

static void abandoned_table(void)
{
	must("load", load(features));
	must("clear", dm(DM_DEVICE_CLEAR, 0, NULL, NULL, NULL));
}

static void bad_table(void)
{
	if (!load(" 1 no_such_feature"))
		fail("a table with an unknown feature was loaded");
}

static void new_overlay(void)
{
	if (depth < nr_overlays)
		depth++;
	same_table();
}

static void asked(void)
{
	must("status", dm(DM_DEVICE_STATUS, 0, NULL, NULL, NULL));
	must("table", dm(DM_DEVICE_TABLE, 0, NULL, NULL, NULL));
	must("message", dm(DM_DEVICE_TARGET_MSG, 0, NULL, NULL, "drop_caches"));
	must("message", dm(DM_DEVICE_TARGET_MSG, 0, NULL, NULL, "extended"));
}

static void busy(void)
{
	int error = dm(DM_DEVICE_REMOVE, 0, NULL, NULL, NULL);

	if (error != EBUSY)
		fail("removal of an open device: %s", strerror(error));
}

/* As "dmsetup remove --force" does: the images are let go of under the load. */
static void failing_table(void)
{
	atomic_fetch_add(&error_epoch, 1);
	must("load errors", dm(DM_DEVICE_RELOAD, 0, "error", "", NULL));
	suspend_resume();
	must("load", load(features));
	suspend_resume();
	atomic_fetch_add(&error_epoch, 1);
}

static void removed(void)
{
	pthread_rwlock_wrlock(&device_lock);
	close(fd);
	must("remove", dm(DM_DEVICE_REMOVE, 0, NULL, NULL, NULL));
	create();
	pthread_rwlock_unlock(&device_lock);
}

static struct action {
	const char *what;
	void (*run)(void);
	unsigned int share;	/* out of 100 */
	unsigned int count;
} actions[] = {
	{ "suspend/resume", suspended, 30, 0 },
	{ "reload", same_table, 22, 0 },
	{ "reload with other features", other_features, 8, 0 },
	{ "load and clear", abandoned_table, 8, 0 },
	{ "refused table", bad_table, 3, 0 },
	{ "new overlay", new_overlay, 3, 0 },
	{ "status, table, messages", asked, 10, 0 },
	{ "refused removal", busy, 6, 0 },
	{ "error table and back", failing_table, 5, 0 },
	{ "remove and create", removed, 5, 0 },
};

#define NR_ACTIONS (sizeof(actions) / sizeof(*actions))

static void act(void)
{
	unsigned int draw = slot_random(&rng) % 100;
	struct action *action = actions;

	while (draw >= action->share) {
		draw -= action->share;
		action++;
	}
	action->run();
	action->count++;
}

/* ---- I/O ---- */

/* An error is one only when the device had its true table all the time. */
static void judge_io(const char *what, unsigned int slot, int error, unsigned int epoch)
{
	if (error < 0)
		fail("wrong content");
	if (error && !(epoch & 1) && atomic_load(&error_epoch) == epoch)
		fail("%s of slot %u: %s", what, slot, strerror(error));
	if (error) {
		/* There will be nothing but errors for a while. */
		atomic_fetch_add(&errors_seen, 1);
		usleep(2000);
	}
	atomic_fetch_add(&ios, 1);
}

static void *worker(void *arg)
{
	unsigned int id = (uintptr_t)arg;
	uint64_t state = opt.seed + id;
	void *buf = aligned_alloc(SLOT_SIZE, SLOT_SIZE);

	while (!atomic_load(&stop)) {
		unsigned int kind = slot_random(&state) % 100, epoch;
		/* Neighbours belong to different threads, so that these meet in a cluster. */
		unsigned int group = slot_random(&state) % (slots.nr / opt.threads);
		unsigned int slot = group * opt.threads + id;

		pthread_rwlock_rdlock(&device_lock);
		epoch = atomic_load(&error_epoch);
		if (kind < 60)
			judge_io("write", slot, slot_write(&slots, fd, slot, buf), epoch);
		else if (kind < 97)
			judge_io("read", slot, slot_check(&slots, fd, slot, buf), epoch);
		else
			judge_io("fsync", slot, fdatasync(fd) ? errno : 0, epoch);
		pthread_rwlock_unlock(&device_lock);
	}
	free(buf);
	return NULL;
}

/* Reads everything, judges it, and writes it to the model. */
static void read_all(void)
{
	void *buf = aligned_alloc(SLOT_SIZE, SLOT_SIZE);
	char *path;
	FILE *out;

	if (asprintf(&path, "%s.%s", opt.model, name) < 0)
		fail("no memory");
	out = fopen(path, "w");
	if (!out)
		fail("%s: %s", path, strerror(errno));
	for (unsigned int slot = 0; slot < slots.nr; slot++) {
		judge_io("read", slot, slot_check(&slots, fd, slot, buf), 0);
		fwrite(buf, 1, SLOT_SIZE, out);
	}
	if (fclose(out))
		fail("%s: %s", path, strerror(errno));
	free(path);
	free(buf);
}

static void run_device(unsigned int number)
{
	pthread_t threads[opt.threads];
	pthread_rwlockattr_t attr;

	alarm(opt.timeout);
	opt.seed += number;
	rng = opt.seed;
	if (asprintf(&node, "%s/%s", dm_dir(), name) < 0 ||
	    slots_init(&slots, opt.size, 0, opt.seed, opt.initial))
		fail("no memory");
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&device_lock, &attr);

	create();
	for (unsigned int i = 0; i < opt.threads; i++)
		if (pthread_create(&threads[i], NULL, worker, (void *)(uintptr_t)i))
			fail("no thread");
	for (unsigned int i = 0; i < opt.steps; i++)
		act();
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < opt.threads; i++)
		pthread_join(threads[i], NULL);
	/* Only now: the window of errors is over for whoever began before. */
	atomic_store(&error_epoch, 0);
	read_all();
	close(fd);
	must("remove", dm(DM_DEVICE_REMOVE, 0, NULL, NULL, NULL));

	flockfile(stdout);
	printf("# %s: %lu I/Os, %lu failed under the error table, %u overlays;", name,
	       atomic_load(&ios), atomic_load(&errors_seen), depth);
	for (unsigned int i = 0; i < NR_ACTIONS; i++)
		printf("%s %u %s", i ? "," : "", actions[i].count, actions[i].what);
	printf("\n");
	fflush(stdout);
	_exit(0);
}

static void parse_device(char *arg)
{
	char *word = strchr(arg, ':');

	if (!word)
		fail("%s: no images", arg);
	*word++ = 0;
	name = arg;
	nr_overlays = 0;
	for (word = strtok(word, ","); word; word = strtok(NULL, ",")) {
		if (nr_overlays == MAX_OVERLAYS)
			fail("too many overlays");
		overlays[nr_overlays++] = word;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "steps", required_argument, NULL, 'n' },
		{ "threads", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 's' },
		{ "size", required_argument, NULL, 'z' },
		{ "initial", required_argument, NULL, 'i' },
		{ "model", required_argument, NULL, 'm' },
		{ "timeout", required_argument, NULL, 'T' },
		{ }
	};
	int c, status, bad = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = strtoull(optarg ?: "", NULL, 0);

		switch (c) {
		case 'n':
			opt.steps = number;
			break;
		case 't':
			opt.threads = number;
			break;
		case 's':
			opt.seed = number;
			break;
		case 'z':
			opt.size = number;
			break;
		case 'i':
			opt.initial = number;
			break;
		case 'T':
			opt.timeout = number;
			break;
		case 'm':
			opt.model = optarg;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind < 2 || !opt.model || !opt.threads) {
		fprintf(stderr, "usage: churn --model FILE [OPTION]... BASE NAME:OVERLAY,...\n");
		return 2;
	}
	dm_log_with_errno_init(be_quiet);
	base = argv[optind];
	for (int i = optind + 1; i < argc; i++) {
		parse_device(argv[i]);
		if (!fork())
			run_device(i - optind - 1);
	}
	while (wait(&status) > 0)
		bad |= status;
	return bad ? 1 : 0;
}
