/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block_set_io_throttle: limits of an export's device, which the kernel keeps for cgroups.
 *
 * The export knows which cgroups were given limits (export->cgroups); what the limits are is the
 * kernel's to know.  They go with the device.
 */
#ifndef QCHAIN_THROTTLE_H
#define QCHAIN_THROTTLE_H

#include "cgroup.h"
#include "export.h"

extern const struct qapi_command throttle_commands[];

/* The values of a request, as QEMU checks them, and then whether the kernel has such limits. */
int throttle_parse(struct json_object *arguments, struct cgroup_limits *limits,
		   struct qmp_error *error);

/* The limits that the device has now, in the first cgroup that has any.  False: there are none. */
bool throttle_get(const struct export *export, struct cgroup_limits *limits);

#endif /* QCHAIN_THROTTLE_H */
