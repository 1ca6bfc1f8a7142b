// SPDX-License-Identifier: GPL-2.0-or-later
/* Make nodes of definitions and of image headers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf, O_DIRECT */
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "export.h"
#include "log.h"
#include "node-open.h"
#include "standing.h"

struct node *node_lookup(const char *device, const char *name, struct qmp_error *error)
{
	struct export *export = device ? export_find(device) : NULL;
	struct node *node = export ? export->root.node : name ? node_find(name) : NULL;

	if (!node)
		qmp_fail(error, "Cannot find device='%s' nor node-name='%s'",
			 device ? device : "", name ? name : "");
	return node;
}

struct node *node_lookup_device(const char *device, const char *name, struct qmp_error *error)
{
	struct node *node = node_lookup(device, name, error);

	if (!node)
		error->class = QMP_DEVICE_NOT_FOUND;
	return node;
}

static int check_type(const struct node *node, struct qmp_error *error)
{
	struct stat st;

	/* What cannot be looked at cannot be opened, and that says why. */
	if (stat(node->path, &st) < 0)
		return 0;
	if (S_ISDIR(st.st_mode))
		return qmp_fail(error, "Could not open '%s': %s", node->filename,
				strerror(EISDIR));
	if (node->driver == NODE_FILE && !S_ISREG(st.st_mode))
		return qmp_fail(error, "'file' driver requires '%s' to be a regular file",
				node->filename);
	if (node->driver == NODE_HOST_DEVICE && !S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))
		return qmp_fail(error,
				"'host_device' driver requires '%s' to be either a character or block device",
				node->filename);
	return 0;
}

int node_open_store(const struct node *node, bool write, struct qc_store **store,
		    struct qc_error *err)
{
	unsigned int flags = write ? QC_OPEN_WRITE : 0;
	struct qmp_error ignored;
	int ret;

	/* What somebody has written to a device that stands still would be waited for. */
	if (node->driver == NODE_HOST_DEVICE && standing_check_path(node->path, &ignored))
		flags |= QC_OPEN_CACHED;
	/* A device that is mounted, or part of another one, must not be written to. */
	if (write && !node->in_kernel) {
		ret = qc_store_open(node->path, flags | QC_OPEN_EXCL, store, err);
		if (ret < 0)
			return ret;
		qc_store_close(*store);
	}
	*store = NULL;
	return qc_store_open(node->path, flags, store, err);
}

static int open_store(struct node *node, struct qc_error *err)
{
	return node_open_store(node, !node->read_only || node->written, &node->store, err);
}

int node_check_direct(const struct node *node, struct qmp_error *error)
{
	int fd = open(node->path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return qmp_fail(error,
				"Could not open '%s': the file system does not support cache.direct",
				node->filename);
	close(fd);
	return 0;
}

int node_open_file(struct node *node, bool auto_read_only, struct qmp_error *error)
{
	struct qc_error err;
	int ret;

	if (check_type(node, error))
		return -1;
	ret = open_store(node, &err);
	if ((ret == -EACCES || ret == -EPERM || ret == -EROFS) && auto_read_only &&
	    !node->read_only) {
		node->read_only = true;
		ret = open_store(node, &err);
	}
	if (ret == -EINVAL)
		return qmp_fail(error, "%s", err.text);
	if (ret < 0)
		return qmp_fail(error, "Could not open '%s': %s", node->filename, strerror(-ret));
	if (node->direct && node_check_direct(node, error)) {
		qc_store_close(node->store);
		node->store = NULL;
		return -1;
	}
	node->is_bdev = node->store->is_bdev;
	node->dev = node->store->dev;
	node->ino = node->store->ino;
	return 0;
}

int node_open_again(const struct node *protocol, struct qc_store **store,
		    struct qmp_error *error)
{
	struct qc_error err;

	if (qc_store_open(protocol->path, QC_OPEN_WRITE, store, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if ((*store)->is_bdev == protocol->is_bdev && (*store)->dev == protocol->dev &&
	    (*store)->ino == protocol->ino)
		return 0;
	qc_store_close(*store);
	*store = NULL;
	return qmp_fail(error, "%s: is not the file any more that node '%s' was made of",
			protocol->path, protocol->name);
}

int node_values_apply(struct json_object *options, struct node_values *values,
		      struct qmp_error *error)
{
	struct json_object *cache = NULL;
	const char *discard = qapi_get_str(options, "discard", NULL);

	values->read_only = qapi_get_bool(options, "read-only", values->read_only);
	values->auto_read_only = qapi_get_bool(options, "auto-read-only", values->auto_read_only);
	if (discard)
		values->discard = !strcmp(discard, "unmap");
	if (json_object_object_get_ex(options, "cache", &cache))
		values->direct = qapi_get_bool(cache, "direct", values->direct);
	if (qapi_get_bool(options, "force-share", false))
		return qmp_fail(error, values->read_only ?
				"force-share=on is not supported; for a file see 'locking'" :
				"force-share=on can only be used with read-only images");
	if (qapi_get_bool(cache, "no-flush", false))
		return qmp_fail(error,
				"cache.no-flush=on is not supported: flushes are always done");
	if (!strcmp(qapi_get_str(options, "detect-zeroes", "off"), "off"))
		return 0;
	return qmp_fail(error, "detect-zeroes=%s is not supported",
			qapi_get_str(options, "detect-zeroes", ""));
}

/* Whoever does the I/O, it is not the daemon. */
static int check_aio(struct json_object *options, const struct node_values *values,
		     struct qmp_error *error)
{
	if (values->direct || strcmp(qapi_get_str(options, "aio", ""), "native"))
		return 0;
	return qmp_fail(error,
			"aio=native was specified, but it requires cache.direct=on, which was not specified.");
}

/* A node of the definition, without anything in it yet. */
static struct node *begin(struct json_object *options, const struct node_values *values,
			  struct qmp_error *error)
{
	const char *name = qapi_get_str(options, "node-name", NULL);
	struct node *node;

	if (name && node_check_name(name, error))
		return NULL;
	if (name && export_find(name)) {
		qmp_fail(error, "node-name=%s is conflicting with a device id", name);
		return NULL;
	}
	node = node_new(name, node_driver_parse(qapi_get_str(options, "driver", "")));
	if (!node) {
		qmp_fail(error, "Out of memory");
		return NULL;
	}
	node->read_only = values->read_only;
	node->discard = values->discard;
	node->direct = values->direct;
	return node;
}

static struct node *open_protocol(struct json_object *options, struct node_values values,
				  struct qmp_error *error)
{
	const char *filename = qapi_get_str(options, "filename", "");
	struct node *node;

	if (node_values_apply(options, &values, error) || check_aio(options, &values, error))
		return NULL;
	if (!*filename || strlen(filename) >= PATH_MAX) {
		qmp_fail(error, "The '%s' block driver requires a file name",
			 qapi_get_str(options, "driver", ""));
		return NULL;
	}
	node = begin(options, &values, error);
	if (!node)
		return NULL;
	node->locking = strcmp(qapi_get_str(options, "locking", "auto"), "off");
	node->filename = strdup(filename);
	node->path = qc_absolute_name(filename);
	if (!node->filename || !node->path)
		qmp_fail(error, "Out of memory");
	else if (!node_open_file(node, values.auto_read_only, error))
		return node;
	node_release(node);
	return NULL;
}

static bool is_protocol(struct json_object *options)
{
	int driver = node_driver_parse(qapi_get_str(options, "driver", ""));

	return driver == NODE_FILE || driver == NODE_HOST_DEVICE;
}

/* The node that a BlockdevRef names or defines, as the file of a format node. */
static struct node *open_ref(struct json_object *ref, const struct node_values *values,
			     struct qmp_error *error)
{
	struct node *node;

	if (json_object_is_type(ref, json_type_string)) {
		const char *name = json_object_get_string(ref);

		node = node_lookup(name, name, error);
		if (!node || node_is_protocol(node))
			return node;
	} else if (is_protocol(ref)) {
		return open_protocol(ref, *values, error);
	}
	qmp_fail(error, "The file of a format node must be of driver 'file' or 'host_device'");
	return NULL;
}

struct node *node_open_ref(struct json_object *ref, struct qmp_error *error)
{
	const struct node_values values = { 0 };

	return open_ref(ref, &values, error);
}

/* What is wrong with their table is no reason not to use what the image shows. */
static void read_snapshots(struct node *node)
{
	const struct qc_store *store = node_protocol(node)->store;
	struct qc_error err;

	qc_snapshots_free(&node->snapshots);
	memset(&node->snapshots, 0, sizeof(node->snapshots));
	if (qc_snapshots_read(store, node->header, &node->snapshots, &err) < 0)
		log_line(LOG_WARNING, "node %s: %s", node->name, err.text);
}

int node_read_header(struct node *node, struct qmp_error *error)
{
	const struct qc_store *store = node_protocol(node)->store;
	struct qc_header *header;
	struct qc_error err;
	u8 magic[4];

	/* A file that was not there any more when the daemon was started again. */
	if (!store)
		return qmp_fail(error, "Could not open '%s'", node_filename(node));
	/* It can have been opened without that, or long ago. */
	qc_store_refresh(store);
	if (qc_store_read(store, 0, magic, sizeof(magic), &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (!qc_header_magic(magic))
		return qmp_fail(error, "Image is not in qcow2 format");
	if (qc_header_read(store, &header, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (qc_header_supported(header, store->path, &err) < 0) {
		qc_header_free(header);
		return qmp_fail(error, "%s", err.text);
	}
	if (header->incompatible & QC_INCOMPAT_CORRUPT && !node->read_only) {
		qc_header_free(header);
		return qmp_fail(error, "qcow2: Image is corrupt; cannot be opened read/write");
	}
	qc_header_free(node->header);
	node->header = header;
	read_snapshots(node);
	return 0;
}

/* A node and its file, without a backing node. */
static struct node *open_layer(struct json_object *options, struct node_values values,
			       struct qmp_error *error)
{
	struct node *node, *file;

	if (is_protocol(options))
		return open_protocol(options, values, error);
	if (node_values_apply(options, &values, error))
		return NULL;
	/* The name is checked before anything is opened, and its node comes after its file's. */
	node = begin(options, &values, error);
	if (!node)
		return NULL;
	file = open_ref(json_object_object_get(options, "file"), &values, error);
	if (!file)
		goto fail;
	TAILQ_REMOVE(&node_list, node, link);
	TAILQ_INSERT_TAIL(&node_list, node, link);
	if (file->read_only && (values.auto_read_only || node->driver == NODE_RAW))
		node->read_only = true;
	node->file.claims = node->driver == NODE_QCOW2;
	node->file.writes = node->driver == NODE_QCOW2 && !node->read_only;
	if (node_attach(&node->file, file, error)) {
		node_release(file);
		goto fail;
	}
	if (node->driver == NODE_QCOW2 &&
	    (standing_check(node, error) || node_read_header(node, error)))
		goto fail;
	return node;
fail:
	node_release(node);
	return NULL;
}

struct json_object *node_file_options(const char *path)
{
	struct json_object *file = json_object_new_object();
	struct stat st;

	qapi_add_str(file, "driver", stat(path, &st) == 0 && S_ISBLK(st.st_mode) ?
				     "host_device" : "file");
	qapi_add_str(file, "filename", path);
	return file;
}

/* A definition of what the image says that it is backed by; NULL without, or on failure. */
static int implied_backing(const struct node *node, struct json_object **options,
			   struct qmp_error *error)
{
	CLEANUP_FREE char *path = NULL;
	enum qc_format format;
	struct qc_error err;
	int ret;

	*options = NULL;
	ret = qc_chain_backing(node_filename(node), node->header, &path, &format, &err);
	if (ret < 0)
		return qmp_fail(error, "%s", err.text);
	if (!ret)
		return 0;
	*options = json_object_new_object();
	qapi_add_str(*options, "driver", qc_format_name(format));
	json_object_object_add(*options, "file", node_file_options(path));
	return 0;
}

/* An image that is backed by itself would never come to an end. */
static int check_loop(struct node *top, struct node *node, struct qmp_error *error)
{
	for (struct node *n = top; n; n = n->backing.node)
		if (node_same_file(n, node))
			return qmp_fail(error, "Backing file '%s' is above itself in the chain",
					node_filename(node));
	return 0;
}

static int open_backing(struct node *top, struct node *over, struct json_object *options,
			struct node **node, struct qmp_error *error)
{
	struct node_values values = { .read_only = true, .direct = over->direct };

	if (json_object_is_type(options, json_type_string)) {
		const char *name = json_object_get_string(options);

		if (!strcmp(name, top->name))
			return qmp_fail(error,
					"Making '%s' a backing child of '%s' would create a cycle",
					name, over->name);
		*node = node_lookup(name, name, error);
	} else {
		if (json_object_object_get_ex(options, "read-only", NULL))
			json_object_object_add(options, "read-only",
					       json_object_new_boolean(true));
		*node = open_layer(options, values, error);
	}
	if (!*node)
		return -1;
	over->backing.claims = true;
	over->backing.writes = false;
	if (!check_loop(top, *node, error) && !node_attach(&over->backing, *node, error))
		return 0;
	node_release(*node);
	return -1;
}

/* Open what is below @top, layer by layer: chains are too long for recursion. */
static int open_chain(struct node *top, struct json_object *options, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *implied = NULL;
	struct node *over = top, *node = NULL;
	struct qmp_error cause;

	while (over->driver == NODE_QCOW2) {
		struct json_object *backing;
		bool reference;

		if (!json_object_object_get_ex(options, "backing", &backing)) {
			struct json_object *next;

			if (implied_backing(over, &next, error))
				return -1;
			json_object_put(implied);
			implied = next;
			backing = next;
		}
		if (!backing)
			break;
		reference = json_object_is_type(backing, json_type_string);
		if (open_backing(top, over, backing, &node, &cause))
			return qmp_fail(error, "Could not open backing file: %s", cause.text);
		if (reference)
			break;
		options = backing;
		over = node;
	}
	return 0;
}

struct node *node_open(struct json_object *options, struct qmp_error *error)
{
	const struct node_values values = { 0 };
	struct node *node = open_layer(options, values, error);

	if (node && open_chain(node, options, error)) {
		node_release(node);
		return NULL;
	}
	return node;
}
