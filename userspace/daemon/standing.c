// SPDX-License-Identifier: GPL-2.0-or-later
/* Devices that stand still, and what lies on them. */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "dm.h"
#include "log.h"
#include "node-open.h"
#include "standing.h"

static bool stands(const struct export *export)
{
	struct qc_dm_device device;

	return qc_dm_query(export->name, &device, NULL) == 0 && device.exists && device.suspended;
}

static bool lies_on(dev_t dev, const struct export *export)
{
	struct qc_dm_device device;

	return qc_dm_query(export->name, &device, NULL) == 0 && device.exists &&
	       qc_dev_lies_on(dev, makedev(device.major, device.minor));
}

bool standing_lies_on(struct node *node, const struct export *export)
{
	const struct qc_store *store = node_protocol(node)->store;

	return store && lies_on(store->dev, export);
}

/* The device, or that of the file system, of what has the name or would be made; 0: unknown. */
static dev_t dev_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	CLEANUP_FREE char *dir = NULL;
	struct stat st;

	if (stat(path, &st) == 0)
		return S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	dir = slash ? strndup(path, slash - path + 1) : strdup(".");
	return dir && stat(dir, &st) == 0 ? st.st_dev : 0;
}

bool standing_any(void)
{
	struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (stands(export))
			return true;
	return false;
}

/* The one on whose device, which stands still, the file of @node lies; NULL: there is none. */
static struct export *below_node(struct node *node)
{
	struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (stands(export) && standing_lies_on(node, export))
			return export;
	return NULL;
}

struct export *standing_below_chain(const struct export *export)
{
	struct export *below = NULL;

	if (!standing_any())
		return NULL;
	for (struct node *n = export->root.node; n && !below; n = n->backing.node)
		below = below_node(n);
	return below;
}

int standing_check(struct node *node, struct qmp_error *error)
{
	const struct export *below = below_node(node);

	return below ? qmp_fail(error,
				"Node '%s' lies on the device of export '%s', which stands still",
				node->name, below->id) : 0;
}

int standing_check_loop(const char *path, const struct export *export, struct qmp_error *error)
{
	dev_t dev = dev_of(path);

	return dev && lies_on(dev, export) ?
	       qmp_fail(error, "'%s' lies on the device of export '%s' itself", path, export->id) :
	       0;
}

int standing_check_path(const char *path, struct qmp_error *error)
{
	const struct export *export;
	dev_t dev = standing_any() ? dev_of(path) : 0;

	TAILQ_FOREACH(export, &export_list, link)
		if (dev && stands(export) && lies_on(dev, export))
			return qmp_fail(error,
					"'%s' lies on the device of export '%s', which stands still",
					path, export->id);
	return 0;
}

int standing_check_chain(const struct export *export, struct qmp_error *error)
{
	const struct export *below = standing_below_chain(export);

	return below ? qmp_fail(error,
				"export '%s' lies on the device of export '%s', which stands still",
				export->id, below->id) : 0;
}

void standing_read_headers(void)
{
	bool any = standing_any();
	struct qmp_error error;
	struct node *node;

	TAILQ_FOREACH(node, &node_list, link) {
		if (node->driver != NODE_QCOW2 || node->header || !node_protocol(node)->store ||
		    (any && below_node(node)))
			continue;
		if (node_read_header(node, &error))
			log_line(LOG_WARNING, "node %s: %s", node->name, error.text);
	}
}
