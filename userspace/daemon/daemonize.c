// SPDX-License-Identifier: GPL-2.0-or-later
/* --daemonize. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemonize.h"
#include "util.h"

static int ready = -1;			/* the parent reads the other end */

static void wait_for_child(int fd) __attribute__((noreturn));

/* Nothing but the end of the pipe: the child has failed, and said why. */
static void wait_for_child(int fd)
{
	ssize_t len;
	char byte;

	do
		len = read(fd, &byte, 1);
	while (len < 0 && errno == EINTR);
	_exit(len == 1 ? 0 : 1);
}

int daemonize_begin(struct qmp_error *error)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return qmp_fail(error, "cannot daemonize: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return qmp_fail(error, "cannot daemonize: %s", strerror(errno));
	if (pid) {
		close(ends[1]);
		wait_for_child(ends[0]);
	}
	close(ends[0]);
	ready = ends[1];
	setsid();
	return 0;
}

int daemonize_ready(struct qmp_error *error)
{
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || chdir("/") < 0)
		return qmp_fail(error, "cannot daemonize: %s", strerror(errno));
	if (write(ready, "", 1) != 1)
		return qmp_fail(error, "cannot daemonize: the parent is gone");
	close(ready);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	return 0;
}
