/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-reopen: other options for nodes that are there. */
#ifndef QCHAIN_REOPEN_H
#define QCHAIN_REOPEN_H

#include "qapi.h"

extern const struct qapi_command reopen_commands[];

#endif /* QCHAIN_REOPEN_H */
