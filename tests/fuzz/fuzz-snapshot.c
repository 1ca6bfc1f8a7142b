// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Internal snapshots, made and deleted.  An image that is in order stays so; of one that is not,
 * nothing is asked but that it is refused or not.
 */
#include "checking.h"
#include "snapshot-edit.h"

static int step(bool deletes)
{
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_error err = { 0 };
	int ret;

	FUZZ_MUST(!qc_store_open("top", QC_OPEN_WRITE, &store, &err));
	ret = deletes ? qc_snapshot_delete(store, NULL, "fuzz", &err) :
	      qc_snapshot_create(store, "fuzz", 1, 2, NULL, &err);
	fuzz_judge(ret, &err);
	return ret;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const struct qc_check_options checking = { 0 };
	struct qc_check_result before, after;
	unsigned int made = 0;
	bool sound;

	fuzz_write(data, size);
	sound = fuzz_check(&checking, &before) && !before.corruptions;
	for (int i = 0; i < 4; i++) {
		int ret = step(i >= 2);

		if (!sound)
			continue;
		FUZZ_MUST(fuzz_check(&checking, &after));
		/* Leaks behind the end of the file come to light when it grows. */
		FUZZ_MUST(!after.corruptions);
		if (i < 2)
			made += !ret;
		else if (made)
			FUZZ_MUST(!ret && made--);
	}
	return 0;
}
