// SPDX-License-Identifier: GPL-2.0-or-later
/* Images that are made larger and smaller, as QEMU's tools see them. */
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "entry.h"
#include "helper.h"
#include "resize.h"

#define IMAGE "image.qcow2"

/* Writes that are done yet, or -1: all.  This takes the place of the C library's. */
static int writes_left = -1;

ssize_t pwrite64(int fd, const void *data, size_t len, off_t pos)
{
	if (!writes_left) {
		errno = EIO;
		return -1;
	}
	if (writes_left > 0)
		writes_left--;
	return syscall(SYS_pwrite64, fd, data, len, pos);
}

static unsigned int flushes;

int fdatasync(int fd)
{
	flushes++;
	return syscall(SYS_fdatasync, fd);
}

static int change(int (*how)(struct qc_store *store, u64 size, struct qc_error *err), u64 size,
		  struct qc_error *err)
{
	struct qc_store *store;
	int ret;

	ret = qc_store_open(IMAGE, QC_OPEN_WRITE, &store, err);
	assert_int_equal(ret, 0);
	ret = how(store, size, err);
	qc_store_close(store);
	return ret;
}

/* What the backing file of those images has that have one. */
static u64 below;

static int grow_over(struct qc_store *store, u64 size, struct qc_error *err)
{
	return qc_grow(store, size, below, err);
}

static int grow(u64 size, struct qc_error *err)
{
	return change(grow_over, size, err);
}

static int shrink(u64 size, struct qc_error *err)
{
	return change(qc_shrink, size, err);
}

static void must_shrink(u64 size)
{
	struct qc_error err = { 0 };

	if (shrink(size, &err))
		fail_msg("%s", err.text);
	must("qemu-img info " IMAGE " | grep -q '(%llu bytes)'", size);
	must("qemu-img check " IMAGE);
}

static void must_grow(u64 size)
{
	struct qc_error err = { 0 };

	if (grow(size, &err))
		fail_msg("%s", err.text);
}

/* @what: commands of qemu-io's, which all succeed. */
static void must_io(const char *what)
{
	must("qemu-io %s " IMAGE " > out && ! grep -q failed out", what);
}

/* A virtual machine's state lies there when a snapshot with one was applied: nobody sees it. */
static void behind_the_end(void **state)
{
	static const u8 size[8] = { [4] = 0x20 };	/* 512 MiB, big-endian */
	struct qc_error err = { 0 };
	struct qc_store *store;

	(void)state;
	must("qemu-img create -q -f qcow2 " IMAGE " 1G");
	must_io("-c 'write -P 1 0 64k' -c 'write -P 2 600M 1M'");
	assert_int_equal(qc_store_open(IMAGE, QC_OPEN_WRITE, &store, &err), 0);
	assert_int_equal(qc_store_write(store, 24, size, sizeof(size), &err), 0);
	qc_store_close(store);
	must("qemu-img check " IMAGE);
	must_grow(1ULL << 30);
	must("qemu-img check " IMAGE);
	must_io("-c 'read -P 1 0 64k' -c 'read -P 0 600M 1M'");
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

/* What was behind the new end does not come back, and its clusters are free. */
static void smaller(void **state)
{
	static const char *const options[] = {
		"cluster_size=512", "cluster_size=512,compat=0.10", "cluster_size=4096",
		"cluster_size=65536", "cluster_size=65536,refcount_bits=1", "cluster_size=2M",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		must("qemu-img create -q -f qcow2 -o %s " IMAGE " 12M", options[i]);
		must_io("-c 'write -P 7 0 12M'");
		must_shrink((5 << 20) + 512);
		if (strstr(options[i], "65536"))
			must("test $(stat -c %%s " IMAGE ") -lt 6000000");
		must_grow(12 << 20);
		must_io("-c 'read -P 7 0 5243392' -c 'read -P 0 5243392 7339520'");
		must_io("-c 'write -P 9 5242880 6M' -c 'read -P 9 5242880 6M'");
		must_shrink(4 << 20);
		must("test $(du -k " IMAGE " | cut -f 1) -lt 15000");
		must_shrink(0);
		must_grow(1 << 20);
		must_io("-c 'read -P 0 0 1M'");
	}
}

static void compare_snapshot(const char *options)
{
	must("qemu-img create -q -f qcow2 -o %s " IMAGE " 4M", options);
	must_io("-c 'write -P 7 0 4M'");
	must("qemu-img snapshot -c s " IMAGE);
	must_io("-c 'write -P 8 1M 64k'");
	must_shrink((1 << 20) + 1536);
	must_grow(4 << 20);
	must_io("-c 'read -P 7 0 1M' -c 'read -P 8 1M 1536' -c 'read -P 0 1050112 3144192'");
	must("qemu-img check " IMAGE);
	/* In shared clusters, twice. */
	must("qemu-img snapshot -c t " IMAGE);
	must_shrink(40960 + 512);
	must_grow(4 << 20);
	must_io("-c 'read -P 7 0 41472' -c 'read -P 0 41472 1M'");
	must("qemu-img snapshot -a t " IMAGE);
	must_io("-c 'read -P 7 0 1M' -c 'read -P 8 1M 1536' -c 'read -P 0 1050112 3144192'");
	must("qemu-img snapshot -a s " IMAGE);
	must_io("-c 'read -P 7 0 4M'");
	must("qemu-img snapshot -d s " IMAGE " && qemu-img snapshot -d t " IMAGE);
	must("qemu-img check " IMAGE);
}

/* Snapshots keep what they have. */
static void with_snapshots(void **state)
{
	(void)state;
	compare_snapshot("cluster_size=512");
	compare_snapshot("cluster_size=65536");
	compare_snapshot("cluster_size=65536,refcount_bits=64");
}

/* What is there after any number of writes is good but for leaks, and can be made smaller again. */
static void interrupted(void **state)
{
	const u64 end = (1 << 20) + 1536;
	struct qc_error err = { 0 };
	int ret = -1;

	(void)state;
	must("qemu-img create -q -f qcow2 -o cluster_size=4096 " IMAGE " 4M");
	must_io("-c 'write -P 7 0 4M'");
	must("qemu-img snapshot -c s " IMAGE);
	must_io("-c 'write -P 7 2M 1M'");
	must("cp " IMAGE " template");
	for (int n = 0; ret; n++) {
		assert_true(n < 100);
		must("cp template " IMAGE);
		writes_left = n;
		ret = shrink(end, &err);
		writes_left = -1;
		assert_true(!ret || ret == -EIO);
		must("qemu-img check " IMAGE " || test $? = 3");
		must_io("-c 'read -P 7 0 1050112'");
		assert_int_equal(shrink(end, &err), 0);
		must_grow(4 << 20);
		must_io("-c 'read -P 7 0 1050112' -c 'read -P 0 1050112 3144192'");
		must("qemu-img snapshot -a s " IMAGE);
		must_io("-c 'read -P 7 0 4M'");
	}
}

/* Those behind the end are given back; one that the end lies in cannot be cut. */
static void of_compressed(void **state)
{
	struct qc_error err = { 0 };

	(void)state;
	must("truncate -s 4M disk && qemu-io -f raw -c 'write -P 7 0 4M' disk > out");
	must("qemu-img convert -c -f raw -O qcow2 disk " IMAGE);
	must("cp " IMAGE " before");
	assert_int_equal(shrink((1 << 20) + 512, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "compressed cluster; give it a size that is a multiple"));
	must("cmp " IMAGE " before");
	must_shrink(1 << 20);
	must_grow(4 << 20);
	must_io("-c 'read -P 7 0 1M' -c 'read -P 0 1M 3M'");
}

/* Below the end there is what the image is backed by. */
static void over_another(void **state)
{
	(void)state;
	must("truncate -s 1M disk && qemu-io -f raw -c 'write -P 5 0 1M' disk > out");
	must("qemu-img create -q -f qcow2 -b disk -F raw " IMAGE " 4M");
	must_io("-c 'write -P 7 512k 2M' -c 'write -z 0 64k'");
	must_shrink((1 << 20) - 512);
	must_grow(4 << 20);
	must_io("-c 'read -P 0 0 64k' -c 'read -P 5 64k 448k' -c 'read -P 7 512k 523776'");
	must_io("-c 'read -P 0 1048064 3146240'");
}

/* An image that is shorter than the one below it. */
static void create_short(const char *options, u64 size)
{
	below = 5 << 20;
	must("truncate -s 5M disk && qemu-io -f raw -c 'write -P 5 0 5M' disk > out");
	must("qemu-img create -q -f qcow2 -o %s -b disk -F raw " IMAGE " %llu", options, size);
	must_io("-c 'write -P 7 512k 64k'");
}

/* What is new is zero where something longer is below, as qemu-img makes it. */
static void over_longer(void **state)
{
	static const char *const options[] = {
		"cluster_size=4096", "cluster_size=65536", "cluster_size=65536,refcount_bits=1",
		"cluster_size=2M",
	};
	static const u64 sizes[] = { 3 << 20, (5 << 20) - 512, 40 << 20 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		create_short(options[i], i == 3 ? 2 << 20 : 1 << 20);
		for (size_t j = 0; j < ARRAY_SIZE(sizes); j++) {
			must("cp " IMAGE " qemu.qcow2 && qemu-img resize -q qemu.qcow2 %llu",
			     sizes[j]);
			must_grow(sizes[j]);
			must("qemu-img check " IMAGE);
			must("qemu-img compare qemu.qcow2 " IMAGE);
		}
		must_io("-c 'read -P 0 2M 38M' -c 'write -P 9 2M 6M' -c 'read -P 9 2M 6M'");
		must("qemu-img check " IMAGE);
	}
	/* A cluster that the end lies in, copied from below when it was written. */
	create_short("cluster_size=65536", (1 << 20) + 512);
	must_io("-c 'write -P 8 1M 512'");
	must_grow(4 << 20);
	must_io("-c 'read -P 8 1M 512' -c 'read -P 0 1049088 3145216'");
	must("qemu-img check " IMAGE);
	below = 0;
}

/* An L2 table that a snapshot has, too. */
static void over_longer_with_snapshot(void **state)
{
	(void)state;
	create_short("cluster_size=65536", 1 << 20);
	must("qemu-img snapshot -c s " IMAGE);
	must_grow(4 << 20);
	must("qemu-img check " IMAGE);
	must_io("-c 'read -P 7 512k 64k' -c 'read -P 5 0 512k' -c 'read -P 0 1M 3M'");
	must("qemu-img snapshot -a s " IMAGE);
	must_io("-c 'read -P 7 512k 64k' -c 'read -P 5 576k 448k'");
	must("qemu-img snapshot -d s " IMAGE " && qemu-img check " IMAGE);
	below = 0;
}

static void refuse_longer(int code, const char *why)
{
	struct qc_error err = { 0 };

	must("cp " IMAGE " before");
	assert_int_equal(grow(4 << 20, &err), code);
	assert_non_null(strstr(err.text, why));
	must("qemu-img check " IMAGE " && qemu-img compare before " IMAGE);
}

static void over_longer_refused(void **state)
{
	(void)state;
	create_short("cluster_size=65536", (1 << 20) + 512);
	refuse_longer(-ENOTSUP, "a cluster that it does not have");
	must_io("-c 'write -P 8 1M 512'");
	must("qemu-img snapshot -c s " IMAGE);
	refuse_longer(-ENOTSUP, "a cluster that a snapshot has, too");
	create_short("cluster_size=65536,compat=0.10", 1 << 20);
	refuse_longer(-ENOTSUP, "version 2 has no zero clusters");
	/* It takes 96 L2 tables; two refcount blocks have fewer free entries: nothing is kept. */
	create_short("cluster_size=512", 1 << 20);
	must_io("-c 'write -P 1 0 150k'");
	refuse_longer(-ENOSPC, "no free cluster");
	below = 0;
}

static void over_longer_interrupted(void **state)
{
	struct qc_error err = { 0 };
	int ret = -1;

	(void)state;
	create_short("cluster_size=4096", 1 << 20);
	must("qemu-img snapshot -c s " IMAGE " && cp " IMAGE " template");
	for (int n = 0; ret; n++) {
		assert_true(n < 100);
		must("cp template " IMAGE);
		writes_left = n;
		ret = grow(4 << 20, &err);
		writes_left = -1;
		assert_true(!ret || ret == -EIO);
		must("qemu-img check " IMAGE " || test $? = 3");
		must_io("-c 'read -P 5 0 512k' -c 'read -P 7 512k 64k' -c 'read -P 5 576k 448k'");
		must_grow(4 << 20);
		must_io("-c 'read -P 5 576k 448k' -c 'read -P 0 1M 3M'");
		must("qemu-img snapshot -a s " IMAGE);
		must_io("-c 'read -P 5 576k 448k'");
	}
	below = 0;
}

/* One whose L1 table does not fit any more where it was. */
static void create_short_tables(void)
{
	create_short("cluster_size=512", 1 << 20);
	must("qemu-img snapshot -c s " IMAGE);
}

/* Who has read the header before finds what it says until he reads it again. */
static void over_longer_read_by_others(void **state)
{
	u64 l1, entries[32];

	(void)state;
	create_short_tables();
	l1 = peek64(IMAGE, 40);
	for (u32 i = 0; i < ARRAY_SIZE(entries); i++)
		entries[i] = peek64(IMAGE, l1 + i * sizeof(u64));
	must_grow(3 << 20);
	assert_int_not_equal(peek64(IMAGE, 40), l1);
	for (u32 i = 0; i < ARRAY_SIZE(entries); i++)
		assert_int_equal(peek64(IMAGE, l1 + i * sizeof(u64)), entries[i]);
	must("qemu-img check " IMAGE);
	must_io("-c 'read -P 7 512k 64k' -c 'read -P 5 576k 448k' -c 'read -P 0 1M 2M'");
	below = 0;
}

/* However many L2 tables it takes: a device stands still meanwhile. */
static void over_longer_soon(void **state)
{
	unsigned int before;

	(void)state;
	create_short("cluster_size=512", 1 << 20);
	before = flushes;
	must_grow(3 << 20);
	assert_true(flushes - before < 16);
	must("qemu-img check " IMAGE);
	below = 0;
}

static void over_longer_moved_interrupted(void **state)
{
	static const u64 size = (2 << 20) + 65536;
	struct qc_error err = { 0 };
	int ret = -1;

	(void)state;
	create_short_tables();
	must("cp " IMAGE " template");
	for (int n = 0; ret; n += 3) {
		assert_true(n < 200);
		must("cp template " IMAGE);
		writes_left = n;
		ret = grow(size, &err);
		writes_left = -1;
		assert_true(!ret || ret == -EIO);
		must("qemu-img check " IMAGE " || test $? = 3");
		must_io("-c 'read -P 5 0 512k' -c 'read -P 7 512k 64k' -c 'read -P 5 576k 448k'");
		must_grow(size);
		must_io("-c 'read -P 5 576k 448k' -c 'read -P 0 1M 1088k'");
		must("qemu-img snapshot -a s " IMAGE);
		must_io("-c 'read -P 7 512k 64k' -c 'read -P 5 576k 448k'");
	}
	below = 0;
}

static void not_smaller(void **state)
{
	struct qc_error err = { 0 };

	(void)state;
	must("qemu-img create -q -f qcow2 " IMAGE " 1M");
	must_io("-c 'write -P 7 0 1M'");
	must("cp " IMAGE " before");
	assert_int_equal(shrink(1 << 20, &err), 0);
	assert_int_equal(shrink(2 << 20, &err), 0);
	must("cmp " IMAGE " before");
	/* An L2 table that is none, and an image whose refcounts are not to be believed. */
	poke64(IMAGE, peek64(IMAGE, 40), 1ULL << 63 | 0x40200);
	must("cp " IMAGE " before");
	assert_int_equal(shrink(512, &err), -EUCLEAN);
	must("cmp " IMAGE " before");
	must("qemu-img create -q -f qcow2 " IMAGE " 1M");
	poke64(IMAGE, 72, QC_INCOMPAT_DIRTY);
	assert_int_equal(shrink(512, &err), -EUCLEAN);
	assert_non_null(strstr(err.text, "dirty"));
	must("qemu-img create -q -f qcow2 -o compat=0.10 " IMAGE " 1M");
	must("qemu-img snapshot -c s " IMAGE);
	assert_int_equal(shrink(512, &err), -ENOTSUP);
}

/* What an entry behind the new end names is not given back when something else is there. */
static void not_sound(void **state)
{
	/* Where the header has the offsets of the L1 table and the refcount table. */
	static const u64 tables[] = { 40, 48 };
	struct qc_error err = { 0 };

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(tables); i++) {
		u64 l2;

		must("qemu-img create -q -f qcow2 " IMAGE " 1M");
		must_io("-c 'write -P 7 0 1M'");
		l2 = peek64(IMAGE, peek64(IMAGE, 40)) & QC_OFFSET_MASK;
		poke64(IMAGE, l2 + 15 * sizeof(u64), QC_COPIED | peek64(IMAGE, tables[i]));
		must("cp " IMAGE " before");
		assert_int_equal(shrink(512, &err), -EUCLEAN);
		assert_non_null(strstr(err.text, "its tables are damaged; see: qchain check"));
		must("cmp " IMAGE " before");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_geometry),
		cmocka_unit_test(behind_the_end),
		cmocka_unit_test(refused),
		cmocka_unit_test(smaller),
		cmocka_unit_test(with_snapshots),
		cmocka_unit_test(interrupted),
		cmocka_unit_test(of_compressed),
		cmocka_unit_test(over_another),
		cmocka_unit_test(over_longer),
		cmocka_unit_test(over_longer_with_snapshot),
		cmocka_unit_test(over_longer_refused),
		cmocka_unit_test(over_longer_interrupted),
		cmocka_unit_test(over_longer_read_by_others),
		cmocka_unit_test(over_longer_soon),
		cmocka_unit_test(over_longer_moved_interrupted),
		cmocka_unit_test(not_smaller),
		cmocka_unit_test(not_sound),
	};

	return cmocka_run_group_tests_name("resize", tests, scratch_setup, scratch_teardown);
}
