// SPDX-License-Identifier: GPL-2.0-or-later
/* Table and status lines of the target. */
#include <errno.h>
#include <stdio.h>

#include "dm.h"
#include "helper.h"
#include "table.h"

static void build_and_parse(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	CLEANUP_TABLE struct qc_table table = { 0 };
	CLEANUP_FREE char *params = NULL;
	CLEANUP_FREE char *by_fd = NULL;
	CLEANUP_FREE char *real = NULL;
	char expected[64];
	struct qc_error err = { 0 };

	(void)state;
	must("truncate -s 1000001 'a b\\c\td' && ln -s 'a b\\c\td' link");
	must("qemu-img create -f qcow2 -b link -F raw top.qcow2 1000448");
	assert_int_equal(qc_chain_open("top.qcow2", QC_FORMAT_QCOW2, 0, &chain, &err), 0);
	assert_int_equal(qc_table_sectors(chain), 1954);
	assert_int_equal(qc_table_build(chain, QC_TABLE_READ_ONLY | QC_TABLE_NO_DISCARD_PASSDOWN,
					&params, &err), 0);
	assert_non_null(strstr(params, "a\\040b\\134c\\011d - 2 read_only no_discard_passdown"));

	assert_int_equal(qc_table_parse(params, "dev", &table, &err), 0);
	assert_int_equal(table.count, 2);
	assert_string_equal(table.layers[0].format, "qcow2");
	assert_string_equal(table.layers[1].format, "raw");
	assert_string_equal(table.layers[1].data, "-");
	real = realpath("link", NULL);
	assert_string_equal(table.layers[1].device, real);
	assert_int_equal(table.flags, QC_TABLE_READ_ONLY | QC_TABLE_NO_DISCARD_PASSDOWN);

	assert_int_equal(qc_table_build(chain, QC_TABLE_BY_FD, &by_fd, &err), 0);
	snprintf(expected, sizeof(expected), "2 qcow2 fd:%d - raw fd:%d -",
		 chain->layers[0].store->fd, chain->layers[1].store->fd);
	assert_string_equal(by_fd, expected);
}

static void odd_sizes(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err = { 0 };

	(void)state;
	must("truncate -s 1000001 odd.raw");
	assert_int_equal(qc_chain_open("odd.raw", QC_FORMAT_RAW, 0, &chain, &err), 0);
	assert_int_equal(qc_table_sectors(chain), 1954);
}

static void bad_tables(void **state)
{
	static const char *const cases[] = {
		"", "0", "x", "1", "1 qcow2", "1 qcow2 /x", "2 qcow2 /x -", "1 qcow2 /x - x",
		"1 qcow2 /x - 2 read_only", "99999999999999999999 a b c",
		"18446744073709551615 a b c",
		"-1 a b c",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct qc_table table;
		struct qc_error err = { 0 };

		assert_failed(&err, qc_table_parse(cases[i], "dev", &table, &err), EINVAL, "dev");
		assert_null(table.layers);
	}
}

static void status(void **state)
{
	static const char *const bad[] = {
		"", "rw", "rw 128", "rw 128 1/2 3/4 5/6 7 8", "rw 128 1-2 3/4 5/6 7 8 0",
		"averyveryverylongmode 128 1/2 3/4 5/6 7 8 0", "rw x 1/2 3/4 5/6 7 8 0",
		"rw 128 1/2 3/4 5/6 7 8 0 more", "rw 128 1/2 3/4 5/6 7 8 1",
		"rw 128 1/2 3/4 5/6 7 8 17",
		"rw 128 1/2 3/4 5/6 7 8 1 j stream running 1/2 0",
		"rw 128 1/2 3/4 5/6 7 8 1 j stream running 1/2 0 - -",
		"rw 128 1/2 3/4 5/6 7 8 1 j stream running 1/2 0 0",
		"rw 128 1/2 3/4 5/6 7 8 1 j stream running 1/2 0 5 erase",
		"rw 128 1/2 3/4 5/6 7 8 1 j stream running 1/2 0 5 read more",
		"rw 128 1/2 3/4 5/6 7 8 1 j stream dancing 1/2 0 0 -",
		"rw 128 1/2 3/4 5/6 7 8 1 j stream running 1 0 0 -",
	};
	static const char two_jobs[] =
		"full 128 -/9 3/- 5/6 7 8 2 j stream running 6/9 10 0 - #x x ended 1/2 0 5 read";
	struct qc_status s;
	struct qc_error err = { 0 };

	(void)state;
	assert_int_equal(qc_status_parse(two_jobs, "dev", &s, &err), 0);
	assert_string_equal(s.mode, "full");
	assert_int_equal(s.cluster_sectors, 128);
	assert_true(s.mapped == QC_UNKNOWN_COUNT);
	assert_int_equal(s.total, 9);
	assert_int_equal(s.used, 3);
	assert_true(s.host_total == QC_UNKNOWN_COUNT);
	assert_int_equal(s.metadata_kib, 5);
	assert_int_equal(s.metadata_limit_kib, 6);
	assert_int_equal(s.layers, 7);
	assert_int_equal(s.bitmaps, 8);
	assert_int_equal(s.jobs, 2);
	assert_string_equal(s.job[0].id, "j");
	assert_string_equal(s.job[0].kind, "stream");
	assert_int_equal(s.job[0].state, QC_JOB_RUNNING);
	assert_int_equal(s.job[0].done, 6);
	assert_int_equal(s.job[0].length, 9);
	assert_int_equal(s.job[0].speed, 10);
	assert_string_equal(s.job[1].id, "#x");
	assert_int_equal(s.job[1].state, QC_JOB_ENDED);
	assert_int_equal(s.job[1].error, 5);
	assert_true(s.job[1].reading && !s.job[0].reading);
	assert_int_equal(qc_status_parse("rw 128 -/160 3/4 5/65536 7 8 0", "dev", &s, &err), 0);
	assert_int_equal(qc_status_parse("flush-failed 128 -/1 3/4 5/6 7 8 0", "dev", &s, &err), 0);
	assert_string_equal(s.mode, "flush-failed");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_failed(&err, qc_status_parse(bad[i], "dev", &s, &err), EINVAL, "dev");
}

static void device_names(void **state)
{
	static const char *const bad[] = { "", ".", "..", "control", "a/b", "a b", "\xc3\xa4" };
	char name[QC_DM_MAX_NAME + 2];
	struct qc_error err = { 0 };

	(void)state;
	assert_int_equal(qc_dm_check_name("vm-1.disk_0:a+b=c@d#e", &err), 0);
	memset(name, 'x', sizeof(name));
	name[QC_DM_MAX_NAME] = 0;
	assert_int_equal(qc_dm_check_name(name, &err), 0);
	name[QC_DM_MAX_NAME] = 'x';
	name[QC_DM_MAX_NAME + 1] = 0;
	assert_failed(&err, qc_dm_check_name(name, &err), EINVAL, "--name");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_failed(&err, qc_dm_check_name(bad[i], &err), EINVAL, "--name");
}

/* An error text of any length ends, in one line. */
static void long_errors(void **state)
{
	struct qc_error err = { 0 };
	char path[9000];

	(void)state;
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	assert_int_equal(qc_fail(&err, EIO, path, "remedy", "cause %d", 1), -EIO);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_string_equal(err.text + strlen(err.text) - 3, "...");
	assert_int_equal(qc_fail(NULL, EIO, path, NULL, "x"), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(build_and_parse),
		cmocka_unit_test(odd_sizes),
		cmocka_unit_test(bad_tables),
		cmocka_unit_test(status),
		cmocka_unit_test(device_names),
		cmocka_unit_test(long_errors),
	};

	return cmocka_run_group_tests_name("table", tests, scratch_setup, scratch_teardown);
}
