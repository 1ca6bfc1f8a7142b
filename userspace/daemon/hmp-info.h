/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of "info". */
#ifndef QCHAIN_HMP_INFO_H
#define QCHAIN_HMP_INFO_H

#include "hmp.h"

extern const struct hmp_command hmp_info_commands[];

#endif /* QCHAIN_HMP_INFO_H */
