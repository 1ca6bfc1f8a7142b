/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening UNIX sockets. */
#ifndef QCHAIN_SOCKET_H
#define QCHAIN_SOCKET_H

#include <sys/types.h>

#include "qapi.h"

struct server_socket {
	int fd;			/* non-blocking, close-on-exec */
	char *path;		/* absolute, to be unlinked; NULL when it was passed in */
	dev_t dev;		/* what is unlinked must still be this */
	ino_t ino;
};

/*
 * socket_bind - listen at @path, for the daemon's user alone (mode 0600).
 * What lies at @path is replaced when it is a socket at which nobody listens any more, and never
 * otherwise; of two daemons that come at the same time one wins.
 */
int socket_bind(const char *path, struct server_socket *socket, struct qmp_error *error);

/* socket_adopt - use a listening UNIX socket that was passed in.  @name: for errors. */
int socket_adopt(int fd, const char *name, struct server_socket *socket, struct qmp_error *error);

/* Let members of a group connect, too (0660).  Not for a socket that was passed in. */
int socket_allow_group(const struct server_socket *socket, gid_t group, struct qmp_error *error);

/* Close, and unlink when it is still ours. */
void socket_close(struct server_socket *socket);

/*
 * socket_peer_allowed - may the peer of a connection command the daemon?
 * Root and the daemon's own user may, and the members of @group when it is not (gid_t)-1, as they
 * were when they connected.  Logs why not.
 */
bool socket_peer_allowed(int fd, gid_t group);

#endif /* QCHAIN_SOCKET_H */
