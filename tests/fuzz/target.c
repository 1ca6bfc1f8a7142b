// SPDX-License-Identifier: GPL-2.0-or-later
/* The frame of the fuzz targets: the image's file, and the mutator. */
#include <errno.h>
#include <fcntl.h>

#include "packed.h"
#include "target.h"

#define BLOCK 4096

static u8 bytes[FUZZ_ROOM];
static struct fuzz_image image = { .bytes = bytes, .room = FUZZ_ROOM };

void fuzz_judge(int ret, const struct qc_error *err)
{
	FUZZ_MUST(ret <= 0);
	FUZZ_MUST(!ret || err->code == -ret);
	FUZZ_MUST(!ret || (err->text[0] && !strchr(err->text, '\n')));
}

void fuzz_write(const u8 *data, size_t size)
{
	static const u8 zeroes[BLOCK];
	static int top = -1;

	if (top < 0)
		top = open("top", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	fuzz_unpack(data, size, &image);
	FUZZ_MUST(!ftruncate(top, 0) && !ftruncate(top, image.size));
	for (size_t at = 0; at < image.size; at += BLOCK) {
		size_t len = image.size - at < BLOCK ? image.size - at : BLOCK;

		if (memcmp(bytes + at, zeroes, len))
			FUZZ_MUST(pwrite(top, bytes + at, len, at) == (ssize_t)len);
	}
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned int seed)
{
	struct fuzz_rng rng = fuzz_rng_init(seed);
	size_t len;

	if (!fuzz_below(&rng, 8))
		return LLVMFuzzerMutate(data, size, max);
	fuzz_unpack(data, size, &image);
	do
		fuzz_mutate(&image, &rng);
	while (!fuzz_below(&rng, 3));
	len = fuzz_pack(&image, data, max);
	return len ? len : size;
}
