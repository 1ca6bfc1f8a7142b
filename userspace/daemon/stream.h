/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block-stream. */
#ifndef QCHAIN_STREAM_H
#define QCHAIN_STREAM_H

#include "qapi.h"

extern const struct qapi_command stream_commands[];

#endif /* QCHAIN_STREAM_H */
