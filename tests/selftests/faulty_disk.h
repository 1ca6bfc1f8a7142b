/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk in the memory of this process, seen by the kernel as /dev/nbdN, that counts what it is
 * asked and fails what it is told to.  It has a volatile write cache, as disks do: what a
 * power cut would leave of it can be had at any time.
 *
 * Why not dm-flakey or dm-dust: they fail by time or by place, not the third write.
 */
#ifndef QCHAIN_FAULTY_DISK_H
#define QCHAIN_FAULTY_DISK_H

#include <stdbool.h>
#include <stdint.h>

struct faulty_disk;

enum faulty_what {
	FAULTY_NOTHING,
	FAULTY_READS,
	FAULTY_WRITES,		/* flushes and discards are among them */
	FAULTY_FLUSHES,		/* and writes with FUA */
};

/* Which requests fail, counted from the moment that the plan is made. */
struct faulty_plan {
	enum faulty_what what;
	uint64_t first;		/* 1: the next one */
	uint64_t count;		/* so many in a row */
	bool torn;		/* a part of what fails is done all the same */
	bool forgets;		/* with a flush or FUA write that fails goes all that was cached */
};

struct faulty_counts {
	uint64_t reads;
	uint64_t writes;
	uint64_t flushes;		/* of these; writes with FUA are among them */
	uint64_t failed;
	uint64_t flushes_failed;
	char last[64];		/* the request that failed last, in words */
};

enum faulty_view {
	FAULTY_CACHED,		/* what reads return */
	FAULTY_CUT,		/* what was flushed, and any part of what was not */
};

/*
 * faulty_disk_open - serve @size bytes as @device, an nbd device that nobody uses.
 * @seed: of all choices that are made when something is torn or cut.
 * NULL and errno on failure.
 */
struct faulty_disk *faulty_disk_open(const char *device, uint64_t size, uint64_t seed);

/* The device must not be in use any more. */
void faulty_disk_close(struct faulty_disk *disk);

/* Start afresh with the content of a file, all of it stable; behind its end is garbage. */
int faulty_disk_fill(struct faulty_disk *disk, const char *path);

/* Make a plan; counts start at zero. */
void faulty_disk_plan(struct faulty_disk *disk, const struct faulty_plan *plan);

/* Nothing fails any more; counting goes on. */
void faulty_disk_heal(struct faulty_disk *disk);

/* Print requests as they come, or no more. */
void faulty_disk_list(struct faulty_disk *disk, bool on);

void faulty_disk_counts(struct faulty_disk *disk, struct faulty_counts *counts);

/* Write what the disk holds, but the garbage at its end, to a file.  0, or -1 and errno. */
int faulty_disk_save(struct faulty_disk *disk, enum faulty_view view, const char *path);

#endif /* QCHAIN_FAULTY_DISK_H */
