// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files that are written and fsynced all the time, by several threads, and what must be there
 * after a crash.
 *
 *	fsync_files --seed S [--threads N] [--steps N] DIRECTORY
 *	fsync_files --seed S --verify MARKERS DIRECTORY
 *
 * After each fsync a line tells on standard output what is on disk from then on:
 *
 *	M file THREAD NUMBER	the file has its content (which follows from the seed), until
 *	M gone THREAD NUMBER	which comes long before the file is deleted: lines on their way out
 *				are lost in a crash
 *	M log THREAD COUNT	the log has so many records, or more
 *	M slot THREAD SLOT VERSION	the block file has this version in the slot, or a newer one
 *
 * Without --steps it goes on until it is killed. With --verify the lines are read from MARKERS
 * (a last one that is cut off does not count), and DIRECTORY is judged. Exit status: 0, or 1 after
 * saying what is wrong or missing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "slots.h"

#define MAX_THREADS 16
#define MAX_FILE (192 << 10)
#define KEPT_FILES 24		/* of each thread; as many older ones may be there or not */
#define NEWER_MAX 64		/* versions of a slot whose markers were lost */
#define SLOTS_BYTES (1 << 20)
#define RECORD 512

static struct {
	uint64_t seed;
	unsigned int threads;
	unsigned long steps;
	const char *markers;
} opt = { .threads = 3 };

static const char *directory;

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	flockfile(stdout);
	printf("# fsync_files: %s: ", directory);
	vprintf(fmt, ap);
	printf(" (seed %" PRIu64 ")\n", opt.seed);
	fflush(stdout);
	_exit(1);
}

/* What a thread has, or what the markers say that it has. */
struct job {
	pthread_t tid;
	unsigned int id;
	int log_fd, slot_fd;
	unsigned long first_file, files;	/* kept: from the first up to, not including */
	unsigned long records;
	struct slots slots;
	void *buf;				/* MAX_FILE bytes */
};

static uint64_t content_seed(const struct job *job, unsigned int kind, unsigned long number)
{
	uint64_t state = opt.seed + kind;

	return slot_random(&state) + ((uint64_t)job->id << 48) + number;
}

static size_t make_content(uint64_t state, void *buf, size_t size)
{
	uint64_t *word = buf;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		word[i] = slot_random(&state);
	return size;
}

/* Content of a file in the job's buffer; returns its size. */
static size_t make_file(struct job *job, unsigned long number)
{
	uint64_t state = content_seed(job, 0, number);
	size_t size = (1 + slot_random(&state) % (MAX_FILE / 8)) * 8;

	if (slot_random(&state) % 4)	/* most files are small */
		size = size % 16384 + 8;
	return make_content(state, job->buf, size);
}

static void make_record(struct job *job, unsigned long number)
{
	make_content(content_seed(job, 1, number), job->buf, RECORD);
}

static int open_file(const struct job *job, const char *kind, unsigned long number, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%u.%s.%lu", directory, job->id, kind, number);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	return fd;
}

/* In one piece, so that lines of threads do not mix. */
static __attribute__((format(printf, 1, 2))) void mark(const char *fmt, ...)
{
	char line[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (write(STDOUT_FILENO, line, n) != n)
		_exit(1);
}

static void write_all(int fd, const void *buf, size_t size)
{
	ssize_t r = write(fd, buf, size);

	if (r != (ssize_t)size)
		fail("write: %s", r < 0 ? strerror(errno) : "short");
}

static void sync_directory(void)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		fail("fsync of the directory: %s", strerror(errno));
	close(fd);
}

static void step_file(struct job *job)
{
	unsigned long number = job->files++;
	int fd = open_file(job, "file", number, O_CREAT | O_EXCL | O_WRONLY);

	write_all(fd, job->buf, make_file(job, number));
	if (fsync(fd))
		fail("fsync: %s", strerror(errno));
	close(fd);
	sync_directory();
	mark("M file %u %lu\n", job->id, number);

	if (job->files - job->first_file > KEPT_FILES)
		mark("M gone %u %lu\n", job->id, job->first_file++);
	if (job->first_file > KEPT_FILES) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/%u.file.%lu", directory, job->id,
			 job->first_file - KEPT_FILES - 1);
		if (unlink(path) && errno != ENOENT)
			fail("%s: %s", path, strerror(errno));
	}
}

static void step_log(struct job *job)
{
	make_record(job, job->records++);
	write_all(job->log_fd, job->buf, RECORD);
	if (fsync(job->log_fd))
		fail("fsync of the log: %s", strerror(errno));
	mark("M log %u %lu\n", job->id, job->records);
}

static void step_slot(struct job *job, uint64_t *rng)
{
	unsigned int slot = slot_random(rng) % job->slots.nr;
	int error = slot_write(&job->slots, job->slot_fd, slot, job->buf);

	if (!error && fdatasync(job->slot_fd))
		error = errno;
	if (error)
		fail("slot %u: %s", slot, strerror(error));
	mark("M slot %u %u %u\n", job->id, slot, job->slots.low[slot]);
}

static void *run_job(void *arg)
{
	struct job *job = arg;
	uint64_t rng = opt.seed + job->id;

	for (unsigned long i = 0; !opt.steps || i < opt.steps; i++) {
		unsigned int kind = slot_random(&rng) % 10;

		if (kind < 4)
			step_file(job);
		else if (kind < 7)
			step_log(job);
		else
			step_slot(job, &rng);
	}
	return NULL;
}

static void init_job(struct job *job, unsigned int id, int flags)
{
	job->id = id;
	job->buf = aligned_alloc(SLOT_SIZE, MAX_FILE);
	if (!job->buf || slots_init(&job->slots, SLOTS_BYTES, 0, opt.seed + id, 0))
		fail("no memory");
	job->log_fd = open_file(job, "log", 0, flags | O_APPEND);
	job->slot_fd = open_file(job, "slots", 0, flags);
}

static int run(void)
{
	struct job jobs[MAX_THREADS] = { 0 };
	unsigned int i;

	if (mkdir(directory, 0700) && errno != EEXIST)
		fail("mkdir: %s", strerror(errno));
	for (i = 0; i < opt.threads; i++) {
		init_job(&jobs[i], i, O_CREAT | O_EXCL | O_RDWR);
		if (ftruncate(jobs[i].slot_fd, SLOTS_BYTES) || fsync(jobs[i].slot_fd))
			fail("cannot make the block file: %s", strerror(errno));
	}
	sync_directory();
	mark("M begin %u\n", opt.threads);
	for (i = 0; i < opt.threads; i++)
		if (pthread_create(&jobs[i].tid, NULL, run_job, &jobs[i]))
			fail("no thread");
	for (i = 0; i < opt.threads; i++)
		pthread_join(jobs[i].tid, NULL);
	return 0;
}

/* ---- afterwards ---- */

static void read_markers(struct job *jobs, unsigned int *threads, unsigned long *lines)
{
	FILE *f = fopen(opt.markers, "r");
	unsigned long number, version;
	char *line = NULL, kind[8];
	size_t size = 0;
	unsigned int id;

	if (!f)
		fail("%s: %s", opt.markers, strerror(errno));
	while (getline(&line, &size, f) > 0) {
		if (!strchr(line, '\n') || sscanf(line, "M %7s %u", kind, &id) != 2)
			continue;
		if (!strcmp(kind, "begin")) {
			*threads = id < MAX_THREADS ? id : MAX_THREADS;
			for (id = 0; id < *threads; id++)
				init_job(&jobs[id], id, O_RDONLY);
			continue;
		}
		version = 0;
		if (id >= *threads || sscanf(line, "M %*s %*u %lu %lu", &number, &version) < 1)
			fail("a marker that cannot be: %s", line);
		(*lines)++;
		if (!strcmp(kind, "file"))
			jobs[id].files = number + 1;
		else if (!strcmp(kind, "gone"))
			jobs[id].first_file = number + 1;
		else if (!strcmp(kind, "log"))
			jobs[id].records = number;
		else if (number < jobs[id].slots.nr)
			jobs[id].slots.low[number] = version;
	}
	free(line);
	fclose(f);
}

static void verify_content(int fd, const struct job *job, size_t size, const char *what,
			   unsigned long number)
{
	static unsigned char got[MAX_FILE];
	ssize_t r = read(fd, got, size);

	if (r != (ssize_t)size)
		fail("%s %lu of thread %u: %zd bytes instead of %zu", what, number, job->id, r,
		     size);
	if (memcmp(got, job->buf, size))
		fail("%s %lu of thread %u: wrong content", what, number, job->id);
}

static void verify_job(struct job *job)
{
	unsigned long i;

	for (i = job->first_file; i < job->files; i++) {
		int fd = open_file(job, "file", i, O_RDONLY);

		verify_content(fd, job, make_file(job, i), "file", i);
		close(fd);
	}
	for (i = 0; i < job->records; i++) {
		make_record(job, i);
		verify_content(job->log_fd, job, RECORD, "record", i);
	}
	for (i = 0; i < job->slots.nr; i++) {
		job->slots.high[i] = job->slots.low[i] + NEWER_MAX;
		if (slot_check(&job->slots, job->slot_fd, i, job->buf))
			fail("slot %lu of thread %u", i, job->id);
	}
}

static int verify(void)
{
	struct job jobs[MAX_THREADS] = { 0 };
	unsigned int i, threads = 0;
	unsigned long files = 0, lines = 0;

	read_markers(jobs, &threads, &lines);
	for (i = 0; i < threads; i++) {
		verify_job(&jobs[i]);
		files += jobs[i].files - jobs[i].first_file;
	}
	printf("# %s: %lu fsyncs of %u threads, all there: %lu files, logs, blocks\n", directory,
	       lines, threads, files);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "steps", required_argument, NULL, 'n' },
		{ "verify", required_argument, NULL, 'v' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			opt.seed = strtoull(optarg, NULL, 0);
		else if (c == 't')
			opt.threads = strtoul(optarg, NULL, 0);
		else if (c == 'n')
			opt.steps = strtoul(optarg, NULL, 0);
		else if (c == 'v')
			opt.markers = optarg;
		else
			return 2;
	}
	if (argc - optind != 1 || !opt.threads || opt.threads > MAX_THREADS)
		return 2;
	directory = argv[optind];
	return opt.markers ? verify() : run();
}
