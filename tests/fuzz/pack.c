// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pack IMAGE PACKED: make an image the input of the fuzz targets, see packed.h.
 * pack -d PACKED IMAGE: make the image of such an input, as a crash leaves one.
 */
#include <stdio.h>

#include "packed.h"
#include "target.h"

static u8 bytes[FUZZ_ROOM], packed[FUZZ_ROOM];

static size_t slurp(const char *path, u8 *to)
{
	FILE *in = fopen(path, "rb");
	size_t len = in ? fread(to, 1, FUZZ_ROOM, in) : 0;

	if (!in || ferror(in)) {
		perror(path);
		exit(1);
	}
	fclose(in);
	return len;
}

static void dump(const char *path, const u8 *from, size_t len)
{
	FILE *out = fopen(path, "wb");

	if (!out || fwrite(from, 1, len, out) != len || fclose(out)) {
		perror(path);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct fuzz_image image = { .bytes = bytes, .room = FUZZ_ROOM };

	if (argc == 4 && !strcmp(argv[1], "-d")) {
		fuzz_unpack(packed, slurp(argv[2], packed), &image);
		dump(argv[3], bytes, image.size);
	} else if (argc == 3) {
		image.size = slurp(argv[1], bytes);
		dump(argv[2], packed, fuzz_pack(&image, packed, FUZZ_ROOM));
	} else {
		fprintf(stderr, "usage: pack IMAGE PACKED | pack -d PACKED IMAGE\n");
		return 2;
	}
	return 0;
}
