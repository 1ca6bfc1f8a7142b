/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-create: new files, and qcow2 images on nodes. */
#ifndef QCHAIN_CREATE_JOB_H
#define QCHAIN_CREATE_JOB_H

#include "qapi.h"

extern const struct qapi_command create_job_commands[];

#endif /* QCHAIN_CREATE_JOB_H */
