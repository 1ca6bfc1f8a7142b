// SPDX-License-Identifier: GPL-2.0-or-later
/* Block devices that lie on others, as sysfs tells. */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "store.h"

#define DEPTH_MAX 32	/* nobody has more; and no loop of devices is endless */

static bool dev_lies_on(dev_t dev, dev_t below, unsigned int depth);

/* The number in the file "dev" of a directory, 0 without one. */
static dev_t read_dev(const char *directory)
{
	char path[512];
	unsigned int major, minor;
	dev_t dev = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/dev", directory);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%u:%u", &major, &minor) == 2)
		dev = makedev(major, minor);
	fclose(file);
	return dev;
}

/* device-mapper, md */
static bool slaves_lie_on(const char *sysfs, dev_t below, unsigned int depth)
{
	char path[512];
	struct dirent *entry;
	bool found = false;
	dev_t dev;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/slaves", sysfs);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/slaves/%s", sysfs, entry->d_name);
		dev = read_dev(path);
		found = dev && dev_lies_on(dev, below, depth);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool loop_lies_on(const char *sysfs, dev_t below, unsigned int depth)
{
	char path[512], name[4096];
	struct stat st;
	bool found;
	FILE *file;

	snprintf(path, sizeof(path), "%s/loop/backing_file", sysfs);
	file = fopen(path, "re");
	if (!file)
		return false;
	found = fscanf(file, "%4095[^\n]", name) == 1 && stat(name, &st) == 0 &&
		dev_lies_on(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev, below, depth);
	fclose(file);
	return found;
}

static bool dev_lies_on(dev_t dev, dev_t below, unsigned int depth)
{
	char sysfs[64], path[80];
	dev_t whole = 0;

	if (dev == below)
		return true;
	if (!depth)
		return false;
	snprintf(sysfs, sizeof(sysfs), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	snprintf(path, sizeof(path), "%s/partition", sysfs);
	if (access(path, F_OK) == 0) {
		snprintf(path, sizeof(path), "%s/..", sysfs);
		whole = read_dev(path);
	}
	return (whole && dev_lies_on(whole, below, depth - 1)) ||
	       slaves_lie_on(sysfs, below, depth - 1) || loop_lies_on(sysfs, below, depth - 1);
}

bool qc_dev_lies_on(dev_t dev, dev_t below)
{
	return dev_lies_on(dev, below, DEPTH_MAX);
}
