/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check an image's metadata, and repair its refcounts.
 */
#ifndef QCHAIN_CHECK_H
#define QCHAIN_CHECK_H

#include "header.h"

enum qc_repair {
	QC_REPAIR_LEAKS = 1 << 0,	/* give back clusters that nothing refers to */
	QC_REPAIR_ERRORS = 1 << 1,	/* refcounts, copied flags; rebuild refcount structures */
	QC_REPAIR_ALL = QC_REPAIR_LEAKS | QC_REPAIR_ERRORS,
};

enum qc_finding {
	QC_FOUND_CORRUPTION,
	QC_FOUND_LEAK,
};

struct qc_check_options {
	unsigned int repair;		/* enum qc_repair */
	size_t memory;			/* bytes for counters; 0: QC_CHECK_MEMORY */

	/* Called for each finding of the first pass; may be NULL. */
	void (*report)(void *ctx, enum qc_finding finding, const char *message);
	void *ctx;
};

/*
 * Counters take 5 bytes per host cluster.  An image that needs more than this is checked in
 * several passes over its metadata.  At least one refcount block's worth is always used.
 */
#define QC_CHECK_MEMORY (256UL << 20)

struct qc_check_result {
	u64 corruptions;	/* what is left, after the repair if one was asked for */
	u64 leaks;		/* clusters */
	u64 corruptions_fixed;
	u64 leaks_fixed;
	bool rebuilt;		/* the refcount structures were written anew */
	u64 image_end;		/* bytes up to the end of the last cluster in use */
	u64 total_clusters;	/* of the guest */
	u64 allocated;		/* guest clusters with a host cluster */
	u64 compressed;
	u64 fragmented;
};

/*
 * qc_check - check, and repair what options->repair says.
 * @store: locked for reading, or for writing when repairing.
 * @header: of this image; brought up to date by a repair.
 * A repair with QC_REPAIR_ERRORS that leaves no corruption clears the dirty and the corrupt bit,
 * and any repair the autoclear bits that are not known, first of all.  What cannot be repaired
 * without guessing at data (overlaps, misplaced L2 entries) stays and is counted.
 * A repair that is killed at any point can be done again.
 * Returns 0 when the check was carried out, whatever it found (see @result), or a
 * negative errno: -EIO etc., -ENOTSUP, -ENOMEM, -EFBIG.
 */
int qc_check(struct qc_store *store, struct qc_header *header,
	     const struct qc_check_options *options, struct qc_check_result *result,
	     struct qc_error *err);

/* Check, before an image is edited: 0, -EUCLEAN for one that is damaged, or as qc_check(). */
int qc_check_sound(struct qc_store *store, struct qc_header *header, struct qc_error *err);

#endif /* QCHAIN_CHECK_H */
