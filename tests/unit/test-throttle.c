// SPDX-License-Identifier: GPL-2.0-or-later
/* Limits of devices: what is asked for, and what stands in io.max. */
#include <stdio.h>

#include "helper.h"
#include "throttle.h"

/* What becomes of members that are added to a request without limits: why it is refused, or "". */
static const char *parse(const char *members, struct cgroup_limits *limits)
{
	static char said[QMP_ERROR_MAX];
	CLEANUP_JSON struct json_object *arguments = NULL;
	struct qmp_error error = { 0 };
	char text[512];
	int ret;

	snprintf(text, sizeof(text),
		 "{'device': 'x', 'bps': 0, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, 'iops_rd': 0, 'iops_wr': 0%s%s}",
		 *members ? ", " : "", members);
	for (char *at = text; *at; at++)
		if (*at == '\'')
			*at = '"';
	arguments = json_tokener_parse(text);
	assert_non_null(arguments);
	assert_int_equal(qapi_check(qapi_find_command("block_set_io_throttle")->arguments,
				    arguments, &error), 0);
	ret = throttle_parse(arguments, limits, &error);
	assert_int_equal(ret, error.text[0] ? -1 : 0);
	snprintf(said, sizeof(said), "%s", error.text);
	return said;
}

#define CONFLICT "bps/iops/max total values and read/write values cannot be used at the same time"
#define RANGE "bps/iops/max values must be within [0, 1000000000000000]"

static void like_qemu(void **state)
{
	static const char *const refused[][2] = {
		{ "'bps': 5, 'bps_rd': 5", CONFLICT },
		{ "'iops': 1, 'iops_wr': 1", CONFLICT },
		{ "'bps': 5, 'bps_max': 5, 'bps_wr_max': 1", CONFLICT },
		{ "'iops_size': 5", "iops size requires an iops value to be set" },
		{ "'iops_size': -1", "iops size requires an iops value to be set" },
		{ "'bps_rd': -1", RANGE },
		{ "'iops_wr': 1000000000000001", RANGE },
		{ "'bps_rd_max': -1", RANGE },
		{ "'bps_max_length': 0", "the burst length cannot be 0" },
		{ "'iops_wr_max_length': 5", "burst length set without burst rate" },
		{ "'iops_wr_max_length': -1", "burst length set without burst rate" },
		{ "'iops': 5, 'iops_max': 5, 'iops_max_length': 1000000000000000",
		  "burst length too high for this burst rate" },
		{ "'bps_max': 5", "bps_max/iops_max require corresponding bps/iops values" },
		{ "'bps': 5, 'bps_max': 4", "bps_max/iops_max cannot be lower than bps/iops" },
	};
	struct cgroup_limits limits;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_string_equal(parse(refused[i][0], &limits), refused[i][1]);
}

static void unlike_qemu(void **state)
{
	static const char *const refused[][2] = {
		{ "'bps': 5",
		  "'bps' is not supported: the kernel limits reads and writes each by itself; use 'bps_rd' and 'bps_wr'"
		},
		{ "'iops': 5, 'iops_max': 6",
		  "'iops' is not supported: the kernel limits reads and writes each by itself; use 'iops_rd' and 'iops_wr'"
		},
		{ "'bps_wr': 5, 'bps_wr_max': 6, 'bps_wr_max_length': 2",
		  "'bps_wr_max' is not supported: the kernel's limits allow no bursts; use 'bps_wr' alone"
		},
		{ "'bps_rd': 1",
		  "'bps_rd' must be 0, for no limit, or within [2, 1000000000000000]" },
		{ "'iops_rd': 4294967295",
		  "'iops_rd' must be 0, for no limit, or within [2, 4294967294]" },
		{ "'iops_rd': 5, 'iops_size': 4096",
		  "'iops_size' is not supported: a request of any size is one for the kernel; use 'bps_rd' and 'bps_wr'"
		},
	};
	struct cgroup_limits limits;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_string_equal(parse(refused[i][0], &limits), refused[i][1]);
}

static void accepted(void **state)
{
	struct cgroup_limits limits = { 9, 9, 9, 9 };

	(void)state;
	assert_string_equal(parse("", &limits), "");
	assert_true(cgroup_unlimited(&limits));
	assert_string_equal(parse("'bps_rd_max': 0, 'bps_rd_max_length': 1, 'iops_size': 0",
				  &limits), "");
	assert_true(cgroup_unlimited(&limits));
	assert_string_equal(parse("'bps_rd': 2, 'bps_wr': 1000000000000000", &limits), "");
	assert_int_equal(limits.bps_rd, 2);
	assert_int_equal(limits.bps_wr, 1000000000000000);
	assert_string_equal(parse("'iops_rd': 4294967294, 'iops_wr': 5", &limits), "");
	assert_int_equal(limits.bps_rd, 0);
	assert_int_equal(limits.iops_rd, 4294967294);
	assert_int_equal(limits.iops_wr, 5);
	assert_false(cgroup_unlimited(&limits));
}

static void names(void **state)
{
	static const char *const good[] = { "a", "a/b", "system.slice/x@y\\x2d.service", "...",
					    ".a", "a/..b" };
	static const char *const bad[] = { "", ".", "..", "/", "/a", "a/", "a//b", "a/../b",
					   "../a", "a/..", "a/./b" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(cgroup_wellformed(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(cgroup_wellformed(bad[i]));
}

static void lines(void **state)
{
	struct cgroup_limits limits;

	(void)state;
	assert_false(cgroup_parse_limits("253:1 rbps=5 wbps=6 riops=7 wiops=8\n", "253:11",
					 &limits));
	assert_false(cgroup_parse_limits("253:11 rbps=5 wbps=6 riops=7 wiops=8\n", "253:1",
					 &limits));
	assert_true(cgroup_parse_limits("253:1 rbps=5 wbps=6 riops=7 wiops=8\n", "253:1",
					&limits));
	assert_int_equal(limits.bps_rd, 5);
	assert_int_equal(limits.bps_wr, 6);
	assert_int_equal(limits.iops_rd, 7);
	assert_int_equal(limits.iops_wr, 8);
	assert_true(cgroup_parse_limits("253:1 rbps=max wbps=max riops=max wiops=8", "253:1",
					&limits));
	assert_int_equal(limits.bps_rd, 0);
	assert_int_equal(limits.iops_rd, 0);
	assert_int_equal(limits.iops_wr, 8);
	assert_true(cgroup_parse_limits("253:1 rbps=max", "253:1", &limits));
	assert_true(cgroup_unlimited(&limits));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(like_qemu),
		cmocka_unit_test(unlike_qemu),
		cmocka_unit_test(accepted),
		cmocka_unit_test(names),
		cmocka_unit_test(lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
