// SPDX-License-Identifier: GPL-2.0-or-later
/* --pidfile. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "pidfile.h"
#include "util.h"

static int pidfile = -1;		/* kept open: it holds the lock */
static char *pidfile_path;		/* absolute */

static int fail(const char *path, int code, struct qmp_error *error)
{
	return qmp_fail(error, "cannot create PID file %s: %s", path, strerror(code));
}

/* Is @fd what lies at @path? */
static bool is_at(int fd, const char *path)
{
	struct stat there, ours;

	return !stat(path, &there) && !fstat(fd, &ours) && there.st_dev == ours.st_dev &&
	       there.st_ino == ours.st_ino;
}

int pidfile_create(const char *path, struct qmp_error *error)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	CLEANUP_FD int fd = -1;
	char text[32];
	int len;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return fail(path, errno, error);
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EAGAIN || errno == EACCES ?
		       qmp_fail(error, "cannot create PID file %s: another process has it locked",
				path) :
		       fail(path, errno, error);
	/* Its last owner may have removed it in between. */
	if (!is_at(fd, path))
		return fail(path, EAGAIN, error);
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || write(fd, text, len) != len)
		return fail(path, errno, error);
	pidfile_path = realpath(path, NULL);
	if (!pidfile_path)
		return fail(path, errno, error);
	pidfile = fd;
	fd = -1;
	return 0;
}

void pidfile_remove(void)
{
	if (pidfile < 0)
		return;
	if (is_at(pidfile, pidfile_path))
		unlink(pidfile_path);
	close(pidfile);
	pidfile = -1;
	free(qc_steal(pidfile_path));
}
