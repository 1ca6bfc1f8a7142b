// SPDX-License-Identifier: GPL-2.0-or-later
/* The graph of nodes: commands through the daemon's own tables, with QEMU's texts. */
#include <stdio.h>

#include "create.h"
#include "export.h"
#include "helper.h"
#include "node-open.h"
#include "qapi.h"

#define LONG_CHAIN 400

static char said[QMP_ERROR_MAX];
static enum qmp_class said_class;

/* Run a command with JSON in which ' stands for ".  Returns its result or NULL, see said. */
static struct json_object *run(const char *command, const char *fmt, ...)
{
	const struct qapi_command *c = qapi_find_command(command);
	struct json_object *arguments, *result = NULL;
	struct qmp_error error = { 0 };
	char text[8192];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *at = text; *at; at++)
		if (*at == '\'')
			*at = '"';
	arguments = json_tokener_parse(text);
	assert_non_null(c);
	assert_non_null(arguments);
	said[0] = 0;
	said_class = QMP_GENERIC_ERROR;
	if (qapi_check(c->arguments, arguments, &error) ||
	    c->run(NULL, arguments, &result, &error)) {
		snprintf(said, sizeof(said), "%s", error.text);
		said_class = error.class;
	} else if (!result) {
		result = json_object_new_object();
	}
	json_object_put(arguments);
	if (result && c->result)
		assert_int_equal(qapi_check(c->result, result, &error), 0);
	return result;
}

#define does(...) assert_true(json_object_put(run(__VA_ARGS__)))
#define says(text, ...) do {				\
	assert_null(run(__VA_ARGS__));			\
	assert_string_equal(said, text);		\
} while (0)

static size_t nb_nodes(void)
{
	struct node *node;
	size_t count = 0;

	TAILQ_FOREACH(node, &node_list, link)
		count++;
	return count;
}

#define FILE_OF(file) "{'driver': 'file', 'filename': '" file "'}"
#define QCOW2(name, file) "{'driver': 'qcow2', 'node-name': '" name "', 'file': " FILE_OF(file) "}"
#define WITH(name, file, more) \
	"{'driver': 'qcow2', 'node-name': '" name "', " more ", 'file': " FILE_OF(file) "}"
#define SYNC(node, file, name) "{'node-name': '" node "', 'snapshot-file': '" file "', " \
	"'snapshot-node-name': '" name "'}"
#define ACTION(node, file, name) \
	"{'type': 'blockdev-snapshot-sync', 'data': " SYNC(node, file, name) "}"

static int setup(void **state)
{
	if (scratch_setup(state))
		return -1;
	must("qemu-img create -f qcow2 a.qcow2 1M");
	must("qemu-img create -f qcow2 -b a.qcow2 -F qcow2 b.qcow2");
	must("qemu-img create -f qcow2 -b b.qcow2 -F qcow2 c.qcow2");
	must("qemu-img create -f qcow2 free.qcow2 1M");
	must("qemu-img create -f qcow2 -u -b none.qcow2 -F qcow2 orphan.qcow2 1M");
	must("qemu-img create -f qcow2 -u -b a.qcow2 -F vmdk foreign.qcow2 1M");
	must("qemu-img create -f qcow2 -u -b loop2.qcow2 -F qcow2 loop1.qcow2 1M");
	must("qemu-img create -f qcow2 -u -b loop1.qcow2 -F qcow2 loop2.qcow2 1M");
	must("truncate -s 1M raw.img");
	must("cp a.qcow2 corrupt.qcow2 && cp a.qcow2 damaged.qcow2 && mkfifo fifo && mkdir dir");
	poke64("corrupt.qcow2", 72, 2);
	poke64("damaged.qcow2", 40, 12345);
	return 0;
}

/* Each test begins and ends without a node. */
static int no_nodes(void **state)
{
	(void)state;
	return nb_nodes() ? -1 : 0;
}

static void test_names(void **state)
{
	(void)state;
	does("blockdev-add", QCOW2("A", "a.qcow2"));
	says("Duplicate nodes with node-name='A'", "blockdev-add", QCOW2("A", "free.qcow2"));
	says("Invalid node-name: '1'", "blockdev-add", QCOW2("1", "free.qcow2"));
	says("Invalid node-name: '#block01'", "blockdev-add", QCOW2("#block01", "free.qcow2"));
	says("Invalid node-name: ''", "blockdev-add", QCOW2("", "free.qcow2"));
	says("Node name too long", "blockdev-add",
	     QCOW2("a23456789012345678901234567890123", "free.qcow2"));
	says("'node-name' must be specified for the root node", "blockdev-add",
	     "{'driver': 'file', 'filename': 'free.qcow2'}");
	says("Parameter 'driver' does not accept value 'vmdk'", "blockdev-add",
	     "{'driver': 'vmdk', 'node-name': 'V', 'file': 'A'}");
	says("Parameter 'pr-manager' is unexpected", "blockdev-add",
	     "{'driver': 'file', 'node-name': 'V', 'filename': 'a', 'pr-manager': 'x'}");
	says("Failed to find node with node-name='B'", "blockdev-del", "{'node-name': 'B'}");
	does("blockdev-del", "{'node-name': 'A'}");
}

static void test_files(void **state)
{
	(void)state;
	says("Could not open 'none': No such file or directory", "blockdev-add",
	     QCOW2("A", "none"));
	says("Could not open 'dir': Is a directory", "blockdev-add", QCOW2("A", "dir"));
	says("'file' driver requires 'fifo' to be a regular file", "blockdev-add",
	     QCOW2("A", "fifo"));
	says("The 'file' block driver requires a file name", "blockdev-add", QCOW2("A", ""));
	says("Image is not in qcow2 format", "blockdev-add", QCOW2("A", "raw.img"));
	says("qcow2: Image is corrupt; cannot be opened read/write", "blockdev-add",
	     QCOW2("A", "corrupt.qcow2"));
	assert_null(run("blockdev-add", QCOW2("A", "damaged.qcow2")));
	assert_non_null(strstr(said, "damaged.qcow2"));
	says("'host_device' driver requires 'a.qcow2' to be either a character or block device",
	     "blockdev-add", "{'driver': 'host_device', 'node-name': 'H', 'filename': 'a.qcow2'}");
	says("Could not open backing file: Could not open 'none.qcow2': No such file or directory",
	     "blockdev-add", QCOW2("A", "orphan.qcow2"));
	assert_null(run("blockdev-add", QCOW2("A", "foreign.qcow2")));
	assert_non_null(strstr(said, "the format 'vmdk' of its backing file"));
	says("Could not open backing file: Failed to get shared \"write\" lock", "blockdev-add",
	     QCOW2("A", "loop1.qcow2"));
	says("Could not open backing file: Backing file 'loop1.qcow2' is above itself in the chain",
	     "blockdev-add", WITH("A", "loop1.qcow2", "'read-only': true"));
	says("Cannot find device='none' nor node-name='none'", "blockdev-add",
	     "{'driver': 'raw', 'node-name': 'A', 'file': 'none'}");
	says("Could not open backing file: Making 'A' a backing child of 'A' would create a cycle",
	     "blockdev-add", WITH("A", "free.qcow2", "'backing': 'A'"));
	says("The file of a format node must be of driver 'file' or 'host_device'", "blockdev-add",
	     "{'driver': 'raw', 'node-name': 'A', 'file': " QCOW2("B", "free.qcow2") "}");
}

static void test_implicit_chain(void **state)
{
	struct node *node;

	(void)state;
	does("blockdev-add", QCOW2("C", "c.qcow2"));
	assert_int_equal(nb_nodes(), 6);
	node = node_find("C");
	assert_false(node->read_only);
	assert_string_equal(node_filename(node->backing.node), "b.qcow2");
	assert_true(node->backing.node->read_only);
	assert_true(node_protocol(node->backing.node)->read_only);
	assert_string_equal(node_filename(node->backing.node->backing.node), "a.qcow2");
	/* The same base again, for reading. */
	does("blockdev-add", WITH("A", "a.qcow2", "'read-only': true"));
	does("query-named-block-nodes", "{}");
	does("blockdev-del", "{'node-name': 'A'}");
	does("blockdev-del", "{'node-name': 'C'}");
}

static void test_users(void **state)
{
	(void)state;
	does("blockdev-add", "{'driver': 'file', 'node-name': 'F', 'filename': 'a.qcow2'}");
	does("blockdev-add", "{'driver': 'qcow2', 'node-name': 'A', 'file': 'F'}");
	assert_null(run("blockdev-add", "{'driver': 'qcow2', 'node-name': 'B', 'file': 'F'}"));
	assert_non_null(strstr(said, "Permission conflict on node 'F': permissions 'write"));
	assert_non_null(strstr(said, "by node 'B' (uses node 'F' as 'file' child)."));
	does("blockdev-add", WITH("B", "b.qcow2", "'backing': 'A'"));
	says("Node 'A' is busy: node is used as backing hd of 'B'", "blockdev-del",
	     "{'node-name': 'A'}");
	says("Block device F is in use", "blockdev-del", "{'node-name': 'F'}");
	says("Failed to get \"write\" lock", "blockdev-add", QCOW2("X", "b.qcow2"));
	does("blockdev-del", "{'node-name': 'B'}");
	does("blockdev-del", "{'node-name': 'A'}");
	does("blockdev-del", "{'node-name': 'F'}");
}

/* Can QEMU write to it? */
static bool qemu_may_write(const char *image)
{
	return sh("qemu-io -f qcow2 -c 'write 0 512' %s", image) == 0;
}

static void test_locks(void **state)
{
	(void)state;
	does("blockdev-add", QCOW2("B", "b.qcow2"));
	assert_false(qemu_may_write("b.qcow2"));
	assert_false(qemu_may_write("a.qcow2"));
	must("qemu-img info a.qcow2");
	does("blockdev-del", "{'node-name': 'B'}");
	assert_true(qemu_may_write("b.qcow2"));
	does("blockdev-add", QCOW2("B", "free.qcow2', 'locking': 'off"));
	assert_true(qemu_may_write("free.qcow2"));
	does("blockdev-del", "{'node-name': 'B'}");
	/* Nobody uses a raw node yet, so nobody is in its way. */
	does("blockdev-add",
	     "{'driver': 'raw', 'node-name': 'R', 'file': " FILE_OF("free.qcow2") "}");
	assert_true(qemu_may_write("free.qcow2"));
	does("blockdev-del", "{'node-name': 'R'}");
}

static void test_read_only(void **state)
{
	(void)state;
	does("blockdev-add",
	     "{'driver': 'file', 'node-name': 'F', 'filename': 'free.qcow2', 'read-only': true}");
	says("Block node is read-only", "blockdev-add",
	     "{'driver': 'qcow2', 'node-name': 'A', 'file': 'F'}");
	does("blockdev-add",
	     "{'driver': 'qcow2', 'node-name': 'A', 'file': 'F', 'auto-read-only': true}");
	assert_true(node_find("A")->read_only);
	says("Cannot export read-only node as writable", "block-export-add",
	     "{'type': 'dm', 'id': 'x', 'name': 'x', 'node-name': 'A', 'writable': true}");
	says("Invalid block export id", "block-export-add",
	     "{'type': 'dm', 'id': '1', 'name': 'x', 'node-name': 'A'}");
	says("Device name 'A' conflicts with an existing node name", "block-export-add",
	     "{'type': 'dm', 'id': 'A', 'name': 'x', 'node-name': 'A'}");
	says("Cannot find device='' nor node-name='none'", "block-export-add",
	     "{'type': 'dm', 'id': 'x', 'name': 'x', 'node-name': 'none'}");
	assert_null(run("block-export-add",
			"{'type': 'dm', 'id': 'x', 'name': '../x', 'node-name': 'A'}"));
	says("Export 'x' is not found", "block-export-del", "{'id': 'x'}");
	does("blockdev-del", "{'node-name': 'A'}");
	does("blockdev-del", "{'node-name': 'F'}");
}

static void test_change_backing(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	must("cp b.qcow2 changed.qcow2");
	does("blockdev-add", QCOW2("B", "changed.qcow2"));
	says("Cannot find device='none' nor node-name='none'", "change-backing-file",
	     "{'device': 'none', 'image-node-name': 'B', 'backing-file': 'x'}");
	assert_int_equal(said_class, QMP_DEVICE_NOT_FOUND);
	says("Cannot find device='' nor node-name='none'", "change-backing-file",
	     "{'device': 'B', 'image-node-name': 'none', 'backing-file': 'x'}");
	assert_int_equal(said_class, QMP_GENERIC_ERROR);
	does("change-backing-file",
	     "{'device': 'B', 'image-node-name': 'B', 'backing-file': './a.qcow2'}");
	h = header_of("changed.qcow2");
	assert_string_equal(h->backing, "./a.qcow2");
	assert_string_equal(h->backing_format, "qcow2");
	does("blockdev-add", QCOW2("A", "free.qcow2"));
	says("'A' and image file are not in the same chain", "change-backing-file",
	     "{'device': 'A', 'image-node-name': 'B', 'backing-file': 'x'}");
	says("not allowing backing file change on an image without a backing file",
	     "change-backing-file",
	     "{'device': 'A', 'image-node-name': 'A', 'backing-file': 'x'}");
	does("blockdev-del", "{'node-name': 'A'}");
	does("blockdev-del", "{'node-name': 'B'}");
}

/* Without an export a snapshot is an image, and a node that nobody uses. */
static void test_snapshot(void **state)
{
	CLEANUP_HEADER struct qc_header *h = NULL;

	(void)state;
	does("blockdev-add", QCOW2("A", "free.qcow2"));
	does("blockdev-snapshot-sync", SYNC("A", "dir/s.qcow2", "S"));
	assert_null(node_find("S"));
	h = header_of("dir/s.qcow2");
	assert_int_equal(h->backing[0], '/');
	assert_int_equal(h->size, 1 << 20);
	must("qemu-img check dir/s.qcow2");
	does("blockdev-del", "{'node-name': 'A'}");
	must("rm dir/s.qcow2");
}

static void test_transaction_undone(void **state)
{
	(void)state;
	does("blockdev-add", QCOW2("A", "free.qcow2"));
	says("Node 'A' is busy: node is used as backing hd of 'T1'", "transaction",
	     "{'actions': ["
	     ACTION("A", "t1", "T1") ", "
	     ACTION("A", "t2", "T2") "]}");
	says("Transaction aborted using Abort action", "transaction",
	     "{'actions': ["
	     ACTION("A", "t1", "T1") ", "
	     ACTION("T1", "t2", "T2") ", {'type': 'abort', 'data': {}}]}");
	assert_int_equal(nb_nodes(), 2);
	assert_false(node_find("A")->read_only);
	assert_int_not_equal(access("t1", F_OK), 0);
	assert_int_not_equal(access("t2", F_OK), 0);
	does("transaction", "{'actions': []}");
	/* One on the other, in one transaction. */
	does("transaction",
	     "{'actions': ["
	     ACTION("A", "t1", "T1") ", "
	     ACTION("T1", "t2", "T2") "]}");
	assert_int_equal(nb_nodes(), 2);
	must("qemu-img info --backing-chain t2");
	does("blockdev-del", "{'node-name': 'A'}");
}

static void test_long_chain(void **state)
{
	struct qc_create_options options = { .size = 1 << 20, .backing_format = "qcow2" };
	char name[32], below[32];
	struct qc_error err;

	(void)state;
	for (int i = 0; i < LONG_CHAIN; i++) {
		snprintf(name, sizeof(name), "long%d", i);
		snprintf(below, sizeof(below), "long%d", i - 1);
		options.backing = i ? below : NULL;
		assert_int_equal(qc_create(name, &options, &err), 0);
	}
	assert_string_equal(name, "long399");
	does("blockdev-add", QCOW2("L", "long399"));
	assert_int_equal(nb_nodes(), 2 * LONG_CHAIN);
	does("query-named-block-nodes", "{'flat': true}");
	does("blockdev-del", "{'node-name': 'L'}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_files, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_implicit_chain, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_users, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_locks, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_read_only, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_change_backing, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_snapshot, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_transaction_undone, no_nodes, no_nodes),
		cmocka_unit_test_setup_teardown(test_long_chain, no_nodes, no_nodes),
	};

	qc_raise_nofile();
	return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
