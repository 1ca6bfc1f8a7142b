// SPDX-License-Identifier: GPL-2.0-or-later
/* Devices that stand still, and what lies on them. */
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

bool standing_lies_on(struct node *node, const struct export *export)
{
	const struct qc_store *store = node_protocol(node)->store;
	struct qc_dm_device device;

	return store && qc_dm_query(export->name, &device, NULL) == 0 && device.exists &&
	       qc_store_lies_on(store, makedev(device.major, device.minor));
}

bool standing_any(void)
{
	struct export *export;

	TAILQ_FOREACH(export, &export_list, link)
		if (stands(export))
			return true;
	return false;
}

struct export *standing_below(struct node *node)
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
