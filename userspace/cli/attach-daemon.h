/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attach and detach as clients of the daemon: a device is a node and an export of it there, both
 * made and removed together.
 */
#ifndef QCHAIN_ATTACH_DAEMON_H
#define QCHAIN_ATTACH_DAEMON_H

#include "attach.h"
#include "client.h"

/*
 * attach_by_daemon - have the daemon make the device of @image.
 * @options: as for qc_attach(); begin() and cancelled() are not asked: signals are held from the
 *	first change on, for the caller to release, and one that comes meanwhile undoes everything.
 * What the daemon cannot do is refused, and so is what qc_attach() refuses, in the same words.
 * On failure neither the node nor the device is left, unless the daemon does not answer any more.
 */
int attach_by_daemon(struct client *client, const char *image,
		     const struct qc_attach_options *options, struct qc_error *err);

/*
 * detach_by_daemon - have the daemon remove the device @name.
 * Returns 1 when that is done, and 0 when the device is none of the daemon's.  -EREMOTEIO: it
 * refuses, or not everything could be written.  Signals are held as above.
 */
int detach_by_daemon(struct client *client, const char *name, struct qc_error *err);

/* The longest name of a node, and room for it. */
#define ATTACHED_NODE_ROOM 32

/* The name of the node that attach_by_daemon() makes for the device; not the same for two. */
void attached_node_name(const char *device, char node[ATTACHED_NODE_ROOM]);

#endif /* QCHAIN_ATTACH_DAEMON_H */
