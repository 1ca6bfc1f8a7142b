/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block-commit. */
#ifndef QCHAIN_COMMIT_H
#define QCHAIN_COMMIT_H

#include "qapi.h"

extern const struct qapi_command commit_commands[];

#endif /* QCHAIN_COMMIT_H */
