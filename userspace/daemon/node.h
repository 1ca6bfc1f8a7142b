/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph of block nodes.
 *
 * A protocol node (file, host_device) is a file or device: it has the open description, which
 * carries the locks and is handed to the kernel.  A format node (raw, qcow2) has a protocol node as
 * its file, and a qcow2 node may have a backing node.  An export (export.h) uses a format node, or
 * a protocol node as if there were a raw node on it.
 *
 * Every use is an edge, and an edge may claim its node: to read, which others may do too, or to
 * write, which nobody else may do meanwhile, and nobody may read.  Claims decide the locks.
 *
 * Errors are in @error with QEMU's texts where it has one; functions return 0 or -1 and on
 * failure have changed nothing.  All run in the event loop's thread and sleep on local I/O only.
 */
#ifndef QCHAIN_NODE_H
#define QCHAIN_NODE_H

#include <sys/queue.h>

#include "chain.h"
#include "qapi.h"
#include "snapshots.h"

#define NODE_NAME_MAX 31

enum node_driver {
	NODE_FILE,
	NODE_HOST_DEVICE,
	NODE_RAW,
	NODE_QCOW2,
};

struct node;

struct node_edge {
	struct node *node;		/* what is used; NULL: nothing */
	struct node *parent;		/* by which node; NULL: by an export */
	const char *role;		/* "file", "backing", "root" */
	/*
	 * Of one that lets others do what they like, if they let it: QEMU's permissions, for
	 * messages.  NULL: by the role.
	 */
	const char *needs;
	bool claims;
	bool writes;			/* when it claims */
	TAILQ_ENTRY(node_edge) link;	/* in node->users */
};

struct node {
	TAILQ_ENTRY(node) link;
	char name[NODE_NAME_MAX + 1];
	enum node_driver driver;
	bool owned;			/* blockdev-add made it, blockdev-del takes it away */
	bool read_only;
	bool discard;			/* freed clusters are given back to what lies below */
	bool direct;			/* asked for, and there */
	bool written;			/* a job writes to it, below those who read it */
	TAILQ_HEAD(, node_edge) users;

	/* of a protocol node */
	char *filename;			/* as given */
	char *path;			/* the same, absolute */
	bool locking;
	struct qc_store *store;		/* NULL: the file is not to be had, see state.h */
	enum qc_lock_mode lock;		/* what the description in store holds */
	bool in_kernel;			/* locks are on a description that only the kernel has */
	bool kept;			/* and keeps: that may be open for writing */
	bool is_bdev;			/* these three as in struct qc_store */
	dev_t dev;
	ino_t ino;

	/* of a format node */
	struct node_edge file;
	struct node_edge backing;
	struct qc_header *header;	/* qcow2; as it was when opened */
	struct qc_snapshots snapshots;	/* the same; empty when they cannot be read */
	u64 streamed;			/* bytes; how far stream_one_cluster() has come */
};

TAILQ_HEAD(node_list, node);
extern struct node_list node_list;	/* oldest first */

const char *node_driver_name(enum node_driver driver);
/* Returns -1 for an unknown name. */
int node_driver_parse(const char *name);

static inline bool node_is_protocol(const struct node *node)
{
	return node->driver == NODE_FILE || node->driver == NODE_HOST_DEVICE;
}

/* The protocol node whose bytes these are. */
struct node *node_protocol(struct node *node);

/* Do both lie in the same file or device? */
bool node_same_file(struct node *a, struct node *b);

/* The name of the file, as given. */
const char *node_filename(const struct node *node);

/* What the node shows, in bytes. */
int node_size(struct node *node, u64 *size, struct qmp_error *error);

/* What its backing node shows, in bytes; 0 without one. */
int node_size_below(struct node *node, u64 *size, struct qmp_error *error);

/* How the bytes of an image are to be read; of a protocol node, raw. */
static inline enum qc_format node_format(const struct node *node)
{
	return node->driver == NODE_QCOW2 ? QC_FORMAT_QCOW2 : QC_FORMAT_RAW;
}

/* Is @node @top, or among what @top is backed by? */
bool node_in_chain(const struct node *top, const struct node *node);

/* NULL when there is none. */
struct node *node_find(const char *name);

/* Is it a word that may be a name: a letter, then letters, digits and "-._"? */
bool node_wellformed(const char *name);

/* May a new node have the name? */
int node_check_name(const char *name, struct qmp_error *error);

/* A name that is kept from nodes, though there is no node of that name. */
struct node_reservation {
	TAILQ_ENTRY(node_reservation) link;
	char name[NODE_NAME_MAX + 1];
};

/* @name has been checked.  NULL without memory; undone with node_unreserve(), which takes NULL. */
struct node_reservation *node_reserve(const char *name);
void node_unreserve(struct node_reservation *reservation);

/* Is there a node of that name, or is it reserved? */
bool node_name_taken(const char *name);

/* A new node in the list, without users; @name NULL: one is made up.  NULL without memory. */
struct node *node_new(const char *name, enum node_driver driver);

/* Numbers in made-up names go up from here, so that none is used twice. */
extern u64 node_last_number;

/* Remove the node, and those below, unless it is owned or has users. */
void node_release(struct node *node);

/*
 * Let @edge, whose parent, role, claims and writes are set, use @node.  Fails where the claim
 * conflicts with others', inside or outside of this process.
 */
int node_attach(struct node_edge *edge, struct node *node, struct qmp_error *error);

/* End the use, and release the node. */
void node_detach(struct node_edge *edge);

/* Does somebody claim it, to write? */
bool node_claimed(const struct node *node, bool to_write);

/* Do all claims of the node agree?  For a graph that has been changed without asking. */
int node_check_claims(struct node *node, struct qmp_error *error);

/* Make the locks be what the claims ask for. */
int node_settle(struct node *node, struct qmp_error *error);

/*
 * Of a protocol node that the kernel may let go of between the two (in_kernel): lock our own
 * description beside the kernel's, and then leave it at the one that is needed.
 */
void node_lock_beside(struct node *node);
void node_lock_take_over(struct node *node);

/*
 * Put @overlay, which nobody but the monitor uses and which has no backing node, on @node: the
 * exports of @node use @overlay from now on.  Locks, and what is read-only, stay as they
 * are until node_overlay_done().  Cannot fail.
 */
void node_overlay_put(struct node *node, struct node *overlay);
void node_overlay_undo(struct node *node, struct node *overlay);
void node_overlay_done(struct node *node);

/*
 * Let @above have @below (NULL: nothing) as its backing node.  Returns what it had; that is for the
 * caller to settle and to release, or to give back.  Cannot fail.
 */
struct node *node_backing_move(struct node *above, struct node *below);

/* The same for the file of a format node. */
struct node *node_file_move(struct node *above, struct node *below);

/* Let the exports that use @node use @other.  What they claim of it is for the caller to settle. */
void node_exports_move(struct node *node, struct node *other);

/* The same of one export, whose edge is @root. */
void node_root_move(struct node_edge *root, struct node *to);

/* Fails when the node is the backing node of another. */
int node_check_busy(const struct node *node, struct qmp_error *error);

/*
 * The layers of the chain that begins with @node, top first, as the library knows them.  Free
 * the array of layers with node_chain_free(); what is in it stays the nodes'.
 */
int node_chain(struct node *node, struct qc_chain *chain, struct qmp_error *error);
void node_chain_free(struct qc_chain *chain);
#define CLEANUP_NODE_CHAIN __attribute__((cleanup(node_chain_free)))

#endif /* QCHAIN_NODE_H */
