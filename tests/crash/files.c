// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes, truncations and fsyncs in files of a file system, by several threads, each noted in a
 * journal (journal.h).  File n is as a range of sectors on a disk of its own kind: it begins at
 * sector n * FILE_SECTORS; what is not there counts as zeroes.
 *
 * Besides, each thread makes and deletes files that nobody looks at, so that space is freed, and
 * used again.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "journal.h"
#include "options.h"
#include "random.h"
#include "sector.h"
#include "threads.h"

#define WRITE_SECTORS 32	/* at most, at once */
#define RUBBISH_BYTES (96 * 1024)

static struct {
	const char *journal, *log;
	uint64_t seed;
	uint64_t ops, files, threads;	/* ops: of each thread */
} opt = { .seed = 1, .ops = 200, .files = 8, .threads = 2 };

static int open_file(const char *format, unsigned int n, int flags)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), format, n);
	fd = open(name, flags | O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		err(1, "%s", name);
	return fd;
}

static void write_file(int fd, unsigned int n, uint64_t *state)
{
	static __thread uint64_t buffer[WRITE_SECTORS * SECTOR_WORDS];
	uint64_t first = random_next(state) % FILE_SECTORS;
	uint64_t count = 1 + random_next(state) % WRITE_SECTORS, i, id;

	if (count > FILE_SECTORS - first)
		count = FILE_SECTORS - first;
	id = journal_begin('W', n * FILE_SECTORS + first, count);
	for (i = 0; i < count; i++)
		sector_make(buffer + i * SECTOR_WORDS, opt.seed, n * FILE_SECTORS + first + i, id);
	if (pwrite(fd, buffer, count * SECTOR_SIZE, first * SECTOR_SIZE) !=
	    (ssize_t)(count * SECTOR_SIZE))
		err(1, "write");
	journal_end('A', id);
}

static void truncate_file(int fd, unsigned int n)
{
	uint64_t id = journal_begin('Z', n * FILE_SECTORS, FILE_SECTORS);

	if (ftruncate(fd, 0))
		err(1, "truncate");
	journal_end('A', id);
}

static void sync_file(int fd, unsigned int n, bool data)
{
	uint64_t id = journal_begin('F', n * FILE_SECTORS, FILE_SECTORS);

	if (data ? fdatasync(fd) : fsync(fd))
		err(1, "fsync");
	journal_end('G', id);
}

static void make_rubbish(unsigned int thread, uint64_t *state)
{
	static __thread char buffer[RUBBISH_BYTES];
	char name[32];
	int fd;

	memset(buffer, 'r', sizeof(buffer));
	snprintf(name, sizeof(name), "rubbish%u-%u", thread, (unsigned int)random_next(state) % 8);
	if (!unlink(name))
		return;
	fd = open(name, O_WRONLY | O_CREAT, 0644);
	if (fd < 0 || write(fd, buffer, sizeof(buffer)) != sizeof(buffer) || close(fd))
		err(1, "%s", name);
}

/* Files belong to threads, so that nothing is written by two at once. */
static void *thread_main(void *argument)
{
	unsigned int thread = (uintptr_t)argument, ops, n;
	uint64_t state = sector_mix(opt.seed, thread);
	int fd;

	for (ops = 0; ops < opt.ops; ops++) {
		n = thread + opt.threads * (random_next(&state) % (opt.files / opt.threads));
		fd = open_file("f%u", n, 0);
		switch (random_next(&state) % 16) {
		case 0:
			truncate_file(fd, n);
			break;
		case 1: case 2: case 3:
			sync_file(fd, n, random_next(&state) & 1);
			break;
		case 4: case 5:
			make_rubbish(thread, &state);
			break;
		default:
			write_file(fd, n, &state);
			break;
		}
		close(fd);
	}
	return NULL;
}

static int parse(int argc, char **argv)
{
	const struct option_to options[] = {
		{ "journal", .string = &opt.journal },
		{ "log", .string = &opt.log },
		{ "seed", .number = &opt.seed },
		{ "ops", .number = &opt.ops },
		{ "files", .number = &opt.files },
		{ "threads", .number = &opt.threads },
		{ }
	};
	int first = options_parse(argc, argv, options);

	if (first != argc - 1 || !opt.journal || !opt.log || !opt.threads ||
	    opt.files < opt.threads)
		errx(2, "usage: files --journal FILE --log NAME [OPTION]... DIRECTORY");
	return first;
}

int main(int argc, char **argv)
{
	const char *directory;

	directory = argv[parse(argc, argv)];
	journal_open(opt.journal, opt.log);
	if (chdir(directory))
		err(1, "%s", directory);
	threads_run(opt.threads, thread_main);
	journal_close();
	return 0;
}
