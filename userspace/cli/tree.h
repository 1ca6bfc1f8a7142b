/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What qchain tree draws devices and exports of. */
#ifndef QCHAIN_TREE_H
#define QCHAIN_TREE_H

#include "cli.h"

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
};

/* @depth: 0 for the top layer. */
void tree_print_layer(const struct tree_layer *layer, size_t depth);
struct json_object *tree_json_layer(const struct tree_layer *layer);

/*
 * tree_export - draw an export's chain and its jobs, or add an object to @array.
 * @socket: as given by the user, or NULL.
 * Returns 1 when it was drawn, 0 when the daemon has none of that name or, unless @socket is
 * given, cannot be reached; or a negative errno.
 */
int tree_export(const char *name, const char *socket, struct json_object *array,
		struct qc_error *err);

#endif /* QCHAIN_TREE_H */
