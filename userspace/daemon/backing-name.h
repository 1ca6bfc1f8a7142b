/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of backing files, as they stand in headers. */
#ifndef QCHAIN_BACKING_NAME_H
#define QCHAIN_BACKING_NAME_H

#include "node.h"

/* Does @name, in the header of @overlay (a file name), mean the file of @protocol? */
bool backing_name_means(const char *overlay, const char *name, const struct node *protocol);

/*
 * The file of @protocol as it is to stand in the header of @overlay: by the name that it was given,
 * as QEMU writes it, if that means the same from where the overlay lies; else by its full path.
 * A new string, or NULL when there is no such file any more.
 */
char *backing_name_of(const struct node *protocol, const char *overlay);

#endif /* QCHAIN_BACKING_NAME_H */
