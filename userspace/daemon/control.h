/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the monitor and the daemon itself, of QEMU's control.json and misc.json. */
#ifndef QCHAIN_CONTROL_H
#define QCHAIN_CONTROL_H

#include "qapi.h"

/* The version of QEMU whose schema is followed. */
#define QMP_VERSION_MAJOR 7
#define QMP_VERSION_MINOR 2
#define QMP_VERSION_MICRO 0

extern const struct qapi_command control_commands[];

/* What query-version answers. */
struct json_object *control_version(void);

#endif /* QCHAIN_CONTROL_H */
