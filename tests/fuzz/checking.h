/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking the file "top", for those fuzz targets that do. */
#ifndef QCHAIN_FUZZ_CHECKING_H
#define QCHAIN_FUZZ_CHECKING_H

#include "check.h"
#include "target.h"

/*
 * Check "top" as the options say.  False when its header is refused or the check could not be
 * carried out.
 */
static inline bool fuzz_check(const struct qc_check_options *options,
			      struct qc_check_result *result)
{
	CLEANUP_HEADER struct qc_header *h = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_error err = { 0 };
	int ret;

	FUZZ_MUST(!qc_store_open("top", options->repair ? QC_OPEN_WRITE : 0, &store, &err));
	ret = qc_header_read(store, &h, &err);
	if (!ret)
		ret = qc_check(store, h, options, result, &err);
	fuzz_judge(ret, &err);
	return !ret;
}

#endif /* QCHAIN_FUZZ_CHECKING_H */
