// SPDX-License-Identifier: GPL-2.0-or-later
/* block_resize: larger and smaller images, in use or not. */
#include <errno.h>
#include <fcntl.h>

#include "block-resize.h"
#include "dm.h"
#include "export.h"
#include "job.h"
#include "log.h"
#include "node-open.h"
#include "resize.h"
#include "schema-block.h"
#include "standing.h"
#include "table.h"
#include "window.h"

/* --- may it? ---------------------------------------------------------------------------------- */

/* QEMU leaves half of this to its drivers; the order is that in which it would complain. */
static int check_request(struct node *node, const char *called, int64_t size,
			 struct qmp_error *error)
{
	const int64_t max = INT64_MAX & ~((1LL << 30) - 1);
	struct qmp_error ignored;

	if (size < 0)
		return qmp_fail(error, "Parameter 'size' expects a >0 size");
	if (node_check_busy(node, &ignored) || job_check_node(node, &ignored))
		return qmp_fail(error, "Device '%s' is in use", called);
	if (size > max)
		return qmp_fail(error, "offset(%lld) exceeds maximum(%lld)", (long long)size,
				(long long)max);
	if (node->read_only)
		return qmp_fail(error, "Image is read-only");
	if (node->header && size % QC_SECTOR_SIZE)
		return qmp_fail(error, "The new size must be a multiple of %d", QC_SECTOR_SIZE);
	if (node->header && node->header->version < 3 && node->header->nb_snapshots)
		return qmp_fail(error, "Can't resize a v2 image which has snapshots");
	return 0;
}

/* Returns 1 when the node has that size already. */
static int check_size(struct node *node, u64 size, struct qmp_error *error)
{
	u64 now;

	if (node_size(node, &now, error))
		return -1;
	if (size < now && !node->header && node_protocol(node)->is_bdev)
		return qmp_fail(error, "Cannot resize device files");
	if (size > now && !node->header && node_protocol(node)->is_bdev)
		return qmp_fail(error, "Cannot grow device files");
	return size == now;
}

/* --- not in use ------------------------------------------------------------------------------- */

static int resize(struct node *node, u64 size, struct qmp_error *error)
{
	struct qc_store *store = node_protocol(node)->store;
	struct qc_error err;
	u64 below;

	if (!store)
		return qmp_fail(error, "Could not open '%s'", node_filename(node));
	if (node_size_below(node, &below, error))
		return -1;
	if (qc_resize_layer(store, node_format(node), size, below, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	return 0;
}

static int resize_alone(struct node *node, u64 size, struct qmp_error *error)
{
	struct node_edge use = {
		.role = "root", .needs = "resize", .claims = true, .writes = true,
	};
	struct qmp_error ignored;
	int ret = check_size(node, size, error);

	if (ret < 0 || standing_check(node, error) || node_attach(&use, node, error))
		return -1;
	ret = ret ? 0 : resize(node, size, error);
	if (node->header && node_read_header(node, ret ? &ignored : error))
		ret = -1;
	node_detach(&use);
	return ret;
}

/* --- in use ----------------------------------------------------------------------------------- */

/*
 * What the page cache has behind the new end of a device is not to be read again when that grows.
 * Nothing here waits for the device.
 */
static void forget_cache(const char *device, u64 size)
{
	CLEANUP_FREE char *path = qc_dm_node(device);
	CLEANUP_FD int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	u64 page = sysconf(_SC_PAGESIZE);

	if (fd >= 0)
		posix_fadvise(fd, size & ~(page - 1), 0, POSIX_FADV_DONTNEED);
}

static int resize_device(struct export *export, u64 size, const char *params,
			 struct qmp_error *error)
{
	struct node *node = export->root.node;
	CLEANUP_STORE struct qc_store *store = NULL;
	struct window_resize resize = {
		.device = export->name, .format = node_format(node), .size = size,
		.params = params,
	};
	CLEANUP_FD int serial = -1;
	struct qc_dm_device device;
	struct qmp_error ignored;
	struct qc_error err;
	int ret;

	if (node_size_below(node, &resize.below, error))
		return -1;
	/* Afresh, so that nothing of it is in memory from before. */
	if (node_open_again(node_protocol(node), &store, error))
		return -1;
	if (qc_dm_serialise(&serial, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	resize.store = store;
	ret = window_resize(&resize, &err);
	if (node->header && node_read_header(node, &ignored))
		log_line(LOG_WARNING, "node %s: %s", node->name, ignored.text);
	if (!qc_dm_query(export->name, &device, NULL) && device.suspended)
		log_line(LOG_ERR, "%s: waits, suspended, until qchaind is started again",
			 export->name);
	forget_cache(export->name, size);
	return ret ? qmp_fail(error, "%s", err.text) : 0;
}

static int resize_export(struct export *export, u64 size, struct qmp_error *error)
{
	struct node *node = export->root.node;
	CLEANUP_NODE_CHAIN struct qc_chain chain = { 0 };
	CLEANUP_FREE char *params = NULL, *now = NULL;
	u64 sectors;
	int ret;

	if (export_stopped)
		return qmp_fail(error, "'%s' is stopped; use cont first", export->id);
	if (!export->writable)
		return qmp_fail(error, "Node '%s' is used by export '%s', which is read-only",
				node->name, export->id);
	if (!size)
		return qmp_fail(error, "Device '%s' cannot have the size 0", export->name);
	ret = check_size(node, size, error);
	if (ret < 0 || export_params(export, &chain, &params, error))
		return -1;
	/* An image may have its size without the device: the last time has failed half way. */
	if (ret && !qc_dm_table(export->name, &sectors, &now, NULL) &&
	    sectors == qc_div_round_up(size, QC_SECTOR_SIZE))
		return 0;
	return resize_device(export, size, params, error);
}

/* --- the command ------------------------------------------------------------------------------ */

static int run_resize(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	const char *device = qapi_get_str(arguments, "device", NULL);
	const char *name = qapi_get_str(arguments, "node-name", NULL);
	struct node *node = node_lookup_device(device, name, error);
	int64_t size = qapi_get_int(arguments, "size", 0);
	struct export *export;

	(void)session;
	(void)result;
	if (!node || check_request(node, device ? device : name, size, error) ||
	    export_of_node(node, &export, error))
		return -1;
	return export ? resize_export(export, size, error) : resize_alone(node, size, error);
}

const struct qapi_command block_resize_commands[] = {
	{ "block_resize", .arguments = &schema_block_resize, .run = run_resize },
	{ 0 }
};
