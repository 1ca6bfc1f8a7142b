// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Write sectors of generation 0 (sector.h) to a file:
 *	fill FILE DISK FIRST COUNT [AT]
 * sectors FIRST... of the disk, at sector AT of the file (default: FIRST).
 */
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "sector.h"

#define BATCH 256

int main(int argc, char **argv)
{
	static uint64_t buffer[BATCH * SECTOR_WORDS];
	uint64_t disk, first, count, at, i, n;
	int fd;

	if (argc < 5 || argc > 6)
		errx(2, "usage: fill FILE DISK FIRST COUNT [AT]");
	disk = strtoull(argv[2], NULL, 0);
	first = strtoull(argv[3], NULL, 0);
	count = strtoull(argv[4], NULL, 0);
	at = argc > 5 ? strtoull(argv[5], NULL, 0) : first;
	fd = open(argv[1], O_WRONLY | O_CREAT, 0666);
	if (fd < 0)
		err(1, "%s", argv[1]);
	for (; count; first += n, at += n, count -= n) {
		n = count < BATCH ? count : BATCH;
		for (i = 0; i < n; i++)
			sector_make(buffer + i * SECTOR_WORDS, disk, first + i, 0);
		if (pwrite(fd, buffer, n * SECTOR_SIZE, at * SECTOR_SIZE) !=
		    (ssize_t)(n * SECTOR_SIZE))
			err(1, "%s", argv[1]);
	}
	return 0;
}
