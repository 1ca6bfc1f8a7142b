/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who uses a block device, as /proc and sysfs tell.  What cannot be read is as if it was not there.
 * Strings are new ones, for the caller to free.
 */
#ifndef QCHAIN_USERS_H
#define QCHAIN_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Where it is mounted, in the mount namespace of this process, or NULL. */
char *qc_mount_point(dev_t dev);

/* A block device that lies on it and is none of the @count in @but, such as "dm-3", or NULL. */
char *qc_holder(dev_t dev, const dev_t *but, size_t count);

/* Does one of the @count devices in @holders lie on it? */
bool qc_held_by(dev_t dev, const dev_t *holders, size_t count);

/* Does this process, or any other one, have it open? */
bool qc_open_here(dev_t dev);
bool qc_open_elsewhere(dev_t dev);

#endif /* QCHAIN_USERS_H */
