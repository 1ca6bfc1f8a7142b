/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices of ours that stand still, after stop or because a daemon was killed, and what lies on
 * them: whoever reads that waits until they go on, which only this process can let them do.
 *
 * All ask the kernel; they run in the event loop.
 */
#ifndef QCHAIN_STANDING_H
#define QCHAIN_STANDING_H

#include "export.h"

/* Does the device of any export stand still? */
bool standing_any(void);

/* Does the file of @node lie on the device of @export, whether or not that stands still? */
bool standing_lies_on(struct node *node, const struct export *export);

/*
 * The export on whose device, which stands still, the file of any of the layers of @export lies;
 * NULL: there is none.
 */
struct export *standing_below_chain(const struct export *export);

/* Fail when the file of @node, or of any of the layers of @export, lies on such a device. */
int standing_check(struct node *node, struct qmp_error *error);
int standing_check_chain(const struct export *export, struct qmp_error *error);

/* The same for a file or a device that is no node, and need not be there yet. */
int standing_check_path(const char *path, struct qmp_error *error);

/* Fail when the file, or a new one, lies on the device of @export: it cannot be below that. */
int standing_check_loop(const char *path, const struct export *export, struct qmp_error *error);

/*
 * Read the headers of qcow2 nodes that have none yet, but of those that would have to be waited
 * for.  What cannot be read is logged.
 */
void standing_read_headers(void);

#endif /* QCHAIN_STANDING_H */
