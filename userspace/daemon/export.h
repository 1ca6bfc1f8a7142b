/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports: nodes that are block devices.  The ID of one plays the part of QEMU's drive name.
 * Functions return 0 or -1 with @error; they run in the event loop and sleep.
 */
#ifndef QCHAIN_EXPORT_H
#define QCHAIN_EXPORT_H

#include "node.h"

enum export_trouble {
	EXPORT_WELL,
	EXPORT_NO_SPACE,
	EXPORT_CORRUPT,
	EXPORT_FLUSH_FAILED,
};

struct export {
	TAILQ_ENTRY(export) link;
	char *id;
	char *name;			/* of the device */
	bool writable;
	bool loaded;			/* its device stands still; cont gives it a new table */
	struct node_edge root;
	/* device-state.c: what was last told, and of which node */
	enum export_trouble trouble;
	char trouble_of[NODE_NAME_MAX + 1];
	u32 event_nr;			/* of the device, when that was looked at */
	/* throttle.c */
	char *group;			/* what was last limited, NULL: nothing was */
	struct json_object *cgroups;	/* paths of those that may have limits; NULL: none */
};

TAILQ_HEAD(export_list, export);
extern struct export_list export_list;	/* oldest first */

/* After stop, and until cont. */
extern bool export_stopped;

extern const struct qapi_command export_commands[];
extern const struct qapi_event export_events[];

/* NULL when there is none. */
struct export *export_find(const char *id);

/* The only one whose device shows @node as its top; *@found is NULL when there is none. */
int export_of_node(const struct node *node, struct export **found, struct qmp_error *error);

/* Those for which @concerned is true, in *@exports, an array for the caller to free. */
int export_choose(bool (*concerned)(const struct export *export, const void *ctx), const void *ctx,
		  struct export ***exports, size_t *count, struct qmp_error *error);

/* One more in the list, not using a node yet.  NULL without memory. */
struct export *export_new(const char *id, const char *name, bool writable);

/* Out of the list; the node is released.  The device is left alone. */
void export_free(struct export *export);

/*
 * The parameters of the table of what the export's node is now, and its layers, whose files the
 * parameters name by descriptors of this process.  Free both, node_chain_free() and free().
 */
int export_params(const struct export *export, struct qc_chain *chain, char **params,
		  struct qmp_error *error);

/* Load the table of what the export's node is now; export_switch() puts it to use. */
int export_load(struct export *export, struct qmp_error *error);

/*
 * The same for all that have one waiting for cont: it was cleared on the way to something that
 * failed.
 */
void export_load_again(void);

/* The same for @count exports.  On failure no table of theirs is loaded. */
int export_load_all(struct export *const *exports, size_t count, struct qmp_error *error);

/*
 * A step that is not switched now, as there is no device, or only by cont, is one that the kernel
 * cannot tell the next daemon of: unless the file does, by @save, it has not been taken.  On
 * failure no table of @exports is loaded.  Other steps are left alone.
 */
int export_save_waiting(struct export *const *exports, size_t count,
			int (*save)(void *ctx, struct qmp_error *error), void *ctx,
			struct qmp_error *error);

/*
 * Put the loaded tables of @count exports to use, at one point in time; after stop that is done by
 * cont.  Returns how many of them, from the first on, have the new table; @error is set
 * when that is fewer than @count.
 */
size_t export_switch_all(struct export *const *exports, size_t count, struct qmp_error *error);

/*
 * What is in the kernel's hands alone (node->in_kernel) and in no export's chain any more has
 * been let go: lock it again.  A file that somebody else took meanwhile stays unlocked, and
 * says so when it is used.
 */
void export_take_back(void);

/* Is no device in use, but by others of them?  Then export_quit() can remove all. */
int export_may_quit(struct qmp_error *error);

/* Remove all devices, or leave them all running.  On failure the newer ones can be gone. */
int export_quit(bool keep, struct qmp_error *error);

#endif /* QCHAIN_EXPORT_H */
