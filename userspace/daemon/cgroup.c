// SPDX-License-Identifier: GPL-2.0-or-later
/* Limits in cgroups. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>

#include "cgroup.h"

#define BLANKS "\n "
#define CONTROLLERS "cgroup.controllers"
#define ENABLED "cgroup.subtree_control"

bool cgroup_unlimited(const struct cgroup_limits *limits)
{
	return !limits->bps_rd && !limits->bps_wr && !limits->iops_rd && !limits->iops_wr;
}

bool cgroup_wellformed(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (!len || (len == 1 && path[0] == '.') || (len == 2 && !memcmp(path, "..", 2)))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
	}
}

/* --- files ------------------------------------------------------------------------------------ */

/* Of the cgroup that the first @len bytes of @path name; none: of the root. */
static int open_file(int root, const char *path, size_t len, const char *name, int flags)
{
	CLEANUP_FREE char *full = NULL;
	int fd;

	if (asprintf(&full, "./%.*s/%s", (int)len, path, name) < 0)
		return -ENOMEM;
	fd = openat(root, full, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The kernel takes what is written as a whole, or not at all. */
static int put(int root, const char *path, size_t len, const char *name, const char *text)
{
	CLEANUP_FD int fd = open_file(root, path, len, name, O_WRONLY);

	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Lines of a file, until @take has what it wants. */
static bool find_line(int root, const char *path, size_t len, const char *name,
		      bool (*take)(const char *line, const char *wanted, void *result),
		      const char *wanted, void *result)
{
	int fd = open_file(root, path, len, name, O_RDONLY);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	CLEANUP_FREE char *line = NULL;
	bool found = false;
	size_t size = 0;

	if (fd >= 0 && !file)
		close(fd);
	while (file && !found && getline(&line, &size, file) > 0)
		found = take(line, wanted, result);
	if (file)
		fclose(file);
	return found;
}

static bool has_word(const char *line, const char *wanted, void *result)
{
	size_t len;

	(void)result;
	for (; *(line += strspn(line, BLANKS)); line += len) {
		len = strcspn(line, BLANKS);
		if (len == strlen(wanted) && !memcmp(line, wanted, len))
			return true;
	}
	return false;
}

/* --- the hierarchy ---------------------------------------------------------------------------- */

static char *mounted_at(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *mount;
	char *dir = NULL;

	while (mounts && !dir && (mount = getmntent(mounts)))
		if (!strcmp(mount->mnt_type, "cgroup2"))
			dir = strdup(mount->mnt_dir);
	if (mounts)
		endmntent(mounts);
	return dir;
}

int cgroup_root(struct qmp_error *error)
{
	CLEANUP_FREE char *dir = mounted_at();
	int root;

	if (!dir)
		return qmp_fail(error,
				"There is no cgroup v2, which limits need; mount it: mount -t cgroup2 none /sys/fs/cgroup");
	root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return qmp_fail(error, "%s: cannot open: %s", dir, strerror(errno));
	if (find_line(root, "", 0, CONTROLLERS, has_word, "io", NULL))
		return root;
	close(root);
	return qmp_fail(error, "%s: has no io controller; the kernel lacks it, or cgroup v1 has it",
			dir);
}

bool cgroup_exists(int root, const char *path)
{
	CLEANUP_FD int fd = open_file(root, path, strlen(path), CONTROLLERS, O_RDONLY);

	return fd >= 0;
}

struct json_object *cgroup_below_root(int root)
{
	struct json_object *names = json_object_new_array();
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (fd >= 0 && !dir)
		close(fd);
	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (entry->d_type == DT_DIR && cgroup_wellformed(name) &&
		    !find_line(root, name, strlen(name), "cgroup.type", has_word, "threaded", NULL))
			json_object_array_add(names, json_object_new_string(name));
	}
	if (dir)
		closedir(dir);
	return names;
}

/* --- the controller --------------------------------------------------------------------------- */

/* In the @count innermost ones of those that the first @len bytes of @path are in. */
static void disable(int root, const char *path, size_t len, unsigned int count)
{
	while (count--) {
		while (len && path[--len] != '/')
			;
		put(root, path, len, ENABLED, "-io");
	}
}

void cgroup_disable(int root, const char *path, unsigned int enabled)
{
	disable(root, path, strlen(path), enabled);
}

/* From the root down: a cgroup can only pass on what it has. */
int cgroup_enable(int root, const char *path, unsigned int *enabled, struct qmp_error *error)
{
	*enabled = 0;
	for (const char *end = path; end; end = strchr(end + 1, '/')) {
		size_t len = end - path;
		int ret;

		if (find_line(root, path, len, ENABLED, has_word, "io", NULL))
			continue;
		ret = put(root, path, len, ENABLED, "+io");
		if (!ret) {
			++*enabled;
			continue;
		}
		disable(root, path, len, *enabled);
		return qmp_fail(error,
				"Could not enable the io controller below cgroup '/%.*s': %s",
				(int)len, path, ret == -EBUSY ?
				"it has processes besides its cgroups" : strerror(-ret));
	}
	return 0;
}

/* --- limits ----------------------------------------------------------------------------------- */

bool cgroup_has_limits(int root, const char *path)
{
	CLEANUP_FD int fd = open_file(root, path, strlen(path), "io.max", O_RDONLY);

	return fd >= 0;
}

/* What follows NAME=; 0 for "max". */
static u64 limit_of(const char *line, const char *name)
{
	const char *at = strstr(line, name);
	u64 limit;

	return at && sscanf(at + strlen(name), "=%llu", &limit) == 1 ? limit : 0;
}

bool cgroup_parse_limits(const char *line, const char *device, struct cgroup_limits *limits)
{
	size_t len = strlen(device);

	if (strncmp(line, device, len) || line[len] != ' ')
		return false;
	*limits = (struct cgroup_limits){
		.bps_rd = limit_of(line, " rbps"),
		.bps_wr = limit_of(line, " wbps"),
		.iops_rd = limit_of(line, " riops"),
		.iops_wr = limit_of(line, " wiops"),
	};
	return true;
}

static bool take_limits(const char *line, const char *wanted, void *result)
{
	return cgroup_parse_limits(line, wanted, result);
}

void cgroup_read(int root, const char *path, const char *device, struct cgroup_limits *limits)
{
	*limits = (struct cgroup_limits){ 0 };
	find_line(root, path, strlen(path), "io.max", take_limits, device, limits);
}

int cgroup_write(int root, const char *path, const char *device,
		 const struct cgroup_limits *limits, struct qmp_error *error)
{
	const u64 values[] = { limits->bps_rd, limits->bps_wr, limits->iops_rd, limits->iops_wr };
	static const char *const names[] = { "rbps", "wbps", "riops", "wiops" };
	char line[256];
	size_t len = snprintf(line, sizeof(line), "%s", device);
	int ret;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		len += values[i] ?
		       snprintf(line + len, sizeof(line) - len, " %s=%llu", names[i], values[i]) :
		       snprintf(line + len, sizeof(line) - len, " %s=max", names[i]);
	ret = put(root, path, strlen(path), "io.max", line);
	if (ret == -ENOENT)
		return qmp_fail(error, "Cgroup '%s' has no io.max", path);
	return ret ? qmp_fail(error, "Could not set limits of cgroup '%s' (%s): %s", path, line,
			      strerror(-ret)) : 0;
}
