// SPDX-License-Identifier: GPL-2.0-or-later
/* blockdev-create: new files, and qcow2 images on nodes, as jobs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* fallocate */
#endif
#include <errno.h>
#include <fcntl.h>

#include "create-job.h"
#include "create.h"
#include "job.h"
#include "locks.h"
#include "log.h"
#include "node-open.h"
#include "schema-block.h"
#include "standing.h"

/* What one step allocates or writes: the daemon does nothing else meanwhile. */
#define FALLOC_STEP (1ULL << 30)
#define FULL_STEP (4ULL << 20)

static const char *preallocation(struct json_object *options)
{
	return qapi_get_str(options, "preallocation", "off");
}

/* Up to UINT64_MAX, unlike qapi_get_int(). */
static u64 get_size(struct json_object *options)
{
	return json_object_get_uint64(json_object_object_get(options, "size"));
}

/* --- files ------------------------------------------------------------------------------------ */

struct new_file {
	struct json_object *options;
	struct qc_store *store;		/* NULL before the first step */
	bool created;			/* it was not there before */
	u64 size, done;
};

static int cannot_create(const char *filename, int ret, struct qmp_error *error)
{
	return qmp_fail(error, "Could not create '%s': %s", filename, strerror(-ret));
}

static int open_file(struct new_file *file, const char *filename, struct qmp_error *error)
{
	CLEANUP_FREE char *path = qc_absolute_name(filename);
	int ret;

	if (!path)
		return qmp_fail(error, "Out of memory");
	if (!*filename)
		return cannot_create(filename, -ENOENT, error);
	if (standing_check_path(path, error))
		return -1;
	ret = qc_store_open(path, QC_OPEN_WRITE | QC_OPEN_CREATE, &file->store, NULL);
	file->created = !ret;
	if (ret == -EEXIST)
		ret = qc_store_open(path, QC_OPEN_WRITE, &file->store, NULL);
	if (ret == -EINVAL || (!ret && file->store->is_bdev))
		return qmp_fail(error, "'file' driver requires '%s' to be a regular file",
				filename);
	return ret ? cannot_create(filename, ret, error) : 0;
}

static int set_size(struct new_file *file, struct qmp_error *error)
{
	struct qc_error err;

	if (file->size > INT64_MAX)
		return qmp_fail(error, "Could not resize file: %s", strerror(EINVAL));
	/* What was there is not to show in the new one. */
	if (qc_store_resize(file->store, 0, &err) < 0 ||
	    qc_store_resize(file->store, file->size, &err) < 0)
		return qmp_fail(error, "Could not resize file: %s", strerror(err.code));
	return 0;
}

static int begin_file(struct new_file *file, struct qmp_error *error)
{
	const char *denied;

	if (!strcmp(preallocation(file->options), "metadata"))
		return qmp_fail(error, "Unsupported preallocation mode: metadata");
	file->size = get_size(file->options);
	if (open_file(file, qapi_get_str(file->options, "filename", ""), error))
		return -1;
	denied = qc_lock_denied(file->store, QC_LOCK_WRITE);
	if (denied)
		return qmp_fail(error, "%s", denied);
	if (qc_lock(file->store, QC_LOCK_WRITE, NULL) < 0)
		return qmp_fail(error, "Failed to lock byte 100");
	return set_size(file, error);
}

static int write_zeroes(struct new_file *file, u64 len, struct qmp_error *error)
{
	CLEANUP_FREE void *zeroes = calloc(1, len);
	struct qc_error err;

	if (!zeroes)
		return qmp_fail(error, "Out of memory");
	if (qc_store_write(file->store, file->done, zeroes, len, &err) < 0)
		return qmp_fail(error, "Could not write zeros for preallocation: %s",
				strerror(err.code));
	if (qc_store_flush(file->store, &err) < 0)
		return qmp_fail(error, "Could not flush file to disk: %s", strerror(err.code));
	return 0;
}

static int step_file(void *data, struct qmp_error *error)
{
	struct new_file *file = data;
	bool full = !strcmp(preallocation(file->options), "full");
	u64 len;

	if (!file->store) {
		if (begin_file(file, error))
			return -1;
		return strcmp(preallocation(file->options), "off") && file->size;
	}
	len = full ? FULL_STEP : FALLOC_STEP;
	if (len > file->size - file->done)
		len = file->size - file->done;
	if (full && write_zeroes(file, len, error))
		return -1;
	if (!full && fallocate(file->store->fd, 0, file->done, len) < 0)
		return qmp_fail(error, "Could not preallocate new data: %s", strerror(errno));
	file->done += len;
	return file->done < file->size;
}

/* Of a file that it has opened; before, that is refused. */
static bool file_waits(void *data)
{
	const struct new_file *file = data;
	struct qmp_error ignored;

	return file->store && standing_check_path(file->store->path, &ignored);
}

static void end_file(void *data, bool failed)
{
	struct new_file *file = data;

	if (failed && file->created && file_waits(file))
		log_line(LOG_WARNING, "%s: left, as it lies on a device that stands still",
			 file->store->path);
	else if (failed && file->created)
		unlink(file->store->path);
	qc_store_close(file->store);
	json_object_put(file->options);
	free(file);
}

static const struct job_work file_work = {
	.step = step_file, .waits = file_waits, .end = end_file,
};

/* --- qcow2 ------------------------------------------------------------------------------------ */

/* Ranges that the library would refuse too, in QEMU's words and before anything is touched. */
static int check_numbers(struct json_object *options, struct qmp_error *error)
{
	u64 cluster_size = qapi_get_int(options, "cluster-size", 65536);
	int64_t bits = qapi_get_int(options, "refcount-bits", 16);

	if (get_size(options) % QC_SECTOR_SIZE)
		return qmp_fail(error, "Image size must be a multiple of %d bytes",
				QC_SECTOR_SIZE);
	if (get_size(options) > INT64_MAX)
		return qmp_fail(error, "Could not resize image: Image size cannot be negative");
	if (cluster_size < 1U << QC_MIN_CLUSTER_BITS || cluster_size > 1U << QC_MAX_CLUSTER_BITS ||
	    cluster_size & (cluster_size - 1))
		return qmp_fail(error,
				"Cluster size must be a power of two between %d and %dk",
				1 << QC_MIN_CLUSTER_BITS, 1 << (QC_MAX_CLUSTER_BITS - 10));
	if (bits < 1 || bits > 64 || bits & (bits - 1))
		return qmp_fail(error,
				"Refcount width must be a power of two and may not exceed 64 bits");
	return 0;
}

static int check_version2(const struct qc_create_options *o, struct qmp_error *error)
{
	static const char remedy[] = "(use version=v3 or greater)";

	if (o->lazy_refcounts)
		return qmp_fail(error,
				"Lazy refcounts only supported with compatibility level 1.1 and above %s",
				remedy);
	if (o->refcount_bits != 16)
		return qmp_fail(error,
				"Different refcount widths than 16 bits require compatibility level 1.1 or above %s",
				remedy);
	if (o->compression != QC_COMPRESSION_ZLIB)
		return qmp_fail(error,
				"Non-zlib compression type is only supported with compatibility level 1.1 and above %s",
				remedy);
	return 0;
}

static int read_options(struct json_object *options, struct qc_create_options *o,
			struct qmp_error *error)
{
	const char *mode = preallocation(options);

	if (check_numbers(options, error))
		return -1;
	*o = (struct qc_create_options){
		.size = get_size(options),
		.version = strcmp(qapi_get_str(options, "version", "v3"), "v2") ? 3 : 2,
		.cluster_size = qapi_get_int(options, "cluster-size", 65536),
		.refcount_bits = qapi_get_int(options, "refcount-bits", 16),
		.backing = qapi_get_str(options, "backing-file", NULL),
		.backing_format = qapi_get_str(options, "backing-fmt", NULL),
		.lazy_refcounts = qapi_get_bool(options, "lazy-refcounts", false),
		.preallocate = !strcmp(mode, "metadata"),
	};
	if (!strcmp(qapi_get_str(options, "compression-type", "zlib"), "zstd"))
		o->compression = QC_COMPRESSION_ZSTD;
	if (o->backing && !*o->backing)
		o->backing = NULL;
	if (o->backing && strcmp(mode, "off"))
		return qmp_fail(error,
				"Backing file and preallocation can only be used at the same time if extended_l2 is on");
	if (!o->preallocate && strcmp(mode, "off"))
		return qmp_fail(error, "Unsupported preallocation mode: %s", mode);
	if (o->backing_format && !o->backing)
		return qmp_fail(error, "Backing format cannot be used without backing file");
	/* QEMU would guess it whenever the image is opened. */
	if (o->backing && !o->backing_format)
		return qmp_fail(error, "Backing file cannot be used without 'backing-fmt'");
	if (o->backing && strcmp(o->backing_format, "qcow2") && strcmp(o->backing_format, "raw"))
		return qmp_fail(error, "Backing format must be 'qcow2' or 'raw', not '%s'",
				o->backing_format);
	return o->version == 2 ? check_version2(o, error) : 0;
}

/* In one step: nobody can use or remove the node before it is over. */
static int step_qcow2(void *data, struct qmp_error *error)
{
	struct json_object *options = data;
	struct node *file = node_open_ref(json_object_object_get(options, "file"), error);
	struct node_edge use = {
		.role = "root", .needs = "write, resize", .claims = true, .writes = true,
	};
	struct qc_create_options o;
	struct qc_error err;
	int ret;

	if (!file)
		return -1;
	if (standing_check(file, error) || node_attach(&use, file, error)) {
		node_release(file);
		return -1;
	}
	ret = read_options(options, &o, error);
	if (!ret && !file->store)
		ret = qmp_fail(error, "Could not open '%s'", file->filename);
	if (!ret && qc_create_in(file->store, &o, &err) < 0)
		ret = qmp_fail(error, "%s", err.text);
	node_detach(&use);
	return ret;
}

static void end_qcow2(void *data, bool failed)
{
	(void)failed;
	json_object_put(data);
}

static const struct job_work qcow2_work = { .step = step_qcow2, .end = end_qcow2 };

/* --- the command ------------------------------------------------------------------------------ */

static int run_create(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	struct json_object *options = json_object_object_get(arguments, "options");
	const char *id = qapi_get_str(arguments, "job-id", "");
	const char *driver = qapi_get_str(options, "driver", "");
	struct new_file *file;

	(void)session;
	(void)result;
	if (!strcmp(driver, "qcow2")) {
		if (job_run(JOB_CREATE, id, &qcow2_work, options, error))
			return -1;
		json_object_get(options);
		return 0;
	}
	if (strcmp(driver, "file"))
		return qmp_fail(error, "Driver does not support blockdev-create");
	file = calloc(1, sizeof(*file));
	if (!file)
		return qmp_fail(error, "Out of memory");
	file->options = json_object_get(options);
	if (!job_run(JOB_CREATE, id, &file_work, file, error))
		return 0;
	end_file(file, false);
	return -1;
}

const struct qapi_command create_job_commands[] = {
	{ "blockdev-create", .arguments = &schema_blockdev_create, .run = run_create },
	{ 0 }
};
