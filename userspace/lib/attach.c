// SPDX-License-Identifier: GPL-2.0-or-later
/* Attach and detach. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "attach.h"
#include "check.h"
#include "table.h"
#include "users.h"

#define CHECK_TRIES 25		/* of 200 ms, as libdevmapper tries to remove a device */

/* Does a layer of the device lie where @store does? */
static bool device_uses(const char *name, const struct qc_store *store)
{
	CLEANUP_TABLE struct qc_table table = { 0 };
	CLEANUP_FREE char *params = NULL;
	u64 sectors;

	if (qc_dm_table(name, &sectors, &params, NULL) < 0 ||
	    qc_table_parse(params, name, &table, NULL) < 0)
		return false;
	for (size_t i = 0; i < table.count; i++)
		if (qc_store_is_at(store, table.layers[i].device))
			return true;
	return false;
}

char *qc_find_user(const struct qc_store *store)
{
	CLEANUP_DM_NAMES struct qc_dm_names names = { 0 };

	if (qc_dm_list(&names, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < names.count; i++)
		if (device_uses(names.list[i], store))
			return qc_steal(names.list[i]);
	return NULL;
}

/* A lock conflict is easier to resolve with the name of our own device that is its cause. */
static void explain_busy(const char *image, struct qc_error *err)
{
	CLEANUP_STORE struct qc_store *store = NULL;
	CLEANUP_FREE char *user = NULL;
	char remedy[QC_DM_MAX_NAME + 64];

	if (!err || qc_store_open(image, 0, &store, NULL) < 0)
		return;
	user = qc_find_user(store);
	if (!user)
		return;
	snprintf(remedy, sizeof(remedy), "detach that first: qchain detach %s", user);
	qc_fail(err, EBUSY, image, remedy, "is in use by the attached device '%s'", user);
}

/*
 * Make sure that the name is free.  What a killed attach left, a device without a live
 * table, goes away here; nobody can have used it.  Called serialised.
 */
static int claim_name(const char *name, struct qc_error *err)
{
	struct qc_dm_device device;
	int ret;

	ret = qc_dm_query(name, &device, err);
	if (ret < 0 || !device.exists)
		return ret;
	if (device.ours && !device.live)
		return qc_dm_remove(name, err);
	/* One that was killed just before its end may have left the device without a node. */
	if (device.ours)
		qc_dm_fix_node(name, NULL);
	return qc_fail(err, EEXIST, name, device.ours ?
		       "detach it first, or choose another with --name" :
		       "choose another with --name",
		       device.ours ? "a device of this name is attached already" :
				     "a device-mapper device of this name exists already");
}

static int release_stale(const char *name, struct qc_error *err)
{
	CLEANUP_FD int serial = -1;
	int ret;

	ret = qc_dm_serialise(&serial, err);
	return ret ? ret : claim_name(name, err);
}

int qc_check_writable(const struct qc_chain *chain, struct qc_error *err)
{
	const struct qc_layer *top = &chain->layers[0];

	return top->header ? qc_header_sound(top->header, top->store->path, err) : 0;
}

static int check_size(const struct qc_chain *chain, struct qc_error *err)
{
	if (qc_table_sectors(chain))
		return 0;
	return qc_fail(err, EINVAL, chain->layers[0].store->path,
		       "give it a size: qemu-img resize", "the image has size 0");
}

/* Is it marked dirty, and nothing worse? */
static bool is_dirty(const struct qc_header *h)
{
	return h && h->incompatible & QC_INCOMPAT_DIRTY &&
	       !(h->incompatible & QC_INCOMPAT_CORRUPT);
}

/* "Dirty bit": refcounts may be wrong and are repaired before anything else. */
static int repair_dirty(const struct qc_layer *top, const struct qc_attach_options *options,
			struct qc_error *err)
{
	const struct qc_check_options check = { .repair = QC_REPAIR_ALL };
	const char *path = top->store->path;
	struct qc_check_result result;
	char message[256];
	int ret;

	ret = qc_check(top->store, top->header, &check, &result, err);
	if (ret < 0)
		return ret;
	if (result.corruptions)
		return qc_fail(err, EUCLEAN, path,
			       "see qchain check, or use --read-only to save data",
			       "was left dirty, and %llu errors in it cannot be repaired",
			       result.corruptions);
	snprintf(message, sizeof(message),
		 "was left dirty; repaired (%llu leaked clusters, %llu errors)",
		 result.leaks_fixed, result.corruptions_fixed);
	if (options->note)
		options->note(options->ctx, path, message);
	return 0;
}

static int prepare_top(const struct qc_layer *top, const struct qc_attach_options *options,
		       const struct qc_chain *chain, struct qc_error *err)
{
	int ret;

	if (is_dirty(top->header)) {
		ret = repair_dirty(top, options, err);
		if (ret < 0)
			return ret;
	}
	ret = qc_check_writable(chain, err);
	if (ret < 0)
		return ret;
	return qc_store_flush(top->store, err);
}

/* Writing to a device that is mounted below would destroy it; locks do not tell. */
static int check_unclaimed(const char *image, struct qc_error *err)
{
	CLEANUP_STORE struct qc_store *store = NULL;

	return qc_store_open(image, QC_OPEN_WRITE | QC_OPEN_EXCL, &store, err);
}

int qc_attach_chain(const struct qc_chain *chain, const struct qc_attach_options *options,
		    struct qc_error *err)
{
	unsigned int table_flags = options->table_flags | QC_TABLE_BY_FD |
				   (options->read_only ? QC_TABLE_READ_ONLY : 0);
	CLEANUP_FREE char *params = NULL;
	CLEANUP_FD int serial = -1;
	int ret;

	ret = check_size(chain, err);
	if (ret < 0)
		return ret;
	if (!options->read_only) {
		ret = prepare_top(&chain->layers[0], options, chain, err);
		if (ret < 0)
			return ret;
	}
	ret = qc_table_build(chain, table_flags, &params, err);
	if (!ret)
		ret = qc_dm_serialise(&serial, err);
	if (!ret)
		ret = claim_name(options->name, err);
	if (ret < 0)
		return ret;
	if (options->begin)
		options->begin(options->ctx);
	ret = qc_dm_create(options->name, qc_table_sectors(chain), params, options->read_only,
			   err);
	if (!ret && options->cancelled && options->cancelled(options->ctx)) {
		qc_dm_remove(options->name, NULL);
		ret = qc_fail(err, ECANCELED, options->name, NULL, "interrupted");
	}
	return ret;
}

/* The chain, locked, of an image of which a device of that name could be made. */
static int open_chain(const char *image, const struct qc_attach_options *options,
		      struct qc_chain **chain, struct qc_error *err)
{
	unsigned int chain_flags = QC_CHAIN_LOCK | (options->read_only ? 0 : QC_CHAIN_WRITE);
	int ret;

	ret = qc_dm_check_name(options->name, err);
	if (ret < 0)
		return ret;
	ret = release_stale(options->name, err);
	if (ret < 0)
		return ret;

	if (!options->read_only) {
		ret = check_unclaimed(image, err);
		if (ret == -EBUSY)
			explain_busy(image, err);
		if (ret < 0)
			return ret;
	}
	ret = qc_chain_open(image, options->format, chain_flags, chain, err);
	if (ret == -EBUSY)
		explain_busy(image, err);
	return ret;
}

int qc_attach(const char *image, const struct qc_attach_options *options, struct qc_error *err)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	int ret = open_chain(image, options, &chain, err);

	return ret < 0 ? ret : qc_attach_chain(chain, options, err);
}

int qc_attach_prepare(const char *image, const struct qc_attach_options *options,
		      struct qc_attach_facts *facts, struct qc_error *err)
{
	CLEANUP_CHAIN struct qc_chain *chain = NULL;
	const struct qc_layer *top;
	int ret;

	ret = open_chain(image, options, &chain, err);
	if (!ret)
		ret = check_size(chain, err);
	if (ret < 0)
		return ret;
	top = &chain->layers[0];
	*facts = (struct qc_attach_facts){
		.format = top->format,
		.is_bdev = top->store->is_bdev,
	};
	return options->read_only ? 0 : prepare_top(top, options, chain, err);
}

static dev_t dev_of(const struct qc_dm_device *device)
{
	return makedev(device->major, device->minor);
}

static int in_use(const char *name, const struct qc_dm_device *device, const dev_t *going,
		  size_t count, struct qc_error *err)
{
	CLEANUP_FREE char *mounted = qc_mount_point(dev_of(device));
	CLEANUP_FREE char *held = qc_holder(dev_of(device), going, count);

	if (mounted)
		return qc_fail(err, EBUSY, name, "umount it first", "is in use: mounted on %s",
			       mounted);
	if (held)
		return qc_fail(err, EBUSY, name, "remove that first",
			       "is in use: the block device %s lies on it", held);
	return qc_fail(err, EBUSY, name, "stop the program that has it open (see fuser)",
		       "is in use");
}

/*
 * A flush makes the module write everything back and tells whether that succeeded, which
 * removing would not.  Opened for reading only: closing a writer would wake udev.
 */
static int write_back(const char *name, bool *broken, struct qc_error *err)
{
	CLEANUP_FREE char *params = NULL;
	CLEANUP_FREE char *node = NULL;
	CLEANUP_FD int fd = -1;
	struct qc_status status;
	u64 sectors;
	int ret;

	ret = qc_dm_status(name, &sectors, &params, err);
	if (!ret)
		ret = qc_status_parse(params, name, &status, err);
	if (ret < 0)
		return ret;
	*broken = !strcmp(status.mode, "failed") || !strcmp(status.mode, "flush-failed");
	if (strcmp(status.mode, "rw"))
		return 0;
	node = qc_dm_node(name);
	if (!node)
		return qc_fail_nomem(err, name);
	if (access(node, F_OK) < 0) {
		ret = qc_dm_fix_node(name, err);
		if (ret < 0)
			return ret;
	}
	fd = open(node, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return qc_fail_errno(err, errno, node, "cannot open");
	*broken = fsync(fd) < 0;
	return 0;
}

/*
 * Does somebody have the device open, besides this process and the devices in @going?  What these
 * have is not counted exactly: a device that they use is searched for other users.
 */
static bool has_user(const struct qc_dm_device *device, const dev_t *going, size_t count)
{
	if (device->open_count <= 0)
		return false;
	return (!qc_held_by(dev_of(device), going, count) && !qc_open_here(dev_of(device))) ||
	       qc_open_elsewhere(dev_of(device));
}

/* The same, of what is known to last, and without a search among processes. */
static bool has_lasting_user(const struct qc_dm_device *device, const dev_t *going, size_t count)
{
	CLEANUP_FREE char *mounted = NULL;
	CLEANUP_FREE char *held = NULL;

	if (device->open_count <= 0)
		return false;
	mounted = qc_mount_point(dev_of(device));
	held = qc_holder(dev_of(device), going, count);
	return mounted || held;
}

/*
 * Where udev runs it opens every device shortly after a writer has closed it: that alone is no
 * reason to give up.
 */
int qc_detach_check(const char *name, const dev_t *going, size_t count, struct qc_error *err)
{
	const struct timespec pause = { .tv_nsec = 200000000 };
	struct qc_dm_device device;
	int ret;

	for (int i = 0; i < CHECK_TRIES; i++) {
		ret = qc_dm_query(name, &device, err);
		if (ret < 0)
			return ret;
		if (!device.exists || !device.ours)
			return 0;
		if (has_lasting_user(&device, going, count))
			break;
		if (!has_user(&device, going, count))
			return 0;
		if (!qc_dm_udev_runs())
			break;
		nanosleep(&pause, NULL);
	}
	return in_use(name, &device, going, count, err);
}

/*
 * Wait until nobody has a suspended device open: who has would write to it once it goes on, which
 * is not to be when it cannot be removed then.  Where udev runs that can be udev.
 */
static int wait_closed(const char *name, struct qc_dm_device *device, struct qc_error *err)
{
	const struct timespec pause = { .tv_nsec = 200000000 };
	int ret;

	for (int i = 0; device->open_count > 0 && i < CHECK_TRIES; i++) {
		nanosleep(&pause, NULL);
		ret = qc_dm_query(name, device, err);
		if (ret < 0)
			return ret;
	}
	return device->open_count > 0 ? in_use(name, device, NULL, 0, err) : 0;
}

int qc_detach(const char *name, struct qc_error *err)
{
	struct qc_dm_device device;
	CLEANUP_FD int serial = -1;
	bool broken = false, resumed = false;
	int ret;

	ret = qc_dm_serialise(&serial, err);
	if (!ret)
		ret = qc_dm_query(name, &device, err);
	if (ret < 0)
		return ret;
	if (!device.exists) {
		/* Also the node that a killed detach left. */
		ret = qc_dm_fix_node(name, err);
		if (ret < 0)
			return ret;
		return qc_fail(err, ENODEV, name, "list what there is with: qchain tree",
			       "no such device");
	}
	if (!device.ours)
		return qc_fail(err, ENODEV, name, "remove it with: dmsetup remove",
			       "was not attached by qchain");
	if ((device.open_count > 0 && !qc_dm_udev_runs()) || has_lasting_user(&device, NULL, 0))
		return in_use(name, &device, NULL, 0, err);
	if (device.live && device.suspended) {
		ret = wait_closed(name, &device, err);
		if (ret < 0)
			return ret;
		/*
		 * What could not be written on suspend is in memory, and nobody would be told of
		 * it.
		 */
		qc_dm_clear(name, NULL);
		resumed = !qc_dm_resume(name, NULL);
	}
	if (device.live && (resumed || !device.suspended))
		ret = write_back(name, &broken, err);
	if (!ret)
		ret = qc_dm_remove(name, err);
	if (ret < 0 && resumed)
		qc_dm_suspend(name, NULL);
	if (ret == -EBUSY)
		return in_use(name, &device, NULL, 0, err);
	if (!ret && broken)
		return qc_fail(err, EIO, name, "check its top image: qchain check",
			       "was detached, but not everything could be written to the image");
	return ret;
}
