/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device-mapper devices of the qchain target, through libdevmapper.
 *
 * Functions need root, sleep, and return 0 or a negative errno with @err set.
 * libdevmapper keeps state per process: one thread at a time.
 */
#ifndef QCHAIN_DM_H
#define QCHAIN_DM_H

#include "error.h"
#include "util.h"

#define QC_DM_UUID_PREFIX "QCHAIN-"
#define QC_DM_MAX_NAME 120	/* with the prefix it has to fit into dm's 128 for a uuid */

struct qc_dm_device {
	bool exists;
	bool ours;		/* the uuid has our prefix */
	bool live;		/* it has a table in use */
	bool loaded;		/* it has another table, for the next qc_dm_resume() */
	bool suspended;
	bool read_only;
	int open_count;
	u32 major, minor;
	u32 event_nr;		/* how many events it has had; 0 when it is new */
};

/* A name that dm, udev and a shell take as it is.  -EINVAL says what is wrong. */
int qc_dm_check_name(const char *name, struct qc_error *err);

/*
 * Keep other qchain programs from creating or removing devices until *@fd is closed
 * (also by the end of the process).  Waits.
 */
int qc_dm_serialise(int *fd, struct qc_error *err);

/*
 * Keep other programs that have devices made by a daemon from doing so until *@fd is closed: the
 * daemon itself takes the other lock meanwhile.  Waits.
 */
int qc_dm_serialise_clients(int *fd, struct qc_error *err);

/* What there is of that name; when there is nothing @device is all zeroes, which is no error. */
int qc_dm_query(const char *name, struct qc_dm_device *device, struct qc_error *err);

/*
 * Create a device with a table and start it; its node exists when this returns.  On failure
 * the device is gone again and @err has the module's own reason where the kernel log tells.
 */
int qc_dm_create(const char *name, u64 sectors, const char *params, bool read_only,
		 struct qc_error *err);

/*
 * Load a table for a device; qc_dm_resume() puts it to use.  One that was loaded before is
 * replaced.  -EINVAL etc. with the module's own reason; the table in use is untouched.
 */
int qc_dm_load(const char *name, u64 sectors, const char *params, bool read_only,
	       struct qc_error *err);

/* Forget a table that was loaded; fine when there is none. */
int qc_dm_clear(const char *name, struct qc_error *err);

/*
 * Stop I/O: what is in flight ends, a file system on the device is frozen, and everything
 * is in the images when this returns 0.  Nothing waits for I/O that this process would have to
 * do on the device itself: see that it need not.
 */
int qc_dm_suspend(const char *name, struct qc_error *err);

/*
 * Let I/O go on, with the loaded table if there is one.  A device that runs is suspended for
 * that by the kernel in the same call: a process that is killed here leaves it running, with
 * one table or the other.  On failure it runs with the old table, if it can run at all, and
 * the loaded one is gone.
 */
int qc_dm_resume(const char *name, struct qc_error *err);

/*
 * The same for a suspended device that must not run with its old table.  On failure it is
 * suspended, and may have lost the loaded one.
 */
int qc_dm_resume_new(const char *name, struct qc_error *err);

/* Remove a device; its node and its table are gone when this returns.  -EBUSY when open. */
int qc_dm_remove(const char *name, struct qc_error *err);

/* Whether udev makes the nodes here, and opens devices when they change. */
bool qc_dm_udev_runs(void);

/*
 * Make the node agree with whether the device exists: where no udev runs, a program that is killed
 * in its last step leaves a device without a node, or a node without a device.
 */
int qc_dm_fix_node(const char *name, struct qc_error *err);

/* Path of the device's node, a new string; NULL without memory. */
char *qc_dm_node(const char *name);

/*
 * Table or status line of the device's only target, without start, length and type, as a new
 * string, and its length.  -ENODEV when there is no such device, or none with a table in use.
 */
int qc_dm_table(const char *name, u64 *sectors, char **params, struct qc_error *err);
int qc_dm_status(const char *name, u64 *sectors, char **params, struct qc_error *err);

/*
 * Send a message to the target.  What the target returns, such as -EBUSY, -ENOENT or -EROFS, is
 * returned without a further reason; @err names the message.
 */
int qc_dm_message(const char *name, const char *message, struct qc_error *err);

/* The same; what the target answers is in *@answer, a new string, empty when it says nothing. */
int qc_dm_ask(const char *name, const char *message, char **answer, struct qc_error *err);

struct qc_dm_names {
	char **list;		/* sorted */
	size_t count;
};

/* All devices with our prefix. */
int qc_dm_list(struct qc_dm_names *names, struct qc_error *err);
void qc_dm_names_free(struct qc_dm_names *names);
#define CLEANUP_DM_NAMES __attribute__((cleanup(qc_dm_names_free)))

#endif /* QCHAIN_DM_H */
