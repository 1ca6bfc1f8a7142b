/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block-commit. */
#ifndef QCHAIN_COMMIT_H
#define QCHAIN_COMMIT_H

#include "qapi.h"

/*
 * Start what the arguments of block-commit ask for.  @ends_here: that of an active layer ends as if
 * it were cancelled when it is ready, and the device stays with its layer.
 */
int commit_start(struct json_object *arguments, bool ends_here, struct qmp_error *error);

extern const struct qapi_command commit_commands[];

#endif /* QCHAIN_COMMIT_H */
