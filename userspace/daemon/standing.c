// SPDX-License-Identifier: GPL-2.0-or-later
/* Devices that stand still, and what lies on them. */
#include <sys/sysmacros.h>

#include "dm.h"
#include "log.h"
#include "node-open.h"
#include "standing.h"

/* With the number of its device. */
static bool stands(const struct export *export, dev_t *dev)
{
	struct qc_dm_device device;

	if (qc_dm_query(export->name, &device, NULL) < 0 || !device.exists || !device.suspended)
		return false;
	*dev = makedev(device.major, device.minor);
	return true;
}

bool standing_any(void)
{
	struct export *export;
	dev_t dev;

	TAILQ_FOREACH(export, &export_list, link)
		if (stands(export, &dev))
			return true;
	return false;
}

struct export *standing_below(struct node *node)
{
	const struct qc_store *store = node_protocol(node)->store;
	struct export *export;
	dev_t dev;

	TAILQ_FOREACH(export, &export_list, link)
		if (store && stands(export, &dev) && qc_store_lies_on(store, dev))
			return export;
	return NULL;
}

struct export *standing_below_chain(const struct export *export)
{
	struct export *below = NULL;

	if (!standing_any())
		return NULL;
	for (struct node *n = export->root.node; n && !below; n = n->backing.node)
		below = standing_below(n);
	return below;
}

int standing_check(struct node *node, struct qmp_error *error)
{
	const struct export *below = standing_below(node);

	return below ? qmp_fail(error,
				"Node '%s' lies on the device of export '%s', which stands still",
				node->name, below->id) : 0;
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
		    (any && standing_below(node)))
			continue;
		if (node_read_header(node, &error))
			log_line(LOG_WARNING, "node %s: %s", node->name, error.text);
	}
}
