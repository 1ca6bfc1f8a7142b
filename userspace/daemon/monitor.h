/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --monitor: accepts clients on a chardev and moves bytes between them and their sessions. */
#ifndef QCHAIN_MONITOR_H
#define QCHAIN_MONITOR_H

#include <systemd/sd-event.h>

#include "qapi.h"

#define MONITOR_CLIENTS 256	/* at a time, on all monitors; others wait to be accepted */

/*
 * monitor_add - do --monitor [chardev=]ID[,mode=control][,pretty=on|off][,allowed-group=GROUP].
 * Any number of clients can be connected to one monitor.  The first is accepted by the loop.
 */
int monitor_add(struct sd_event *loop, const char *option, struct qmp_error *error);

/* Send what is queued to those who still read, for a second at most, and disconnect all. */
void monitor_close_all(void);

#endif /* QCHAIN_MONITOR_H */
