// SPDX-License-Identifier: GPL-2.0-or-later
/* What lies on devices that stand still, with devices that are only made believe. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "attach.h"
#include "helper.h"
#include "job.h"
#include "window.h"

/* --- the kernel ------------------------------------------------------------------------------- */

static bool suspended;
static bool released;		/* a layer of the tables; new ones have it again */

int __wrap_qc_dm_serialise(int *fd, struct qc_error *err)
{
	(void)err;
	*fd = -1;
	return 0;
}

/* All files here lie on the device "low". */
int __wrap_qc_dm_query(const char *name, struct qc_dm_device *device, struct qc_error *err)
{
	struct stat st;

	(void)err;
	assert_int_equal(stat(".", &st), 0);
	*device = (struct qc_dm_device){
		.exists = true, .ours = true, .live = true, .suspended = suspended,
	};
	if (strcmp(name, "low"))
		return 0;
	device->major = major(st.st_dev);
	device->minor = minor(st.st_dev);
	return 0;
}

int __wrap_qc_dm_load(const char *name, u64 sectors, const char *params, bool read_only,
		      struct qc_error *err)
{
	(void)name;
	(void)sectors;
	(void)params;
	(void)read_only;
	(void)err;
	released = false;
	return 0;
}

int __wrap_qc_dm_suspend(const char *name, struct qc_error *err)
{
	(void)name;
	(void)err;
	suspended = true;
	return 0;
}

int __wrap_qc_dm_resume(const char *name, struct qc_error *err)
{
	if (released)
		return qc_fail(err, ESTALE, name, NULL, "cannot resume the device");
	suspended = false;
	return 0;
}

int __wrap_qc_dm_resume_new(const char *name, struct qc_error *err)
{
	return __wrap_qc_dm_resume(name, err);
}

int __wrap_qc_attach_chain(const struct qc_chain *chain, const struct qc_attach_options *options,
			   struct qc_error *err)
{
	(void)chain;
	(void)options;
	(void)err;
	return 0;
}

int __wrap_qc_detach(const char *name, struct qc_error *err)
{
	(void)name;
	(void)err;
	return 0;
}

size_t __wrap_window_switch(const char *const *names, size_t count, struct qc_error *err)
{
	(void)names;
	(void)err;
	return count;
}

static bool waited;

typeof(qc_store_open) __real_qc_store_open;

/* There is no driver for the device "disk", whose number is that of "low". */
int __wrap_qc_store_open(const char *path, unsigned int flags, struct qc_store **store,
			 struct qc_error *err)
{
	const char *name = strrchr(path, '/');

	if (!name || strcmp(name, "/disk"))
		return __real_qc_store_open(path, flags, store, err);
	if (suspended && !(flags & QC_OPEN_CACHED))
		waited = true;
	return qc_fail(err, ENXIO, path, NULL, "cannot open");
}

/* --- commands --------------------------------------------------------------------------------- */

static char said[QMP_ERROR_MAX];

/* Run a command with JSON in which ' stands for ". */
static void run(const char *command, const char *arguments)
{
	const struct qapi_command *c = qapi_find_command(command);
	struct json_object *object, *result = NULL;
	struct qmp_error error = { 0 };
	char text[2048];

	snprintf(text, sizeof(text), "%s", arguments);
	for (char *at = text; *at; at++)
		if (*at == '\'')
			*at = '"';
	object = json_tokener_parse(text);
	assert_non_null(c);
	assert_non_null(object);
	said[0] = 0;
	if ((c->arguments && qapi_check(c->arguments, object, &error)) ||
	    c->run(NULL, object, &result, &error))
		snprintf(said, sizeof(said), "%s", error.text);
	json_object_put(result);
	json_object_put(object);
}

static void does(const char *command, const char *arguments)
{
	run(command, arguments);
	assert_string_equal(said, "");
}

static void refuses(const char *text, const char *command, const char *arguments)
{
	run(command, arguments);
	if (!strstr(said, text))
		fail_msg("%s: %s", command, said);
}

#define STANDS "lies on the device of export 'low', which stands still"
#define ITSELF "lies on the device of export 'low' itself"
#define NEW_FILE "{'job-id': 'j', 'options': {'driver': 'file', 'filename': 'new', " \
	"'size': 16777216, 'preallocation': 'full'}}"
#define NEW_IMAGE "{'job-id': 'j', 'options': {'driver': 'qcow2', 'size': 1048576, " \
	"'file': {'driver': 'file', 'filename': 'spare.qcow2'}}}"
#define J "{'id': 'j'}"

#define NODE "{'driver': 'qcow2', 'node-name': 'n-%s', 'backing': %s, " \
	"'file': {'driver': 'file', 'filename': '%s.qcow2'}}"
#define EXPORT "{'type': 'dm', 'id': '%s', 'name': '%s', 'node-name': 'n-%s', 'writable': true}"

static char text[1024];

/* @more: what it is backed by, and other options. */
static const char *image(const char *name, const char *more)
{
	snprintf(text, sizeof(text), NODE, name, more, name);
	return text;
}

static const char *device(const char *name)
{
	snprintf(text, sizeof(text), EXPORT, name, name, name);
	return text;
}

static void make_devices(void)
{
	static const char *const names[] = { "low", "high", "over", "base", "other", "spare" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		must("qemu-img create -f qcow2 %s.qcow2 1M", names[i]);
	does("blockdev-add", image("low", "null"));
	does("blockdev-add", image("high", "null"));
	does("blockdev-add", image("base", "null, 'read-only': true"));
	does("blockdev-add", image("over", "'n-base'"));
	does("blockdev-add", image("other", "null"));
	does("block-export-add", device("low"));
	does("block-export-add", device("high"));
}

static void remove_devices(void)
{
	does("block-export-del", "{'id': 'high'}");
	does("block-export-del", "{'id': 'low'}");
	does("blockdev-del", "{'node-name': 'n-other'}");
	does("blockdev-del", "{'node-name': 'n-over'}");
	does("blockdev-del", "{'node-name': 'n-base'}");
	does("blockdev-del", "{'node-name': 'n-high'}");
	does("blockdev-del", "{'node-name': 'n-low'}");
	assert_true(TAILQ_EMPTY(&node_list));
}

/* --- tests ------------------------------------------------------------------------------------ */

static void fails_to_create(const char *arguments)
{
	does("blockdev-create", arguments);
	job_poll_all();
	assert_int_equal(job_find("j")->status, JOB_CONCLUDED);
	assert_non_null(strstr(job_find("j")->error, STANDS));
	does("job-dismiss", J);
}

/* Whatever waited for the device would do so for ever: only this process can let it go on. */
static void nothing_waits(void **state)
{
	char options[1100];

	(void)state;
	make_devices();
	does("stop", "{}");
	refuses(STANDS, "block-export-add", device("over"));
	refuses(STANDS, "block_resize", "{'node-name': 'n-over', 'size': 2097152}");
	refuses(STANDS, "change-backing-file",
		"{'device': 'n-over', 'image-node-name': 'n-over', 'backing-file': 'base'}");
	refuses(STANDS, "blockdev-snapshot-sync", "{'device': 'high', 'snapshot-file': 'new'}");
	refuses(STANDS, "blockdev-snapshot", "{'node': 'high', 'overlay': 'n-other'}");
	refuses(STANDS, "change", "{'device': 'high', 'target': 'other.qcow2', 'notify': false}");
	snprintf(options, sizeof(options), "{'options': [%s]}", image("high", "'n-base'"));
	refuses(STANDS, "blockdev-reopen", options);
	fails_to_create(NEW_FILE);
	fails_to_create(NEW_IMAGE);
	assert_int_not_equal(access("new", F_OK), 0);
	does("cont", "{}");
	does("block-export-add", device("over"));
	does("block-export-del", "{'id': 'over'}");
	remove_devices();
}

/* A file that is being filled waits with the device. */
static void files_wait(void **state)
{
	(void)state;
	make_devices();
	does("blockdev-create", NEW_FILE);
	job_poll_all();
	job_poll_all();
	does("stop", "{}");
	for (int i = 0; i < 10; i++)
		job_poll_all();
	assert_int_equal(job_find("j")->status, JOB_RUNNING);
	does("cont", "{}");
	for (int i = 0; i < 10; i++)
		job_poll_all();
	assert_int_equal(job_find("j")->status, JOB_CONCLUDED);
	assert_null(job_find("j")->error);
	does("job-dismiss", J);
	must("rm new");

	/* To remove it would have to wait, too. */
	does("blockdev-create", NEW_FILE);
	job_poll_all();
	does("stop", "{}");
	does("job-cancel", J);
	assert_int_equal(access("new", F_OK), 0);
	does("job-dismiss", J);
	does("cont", "{}");
	must("rm new");
	remove_devices();
}

/* Nor is a device ever put on itself. */
static void no_loops(void **state)
{
	char options[1100];

	(void)state;
	make_devices();
	refuses(ITSELF, "blockdev-snapshot-sync", "{'device': 'low', 'snapshot-file': 'new'}");
	assert_int_not_equal(access("new", F_OK), 0);
	refuses(ITSELF, "blockdev-snapshot-sync",
		"{'device': 'low', 'snapshot-file': 'spare.qcow2', 'mode': 'existing'}");
	refuses(ITSELF, "blockdev-snapshot", "{'node': 'low', 'overlay': 'n-other'}");
	snprintf(options, sizeof(options), "{'options': [%s]}", image("low", "'n-base'"));
	refuses(ITSELF, "blockdev-reopen", options);
	does("blockdev-snapshot", "{'node': 'high', 'overlay': 'n-other'}");
	does("block-export-del", "{'id': 'high'}");
	does("block-export-add",
	     "{'type': 'dm', 'id': 'high', 'name': 'high', 'node-name': 'n-high'}");
	remove_devices();
}

/* One whose table was cleared, and that cannot go on with the one from before. */
static void table_anew(void **state)
{
	(void)state;
	make_devices();
	does("stop", "{}");
	released = true;
	does("cont", "{}");
	assert_false(suspended);
	remove_devices();
}

#define DISK "{'driver': 'host_device', 'node-name': 'd', 'filename': 'disk'}"

/* Nobody waits for what is in the page cache of a device that stands still. */
static void cached(void **state)
{
	struct stat st;

	(void)state;
	make_devices();
	assert_int_equal(stat(".", &st), 0);
	if (mknod("disk", S_IFBLK | 0600, st.st_dev) < 0)
		skip();
	does("stop", "{}");
	refuses("Could not open 'disk'", "blockdev-add", DISK);
	refuses("Could not open 'disk'", "blockdev-add",
		"{'driver': 'raw', 'node-name': 'r', 'file': " DISK "}");
	does("cont", "{}");
	assert_false(waited);
	refuses("Could not open 'disk'", "blockdev-add", DISK);
	remove_devices();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_waits),
		cmocka_unit_test(files_wait),
		cmocka_unit_test(no_loops),
		cmocka_unit_test(table_anew),
		cmocka_unit_test(cached),
	};

	return cmocka_run_group_tests_name("standing", tests, scratch_setup, scratch_teardown);
}
