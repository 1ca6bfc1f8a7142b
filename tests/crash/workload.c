// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes, discards and flushes on a block device, by several threads, each noted in a journal
 * (journal.h), in sectors that say what they are (sector.h).
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "journal.h"
#include "options.h"
#include "random.h"
#include "sector.h"
#include "threads.h"

#define MAX_THREADS 32
#define MAX_SECTORS 1024

static struct {
	const char *journal, *log;
	const char *stop;		/* a file: when it is there, no more operations */
	uint64_t seed;			/* of random choices, and the identity of the disk */
	uint64_t threads, ops;		/* ops: of all threads together */
	uint64_t max_sectors;		/* of one write */
	uint64_t cluster;		/* bytes */
	uint64_t flush, fua, discard, zero;	/* per cent; the rest are writes */
	bool sequential;
	bool hints;			/* discards need not be taken */
} opt = { .seed = 1, .threads = 1, .ops = 1000, .max_sectors = 64, .cluster = 65536, .flush = 5 };

static int device;
static uint64_t disk_sectors, cluster_sectors;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int ops_begun;
static uint64_t next_sector;		/* sequential */

/* Sectors with an operation under way, by thread. */
static struct range {
	uint64_t first, count;
} busy[MAX_THREADS];

/*
 * dm-log-writes logs a FUA write when it ends, but a plain one only with the next flush, even
 * if it ended before.  So that the log is true to the order, no FUA write goes to sectors that
 * were written since the last flush.  For each sector: the flush that comes after its write.
 */
static uint64_t *written_before;
static uint64_t flushes_begun, flushes_done;

static bool is_busy(uint64_t first, uint64_t count)
{
	unsigned int i;

	for (i = 0; i < opt.threads; i++)
		if (first < busy[i].first + busy[i].count && busy[i].first < first + count)
			return true;
	return false;
}

static void choose_write(uint64_t *state, struct range *range)
{
	uint64_t count = 1 + random_next(state) % opt.max_sectors;

	if (opt.sequential) {
		range->first = next_sector;
	} else {
		range->first = random_next(state) % disk_sectors;
		switch (random_next(state) % 4) {
		case 0:		/* whole clusters */
			range->first -= range->first % cluster_sectors;
			count += cluster_sectors - 1;
			count -= count % cluster_sectors;
			break;
		case 1:		/* pages */
			range->first &= ~UINT64_C(7);
			count = (count + 7) & ~UINT64_C(7);
			break;
		default:
			break;
		}
	}
	range->count = count > MAX_SECTORS ? MAX_SECTORS : count;
	if (range->count > disk_sectors - range->first)
		range->count = disk_sectors - range->first;
	if (opt.sequential)
		next_sector = (range->first + range->count) % disk_sectors;
}

/* Whole clusters, so that what is left afterwards is certain. */
static void choose_clusters(uint64_t *state, struct range *range)
{
	uint64_t clusters = disk_sectors / cluster_sectors;
	uint64_t count = 1 + random_next(state) % 8;

	range->first = random_next(state) % clusters;
	if (count > clusters - range->first)
		count = clusters - range->first;
	range->first *= cluster_sectors;
	range->count = count * cluster_sectors;
}

static bool written_since_flush(const struct range *range)
{
	uint64_t i;

	for (i = 0; i < range->count; i++)
		if (written_before[range->first + i] > flushes_done)
			return true;
	return false;
}

static void do_flush(void)
{
	uint64_t id, number;

	pthread_mutex_lock(&lock);
	number = ++flushes_begun;
	pthread_mutex_unlock(&lock);
	id = journal_begin('F', 0, disk_sectors);
	if (fsync(device))
		err(1, "flush");
	pthread_mutex_lock(&lock);
	if (flushes_done < number)
		flushes_done = number;
	pthread_mutex_unlock(&lock);
	journal_end('G', id);
}

/* Reserve what an operation is for and note it.  False: others are at work there. */
static bool begin(unsigned int thread, char kind, const struct range *range, bool *fua,
		  uint64_t *id)
{
	if (is_busy(range->first, range->count))
		return false;
	busy[thread] = *range;
	*fua = *fua && !written_since_flush(range);
	*id = journal_begin(kind, range->first, range->count);
	return true;
}

static void end(unsigned int thread)
{
	struct range *range = &busy[thread];
	uint64_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < range->count; i++)
		written_before[range->first + i] = flushes_begun + 1;
	range->count = 0;
	pthread_mutex_unlock(&lock);
}

/* Asynchronous, because after a synchronous write with O_DSYNC the kernel flushes besides. */
static long write_fua(const void *buffer, size_t length, off_t offset)
{
	static __thread aio_context_t context;
	struct iocb iocb = {
		.aio_lio_opcode = IOCB_CMD_PWRITE,
		.aio_fildes = device,
		.aio_buf = (uintptr_t)buffer,
		.aio_nbytes = length,
		.aio_offset = offset,
		.aio_rw_flags = RWF_DSYNC,
	};
	struct iocb *list = &iocb;
	struct io_event event;

	if (!context && syscall(SYS_io_setup, 1, &context))
		return -1;
	if (syscall(SYS_io_submit, context, 1, &list) != 1 ||
	    syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1)
		return -1;
	if (event.res < 0)
		errno = -event.res;
	return event.res;
}

static void do_write(const struct range *range, uint64_t id, bool fua, uint64_t *buffer)
{
	size_t length = range->count * SECTOR_SIZE;
	off_t offset = range->first * SECTOR_SIZE;
	uint64_t i;

	for (i = 0; i < range->count; i++)
		sector_make(buffer + i * SECTOR_WORDS, opt.seed, range->first + i, id);
	if ((fua ? write_fua(buffer, length, offset) : pwrite(device, buffer, length, offset)) !=
	    (ssize_t)length)
		err(1, "write at sector %" PRIu64, range->first);
}

static void do_discard(const struct range *range)
{
	uint64_t bytes[2] = { range->first * SECTOR_SIZE, range->count * SECTOR_SIZE };

	if (ioctl(device, BLKDISCARD, bytes))
		err(1, "discard at sector %" PRIu64, range->first);
}

/* Free what was there, or keep it allocated. */
static void do_zero(const struct range *range, bool keep)
{
	int mode = keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;

	if (fallocate(device, mode | FALLOC_FL_KEEP_SIZE, range->first * SECTOR_SIZE,
		      range->count * SECTOR_SIZE))
		err(1, "zero at sector %" PRIu64, range->first);
}

static void one_op(unsigned int thread, uint64_t *state, uint64_t *buffer)
{
	uint64_t dice = random_next(state) % 100;
	struct range range;
	bool fua = false, keep, begun;
	uint64_t id;
	char kind = 'W';

	if (dice < opt.flush) {
		do_flush();
		return;
	}
	dice -= opt.flush;
	if (dice < opt.fua)
		fua = true;
	else if (dice - opt.fua < opt.discard)
		kind = opt.hints ? 'H' : 'D';
	else if (dice - opt.fua - opt.discard < opt.zero)
		kind = 'Z';
	keep = random_next(state) & 1;
	do {
		pthread_mutex_lock(&lock);
		if (kind == 'W' || kind == 'Z')
			choose_write(state, &range);
		else
			choose_clusters(state, &range);
		begun = begin(thread, kind == 'D' ? 'Z' : kind, &range, &fua, &id);
		pthread_mutex_unlock(&lock);
	} while (!begun);

	if (kind == 'W')
		do_write(&range, id, fua, buffer);
	else if (kind == 'Z')
		do_zero(&range, keep);
	else
		do_discard(&range);

	journal_end(fua ? 'U' : 'A', id);
	end(thread);
}

static void *thread_main(void *argument)
{
	unsigned int thread = (uintptr_t)argument;
	uint64_t state = sector_mix(opt.seed, thread);
	uint64_t *buffer = aligned_alloc(4096, MAX_SECTORS * SECTOR_SIZE);
	bool more;

	if (!buffer)
		err(1, "no memory");
	for (;;) {
		pthread_mutex_lock(&lock);
		more = ops_begun < opt.ops && !(opt.stop && !access(opt.stop, F_OK));
		ops_begun += more;
		pthread_mutex_unlock(&lock);
		if (!more)
			break;
		one_op(thread, &state, buffer);
	}
	free(buffer);
	return NULL;
}

static int parse(int argc, char **argv)
{
	const struct option_to options[] = {
		{ "journal", .string = &opt.journal },
		{ "log", .string = &opt.log },
		{ "stop", .string = &opt.stop },
		{ "seed", .number = &opt.seed },
		{ "threads", .number = &opt.threads },
		{ "ops", .number = &opt.ops },
		{ "max-sectors", .number = &opt.max_sectors },
		{ "cluster", .number = &opt.cluster },
		{ "flush", .number = &opt.flush },
		{ "fua", .number = &opt.fua },
		{ "discard", .number = &opt.discard },
		{ "zero", .number = &opt.zero },
		{ "sequential", .flag = &opt.sequential },
		{ "hints", .flag = &opt.hints },
		{ }
	};
	int first = options_parse(argc, argv, options);

	if (first != argc - 1 || !opt.journal || !opt.log || opt.cluster < SECTOR_SIZE ||
	    !opt.max_sectors || !opt.threads || opt.threads > MAX_THREADS)
		errx(2, "usage: workload --journal FILE --log NAME [OPTION]... DEVICE");
	return first;
}

int main(int argc, char **argv)
{
	const char *path;
	uint64_t bytes;

	path = argv[parse(argc, argv)];
	device = open(path, O_RDWR | O_DIRECT);
	if (device < 0 || ioctl(device, BLKGETSIZE64, &bytes))
		err(1, "%s", path);
	disk_sectors = bytes / SECTOR_SIZE;
	cluster_sectors = opt.cluster / SECTOR_SIZE;
	written_before = calloc(disk_sectors, sizeof(*written_before));
	if (!written_before)
		err(1, "no memory");
	journal_open(opt.journal, opt.log);
	threads_run(opt.threads, thread_main);
	do_flush();
	journal_close();
	return 0;
}
