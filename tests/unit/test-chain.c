// SPDX-License-Identifier: GPL-2.0-or-later
/* Backing chains, and each way in which one cannot be followed. */
#include <errno.h>
#include <stdio.h>

#include "chain.h"
#include "helper.h"

static int open_chain(const char *path, unsigned int flags, struct qc_chain **chain,
		      struct qc_error *err)
{
	memset(err, 0, sizeof(*err));
	return qc_chain_open(path, QC_FORMAT_UNKNOWN, flags, chain, err);
}

static void resolve_names(void **state)
{
	static const struct {
		const char *overlay, *backing, *path;
	} cases[] = {
		{ "top", "base", "base" },
		{ "dir/top", "base", "dir/base" },
		{ "/a/b/top", "../base", "/a/b/../base" },
		{ "/a/top", "/b/base", "/b/base" },
		{ "dir/top", "file:base", "dir/base" },
		{ "dir/top", "host_device:/dev/x", "/dev/x" },
		{ "dir/top", "./with:colon", "dir/./with:colon" },
		{ "dir/top", "sub/with:colon", "dir/sub/with:colon" },
	};
	static const struct {
		const char *backing, *remedy;
	} refused[] = {
		{ "json:{\"driver\":\"qcow2\"}", "plain file name" },
		{ "nbd://host/export", "nbd-client" },
		{ "nbd:unix:/path", "nbd-client" },
		{ "nbd+unix:///?socket=x", "nbd-client" },
		{ "ssh://host/path", "nbdkit" },
		{ "https://host/path", "nbdkit" },
		{ "rbd:pool/image", "rbd map" },
		{ "with:colon", "rebase" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP_FREE char *path = NULL;

		assert_int_equal(qc_chain_resolve_name(cases[i].overlay, cases[i].backing, &path,
						       NULL), 0);
		assert_string_equal(path, cases[i].path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		CLEANUP_FREE char *path = NULL;
		struct qc_error err = { 0 };
		int ret = qc_chain_resolve_name("top", refused[i].backing, &path, &err);

		assert_failed(&err, ret, ENOTSUP, "top", refused[i].backing, refused[i].remedy);
	}
}

static void mixed_chain(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("mkdir -p sub && truncate -s 3M sub/base.raw");
	must("qemu-img create -f qcow2 -b base.raw -F raw sub/mid.qcow2 4M");
	must("qemu-img create -f qcow2 -b sub/mid.qcow2 -F qcow2 -o compat=0.10 top.qcow2 8M");
	assert_int_equal(open_chain("top.qcow2", QC_CHAIN_WRITE, &chain, &err), 0);
	assert_int_equal(chain->count, 3);
	assert_int_equal(chain->layers[0].format, QC_FORMAT_QCOW2);
	assert_int_equal(chain->layers[0].size, 8 << 20);
	assert_true(chain->layers[0].store->writable);
	assert_string_equal(chain->layers[1].store->path, "sub/mid.qcow2");
	assert_false(chain->layers[1].store->writable);
	assert_int_equal(chain->layers[2].format, QC_FORMAT_RAW);
	assert_string_equal(chain->layers[2].store->path, "sub/base.raw");
	assert_int_equal(chain->layers[2].size, 3 << 20);
	assert_null(chain->layers[2].header);
}

/* Relative to the name the overlay was opened by, not to what a link points to: as in QEMU. */
static void through_a_link(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("mkdir -p a b && truncate -s 1M a/base b/base");
	must("qemu-img create -f qcow2 -b base -F raw a/top.qcow2 && ln -s ../a/top.qcow2 b/");
	assert_int_equal(open_chain("b/top.qcow2", 0, &chain, &err), 0);
	assert_string_equal(chain->layers[1].store->path, "b/base");
}

static void missing_format(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("truncate -s 1M base.raw && qemu-img create -f qcow2 -b base.raw -F raw nofmt.qcow2");
	/* Header length 112: the first extension is the format's name.  Make it an unknown one. */
	assert_int_equal(peek64("nofmt.qcow2", 112) >> 32, QC_EXT_BACKING_FORMAT);
	poke64("nofmt.qcow2", 112, 0x1234567800000003ULL);
	assert_failed(&err, open_chain("nofmt.qcow2", 0, &chain, &err), EINVAL, "nofmt.qcow2",
		      "base.raw", "qemu-img rebase -u", "-F FORMAT");
}

static void foreign_format(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("qemu-img create -f vmdk base.vmdk 1M");
	must("qemu-img create -f qcow2 -b base.vmdk -F vmdk foreign.qcow2");
	assert_failed(&err, open_chain("foreign.qcow2", 0, &chain, &err), ENOTSUP,
		      "foreign.qcow2", "'vmdk'", "convert");
}

/* A raw layer is never looked into, whatever a guest has written there. */
static void raw_is_not_probed(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("qemu-img create -f qcow2 -u -b /etc/shadow -F raw trap.raw 1M");
	must("qemu-img create -f qcow2 -b trap.raw -F raw victim.qcow2 1M");
	assert_int_equal(open_chain("victim.qcow2", 0, &chain, &err), 0);
	assert_int_equal(chain->count, 2);
	assert_int_equal(chain->layers[1].format, QC_FORMAT_RAW);
}

static void raw_top_needs_the_format(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err = { 0 };

	(void)state;
	must("truncate -s 64M fs.raw && mkfs.ext4 -q fs.raw");
	assert_failed(&err, open_chain("fs.raw", 0, &chain, &err), EINVAL, "fs.raw", "ext4",
		      "--format raw");
	assert_int_equal(qc_chain_open("fs.raw", QC_FORMAT_RAW, 0, &chain, &err), 0);
	assert_int_equal(chain->layers[0].size, 64 << 20);
}

static void loops(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("qemu-img create -f qcow2 self.qcow2 1M");
	must("qemu-img rebase -u -b self.qcow2 -F qcow2 self.qcow2");
	assert_failed(&err, open_chain("self.qcow2", 0, &chain, &err), ELOOP, "self.qcow2",
		      "rebase");
	must("qemu-img create -f qcow2 -u -b y.qcow2 -F qcow2 x.qcow2 1M");
	must("qemu-img create -f qcow2 -u -b z.qcow2 -F qcow2 y.qcow2 1M");
	must("ln -f x.qcow2 z.qcow2");
	assert_failed(&err, open_chain("x.qcow2", QC_CHAIN_LOCK, &chain, &err), ELOOP, "y.qcow2",
		      "z.qcow2");
}

static void missing_file(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("qemu-img create -f qcow2 -u -b gone.qcow2 -F qcow2 orphan.qcow2 1M");
	assert_failed(&err, open_chain("orphan.qcow2", 0, &chain, &err), ENOENT, "gone.qcow2",
		      "orphan.qcow2", "rebase");
	assert_failed(&err, open_chain("gone.qcow2", 0, &chain, &err), ENOENT, "gone.qcow2",
		      "no such file");
	must("mkfifo -m 600 fifo");
	assert_failed(&err, open_chain("fifo", 0, &chain, &err), EINVAL, "fifo", "neither");
}

static void only_the_top(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	must("qemu-img create -f qcow2 -u -b gone.qcow2 -F qcow2 orphan.qcow2 1M");
	assert_int_equal(open_chain("orphan.qcow2", QC_CHAIN_TOP, &chain, &err), 0);
	assert_int_equal(chain->count, 1);
}

static void a_thousand_layers(void **state)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	struct qc_error err;

	(void)state;
	qc_raise_nofile();
	must("qemu-img create -f qcow2 l0001.qcow2 1M");
	must("qemu-img create -f qcow2 -b l0001.qcow2 -F qcow2 -o cluster_size=4k l0002.qcow2");
	/* Copies of the overlay, each with its own backing file name. */
	must("for i in $(seq -w 3 1100); do %s; b=$i; done",
	     "LC_ALL=C sed s/l0001/l${b:-0002}/ l0002.qcow2 > l$i.qcow2");
	if (open_chain("l1100.qcow2", QC_CHAIN_LOCK, &chain, &err))
		fail_msg("%s", err.text);
	assert_int_equal(chain->count, 1100);
	assert_string_equal(chain->layers[1099].store->path, "l0001.qcow2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolve_names),
		cmocka_unit_test(mixed_chain),
		cmocka_unit_test(through_a_link),
		cmocka_unit_test(missing_format),
		cmocka_unit_test(foreign_format),
		cmocka_unit_test(raw_is_not_probed),
		cmocka_unit_test(raw_top_needs_the_format),
		cmocka_unit_test(loops),
		cmocka_unit_test(missing_file),
		cmocka_unit_test(only_the_top),
		cmocka_unit_test(a_thousand_layers),
	};

	return cmocka_run_group_tests_name("chain", tests, scratch_setup, scratch_teardown);
}
