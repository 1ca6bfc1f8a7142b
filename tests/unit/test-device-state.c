// SPDX-License-Identifier: GPL-2.0-or-later
/* What is told of devices when there are dm events, of them or of others. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <errno.h>
#include <stdio.h>

#include "device-state.h"
#include "dm.h"
#include "dm-events.h"
#include "export.h"
#include "helper.h"

/* --- the kernel, and who is told -------------------------------------------------------------- */

static struct {
	bool foreign;
	int open_count;
	u32 event_nr;
	const char *mode;	/* NULL: there is no status to be had */
	int asked;		/* for the status */
	void (*during)(void);	/* happens once, while the status is read */
} devices[2];

static void (*changed)(void);
static char told[64];

static int number_of(const char *name)
{
	return name[1] - '0';
}

int __wrap_qc_dm_query(const char *name, struct qc_dm_device *device, struct qc_error *err)
{
	(void)err;
	memset(device, 0, sizeof(*device));
	device->exists = true;
	device->ours = !devices[number_of(name)].foreign;
	device->live = true;
	device->open_count = devices[number_of(name)].open_count;
	device->event_nr = devices[number_of(name)].event_nr;
	return 0;
}

int __wrap_qc_dm_serialise(int *fd, struct qc_error *err)
{
	(void)err;
	*fd = -1;
	return 0;
}

int __wrap_qc_dm_status(const char *name, u64 *sectors, char **params, struct qc_error *err)
{
	int i = number_of(name), ret;
	void (*during)(void) = devices[i].during;

	devices[i].asked++;
	if (!devices[i].mode)
		return qc_fail(err, ENOMEM, name, NULL, "no memory");
	*sectors = 2048;
	ret = asprintf(params, "%s 128 0/16 0/0 0/0 1 0 0", devices[i].mode);
	devices[i].during = NULL;
	if (during)
		during();
	return ret < 0 ? -ENOMEM : 0;
}

int __wrap_dm_events_watch(struct sd_event *loop, void (*call)(void), struct qmp_error *error)
{
	(void)loop;
	(void)error;
	changed = call;
	return 0;
}

void __wrap_qmp_emit(const char *event, struct json_object *data)
{
	snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s %s;",
		 qapi_get_str(data, "device", ""), event);
	json_object_put(data);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void make_exports(void)
{
	memset(devices, 0, sizeof(devices));
	for (int i = 0; i < 2; i++) {
		char name[] = { 'v', '0' + i, 0 };
		struct export *export = export_new(name, name, true);
		struct node *node = node_new(NULL, NODE_FILE);

		assert_non_null(export);
		assert_non_null(node);
		/* Not node_attach(): it has no file that could be locked. */
		export->root.node = node;
		TAILQ_INSERT_TAIL(&node->users, &export->root, link);
		devices[i].mode = "rw";
	}
}

static void remove_exports(void)
{
	while (!TAILQ_EMPTY(&export_list))
		export_free(TAILQ_FIRST(&export_list));
}

/* Device @number has an event, and that mode. */
static void happens(int number, const char *mode)
{
	devices[number].event_nr++;
	devices[number].mode = mode;
}

static void after(const char *wanted)
{
	told[0] = 0;
	changed();
	assert_string_equal(told, wanted);
}

static void start(void)
{
	struct qmp_error error;

	told[0] = 0;
	assert_int_equal(device_part.start((struct sd_event *)devices, &error), 0);
}

static void only_with_events(void **state)
{
	(void)state;
	make_exports();
	start();
	after("");
	assert_int_equal(devices[0].asked + devices[1].asked, 0);
	happens(1, "out-of-space");
	after("v1 BLOCK_IO_ERROR;");
	after("");
	after("");
	assert_int_equal(devices[0].asked, 0);
	assert_int_equal(devices[1].asked, 1);
	happens(1, "rw");
	after("");
	happens(1, "out-of-space");
	happens(0, "failed");
	after("v0 BLOCK_IMAGE_CORRUPTED;v1 BLOCK_IO_ERROR;");
	assert_int_equal(devices[0].asked, 1);
	assert_int_equal(devices[1].asked, 3);
	happens(1, "flush-failed");
	after("v1 BLOCK_IO_ERROR;");
	happens(1, "flush-failed");
	after("");
	remove_exports();
}

/* Devices of an earlier daemon have had theirs. */
static void started_later(void **state)
{
	(void)state;
	make_exports();
	happens(1, "out-of-space");
	/* To nobody, as there is no client yet. */
	start();
	assert_int_equal(devices[0].asked, 0);
	assert_int_equal(devices[1].asked, 1);
	after("");
	happens(1, "rw");
	after("");
	happens(1, "out-of-space");
	after("v1 BLOCK_IO_ERROR;");
	remove_exports();
}

static void fill_up(void)
{
	happens(0, "out-of-space");
}

static void none_is_missed(void **state)
{
	(void)state;
	make_exports();
	start();
	/* Between the number and the end of the look. */
	happens(0, "rw");
	devices[0].during = fill_up;
	after("");
	after("v0 BLOCK_IO_ERROR;");
	/* When it could not be seen. */
	happens(0, "rw");
	after("");
	happens(0, NULL);
	after("");
	devices[0].mode = "out-of-space";
	after("v0 BLOCK_IO_ERROR;");
	remove_exports();
}

/* What has the name of a device that somebody removed is in nobody's way. */
static void somebody_elses(void **state)
{
	struct qmp_error error;

	(void)state;
	make_exports();
	devices[0].open_count = 1;
	assert_int_equal(export_may_quit(&error), -1);
	devices[0].foreign = true;
	assert_int_equal(export_may_quit(&error), 0);
	assert_int_equal(export_quit(false, &error), 0);
	assert_true(TAILQ_EMPTY(&export_list));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_with_events),
		cmocka_unit_test(started_later),
		cmocka_unit_test(none_is_missed),
		cmocka_unit_test(somebody_elses),
	};

	return cmocka_run_group_tests_name("device-state", tests, NULL, NULL);
}
