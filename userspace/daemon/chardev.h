/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --chardev: what a monitor is reached by.  There are listening UNIX sockets only. */
#ifndef QCHAIN_CHARDEV_H
#define QCHAIN_CHARDEV_H

#include "socket.h"

/*
 * chardev_add - do --chardev socket,id=ID,path=PATH|fd=FD[,server=on][,wait=off].
 * FD is a number, or the name of a descriptor that the service manager passed.
 */
int chardev_add(const char *option, struct qmp_error *error);

/* chardev_claim - the socket of that ID, for a monitor that has it from then on for itself. */
const struct server_socket *chardev_claim(const char *id, struct qmp_error *error);

/* Close all, and unlink what was bound. */
void chardev_close_all(void);

#endif /* QCHAIN_CHARDEV_H */
