/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block_resize: larger and smaller images, in use or not. */
#ifndef QCHAIN_BLOCK_RESIZE_H
#define QCHAIN_BLOCK_RESIZE_H

#include "qapi.h"

extern const struct qapi_command block_resize_commands[];

#endif /* QCHAIN_BLOCK_RESIZE_H */
