/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Make a block device of an image, and take it down again.  Needs root; sleeps.
 */
#ifndef QCHAIN_ATTACH_H
#define QCHAIN_ATTACH_H

#include "chain.h"
#include "dm.h"

struct qc_attach_options {
	const char *name;		/* of the device */
	enum qc_format format;		/* of the image; QC_FORMAT_UNKNOWN: see qc_chain_open() */
	bool read_only;
	unsigned int table_flags;	/* more of enum qc_table_flags */

	/* Told what else was done, such as a repair; a line.  May be NULL. */
	void (*note)(void *ctx, const char *object, const char *message);
	/*
	 * begin() is called once, right before the device is made: from there until qc_attach()
	 * returns the process should not be ended by a signal.  cancelled() is asked
	 * when the device is there: true undoes everything.  Either may be NULL.
	 */
	void (*begin)(void *ctx);
	bool (*cancelled)(void *ctx);
	void *ctx;
};

/*
 * qc_attach - make /dev/mapper/<name> of an image and its backing chain.
 * Every layer is opened and locked (the top for writing unless read_only), and the very
 * descriptors that carry the locks are handed to the kernel, so that an image stays locked for as
 * long as the device lives, whatever becomes of this process.  An image left dirty is repaired
 * first; one marked corrupt is refused for writing.
 * On failure no device and no lock is left.  A device of that name that an attach killed
 * half-way left without a table is taken over.
 * Returns 0, -EEXIST (the name is in use), -EBUSY (an image is in use), -EUCLEAN (corrupt),
 * -ECANCELED, ...
 */
int qc_attach(const char *image, const struct qc_attach_options *options, struct qc_error *err);

/*
 * qc_attach_chain - the same with a chain that the caller has opened and locked, and keeps.
 * options->format does not matter.
 */
int qc_attach_chain(const struct qc_chain *chain, const struct qc_attach_options *options,
		    struct qc_error *err);

/* What qc_attach_prepare() has seen of an image. */
struct qc_attach_facts {
	enum qc_format format;
	bool is_bdev;
};

/*
 * qc_attach_prepare - all of qc_attach() that comes before the device, for who has that made by
 * another process: an image left dirty is repaired, what can be known to fail is refused, and no
 * lock is held any more when this returns.  Errors are those of qc_attach().
 */
int qc_attach_prepare(const char *image, const struct qc_attach_options *options,
		      struct qc_attach_facts *facts, struct qc_error *err);

/*
 * qc_detach - remove a qchain device.
 * When this returns 0 the module has written everything back and let go of the images; locks
 * are gone.  A suspended device that nobody has open is resumed first, with the table that it has;
 * one that was loaded besides is dropped.  -ENODEV: no such device or not a qchain device; -EBUSY:
 * in use, and as it was but for that table, which may be gone; -EIO: removed, but the module could
 * not write everything back.
 */
int qc_detach(const char *name, struct qc_error *err);

/*
 * qc_detach_check - would qc_detach() find the device in use?  Changes nothing.
 * @going: numbers of devices that are removed before this one.  What they have open does not count,
 * nor does what this process has open, which it would close.
 * Where udev runs, which opens devices for a moment, it waits for five seconds at most.
 * Returns 0, also when there is no such device of ours, or -EBUSY.  Somebody can still come after
 * this; and who has the device open beside one in @going or this process is found among the
 * processes in sight, mounts and devices only.
 */
int qc_detach_check(const char *name, const dev_t *going, size_t count, struct qc_error *err);

/*
 * Refuse a chain whose top cannot be written as it is: marked dirty (repair first) or
 * corrupt.  -EUCLEAN.
 */
int qc_check_writable(const struct qc_chain *chain, struct qc_error *err);

/* Name of a qchain device that has the image in @store as a layer, or NULL.  Free it. */
char *qc_find_user(const struct qc_store *store);

#endif /* QCHAIN_ATTACH_H */
