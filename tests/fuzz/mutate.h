/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Damage to qcow2 images by one who knows the format: it goes to the fields, entries and
 * tables that mean something, with values that are nearly right, or as wrong as can be.
 *
 * Everything follows from the generator's state.  An image may have been damaged before: what
 * is no longer there, or not a number that can be followed, is not followed.
 */
#ifndef QCHAIN_FUZZ_MUTATE_H
#define QCHAIN_FUZZ_MUTATE_H

#include "util.h"

struct fuzz_rng {
	u64 state;
};

/* Two generators with neighbouring seeds have nothing in common. */
struct fuzz_rng fuzz_rng_init(u64 seed);
u64 fuzz_random(struct fuzz_rng *rng);

/* 0 ... @limit - 1; 0 for a @limit of 0. */
u64 fuzz_below(struct fuzz_rng *rng, u64 limit);

/* An image as a whole, in memory.  Beyond @size up to @room all bytes are zero. */
struct fuzz_image {
	u8 *bytes;
	size_t size;
	size_t room;
};

/* Change the image's size, up to its room. */
void fuzz_resize(struct fuzz_image *image, size_t size);

/* Damage one thing.  Returns what kind of thing it was. */
const char *fuzz_mutate(struct fuzz_image *image, struct fuzz_rng *rng);

#endif /* QCHAIN_FUZZ_MUTATE_H */
