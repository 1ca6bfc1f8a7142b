/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done while devices are suspended is done by a process of its own, so that the
 * daemon's death in the middle leaves none of them suspended.  That process holds what
 * qc_dm_serialise() gave, too: who takes it afterwards finds the work done.  It is
 * locked into memory and touches no file but those it is there for: any file system may be frozen.
 */
#ifndef QCHAIN_WINDOW_H
#define QCHAIN_WINDOW_H

#include "header.h"

/*
 * window_switch - put the loaded tables of @count devices to use, at one point in time: all are
 * suspended before the first one is resumed.
 * Returns how many of them, from the first on, have the new table; @err is set when that
 * is fewer than @count.  The others have the old one, and none is left suspended.
 */
size_t window_switch(const char *const *names, size_t count, struct qc_error *err);

/*
 * window_switch_or_back - the same for one device whose new table the kernel may refuse when it has
 * dropped the old one.  That is loaded again then: @sectors, @params with fd:N.
 */
int window_switch_or_back(const char *device, u64 sectors, const char *params,
			  struct qc_error *err);

/*
 * window_set_backing - write name and format of the backing file into an image's header.
 * @device: suspended meanwhile; NULL: nobody writes to the image.
 */
int window_set_backing(const char *device, struct qc_store *store, const char *backing,
		       const char *format, struct qc_error *err);

/*
 * window_pivot - put the table that is loaded for @device to use, and write name and format of the
 * backing file into the header of the image in @store, at one point in time.
 * @backing: NULL: none.  On failure neither has changed, and no table is loaded any more.
 */
int window_pivot(const char *device, struct qc_store *store, const char *backing,
		 const char *format, struct qc_error *err);

/* What is to have another size, and the table for it. */
struct window_resize {
	const char *device;
	struct qc_store *store;		/* of the top image, open for writing */
	enum qc_format format;
	u64 size;			/* of the image, in bytes */
	u64 below;			/* bytes that its backing file shows, 0 without one */
	const char *params;		/* of the table, with fd:N */
};

/*
 * window_resize - give the image of a device another size, and then the device.
 * On failure the image may have its new size: its header tells.  A device for which no table could
 * be loaded stays suspended.
 */
int window_resize(const struct window_resize *resize, struct qc_error *err);

/* An internal snapshot that is made or deleted. */
struct window_edit {
	struct qc_store *store;		/* of the qcow2 image, open for writing */
	int device;			/* in devices: it shows the image now; -1: none does */
	const char *create;		/* the name of a new one; NULL: delete */
	u32 date_sec, date_nsec;
	const char *delete_id, *delete_name;
};

/* A device that stands still meanwhile, and the table that it gets. */
struct window_device {
	const char *name;
	bool released;			/* an edit is about its top image */
	bool read_only;
	u64 sectors;
	const char *params;		/* with fd:N */
	bool relayered;			/* the table is not of the layers that it has now */
};

struct window_editing {
	const struct window_device *devices;
	const struct window_edit *edits;	/* done in this order */
	size_t nb_devices, nb_edits;
	bool stopped;			/* devices are suspended, and stay so, with tables loaded */
};

/*
 * window_edit - make and delete internal snapshots and put tables to use, at one point in time.
 * @switched: gets how many of the devices, from the first on, have their new table.
 * @failed: gets the edit that has failed, or NULL.
 * On failure what was made is deleted again, but for that of the devices that were switched.
 */
int window_edit(const struct window_editing *editing, size_t *switched,
		const struct window_edit **failed, struct qc_error *err);

#endif /* QCHAIN_WINDOW_H */
