// SPDX-License-Identifier: GPL-2.0-or-later
/* Device-mapper devices of the qchain target. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

#include <libdevmapper.h>

#include "dm.h"
#include "table.h"

#define CONTROL_NODE "/dev/mapper/control"

static void cleanup_task(struct dm_task **task)
{
	if (*task)
		dm_task_destroy(*task);
}

#define CLEANUP_TASK __attribute__((cleanup(cleanup_task)))

static void be_quiet(int level, const char *file, int line, int class, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* libdevmapper would print to stderr; what matters is in the errno it keeps. */
static void be_quiet(int level, const char *file, int line, int class, const char *fmt, ...)
{
	(void)level;
	(void)file;
	(void)line;
	(void)class;
	(void)fmt;
}

static int failed(struct dm_task *task, const char *name, const char *what, struct qc_error *err)
{
	int code;

	/* No task can be made where the kernel's version of device-mapper cannot be had. */
	if (!task)
		return qc_fail(err, ENODEV, name, "run as root, and load it with: modprobe dm_mod",
			       "device-mapper is not available");
	code = dm_task_get_errno(task);
	switch (code) {
	case 0:
		code = EIO;
		break;
	case EPERM:
	case EACCES:
		return qc_fail(err, code, name, "run as root", "no permission to %s", what);
	case ENXIO:
	case ENODEV:
		return qc_fail(err, ENODEV, name, "list what there is with: qchain tree",
			       "no such device");
	}
	return qc_fail(err, code, name, NULL, "cannot %s: %s", what, strerror(code));
}

static struct dm_task *new_task(int type, const char *name)
{
	struct dm_task *task;

	dm_log_with_errno_init(be_quiet);
	task = dm_task_create(type);
	if (task && name && !dm_task_set_name(task, name)) {
		dm_task_destroy(task);
		return NULL;
	}
	return task;
}

int qc_dm_check_name(const char *name, struct qc_error *err)
{
	static const char extra[] = "#+-.:=@_";
	size_t len = strlen(name);

	if (!len || len > QC_DM_MAX_NAME)
		return qc_fail(err, EINVAL, name, "choose another with --name",
			       "a device name has 1 to %d characters", QC_DM_MAX_NAME);
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr(extra, *c))
			return qc_fail(err, EINVAL, name, "choose another with --name",
				       "a device name consists of letters, digits and %s", extra);
	if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "control"))
		return qc_fail(err, EINVAL, name, "choose another with --name",
			       "is not a possible device name");
	return 0;
}

static int open_control(int flags, int *fd, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_VERSION, NULL);

	/* Loads dm_mod and makes the node where nobody did. */
	if (!task || !dm_task_run(task))
		return failed(task, CONTROL_NODE, "talk to device-mapper", err);
	*fd = open(CONTROL_NODE, flags | O_CLOEXEC);
	return *fd < 0 ? qc_fail_errno(err, errno, CONTROL_NODE, "cannot open") : 0;
}

int qc_dm_serialise(int *fd, struct qc_error *err)
{
	CLEANUP_FD int control = -1;
	int ret;

	ret = open_control(O_RDONLY, &control, err);
	if (ret < 0)
		return ret;
	while (flock(control, LOCK_EX) < 0)
		if (errno != EINTR)
			return qc_fail_errno(err, errno, CONTROL_NODE, "cannot lock");
	*fd = control;
	control = -1;
	return 0;
}

/* A lock of another kind, which that of qc_dm_serialise() does not meet. */
int qc_dm_serialise_clients(int *fd, struct qc_error *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	CLEANUP_FD int control = -1;
	int ret;

	ret = open_control(O_RDWR, &control, err);
	if (ret < 0)
		return ret;
	while (fcntl(control, F_OFD_SETLKW, &lock) < 0)
		if (errno != EINTR)
			return qc_fail_errno(err, errno, CONTROL_NODE, "cannot lock");
	*fd = control;
	control = -1;
	return 0;
}

int qc_dm_query(const char *name, struct qc_dm_device *device, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_INFO, name);
	struct dm_info info;
	const char *uuid;

	memset(device, 0, sizeof(*device));
	if (!task || !dm_task_run(task) || !dm_task_get_info(task, &info))
		return failed(task, name, "look for the device", err);
	if (!info.exists)
		return 0;
	uuid = dm_task_get_uuid(task);
	device->exists = true;
	device->ours = uuid && !strncmp(uuid, QC_DM_UUID_PREFIX, strlen(QC_DM_UUID_PREFIX));
	device->live = info.live_table;
	device->loaded = info.inactive_table;
	device->suspended = info.suspended;
	device->read_only = info.read_only;
	device->open_count = info.open_count;
	device->major = info.major;
	device->minor = info.minor;
	device->event_nr = info.event_nr;
	return 0;
}

/* True unless the kernel says that it knows no target of our name. */
static bool target_known(void)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_LIST_VERSIONS, NULL);
	struct dm_versions *target;

	if (!task || !dm_task_run(task))
		return true;
	target = dm_task_get_versions(task);
	while (target) {
		if (!strcmp(target->name, QC_TARGET))
			return true;
		if (!target->next)
			break;
		target = (struct dm_versions *)((char *)target + target->next);
	}
	return false;
}

/*
 * The kernel tells why a table was refused only in its log, as
 * "device-mapper: table: 253:0: qchain: <reason> (<errno>)".  Look at what was logged
 * since @log was opened; the reason goes to @reason, which stays empty without one.
 */
static void read_reason(int log, char *reason, size_t size)
{
	static const char before[] = ": " QC_TARGET ": ";
	char record[4096];
	ssize_t len;

	reason[0] = 0;
	for (;;) {
		char *at;

		len = read(log, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE)
			continue;	/* overtaken by newer records */
		if (len <= 0)
			return;
		record[len] = 0;
		record[strcspn(record, "\n")] = 0;
		at = strstr(record, "device-mapper: table: ");
		if (at)
			at = strstr(at, before);
		if (at)
			snprintf(reason, size, "%s", at + strlen(before));
	}
}

/* Open the kernel log so that read_reason() sees what comes from here on; -1 without. */
static int watch_reasons(void)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (log >= 0)
		lseek(log, 0, SEEK_END);
	return log;
}

static int table_failed(struct dm_task *task, const char *name, const char *what, int log,
			struct qc_error *err)
{
	char reason[1024];

	if (!target_known())
		return qc_fail(err, ENOSYS, name, "load it with: modprobe dm-qchain",
			       "the kernel has no device-mapper target \"" QC_TARGET "\"");
	read_reason(log, reason, sizeof(reason));
	if (reason[0])
		return qc_fail(err, dm_task_get_errno(task) ? dm_task_get_errno(task) : EINVAL,
			       name, NULL, "the kernel refuses the table: %s", reason);
	return failed(task, name, what, err);
}

int qc_dm_create(const char *name, u64 sectors, const char *params, bool read_only,
		 struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_CREATE, name);
	CLEANUP_FD int log = watch_reasons();
	char uuid[sizeof(QC_DM_UUID_PREFIX) + QC_DM_MAX_NAME];
	u32 cookie = 0;
	int ok;

	snprintf(uuid, sizeof(uuid), QC_DM_UUID_PREFIX "%s", name);
	if (!task || !dm_task_set_uuid(task, uuid) ||
	    !dm_task_add_target(task, 0, sectors, QC_TARGET, params) ||
	    (read_only && !dm_task_set_ro(task)) ||
	    !dm_task_set_add_node(task, DM_ADD_NODE_ON_RESUME) ||
	    !dm_task_set_cookie(task, &cookie, 0))
		return failed(task, name, "prepare the device", err);

	/* Creates, loads and resumes; undoes the first when one of the others fails. */
	ok = dm_task_run(task);
	dm_udev_wait(cookie);
	if (!ok)
		return table_failed(task, name, "create the device", log, err);
	return 0;
}

int qc_dm_load(const char *name, u64 sectors, const char *params, bool read_only,
	       struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_RELOAD, name);
	CLEANUP_FD int log = watch_reasons();

	if (!task || !dm_task_add_target(task, 0, sectors, QC_TARGET, params) ||
	    (read_only && !dm_task_set_ro(task)))
		return failed(task, name, "prepare the table", err);
	if (!dm_task_run(task))
		return table_failed(task, name, "load the table", log, err);
	return 0;
}

int qc_dm_clear(const char *name, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_CLEAR, name);

	if (!task || !dm_task_run(task))
		return failed(task, name, "forget the loaded table", err);
	return 0;
}

int qc_dm_suspend(const char *name, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_SUSPEND, name);

	if (!task || !dm_task_run(task))
		return failed(task, name, "suspend the device", err);
	return 0;
}

static int resume_device(const char *name, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_RESUME, name);
	u32 cookie = 0;
	int ok;

	/* I/O waits for it: that nobody can be told of the change is no reason. */
	if (task && !dm_task_set_cookie(task, &cookie, 0))
		cookie = 0;
	ok = task && dm_task_run(task);
	if (cookie)
		dm_udev_wait(cookie);
	return ok ? 0 : failed(task, name, "resume the device", err);
}

int qc_dm_resume(const char *name, struct qc_error *err)
{
	struct qc_dm_device device;
	int ret = resume_device(name, err);

	if (!ret)
		return 0;
	/* Kernels differ in what they leave when suspending, or the new table, has failed. */
	if (qc_dm_query(name, &device, NULL) == 0 && device.loaded)
		qc_dm_clear(name, NULL);
	if (qc_dm_query(name, &device, NULL) == 0 && device.suspended)
		resume_device(name, NULL);
	return ret;
}

int qc_dm_resume_new(const char *name, struct qc_error *err)
{
	int ret = resume_device(name, err);

	if (ret)
		qc_dm_suspend(name, NULL);
	return ret;
}

int qc_dm_remove(const char *name, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_REMOVE, name);
	u32 cookie = 0;
	int ok;

	/* Where udev runs it opens a device shortly whenever a writer has closed it. */
	if (!task || !dm_task_set_cookie(task, &cookie, 0) ||
	    (dm_udev_get_sync_support() && !dm_task_retry_remove(task)))
		return failed(task, name, "prepare the removal", err);
	ok = dm_task_run(task);
	dm_udev_wait(cookie);
	return ok ? 0 : failed(task, name, "remove the device", err);
}

bool qc_dm_udev_runs(void)
{
	/* libdevmapper finds out whether udev runs when the first task is made. */
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_VERSION, NULL);

	return task && dm_udev_get_sync_support();
}

int qc_dm_fix_node(const char *name, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_MKNODES, name);

	if (!task || !dm_task_run(task))
		return failed(task, name, "set the device's node right", err);
	dm_task_update_nodes();
	return 0;
}

char *qc_dm_node(const char *name)
{
	char *node;

	return asprintf(&node, "%s/%s", dm_dir(), name) < 0 ? NULL : node;
}

/* The first target's line, for DM_DEVICE_TABLE and DM_DEVICE_STATUS. */
static int target_line(int type, const char *name, u64 *sectors, char **params,
		       struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(type, name);
	char *target = NULL, *line = NULL;
	uint64_t start, length;
	struct dm_info info;

	/* Status must not wait for a flush that the device may not be able to do. */
	if (!task || !dm_task_no_flush(task) || !dm_task_run(task) ||
	    !dm_task_get_info(task, &info))
		return failed(task, name, "read the table", err);
	if (!info.exists)
		return qc_fail(err, ENODEV, name, "list what there is with: qchain tree",
			       "no such device");
	dm_get_next_target(task, NULL, &start, &length, &target, &line);
	if (!target || strcmp(target, QC_TARGET))
		return qc_fail(err, ENODEV, name, "list what there is with: qchain tree",
			       target ? "is not a qchain device" : "has no table");
	*sectors = length;
	*params = strdup(line ? line : "");
	return *params ? 0 : qc_fail_nomem(err, name);
}

int qc_dm_table(const char *name, u64 *sectors, char **params, struct qc_error *err)
{
	return target_line(DM_DEVICE_TABLE, name, sectors, params, err);
}

int qc_dm_status(const char *name, u64 *sectors, char **params, struct qc_error *err)
{
	return target_line(DM_DEVICE_STATUS, name, sectors, params, err);
}

int qc_dm_ask(const char *name, const char *message, char **answer, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_TARGET_MSG, name);
	const char *response;
	char what[128];

	snprintf(what, sizeof(what), "send the message \"%.80s\"", message);
	if (!task || !dm_task_set_message(task, message) || !dm_task_set_sector(task, 0) ||
	    !dm_task_run(task))
		return failed(task, name, what, err);
	if (!answer)
		return 0;
	response = dm_task_get_message_response(task);
	*answer = strdup(response ? response : "");
	return *answer ? 0 : qc_fail_nomem(err, name);
}

int qc_dm_message(const char *name, const char *message, struct qc_error *err)
{
	return qc_dm_ask(name, message, NULL, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct qc_dm_names *names, const char *name, struct qc_error *err)
{
	char **grown = realloc(names->list, (names->count + 1) * sizeof(*grown));

	if (!grown)
		return qc_fail_nomem(err, name);
	names->list = grown;
	names->list[names->count] = strdup(name);
	if (!names->list[names->count])
		return qc_fail_nomem(err, name);
	names->count++;
	return 0;
}

int qc_dm_list(struct qc_dm_names *out, struct qc_error *err)
{
	CLEANUP_TASK struct dm_task *task = new_task(DM_DEVICE_LIST, NULL);
	CLEANUP_DM_NAMES struct qc_dm_names names = { 0 };
	struct dm_names *entry;
	int ret;

	memset(out, 0, sizeof(*out));
	if (!task || !dm_task_run(task))
		return failed(task, "device-mapper", "list devices", err);
	entry = dm_task_get_names(task);
	while (entry && entry->dev) {
		struct qc_dm_device device;

		ret = qc_dm_query(entry->name, &device, err);
		if (!ret && device.ours)
			ret = add_name(&names, entry->name, err);
		if (ret < 0)
			return ret;
		if (!entry->next)
			break;
		entry = (struct dm_names *)((char *)entry + entry->next);
	}
	if (names.count)
		qsort(names.list, names.count, sizeof(*names.list), compare_names);
	*out = names;
	memset(&names, 0, sizeof(names));
	return 0;
}

void qc_dm_names_free(struct qc_dm_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names->list);
}
