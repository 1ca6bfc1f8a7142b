/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzz targets of the library share.  The input is a packed image (packed.h), and the
 * mutator is the one that knows the format (mutate.h), in turn with libFuzzer's own.
 *
 * A target has the current directory for itself, best one in memory.  run-user makes it, with files
 * that the image "top" may name as its backing file.
 */
#ifndef QCHAIN_FUZZ_TARGET_H
#define QCHAIN_FUZZ_TARGET_H

#include "header.h"
#include "mutate.h"

/* Images are no larger, so that nothing takes long but what should not. */
#define FUZZ_ROOM (2U << 20)

/* Make the input the file "top". */
void fuzz_write(const u8 *data, size_t size);

/* Something that must never be: says so and aborts. */
#define FUZZ_MUST(condition) do {						\
	if (!(condition))							\
		fuzz_abort(#condition, __FILE__, __LINE__);			\
} while (0)

void fuzz_abort(const char *condition, const char *file, int line) __attribute__((noreturn));

/* What a function of the library returned: a failure has a reason, in one line. */
void fuzz_judge(int ret, const struct qc_error *err);

/* libFuzzer's interface, which has no header in C: what it has, and what it calls. */
size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned int seed);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#endif /* QCHAIN_FUZZ_TARGET_H */
