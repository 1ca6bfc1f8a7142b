// SPDX-License-Identifier: GPL-2.0-or-later
/* Refcount entries of every width, and the layout of refcount structures. */
#include <errno.h>

#include "helper.h"
#include "refcount.h"

static void set_and_get(void **state)
{
	u8 block[4096];

	(void)state;
	for (u32 order = 0; order <= 6; order++) {
		u32 entries = sizeof(block) * 8 >> order;
		u64 max = qc_refcount_max(order);

		memset(block, 0, sizeof(block));
		for (u32 i = 0; i < entries; i++)
			qc_refcount_set(block, order, i, (i * 0x9e3779b97f4a7c15ULL) & max);
		for (u32 i = 0; i < entries; i++)
			assert_int_equal(qc_refcount_get(block, order, i),
					 (i * 0x9e3779b97f4a7c15ULL) & max);
	}
}

/* "bit 0 means the least significant bit": entry 0 is in the low bits of byte 0. */
static void bit_order(void **state)
{
	u8 block[8] = { 0 };

	(void)state;
	qc_refcount_set(block, 0, 0, 1);
	qc_refcount_set(block, 0, 9, 1);
	assert_int_equal(block[0], 0x01);
	assert_int_equal(block[1], 0x02);
	memset(block, 0, sizeof(block));
	qc_refcount_set(block, 2, 1, 0xa);
	assert_int_equal(block[0], 0xa0);
	memset(block, 0, sizeof(block));
	qc_refcount_set(block, 4, 1, 0x1234);
	assert_int_equal(block[2], 0x12);
	assert_int_equal(block[3], 0x34);
}

static void layout_covers_itself(void **state)
{
	(void)state;
	for (u32 bits = 9; bits <= 21; bits += 3) {
		for (u32 order = 0; order <= 6; order++) {
			const struct qc_header h = {
				.cluster_bits = bits,
				.refcount_order = order,
			};

			for (u64 first = 1; first < 100000; first = first * 3 + 1) {
				struct qc_refcount_layout l;

				assert_int_equal(qc_refcount_layout(&h, first, &l), 0);
				assert_int_equal(l.end, first + l.table_clusters + l.blocks);
				assert_true(l.blocks * qc_refblock_entries(&h) >= l.end);
				assert_true(l.table_clusters << bits >= l.blocks * 8);
				/* No larger than it must be. */
				assert_true((l.blocks - 1) * qc_refblock_entries(&h) < l.end);
			}
		}
	}
}

static void layout_too_large(void **state)
{
	const struct qc_header h = { .cluster_bits = 9, .refcount_order = 6 };
	struct qc_refcount_layout layout;

	(void)state;
	assert_int_equal(qc_refcount_layout(&h, 1ULL << 30, &layout), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_and_get),
		cmocka_unit_test(bit_order),
		cmocka_unit_test(layout_covers_itself),
		cmocka_unit_test(layout_too_large),
	};

	return cmocka_run_group_tests_name("refcount", tests, NULL, NULL);
}
