// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random direct I/O of 4 KiB to blocks that lie anywhere on a device of any size; what was
 * written is known without a copy of the device (slots.h).
 *
 *	slot_io [--seed N] [--slots N] [--threads N] [--ops N] DEVICE
 *
 * --slots is how many blocks there are, --ops how many operations each thread does; at the end all
 * blocks are read. Exit status: 0, or 1 for an error or wrong content.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>

#include "slots.h"

#define MAX_THREADS 16

static struct slots slots;
static unsigned int threads = 4;
static unsigned long ops = 1000;
static uint64_t seed;
static int fd;

static void judge(const char *what, unsigned int slot, int error)
{
	if (!error)
		return;
	printf("# slot_io: %s of slot %u: %s (seed %" PRIu64 ")\n", what, slot,
	       error < 0 ? "wrong content" : strerror(error), seed);
	fflush(stdout);
	_exit(1);
}

static void *worker(void *arg)
{
	unsigned int id = (uintptr_t)arg;
	uint64_t rng = seed + id;
	void *buf = aligned_alloc(SLOT_SIZE, SLOT_SIZE);

	for (unsigned long i = 0; i < ops; i++) {
		unsigned int kind = slot_random(&rng) % 100;
		unsigned int slot = slot_random(&rng) % (slots.nr / threads) * threads + id;

		if (kind < 55)
			judge("write", slot, slot_write(&slots, fd, slot, buf));
		else if (kind < 99)
			judge("read", slot, slot_check(&slots, fd, slot, buf));
		else
			judge("fsync", slot, fdatasync(fd) ? errno : 0);
	}
	free(buf);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "slots", required_argument, NULL, 'k' },
		{ "threads", required_argument, NULL, 't' },
		{ "ops", required_argument, NULL, 'n' },
		{ }
	};
	void *buf = aligned_alloc(SLOT_SIZE, SLOT_SIZE);
	pthread_t tids[MAX_THREADS];
	unsigned int i, nr = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'k')
			nr = strtoul(optarg, NULL, 0);
		else if (c == 't')
			threads = strtoul(optarg, NULL, 0);
		else if (c == 'n')
			ops = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	if (argc - optind != 1 || !threads || threads > MAX_THREADS)
		return 2;
	fd = open(argv[optind], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || slots_init(&slots, lseek(fd, 0, SEEK_END), nr, seed, 0)) {
		perror(argv[optind]);
		return 1;
	}
	for (i = 0; i < threads; i++)
		if (pthread_create(&tids[i], NULL, worker, (void *)(uintptr_t)i))
			return 1;
	for (i = 0; i < threads; i++)
		pthread_join(tids[i], NULL);
	for (i = 0; i < slots.nr; i++)
		judge("last read", i, slot_check(&slots, fd, i, buf));
	return 0;
}
