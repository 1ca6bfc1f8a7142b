// SPDX-License-Identifier: GPL-2.0-or-later
/* One-line error reports. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

void qc_make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

int qc_fail(struct qc_error *err, int code, const char *object, const char *remedy,
	    const char *fmt, ...)
{
	char cause[QC_ERROR_MAX / 2];
	va_list args;

	if (!err)
		return -code;
	va_start(args, fmt);
	vsnprintf(cause, sizeof(cause), fmt, args);
	va_end(args);

	err->code = code;
	if (snprintf(err->text, sizeof(err->text), "%s: %s%s%s", object, cause,
		     remedy ? "; " : "", remedy ? remedy : "") >= (int)sizeof(err->text))
		memcpy(err->text + sizeof(err->text) - 4, "...", 4);
	qc_make_printable(err->text);
	return -code;
}

int qc_fail_errno(struct qc_error *err, int code, const char *object, const char *what)
{
	return qc_fail(err, code, object, NULL, "%s: %s", what, strerror(code));
}

int qc_fail_nomem(struct qc_error *err, const char *object)
{
	return qc_fail_errno(err, ENOMEM, object, "cannot allocate memory");
}
