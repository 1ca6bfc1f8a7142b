// SPDX-License-Identifier: GPL-2.0-or-later
/* Headers: those that qemu-img writes, and those that must be refused. */
#include <errno.h>
#include <stdio.h>

#include "helper.h"

#define IMAGE "image.qcow2"

/* Encoding what was parsed gives an image that QEMU takes for the same. */
static void assert_round_trip(const struct qc_header *h)
{
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_error err = { 0 };

	must("qemu-img info --output=json " IMAGE " > before");
	assert_int_equal(qc_store_open(IMAGE, QC_OPEN_WRITE, &store, &err), 0);
	assert_int_equal(qc_header_write(h, store, &err), 0);
	must("qemu-img info --output=json " IMAGE " > after && cmp before after");
}

static void sizes_and_widths(void **state)
{
	(void)state;
	for (u32 bits = QC_MIN_CLUSTER_BITS; bits <= QC_MAX_CLUSTER_BITS; bits++) {
		for (u32 order = 0; order <= 6; order++) {
			CLEANUP_HEADER struct qc_header *h = NULL;

			must("qemu-img create -f qcow2 -o cluster_size=%u,refcount_bits=%u " IMAGE
			     " 10M", 1 << bits, 1 << order);
			h = header_of(IMAGE);
			assert_int_equal(h->version, 3);
			assert_int_equal(h->cluster_bits, bits);
			assert_int_equal(h->refcount_order, order);
			assert_int_equal(h->size, 10 << 20);
			assert_null(h->backing);
			assert_round_trip(h);
		}
	}
}

static void version_2(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	must("qemu-img create -f qcow2 -u -b some/base -F raw -o compat=0.10 " IMAGE " 1G");
	h = header_of(IMAGE);
	assert_int_equal(h->version, 2);
	assert_int_equal(h->length, QC_V2_HEADER_LENGTH);
	assert_int_equal(h->refcount_order, 4);
	assert_string_equal(h->backing, "some/base");
	assert_string_equal(h->backing_format, "raw");
	assert_round_trip(h);
}

static void features(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	must("qemu-img create -f qcow2 -o lazy_refcounts=on,compression_type=zstd " IMAGE " 1G");
	h = header_of(IMAGE);
	assert_true(h->compatible & QC_COMPAT_LAZY_REFCOUNTS);
	assert_int_equal(h->compression, QC_COMPRESSION_ZSTD);
	assert_round_trip(h);
}

static void longest_backing_name(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	must("qemu-img create -f qcow2 -u -b $(printf 'x%%.0s' $(seq 1023)) -F qcow2 " IMAGE " 1M");
	h = header_of(IMAGE);
	assert_int_equal(strlen(h->backing), QC_MAX_BACKING_NAME);
}

static void bitmaps_extension(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;
	struct qc_bitmaps_extension bitmaps;

	(void)state;
	must("qemu-img create -f qcow2 " IMAGE " 1G");
	must("qemu-img bitmap --add " IMAGE " b0 && qemu-img bitmap --add " IMAGE " b1");
	h = header_of(IMAGE);
	assert_true(h->autoclear & QC_AUTOCLEAR_BITMAPS);
	assert_int_equal(qc_header_bitmaps(h, IMAGE, &bitmaps, NULL), 0);
	assert_int_equal(bitmaps.nb_bitmaps, 2);
	assert_round_trip(h);
}

/* Unknown additional fields and extensions are kept when the header is rewritten. */
static void unknown_is_preserved(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;
	CLEANUP_HEADER struct qc_header *again = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	const struct qc_extension *ext;
	struct qc_error err = { 0 };
	u8 buf[65536];

	(void)state;
	must("qemu-img create -f qcow2 -u -b base -F raw " IMAGE " 1M");
	h = header_of(IMAGE);
	assert_int_equal(qc_header_set_extension(h, 0x12345678, "hello", 5), 0);
	assert_int_equal(qc_header_encode(h, IMAGE, buf, &err), 0);
	/* Make the fixed part 8 bytes longer, as a later version of the format may. */
	memmove(buf + 120, buf + 112, sizeof(buf) - 120);
	memcpy(buf + 112, "newfield", 8);
	qc_put_be32(buf + 100, 120);
	qc_put_be64(buf + 8, qc_get_be64(buf + 8) + 8);
	poke(IMAGE, 0, buf, sizeof(buf));

	again = header_of(IMAGE);
	assert_int_equal(again->length, 120);
	assert_int_equal(qc_store_open(IMAGE, QC_OPEN_WRITE, &store, &err), 0);
	assert_int_equal(qc_header_write(again, store, &err), 0);
	qc_header_free(again);
	again = header_of(IMAGE);
	ext = qc_header_extension(again, 0x12345678);
	assert_non_null(ext);
	assert_int_equal(ext->len, 5);
	assert_memory_equal(ext->data, "hello", 5);
	assert_memory_equal(again->extra + again->nb_extra - 8, "newfield", 8);
	assert_string_equal(again->backing, "base");
	must("qemu-img info " IMAGE);
}

static int parse_image(struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *h = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	int ret;

	memset(err, 0, sizeof(*err));
	ret = qc_store_open(IMAGE, 0, &store, err);
	return ret ? ret : qc_header_read(store, &h, err);
}

/* Each field, with a value that is not allowed. */
static void bad_fields(void **state)
{
	static const struct {
		u32 at;
		u32 len;
		u64 value;
		const char *text;
	} cases[] = {
		{ 0, 4, 0x12345678, "is not a qcow2 image" },
		{ 4, 4, 1, "version 1" },
		{ 4, 4, 4, "version 4" },
		{ 20, 4, 8, "cluster size" },
		{ 20, 4, 22, "cluster size" },
		{ 20, 4, 0xffffffff, "cluster size" },
		{ 24, 8, 1ULL << 63, "virtual size" },
		{ 24, 8, 1ULL << 50, "L1 table size" },
		{ 36, 4, 0, "L1 table size" },
		{ 36, 4, 0xffffffff, "L1 table size" },
		{ 40, 8, 0, "L1 table offset" },
		{ 40, 8, 512, "L1 table offset" },
		{ 40, 8, ~0ULL << 16, "L1 table offset" },
		{ 48, 8, 0, "refcount table offset" },
		{ 48, 8, 1, "refcount table offset" },
		{ 56, 4, 0, "refcount table size" },
		{ 56, 4, 0x10000, "refcount table size" },
		{ 60, 4, 0x10001, "snapshots" },
		{ 60, 4, 1, "snapshot table offset" },
		{ 96, 4, 7, "refcount order" },
		{ 100, 4, 96, "header length" },
		{ 100, 4, 105, "header length" },
		{ 100, 4, 0xfffffff8, "header length" },
		{ 72, 8, 1 << 3, "compression type" },
		{ 88, 8, 1, NULL },	/* bitmaps without the extension: only their users mind */
		{ 8, 8, 1 << 20, "backing file name" },
		{ 8, 8, 8, "backing file name" },
		{ 16, 4, 1024, "backing file name" },
		{ 116, 4, 0x100000, "header extension" },
	};
	struct qc_error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		u8 bytes[8];

		must("qemu-img create -f qcow2 -u -b base -F raw " IMAGE " 1M");
		if (cases[i].len == 4)
			qc_put_be32(bytes, cases[i].value);
		else
			qc_put_be64(bytes, cases[i].value);
		poke(IMAGE, cases[i].at, bytes, cases[i].len);
		if (!cases[i].text) {
			assert_int_equal(parse_image(&err), 0);
			continue;
		}
		assert_true(parse_image(&err) < 0);
		if (!strstr(err.text, cases[i].text))
			fail_msg("case %zu: '%s' is not in: %s", i, cases[i].text, err.text);
		assert_non_null(strstr(err.text, IMAGE));
	}
}

static void unknown_features_by_name(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_error err = { 0 };
	u8 table[48] = { 0, 61 };

	(void)state;
	memcpy(table + 2, "time travel", 11);
	must("qemu-img create -f qcow2 " IMAGE " 1M");
	h = header_of(IMAGE);
	h->incompatible |= BIT_ULL(61) | BIT_ULL(17);
	assert_int_equal(qc_header_set_extension(h, QC_EXT_FEATURE_NAMES, table, sizeof(table)), 0);
	assert_int_equal(qc_store_open(IMAGE, QC_OPEN_WRITE, &store, &err), 0);
	assert_int_equal(qc_header_write(h, store, &err), 0);
	assert_failed(&err, parse_image(&err), ENOTSUP, IMAGE, "'time travel'", "bit 17");
}

static void unsupported_features(void **state)
{
	/*
	 * LUKS is written into the header: to make such an image qemu-img measures how many
	 * rounds of the key derivation this machine does per second, and fails now and then
	 * where the CPU time is not exact.
	 */
	static const struct {
		const char *options;
		u8 crypt_method; /* to write in, 0: as qemu-img made it */
		const char *text;
	} cases[] = {
		{ "-o extended_l2=on", 0, "extended L2" },
		{ "-o data_file=data.raw", 0, "external data file" },
		{ "-o encrypt.format=aes,encrypt.key-secret=s --object secret,id=s,data=x", 0,
		  "AES" },
		{ "", 2, "LUKS" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP_HEADER struct qc_header *h = NULL;
		struct qc_error err = { 0 };

		must("qemu-img create -f qcow2 %s " IMAGE " 1M", cases[i].options);
		if (cases[i].crypt_method)
			poke(IMAGE, 35, &cases[i].crypt_method, 1);
		h = header_of(IMAGE);
		assert_failed(&err, qc_header_supported(h, IMAGE, &err), ENOTSUP, IMAGE,
			      cases[i].text, "qemu-img convert");
	}
}

/* Whatever bytes: an error or a header, never a crash (the sanitizers look on). */
static void random_damage(void **state)
{
	u8 good[4096], bad[4096];
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	must("qemu-img create -f qcow2 -u -b base -F raw -o cluster_size=4096 " IMAGE " 1M");
	h = header_of(IMAGE);
	assert_int_equal(qc_header_encode(h, IMAGE, good, NULL), 0);
	srand(1);
	for (int round = 0; round < 20000; round++) {
		struct qc_header *parsed = NULL;
		struct qc_error err = { 0 };

		memcpy(bad, good, sizeof(bad));
		for (int i = rand() % 4; i >= 0; i--)
			bad[rand() % 640] = rand();
		if (qc_header_parse(bad, rand() % 8 ? sizeof(bad) : rand() % sizeof(bad), IMAGE,
				    &parsed, &err) == 0)
			qc_header_free(parsed);
		else
			assert_true(err.text[0]);
	}
}

static void too_long_for_a_cluster(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;
	struct qc_error err = { 0 };
	u8 buf[512];
	char name[500];

	(void)state;
	must("qemu-img create -f qcow2 -o cluster_size=512 " IMAGE " 1M");
	h = header_of(IMAGE);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	h->backing = strdup(name);
	assert_failed(&err, qc_header_encode(h, IMAGE, buf, &err), ENOSPC, IMAGE,
		      "does not fit into one cluster");
}

static void assert_names(const struct qc_header *h, const char *name, const char *format)
{
	if (!name) {
		assert_null(h->backing);
		return;
	}
	assert_string_equal(h->backing, name);
	assert_string_equal(h->backing_format, format);
}

/*
 * A crash after all sectors but the first: then the old header counts.  The first one alone is
 * written at once.
 */
static void names_one_or_the_other(void **state)
{
	static const struct {
		const char *name, *format;
	} steps[] = {
		{ "a", "qcow2" }, { "some/longer/name/of/a/file", "raw" }, { "b", "raw" },
		{ "another.qcow2", "qcow2" }, { NULL, NULL }, { "c.qcow2", "qcow2" },
	};
	u8 before[65536], after[65536];

	(void)state;
	must("qemu-img create -f qcow2 -u -b first -F raw " IMAGE " 1M");
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		CLEANUP_HEADER struct qc_header *old = header_of(IMAGE), *new = header_of(IMAGE);
		CLEANUP_HEADER struct qc_header *torn = NULL;
		CLEANUP_STORE struct qc_store *store = NULL;
		struct qc_error err = { 0 };

		assert_int_equal(qc_store_open(IMAGE, QC_OPEN_WRITE, &store, &err), 0);
		assert_int_equal(qc_store_read(store, 0, before, sizeof(before), &err), 0);
		free(new->backing);
		new->backing = steps[i].name ? strdup(steps[i].name) : NULL;
		assert_int_equal(qc_header_set_extension(new, QC_EXT_BACKING_FORMAT,
							 steps[i].format, steps[i].format ?
							 strlen(steps[i].format) : 0), 0);
		assert_int_equal(qc_header_write(new, store, &err), 0);
		assert_int_equal(qc_store_read(store, 0, after, sizeof(after), &err), 0);
		memcpy(after, before, 512);
		assert_int_equal(qc_header_parse(after, sizeof(after), IMAGE, &torn, &err), 0);
		assert_names(torn, old->backing, old->backing_format);
		qc_header_free(old);
		old = header_of(IMAGE);
		assert_names(old, steps[i].name, steps[i].format);
		must("qemu-img info " IMAGE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_and_widths),
		cmocka_unit_test(version_2),
		cmocka_unit_test(features),
		cmocka_unit_test(longest_backing_name),
		cmocka_unit_test(bitmaps_extension),
		cmocka_unit_test(unknown_is_preserved),
		cmocka_unit_test(bad_fields),
		cmocka_unit_test(unknown_features_by_name),
		cmocka_unit_test(unsupported_features),
		cmocka_unit_test(random_damage),
		cmocka_unit_test(too_long_for_a_cluster),
		cmocka_unit_test(names_one_or_the_other),
	};

	return cmocka_run_group_tests_name("header", tests, scratch_setup, scratch_teardown);
}
