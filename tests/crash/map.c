// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files as memory, see map.h.
 */
#include <err.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"

static void *map(const char *path, int flags, int protection, uint64_t *size)
{
	int fd = open(path, flags);
	struct stat st;
	void *bytes = NULL;

	if (fd < 0 || fstat(fd, &st))
		err(1, "%s", path);
	*size = st.st_size;
	if (*size) {
		bytes = mmap(NULL, *size, protection, MAP_SHARED, fd, 0);
		if (bytes == MAP_FAILED)
			err(1, "%s", path);
	}
	close(fd);
	return bytes;
}

const uint8_t *map_file(const char *path, uint64_t *size)
{
	return map(path, O_RDONLY, PROT_READ, size);
}

uint8_t *map_file_shared(const char *path, uint64_t *size)
{
	return map(path, O_RDWR, PROT_READ | PROT_WRITE, size);
}

void unmap_file(const uint8_t *bytes, uint64_t size)
{
	if (size)
		munmap((void *)bytes, size);
}
