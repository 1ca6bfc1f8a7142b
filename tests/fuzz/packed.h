/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images as the input of a fuzzer, which must be small: runs of one byte take twelve bytes, what
 * is zero takes none.
 *
 *	u32	size of the image in bytes
 *	then any number of
 *	u32	number of a block of 512 bytes
 *	u32	0: the block's 512 bytes follow
 *		n << 8 | byte: so many blocks are full of that byte
 *
 * Numbers are big-endian.  Any bytes can be unpacked: what does not fit is left out.
 */
#ifndef QCHAIN_FUZZ_PACKED_H
#define QCHAIN_FUZZ_PACKED_H

#include "mutate.h"

/* Put the image into @image, whose bytes up to its room are overwritten. */
void fuzz_unpack(const u8 *packed, size_t len, struct fuzz_image *image);

/* Bytes written to @packed; 0 when @max is too small. */
size_t fuzz_pack(const struct fuzz_image *image, u8 *packed, size_t max);

#endif /* QCHAIN_FUZZ_PACKED_H */
