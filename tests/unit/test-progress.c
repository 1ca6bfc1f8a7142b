// SPDX-License-Identifier: GPL-2.0-or-later
/* How far jobs are: bar, rate, time left. */
#include "helper.h"
#include "progress.h"

#define MIB (1ULL << 20)

static const char *bar(u64 done, u64 total)
{
	struct progress p = { .done = done, .total = total };
	static char text[11];

	progress_bar(&p, text, 10);
	return text;
}

static unsigned int percent(u64 done, u64 total)
{
	struct progress p = { .done = done, .total = total };

	return progress_percent(&p);
}

static void bars(void **state)
{
	(void)state;
	assert_string_equal(bar(0, 0), "----------");
	assert_string_equal(bar(0, 40), "----------");
	assert_string_equal(bar(3, 40), "----------");
	assert_string_equal(bar(4, 40), "#---------");
	assert_string_equal(bar(20, 40), "#####-----");
	assert_string_equal(bar(39, 40), "#########-");
	assert_string_equal(bar(40, 40), "##########");
	/* Full is only what is done. */
	assert_string_equal(bar(UINT64_MAX - 1, UINT64_MAX), "#########-");
}

static void percents(void **state)
{
	(void)state;
	assert_int_equal(percent(0, 0), 0);
	assert_int_equal(percent(1, 3), 33);
	assert_int_equal(percent(999, 1000), 99);
	assert_int_equal(percent(UINT64_MAX - 1, UINT64_MAX), 99);
	assert_int_equal(percent(UINT64_MAX, UINT64_MAX), 100);
}

static void steady(void **state)
{
	struct progress p = { 0 };

	(void)state;
	assert_true(progress_rate(&p) == PROGRESS_UNKNOWN);
	assert_true(progress_left(&p) == PROGRESS_UNKNOWN);
	progress_update(&p, 10 * MIB, 100 * MIB, 5000);
	assert_true(progress_rate(&p) == PROGRESS_UNKNOWN);
	/* Too soon to tell, but not forgotten. */
	progress_update(&p, 11 * MIB, 100 * MIB, 5100);
	assert_true(progress_rate(&p) == PROGRESS_UNKNOWN);
	assert_int_equal(progress_percent(&p), 11);
	progress_update(&p, 20 * MIB, 100 * MIB, 6000);
	assert_int_equal(progress_rate(&p), 10 * MIB);
	assert_int_equal(progress_left(&p), 8);
	for (u64 now = 6500; now <= 13500; now += 500) {
		progress_update(&p, now * 10 * MIB / 1000 - 40 * MIB, 100 * MIB, now);
		assert_in_range(progress_rate(&p), 10 * MIB - 10, 10 * MIB);
	}
	assert_int_equal(progress_left(&p), 1);
	progress_update(&p, 100 * MIB, 100 * MIB, 14000);
	assert_int_equal(progress_left(&p), 0);
}

static void changes(void **state)
{
	struct progress p = { 0 };
	u64 rate;

	(void)state;
	progress_update(&p, 0, 100 * MIB, 1000);
	progress_update(&p, 10 * MIB, 100 * MIB, 2000);
	/* One slow second does not say that it will take for ever; many do. */
	progress_update(&p, 10 * MIB, 100 * MIB, 3000);
	assert_in_range(progress_rate(&p), 5 * MIB, 10 * MIB - 1);
	for (u64 now = 4000; now < 120000; now += 1000) {
		rate = progress_rate(&p);
		progress_update(&p, 10 * MIB, 100 * MIB, now);
		assert_true(progress_rate(&p) <= rate);
	}
	assert_in_range(progress_rate(&p), 0, 10);
	/* It began again. */
	progress_update(&p, MIB, 100 * MIB, 121000);
	assert_true(progress_rate(&p) == PROGRESS_UNKNOWN);
	progress_update(&p, 2 * MIB, 100 * MIB, 122000);
	assert_int_equal(progress_rate(&p), MIB);
	/* It was paused, for long. */
	progress_stand(&p);
	assert_true(progress_rate(&p) == PROGRESS_UNKNOWN);
	assert_true(progress_left(&p) == PROGRESS_UNKNOWN);
	progress_update(&p, 2 * MIB, 100 * MIB, 922000);
	assert_true(progress_rate(&p) == PROGRESS_UNKNOWN);
	progress_update(&p, 4 * MIB, 100 * MIB, 923000);
	assert_int_equal(progress_rate(&p), 2 * MIB);
	/* More than all is all. */
	progress_update(&p, 101 * MIB, 100 * MIB, 924000);
	assert_int_equal(progress_percent(&p), 100);
}

static void stuck(void **state)
{
	struct progress p = { 0 };

	(void)state;
	progress_update(&p, 5, 10, 0);
	progress_update(&p, 5, 10, 1000);
	assert_int_equal(progress_rate(&p), 0);
	assert_true(progress_left(&p) == PROGRESS_UNKNOWN);
}

static const char *time_text(u64 seconds)
{
	static char text[PROGRESS_TIME_MAX];

	progress_time(seconds, text);
	return text;
}

static void times(void **state)
{
	(void)state;
	assert_string_equal(time_text(0), "0:00");
	assert_string_equal(time_text(65), "1:05");
	assert_string_equal(time_text(3599), "59:59");
	assert_string_equal(time_text(3723), "1:02:03");
	assert_string_equal(time_text(47 * 3600), "47:00:00");
	assert_string_equal(time_text(49 * 3600), "2 days");
	assert_string_equal(time_text(PROGRESS_UNKNOWN - 1), "213503982334601 days");
	assert_string_equal(time_text(PROGRESS_UNKNOWN), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bars),
		cmocka_unit_test(percents),
		cmocka_unit_test(steady),
		cmocka_unit_test(changes),
		cmocka_unit_test(stuck),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
