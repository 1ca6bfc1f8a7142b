// SPDX-License-Identifier: GPL-2.0-or-later
/* check and repair, with qemu-img check as the judge. */
#include <errno.h>
#include <stdio.h>

#include "entry.h"
#include "helper.h"

#define IMAGE "image.qcow2"
#define COPY "copy.qcow2"

/* Compressed clusters that share a host cluster need more than two bits when snapshotted. */
#define SNAPSHOT_ORDER 3

/* Data, zero, discarded and compressed clusters, and what a snapshot shares. */
static void make_image(const char *options, bool snapshot)
{
	must("qemu-img create -f qcow2 -o %s " IMAGE " 4M", options);
	must("qemu-io -c 'write -P 1 0 100k' -c 'write -P 2 1M 300k' " IMAGE);
	must("qemu-io -c 'discard 1M 64k' -c 'write -z 500k 100k' " IMAGE);
	/* Whole clusters only. */
	if (sh("qemu-io -c 'write -c -P 3 2M 64k' " IMAGE))
		must("qemu-io -c 'write -c -P 3 2M 2M' " IMAGE);
	if (!snapshot)
		return;
	must("qemu-img snapshot -c s1 " IMAGE);
	must("qemu-io -c 'write -P 4 50k 100k' -c 'write -P 5 2100k 40k' " IMAGE);
}

static int qemu_status(const char *path)
{
	return sh("qemu-img check -q %s", path);
}

static u64 refblock_offset(const char *path)
{
	return peek64(path, peek64(path, 48));
}

static u64 l2_offset(const char *path)
{
	return peek64(path, peek64(path, 40)) & QC_OFFSET_MASK;
}

static void healthy(void **state)
{
	static const u32 sizes[] = { 512, 4096, 65536, 2 << 20 };
	char options[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(options, sizeof(options), "compat=0.10,cluster_size=%u", sizes[i]);
		make_image(options, true);
		assert_int_equal(check_status(IMAGE, 0), 0);
		for (u32 order = 0; order <= 6; order++) {
			snprintf(options, sizeof(options), "cluster_size=%u,refcount_bits=%u",
				 sizes[i], 1 << order);
			make_image(options, order >= SNAPSHOT_ORDER);
			assert_int_equal(qemu_status(IMAGE), 0);
			assert_int_equal(check_status(IMAGE, 0), 0);
		}
	}
}

static void numbers(void **state)
{
	struct qc_check_result r;
	struct qc_error err = { 0 };

	(void)state;
	make_image("cluster_size=65536", false);
	assert_int_equal(run_check(IMAGE, 0, 0, &r, &err), 0);
	assert_int_equal(r.total_clusters, 64);
	must("qemu-img check --output=json " IMAGE " | tr -d ' ,' > json");
	must("grep -x '\"allocated-clusters\":%llu' json", r.allocated);
	must("grep -x '\"compressed-clusters\":%llu' json", r.compressed);
	must("grep -x '\"image-end-offset\":%llu' json", r.image_end);
}

static void bitmaps(void **state)
{
	(void)state;
	make_image("cluster_size=4096", true);
	must("qemu-img bitmap --add -g 512 " IMAGE " b0 && qemu-io -c 'write 0 1M' " IMAGE
	     " && qemu-img bitmap --add " IMAGE " b1");
	assert_int_equal(qemu_status(IMAGE), 0);
	assert_int_equal(check_status(IMAGE, 0), 0);
	/* A program that knows no bitmaps wrote: they are void, and their clusters leaked. */
	poke64(IMAGE, 88, 0);
	assert_int_equal(qemu_status(IMAGE), 3);
	assert_int_equal(check_status(IMAGE, 0), 3);
	assert_int_equal(check_status(IMAGE, QC_REPAIR_LEAKS), 0);
	assert_int_equal(qemu_status(IMAGE), 0);
}

static void leaks(void **state)
{
	struct qc_check_result r;
	struct qc_error err = { 0 };

	(void)state;
	make_image("cluster_size=65536", false);
	/* Forget the L2 table: it and all that it maps is leaked. */
	poke64(IMAGE, peek64(IMAGE, 40), 0);
	assert_int_equal(qemu_status(IMAGE), 3);
	assert_int_equal(check_status(IMAGE, 0), 3);
	assert_int_equal(run_check(IMAGE, QC_REPAIR_LEAKS, 0, &r, &err), 0);
	assert_int_equal(r.leaks, 0);
	assert_true(r.leaks_fixed > 5);
	assert_int_equal(qemu_status(IMAGE), 0);
}

static void wrong_refcounts(void **state)
{
	(void)state;
	for (u32 order = 0; order <= 6; order++) {
		for (u32 byte = 0; byte < 16; byte++) {
			char options[64];
			u8 value = 0;

			snprintf(options, sizeof(options), "cluster_size=4096,refcount_bits=%u",
				 1 << order);
			if (!byte)
				make_image(options, order >= SNAPSHOT_ORDER);
			must("cp " IMAGE " " COPY);
			poke(COPY, refblock_offset(COPY) + byte, &value, 1);
			assert_int_equal(check_status(COPY, 0), qemu_status(COPY));
			assert_int_equal(check_status(COPY, QC_REPAIR_ALL), 0);
			assert_int_equal(qemu_status(COPY), 0);
			must("qemu-img compare " IMAGE " " COPY);
		}
	}
}

/* A leak-only repair leaves errors alone. */
static void leaks_only(void **state)
{
	u16 value = 0;

	(void)state;
	make_image("cluster_size=65536", false);
	poke(IMAGE, refblock_offset(IMAGE) + 2 * 6, &value, 2);
	assert_int_equal(check_status(IMAGE, QC_REPAIR_LEAKS), 2);
	assert_int_equal(check_status(IMAGE, QC_REPAIR_ALL), 0);
}

static void copied_flags(void **state)
{
	(void)state;
	make_image("cluster_size=65536", false);
	poke64(IMAGE, peek64(IMAGE, 40), l2_offset(IMAGE));
	poke64(IMAGE, l2_offset(IMAGE), peek64(IMAGE, l2_offset(IMAGE)) & ~QC_COPIED);
	assert_int_equal(qemu_status(IMAGE), 2);
	assert_int_equal(check_status(IMAGE, 0), 2);
	assert_int_equal(check_status(IMAGE, QC_REPAIR_ALL), 0);
	assert_int_equal(qemu_status(IMAGE), 0);
	must("qemu-io -r -c 'read -P 1 0 100k' " IMAGE);

	poke64(IMAGE, l2_offset(IMAGE) + 8 * 60, QC_COPIED);
	assert_int_equal(check_status(IMAGE, 0), 2);
	assert_int_equal(check_status(IMAGE, QC_REPAIR_ALL), 0);
	assert_int_equal(peek64(IMAGE, l2_offset(IMAGE) + 8 * 60), 0);
}

/* What cannot be repaired without guessing stays, and is said. */
static void bad_entries(void **state)
{
	static const struct {
		u64 entry;
		int repaired;		/* check status afterwards */
	} cases[] = {
		{ QC_COPIED | 0x10200, 2 },			/* not aligned */
		{ QC_COPIED | 0x7fff0000, 2 },		/* behind the end */
		{ QC_COPIED | 0x50000 | BIT_ULL(60), 2 },	/* reserved bit */
		{ QC_COPIED | 0x50000 | BIT_ULL(5), 2 },
		{ QC_ZERO | 0x50200, 0 },			/* reads as zeroes anyway */
	};

	(void)state;
	make_image("cluster_size=65536", false);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		must("cp " IMAGE " " COPY);
		poke64(COPY, l2_offset(COPY) + 8 * 50, cases[i].entry);
		assert_int_equal(qemu_status(COPY), 2);
		assert_int_equal(check_status(COPY, 0), 2);
		assert_int_equal(check_status(COPY, QC_REPAIR_ALL), cases[i].repaired);
		must("qemu-io -r -c 'read -P 1 0 100k' " COPY);

		must("cp " IMAGE " " COPY);
		poke64(COPY, peek64(COPY, 40) + 8, cases[i].entry);
		assert_int_equal(check_status(COPY, 0), sh("qemu-img check " COPY) ? 2 : 0);
	}
}

static void overlaps(void **state)
{
	struct qc_check_result r;
	struct qc_error err = { 0 };

	(void)state;
	make_image("cluster_size=65536", false);
	/* A data cluster that is the L2 table itself. */
	must("cp " IMAGE " " COPY);
	poke64(COPY, l2_offset(COPY) + 8 * 50, QC_COPIED | l2_offset(COPY));
	assert_int_equal(qemu_status(COPY), 2);
	assert_int_equal(check_status(COPY, 0), 2);
	assert_int_equal(check_status(COPY, QC_REPAIR_ALL), 2);

	/* Over the refcount block: the block can be put elsewhere. */
	must("cp " IMAGE " " COPY);
	poke64(COPY, l2_offset(COPY) + 8 * 50, QC_COPIED | refblock_offset(COPY));
	assert_int_equal(run_check(COPY, QC_REPAIR_ALL, 0, &r, &err), 0);
	assert_true(r.rebuilt);
	assert_int_equal(r.corruptions, 0);
	assert_int_equal(qemu_status(COPY), 0);
	must("qemu-io -r -c 'read -P 1 0 100k' " COPY);
}

static void rebuild(void **state)
{
	static const u64 entries[] = { 0, 0x200, 0x7fffffff0000, 3ULL << 62, 0x101 };
	static const u32 sizes[] = { 512, 4096, 65536 };

	(void)state;
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		for (u32 order = 0; order <= 6; order += 2) {
			char options[64];

			snprintf(options, sizeof(options), "cluster_size=%u,refcount_bits=%u",
				 sizes[s], 1U << order);
			make_image(options, order >= SNAPSHOT_ORDER);
			for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
				struct qc_check_result r;
				struct qc_error err = { 0 };

				must("cp " IMAGE " " COPY);
				poke64(COPY, peek64(COPY, 48), entries[i]);
				assert_int_equal(check_status(COPY, 0), 2);
				assert_int_equal(run_check(COPY, QC_REPAIR_ALL, 0, &r, &err), 0);
				assert_true(r.rebuilt);
				assert_int_equal(r.corruptions + r.leaks, 0);
				assert_int_equal(qemu_status(COPY), 0);
				must("qemu-img compare " IMAGE " " COPY);
			}
		}
	}
}

/* The same findings and repairs, whatever part of the image fits into memory. */
static void many_windows(void **state)
{
	struct qc_check_result all, windowed;
	struct qc_error err = { 0 };
	u8 zeroes[64] = { 0 };

	(void)state;
	make_image("cluster_size=512,refcount_bits=16", true);
	must("qemu-io -c 'write -P 9 0 4M' " IMAGE);
	assert_int_equal(run_check(IMAGE, 0, 1, &windowed, &err), 0);
	assert_int_equal(windowed.corruptions + windowed.leaks, 0);

	for (int i = 0; i < 12; i++) {
		u64 block = peek64(IMAGE, peek64(IMAGE, 48) + 8 * i) + 24 * i;

		if (block > 24 * 12)
			poke(IMAGE, block, zeroes, sizeof(zeroes));
	}
	poke64(IMAGE, l2_offset(IMAGE) + 24, peek64(IMAGE, l2_offset(IMAGE) + 24) & ~QC_COPIED);
	assert_int_equal(run_check(IMAGE, 0, 0, &all, &err), 0);
	assert_int_equal(run_check(IMAGE, 0, 1, &windowed, &err), 0);
	assert_true(all.corruptions > 100);
	assert_int_equal(windowed.corruptions, all.corruptions);
	assert_int_equal(windowed.leaks, all.leaks);
	assert_int_equal(windowed.image_end, all.image_end);

	must("cp " IMAGE " " COPY);
	assert_int_equal(run_check(COPY, QC_REPAIR_ALL, 1, &windowed, &err), 0);
	assert_int_equal(windowed.corruptions + windowed.leaks, 0);
	assert_int_equal(qemu_status(COPY), 0);
	/* And a rebuild through small windows. */
	poke64(IMAGE, peek64(IMAGE, 48) + 8, 0);
	assert_int_equal(run_check(IMAGE, QC_REPAIR_ALL, 1, &windowed, &err), 0);
	assert_true(windowed.rebuilt);
	assert_int_equal(windowed.corruptions + windowed.leaks, 0);
	assert_int_equal(qemu_status(IMAGE), 0);
	must("qemu-io -r -c 'read -P 9 0 4M' " IMAGE);
}

/* QEMU was killed with lazy refcounts on. */
static void left_dirty(void **state)
{
	static const u32 sizes[] = { 4096, 65536 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		CLEANUP_HEADER struct qc_header *before = NULL;
		CLEANUP_HEADER struct qc_header *after = NULL;

		must("qemu-img create -f qcow2 -o lazy_refcounts=on,cluster_size=%u " IMAGE
		     " 64M", sizes[i]);
		sh("qemu-io -c 'write -P 7 0 30M' -c flush -c abort " IMAGE);
		before = header_of(IMAGE);
		assert_true(before->incompatible & QC_INCOMPAT_DIRTY);
		assert_int_equal(check_status(IMAGE, 0), 2);
		assert_int_equal(check_status(IMAGE, QC_REPAIR_ALL), 0);
		after = header_of(IMAGE);
		assert_false(after->incompatible & QC_INCOMPAT_DIRTY);
		assert_int_equal(qemu_status(IMAGE), 0);
		must("qemu-io -r -c 'read -P 7 0 30M' " IMAGE);
	}
}

static void corrupt_mark(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	make_image("cluster_size=65536", false);
	poke64(IMAGE, 72, QC_INCOMPAT_CORRUPT);
	assert_int_equal(check_status(IMAGE, QC_REPAIR_LEAKS), 0);
	h = header_of(IMAGE);
	assert_true(h->incompatible & QC_INCOMPAT_CORRUPT);
	qc_header_free(h);
	assert_int_equal(check_status(IMAGE, QC_REPAIR_ALL), 0);
	h = header_of(IMAGE);
	assert_false(h->incompatible & QC_INCOMPAT_CORRUPT);
}

/* A refcount wider than the entries: an error that says so, and the image as it was. */
static void refcount_too_narrow(void **state)
{
	struct qc_check_result r;
	struct qc_error err = { 0 };
	u64 data;

	(void)state;
	make_image("cluster_size=65536,refcount_bits=1", false);
	data = peek64(IMAGE, l2_offset(IMAGE));
	poke64(IMAGE, l2_offset(IMAGE) + 8 * 50, data);
	assert_int_equal(run_check(IMAGE, QC_REPAIR_ALL, 0, &r, &err), 0);
	assert_true(r.corruptions > 0);
	poke64(IMAGE, peek64(IMAGE, 48), 0);
	assert_failed(&err, run_check(IMAGE, QC_REPAIR_ALL, 0, &r, &err), EOVERFLOW, IMAGE,
		      "refcount of 1 bits");
}

/* Any damage: the same verdict as qemu-img's, and after a repair that says so, a clean image. */
static void random_damage(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	srand(42);
	for (int round = 0; round < 150; round++) {
		struct qc_check_result r;
		struct qc_error err = { 0 };
		u64 tables[4], value;
		int ours, theirs;

		if (round % 50 == 0)
			make_image(round ? "cluster_size=4096" : "cluster_size=65536", round < 100);
		must("cp " IMAGE " " COPY);
		tables[0] = peek64(COPY, 40);
		tables[1] = peek64(COPY, 48);
		tables[2] = l2_offset(COPY);
		tables[3] = refblock_offset(COPY);
		value = (u64)rand() << 32 ^ (u64)rand() << 9;
		if (rand() % 2)
			value = QC_COPIED | (value & 0x1ff000);
		poke64(COPY, tables[rand() % 4] + 8 * (rand() % 16), value);

		ours = check_status(COPY, 0);
		theirs = qemu_status(COPY);
		/*
		 * qemu-img gives up where the refcount table is damaged, and does not look at
		 * refcounts of clusters behind the end of the file, nor at a copied flag
		 * without a cluster.
		 */
		if (theirs != 1 && theirs != 0)
			assert_int_equal(ours, theirs);
		if (ours == 0)
			assert_int_equal(theirs, 0);
		if (run_check(COPY, QC_REPAIR_ALL, 0, &r, &err) || r.corruptions)
			continue;
		assert_int_equal(r.leaks, 0);
		assert_int_equal(qemu_status(COPY), 0);
	}
	h = header_of(IMAGE);
	assert_non_null(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(healthy),
		cmocka_unit_test(numbers),
		cmocka_unit_test(bitmaps),
		cmocka_unit_test(leaks),
		cmocka_unit_test(wrong_refcounts),
		cmocka_unit_test(leaks_only),
		cmocka_unit_test(copied_flags),
		cmocka_unit_test(bad_entries),
		cmocka_unit_test(overlaps),
		cmocka_unit_test(rebuild),
		cmocka_unit_test(many_windows),
		cmocka_unit_test(left_dirty),
		cmocka_unit_test(corrupt_mark),
		cmocka_unit_test(refcount_too_narrow),
		cmocka_unit_test(random_damage),
	};

	return cmocka_run_group_tests_name("check", tests, scratch_setup, scratch_teardown);
}
