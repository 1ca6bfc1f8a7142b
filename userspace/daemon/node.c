// SPDX-License-Identifier: GPL-2.0-or-later
/* Block nodes: names, who uses which, and what follows from that for locks. */
#include <ctype.h>
#include <stdio.h>

#include "node.h"

struct node_list node_list = TAILQ_HEAD_INITIALIZER(node_list);
u64 node_last_number;

static TAILQ_HEAD(, node_reservation) reservations = TAILQ_HEAD_INITIALIZER(reservations);

/* Where what went wrong does not matter; not on the stack, as chains are released recursively. */
static struct qmp_error ignored;

static const char *const driver_names[] = {
	[NODE_FILE] = "file",
	[NODE_HOST_DEVICE] = "host_device",
	[NODE_RAW] = "raw",
	[NODE_QCOW2] = "qcow2",
};

const char *node_driver_name(enum node_driver driver)
{
	return driver_names[driver];
}

int node_driver_parse(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(driver_names); i++)
		if (!strcmp(name, driver_names[i]))
			return i;
	return -1;
}

struct node *node_protocol(struct node *node)
{
	while (!node_is_protocol(node))
		node = node->file.node;
	return node;
}

bool node_same_file(struct node *a, struct node *b)
{
	const struct node *x = node_protocol(a), *y = node_protocol(b);

	return x->is_bdev == y->is_bdev && x->dev == y->dev && x->ino == y->ino;
}

const char *node_filename(const struct node *node)
{
	return node_protocol((struct node *)node)->filename;
}

int node_size(struct node *node, u64 *size, struct qmp_error *error)
{
	struct node *protocol = node_protocol(node);
	struct qc_error err;

	if (node->header) {
		*size = node->header->size;
		return 0;
	}
	/* A file of qcow2 has a size of its own. */
	if (!protocol->store || node->driver == NODE_QCOW2)
		return qmp_fail(error, "Could not open '%s'", protocol->filename);
	if (qc_store_size(protocol->store, size, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	return 0;
}

int node_size_below(struct node *node, u64 *size, struct qmp_error *error)
{
	*size = 0;
	return node->backing.node ? node_size(node->backing.node, size, error) : 0;
}

bool node_in_chain(const struct node *top, const struct node *node)
{
	while (top && top != node)
		top = top->backing.node;
	return top;
}

struct node *node_find(const char *name)
{
	struct node *node;

	TAILQ_FOREACH(node, &node_list, link)
		if (!strcmp(node->name, name))
			return node;
	return NULL;
}

bool node_wellformed(const char *name)
{
	if (!isalpha((unsigned char)*name))
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("-._", *name))
			return false;
	return true;
}

int node_check_name(const char *name, struct qmp_error *error)
{
	if (!node_wellformed(name))
		return qmp_fail(error, "Invalid node-name: '%s'", name);
	if (strlen(name) > NODE_NAME_MAX)
		return qmp_fail(error, "Node name too long");
	if (node_name_taken(name))
		return qmp_fail(error, "Duplicate nodes with node-name='%s'", name);
	return 0;
}

struct node_reservation *node_reserve(const char *name)
{
	struct node_reservation *reservation = calloc(1, sizeof(*reservation));

	if (!reservation)
		return NULL;
	snprintf(reservation->name, sizeof(reservation->name), "%s", name);
	TAILQ_INSERT_TAIL(&reservations, reservation, link);
	return reservation;
}

void node_unreserve(struct node_reservation *reservation)
{
	if (!reservation)
		return;
	TAILQ_REMOVE(&reservations, reservation, link);
	free(reservation);
}

bool node_name_taken(const char *name)
{
	const struct node_reservation *reservation;

	TAILQ_FOREACH(reservation, &reservations, link)
		if (!strcmp(reservation->name, name))
			return true;
	return node_find(name);
}

struct node *node_new(const char *name, enum node_driver driver)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	if (name)
		snprintf(node->name, sizeof(node->name), "%s", name);
	else
		snprintf(node->name, sizeof(node->name), "#block%03llu", ++node_last_number);
	node->driver = driver;
	node->locking = true;
	TAILQ_INIT(&node->users);
	node->file.parent = node;
	node->file.role = "file";
	node->backing.parent = node;
	node->backing.role = "backing";
	TAILQ_INSERT_TAIL(&node_list, node, link);
	return node;
}

void node_release(struct node *node)
{
	if (node->owned || !TAILQ_EMPTY(&node->users))
		return;
	TAILQ_REMOVE(&node_list, node, link);
	if (node->backing.node)
		node_detach(&node->backing);
	if (node->file.node)
		node_detach(&node->file);
	qc_header_free(node->header);
	qc_snapshots_free(&node->snapshots);
	qc_store_close(node->store);
	free(node->filename);
	free(node->path);
	free(node);
}

bool node_claimed(const struct node *node, bool to_write)
{
	const struct node_edge *user;

	if (node->written)
		return true;
	TAILQ_FOREACH(user, &node->users, link)
		if (user->claims && (user->writes || !to_write))
			return true;
	return false;
}

#define PARTY_MAX (2 * NODE_NAME_MAX + 96)

/* What one who writes needs. */
static const char *needs(const struct node_edge *edge)
{
	if (edge->needs)
		return edge->needs;
	return strcmp(edge->role, "file") ? "write" : "write, resize";
}

static const char *party(const struct node_edge *edge, const struct node *node, char *text)
{
	if (edge->parent)
		snprintf(text, PARTY_MAX, "node '%s' (uses node '%s' as '%s' child)",
			 edge->parent->name, node->name, edge->role);
	else
		snprintf(text, PARTY_MAX, "an unnamed block device (uses node '%s' as '%s' child)",
			 node->name, edge->role);
	return text;
}

/* Does what @edge would claim of @node agree with what others do? */
static int check_claim(const struct node_edge *edge, const struct node *node, bool writes,
		       struct qmp_error *error)
{
	const struct node_edge *other;
	char who[PARTY_MAX], whom[PARTY_MAX];

	if (writes && node->read_only && !node->written)
		return qmp_fail(error, "Block node is read-only");
	TAILQ_FOREACH(other, &node->users, link) {
		const struct node_edge *writer = writes ? edge : other;

		if (other == edge || !other->claims || !(writes || other->writes))
			continue;
		if (writes && other->writes && !edge->needs)
			writer = other;
		return qmp_fail(error,
				"Permission conflict on node '%s': permissions '%s' are both required by %s and unshared by %s.",
				node->name, needs(writer),
				party(writer, node, who),
				party(writer == edge ? other : edge, node, whom));
	}
	return 0;
}

int node_check_claims(struct node *node, struct qmp_error *error)
{
	struct node_edge *user;

	TAILQ_FOREACH(user, &node->users, link)
		if (user->claims && check_claim(user, node, user->writes, error))
			return -1;
	return 0;
}

static enum qc_lock_mode claimed_mode(const struct node *node)
{
	return node_claimed(node, true) ? QC_LOCK_WRITE :
	       node_claimed(node, false) ? QC_LOCK_READ : QC_LOCK_NONE;
}

static int settle_lock(struct node *node, struct qmp_error *error)
{
	enum qc_lock_mode mode = claimed_mode(node);
	struct qc_error err;
	const char *denied;

	if (!node->locking || node->in_kernel || mode == node->lock)
		return 0;
	if (!node->store)
		return qmp_fail(error, "Could not open '%s'", node->filename);
	/* Asked first, as a lock that fails takes away the one that was there. */
	denied = qc_lock_denied(node->store, mode);
	if (denied)
		return qmp_fail(error, "%s", denied);
	if (qc_lock(node->store, mode, &err) < 0) {
		node->lock = QC_LOCK_NONE;
		return qmp_fail(error, "%s", err.text);
	}
	node->lock = mode;
	return 0;
}

static bool lock_is_kernels(const struct node *node)
{
	return node->in_kernel && node->locking && node->store;
}

void node_lock_beside(struct node *node)
{
	if (lock_is_kernels(node))
		qc_lock_beside(node->store, claimed_mode(node), NULL);
}

void node_lock_take_over(struct node *node)
{
	if (!lock_is_kernels(node))
		return;
	node->in_kernel = qc_lock_denied(node->store, QC_LOCK_WRITE);
	node->lock = node->in_kernel ? QC_LOCK_NONE : claimed_mode(node);
	if (node->in_kernel)
		qc_lock(node->store, QC_LOCK_NONE, NULL);
}

static int claim(struct node_edge *edge, bool claims, bool writes, struct qmp_error *error);

int node_settle(struct node *node, struct qmp_error *error)
{
	if (node_is_protocol(node))
		return settle_lock(node, error);
	/* What qcow2 claims of its file does not depend on who uses it: there is its metadata. */
	if (node->driver == NODE_QCOW2)
		return node_settle(node->file.node, error);
	return claim(&node->file, node_claimed(node, false), node_claimed(node, true), error);
}

/* Change what an edge in use claims. */
static int claim(struct node_edge *edge, bool claims, bool writes, struct qmp_error *error)
{
	bool claimed_before = edge->claims, wrote_before = edge->writes;

	if (claims && check_claim(edge, edge->node, writes, error))
		return -1;
	edge->claims = claims;
	edge->writes = writes;
	if (!node_settle(edge->node, error))
		return 0;
	edge->claims = claimed_before;
	edge->writes = wrote_before;
	node_settle(edge->node, &ignored);
	return -1;
}

int node_attach(struct node_edge *edge, struct node *node, struct qmp_error *error)
{
	bool claims = edge->claims, writes = edge->writes;

	edge->node = node;
	edge->claims = false;
	edge->writes = false;
	TAILQ_INSERT_TAIL(&node->users, edge, link);
	if (!claim(edge, claims, writes, error))
		return 0;
	TAILQ_REMOVE(&node->users, edge, link);
	edge->node = NULL;
	edge->claims = claims;
	edge->writes = writes;
	return -1;
}

void node_detach(struct node_edge *edge)
{
	struct node *node = edge->node;

	TAILQ_REMOVE(&node->users, edge, link);
	edge->node = NULL;
	/* To claim less can only fail where there is no lock to give back. */
	node_settle(node, &ignored);
	node_release(node);
}

void node_exports_move(struct node *from, struct node *to)
{
	struct node_edge *edge, *next;

	for (edge = TAILQ_FIRST(&from->users); edge; edge = next) {
		next = TAILQ_NEXT(edge, link);
		if (edge->parent)
			continue;
		TAILQ_REMOVE(&from->users, edge, link);
		TAILQ_INSERT_TAIL(&to->users, edge, link);
		edge->node = to;
	}
}

void node_overlay_put(struct node *node, struct node *overlay)
{
	node_exports_move(node, overlay);
	overlay->backing.node = node;
	overlay->backing.claims = true;
	overlay->backing.writes = false;
	TAILQ_INSERT_TAIL(&node->users, &overlay->backing, link);
}

void node_overlay_undo(struct node *node, struct node *overlay)
{
	TAILQ_REMOVE(&node->users, &overlay->backing, link);
	overlay->backing.node = NULL;
	node_exports_move(overlay, node);
}

void node_overlay_done(struct node *node)
{
	struct node *protocol = node_protocol(node);

	node->read_only = true;
	if (node != protocol)
		node->file.writes = false;
	protocol->read_only = true;
	node_settle(node, &ignored);
}

static struct node *move_edge(struct node_edge *edge, struct node *to)
{
	struct node *before = edge->node;

	if (before)
		TAILQ_REMOVE(&before->users, edge, link);
	edge->node = to;
	if (to)
		TAILQ_INSERT_TAIL(&to->users, edge, link);
	return before;
}

struct node *node_backing_move(struct node *above, struct node *below)
{
	above->backing.claims = true;
	above->backing.writes = false;
	return move_edge(&above->backing, below);
}

struct node *node_file_move(struct node *above, struct node *below)
{
	return move_edge(&above->file, below);
}

void node_root_move(struct node_edge *root, struct node *to)
{
	move_edge(root, to);
}

int node_check_busy(const struct node *node, struct qmp_error *error)
{
	const struct node_edge *user;

	TAILQ_FOREACH(user, &node->users, link)
		if (user->parent && !strcmp(user->role, "backing"))
			return qmp_fail(error,
					"Node '%s' is busy: node is used as backing hd of '%s'",
					node->name, user->parent->name);
	return 0;
}

int node_chain(struct node *node, struct qc_chain *chain, struct qmp_error *error)
{
	size_t count = 0, i = 0;

	memset(chain, 0, sizeof(*chain));
	for (struct node *n = node; n; n = n->backing.node)
		count++;
	chain->layers = calloc(count, sizeof(*chain->layers));
	if (!chain->layers)
		return qmp_fail(error, "Out of memory");
	for (struct node *n = node; n; n = n->backing.node) {
		struct node *protocol = node_protocol(n);
		struct qc_layer *layer = &chain->layers[i++];

		if (!protocol->store || node_size(n, &layer->size, error)) {
			node_chain_free(chain);
			return qmp_fail(error, "Could not open '%s'", protocol->filename);
		}
		layer->format = node_format(n);
		layer->store = protocol->store;
		layer->header = n->header;
		layer->writable = n->written;
	}
	chain->count = count;
	return 0;
}

void node_chain_free(struct qc_chain *chain)
{
	free(chain->layers);
	memset(chain, 0, sizeof(*chain));
}
