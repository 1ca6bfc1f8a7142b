// SPDX-License-Identifier: GPL-2.0-or-later
/* Images with few bytes. */
#include "packed.h"

#define BLOCK 512

void fuzz_unpack(const u8 *packed, size_t len, struct fuzz_image *image)
{
	size_t at = 4;

	fuzz_resize(image, 0);
	if (len < at)
		return;
	fuzz_resize(image, qc_get_be32(packed));
	while (len - at >= 8) {
		u64 pos = (u64)qc_get_be32(packed + at) * BLOCK;
		u32 run = qc_get_be32(packed + at + 4);
		u64 room = pos < image->size ? image->size - pos : 0;
		u64 bytes = run ? (u64)(run >> 8) * BLOCK : BLOCK;

		at += 8;
		if (bytes > room)
			bytes = room;
		if (run) {
			memset(image->bytes + (bytes ? pos : 0), run & 0xff, bytes);
			continue;
		}
		if (len - at < BLOCK)
			break;
		if (bytes)
			memcpy(image->bytes + pos, packed + at, bytes);
		at += BLOCK;
	}
}

/* Is the block full of one byte? */
static bool uniform(const u8 *block)
{
	return !memcmp(block, block + 1, BLOCK - 1);
}

size_t fuzz_pack(const struct fuzz_image *image, u8 *packed, size_t max)
{
	size_t blocks = qc_div_round_up(image->size, BLOCK), at = 4, i, n;

	if (max < at || blocks * BLOCK > image->room)
		return 0;
	qc_put_be32(packed, image->size);
	for (i = 0; i < blocks; i += n) {
		const u8 *block = image->bytes + i * BLOCK;
		bool run = uniform(block);

		for (n = 1; run && i + n < blocks && n < 1 << 23; n++)
			if (memcmp(block, block + n * BLOCK, BLOCK))
				break;
		if (run && !block[0])
			continue;
		if (max - at < (run ? 8 : 8 + BLOCK))
			return 0;
		qc_put_be32(packed + at, i);
		qc_put_be32(packed + at + 4, run ? n << 8 | block[0] : 0);
		at += 8;
		if (run)
			continue;
		memcpy(packed + at, block, BLOCK);
		at += BLOCK;
	}
	return at;
}
