/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backing chain: an image, its backing file, that one's backing file, and so on.
 */
#ifndef QCHAIN_CHAIN_H
#define QCHAIN_CHAIN_H

#include "header.h"
#include "locks.h"

enum qc_format {
	QC_FORMAT_UNKNOWN,	/* only ever for the top: qcow2 if it has the magic */
	QC_FORMAT_QCOW2,
	QC_FORMAT_RAW,
};

struct qc_layer {
	enum qc_format format;
	struct qc_store *store;		/* store->path is the name that was resolved */
	struct qc_header *header;	/* NULL for a raw layer */
	u64 size;			/* what it shows, in bytes */
	bool writable;			/* in a table, below the top: a job writes to it, too */
};

struct qc_chain {
	struct qc_layer *layers;	/* top layer first */
	size_t count;
};

enum qc_chain_flags {
	QC_CHAIN_WRITE = 1 << 0,	/* open the top layer for writing */
	QC_CHAIN_LOCK = 1 << 1,		/* lock every layer as it is opened */
	QC_CHAIN_TOP = 1 << 2,		/* do not follow the backing file */
	QC_CHAIN_ANY = 1 << 3,		/* let features pass that cannot be attached */
};

const char *qc_format_name(enum qc_format format);

/* "qcow2" or "raw"; QC_FORMAT_UNKNOWN for another name. */
enum qc_format qc_format_parse(const char *name);

/*
 * qc_chain_open - open an image and everything below it.
 * @flags: of enum qc_chain_flags.
 * @format: of the top image.  With QC_FORMAT_UNKNOWN it must be qcow2 by its magic: a guest
 *	can write a magic into a raw disk, but nobody attaches a raw disk without saying so.
 * Formats of backing files are never guessed: an overlay that does not give one is refused.
 * Refused with what to do instead: json: and protocol names, formats other than qcow2 and
 * raw, a chain that comes back to itself.
 * A chain needs one descriptor per layer: see qc_raise_nofile().
 * Returns 0, -EINVAL (not such an image; no format of a backing file), -ENOTSUP (a name, format or
 * feature), -ELOOP, -EMFILE, -EBUSY (QC_CHAIN_LOCK), or what opening and reading gave.
 */
int qc_chain_open(const char *path, enum qc_format format, unsigned int flags,
		  struct qc_chain **chain, struct qc_error *err);

void qc_chain_close(struct qc_chain *chain);
void qc_cleanup_chain(struct qc_chain **chain);
#define CLEANUP_CHAIN __attribute__((cleanup(qc_cleanup_chain)))

/* @name as it is meant in the working directory.  A new string; NULL without memory. */
char *qc_absolute_name(const char *name);

/*
 * qc_chain_resolve_name - the path that a backing file name means.
 * Names are relative to the directory of the overlay, by the name under which that was opened.
 * @path: set to a new string.  -ENOTSUP for a json: or protocol name.
 */
int qc_chain_resolve_name(const char *overlay, const char *backing, char **path,
			  struct qc_error *err);

/*
 * qc_chain_backing - where the backing file of an image is, and in which format.
 * @overlay: the name under which the image was opened; @header: of it, NULL: it is raw.
 * Returns 1 with *@path, a new string, and *@format; 0 when the image has no backing file; an
 * error when it does not say which format, or names what qc_chain_open() refuses.
 */
int qc_chain_backing(const char *overlay, const struct qc_header *header, char **path,
		     enum qc_format *format, struct qc_error *err);

/* Let this process open as many files as it may: 1000 layers are more than the usual limit. */
void qc_raise_nofile(void);

#endif /* QCHAIN_CHAIN_H */
