// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Let the N-th memory allocation that the module makes in a call fail, for N = 1, 2, ... until the
 * call makes no more than N, for each thing that can be done with a device by ioctl.  The call may
 * fail or not; without a failing allocation it must succeed, before and afterwards.
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
#include <unistd.h>

#include "kselftest.h"

#define NAME "qc-alloc"
#define DEVICE "/dev/mapper/" NAME
#define NTH_MAX 10000

static uint64_t sectors;
static const char *params;
static int fail_nth;
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

/* From now on the @n-th allocation of this thread fails; 0: none. */
static void arm(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fail_nth, text, len, 0) != len)
		die("fail-nth: %s", strerror(errno));
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

static void go_on(void)
{
	if (exists())
		must(resume(), "resume", "and no fault was injected");
}

static const struct {
	const char *name;
	void (*before)(void);
	bool (*call)(void);
	void (*after)(void);
} calls[] = {
	{ "create", have_none, create, have_none },
	{ "remove", have_dirty, remove_it, have_device },
	{ "status", have_device, status, NULL },
	{ "table", have_device, table, NULL },
	{ "message drop_caches", have_device, drop_caches, NULL },
	{ "message extended", have_device, extended, NULL },
	{ "reload", have_device, reload, go_on },
	{ "suspend", have_dirty, suspend, go_on },
	{ "resume", have_suspended, resume, go_on },
	{ "resume with a new table", have_loaded, resume, go_on },
};

int main(int argc, char **argv)
{
	unsigned int n, failed;
	size_t i;

	if (argc != 3) {
		fputs("usage: nth_alloc SECTORS PARAMETERS\n", stderr);
		return 2;
	}
	sectors = strtoull(argv[1], NULL, 0);
	params = argv[2];
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0)
		die("fail-nth: %s", strerror(errno));
	dm_udev_set_sync_support(0);

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		bool injected = true, done;

		for (n = 1, failed = 0; injected && n < NTH_MAX; n++) {
			calls[i].before();
			arm(n);
			done = calls[i].call();
			injected = disarm();
			failed += !done;
			if (!injected)
				must(done, calls[i].name, "and no fault was injected");
			if (calls[i].after)
				calls[i].after();
		}
		printf("# %s: %u allocations failed in turn, and the call %u times\n",
		       calls[i].name, n - 2, failed);
		fflush(stdout);
	}
	have_none();
	return bad;
}
