/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block-stream, and a stream by the cluster. */
#ifndef QCHAIN_STREAM_H
#define QCHAIN_STREAM_H

#include "export.h"
#include "qapi.h"

/*
 * stream_one_cluster - give the top image of a device the next cluster that it does not have.
 * @offset: where that ends, in bytes; the size of the image when there is nothing left.
 */
int stream_one_cluster(struct export *export, u64 *offset, struct qmp_error *error);

extern const struct qapi_command stream_commands[];

#endif /* QCHAIN_STREAM_H */
