/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What qchain tree draws devices and exports of. */
#ifndef QCHAIN_TREE_H
#define QCHAIN_TREE_H

#include "bitmap.h"
#include "job-list.h"

#define TREE_UNKNOWN UINT64_MAX

/* Strings are somebody else's. */
struct tree_layer {
	const char *filename, *format;
	const char *data;		/* where the data is, when that is another file, or NULL */
	const char *node;		/* its name for the daemon, or NULL */
	bool writable;
	bool opened;			/* what follows is known */
	u64 size;			/* bytes, as all of these */
	u64 allocated;			/* below, or TREE_UNKNOWN */
	u64 cluster_size;		/* 0: none */
	const struct qc_bitmaps *bitmaps;	/* persistent and valid; NULL: not known */
};

/* @depth: 0 for the top layer. */
void tree_print_layer(const struct tree_layer *layer, size_t depth);
struct json_object *tree_json_layer(const struct tree_layer *layer);

/* A line for each; @of: the ID of the export that they have to be of, NULL: all. */
void tree_print_jobs(const struct jobs *jobs, const char *of);
struct json_object *tree_json_jobs(const struct jobs *jobs, const char *of);

/* An image in use, looked at from outside. */
struct tree_image {
	struct qc_chain *chain;		/* of this layer alone; NULL: it cannot be opened */
	struct qc_bitmaps bitmaps;
};

/*
 * tree_image_open - look at an image without a lock: what changes while it is attached may be out
 * of date.  Cannot fail: @image says what is known.
 */
void tree_image_open(const char *path, const char *format, struct tree_image *image);
void tree_image_close(struct tree_image *image);
#define CLEANUP_TREE_IMAGE __attribute__((cleanup(tree_image_close)))

/* What the daemon has told, at one time; see tree-export.c. */
struct tree_daemon;

/*
 * tree_daemon_ask - ask the daemon for all that is drawn.
 * @socket: as given by the user, or NULL.
 * *@daemon is NULL when, without @socket, none can be reached, or when one does not tell all of it;
 * the latter is said.
 */
int tree_daemon_ask(const char *socket, struct tree_daemon **daemon, struct qc_error *err);
void tree_daemon_free(struct tree_daemon *daemon);

/*
 * In these @daemon may be NULL, which is one that has nothing.
 *
 * tree_export - draw the chain and the jobs of the export of that ID, or add an object to @array.
 * False when there is none.
 */
bool tree_export(const struct tree_daemon *daemon, const char *id, struct json_object *array);

/* The same for all that it has; here @daemon must not be NULL. */
void tree_exports(const struct tree_daemon *daemon, struct json_object *array);

/* The ID of the export that is the device, or NULL. */
const char *tree_export_of(const struct tree_daemon *daemon, const char *device);

/*
 * The node of layer @layer, from the top, of the export @id, which has @count layers for the
 * kernel; NULL when that is not known for sure.
 */
const char *tree_node_of(const struct tree_daemon *daemon, const char *id, size_t layer,
			 size_t count);

/* All that it has; here @daemon must not be NULL either. */
const struct jobs *tree_daemon_jobs(const struct tree_daemon *daemon);

#endif /* QCHAIN_TREE_H */
