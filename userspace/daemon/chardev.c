// SPDX-License-Identifier: GPL-2.0-or-later
/* --chardev. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "chardev.h"
#include "keyval.h"
#include "qapi-define.h"
#include "util.h"

struct chardev {
	struct chardev *next;
	char *id;
	bool claimed;
	struct server_socket socket;
};

static struct chardev *chardevs;

static const struct qapi_type backend_kind = ENUM("ChardevBackendKind", "socket");
static const struct qapi_type options =
	OBJECT("ChardevOptions",
	       MEMBER("backend", backend_kind),
	       MEMBER("id", qapi_str),
	       OPTIONAL("path", qapi_str),
	       OPTIONAL("fd", qapi_str),
	       OPTIONAL("server", qapi_bool),
	       OPTIONAL("wait", qapi_bool));

static struct chardev *find(const char *id)
{
	for (struct chardev *c = chardevs; c; c = c->next)
		if (!strcmp(c->id, id))
			return c;
	return NULL;
}

/* The descriptor that a number or a name of the service manager means, or -1. */
static int find_fd(const char *name, struct qmp_error *error)
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(false, &names);
	unsigned long number;
	int fd = -1;
	char *end;

	for (int i = 0; i < count; i++) {
		if (fd < 0 && !strcmp(names[i], name))
			fd = SD_LISTEN_FDS_START + i;
		free(names[i]);
	}
	free(names);
	if (fd >= 0)
		return fd;
	errno = 0;
	number = strtoul(name, &end, 10);
	if (!*name || strspn(name, "0123456789") != strlen(name) || errno || number > INT32_MAX)
		return qmp_fail(error, "No file descriptor named '%s' has been passed", name);
	return number;
}

static int open_socket(struct json_object *arguments, struct server_socket *socket,
		       struct qmp_error *error)
{
	const char *path = qapi_get_str(arguments, "path", NULL);
	const char *fd_name = qapi_get_str(arguments, "fd", NULL);
	int fd;

	if (!path == !fd_name)
		return qmp_fail(error, "One of 'path' and 'fd' is required");
	if (!qapi_get_bool(arguments, "server", true))
		return qmp_fail(error, "Only sockets with 'server=on' are supported");
	if (qapi_get_bool(arguments, "wait", false))
		return qmp_fail(error, "Only sockets with 'wait=off' are supported");
	if (path)
		return socket_bind(path, socket, error);
	fd = find_fd(fd_name, error);
	return fd < 0 ? -1 : socket_adopt(fd, fd_name, socket, error);
}

int chardev_add(const char *option, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *arguments = NULL;
	struct chardev *chardev;
	const char *id;

	if (keyval_parse(option, "backend", &options, &arguments, error))
		return -1;
	id = qapi_get_str(arguments, "id", "");
	if (find(id))
		return qmp_fail(error, "Chardev with id '%s' already exists", id);
	chardev = calloc(1, sizeof(*chardev));
	if (!chardev)
		abort();
	if (open_socket(arguments, &chardev->socket, error)) {
		free(chardev);
		return -1;
	}
	chardev->id = strdup(id);
	if (!chardev->id)
		abort();
	chardev->next = chardevs;
	chardevs = chardev;
	return 0;
}

const struct server_socket *chardev_claim(const char *id, struct qmp_error *error)
{
	struct chardev *chardev = find(id);

	if (!chardev) {
		qmp_fail(error, "chardev \"%s\" not found", id);
		return NULL;
	}
	if (chardev->claimed) {
		qmp_fail(error, "Device '%s' is in use", id);
		return NULL;
	}
	chardev->claimed = true;
	return &chardev->socket;
}

void chardev_close_all(void)
{
	while (chardevs) {
		struct chardev *chardev = chardevs;

		chardevs = chardev->next;
		socket_close(&chardev->socket);
		free(chardev->id);
		free(chardev);
	}
}
