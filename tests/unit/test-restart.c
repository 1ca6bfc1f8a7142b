// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Daemons that are killed, wherever that may be, and what the next one makes of what they left.
 * Devices are made believe, in memory that all of them share.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "attach.h"
#include "export.h"
#include "helper.h"
#include "job.h"
#include "part.h"
#include "state.h"
#include "table.h"

/* --- the kernel ------------------------------------------------------------------------------- */

#define TABLE_MAX 4096

struct device {
	char name[16];			/* "": there is none */
	bool suspended;
	char live[TABLE_MAX];
	char loaded[TABLE_MAX];		/* "": nothing is */
};

static struct kernel {
	struct device devices[4];
	int left;			/* steps until a daemon is killed, with its children; -1 */
	bool killed;
	pid_t tester;			/* not a daemon */
	int renames;			/* that succeed; -1: all */
	int switches;			/* the same of tables that are put to use */
	bool answered;			/* the command, with success */
	bool job;			/* "j", of "a" */
	const char *state;		/* of the job; the daemons have the same strings */
	int error;
} *kernel;

/* One that changes something. */
static void step(void)
{
	if (!kernel->left)
		kernel->killed = true;
	kernel->left -= kernel->left > 0;
	if (kernel->killed)
		_exit(0);
}

static struct device *device_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernel->devices); i++)
		if (!strcmp(kernel->devices[i].name, name))
			return &kernel->devices[i];
	return NULL;
}

/* As the kernel shows it: with paths. */
static void set_table(char *to, const char *params)
{
	CLEANUP_FREE char *copy = strdup(params);
	char *rest = copy, *word;
	size_t len = 0;

	to[0] = 0;
	while ((word = strsep(&rest, " "))) {
		char link[64], path[1024];
		ssize_t n = 0;

		if (!strncmp(word, "fd:", 3)) {
			snprintf(link, sizeof(link), "/proc/self/fd/%s", word + 3);
			n = readlink(link, path, sizeof(path) - 1);
			path[n < 0 ? 0 : n] = 0;
			word = path;
		}
		len += snprintf(to + len, TABLE_MAX - len, "%s%s", len ? " " : "", word);
	}
}

int __wrap_qc_dm_serialise(int *fd, struct qc_error *err)
{
	(void)err;
	*fd = -1;
	return 0;
}

int __wrap_qc_dm_query(const char *name, struct qc_dm_device *found, struct qc_error *err)
{
	const struct device *device = device_of(name);

	(void)err;
	memset(found, 0, sizeof(*found));
	if (!device)
		return 0;
	found->exists = true;
	found->ours = true;
	found->live = device->live[0];
	found->loaded = device->loaded[0];
	found->suspended = device->suspended;
	return 0;
}

int __wrap_qc_dm_create(const char *name, u64 sectors, const char *params, bool read_only,
			struct qc_error *err)
{
	struct device *device = device_of("");

	(void)sectors;
	(void)read_only;
	(void)err;
	step();
	snprintf(device->name, sizeof(device->name), "%s", name);
	set_table(device->live, params);
	return 0;
}

int __wrap_qc_dm_load(const char *name, u64 sectors, const char *params, bool read_only,
		      struct qc_error *err)
{
	(void)sectors;
	(void)read_only;
	step();
	if (!device_of(name))
		return qc_fail(err, ENODEV, name, NULL, "no such device");
	set_table(device_of(name)->loaded, params);
	return 0;
}

int __wrap_qc_dm_clear(const char *name, struct qc_error *err)
{
	(void)err;
	step();
	if (device_of(name))
		device_of(name)->loaded[0] = 0;
	return 0;
}

int __wrap_qc_dm_suspend(const char *name, struct qc_error *err)
{
	step();
	if (!device_of(name))
		return qc_fail(err, ENODEV, name, NULL, "no such device");
	device_of(name)->suspended = true;
	return 0;
}

int __wrap_qc_dm_resume_new(const char *name, struct qc_error *err)
{
	struct device *device = device_of(name);

	step();
	if (!device)
		return qc_fail(err, ENODEV, name, NULL, "no such device");
	if (device->loaded[0] && !kernel->switches)
		return qc_fail(err, ENOMEM, name, NULL, "cannot resume the device");
	kernel->switches -= device->loaded[0] && kernel->switches > 0;
	if (device->loaded[0])
		memcpy(device->live, device->loaded, TABLE_MAX);
	device->loaded[0] = 0;
	device->suspended = false;
	return 0;
}

int __wrap_qc_dm_resume(const char *name, struct qc_error *err)
{
	int ret = __wrap_qc_dm_resume_new(name, err);

	if (ret && ret != -ENODEV) {
		device_of(name)->loaded[0] = 0;
		step();
		device_of(name)->suspended = false;
	}
	return ret;
}

int __wrap_qc_dm_remove(const char *name, struct qc_error *err)
{
	(void)err;
	step();
	memset(device_of(name), 0, sizeof(struct device));
	return 0;
}

int __wrap_qc_dm_fix_node(const char *name, struct qc_error *err)
{
	(void)name;
	(void)err;
	return 0;
}

int __wrap_qc_dm_table(const char *name, u64 *sectors, char **params, struct qc_error *err)
{
	if (!device_of(name))
		return qc_fail(err, ENODEV, name, NULL, "no such device");
	*sectors = 2048;
	*params = strdup(device_of(name)->live);
	return *params ? 0 : -ENOMEM;
}

int __wrap_qc_dm_status(const char *name, u64 *sectors, char **params, struct qc_error *err)
{
	char job[128] = "";

	if (!device_of(name))
		return qc_fail(err, ENODEV, name, NULL, "no such device");
	*sectors = 2048;
	if (kernel->job && !strcmp(name, "a"))
		snprintf(job, sizeof(job), " j commit %s 0/2048 0 %d -", kernel->state,
			 kernel->error);
	return asprintf(params, "ro 128 0/16 0/0 0/0 3 0 %d%s", !!job[0], job) < 0 ? -ENOMEM : 0;
}

int __wrap_qc_dm_message(const char *name, const char *message, struct qc_error *err)
{
	step();
	if (!strncmp(message, "job_start ", 10)) {
		if (kernel->job)
			return qc_fail(err, EEXIST, name, NULL, "there is one");
		kernel->job = true;
		kernel->state = "ready";
		kernel->error = 0;
	} else if (!kernel->job) {
		return qc_fail(err, ENOENT, name, NULL, "no such job");
	} else if (!strcmp(message, "job_cancel j")) {
		kernel->state = "ended";
		kernel->error = ECANCELED;
	} else if (!strcmp(message, "job_complete j")) {
		kernel->state = "ended";
		kernel->error = 0;
	} else if (!strcmp(message, "job_forget j")) {
		kernel->job = false;
	}
	return 0;
}

int __real_rename(const char *from, const char *to);

/* Of the state file. */
int __wrap_rename(const char *from, const char *to)
{
	step();
	if (!kernel->renames) {
		errno = ENOSPC;
		return -1;
	}
	kernel->renames -= kernel->renames > 0;
	return __real_rename(from, to);
}

int __real_unlink(const char *path);

int __wrap_unlink(const char *path)
{
	step();
	return __real_unlink(path);
}

pid_t __real_waitpid(pid_t pid, int *status, int options);

/* Of what is done to suspended devices: it is killed with the daemon. */
pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	pid_t ret = __real_waitpid(pid, status, options);

	if (kernel->killed && getpid() != kernel->tester)
		_exit(0);
	return ret;
}

/* --- daemons ---------------------------------------------------------------------------------- */

#define check(condition) do {						\
	if (!(condition)) {						\
		printf("# line %d: %s\n", __LINE__, #condition);	\
		fflush(stdout);						\
		_exit(1);						\
	}								\
} while (0)

static char said[QMP_ERROR_MAX];

/* Run a command with JSON in which ' stands for ".  False when it fails, see said. */
static bool run(const char *command, const char *arguments)
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
	check(c && object);
	said[0] = 0;
	if ((c->arguments && qapi_check(c->arguments, object, &error)) ||
	    c->run(NULL, object, &result, &error))
		snprintf(said, sizeof(said), "%s", error.text);
	json_object_put(result);
	json_object_put(object);
	return !said[0];
}

static void does(const char *command, const char *arguments)
{
	bool done = run(command, arguments);

	if (!done)
		printf("# %s: %s\n", command, said);
	check(done);
}

/* A daemon is started, does something, and is killed.  False when a check failed. */
static bool daemon_does(void (*work)(void))
{
	struct qmp_error error;
	sd_event *loop = NULL;
	int status = -1;
	pid_t pid;

	kernel->killed = false;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		check(sd_event_new(&loop) >= 0);
		check(!graph_part.start(loop, &error));
		check(!job_part.start(loop, &error));
		work();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !status;
}

static bool files_stay;		/* of nodes that go */

/* Every device shows what the graph says, or will with cont; and runs, unless that is said. */
static void agrees(void)
{
	const struct export *export;
	struct qmp_error error;
	size_t count = 0;

	job_poll_all();
	job_poll_all();
	check(kernel->job == !!job_find("j"));

	for (size_t i = 0; i < ARRAY_SIZE(kernel->devices); i++)
		count += !!kernel->devices[i].name[0];
	TAILQ_FOREACH(export, &export_list, link) {
		const struct device *device = device_of(export->name);
		CLEANUP_NODE_CHAIN struct qc_chain chain = { 0 };
		CLEANUP_FREE char *params = NULL;
		const char *shown;
		char table[TABLE_MAX];

		check(device);
		check(device->suspended == export_stopped);
		check(export_stopped || (!device->loaded[0] && !export->loaded));
		check(!export_params(export, &chain, &params, &error));
		set_table(table, params);
		shown = device->loaded[0] ? device->loaded : device->live;
		/* Where there is none yet cont loads it. */
		check(!strcmp(table, shown) || (export->loaded && !device->loaded[0]));
		count--;
	}
	check(!count);
	for (const char *name = "MN"; *name; name++) {
		char path[16], text[2] = { *name };

		snprintf(path, sizeof(path), "new-%c.qcow2", *name);
		if (node_find(text) || (!kernel->answered && !files_stay))
			check(!!node_find(text) == !access(path, F_OK));
	}
}

#define NODE "{'driver': 'qcow2', 'node-name': '%c', " \
	"'file': {'driver': 'file', 'filename': '%c.qcow2'}}"
#define EXPORT "{'type': 'dm', 'id': '%c', 'name': '%c', 'node-name': '%c', 'writable': true}"

static void goes_on(void)
{
	does("cont", "{}");
	agrees();
	check(!export_stopped);
}

/* Nodes A, B and C, of which the first two are devices. */
static void make(void)
{
	char text[256];

	for (char name = 'A'; name <= 'C'; name++) {
		char id = name - 'A' + 'a';

		snprintf(text, sizeof(text), NODE, name, name);
		does("blockdev-add", text);
		snprintf(text, sizeof(text), EXPORT, id, id, name);
		if (name < 'C')
			does("block-export-add", text);
	}
}

static void begin(void)
{
	memset(kernel, 0, sizeof(*kernel));
	kernel->tester = getpid();
	kernel->left = -1;
	kernel->renames = -1;
	kernel->switches = -1;
	must("rm -f state.json* *.qcow2");
	must("cp image A.qcow2 && cp image B.qcow2 && cp image C.qcow2");
	assert_true(daemon_does(make));
}

/*
 * Kill the daemon that does @work after each step of it in turn, and look at what those after it
 * have.  @look: what there is to be when @work has come to its end.
 */
static void killed_anywhere(void (*before)(void), void (*work)(void), void (*look)(void))
{
	bool killed;
	int at = 0;

	do {
		begin();
		if (before)
			assert_true(daemon_does(before));
		kernel->left = at++;
		assert_true(daemon_does(work));
		killed = kernel->killed;
		kernel->left = -1;
		kernel->switches = -1;
		for (int i = 0; i < 2; i++) {
			assert_true(daemon_does(agrees));
			if (kernel->answered)
				assert_true(daemon_does(look));
		}
		assert_true(daemon_does(goes_on));
		assert_true(at < 100);
	} while (killed);
}

/*
 * The same of one that is killed when all is done, but could write its state only so many times.
 */
static void unwritten(void (*before)(void), void (*work)(void), void (*look)(void))
{
	int renames = 1;

	do {
		begin();
		if (before)
			assert_true(daemon_does(before));
		kernel->renames = renames++;
		assert_true(daemon_does(work));
		kernel->renames = -1;
		for (int i = 0; i < 2; i++) {
			assert_true(daemon_does(agrees));
			if (kernel->answered)
				assert_true(daemon_does(look));
		}
		assert_true(renames < 20);
	} while (!kernel->answered);
}

/* --- tests ------------------------------------------------------------------------------------ */

#define M "'snapshot-file': 'new-M.qcow2', 'snapshot-node-name': 'M'"
#define N "'snapshot-file': 'new-N.qcow2', 'snapshot-node-name': 'N'"
#define M_ON_A "{'device': 'a', " M "}"
#define N_ON_B "{'device': 'b', " N "}"
#define M_ON_C "{'node-name': 'C', " M "}"
#define ACTION(data) "{'type': 'blockdev-snapshot-sync', 'data': " data "}"

static void one_snapshot(void)
{
	kernel->answered = run("blockdev-snapshot-sync", M_ON_A);
}

static void snapshots(void)
{
	kernel->answered = run("transaction",
			       "{'actions': [" ACTION(M_ON_A) ", " ACTION(N_ON_B) "]}");
}

static void snapshot_of_c(void)
{
	kernel->answered = run("blockdev-snapshot-sync", M_ON_C);
}

/* The node M goes, as nobody uses it. */
static void has_file_of_m(void)
{
	check(!access("new-M.qcow2", F_OK));
	check(node_find("C")->read_only);
}

static void stop(void)
{
	does("stop", "{}");
}

static void has_m(void)
{
	check(node_find("M"));
	check(export_find("a")->root.node == node_find("M"));
}

static void has_m_and_n(void)
{
	has_m();
	check(export_find("b")->root.node == node_find("N"));
}

static void in_a_snapshot(void **state)
{
	(void)state;
	killed_anywhere(NULL, one_snapshot, has_m);
	killed_anywhere(stop, one_snapshot, has_m);
}

static void snapshots_in_part(void)
{
	kernel->switches = 1;
	snapshots();
	kernel->switches = -1;
}

static void in_a_transaction(void **state)
{
	(void)state;
	killed_anywhere(NULL, snapshots, has_m_and_n);
	killed_anywhere(stop, snapshots, has_m_and_n);
	killed_anywhere(NULL, snapshots_in_part, NULL);
}

static void cont_snapshots(void)
{
	snapshots();
	kernel->answered = run("cont", "{}");
}

static void in_cont(void **state)
{
	(void)state;
	killed_anywhere(stop, cont_snapshots, has_m_and_n);
}

/* What has been said to be done is done, also where the kernel cannot tell. */
static void without_end(void **state)
{
	(void)state;
	unwritten(NULL, one_snapshot, has_m);
	unwritten(stop, one_snapshot, has_m);
	unwritten(stop, snapshots, has_m_and_n);
	unwritten(NULL, snapshot_of_c, has_file_of_m);
}

#define READ_ONLY "{'driver': 'qcow2', 'node-name': 'R', 'read-only': true, " \
	"'file': {'driver': 'file', 'filename': 'C.qcow2'}}"
#define R_AS_R "{'type': 'dm', 'id': 'r', 'name': 'r', 'node-name': 'R'}"
#define R_AS_S "{'type': 'dm', 'id': 's', 'name': 's', 'node-name': 'R'}"

/* The kernel switches only the first of two devices that show the same node. */
static void first_of_two(void)
{
	does("blockdev-del", "{'node-name': 'C'}");
	does("blockdev-add", READ_ONLY);
	does("block-export-add", R_AS_R);
	does("block-export-add", R_AS_S);
	kernel->switches = 1;
	check(!run("blockdev-snapshot-sync", "{'device': 'r', " M "}"));
	kernel->switches = -1;
	agrees();
	check(export_find("r")->root.node == node_find("M"));
	check(export_find("s")->root.node == node_find("R"));
}

static void in_part(void **state)
{
	(void)state;
	begin();
	assert_true(daemon_does(first_of_two));
	assert_true(daemon_does(agrees));
}

static void nothing(void)
{
}

/* One of two was switched, and the other one cannot be when the next daemon comes. */
static void switched_later(void **state)
{
	int at = 0;

	(void)state;
	do {
		begin();
		kernel->left = at++;
		assert_true(daemon_does(snapshots_in_part));
		assert_true(kernel->killed);
	} while (!device_of("b")->suspended || device_of("b")->loaded[0]);
	kernel->left = -1;
	kernel->switches = -1;
	must("mv new-N.qcow2 away");
	assert_true(daemon_does(nothing));
	assert_true(device_of("b")->suspended);
	must("mv away new-N.qcow2");
	kernel->switches = 0;
	assert_true(daemon_does(nothing));
	assert_true(device_of("b")->suspended);
	kernel->switches = -1;
	assert_true(daemon_does(agrees));
	assert_true(daemon_does(has_m_and_n));
}

#define UNMAP "{'options': [{'driver': 'qcow2', 'node-name': 'A', 'discard': 'unmap', " \
	"'file': {'driver': 'file', 'filename': 'A.qcow2'}}]}"

static void discard(void)
{
	kernel->answered = run("blockdev-reopen", UNMAP);
}

#define C_READ_ONLY "{'options': [{'driver': 'qcow2', 'node-name': 'C', 'read-only': true, " \
	"'file': {'driver': 'file', 'filename': 'C.qcow2'}}]}"

static void read_only(void)
{
	kernel->answered = run("blockdev-reopen", C_READ_ONLY);
}

static void is_read_only(void)
{
	check(node_find("C")->read_only);
}

static void has_discard(void)
{
	check(node_find("A")->discard);
}

/* What is only an option of a device has to be the same for device and daemon. */
static void in_reopen(void **state)
{
	(void)state;
	killed_anywhere(NULL, discard, has_discard);
	killed_anywhere(stop, discard, has_discard);
	unwritten(NULL, discard, has_discard);
	unwritten(stop, discard, has_discard);
	unwritten(NULL, read_only, is_read_only);
}

#define COMMIT "{'device': 'a', 'job-id': 'j', 'base-node': 'A'}"
#define COMMIT_B "{'device': 'a', 'job-id': 'j', 'top-node': 'M', 'base-node': 'A'}"
#define STREAM "{'device': 'a', 'job-id': 'j'}"
#define J "{'id': 'j'}"

/* When the state cannot be written that was it. */
static void tries(const char *command, const char *arguments)
{
	if (!run(command, arguments))
		_exit(0);
}

static void has_job(void)
{
	check(job_find("j"));
}

static void no_job(void)
{
	check(!job_find("j"));
}

static void put_m(void)
{
	tries("blockdev-snapshot-sync", M_ON_A);
}

static void commits(void)
{
	put_m();
	tries("block-commit", COMMIT);
	job_poll_all();
	kernel->answered = run("job-complete", J);
}

static void cancels_ready(void)
{
	put_m();
	tries("block-commit", COMMIT);
	job_poll_all();
	kernel->answered = run("block-job-cancel", "{'device': 'j'}");
	job_poll_all();
}

static void streams(void)
{
	put_m();
	tries("block-stream", STREAM);
	kernel->state = "ended";
	job_poll_all();
	kernel->answered = true;
}

static void two_snapshots(void)
{
	put_m();
	tries("blockdev-snapshot-sync", "{'device': 'a', " N "}");
}

static void commits_below(void)
{
	two_snapshots();
	tries("block-commit", COMMIT_B);
	kernel->state = "ended";
	job_poll_all();
	kernel->answered = true;
}

static void stops_and_conts(void)
{
	two_snapshots();
	tries("block-commit", COMMIT_B);
	tries("stop", "{}");
	kernel->state = "ended";
	job_poll_all();
	tries("cont", "{}");
	job_poll_all();
	kernel->answered = true;
}

static void quits(void)
{
	struct qmp_error error;

	two_snapshots();
	tries("block-commit", COMMIT_B);
	kernel->state = "running";
	check(!job_part.quit(true, &error) && !graph_part.quit(true, &error));
	kernel->answered = true;
}

static void in_jobs(void **state)
{
	(void)state;
	files_stay = true;
	killed_anywhere(NULL, commits, no_job);
	killed_anywhere(NULL, cancels_ready, no_job);
	killed_anywhere(NULL, streams, no_job);
	killed_anywhere(NULL, commits_below, no_job);
	killed_anywhere(NULL, stops_and_conts, no_job);
	killed_anywhere(NULL, quits, has_job);
	unwritten(NULL, commits, no_job);
	unwritten(NULL, commits_below, no_job);
	unwritten(NULL, stops_and_conts, no_job);
	files_stay = false;
}

static void stops(void)
{
	kernel->answered = run("stop", "{}");
}

static void is_stopped(void)
{
	check(export_stopped);
}

static void cont_in_part(void)
{
	tries("stop", "{}");
	snapshots();
	kernel->answered = false;
	kernel->switches = 1;
	run("cont", "{}");
	kernel->switches = -1;
	kernel->answered = run("cont", "{}");
}

static void deletes(void)
{
	kernel->answered = run("block-export-del", "{'id': 'a'}");
}

static void is_deleted(void)
{
	check(!export_find("a"));
}

static void deletes_stopped(void)
{
	tries("stop", "{}");
	put_m();
	deletes();
}

static void quits_all(void)
{
	struct qmp_error error;

	tries("stop", "{}");
	snapshots();
	kernel->answered = false;
	kernel->answered = !job_part.quit(false, &error) && !graph_part.quit(false, &error);
}

static void is_empty(void)
{
	check(TAILQ_EMPTY(&export_list));
}

static void snapshot_twice(void)
{
	tries("stop", "{}");
	put_m();
	kernel->answered = run("blockdev-snapshot-sync", "{'device': 'a', " N "}");
	if (kernel->answered)
		kernel->answered = run("cont", "{}");
}

static void has_n(void)
{
	check(export_find("a")->root.node == node_find("N"));
}

#define BACKING "{'options': [{'driver': 'qcow2', 'node-name': 'A', 'backing': 'C', " \
	"'file': {'driver': 'file', 'filename': 'A.qcow2'}}]}"

static void rebases(void)
{
	tries("blockdev-reopen", C_READ_ONLY);
	kernel->answered = run("blockdev-reopen", BACKING);
}

static void has_backing(void)
{
	check(node_find("A")->backing.node == node_find("C"));
}

static void in_all_else(void **state)
{
	(void)state;
	files_stay = true;
	killed_anywhere(NULL, stops, is_stopped);
	killed_anywhere(NULL, cont_in_part, has_m_and_n);
	killed_anywhere(NULL, deletes, is_deleted);
	killed_anywhere(NULL, deletes_stopped, is_deleted);
	killed_anywhere(NULL, quits_all, is_empty);
	killed_anywhere(NULL, snapshot_twice, has_n);
	killed_anywhere(NULL, rebases, has_backing);
	killed_anywhere(stop, rebases, has_backing);
	files_stay = false;
}

static int setup(void **state)
{
	kernel = mmap(NULL, sizeof(*kernel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (kernel == MAP_FAILED || scratch_setup(state))
		return -1;
	setenv("QCHAIN_STATE", "state.json", 1);
	must("qemu-img create -f qcow2 image 1M");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_a_snapshot),
		cmocka_unit_test(in_a_transaction),
		cmocka_unit_test(in_cont),
		cmocka_unit_test(without_end),
		cmocka_unit_test(in_part),
		cmocka_unit_test(switched_later),
		cmocka_unit_test(in_reopen),
		cmocka_unit_test(in_jobs),
		cmocka_unit_test(in_all_else),
	};

	return cmocka_run_group_tests_name("restart", tests, setup, scratch_teardown);
}
