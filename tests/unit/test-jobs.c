// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs, through the daemon's own commands, over a device that is only made believe. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "attach.h"
#include "helper.h"
#include "job-state.h"
#include "job.h"
#include "part.h"
#include "state.h"
#include "window.h"

/* --- the kernel ------------------------------------------------------------------------------- */

static struct {
	bool device;
	bool job;
	const char *state;	/* of the job */
	int error;
} kernel;

int __wrap_qc_dm_serialise(int *fd, struct qc_error *err)
{
	(void)err;
	*fd = -1;
	return 0;
}

int __wrap_qc_dm_query(const char *name, struct qc_dm_device *device, struct qc_error *err)
{
	(void)name;
	(void)err;
	memset(device, 0, sizeof(*device));
	device->exists = kernel.device;
	device->ours = kernel.device;
	device->live = kernel.device;
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
	return 0;
}

int __wrap_qc_dm_status(const char *name, u64 *sectors, char **params, struct qc_error *err)
{
	char job[128] = "";

	if (!kernel.device)
		return qc_fail(err, ENODEV, name, NULL, "no such device");
	if (kernel.job)
		snprintf(job, sizeof(job), " j commit %s 0/2048 0 %d -", kernel.state,
			 kernel.error);
	*sectors = 2048;
	return asprintf(params, "rw 128 0/16 0/0 0/0 3 0 %d%s", kernel.job, job) < 0 ? -ENOMEM : 0;
}

int __wrap_qc_dm_message(const char *name, const char *message, struct qc_error *err)
{
	bool steered = kernel.job && (!strcmp(kernel.state, "running") ||
				      !strcmp(kernel.state, "paused"));

	if (!strncmp(message, "job_start ", 10)) {
		kernel.job = true;
		kernel.state = "running";
		kernel.error = 0;
	} else if (!kernel.job) {
		return qc_fail(err, ENOENT, name, NULL, "no such job");
	} else if (!strcmp(message, "job_cancel j")) {
		kernel.state = "ended";
		kernel.error = ECANCELED;
	} else if (!strcmp(message, "job_forget j")) {
		kernel.job = false;
	} else if (!steered) {
		return qc_fail(err, EBUSY, name, NULL, "the job is beyond that");
	} else if (!strcmp(message, "job_pause j")) {
		kernel.state = "paused";
	} else if (!strcmp(message, "job_resume j")) {
		kernel.state = "running";
	}
	return 0;
}

int __wrap_qc_attach_chain(const struct qc_chain *chain, const struct qc_attach_options *options,
			   struct qc_error *err)
{
	(void)chain;
	(void)options;
	(void)err;
	kernel.device = true;
	return 0;
}

int __wrap_qc_detach(const char *name, struct qc_error *err)
{
	(void)name;
	(void)err;
	kernel.device = false;
	return 0;
}

size_t __wrap_window_switch(const char *const *names, size_t count, struct qc_error *err)
{
	(void)names;
	(void)err;
	return count;
}

/* --- commands --------------------------------------------------------------------------------- */

static char said[QMP_ERROR_MAX];

/* Run a command with JSON in which ' stands for ".  Returns its result or NULL, see said. */
static struct json_object *run(const char *command, const char *arguments)
{
	const struct qapi_command *c = qapi_find_command(command);
	struct json_object *object, *result = NULL;
	struct qmp_error error = { 0 };
	char text[1024];

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
	else if (!result)
		result = json_object_new_object();
	json_object_put(object);
	return result;
}

static void does(const char *command, const char *arguments)
{
	struct json_object *result = run(command, arguments);

	assert_string_equal(said, "");
	json_object_put(result);
}

static void says(const char *text, const char *command, const char *arguments)
{
	assert_null(run(command, arguments));
	assert_string_equal(said, text);
}

#define BUSY(node) "Node '" node "' is busy: block device is in use by block job: commit"
#define COMMIT(id) "{'device': 'v', 'job-id': '" id "', 'base-node': 'B', " \
	"'auto-finalize': false, 'filter-node-name': 'f'}"
#define NODE "{'driver': 'qcow2', 'node-name': 'A', 'file': " \
	"{'driver': 'file', 'filename': 'a.qcow2'}}"
#define EXPORT "{'type': 'dm', 'id': 'v', 'name': 'v', 'node-name': 'A', 'writable': true}"
#define SNAPSHOT(file, name) "{'device': 'v', 'snapshot-file': '" file "', " \
	"'snapshot-node-name': '" name "'}"

static void make_device(void)
{
	must("rm -f *.qcow2 && qemu-img create -f qcow2 a.qcow2 1M");
	does("blockdev-add", NODE);
	does("block-export-add", EXPORT);
	does("blockdev-snapshot-sync", SNAPSHOT("b.qcow2", "B"));
	does("blockdev-snapshot-sync", SNAPSHOT("c.qcow2", "C"));
}

static void remove_device(void)
{
	does("block-export-del", "{'id': 'v'}");
	assert_null(node_find("B"));
	does("blockdev-del", "{'node-name': 'A'}");
	assert_true(TAILQ_EMPTY(&node_list));
}

static void make_ready(void)
{
	does("block-commit", COMMIT("j"));
	kernel.state = "ready";
	job_poll_all();
	assert_int_equal(job_find("j")->status, JOB_READY);
}

static void cancel_ready(void)
{
	make_ready();
	does("block-job-cancel", "{'device': 'j'}");
	job_poll_all();
	assert_int_equal(job_find("j")->status, JOB_PENDING);
}

static size_t count_nodes(void)
{
	struct json_object *nodes = run("query-named-block-nodes", "{'flat': true}");
	size_t count = json_object_array_length(nodes);

	json_object_put(nodes);
	return count;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void cancelled_when_ready(void **state)
{
	(void)state;
	make_device();
	cancel_ready();
	/* There is nothing more to do to the graph, but its nodes are still needed. */
	says(BUSY("C"), "block-export-del", "{'id': 'v'}");
	says(BUSY("C"), "block-commit", COMMIT("k"));
	assert_int_equal(count_nodes(), 7);
	assert_true(node_find("B")->written);
	does("job-finalize", "{'id': 'j'}");
	assert_true(TAILQ_EMPTY(&job_list));
	assert_false(kernel.job);
	assert_false(node_find("B")->written);
	assert_int_equal(count_nodes(), 6);
	remove_device();
}

static void quit_when_pending(void **state)
{
	struct qmp_error error;

	(void)state;
	make_device();
	cancel_ready();
	assert_int_equal(job_part.quit(false, &error), 0);
	assert_true(TAILQ_EMPTY(&job_list));
	assert_int_equal(export_quit(false, &error), 0);
	assert_null(node_find("B"));
	does("blockdev-del", "{'node-name': 'A'}");
}

/* As a daemon that is started finds the job of one before. */
static void start_anew(void)
{
	static sd_event *loop;
	struct json_object *saved = job_state_save();
	struct qmp_error error;

	job_free(job_find("j"));
	job_state_restore(saved);
	json_object_put(saved);
	assert_true(loop || sd_event_new(&loop) >= 0);
	assert_int_equal(job_part.start(loop, &error), 0);
	assert_int_equal(job_find("j")->status, JOB_CREATED);
}

/* A client has to finalize it for the next daemon as well. */
static void pending_for_the_next(void **state)
{
	(void)state;
	make_device();
	cancel_ready();
	start_anew();
	job_poll_all();
	assert_int_equal(job_find("j")->status, JOB_PENDING);
	says(BUSY("C"), "block-export-del", "{'id': 'v'}");
	does("job-finalize", "{'id': 'j'}");
	assert_true(TAILQ_EMPTY(&job_list));
	remove_device();
}

static void is(enum job_status status)
{
	job_poll_all();
	assert_int_equal(job_find("j")->status, status);
	assert_int_equal(job_find("j")->user_paused, status == JOB_STANDBY ||
			 status == JOB_PAUSED);
}

#define J "{'device': 'j'}"

/* Commands that come faster than the job is looked at. */
static void paused_and_resumed(void **state)
{
	(void)state;
	make_device();
	make_ready();
	does("block-job-pause", J);
	does("block-job-resume", J);
	is(JOB_READY);
	does("block-job-pause", J);
	is(JOB_STANDBY);
	does("block-job-resume", J);
	does("block-job-pause", J);
	is(JOB_STANDBY);
	start_anew();
	does("block-job-resume", J);
	is(JOB_READY);
	start_anew();
	does("block-job-pause", J);
	is(JOB_STANDBY);
	does("block-job-resume", J);
	start_anew();
	/* Ready as it is, it ends well. */
	does("block-job-cancel", J);
	is(JOB_PENDING);
	does("job-finalize", "{'id': 'j'}");

	/* Ready before that has been seen. */
	does("block-commit", COMMIT("j"));
	kernel.state = "ready";
	does("block-job-pause", J);
	is(JOB_STANDBY);
	does("job-cancel", "{'id': 'j'}");
	job_poll_all();
	assert_true(TAILQ_EMPTY(&job_list));

	does("block-commit", COMMIT("j"));
	does("block-job-pause", J);
	says("Job is already paused", "block-job-pause", J);
	kernel.state = "ready";
	does("block-job-resume", J);
	is(JOB_READY);
	does("job-cancel", "{'id': 'j'}");
	job_poll_all();

	/* What copies is the kernel's to pause. */
	does("block-commit", COMMIT("j"));
	does("block-job-pause", J);
	assert_string_equal(kernel.state, "paused");
	is(JOB_PAUSED);
	does("block-job-resume", J);
	assert_string_equal(kernel.state, "running");
	is(JOB_RUNNING);
	does("job-cancel", "{'id': 'j'}");
	job_poll_all();
	remove_device();
}

/* What is left to the next one of a device that is gone by then, with its nodes. */
static void device_is_gone(void **state)
{
	struct qmp_error error;
	sd_event *loop = NULL;
	int status;
	pid_t pid;

	(void)state;
	assert_true(sd_event_new(&loop) >= 0);
	setenv("QCHAIN_STATE", "state.json", 1);
	pid = fork();
	if (!pid) {
		if (graph_part.start(loop, &error))
			_exit(1);
		make_device();
		make_ready();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(graph_part.start(loop, &error), 0);
	assert_true(TAILQ_EMPTY(&export_list));
	assert_true(TAILQ_EMPTY(&job_list));
	assert_null(node_find("B"));
	does("blockdev-del", "{'node-name': 'A'}");
	assert_true(TAILQ_EMPTY(&node_list));
	sd_event_unref(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancelled_when_ready),
		cmocka_unit_test(quit_when_pending),
		cmocka_unit_test(pending_for_the_next),
		cmocka_unit_test(paused_and_resumed),
		cmocka_unit_test(device_is_gone),
	};

	return cmocka_run_group_tests_name("jobs", tests, scratch_setup, scratch_teardown);
}
