/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits that the kernel's block layer (blk-throttle) sets to the processes of a cgroup: io.max of
 * cgroup v2.
 *
 * A cgroup is named by its path below the root, without a slash at either end; @root is the
 * descriptor of cgroup_root(), @device is "MAJOR:MINOR".  Functions return 0 or -1 with @error.
 * They sleep on the kernel only.
 */
#ifndef QCHAIN_CGROUP_H
#define QCHAIN_CGROUP_H

#include "qapi.h"
#include "util.h"

/* Of one device, in a second; 0: no limit. */
struct cgroup_limits {
	u64 bps_rd, bps_wr, iops_rd, iops_wr;
};

/* What io.max takes, and means as it stands there. */
#define CGROUP_LIMIT_MIN 2
#define CGROUP_IOPS_MAX (UINT32_MAX - 1)

bool cgroup_unlimited(const struct cgroup_limits *limits);

/* Can it be the name of a cgroup below the root? */
bool cgroup_wellformed(const char *path);

/* Read @line of io.max.  False when it is not @device's. */
bool cgroup_parse_limits(const char *line, const char *device, struct cgroup_limits *limits);

/* The root of the hierarchy, a descriptor; -1 when it is not mounted, or limits no I/O. */
int cgroup_root(struct qmp_error *error);

bool cgroup_exists(int root, const char *path);

/* The names of the cgroups directly below the root that are no threads of it, an array. */
struct json_object *cgroup_below_root(int root);

/*
 * Enable the io controller for @path: in all that it is in.  *@enabled is in how many of them it
 * was not, the innermost ones.  On failure nothing is changed.
 */
int cgroup_enable(int root, const char *path, unsigned int *enabled, struct qmp_error *error);

/* Take that back. */
void cgroup_disable(int root, const char *path, unsigned int enabled);

/* Can the cgroup have limits: is the io controller enabled for it? */
bool cgroup_has_limits(int root, const char *path);

/* All 0 where there are none, and no such cgroup. */
void cgroup_read(int root, const char *path, const char *device, struct cgroup_limits *limits);

int cgroup_write(int root, const char *path, const char *device,
		 const struct cgroup_limits *limits, struct qmp_error *error);

#endif /* QCHAIN_CGROUP_H */
