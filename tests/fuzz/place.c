// SPDX-License-Identifier: GPL-2.0-or-later
/* Images on files and devices. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* O_DIRECT */
#endif
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "place.h"

#define PIECE (256U << 10)
#define NEXT_TO (64U << 10)
#define BLOCK 4096U

static u8 buffer[PIECE] __attribute__((aligned(4096)));

static __attribute__((noreturn)) void die(const char *path, const char *what)
{
	fprintf(stderr, "%s: ", path);
	perror(what);
	exit(1);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path, "open");
	return fd;
}

/* Each word of the guard tells where it belongs. */
static void guard_bytes(u64 pos, u8 *to, size_t len)
{
	for (size_t i = 0; i < len; i += 8)
		qc_put_be64(to + i, (pos + i) * 0x9e3779b97f4a7c15ULL | 1);
}

static bool guard_intact(int fd, u64 from, u64 end)
{
	static u8 expected[PIECE];

	for (u64 at = from; at < end; at += PIECE) {
		size_t len = end - at < PIECE ? end - at : PIECE;

		guard_bytes(at, expected, len);
		if (pread(fd, buffer, len, at) != (ssize_t)len || memcmp(buffer, expected, len)) {
			printf("# the guard was overwritten in the %zu bytes at %llu\n", len, at);
			return false;
		}
	}
	return true;
}

static void fill_guard(const struct fuzz_place *place)
{
	int fd = open_or_die(place->disk, O_WRONLY | O_DIRECT);

	for (u64 at = 0; at < place->disk_size; at += PIECE) {
		if (at >= place->start && at < place->start + place->size)
			continue;
		guard_bytes(at, buffer, PIECE);
		if (pwrite(fd, buffer, PIECE, at) != PIECE)
			die(place->disk, "write");
	}
	close(fd);
}

static u64 device_size(const char *path)
{
	int fd = open_or_die(path, O_RDONLY);
	u64 size;

	if (ioctl(fd, BLKGETSIZE64, &size))
		die(path, "size");
	close(fd);
	return size;
}

void fuzz_place_init(struct fuzz_place *place, const char *path, const char *disk, u64 start)
{
	struct stat st;

	*place = (struct fuzz_place){ .path = path, .disk = disk, .start = start };
	if (stat(path, &st))
		die(path, "stat");
	place->device = S_ISBLK(st.st_mode);
	if (!place->device)
		return;
	place->size = device_size(path);
	if (disk) {
		place->disk_size = device_size(disk);
		fill_guard(place);
	}
}

const char *fuzz_place_name(const struct fuzz_place *place, const char *name)
{
	static char names[4][PATH_MAX];
	static unsigned int next;
	char *to = names[next++ % ARRAY_SIZE(names)];

	snprintf(to, PATH_MAX, "%s%s%s", place->path, place->device ? "" : "/",
		 place->device ? "" : name);
	return to;
}

static bool is_zero(const struct fuzz_image *image, size_t at)
{
	size_t len = image->size - at < BLOCK ? image->size - at : BLOCK;

	return !image->bytes[at] && !memcmp(image->bytes + at, image->bytes + at + 1, len - 1);
}

/* How many bytes from @at on are written together: whole blocks, before the next one of zeroes. */
static size_t run_length(const struct fuzz_image *image, size_t at)
{
	size_t len = 0;

	while (len < PIECE && at + len < image->size && !is_zero(image, at + len))
		len += BLOCK;
	return len;
}

void fuzz_place_write(const struct fuzz_place *place, const char *path,
		      const struct fuzz_image *image)
{
	int fd = open_or_die(path, place->device ? O_WRONLY | O_DIRECT :
			     O_WRONLY | O_CREAT | O_TRUNC);
	u64 range[2] = { 0, place->size };

	/* On the memory disks of the tests a discard leaves zeroes, and takes no time. */
	if (place->device ? ioctl(fd, BLKDISCARD, range) : ftruncate(fd, image->size))
		die(path, "clear");
	for (size_t at = 0, run; at < image->size; at += run ? run : BLOCK) {
		size_t len, left = image->size - at;

		run = run_length(image, at);
		len = left < run ? left : run;
		memcpy(buffer, image->bytes + at, len);
		memset(buffer + len, 0, run - len);
		/* A device takes whole blocks only. */
		if (place->device)
			len = run;
		if (pwrite(fd, buffer, len, at) != (ssize_t)len)
			die(path, "write");
	}
	if (close(fd))
		die(path, "close");
}

bool fuzz_place_equal(const char *path, const u8 *bytes, size_t len)
{
	int fd = open_or_die(path, O_RDONLY);
	bool equal = true;

	for (size_t at = 0; at < len && equal; at += PIECE) {
		size_t n = len - at < PIECE ? len - at : PIECE;

		equal = pread(fd, buffer, n, at) == (ssize_t)n && !memcmp(buffer, bytes + at, n);
	}
	close(fd);
	return equal;
}

bool fuzz_place_guarded(const struct fuzz_place *place, bool all)
{
	u64 before = all ? place->start : NEXT_TO, after = place->start + place->size;
	u64 end = all ? place->disk_size : after + NEXT_TO;
	bool intact;
	int fd;

	if (!place->disk)
		return true;
	fd = open_or_die(place->disk, O_RDONLY | O_DIRECT);
	intact = guard_intact(fd, place->start - before, place->start) &&
		 guard_intact(fd, after, end);
	close(fd);
	return intact;
}
