/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens to the devices of exports by themselves: out of space, bad metadata.  The kernel
 * raises dm events; what is told follows from the difference of their status.
 */
#ifndef QCHAIN_DEVICE_STATE_H
#define QCHAIN_DEVICE_STATE_H

#include "export.h"
#include "part.h"

/*
 * Watch dm events, for devices and for jobs.  Called before an export has its device, and again for
 * each: only the first time does something.
 */
int device_state_watch(struct qmp_error *error);

/* What is the matter with the device now.  Returns 0, or -1 when the kernel does not tell. */
int device_state_read(const struct export *export, enum export_trouble *trouble);

extern const struct daemon_part device_part;
extern const struct qapi_event device_events[];

#endif /* QCHAIN_DEVICE_STATE_H */
