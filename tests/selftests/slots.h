/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks of 4 KiB ("slots") on a device or in a file, each of which is written in numbered
 * versions and tells which one it holds.
 *
 * A write that failed, or whose end nobody saw, may have happened or not: of each slot the
 * lowest and the highest version that it may hold is known. Every eighth version is zeroes, so that
 * it can be made without a write; version 0 is what was there before, one byte repeated.
 */
#ifndef QCHAIN_TEST_SLOTS_H
#define QCHAIN_TEST_SLOTS_H

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SLOT_SIZE 4096
#define SLOT_WORDS (SLOT_SIZE / sizeof(uint64_t))

struct slots {
	unsigned int nr;
	uint64_t stride;	/* one slot lies somewhere in each so many slots of the device */
	uint64_t seed;
	unsigned char initial;
	uint32_t *low, *high;	/* versions; a slot belongs to one thread at a time */
};

static inline uint64_t slot_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* As many slots as there are, or @nr of them all over @size bytes. */
static inline int slots_init(struct slots *s, uint64_t size, unsigned int nr, uint64_t seed,
			     unsigned char initial)
{
	if (!nr || nr > size / SLOT_SIZE)
		nr = size / SLOT_SIZE;
	s->nr = nr;
	s->stride = size / SLOT_SIZE / nr;
	s->seed = seed;
	s->initial = initial;
	s->low = calloc(nr, sizeof(*s->low));
	s->high = calloc(nr, sizeof(*s->high));
	return s->low && s->high ? 0 : -1;
}

static inline uint64_t slot_position(const struct slots *s, unsigned int slot)
{
	uint64_t state = s->seed ^ slot;

	return (slot * s->stride + slot_random(&state) % s->stride) * SLOT_SIZE;
}

static inline bool slot_is_zero(uint32_t version)
{
	return version && version % 8 == 0;
}

static inline void slot_content(const struct slots *s, unsigned int slot, uint32_t version,
				void *buf)
{
	uint64_t state = s->seed + ((uint64_t)slot << 32 | version), *word = buf;

	if (!version || slot_is_zero(version)) {
		memset(buf, version ? 0 : s->initial, SLOT_SIZE);
		return;
	}
	word[0] = (uint64_t)slot << 32 | version;
	for (unsigned int i = 1; i < SLOT_WORDS; i++)
		word[i] = slot_random(&state);
}

/* Write the next version; 0 or an errno. @buf is SLOT_SIZE bytes, aligned for direct I/O. */
static inline int slot_write(struct slots *s, int fd, unsigned int slot, void *buf)
{
	uint64_t range[2] = { slot_position(s, slot), SLOT_SIZE };
	uint32_t version = ++s->high[slot];
	ssize_t r;

	slot_content(s, slot, version, buf);
	if (slot_is_zero(version) && !ioctl(fd, BLKZEROOUT, range))
		r = SLOT_SIZE;
	else
		r = pwrite(fd, buf, SLOT_SIZE, range[0]);
	if (r != SLOT_SIZE)
		return r < 0 ? errno : EIO;
	s->low[slot] = version;
	return 0;
}

/*
 * Is @buf what the slot may hold? Narrows down what it may hold from now on; says what is wrong
 * where it is not.
 */
static inline bool slot_judge(struct slots *s, unsigned int slot, const void *buf)
{
	uint64_t expected[SLOT_WORDS], got[2];

	for (uint32_t version = s->high[slot] + 1; version-- > s->low[slot]; ) {
		slot_content(s, slot, version, expected);
		if (!memcmp(buf, expected, SLOT_SIZE)) {
			s->low[slot] = version;
			s->high[slot] = version;
			return true;
		}
	}
	memcpy(got, buf, sizeof(got));
	printf("# slot %u at %" PRIu64 " should hold version %u to %u, but has %016" PRIx64 " %016"
	       PRIx64 "\n", slot, slot_position(s, slot), s->low[slot], s->high[slot], got[0],
	       got[1]);
	return false;
}

/* Read the slot: 0, an errno, or -1: wrong content. */
static inline int slot_check(struct slots *s, int fd, unsigned int slot, void *buf)
{
	ssize_t r = pread(fd, buf, SLOT_SIZE, slot_position(s, slot));

	if (r != SLOT_SIZE)
		return r < 0 ? errno : EIO;
	return slot_judge(s, slot, buf) ? 0 : -1;
}

#endif /* QCHAIN_TEST_SLOTS_H */
