/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens to the devices of exports by themselves: out of space, bad metadata.  The kernel
 * raises dm events; what is told follows from the difference of their status.
 */
#ifndef QCHAIN_DEVICE_STATE_H
#define QCHAIN_DEVICE_STATE_H

#include "part.h"

/*
 * Watch dm events, for devices and for jobs.  Called before an export has its device, and again for
 * each: only the first time does something.
 */
int device_state_watch(struct qmp_error *error);

extern const struct daemon_part device_part;
extern const struct qapi_event device_events[];

#endif /* QCHAIN_DEVICE_STATE_H */
