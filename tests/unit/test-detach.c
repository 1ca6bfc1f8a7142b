// SPDX-License-Identifier: GPL-2.0-or-later
/* Removing a device that stands still, and that is only made believe. */
#include <errno.h>

#include "attach.h"
#include "helper.h"

static struct {
	bool there, suspended, loaded;
	bool written;		/* while it went on with its old table */
	int closed_after;	/* looks at it; -1: never */
	const char *status;
} kernel;

int __wrap_qc_dm_serialise(int *fd, struct qc_error *err)
{
	(void)err;
	*fd = -1;
	return 0;
}

/* Somebody has it open, who writes as soon as it goes on. */
int __wrap_qc_dm_query(const char *name, struct qc_dm_device *device, struct qc_error *err)
{
	(void)name;
	(void)err;
	kernel.closed_after -= kernel.closed_after > 0;
	*device = (struct qc_dm_device){
		.exists = kernel.there, .ours = true, .live = true, .loaded = kernel.loaded,
		.suspended = kernel.suspended, .open_count = !!kernel.closed_after,
	};
	return 0;
}

bool __wrap_qc_dm_udev_runs(void)
{
	return true;
}

int __wrap_qc_dm_clear(const char *name, struct qc_error *err)
{
	(void)name;
	(void)err;
	kernel.loaded = false;
	return 0;
}

int __wrap_qc_dm_suspend(const char *name, struct qc_error *err)
{
	(void)name;
	(void)err;
	kernel.suspended = true;
	return 0;
}

int __wrap_qc_dm_resume(const char *name, struct qc_error *err)
{
	(void)name;
	(void)err;
	kernel.suspended = false;
	kernel.written = kernel.closed_after;
	return 0;
}

int __wrap_qc_dm_status(const char *name, u64 *sectors, char **params, struct qc_error *err)
{
	(void)name;
	(void)err;
	*sectors = 2048;
	*params = strdup(kernel.status);
	return 0;
}

int __wrap_qc_dm_remove(const char *name, struct qc_error *err)
{
	if (kernel.closed_after)
		return qc_fail(err, EBUSY, name, NULL, "cannot remove the device");
	kernel.there = false;
	return 0;
}

/* With a snapshot that waits for cont: what is written before that must not be in its base. */
static void stands_still(int closed_after)
{
	kernel.there = true;
	kernel.suspended = true;
	kernel.loaded = true;
	kernel.written = false;
	kernel.closed_after = closed_after;
	kernel.status = "ro 128 0/16 0/0 0/0 3 0 0";
}

static void open_for_good(void **state)
{
	struct qc_error err;
	int ret;

	(void)state;
	stands_still(-1);
	ret = qc_detach("v", &err);
	assert_failed(&err, ret, EBUSY, "is in use");
	assert_true(kernel.there && kernel.suspended && kernel.loaded);
	assert_false(kernel.written);
}

/* As udev does where it runs. */
static void open_for_a_moment(void **state)
{
	struct qc_error err;

	(void)state;
	stands_still(3);
	assert_int_equal(qc_detach("v", &err), 0);
	assert_false(kernel.there);
	assert_false(kernel.written);
}

/* What was not on disk by then is lost: it goes, and that is told. */
static void flush_failed(void **state)
{
	struct qc_error err;
	int ret;

	(void)state;
	stands_still(0);
	kernel.status = "flush-failed 128 0/16 0/0 0/0 3 0 0";
	ret = qc_detach("v", &err);
	assert_failed(&err, ret, EIO, "not everything could be written");
	assert_false(kernel.there);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_for_good),
		cmocka_unit_test(open_for_a_moment),
		cmocka_unit_test(flush_failed),
	};

	return cmocka_run_group_tests_name("detach", tests, NULL, NULL);
}
