// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"

static char scratch[64];

int scratch_setup(void **state)
{
	(void)state;
	/* In memory where that can be: QEMU's tools flush the file each time they close it. */
	snprintf(scratch, sizeof(scratch), "%s/qchain-unit.XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	return mkdtemp(scratch) && chdir(scratch) == 0 ? 0 : -1;
}

int scratch_teardown(void **state)
{
	(void)state;
	return chdir("/") == 0 && sh("rm -rf %s", scratch) == 0 ? 0 : -1;
}

static int run(const char *fmt, va_list args)
{
	char command[4096], line[4200];
	int status;

	vsnprintf(command, sizeof(command), fmt, args);
	snprintf(line, sizeof(line), "{ %s ; } > out.log 2>&1", command);
	status = system(line);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int sh(const char *fmt, ...)
{
	va_list args;
	int status;

	va_start(args, fmt);
	status = run(fmt, args);
	va_end(args);
	return status;
}

void must(const char *fmt, ...)
{
	char command[4096];
	va_list args;
	int status;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	status = sh("%s", command);
	if (status) {
		fflush(stdout);
		if (system("sed 's/^/# /' out.log"))
			print_error("the command left no output\n");
		fail_msg("command ended with status %d: %s", status, command);
	}
}

void poke(const char *path, u64 at, const void *bytes, size_t len)
{
	CLEANUP_FD int fd = open(path, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
}

void poke64(const char *path, u64 at, u64 value)
{
	u8 bytes[8];

	qc_put_be64(bytes, value);
	poke(path, at, bytes, sizeof(bytes));
}

u64 peek64(const char *path, u64 at)
{
	CLEANUP_FD int fd = open(path, O_RDONLY);
	u8 bytes[8];

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), at), sizeof(bytes));
	return qc_get_be64(bytes);
}

struct qc_header *header_of(const char *path)
{
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_header *h = NULL;
	struct qc_error err = { 0 };

	if (qc_store_open(path, 0, &store, &err) || qc_header_read(store, &h, &err))
		fail_msg("%s", err.text);
	return h;
}

int run_check(const char *path, unsigned int repair, size_t memory,
	      struct qc_check_result *result, struct qc_error *err)
{
	const struct qc_check_options options = { .repair = repair, .memory = memory };
	CLEANUP_HEADER struct qc_header *h = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	int ret;

	memset(result, 0, sizeof(*result));
	ret = qc_store_open(path, repair ? QC_OPEN_WRITE : 0, &store, err);
	if (!ret)
		ret = qc_header_read(store, &h, err);
	if (!ret)
		ret = qc_check(store, h, &options, result, err);
	return ret;
}

int check_status(const char *path, unsigned int repair)
{
	struct qc_check_result result;
	struct qc_error err = { 0 };

	if (run_check(path, repair, 0, &result, &err))
		return 1;
	return result.corruptions ? 2 : result.leaks ? 3 : 0;
}

void assert_error(const struct qc_error *err, int ret, int expected, const char *const *texts)
{
	assert_int_equal(ret, -expected);
	assert_int_equal(err->code, expected);
	assert_null(strchr(err->text, '\n'));
	for (; *texts; texts++)
		if (!strstr(err->text, *texts))
			fail_msg("'%s' is not in: %s", *texts, err->text);
}
