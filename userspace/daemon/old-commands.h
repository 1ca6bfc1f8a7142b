/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block_stream, query-block-stream, change: the commands of before block-stream and the jobs. */
#ifndef QCHAIN_OLD_COMMANDS_H
#define QCHAIN_OLD_COMMANDS_H

#include "qapi.h"

extern const struct qapi_command old_commands[];

#endif /* QCHAIN_OLD_COMMANDS_H */
