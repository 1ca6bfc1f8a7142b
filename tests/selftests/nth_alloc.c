// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Let the N-th memory allocation that the module makes in a call fail, for N = 1, 2, ... until the
 * call makes no more than N, for each thing that can be done with a device by ioctl.  The call may
 * fail or not; without a failing allocation it must succeed, before and afterwards.  With a STEP
 * only every STEP-th N, FIRST of them behind the first few, is tried of those that follow.
 *
 * Wants a kernel with fault injection, set up to count the module's allocations only; see
 * faults-alloc.sh.
 *
 * Exit status: 0 all well, 1 something is not, 2 a wrong call or a machine that cannot.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"

#define NAME "qc-alloc"
#define DEVICE "/dev/mapper/" NAME
#define NTH_MAX 10000
#define NTH_FEW 6		/* are always tried */

static uint64_t sectors;
static const char *params;
static int fail_nth;
static bool armed;
static bool bad;

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("# nth_alloc: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	exit(2);
}

/* What libdevmapper says; not of a call that is to fail. */
static __attribute__((format(printf, 5, 6))) void log_line(int level, const char *file, int line,
							   int dm_errno, const char *fmt, ...)
{
	va_list ap;

	(void)file;
	(void)line;
	(void)dm_errno;
	if (armed || (level & 7) > LOG_WARNING)
		return;
	va_start(ap, fmt);
	fputs("# nth_alloc: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
}

/* From now on the @n-th allocation of this thread fails; 0: none. */
static void arm(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fail_nth, text, len, 0) != len)
		die("fail-nth: %s", strerror(errno));
	armed = n;
}

/* Did it? */
static bool disarm(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		die("fail-nth: %s", strerror(errno));
	arm(0);
	return !strtoul(text, NULL, 10);
}

static struct dm_task *task_for(int type)
{
	struct dm_task *task = dm_task_create(type);

	if (!task || !dm_task_set_name(task, NAME))
		die("libdevmapper");
	return task;
}

static bool task_end(struct dm_task *task)
{
	bool done = dm_task_run(task);

	dm_task_destroy(task);
	return done;
}

static bool simple(int type)
{
	return task_end(task_for(type));
}

static bool load(int type)
{
	struct dm_task *task = task_for(type);

	if (!dm_task_add_target(task, 0, sectors, "qchain", params))
		die("libdevmapper");
	return task_end(task);
}

static bool message(const char *text)
{
	struct dm_task *task = task_for(DM_DEVICE_TARGET_MSG);

	if (!dm_task_set_sector(task, 0) || !dm_task_set_message(task, text))
		die("libdevmapper");
	return task_end(task);
}

/* ---- the calls, and what has to be so before them and is made so after them ---- */

static bool exists(void)
{
	struct dm_task *task = task_for(DM_DEVICE_INFO);
	struct dm_info info = {};
	bool yes = dm_task_run(task) && dm_task_get_info(task, &info) && info.exists;

	dm_task_destroy(task);
	return yes;
}

static bool create(void)
{
	return load(DM_DEVICE_CREATE);
}

static bool remove_it(void)
{
	return simple(DM_DEVICE_REMOVE);
}

static bool status(void)
{
	return simple(DM_DEVICE_STATUS);
}

static bool table(void)
{
	return simple(DM_DEVICE_TABLE);
}

static bool drop_caches(void)
{
	return message("drop_caches");
}

static bool extended(void)
{
	return message("extended");
}

static bool fill_cluster(void)
{
	return message("stream_cluster 0 1 0");
}

/* Slow: they do not come to an end by themselves. */
static bool start_stream(void)
{
	return message("job_start job0 stream 0 1 speed=1");
}

static bool start_commit(void)
{
	return message("job_start job0 commit 0 1 speed=1");
}

static bool reload(void)
{
	return load(DM_DEVICE_RELOAD);
}

static bool suspend(void)
{
	return simple(DM_DEVICE_SUSPEND);
}

static bool resume(void)
{
	return simple(DM_DEVICE_RESUME);
}

static void must(bool done, const char *what, const char *why)
{
	if (done)
		return;
	printf("# nth_alloc: %s fails: %s\n", what, why);
	bad = true;
}

static void have_device(void)
{
	if (!exists())
		must(create(), "create", "and no fault was injected");
}

static void have_none(void)
{
	if (exists())
		must(remove_it(), "remove", "and no fault was injected");
}

/* Something to be written back: a cluster that was not there yet. */
static void have_dirty(void)
{
	static unsigned char buf[4096] __attribute__((aligned(4096)));
	static unsigned int turn;
	int fd;

	have_device();
	dm_task_update_nodes();
	fd = open(DEVICE, O_RDWR | O_DIRECT | O_CLOEXEC);
	memset(buf, ++turn, sizeof(buf));
	if (fd < 0)
		must(false, "open", strerror(errno));
	else if (pwrite(fd, buf, sizeof(buf), turn * 65536ULL % (sectors * 512)) != sizeof(buf))
		must(false, "write", strerror(errno));
	close(fd);
}

static void have_suspended(void)
{
	have_device();
	must(suspend(), "suspend", "and no fault was injected");
}

static void have_loaded(void)
{
	have_device();
	must(reload(), "reload", "and no fault was injected");
	must(suspend(), "suspend", "and no fault was injected");
}

/* Is "job0" there? */
static bool have_job(void)
{
	struct dm_task *task = task_for(DM_DEVICE_STATUS);
	uint64_t start, length;
	char *type, *line;
	bool yes;

	if (!dm_task_run(task))
		die("status");
	dm_get_next_target(task, NULL, &start, &length, &type, &line);
	yes = line && strstr(line, " job0 ");
	dm_task_destroy(task);
	return yes;
}

static void end_job(void)
{
	const struct timespec wait = { .tv_nsec = 10000000 };
	unsigned int tries = 0;

	if (!have_job())
		return;
	/* It can have ended with an error. */
	armed = true;
	message("job_cancel job0");
	while (!message("job_forget job0") && ++tries < 6000)
		nanosleep(&wait, NULL);
	armed = false;
	must(tries < 6000, "job_forget", "for a minute");
}

static void have_loaded_with_job(void)
{
	have_device();
	must(start_stream(), "job_start", "and no fault was injected");
	must(reload(), "reload", "and no fault was injected");
	must(suspend(), "suspend", "and no fault was injected");
}

static void go_on(void)
{
	if (exists())
		must(resume(), "resume", "and no fault was injected");
}

static void go_on_without_job(void)
{
	go_on();
	end_job();
}

static const struct {
	const char *name;
	void (*before)(void);
	bool (*call)(void);
	void (*after)(void);
	unsigned int min;	/* allocations that there are at least: else none is seen */
} calls[] = {
	{ "create", have_none, create, have_none, 50 },
	{ "remove", have_dirty, remove_it, have_device, 0 },
	{ "status", have_device, status, NULL, 0 },
	{ "table", have_device, table, NULL, 0 },
	{ "message drop_caches", have_device, drop_caches, NULL, 0 },
	{ "message extended", have_device, extended, NULL, 0 },
	{ "message stream_cluster", have_device, fill_cluster, NULL, 2 },
	{ "message job_start, a stream", have_device, start_stream, end_job, 5 },
	{ "message job_start, a commit", have_device, start_commit, end_job, 20 },
	{ "reload", have_device, reload, go_on, 20 },
	{ "suspend", have_dirty, suspend, go_on, 0 },
	{ "resume", have_suspended, resume, go_on, 0 },
	{ "resume with a new table", have_loaded, resume, go_on, 0 },
	{ "resume with a new table and a job", have_loaded_with_job, resume, go_on_without_job, 0 },
};

int main(int argc, char **argv)
{
	unsigned int n, injections, last, failed, first = 1, step = 1;
	size_t i;

	if (argc != 3 && argc != 5) {
		fputs("usage: nth_alloc SECTORS PARAMETERS [STEP FIRST]\n", stderr);
		return 2;
	}
	if (argc == 5) {
		step = strtoul(argv[3], NULL, 0);
		first = strtoul(argv[4], NULL, 0);
	}
	sectors = strtoull(argv[1], NULL, 0);
	params = argv[2];
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0)
		die("fail-nth: %s", strerror(errno));
	dm_udev_set_sync_support(0);
	dm_log_with_errno_init(log_line);

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		bool injected = true, done;

		injections = 0;
		last = 0;
		failed = 0;
		for (n = 1; injected && n < NTH_MAX;
		     n += n < NTH_FEW ? 1 : n == NTH_FEW ? first : step) {
			calls[i].before();
			arm(n);
			done = calls[i].call();
			injected = disarm();
			if (injected) {
				injections++;
				last = n;
			}
			failed += !done;
			if (!injected)
				must(done, calls[i].name, "and no fault was injected");
			if (calls[i].after)
				calls[i].after();
		}
		must(!injected, calls[i].name, "again and again");
		printf("# %s: %u allocations failed, up to number %u, and the call %u times\n",
		       calls[i].name, injections, last, failed);
		must(last >= calls[i].min, calls[i].name,
		     "to have as many allocations as it must");
		fflush(stdout);
	}
	have_none();
	return bad;
}
