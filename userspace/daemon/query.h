/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-block, query-blockstats, query-named-block-nodes. */
#ifndef QCHAIN_QUERY_H
#define QCHAIN_QUERY_H

#include "qapi.h"

extern const struct qapi_command query_commands[];

#endif /* QCHAIN_QUERY_H */
