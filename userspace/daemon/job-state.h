/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs in the state file. */
#ifndef QCHAIN_JOB_STATE_H
#define QCHAIN_JOB_STATE_H

#include "export.h"

/* All jobs, for a graph in the state file. */
struct json_object *job_state_save(void);

/*
 * Make them again of it, when nodes and exports are there.  What names something that is not there
 * is left out.
 */
void job_state_restore(struct json_object *jobs);

/*
 * Forget what was to be done by the device of @going, which has not been found again, and by those
 * of exports that are not there.  @going may be NULL; its nodes must still be there.
 */
void job_state_prune(const struct export *going);

#endif /* QCHAIN_JOB_STATE_H */
