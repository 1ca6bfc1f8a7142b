// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * "qchain attach" and "qchain detach" killed at random moments of the time that they take; after
 * which attach or detach must simply work, and leave nothing behind.
 *
 *	kill_qchain --rounds N --seed S NAME IMAGE [BACKING-IMAGE]...
 *
 * Exit status: 0, or 1 after saying what was not as it should be.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <libdevmapper.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

#include "slots.h"

#define LOCK_BYTES 100		/* where QEMU's locks on an image begin */
#define LOCK_BYTES_END 300
#define MEASURED 4
#define MANY 10			/* rounds, of which some must have been in time */

static const char *name;
static char **images;
static char *node;
static unsigned int round_number;
static uint64_t seed;

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("# kill_qchain: round %u: ", round_number);
	vprintf(fmt, ap);
	printf(" (seed %" PRIu64 ")\n", seed);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* What it says goes to the log file that is our standard error. */
static pid_t start(const char *command)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	dup2(STDERR_FILENO, STDOUT_FILENO);
	if (!strcmp(command, "attach"))
		execlp("qchain", "qchain", "attach", images[0], "--name", name, NULL);
	else
		execlp("qchain", "qchain", "detach", name, NULL);
	_exit(127);
}

/* Its exit status, 128 + n when signal n killed it. */
static int ended(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail("cannot run qchain: %s", strerror(errno));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void run(const char *command, int expected)
{
	int status = ended(start(command));

	if (status != expected)
		fail("%s ended with status %d, not %d", command, status, expected);
}

/* Started, and killed after up to @longest ns; true when that came in time. */
static bool run_killed(const char *command, uint64_t longest, uint64_t *rng)
{
	uint64_t delay = slot_random(rng) % longest;
	struct timespec t = { delay / 1000000000, delay % 1000000000 };
	pid_t pid = start(command);

	nanosleep(&t, NULL);
	kill(pid, SIGKILL);
	return ended(pid) == 128 + SIGKILL;
}

static struct dm_info ask_device(void)
{
	struct dm_task *task = dm_task_create(DM_DEVICE_INFO);
	struct dm_info info;

	if (!task || !dm_task_set_name(task, name) || !dm_task_run(task) ||
	    !dm_task_get_info(task, &info))
		fail("cannot ask for the device");
	dm_task_destroy(task);
	return info;
}

static void nothing_left(void)
{
	unsigned char features[8];

	if (ask_device().exists)
		fail("the device is left");
	if (!access(node, F_OK))
		fail("%s is left", node);
	for (char **image = images; *image; image++) {
		struct flock lock = {
			.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_BYTES,
			.l_len = LOCK_BYTES_END - LOCK_BYTES,
		};
		int fd = open(*image, O_RDWR | O_CLOEXEC);

		if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock))
			fail("%s: %s", *image, strerror(errno));
		if (lock.l_type != F_UNLCK)
			fail("%s is locked at byte %ld", *image, (long)lock.l_start);
		/* The incompatible features: dirty and corrupt are the lowest bits. */
		if (pread(fd, features, sizeof(features), 72) != sizeof(features) ||
		    features[7] & 3)
			fail("%s is not clean", *image);
		close(fd);
	}
}

/* Each round writes a slot, and finds what the rounds before wrote. */
static void use_device(struct slots *slots, uint64_t *rng)
{
	static void *buf;
	int fd = open(node, O_RDWR | O_CLOEXEC | O_DIRECT);
	int error = fd < 0 ? errno : 0;

	if (!buf)
		buf = aligned_alloc(SLOT_SIZE, SLOT_SIZE);
	for (unsigned int i = 0; i < 4 && !error; i++)
		error = slot_check(slots, fd, slot_random(rng) % slots->nr, buf);
	if (!error)
		error = slot_write(slots, fd, slot_random(rng) % slots->nr, buf);
	if (error)
		fail("%s: %s", node, error < 0 ? "wrong content" : strerror(error));
	close(fd);
}

/* False: there is no device now. */
static bool attach_killed(uint64_t longest, uint64_t *rng, unsigned int *killed)
{
	struct dm_info info;

	*killed += run_killed("attach", longest, rng);
	info = ask_device();
	if (!(slot_random(rng) % 3)) {
		/* Whatever there is of it goes away. */
		run("detach", info.exists ? 0 : 1);
		return false;
	}
	/* It was through, but for its end: then the device is there and stays. */
	run("attach", info.exists && info.live_table && !info.suspended ? 1 : 0);
	return true;
}

static void detach_killed(uint64_t longest, uint64_t *rng, unsigned int *killed)
{
	*killed += run_killed("detach", longest, rng);
	/* When there is no such device any more, it still takes the node away. */
	run("detach", ask_device().exists ? 0 : 1);
}

static uint64_t measured(const char *command)
{
	uint64_t start_time = now();

	run(command, 0);
	return now() - start_time;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ }
	};
	unsigned int rounds = 10, killed_attach = 0, killed_detach = 0;
	uint64_t attach = 0, detach = 0, rng;
	struct slots slots;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'n')
			rounds = strtoul(optarg, NULL, 0);
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	if (argc - optind < 2)
		return 2;
	name = argv[optind];
	images = argv + optind + 1;
	rng = seed;
	if (asprintf(&node, "%s/%s", dm_dir(), name) < 0 || slots_init(&slots, 4 << 20, 0, seed, 0))
		fail("no memory");

	for (unsigned int i = 0; i < MEASURED; i++) {
		attach += measured("attach");
		use_device(&slots, &rng);
		detach += measured("detach");
	}
	attach /= MEASURED;
	detach /= MEASURED;
	printf("# attach takes %" PRIu64 " us, detach %" PRIu64 " us\n", attach / 1000,
	       detach / 1000);

	for (round_number = 1; round_number <= rounds; round_number++) {
		if (round_number % 2) {
			if (attach_killed(attach + attach / 4, &rng, &killed_attach)) {
				use_device(&slots, &rng);
				run("detach", 0);
			}
		} else {
			run("attach", 0);
			use_device(&slots, &rng);
			detach_killed(detach + detach / 4, &rng, &killed_detach);
		}
		nothing_left();
	}
	printf("# %u rounds: %u times attach and %u times detach were killed before their end\n",
	       rounds, killed_attach, killed_detach);
	if (rounds >= MANY && (!killed_attach || !killed_detach))
		fail("that tried nothing");
	return 0;
}
