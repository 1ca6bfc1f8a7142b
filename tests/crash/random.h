/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CRASH_RANDOM_H
#define CRASH_RANDOM_H

#include "sector.h"

/* The next of the numbers that follow from a seed, which @state was at first. */
static inline uint64_t random_next(uint64_t *state)
{
	*state = sector_mix(*state, 1);
	return *state;
}

#endif /* CRASH_RANDOM_H */
