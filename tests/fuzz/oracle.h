/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a chain of images, damaged or not, must read as: the specification's section
 * "Cluster mapping" in its simplest form, over images that are in memory as a whole.  It shares
 * nothing with the module.
 */
#ifndef QCHAIN_FUZZ_ORACLE_H
#define QCHAIN_FUZZ_ORACLE_H

#include "util.h"

enum fuzz_expect {
	FUZZ_BYTES,		/* these bytes */
	FUZZ_ERROR,		/* an I/O error: a bad entry is needed */
	FUZZ_ANY,		/* not for this oracle to say: compressed data, tables in tables */
};

struct fuzz_layer {
	bool raw;
	const u8 *bytes;	/* of its file or device */
	u64 len;		/* so many; what follows up to ... */
	u64 store;		/* the size of its file or device is zeroes */

	/* Set by fuzz_layer_init(). */
	u64 size;		/* of the virtual disk, in whole sectors */
	u32 version;
	u32 cluster_bits;
	u64 l1_offset;
	u32 l1_size;
};

/* Read the header.  It has been found good: the numbers are not checked. */
void fuzz_layer_init(struct fuzz_layer *layer);

/*
 * fuzz_expected - what reading @len bytes at @pos gives.
 * @layers: the top layer first.
 * @buf: the bytes, for FUZZ_BYTES.
 */
enum fuzz_expect fuzz_expected(const struct fuzz_layer *layers, unsigned int count, u64 pos,
			       u64 len, u8 *buf);

#endif /* QCHAIN_FUZZ_ORACLE_H */
