/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-add, blockdev-del, change-backing-file. */
#ifndef QCHAIN_BLOCKDEV_H
#define QCHAIN_BLOCKDEV_H

#include "qapi.h"

extern const struct qapi_command blockdev_commands[];

#endif /* QCHAIN_BLOCKDEV_H */
