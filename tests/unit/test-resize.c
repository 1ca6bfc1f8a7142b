// SPDX-License-Identifier: GPL-2.0-or-later
/* Images that are made larger, as QEMU's tools see them. */
#include <errno.h>
#include <stdio.h>

#include "helper.h"
#include "resize.h"

#define IMAGE "image.qcow2"

static int grow(u64 size, struct qc_error *err)
{
	struct qc_store *store;
	int ret;

	ret = qc_store_open(IMAGE, QC_OPEN_WRITE, &store, err);
	assert_int_equal(ret, 0);
	ret = qc_grow(store, size, err);
	qc_store_close(store);
	return ret;
}

/* Data before stays, what is new reads as zeroes and can be written. */
static void every_geometry(void **state)
{
	static const char *const options[] = {
		"cluster_size=512", "cluster_size=512,compat=0.10", "cluster_size=4096",
		"cluster_size=65536", "cluster_size=65536,refcount_bits=1", "cluster_size=2M",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct qc_error err = { 0 };

		must("qemu-img create -q -f qcow2 -o %s " IMAGE " 1M", options[i]);
		must("qemu-io -c 'write -P 7 0 40k' " IMAGE);
		for (u64 size = 3 << 20; size <= 12 << 20; size += (3 << 20) + 512) {
			if (grow(size, &err))
				fail_msg("%s: %s", options[i], err.text);
			must("qemu-img info " IMAGE " | grep -q '(%llu bytes)'", size);
			must("qemu-img check " IMAGE);
		}
		must("qemu-io -c 'read -P 7 0 40k' -c 'read -P 0 40k 9000k' " IMAGE
		     " | tee out; ! grep -q failed out");
		must("qemu-io -c 'write -P 9 9000k 64k' -c 'read -P 9 9000k 64k' " IMAGE
		     " | tee out; ! grep -q failed out");
		must("qemu-img check " IMAGE);
	}
}

static void refused(void **state)
{
	struct qc_error err = { 0 };

	(void)state;
	must("qemu-img create -q -f qcow2 -o cluster_size=512 " IMAGE " 1M");
	must("cp " IMAGE " before");
	assert_int_equal(grow(1 << 20, &err), 0);
	assert_int_equal(grow(512, &err), 0);
	must("cmp " IMAGE " before");
	assert_int_equal(grow(1ULL << 50, &err), -EFBIG);
	/* An L1 table that what the refcounts cover has no room for. */
	assert_int_equal(grow(1ULL << 34, &err), -ENOSPC);
	must("cmp " IMAGE " before");
	must("qemu-img create -q -f qcow2 -o compat=0.10 " IMAGE " 1M");
	must("qemu-img snapshot -c s " IMAGE);
	assert_int_equal(grow(2 << 20, &err), -ENOTSUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_geometry),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests_name("resize", tests, scratch_setup, scratch_teardown);
}
