/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for events of device-mapper devices, all on one descriptor. */
#ifndef QCHAIN_DM_EVENTS_H
#define QCHAIN_DM_EVENTS_H

#include <systemd/sd-event.h>

#include "qapi.h"

/*
 * dm_events_watch - have the loop call @changed after every event of any device-mapper device.
 * What happened, and to which device, it has to find out from their status.  An event between two
 * calls is not lost.  Once only.  Returns 0, or -1 with @error.
 */
int dm_events_watch(struct sd_event *loop, void (*changed)(void), struct qmp_error *error);

#endif /* QCHAIN_DM_EVENTS_H */
