/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sector that says what it is: which disk it belongs to, where on it, and which write put it
 * there (its generation; 0 was there from the beginning).  All of its 512 bytes follow from these
 * three, so any other content is seen.  It compresses well, as compressed clusters demand.
 */
#ifndef CRASH_SECTOR_H
#define CRASH_SECTOR_H

#include <stdbool.h>
#include <stdint.h>

#define SECTOR_SIZE 512
#define SECTOR_WORDS (SECTOR_SIZE / sizeof(uint64_t))
#define SECTOR_MAGIC UINT64_C(0x7163636173683031)

enum sector_kind {
	SECTOR_ZERO,
	SECTOR_OURS,		/* this disk's, at its place; the generation is valid */
	SECTOR_MISPLACED,	/* of this disk, but of another place */
	SECTOR_FOREIGN,		/* of another disk */
	SECTOR_NOISE,
};

static inline uint64_t sector_mix(uint64_t a, uint64_t b)
{
	uint64_t x = a ^ (b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2));

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline uint64_t sector_sum(uint64_t disk, uint64_t sector, uint64_t generation)
{
	return sector_mix(sector_mix(sector_mix(SECTOR_MAGIC, disk), sector), generation);
}

static inline void sector_make(uint64_t *words, uint64_t disk, uint64_t sector, uint64_t generation)
{
	uint64_t sum = sector_sum(disk, sector, generation);
	unsigned int i;

	words[0] = SECTOR_MAGIC;
	words[1] = disk;
	words[2] = sector;
	words[3] = generation;
	for (i = 4; i < SECTOR_WORDS; i++)
		words[i] = sum;
}

static inline enum sector_kind sector_look(const uint64_t *words, uint64_t disk, uint64_t sector)
{
	uint64_t any = 0, differ = 0, sum;
	unsigned int i;

	if (words[0] != SECTOR_MAGIC) {
		for (i = 0; i < SECTOR_WORDS; i++)
			any |= words[i];
		return any ? SECTOR_NOISE : SECTOR_ZERO;
	}
	sum = sector_sum(words[1], words[2], words[3]);
	for (i = 4; i < SECTOR_WORDS; i++)
		differ |= words[i] ^ sum;
	if (differ)
		return SECTOR_NOISE;
	if (words[1] != disk)
		return SECTOR_FOREIGN;
	return words[2] == sector ? SECTOR_OURS : SECTOR_MISPLACED;
}

static inline uint64_t sector_generation(const uint64_t *words)
{
	return words[3];
}

#endif /* CRASH_SECTOR_H */
