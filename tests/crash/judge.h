/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a disk after a crash is what it has to be, as QEMU's tools (and e2fsck) see it.
 *
 * Everything happens in one directory, where the disk is the file "disk", which is only read
 * here.  What backs the image is there, too, under the name that the image knows.
 */
#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "rule.h"

#define JUDGE_MAX_LAYERS 8

struct judge {
	/*
	 * Images that lie one behind another on the disk, each in @slice sectors, and back each
	 * other as their headers say, by their names here; none: one image is all there is.
	 */
	const char *layers[JUDGE_MAX_LAYERS];
	unsigned int nr_layers;
	uint64_t slice;
	const char *tops;	/* which of them what is asked for may be read from: "a", "a,b" */

	const char *inner;	/* the image is this file of an ext4 file system on the disk */
	const char *snapshot;	/* an internal snapshot, and what it must read as, a raw file */
	const char *snapshot_raw;
	uint64_t files;		/* the image holds a file system with files (files.h) */
	const char *qchain;	/* the program, for repairs */

	/* what was seen so far */
	unsigned int leaking, repaired;
	uint64_t max_leaks;
};

/* Prepare the directory, which becomes the working directory. */
void judge_open(struct judge *judge, const char *dir);

/*
 * What the rule is about: the bytes that the image reads as, or those of the files.  NULL with an
 * explanation to @out when there are none.  To be freed.
 */
uint8_t *judge_content(const struct judge *judge, uint64_t *size, FILE *out);

/*
 * The image opens (of several, one of the tops), none is corrupt, and it reads as the rule says;
 * and, with @repair, a repaired copy is clean and reads the same.  Explains to @out what is not so.
 */
bool judge_disk(struct judge *judge, const struct rule *rule, bool repair, FILE *out);

#endif /* CRASH_JUDGE_H */
