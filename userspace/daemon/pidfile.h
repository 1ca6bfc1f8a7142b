/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --pidfile: the daemon's process ID, in a file that is locked while it lives. */
#ifndef QCHAIN_PIDFILE_H
#define QCHAIN_PIDFILE_H

#include "qapi.h"

/* pidfile_create - write the process ID to @path; fails when another process has it locked. */
int pidfile_create(const char *path, struct qmp_error *error);

/* Unlink the file, when it was created. */
void pidfile_remove(void);

#endif /* QCHAIN_PIDFILE_H */
