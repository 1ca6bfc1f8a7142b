/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --daemonize: into the background, without the caller coming back before all is ready. */
#ifndef QCHAIN_DAEMONIZE_H
#define QCHAIN_DAEMONIZE_H

#include "qapi.h"

/*
 * daemonize_begin - go on in a child, without a controlling terminal.
 * The parent does not return: it ends with status 0 when the child calls daemonize_ready(), and
 * with 1 when the child ends before.  To be called while there is nothing else than options.
 */
int daemonize_begin(struct qmp_error *error);

/* Let the parent go.  From here on the directory is "/", and the standard streams lead nowhere. */
int daemonize_ready(struct qmp_error *error);

#endif /* QCHAIN_DAEMONIZE_H */
