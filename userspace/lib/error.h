/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the library reports a failure: a negative errno as the function's value,
 * and a line "<object>: <cause>; <remedy>" in a struct qc_error.  The library
 * never prints and never exits.
 */
#ifndef QCHAIN_ERROR_H
#define QCHAIN_ERROR_H

#include <stdarg.h>

#define QC_ERROR_MAX 6144	/* a path of PATH_MAX bytes and what is said about it */

struct qc_error {
	int code;		/* positive errno; 0 while nothing failed */
	char text[QC_ERROR_MAX];	/* one printable line; cut off when longer */
};

/*
 * qc_fail - record what went wrong.
 * @err: where; NULL when the caller does not care.  What it said before is replaced.
 * @code: a positive errno.
 * @object: the file, device or option that it is about.
 * @remedy: what the user can do, or NULL when the cause says it all.
 * Returns -@code, so that "return qc_fail(...)" reads well.
 */
int qc_fail(struct qc_error *err, int code, const char *object, const char *remedy,
	    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The same for a failed system call: "<object>: <what>: <strerror(code)>". */
int qc_fail_errno(struct qc_error *err, int code, const char *object, const char *what);

/* The same for a failed allocation. */
int qc_fail_nomem(struct qc_error *err, const char *object);

/*
 * Have '?' for control characters: names of all kinds come from images, and shall neither end a
 * line nor speak to a terminal.
 */
void qc_make_printable(char *text);

#endif /* QCHAIN_ERROR_H */
