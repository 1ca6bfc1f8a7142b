/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-snapshot-sync, blockdev-snapshot, blockdev-snapshot-internal-sync, transaction. */
#ifndef QCHAIN_DAEMON_SNAPSHOT_H
#define QCHAIN_DAEMON_SNAPSHOT_H

#include "qapi.h"

extern const struct qapi_command snapshot_commands[];

#endif /* QCHAIN_DAEMON_SNAPSHOT_H */
