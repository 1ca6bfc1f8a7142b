/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs as the kernel's status has them, where no daemon tells of them. */
#ifndef QCHAIN_JOB_KERNEL_H
#define QCHAIN_JOB_KERNEL_H

#include "job-list.h"
#include "table.h"

/* Add those of a device to the list, with the members that the daemon's jobs have. */
void jobs_of_status(struct jobs *jobs, const struct qc_status *status);

#endif /* QCHAIN_JOB_KERNEL_H */
