/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Make nodes of a definition, as blockdev-add has it, and of what is in image headers.
 */
#ifndef QCHAIN_NODE_OPEN_H
#define QCHAIN_NODE_OPEN_H

#include "node.h"

/* What a node has unless its definition says otherwise. */
struct node_values {
	bool read_only;
	bool auto_read_only;
	bool discard;
	bool direct;
};

/*
 * Take over what checked BlockdevOptions say of them.  Fails for what they say of other things that
 * is not so here.
 */
int node_values_apply(struct json_object *options, struct node_values *values,
		      struct qmp_error *error);

/*
 * node_open - open what a checked BlockdevOptions describes, and what it is backed by.
 * Where a qcow2 node is defined without a backing node, that is opened as the image says; names
 * are relative to the image, and a format is never guessed.  Backing nodes are read-only.
 * Returns the node, which nobody uses or owns yet, or NULL, and then nothing is left.
 */
struct node *node_open(struct json_object *options, struct qmp_error *error);

/* The protocol node that a checked BlockdevRef names or defines; on the same terms. */
struct node *node_open_ref(struct json_object *ref, struct qmp_error *error);

/*
 * Read the header of a qcow2 node anew.  An image marked corrupt is refused where it could
 * be written to.
 */
int node_read_header(struct node *node, struct qmp_error *error);

/*
 * Open the file of a protocol node that has filename, path and read_only.  Sets store and what
 * identifies it; takes no locks.
 */
int node_open_file(struct node *node, bool auto_read_only, struct qmp_error *error);

/*
 * The file of a protocol node by a description of its own, without locks.  Returns 0 or a negative
 * errno, with *@store untouched or NULL.
 */
int node_open_store(const struct node *node, bool write, struct qc_store **store,
		    struct qc_error *err);

/* Can the file of a protocol node be accessed directly? */
int node_check_direct(const struct node *node, struct qmp_error *error);

/*
 * The file of @protocol, which may be open for reading only, once more, for writing and without
 * locks.  Fails when it is another file now.
 */
int node_open_again(const struct node *protocol, struct qc_store **store,
		    struct qmp_error *error);

/* By export ID, or by name; either may be NULL. */
struct node *node_lookup(const char *device, const char *name, struct qmp_error *error);

/*
 * The same for commands whose documentation has the error class DeviceNotFound for it.  QEMU's have
 * not got it.
 */
struct node *node_lookup_device(const char *device, const char *name, struct qmp_error *error);

/* The options of a protocol node of @path: a device if there is one of that name, else a file. */
struct json_object *node_file_options(const char *path);

#endif /* QCHAIN_NODE_OPEN_H */
