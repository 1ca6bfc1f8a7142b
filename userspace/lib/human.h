/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values for people. */
#ifndef QCHAIN_HUMAN_H
#define QCHAIN_HUMAN_H

#include "util.h"

/* A size with three digits, such as "1.5 GiB", in one of a few static buffers. */
const char *qc_human(u64 bytes);

#endif /* QCHAIN_HUMAN_H */
