// SPDX-License-Identifier: GPL-2.0-or-later
/* Listening UNIX sockets. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "log.h"
#include "socket.h"
#include "util.h"

#define BACKLOG 128
#define LOCK_TRIES 100
#define LOCK_PAUSE_USEC 20000
#define GROUPS_MAX 65536	/* that a process can have */

static int fail_bind(const char *path, int code, struct qmp_error *error)
{
	return qmp_fail(error, "Failed to bind socket to %s: %s", path, strerror(code));
}

/*
 * The directory of @path, locked against another daemon that wants the same path, and the path
 * without symbolic links on the way.
 */
static int lock_directory(const char *path, char **absolute, struct qmp_error *error)
{
	CLEANUP_FREE char *for_dir = strdup(path), *for_base = strdup(path);
	CLEANUP_FREE char *directory = NULL;
	CLEANUP_FD int fd = -1;
	int ret;

	if (!for_dir || !for_base)
		return fail_bind(path, ENOMEM, error);
	directory = realpath(dirname(for_dir), NULL);
	if (!directory)
		return fail_bind(path, errno, error);
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_bind(path, errno, error);
	/* Another daemon has the lock for a moment only; whoever has it for longer is none. */
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK || i == LOCK_TRIES)
			return qmp_fail(error, "Failed to bind socket to %s: cannot lock %s: %s",
					path, directory, strerror(errno));
		usleep(LOCK_PAUSE_USEC);
	}
	if (asprintf(absolute, "%s/%s", strcmp(directory, "/") ? directory : "",
		     basename(for_base)) < 0)
		return fail_bind(path, ENOMEM, error);
	ret = fd;
	fd = -1;
	return ret;
}

/* Is there a socket at which nobody listens? */
static bool is_stale(const struct sockaddr_un *address)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	return fd >= 0 && !lstat(address->sun_path, &st) && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

/* There is no moment at which more than the owner may connect. */
static int bind_private(int fd, const struct sockaddr_un *address)
{
	mode_t mask = umask(0177);
	int ret = bind(fd, (const struct sockaddr *)address, sizeof(*address));
	int code = errno;

	umask(mask);
	errno = code;
	return ret;
}

int socket_bind(const char *path, struct server_socket *s, struct qmp_error *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	CLEANUP_FD int fd = -1, directory = -1;
	CLEANUP_FREE char *absolute = NULL;
	struct stat st;

	if (strlen(path) >= sizeof(address.sun_path))
		return qmp_fail(error, "UNIX socket path '%s' is too long", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	directory = lock_directory(path, &absolute, error);
	if (directory < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail_bind(path, errno, error);
	if (bind_private(fd, &address) < 0) {
		int code = errno;

		if (code != EADDRINUSE || !is_stale(&address))
			return fail_bind(path, code, error);
		if (unlink(path) < 0 || bind_private(fd, &address) < 0)
			return fail_bind(path, errno, error);
	}
	if (listen(fd, BACKLOG) < 0 || lstat(path, &st) < 0) {
		int code = errno;

		unlink(path);
		return fail_bind(path, code, error);
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	s->path = qc_steal(absolute);
	s->fd = fd;
	fd = -1;
	return 0;
}

int socket_adopt(int fd, const char *name, struct server_socket *s, struct qmp_error *error)
{
	struct sockaddr_un address;
	socklen_t len = sizeof(address);
	int type = 0, listening = 0;
	int flags;

	if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return qmp_fail(error, "File descriptor '%s' is not a socket", name);
	len = sizeof(type);
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	len = sizeof(listening);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
	if (address.sun_family != AF_UNIX || type != SOCK_STREAM || !listening)
		return qmp_fail(error, "File descriptor '%s' is not a listening UNIX socket",
				name);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return qmp_fail(error, "File descriptor '%s' cannot be used: %s", name,
				strerror(errno));
	*s = (struct server_socket){ .fd = fd };
	return 0;
}

int socket_allow_group(const struct server_socket *s, gid_t group, struct qmp_error *error)
{
	if (!s->path)
		return 0;
	if (chown(s->path, -1, group) < 0 || chmod(s->path, 0660) < 0)
		return qmp_fail(error, "Cannot give socket %s to the group %u: %s", s->path,
				(unsigned int)group, strerror(errno));
	return 0;
}

void socket_close(struct server_socket *s)
{
	struct stat st;

	if (s->path && !lstat(s->path, &st) && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
	close(s->fd);
	free(qc_steal(s->path));
}

/* Has the peer @group among its supplementary groups? */
static bool peer_has_group(int fd, gid_t group)
{
	CLEANUP_FREE gid_t *groups = malloc(GROUPS_MAX * sizeof(*groups));
	socklen_t len = GROUPS_MAX * sizeof(*groups);

	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(*groups); i++)
		if (groups[i] == group)
			return true;
	return false;
}

bool socket_peer_allowed(int fd, gid_t group)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		log_line(LOG_WARNING, "a client that cannot be identified was refused: %s",
			 strerror(errno));
		return false;
	}
	if (!peer.uid || peer.uid == geteuid())
		return true;
	if (group != (gid_t)-1 && (peer.gid == group || peer_has_group(fd, group)))
		return true;
	log_line(LOG_WARNING, "process %d of user %u was refused; allowed are root, user %u%s",
		 (int)peer.pid, (unsigned int)peer.uid, (unsigned int)geteuid(),
		 group == (gid_t)-1 ? "; see allowed-group" : " and the allowed group");
	return false;
}
