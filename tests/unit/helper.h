/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the unit tests share: a scratch directory, and QEMU's tools. */
#ifndef QCHAIN_TEST_HELPER_H
#define QCHAIN_TEST_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "check.h"
#include "header.h"

/* Group fixtures: make a scratch directory and go there; remove it. */
int scratch_setup(void **state);
int scratch_teardown(void **state);

/* Run a shell command; its output is dropped.  Returns the exit status. */
int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same, and the test fails when the status is not 0. */
void must(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Overwrite bytes of a file; read a big-endian number. */
void poke(const char *path, u64 at, const void *bytes, size_t len);
void poke64(const char *path, u64 at, u64 value);
u64 peek64(const char *path, u64 at);

/* The image's header; the test fails when it cannot be read. */
struct qc_header *header_of(const char *path);

/* What the library finds, and how it ends. */
int run_check(const char *path, unsigned int repair, size_t memory,
	      struct qc_check_result *result, struct qc_error *err);

/* The exit status that a program with qemu-img's conventions would give. */
int check_status(const char *path, unsigned int repair);

/* The error was of this kind, in one line that has every one of these texts. */
void assert_error(const struct qc_error *err, int ret, int expected, const char *const *texts);
#define assert_failed(err, ret, code, ...)	\
	assert_error(err, ret, code, (const char *const[]){ __VA_ARGS__, NULL })

#endif /* QCHAIN_TEST_HELPER_H */
