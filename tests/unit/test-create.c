// SPDX-License-Identifier: GPL-2.0-or-later
/* New images, as qemu-img sees them. */
#include <errno.h>
#include <stdio.h>

#include "create.h"
#include "helper.h"
#include "locks.h"

#define OURS "ours.qcow2"
#define THEIRS "theirs.qcow2"

static void create(const struct qc_create_options *options)
{
	struct qc_error err = { 0 };

	if (qc_create(OURS, options, &err))
		fail_msg("%s", err.text);
}

/* qemu-img says the same of both, checks it, and can fill it. */
static void assert_like(const char *qemu_options, const char *size)
{
	static const char same[] = "-e actual-size -e ours -e theirs";

	must("qemu-img create -f qcow2 %s " THEIRS " %s", qemu_options, size);
	must("qemu-img info --output=json " OURS " | grep -v %s > ours", same);
	must("qemu-img info --output=json " THEIRS " | grep -v %s > theirs", same);
	must("cmp ours theirs");
	must("qemu-img check " OURS);
	must("qemu-io -c 'write -P 5 0 1M' -c 'write -P 6 3M 1M' -c 'read -P 5 0 1M' " OURS);
	must("qemu-img check " OURS);
	assert_int_equal(check_status(OURS, 0), 0);
}

static void every_geometry(void **state)
{
	(void)state;
	for (u32 bits = QC_MIN_CLUSTER_BITS; bits <= QC_MAX_CLUSTER_BITS; bits += 3) {
		for (u32 order = 0; order <= 6; order++) {
			const struct qc_create_options o = {
				.size = 5ULL << 30,
				.cluster_size = 1 << bits,
				.refcount_bits = 1 << order,
				.force = true,
			};
			char options[64];

			create(&o);
			snprintf(options, sizeof(options), "-o cluster_size=%u,refcount_bits=%u",
				 1 << bits, 1 << order);
			assert_like(options, "5G");
		}
	}
}

static void features(void **state)
{
	const struct qc_create_options version2 = {
		.size = 1 << 30,
		.version = 2,
		.force = true,
	};
	const struct qc_create_options all = {
		.size = 1 << 30,
		.lazy_refcounts = true,
		.compression = QC_COMPRESSION_ZSTD,
		.backing = "base with spaces",
		.backing_format = "raw",
		.force = true,
	};

	(void)state;
	create(&version2);
	assert_like("-o compat=0.10", "1G");
	must("truncate -s 1G 'base with spaces'");
	create(&all);
	assert_like("-b 'base with spaces' -F raw -o lazy_refcounts=on,compression_type=zstd",
		    "1G");
	must("qemu-io -c 'write -c -P 1 8M 64k' " OURS " && qemu-img check " OURS);
}

/* Every cluster has its place, where it reads as zeroes, and qemu-img finds nothing wrong. */
static void preallocated(void **state)
{
	static const u64 sizes[] = { 0, 512, 3 << 20, (33 << 20) + 512 };

	(void)state;
	for (u32 bits = QC_MIN_CLUSTER_BITS; bits <= QC_MAX_CLUSTER_BITS; bits += 4) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			const struct qc_create_options o = {
				.size = sizes[i],
				.cluster_size = 1 << bits,
				.preallocate = true,
				.force = true,
			};

			create(&o);
			assert_int_equal(check_status(OURS, 0), 0);
			must("qemu-img check " OURS);
			must("truncate -s %llu raw && qemu-img compare -f raw -F qcow2 raw " OURS,
			     sizes[i]);
			if (!sizes[i])
				continue;
			must("qemu-img map --output=json " OURS " > map");
			must("test $(grep -c depth map) -eq $(grep -c '\"offset\"' map)");
			if (sizes[i] < 1 << 20)
				continue;
			must("qemu-io -c 'write -P 5 1M 1M' -c 'read -P 5 1M 1M' " OURS);
			must("qemu-img check " OURS);
		}
	}
}

/* What is open and locked becomes an image; what cannot become one stays as it is. */
static void in_a_store(void **state)
{
	struct qc_create_options o = { .size = 1 << 20, .preallocate = true };
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_error err = { 0 };
	char name[600] = { 0 };

	(void)state;
	must("seq 1000000 > " OURS " && cp " OURS " before");
	assert_int_equal(qc_store_open(OURS, QC_OPEN_WRITE, &store, &err), 0);
	assert_int_equal(qc_lock(store, QC_LOCK_WRITE, &err), 0);
	o.backing = "x";
	o.backing_format = "raw";
	assert_failed(&err, qc_create_in(store, &o, &err), EINVAL, OURS, "hide");
	memset(name, 'x', sizeof(name) - 1);
	o.backing = name;
	o.preallocate = false;
	o.cluster_size = 512;
	assert_failed(&err, qc_create_in(store, &o, &err), ENOSPC, OURS, "header does not fit");
	must("cmp before " OURS);
	o.backing = NULL;
	assert_int_equal(qc_create_in(store, &o, &err), 0);
	qc_lock(store, QC_LOCK_NONE, &err);
	must("truncate -s 1M raw && qemu-img compare -f raw -F qcow2 raw " OURS
	     " && qemu-img check " OURS);
}

static void sizes(void **state)
{
	static const struct {
		u64 bytes;
		u64 rounded;
	} cases[] = {
		{ 4 << 20, 4 << 20 },
		{ (4 << 20) + 1, (4 << 20) + 512 },
		{ 1ULL << 50, 1ULL << 50 },
	};
	CLEANUP_HEADER struct qc_header *empty = NULL;
	struct qc_create_options o = { .force = true };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP_HEADER struct qc_header *h = NULL;

		o.size = cases[i].bytes;
		create(&o);
		h = header_of(OURS);
		assert_int_equal(h->size, cases[i].rounded);
		must("qemu-img check " OURS);
	}
	o.size = 0;
	create(&o);
	empty = header_of(OURS);
	assert_int_equal(empty->size, 0);
	must("qemu-img check " OURS " && qemu-img resize " OURS " 1G && qemu-img check " OURS);
}

static void refused(void **state)
{
	static const struct {
		struct qc_create_options o;
		int code;
		const char *text;
	} cases[] = {
		{ { .size = 1 << 20, .cluster_size = 256 }, EINVAL, "cluster size" },
		{ { .size = 1 << 20, .cluster_size = 5000 }, EINVAL, "cluster size" },
		{ { .size = 1 << 20, .cluster_size = 4 << 20 }, EINVAL, "cluster size" },
		{ { .size = 1 << 20, .refcount_bits = 3 }, EINVAL, "refcount width" },
		{ { .size = 1 << 20, .refcount_bits = 128 }, EINVAL, "refcount width" },
		{ { .size = 1 << 20, .version = 1 }, EINVAL, "version" },
		{ { .size = 1 << 20, .version = 2, .refcount_bits = 8 }, EINVAL, "16-bit" },
		{ { .size = 1 << 20, .version = 2, .lazy_refcounts = true }, EINVAL, "lazy" },
		{ { .size = 1 << 20, .version = 2, .compression = QC_COMPRESSION_ZSTD }, EINVAL,
		  "zlib" },
		{ { .size = 1 << 20, .backing = "x" }, EINVAL, "format of the backing file" },
		{ { .size = 1ULL << 40, .cluster_size = 512 }, EFBIG, "larger cluster size" },
		{ { .size = ~0ULL }, EINVAL, "size" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct qc_error err = { 0 };

		unlink(OURS);
		assert_failed(&err, qc_create(OURS, &cases[i].o, &err), cases[i].code, OURS,
			      cases[i].text);
		assert_int_equal(access(OURS, F_OK), -1);
	}
}

/* A failure after the file was made takes the file away again. */
static void nothing_left(void **state)
{
	struct qc_create_options o = {
		.size = 1 << 20, .cluster_size = 512, .backing_format = "raw",
	};
	struct qc_error err = { 0 };
	char name[600];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	o.backing = name;
	unlink(OURS);
	assert_failed(&err, qc_create(OURS, &o, &err), ENOSPC, OURS, "header does not fit");
	assert_int_equal(access(OURS, F_OK), -1);
}

static bool count_down(void *ctx)
{
	return !--*(unsigned int *)ctx;
}

/* Nor does one that is interrupted leave it. */
static void interrupted(void **state)
{
	struct qc_create_options o = {
		.size = 64 << 20, .cluster_size = 4096, .preallocate = true,
		.cancelled = count_down,
	};
	struct qc_error err = { 0 };

	(void)state;
	unlink(OURS);
	for (unsigned int after = 1; after < 10; after++) {
		unsigned int left = after;

		o.ctx = &left;
		assert_failed(&err, qc_create(OURS, &o, &err), ECANCELED, OURS, "interrupted");
		assert_int_equal(access(OURS, F_OK), -1);
	}
}

static void not_overwritten(void **state)
{
	struct qc_create_options o = { .size = 1 << 20 };
	CLEANUP_STORE struct qc_store *holder = NULL;
	struct qc_error err = { 0 };

	(void)state;
	must("echo precious > " OURS);
	assert_failed(&err, qc_create(OURS, &o, &err), EEXIST, OURS, "--force");
	must("grep precious " OURS);
	o.force = true;
	create(&o);

	/* Not even by force while somebody uses it. */
	assert_int_equal(qc_store_open(OURS, 0, &holder, &err), 0);
	assert_int_equal(qc_lock(holder, QC_LOCK_READ, &err), 0);
	assert_failed(&err, qc_create(OURS, &o, &err), EBUSY, OURS, "another program");
	must("qemu-img check " OURS);

	assert_failed(&err, qc_create("/nowhere/at/all", &o, &err), ENOENT, "/nowhere");
	assert_failed(&err, qc_create("/dev/null", &o, &err), EINVAL, "/dev/null", "neither");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_geometry),
		cmocka_unit_test(features),
		cmocka_unit_test(preallocated),
		cmocka_unit_test(in_a_store),
		cmocka_unit_test(sizes),
		cmocka_unit_test(refused),
		cmocka_unit_test(nothing_left),
		cmocka_unit_test(interrupted),
		cmocka_unit_test(not_overwritten),
	};

	return cmocka_run_group_tests_name("create", tests, scratch_setup, scratch_teardown);
}
