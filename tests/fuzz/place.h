/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the driver puts images: files, or a device that is a window in a larger disk. */
#ifndef QCHAIN_FUZZ_PLACE_H
#define QCHAIN_FUZZ_PLACE_H

#include "mutate.h"

struct fuzz_place {
	const char *path;	/* a directory, or a block device */
	bool device;
	u64 size;		/* of the device */

	/* The disk of which the device is the bytes from @start on: the rest is the guard. */
	const char *disk;
	u64 start;
	u64 disk_size;
};

/* Find out what @path is, and with @disk fill the guard.  Exits on failure. */
void fuzz_place_init(struct fuzz_place *place, const char *path, const char *disk, u64 start);

/* Path of the image @name in @place: a static buffer for each of a few calls. */
const char *fuzz_place_name(const struct fuzz_place *place, const char *name);

/*
 * Write an image; what a device, a memory disk, has beyond its end becomes zeroes.  Exits on
 * failure.
 */
void fuzz_place_write(const struct fuzz_place *place, const char *path,
		      const struct fuzz_image *image);

/* Does the image start with these bytes? */
bool fuzz_place_equal(const char *path, const u8 *bytes, size_t len);

/* Is the guard as it was: next to the device, or with @all as a whole? */
bool fuzz_place_guarded(const struct fuzz_place *place, bool all);

#endif /* QCHAIN_FUZZ_PLACE_H */
