// SPDX-License-Identifier: GPL-2.0-or-later
/* Who uses a block device. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* statx */
#endif
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "users.h"
#include "util.h"

char *qc_mount_point(dev_t dev)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	char *found = NULL;
	size_t size = 0;

	while (mounts && !found && getline(&line, &size, mounts) > 0) {
		unsigned int major, minor;
		char point[4096];

		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &major, &minor, point) == 3 &&
		    makedev(major, minor) == dev)
			found = strdup(point);
	}
	if (mounts)
		fclose(mounts);
	return found;
}

static bool is_among(dev_t dev, const dev_t *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == dev)
			return true;
	return false;
}

/* Of a block device in the open directory "holders" of another one. */
static dev_t number_of(int holders, const char *name)
{
	char path[300], text[32] = "";
	unsigned int major, minor;
	CLEANUP_FD int fd = -1;

	snprintf(path, sizeof(path), "%s/dev", name);
	fd = openat(holders, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%u:%u", &major, &minor) != 2)
		return 0;
	return makedev(major, minor);
}

/* The first one that is, or is not, in @list. */
static char *find_holder(dev_t dev, const dev_t *list, size_t count, bool in_list)
{
	struct dirent *entry;
	char *found = NULL;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(dev), minor(dev));
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' &&
		    is_among(number_of(dirfd(dir), entry->d_name), list, count) == in_list)
			found = strdup(entry->d_name);
	if (dir)
		closedir(dir);
	return found;
}

char *qc_holder(dev_t dev, const dev_t *but, size_t count)
{
	return find_holder(dev, but, count, false);
}

bool qc_held_by(dev_t dev, const dev_t *holders, size_t count)
{
	CLEANUP_FREE char *found = find_holder(dev, holders, count, true);

	return found;
}

/* @process: its directory in /proc. */
static bool has_open(const char *process, dev_t dev)
{
	struct dirent *entry;
	bool found = false;
	struct statx st;
	char path[300];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", process);
	dir = opendir(path);
	/* Nobody asks a server about a file that may be far away. */
	while (dir && !found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.' &&
			!statx(dirfd(dir), entry->d_name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
			       STATX_TYPE, &st) && S_ISBLK(st.stx_mode) &&
			makedev(st.stx_rdev_major, st.stx_rdev_minor) == dev;
	if (dir)
		closedir(dir);
	return found;
}

bool qc_open_here(dev_t dev)
{
	return has_open("self", dev);
}

bool qc_open_elsewhere(dev_t dev)
{
	long self = getpid();
	struct dirent *entry;
	bool found = false;
	DIR *dir = opendir("/proc");

	while (dir && !found && (entry = readdir(dir))) {
		long pid = strtol(entry->d_name, NULL, 10);

		found = pid > 0 && pid != self && has_open(entry->d_name, dev);
	}
	if (dir)
		closedir(dir);
	return found;
}
