/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs in the state file. */
#ifndef QCHAIN_JOB_STATE_H
#define QCHAIN_JOB_STATE_H

#include "qapi.h"

/* All jobs, for a graph in the state file. */
struct json_object *job_state_save(void);

/*
 * Make them again of it, when nodes and exports are there.  What names something that is not there
 * is left out.
 */
void job_state_restore(struct json_object *jobs);

/* Forget what was to be done by devices that have not been found again. */
void job_state_prune(void);

#endif /* QCHAIN_JOB_STATE_H */
