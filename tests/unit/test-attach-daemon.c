// SPDX-License-Identifier: GPL-2.0-or-later
/* The names of the nodes that qchain attach makes. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_names),
		cmocka_unit_test(long_names),
	};

	return cmocka_run_group_tests_name("attach-daemon", tests, NULL, NULL);
}
