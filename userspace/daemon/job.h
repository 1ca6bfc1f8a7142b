/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: what they have in common.  stream.c, commit.c and create-job.c start them, job-graph.c
 * makes what the kernel needs for them and what is left of a chain at their end, job-state.c is
 * about the next daemon, job-commands.c is what clients ask for.
 *
 * A block job copies, and the kernel does that; the job here has the names, the status words and
 * the events.  It is a step behind: it looks at the kernel's and catches up.  Other jobs are done
 * by the daemon, a step at a time when its loop has nothing else to do, and end with it.
 *
 *	created -> running <-> paused
 *	running -> ready <-> standby			active commit
 *	running, ready -> waiting -> pending -> concluded -> null
 *	any before concluded -> aborting -> concluded -> null
 *
 * All runs in the event loop's thread.  Functions return 0 or -1 with @error, QEMU's text where
 * it has one.
 */
#ifndef QCHAIN_JOB_H
#define QCHAIN_JOB_H

#include "export.h"
#include "part.h"

#define JOB_ID_MAX 63		/* the kernel's */

enum job_type {
	JOB_COMMIT,
	JOB_STREAM,
	JOB_CREATE,
};

enum job_status {
	JOB_UNDEFINED,
	JOB_CREATED,
	JOB_RUNNING,
	JOB_PAUSED,
	JOB_READY,
	JOB_STANDBY,
	JOB_WAITING,
	JOB_PENDING,
	JOB_ABORTING,
	JOB_CONCLUDED,
	JOB_NULL,
};

enum job_verb {
	JOB_VERB_CANCEL,
	JOB_VERB_PAUSE,
	JOB_VERB_RESUME,
	JOB_VERB_SET_SPEED,
	JOB_VERB_COMPLETE,
	JOB_VERB_FINALIZE,
	JOB_VERB_DISMISS,
};

/* What the daemon does in a job. */
struct job_work {
	/* The next step.  Returns 1 when there is more to do, 0 when not, or -1 with @error. */
	int (*step)(void *data, struct qmp_error *error);
	/* Is the next step to wait for cont?  May be NULL. */
	bool (*waits)(void *data);
	/* Frees @data.  @failed: what has been made goes, too. */
	void (*end)(void *data, bool failed);
};

struct job {
	TAILQ_ENTRY(job) link;
	char *id;
	enum job_type type;
	enum job_status status;
	bool auto_finalize, auto_dismiss;
	u64 speed, offset, len;		/* bytes a second, bytes */
	char *error;			/* why it failed; NULL: it has not */
	bool unsaved;			/* concluded, which could not be written yet */

	/* The rest does not matter any more when it is concluded. */

	const struct job_work *work;	/* NULL: a block job, or nothing to do any more */
	void *work_data;
	char *export;			/* whose device does it; from here on of block jobs only */
	char *on_error;			/* the kernel's word */
	/*
	 * At the end @above gets @below as its backing node, NULL: none; an active commit, which
	 * has no @above, makes @below the export's.
	 */
	struct node *above, *below;
	struct node *written;		/* a backing node that is written to, or NULL */
	char *backing_file;		/* the name for above's header, or NULL */
	/*
	 * QEMU's jobs put a filter node over what they copy from.  There is none here, but when a
	 * client gives it a name that is taken, and listed, until the end; NULL: it has not.
	 */
	struct node_reservation *filter;
	bool user_paused;		/* by a client, or by an error */
	bool cancelled;
	bool completing;		/* a client has said so; it is ready, or was */
	bool ends_here;			/* once ready, it ends without a change of the graph */
	bool error_told;		/* BLOCK_JOB_ERROR, since it was last resumed */
	int io_error;			/* errno that it waits with, or 0 */
	bool done;			/* the graph is as it is to be at the end */
};

TAILQ_HEAD(job_list, job);
extern struct job_list job_list;	/* oldest first */

extern const struct daemon_part job_part;
extern const struct qapi_command job_commands[];
extern const struct qapi_event job_events[];

const char *job_type_name(enum job_type type);
/* Returns -1 for an unknown name. */
int job_type_parse(const char *name);
const char *job_status_name(enum job_status status);

/* Does the kernel do it, and is it for the commands and events of block jobs? */
bool job_is_block(const struct job *job);
/* Is it ready, be it in standby? */
bool job_is_ready(const struct job *job);

/* NULL when there is none. */
struct job *job_find(const char *id);

/*
 * A new job in the list, with what the arguments of block-stream and block-commit have in common:
 * job-id, speed, on-error, auto-finalize, auto-dismiss, backing-file, filter-node-name (checked).
 * @export: whose device is to do it.  @device: what the client called that, for the default ID.
 */
struct job *job_new(enum job_type type, struct export *export, const char *device,
		    struct json_object *arguments, struct qmp_error *error);

/*
 * A new job that the daemon does itself, and that runs.  It stays until it is dismissed.  Takes
 * @data over unless it fails.
 */
int job_run(enum job_type type, const char *id, const struct job_work *work, void *data,
	    struct qmp_error *error);

/* Can the filter node have the name that is in the arguments, if there is one? */
int job_check_filter(struct json_object *arguments, struct qmp_error *error);

/* The node that the job's filter would be over, and its driver in QEMU; NULL when it has none. */
struct node *job_filtered(const struct job *job, const char **driver);

/* Out of the list, without a word. */
void job_free(struct job *job);

/*
 * Have the kernel do it.  above, below and written are set.  Frees the job when that fails.
 */
int job_start(struct job *job, struct qmp_error *error);

/* Does the status allow it? */
int job_apply_verb(const struct job *job, enum job_verb verb, struct qmp_error *error);

/* These check nothing but what the kernel or the graph does.  What follows is told later. */
int job_pause(struct job *job, struct qmp_error *error);
int job_resume(struct job *job, struct qmp_error *error);
int job_set_speed(struct job *job, u64 speed, struct qmp_error *error);
void job_cancel(struct job *job, bool force);
void job_complete(struct job *job);

void job_finalize(struct job *job);
void job_dismiss(struct job *job);

/* Read the kernel's numbers, without any consequence. */
void job_refresh(struct job *job);

/* Look at all jobs, now. */
void job_poll_all(void);

/* Look at all jobs when the loop has nothing else to do. */
void job_poll_soon(void);

/*
 * Is a job in the way?  These say which one, as QEMU's op blockers do.
 * job_check_node - of what is done to @node: one copies from it or to it, or it is the device's,
 * whose chain a commit is going to change.
 * job_check_nodes - the same for @from and all below it, down to above @to; NULL: to the last.
 * job_check_stays - of a job that ends with @node below its top: one is going to drop it.
 * job_check_goes - of a job that is going to drop @node: one ends with it below its top.
 * job_check_chain - of changes to a chain that @node is in, whichever its nodes are.
 * job_check_export - to the device of @export.
 */
int job_check_node(const struct node *node, struct qmp_error *error);
int job_check_nodes(const struct node *from, const struct node *to, struct qmp_error *error);
int job_check_stays(const struct node *node, struct qmp_error *error);
int job_check_goes(const struct node *node, struct qmp_error *error);
int job_check_chain(const struct node *node, struct qmp_error *error);
int job_check_export(const struct export *export, struct qmp_error *error);

#endif /* QCHAIN_JOB_H */
