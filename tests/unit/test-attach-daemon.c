// SPDX-License-Identifier: GPL-2.0-or-later
/* What qchain attach does when a daemon is to make the device: names, and what comes before. */
#include <errno.h>

#include "attach-daemon.h"
#include "helper.h"
#include "node.h"

static void short_names(void **state)
{
	char node[ATTACHED_NODE_ROOM];

	(void)state;
	attached_node_name("v", node);
	assert_string_equal(node, "attached-v");
	/* The longest that is taken as it is. */
	attached_node_name("vm1.234567890123456789", node);
	assert_string_equal(node, "attached-vm1.234567890123456789");
	assert_true(node_wellformed(node));
}

static void long_names(void **state)
{
	char device[QC_DM_MAX_NAME + 1] = { 0 };
	char nodes[3][ATTACHED_NODE_ROOM];

	(void)state;
	memset(device, 'x', QC_DM_MAX_NAME);
	attached_node_name(device, nodes[0]);
	device[QC_DM_MAX_NAME - 1] = 'y';
	attached_node_name(device, nodes[1]);
	device[23] = 0;
	attached_node_name(device, nodes[2]);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(strlen(nodes[i]), NODE_NAME_MAX);
		assert_memory_equal(nodes[i], "attached-xxxxxxxxxxxxx-", 23);
		assert_true(node_wellformed(nodes[i]));
		assert_string_not_equal(nodes[i], nodes[(i + 1) % 3]);
	}
}

int __wrap_qc_dm_serialise(int *fd, struct qc_error *err)
{
	(void)err;
	*fd = -1;
	return 0;
}

/* No device has the name. */
int __wrap_qc_dm_query(const char *name, struct qc_dm_device *device, struct qc_error *err)
{
	(void)name;
	(void)err;
	memset(device, 0, sizeof(*device));
	return 0;
}

static void take_note(void *ctx, const char *object, const char *message)
{
	assert_string_equal(object, "dirty.qcow2");
	snprintf(ctx, 128, "%s", message);
}

#define FEATURES 72	/* the incompatible ones, in the header */
#define DIRTY 1
#define CORRUPT 2

static void dirty_image(void **state)
{
	char note[128] = "";
	struct qc_attach_options options = { .name = "v", .note = take_note, .ctx = note };
	struct qc_attach_facts facts;
	struct qc_error err;

	(void)state;
	must("qemu-img create -f qcow2 -o lazy_refcounts=on dirty.qcow2 1M");
	must("qemu-io -c 'write 0 512k' dirty.qcow2");
	/* A cluster with a refcount of 0, and a flag that says 1. */
	poke("dirty.qcow2", 0x20000 + 2 * 5, "\0\0", 2);
	poke64("dirty.qcow2", FEATURES, DIRTY);
	options.read_only = true;
	assert_int_equal(qc_attach_prepare("dirty.qcow2", &options, &facts, &err), 0);
	assert_int_equal(peek64("dirty.qcow2", FEATURES), DIRTY);
	assert_string_equal(note, "");

	options.read_only = false;
	assert_int_equal(qc_attach_prepare("dirty.qcow2", &options, &facts, &err), 0);
	assert_int_equal(peek64("dirty.qcow2", FEATURES), 0);
	assert_string_equal(note, "was left dirty; repaired (0 leaked clusters, 2 errors)");
	assert_int_equal(facts.format, QC_FORMAT_QCOW2);
	/* It has let go of it. */
	must("qemu-img check dirty.qcow2");
	must("qemu-io -c 'write 0 4k' dirty.qcow2");
	note[0] = 0;
	assert_int_equal(qc_attach_prepare("dirty.qcow2", &options, &facts, &err), 0);
	assert_string_equal(note, "");

	poke64("dirty.qcow2", FEATURES, DIRTY | CORRUPT);
	assert_failed(&err, qc_attach_prepare("dirty.qcow2", &options, &facts, &err), EUCLEAN,
		      "marked corrupt");
	assert_int_equal(peek64("dirty.qcow2", FEATURES), DIRTY | CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_names),
		cmocka_unit_test(long_names),
		cmocka_unit_test(dirty_image),
	};

	return cmocka_run_group_tests_name("attach-daemon", tests, scratch_setup,
					   scratch_teardown);
}
