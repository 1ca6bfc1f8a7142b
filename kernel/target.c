// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device-mapper target "qchain": a qcow2 chain as a block device.
 *
 *	<start> <length> qchain <#layers> <layer>... [<#features> <feature>...]
 *	<layer>: <format> <device> <data device | ->		top layer first
 *
 * Documentation/admin-guide/device-mapper/qchain.rst describes it from the user's side.
 * This file is the dm face: constructor, status, messages, suspend.  Bios are io.c.
 */
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string_helpers.h>

#include "compat.h"
#include "job.h"
#include "target.h"

#define DM_MSG_PREFIX "qchain"

#define LAYER_ARGS	3
#define MAX_LAYERS	65535U	/* what a map entry of backing.c can name */
#define TABLE_PATH_MAX	4096

/* The table holds the device, too: for its limits, and so that `dmsetup deps` shows it. */
static int layer_hold_device(struct qc_target *target, unsigned int i,
			     const struct qc_image *image, qc_blk_mode mode)
{
	struct block_device *bdev = qc_store_bdev(image->store);
	char name[32];

	if (!bdev)
		return 0;
	snprintf(name, sizeof(name), "%u:%u", MAJOR(bdev->bd_dev), MINOR(bdev->bd_dev));
	return dm_get_device(target->ti, name, mode, &target->devices[i]);
}

static struct qc_image *layer_open(struct qc_target *target, unsigned int i,
				   struct dm_arg_set *args)
{
	const char *format = dm_shift_arg(args);
	char *name = (char *)dm_shift_arg(args);
	const char *data = dm_shift_arg(args);
	bool writable = test_bit(i, target->writable);
	struct qc_image *image;
	int error;

	target->ti->error = "layer format must be qcow2 or raw";
	if (strcmp(format, "qcow2") && strcmp(format, "raw"))
		return ERR_PTR(-EINVAL);
	target->ti->error = "a data device is not supported: write -";
	if (strcmp(data, "-"))
		return ERR_PTR(-EOPNOTSUPP);

	string_unescape_inplace(name, UNESCAPE_OCTAL);
	image = qc_image_open(!strcmp(format, "raw") ? QC_RAW : QC_QCOW2, name, writable,
			      !i || writable,
			      target->device, &target->uses[i], &target->ti->error);
	if (IS_ERR(image)) {
		DMERR("layer %u (%s): %s", i, name, target->ti->error);
		return image;
	}
	target->ti->error = "cannot hold a layer's device";
	error = layer_hold_device(target, i, image,
				  QC_BLK_READ | (writable ? QC_BLK_WRITE : 0));
	if (error) {
		qc_image_put(image);
		return ERR_PTR(error);
	}
	return image;
}

static int open_layers(struct qc_target *target, struct dm_arg_set *args)
{
	struct qc_image **lower, *image;
	unsigned int i, opened = 0;
	int error = 0;

	image = layer_open(target, 0, args);
	if (IS_ERR(image))
		return PTR_ERR(image);
	target->chain.top = image;
	if (target->layers == 1)
		return 0;

	lower = kvcalloc(target->layers - 1, sizeof(*lower), GFP_KERNEL);
	if (!lower)
		return -ENOMEM;
	for (i = 1; i < target->layers; i++) {
		image = layer_open(target, i, args);
		if (IS_ERR(image)) {
			error = PTR_ERR(image);
			break;
		}
		lower[opened++] = image;
		if (image == target->chain.top) {
			target->ti->error = "the top layer is named twice";
			error = -EINVAL;
			break;
		}
	}
	if (error) {
		while (opened--)
			qc_image_put(lower[opened]);
	} else {
		struct qc_backing *backing = qc_backing_get(lower, opened);

		target->ti->error = "out of memory";
		if (IS_ERR(backing)) {
			error = PTR_ERR(backing);
		} else {
			target->chain.backing = backing;
			target->chain.backing_size = qc_backing_size(backing);
		}
	}
	kvfree(lower);
	return error;
}

/* Two objects of one image must not be in one table, see qc_image_open(). */
static bool named_twice(const struct qc_target *target, unsigned int layer)
{
	unsigned int i;

	for (i = 0; i < target->layers; i++)
		if (i != layer &&
		    qc_image_same(qc_target_layer(target, i), qc_target_layer(target, layer)))
			return true;
	return false;
}

/* writable <layer>: a job is going to write to this one, too. */
static int parse_writable(struct qc_target *target, struct dm_arg_set *args)
{
	struct dm_arg layer[] = {
		{ 1, target->layers - 1, "writable needs the number of a backing layer" },
	};
	unsigned int i;

	if (dm_read_arg(layer, args, &i, &target->ti->error))
		return -EINVAL;
	__set_bit(i, target->writable);
	return 0;
}

static int parse_features(struct qc_target *target, struct dm_arg_set *args)
{
	static const struct dm_arg counts[] = {
		{ 0, 3 + 2 * MAX_LAYERS, "invalid number of features" },
	};
	struct dm_target *ti = target->ti;
	unsigned int count = 0;

	if (args->argc && dm_read_arg_group(counts, args, &count, &ti->error))
		return -EINVAL;
	while (count--) {
		const char *feature = dm_shift_arg(args);

		if (!strcmp(feature, "read_only")) {
			target->read_only = true;
		} else if (!strcmp(feature, "error_if_no_space")) {
			target->error_if_no_space = true;
		} else if (!strcmp(feature, "no_discard_passdown")) {
			target->no_discard_passdown = true;
		} else if (!strcmp(feature, "writable") && count) {
			count--;
			if (parse_writable(target, args))
				return -EINVAL;
		} else {
			ti->error = "unknown feature word";
			return -EINVAL;
		}
	}
	ti->error = "too many arguments";
	if (args->argc)
		return -EINVAL;
	if (target->read_only)
		bitmap_zero(target->writable, target->layers);
	else
		__set_bit(0, target->writable);
	return 0;
}

static void target_free(struct qc_target *target)
{
	unsigned int i;

	/* The table's uses do not outlive the device; the images are not closed yet. */
	for (i = 0; target->uses && i < target->layers; i++)
		qc_image_unuse(&target->uses[i]);
	kvfree(target->uses);
	/* Jobs first, so that the images are closed here and not in one of them. */
	if (target->device)
		qc_device_put_table(target->device);
	if (target->chain.top)
		qc_image_put(target->chain.top);
	if (target->chain.backing)
		qc_backing_put(target->chain.backing);
	for (i = 0; target->devices && i < target->layers; i++)
		if (target->devices[i])
			dm_put_device(target->ti, target->devices[i]);
	kvfree(target->devices);
	bitmap_free(target->writable);
	qc_chain_exit(&target->chain);
	if (target->wq)
		destroy_workqueue(target->wq);
	kfree(target);
}

static int construct(struct dm_target *ti, unsigned int argc, char **argv)
{
	static const struct dm_arg counts[] = {
		{ 1, MAX_LAYERS, "invalid number of layers" },
	};
	struct dm_arg_set args = { .argc = argc, .argv = argv }, features;
	struct qc_target *target;
	unsigned int i;
	int error;

	target = kzalloc(sizeof(*target), GFP_KERNEL);
	if (!target) {
		ti->error = "out of memory";
		return -ENOMEM;
	}
	target->ti = ti;
	qc_io_init(target);
	if (!(dm_table_get_mode(ti->table) & QC_BLK_WRITE))
		target->read_only = true;

	error = dm_read_arg(counts, &args, &target->layers, &ti->error);
	if (!error && args.argc < target->layers * LAYER_ARGS) {
		ti->error = "fewer layers than announced (each is: format, device, data device)";
		error = -EINVAL;
	}
	if (!error) {
		target->writable = bitmap_zalloc(target->layers, GFP_KERNEL);
		ti->error = "out of memory";
		error = target->writable ? 0 : -ENOMEM;
	}
	if (!error) {
		/* Features first: how the layers are opened depends on them. */
		features.argc = args.argc - target->layers * LAYER_ARGS;
		features.argv = args.argv + target->layers * LAYER_ARGS;
		error = parse_features(target, &features);
	}
	if (!error && ti->begin) {
		ti->error = "the target must start at sector 0";
		error = -EINVAL;
	}
	if (!error) {
		target->devices = kvcalloc(target->layers, sizeof(*target->devices), GFP_KERNEL);
		target->uses = kvcalloc(target->layers, sizeof(*target->uses), GFP_KERNEL);
		target->wq = alloc_workqueue("qchain-io", WQ_MEM_RECLAIM, 0);
		target->device = qc_device_get_table(dm_table_get_md(ti->table));
		ti->error = "out of memory";
		error = target->devices && target->uses && target->wq && target->device ?
			0 : -ENOMEM;
	}
	if (!error)
		error = qc_chain_init(&target->chain);
	if (!error)
		error = open_layers(target, &args);
	for (i = 1; !error && i < target->layers; i++) {
		ti->error = "a writable layer is named twice";
		if (test_bit(i, target->writable) && named_twice(target, i))
			error = -EINVAL;
	}
	if (!error && ti->len > target->chain.top->size >> SECTOR_SHIFT) {
		ti->error = "the table is longer than the top layer's virtual size";
		error = -EINVAL;
	}
	if (error) {
		target_free(target);
		return error;
	}
	ti->private = target;
	ti->per_io_data_size = sizeof(struct qc_io);
	ti->num_flush_bios = 1;
	ti->flush_supported = true;
	/*
	 * Also when read-only, where .map() refuses them: for a chain of files only, dm keeps the
	 * limits of the first table, and the next one may be writable.
	 */
	ti->num_discard_bios = 1;
	ti->discards_supported = true;
	ti->num_write_zeroes_bios = 1;
	return 0;
}

static int qchain_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	/* The device may be suspended. */
	unsigned int noio = memalloc_noio_save();
	int error = construct(ti, argc, argv);

	memalloc_noio_restore(noio);
	return error;
}

static void qchain_dtr(struct dm_target *ti)
{
	struct qc_target *target = ti->private;

	qc_jobs_forget_target(target->device, target);
	cancel_delayed_work_sync(&target->retry);
	cancel_work_sync(&target->event);
	target_free(target);
}

static bool has_aborted(const struct qc_target *target)
{
	unsigned int i;

	for (i = 0; i < target->layers; i++)
		if (qc_image_aborted(qc_target_layer(target, i)))
			return true;
	return false;
}

static const char *mode_name(const struct qc_target *target)
{
	if (qc_image_aborted(target->chain.top))
		return "flush-failed";
	if (target->read_only)
		return "ro";
	if (READ_ONCE(target->chain.top->corrupt))
		return "failed";
	if (READ_ONCE(target->out_of_space))
		return "out-of-space";
	return has_aborted(target) ? "flush-failed" : "rw";
}

static size_t emit_count(char *result, size_t maxlen, size_t sz, const struct qc_count *count,
			 u64 total)
{
	if (READ_ONCE(count->cursor) != U64_MAX)
		DMEMIT(" -/%llu", total);
	else
		DMEMIT(" %llu/%llu", READ_ONCE(count->sum), total);
	return sz;
}

static size_t emit_status(struct qc_target *target, char *result, size_t maxlen)
{
	struct qc_image *top = target->chain.top;
	bool qcow2 = top->format == QC_QCOW2;
	u64 store_size = qc_store_size(top->store);
	size_t sz = 0;

	DMEMIT("%s %llu", mode_name(target), qcow2 ? qc_cluster_size(top) >> SECTOR_SHIFT : 0);
	if (qcow2) {
		if (qc_image_tracked(top))
			qc_count_start(top);
		sz = emit_count(result, maxlen, sz, &top->mapped,
				(top->size + qc_cluster_size(top) - 1) >> top->cluster_bits);
		sz = emit_count(result, maxlen, sz, &top->used,
				(store_size + qc_cluster_size(top) - 1) >> top->cluster_bits);
	} else {
		DMEMIT(" -/- -/-");
	}
	DMEMIT(" %lu/%lu %u 0", qc_cache_bytes() >> 10, qc_cache_limit() >> 10, target->layers);
	return qc_job_status(target->device, result, maxlen, sz);
}

/*
 * A layer with its path as a table takes it: white space and backslashes as \ooo, since
 * libdevmapper doubles backslashes, so that dm's own escapes do not survive it.
 */
static size_t emit_layer(char *result, size_t maxlen, size_t sz, const struct qc_image *image)
{
	char *buf = kmalloc(TABLE_PATH_MAX, GFP_NOIO);
	char *path = buf ? qc_store_path(image->store, buf, TABLE_PATH_MAX) : ERR_PTR(-ENOMEM);
	int escaped = -1;

	DMEMIT(" %s ", image->format == QC_RAW ? "raw" : "qcow2");
	if (!IS_ERR(path) && sz < maxlen)
		escaped = string_escape_mem(path, strlen(path), result + sz, maxlen - sz,
					    ESCAPE_OCTAL, " \t\n\\");
	if (escaped < 0)
		DMEMIT("?");
	else
		sz += escaped;
	/* Too long for the buffer: dm sees that it is full and tries with a larger one. */
	if (sz >= maxlen && maxlen)
		result[maxlen - 1] = '\0';
	DMEMIT(" -");
	kfree(buf);
	return sz;
}

static size_t emit_table(struct qc_target *target, char *result, size_t maxlen)
{
	unsigned int i, features, lower = bitmap_weight(target->writable, target->layers);
	size_t sz = 0;

	DMEMIT("%u", target->layers);
	for (i = 0; i < target->layers; i++)
		sz = emit_layer(result, maxlen, sz, qc_target_layer(target, i));

	lower -= !target->read_only;
	features = target->read_only + target->error_if_no_space + target->no_discard_passdown +
		   2 * lower;
	if (features)
		DMEMIT(" %u", features);
	if (target->read_only)
		DMEMIT(" read_only");
	if (target->error_if_no_space)
		DMEMIT(" error_if_no_space");
	if (target->no_discard_passdown)
		DMEMIT(" no_discard_passdown");
	for (i = 1; i < target->layers && lower; i++)
		if (test_bit(i, target->writable))
			DMEMIT(" writable %u", i);
	return sz;
}

static void qchain_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			  char *result, unsigned int maxlen)
{
	struct qc_target *target = ti->private;

	switch (type) {
	case STATUSTYPE_INFO:
		emit_status(target, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		emit_table(target, result, maxlen);
		break;
	default:
		*result = '\0';
		break;
	}
}

/* Its metadata is to be edited, see qc_image_release(). */
static int release_layer(struct qc_target *target, const char *word)
{
	struct qc_device *device = target->device;
	unsigned int noio, layer;
	int error = kstrtouint(word, 10, &layer);
	struct qc_image *image;

	if (error || layer >= target->layers)
		return -EINVAL;
	image = qc_target_layer(target, layer);
	noio = memalloc_noio_save();
	mutex_lock(&device->mutex);
	error = -EBUSY;
	if (device->quiet && READ_ONCE(image->written_back))
		error = qc_image_release(image, device);
	mutex_unlock(&device->mutex);
	memalloc_noio_restore(noio);
	return error;
}

/* stream_cluster <layer> <base> <offset>; answers with where it ended. */
static int stream_cluster(struct qc_target *target, char **argv, char *result, unsigned int maxlen)
{
	unsigned int sz = 0;
	u64 pos;
	int error = kstrtou64(argv[3], 10, &pos);

	if (!error)
		error = qc_job_stream_cluster(target, argv + 1, &pos);
	if (error)
		return error;
	DMEMIT("%llu", pos);
	return 1;
}

static int qchain_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
			  unsigned int maxlen)
{
	struct qc_target *target = ti->private;

	if (argc == 1 && !strcasecmp(argv[0], "extended")) {
		qc_io_retry(target);
		return 0;
	}
	if (argc == 1 && !strcasecmp(argv[0], "drop_caches")) {
		if (target->chain.top->format == QC_QCOW2)
			qc_cache_drop_clean(&target->chain.top->cache);
		if (target->chain.backing)
			qc_backing_drop_clean(target->chain.backing);
		return 0;
	}
	if (argc == 2 && !strcasecmp(argv[0], "release"))
		return release_layer(target, argv[1]);
	if (!strncmp(argv[0], "job_", 4))
		return qc_job_message(target, argc, argv);
	if (argc == 4 && !strcasecmp(argv[0], "stream_cluster"))
		return stream_cluster(target, argv, result, maxlen);
	DMERR("unknown message: not extended, drop_caches, release, job_... or stream_cluster");
	return -EINVAL;
}

static void qchain_presuspend(struct dm_target *ti)
{
	struct qc_target *target = ti->private;

	qc_jobs_halt(target->device);
	qc_io_stop_waiting(target);
}

static void qchain_presuspend_undo(struct dm_target *ti)
{
	struct qc_target *target = ti->private;

	qc_io_start(target);
	qc_jobs_start(target->device, target);
}

/* Nothing is in flight: have everything on disk while nobody may write. */
static void qchain_postsuspend(struct dm_target *ti)
{
	struct qc_target *target = ti->private;
	struct qc_device *device = target->device;
	unsigned int i;

	qc_jobs_halt(device);	/* a mirror can have failed since */
	/* Also those that an earlier table has written to. */
	for (i = 0; i < target->layers; i++) {
		struct qc_image *image = qc_target_layer(target, i);

		if (!qc_commit_quiesce(image)) {
			qc_device_kept_written(device, image);
			continue;
		}
		if (!qc_image_aborted(image))
			DMERR("cannot write metadata back on suspend; it is kept for the resume");
		if (!i)
			qc_device_keep(device, image);
	}
	qc_device_owe(device, target->chain.top);
	mutex_lock(&device->mutex);
	device->quiet = true;
	mutex_unlock(&device->mutex);
}

static int qchain_preresume(struct dm_target *ti)
{
	struct qc_target *target = ti->private;
	struct qc_device *device = target->device;
	int error = qc_jobs_check(device, target);
	unsigned int i;

	if (error) {
		DMERR("the commit into the top layer has failed; load the table from before");
		return error;
	}
	mutex_lock(&device->mutex);
	for (i = 0; i < target->layers && !error; i++)
		if (qc_target_layer(target, i)->released)
			error = -ESTALE;
	if (!error)
		device->quiet = false;
	mutex_unlock(&device->mutex);
	if (error)
		DMERR("layer %u was released; load a table, the same one will do", i - 1);
	return error;
}

static bool is_layer(const struct qc_target *target, const struct qc_image *image)
{
	unsigned int i;

	for (i = 0; i < target->layers; i++)
		if (qc_target_layer(target, i) == image)
			return true;
	return false;
}

/* The top layer is written back like any, and what is no layer is not needed. */
static void let_go(struct qc_target *target)
{
	struct qc_image *image, *next;
	struct qc_device *device = target->device;

	qc_device_let_go(device, target->chain.top);
	/* Nobody else has the device's images: it does not go on yet. */
	list_for_each_entry_safe(image, next, &device->kept, kept)
		if (!is_layer(target, image))
			qc_device_let_go(device, image);
}

static void qchain_resume(struct dm_target *ti)
{
	struct qc_target *target = ti->private;
	unsigned int i;

	for (i = 0; i < target->layers; i++) {
		struct qc_image *image = qc_target_layer(target, i);

		if (test_bit(i, target->writable))
			image->discard_passdown = !target->no_discard_passdown;
		qc_commit_resume(image);
	}
	let_go(target);
	qc_io_start(target);
	qc_jobs_start(target->device, target);
}

static int qchain_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct qc_target *target = ti->private;
	unsigned int i;
	int r = 0;

	for (i = 0; i < target->layers && !r; i++)
		if (target->devices[i])
			r = fn(ti, target->devices[i], 0,
			       bdev_nr_sectors(target->devices[i]->bdev), data);
	return r;
}

/* The largest block in which every layer can be read and written without bouncing. */
static unsigned int largest_block(const struct qc_target *target)
{
	unsigned int i, block = SECTOR_SIZE;

	for (i = 0; i < target->layers; i++)
		block = max(block, qc_store_align(qc_target_layer(target, i)->store));
	return block;
}

static void qchain_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct qc_target *target = ti->private;
	const struct qc_image *top = target->chain.top;
	unsigned int block = largest_block(target);

	/* A disk that is no whole number of large blocks keeps small ones, and is bounced. */
	if (((u64)ti->len << SECTOR_SHIFT) & (block - 1))
		block = SECTOR_SIZE;
	limits->logical_block_size = block;
	if (!target->read_only && qc_store_stable_writes(top->store))
		qc_limit_stable_writes(limits);
	limits->physical_block_size = max(limits->physical_block_size, block);
	limits->io_min = max(limits->io_min, limits->physical_block_size);
	if (top->format == QC_QCOW2) {
		limits->discard_granularity = max_t(u64, qc_cluster_size(top), block);
		limits->io_opt = max_t(u64, qc_cluster_size(top), limits->io_min);
	} else {
		limits->discard_granularity = max(limits->discard_granularity, block);
	}
	qc_limit_discards(limits, UINT_MAX >> SECTOR_SHIFT);
	limits->max_write_zeroes_sectors = UINT_MAX >> SECTOR_SHIFT;
}

static struct target_type qchain_target = {
	.name = "qchain",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = qchain_ctr,
	.dtr = qchain_dtr,
	.map = qc_io_map,
	.end_io = qc_io_end,
	.status = qchain_status,
	.message = qchain_message,
	.presuspend = qchain_presuspend,
	.presuspend_undo = qchain_presuspend_undo,
	.postsuspend = qchain_postsuspend,
	.preresume = qchain_preresume,
	.resume = qchain_resume,
	.iterate_devices = qchain_iterate_devices,
	.io_hints = qchain_io_hints,
};

static void module_cleanup(void)
{
	qc_decompress_module_exit();
	qc_store_module_exit();
	qc_cache_module_exit();
}

static int __init qchain_init(void)
{
	int error;

	error = qc_cache_module_init();
	if (error)
		return error;
	error = qc_store_module_init();
	if (error) {
		qc_cache_module_exit();
		return error;
	}
	error = qc_decompress_module_init();
	if (!error)
		error = dm_register_target(&qchain_target);
	if (error)
		module_cleanup();
	return error;
}

static void __exit qchain_exit(void)
{
	dm_unregister_target(&qchain_target);
	module_cleanup();
}

module_init(qchain_init);
module_exit(qchain_exit);

MODULE_DESCRIPTION("device-mapper target for qcow2 chains");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dm-qchain");
