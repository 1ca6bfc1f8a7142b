// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Checking.  What is found does not depend on how much memory there is for it, that is, on the
 * number of passes.
 */
#include "checking.h"

/* A message is one line, and is all there. */
static void report(void *ctx, enum qc_finding finding, const char *message)
{
	(void)ctx;
	(void)finding;
	FUZZ_MUST(message[0] && !strchr(message, '\n'));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	/* What takes long is not done for every input. */
	const struct qc_check_options plain = { .report = size % 8 ? NULL : report };
	const struct qc_check_options sparing = { .memory = 1 };
	struct qc_check_result one, many;
	bool ok;

	fuzz_write(data, size);
	ok = fuzz_check(&plain, &one);
	if (size % 32)
		return 0;
	FUZZ_MUST(fuzz_check(&sparing, &many) == ok);
	if (!ok)
		return 0;
	FUZZ_MUST(one.corruptions == many.corruptions);
	FUZZ_MUST(one.leaks == many.leaks);
	FUZZ_MUST(one.image_end == many.image_end);
	FUZZ_MUST(one.allocated == many.allocated);
	return 0;
}
