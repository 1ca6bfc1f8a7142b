/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a daemon that is started after another one must know: nodes, exports, jobs, and which
 * options of the command line were carried out, in a small file that is replaced as a whole.
 *
 * Every change is written before the command that made it is answered.  A step that also changes
 * what the kernel does is written before, with the graph as it was and as it will be; the
 * kernel's table tells afterwards which of them is true.
 *
 * The file is $QCHAIN_STATE, by default /run/qchain/qchaind.json.  One daemon uses it at a time.
 */
#ifndef QCHAIN_STATE_H
#define QCHAIN_STATE_H

#include "part.h"

extern const struct daemon_part graph_part;

/* The graph as it is now.  NULL without memory. */
struct json_object *state_graph(void);

/* Write the graph as it is now.  Fails with the file as it was. */
int state_save(struct qmp_error *error);

/* The same, after what cannot be undone: log why it failed.  It is tried again until it can. */
int state_save_or_log(void);

/*
 * Write that the graph is about to change from @before to what it is now.
 * @files: an array of paths of new files, to be removed if it does not come to that.
 */
int state_save_change(struct json_object *before, struct json_object *files,
		      struct qmp_error *error);

/*
 * What options of the command line have been carried out is part of the state: a daemon that is
 * started again with them passes them over, also when what they made has changed since or
 * is gone.  @command: what the option stands for; @name: of the node, or the ID, that it makes.
 */
bool state_option_done(const char *command, const char *name);

/* Noted with the next save; forgotten, so that it is carried out anew. */
void state_option_note(const char *command, const char *name);
void state_option_forget(const char *command, const char *name);

#endif /* QCHAIN_STATE_H */
