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
	bool suspended;
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
	device->suspended = kernel.suspended;
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
	} else if (!strcmp(message, "job_cancel j") && strcmp(kernel.state, "ended")) {
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
	says(BUSY("v"), "block-export-del", "{'id': 'v'}");
	says(BUSY("v"), "block-commit", COMMIT("k"));
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

/* The daemon has not seen that yet. */
static void quit_when_ended(void **state)
{
	struct qmp_error error;

	(void)state;
	make_device();
	does("block-commit", COMMIT("j"));
	kernel.state = "ended";
	assert_int_equal(job_part.quit(false, &error), 0);
	assert_true(TAILQ_EMPTY(&job_list));
	assert_false(kernel.job);
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
	says(BUSY("v"), "block-export-del", "{'id': 'v'}");
	does("job-finalize", "{'id': 'j'}");
	assert_true(TAILQ_EMPTY(&job_list));
	remove_device();
}

/* A client has completed it, and the next daemon's devices are stopped before it gets to that. */
static void completed_and_stopped(void **state)
{
	(void)state;
	make_device();
	does("block-commit", "{'device': 'v', 'job-id': 'j', 'base-node': 'B'}");
	kernel.state = "ready";
	job_poll_all();
	job_find("j")->completing = true;
	start_anew();
	export_stopped = true;
	job_poll_all();
	assert_int_equal(job_find("j")->status, JOB_READY);
	assert_true(job_find("j")->completing);
	export_stopped = false;
	does("job-cancel", "{'id': 'j'}");
	job_poll_all();
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

/* Killed in a snapshot of a device that is stopped, which then is in another state, or gone. */
static void killed_in_snapshot(const char *file, bool suspended)
{
	struct qmp_error error;
	sd_event *loop = NULL;
	int status;
	pid_t pid;

	assert_true(sd_event_new(&loop) >= 0);
	setenv("QCHAIN_STATE", file, 1);
	pid = fork();
	if (!pid) {
		struct json_object *before, *files = json_object_new_array();

		if (graph_part.start(loop, &error))
			_exit(1);
		make_device();
		export_stopped = true;
		before = state_graph();
		does("blockdev-snapshot-sync", SNAPSHOT("new.qcow2", "N"));
		json_object_array_add(files, json_object_new_string("new.qcow2"));
		_exit(state_save_change(before, files, &error) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	kernel.device = suspended;
	kernel.suspended = suspended;
	assert_int_equal(graph_part.start(loop, &error), 0);
	kernel.device = false;
	kernel.suspended = false;
	export_stopped = false;
	does("blockdev-del", "{'node-name': 'A'}");
	assert_true(TAILQ_EMPTY(&node_list));
	sd_event_unref(loop);
}

/* An image that a device may have been written to is not removed. */
static void gone_after_stop(void **state)
{
	(void)state;
	killed_in_snapshot("gone.json", false);
	assert_int_equal(access("new.qcow2", F_OK), 0);
	killed_in_snapshot("stopped.json", true);
	assert_int_not_equal(access("new.qcow2", F_OK), 0);
}

/* B's file as a daemon that is started has it: the lock is on a description of the kernel's. */
static struct node *kernels_own(bool kept)
{
	struct node *file = node_protocol(node_find("B"));

	assert_int_equal(qc_lock(file->store, QC_LOCK_NONE, NULL), 0);
	file->lock = QC_LOCK_NONE;
	file->in_kernel = true;
	file->kept = kept;
	return file;
}

/* A base that others read is not written to, whoever has its lock for this daemon. */
static void base_of_others(void **state)
{
	struct qc_store *other = NULL;
	struct node *file;

	(void)state;
	make_device();
	assert_int_equal(qc_store_open("b.qcow2", QC_OPEN_WRITE, &other, NULL), 0);
	assert_int_equal(qc_lock(other, QC_LOCK_READ, NULL), 0);
	/* The kernel lets go of what it has for reading. */
	file = kernels_own(false);
	says("Failed to get \"write\" lock", "block-commit", COMMIT("j"));
	assert_true(TAILQ_EMPTY(&job_list));
	assert_false(file->in_kernel);
	/* But it is locked for reading as before. */
	assert_int_equal(qc_lock(other, QC_LOCK_NONE, NULL), 0);
	assert_non_null(qc_lock_denied(other, QC_LOCK_WRITE));
	assert_null(qc_lock_denied(other, QC_LOCK_READ));

	/* What it has for writing it keeps, with the lock that is left of it. */
	file = kernels_own(true);
	assert_int_equal(qc_lock(other, QC_LOCK_READ, NULL), 0);
	does("block-commit", COMMIT("j"));
	assert_true(file->in_kernel);
	does("job-cancel", "{'id': 'j'}");
	job_poll_all();
	qc_store_close(other);
	remove_device();
}

#define ASIDE "{'driver': 'qcow2', 'node-name': 'X', 'backing': 'B', 'file': " \
	"{'driver': 'file', 'filename': 'x.qcow2'}}"

/* An overlay that no device shows, over what one does. */
static void from_aside(void **state)
{
	(void)state;
	make_device();
	must("qemu-img create -f qcow2 x.qcow2 1M");
	does("blockdev-add", ASIDE);
	says("Node 'X' is not used by any export; use block-export-add first", "block-commit",
	     "{'device': 'X', 'job-id': 'j', 'base-node': 'A'}");
	does("block-commit", COMMIT("j"));
	says(BUSY("B"), "block-commit", "{'device': 'X', 'job-id': 'k', 'top-node': 'B'}");
	says(BUSY("B"), "change-backing-file",
	     "{'device': 'X', 'image-node-name': 'B', 'backing-file': 'other.qcow2'}");
	does("job-cancel", "{'id': 'j'}");
	job_poll_all();
	assert_true(TAILQ_EMPTY(&job_list));
	does("blockdev-del", "{'node-name': 'X'}");
	remove_device();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancelled_when_ready),
		cmocka_unit_test(quit_when_pending),
		cmocka_unit_test(quit_when_ended),
		cmocka_unit_test(pending_for_the_next),
		cmocka_unit_test(completed_and_stopped),
		cmocka_unit_test(paused_and_resumed),
		cmocka_unit_test(base_of_others),
		cmocka_unit_test(from_aside),
		cmocka_unit_test(device_is_gone),
		cmocka_unit_test(gone_after_stop),
	};

	return cmocka_run_group_tests_name("jobs", tests, scratch_setup, scratch_teardown);
}
