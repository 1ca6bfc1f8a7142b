/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An image: one layer of a chain, raw or qcow2, in its store.  It outlives the
 * tables that use it: the next table's constructor finds it again by what it
 * lies on.  Everything that knows the qcow2 format is below this header:
 *
 *	image.c		open, close, find again; header and its feature bits
 *	l2.c		guest cluster -> where its bytes are; changing that
 *	refcount.c	host clusters: allocate, free
 *	commit.c	what is written in which order
 *	compress.c	compressed clusters
 *	snapshot.c	where the tables of internal snapshots are
 *	count.c		how many clusters are in use, for status
 *
 * Functions that return an int give 0 or a negative errno unless they say otherwise; "at open" is
 * process context, before anybody else can have the image.
 *
 * Locks, outermost first, and what they protect:
 *
 *	mirror's ranges	(mirror.h) pieces of the disk being written in two places
 *	range lock	(qc_range) guest clusters being changed by a slow write, discard or
 *			zero: held across the data I/O, by a running task only
 *	commit_lock	one commit, or growth of the refcount table, at a time; across I/O
 *	lock		every change of metadata in memory: L1, L2, refcounts, lists of dirty
 *			blocks and of freed clusters.  Held across reads of
 *			metadata blocks, never across data I/O, never while waiting for space
 *			or for memory: but for that of a cached block, of which there is a
 *			reserve (who is about to take many asks qc_commit_room())
 *	cache_lock	(cache.c) leaf
 *
 * A writable qcow2 image is aborted when a flush of its store has failed: what was to be stable may
 * be gone, though a later flush is well, so nothing may be published any more that relies on it.
 * What is on disk is from then on what the last commit that went well left there, and stays so.
 * image->aborted is set once, in whatever context the flush is seen to fail, before anybody is told
 * of it (qc_store_on_loss()), and never cleared.  It is read without a lock; but who is about to
 * write metadata reads it under commit_lock or lock, so that once it is set, and both have been
 * held by somebody else since, metadata is not written (qc_writer_settle()).  From then on
 *
 *	changes, commits	fail with -EIO; what is dirty stays so, in memory
 *	freed clusters		are neither discarded nor used again
 *	look-ups		fail with -EIO where they rest on what is not committed, see l2.c
 *	the next table		opens the image anew, see qc_image_open()
 *	closing it		writes nothing
 *
 * Not a lock, but held like one: in_flight, an SRCU domain, of the device that writes the
 * image.  Whoever looks a host position up in a writable image and then reads or writes there does
 * both inside one section; the fast path's end in interrupt context.  A freed host cluster gets
 * its refcount lowered, hence can be allocated again, only
 *	(1) after the L2 entry that no longer names it is on stable storage (commit.c), and
 *	(2) after a grace period of in_flight that began after (1).
 *
 * Nobody who holds any of these waits for a work item that has not started, but for one of a store
 * (sync_call() in store.c), whose queue has a rescuer of its own and takes none of these: a single
 * rescuer thread for each queue is enough to make progress.
 */
#ifndef QCHAIN_IMAGE_H
#define QCHAIN_IMAGE_H

#include <linux/device-mapper.h>
#include <linux/kref.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "cache.h"
#include "device.h"
#include "format.h"
#include "store.h"

enum qc_format {
	QC_RAW,
	QC_QCOW2,
};

/* Where the bytes at a guest position are, see qc_image_lookup(). */
enum qc_extent_kind {
	QC_EXTENT_UNALLOCATED,	/* not in this layer */
	QC_EXTENT_ZERO,
	QC_EXTENT_DATA,
	QC_EXTENT_COMPRESSED,	/* exactly the rest of one cluster */
};

struct qc_image;

struct qc_extent {
	enum qc_extent_kind kind;
	bool in_place;		/* DATA: may be overwritten where it is */
	u64 len;		/* bytes, from the position looked up */
	struct qc_image *image;	/* DATA, COMPRESSED: whose store */
	u64 host;		/* DATA: position in the store */
	u64 entry;		/* COMPRESSED: the L2 entry */
};

/* Blocks to be written, by the step of the commit that writes them. */
enum qc_dirty_class {
	QC_DIRTY_REFCOUNTS,
	QC_DIRTY_REFTABLE,
	QC_DIRTY_L2,
	QC_DIRTY_L1,
	QC_DIRTY_CLASSES
};

/* Host clusters waiting to be freed. */
struct qc_freed {
	struct list_head list;
	u64 cluster;
	u64 count;
	bool table;		/* may be cached as metadata */
};

/*
 * A count that is made once, in the background, and kept up to date from then on: what lies
 * below the cursor is in the sum.
 */
struct qc_count {
	u64 cursor;		/* U64_MAX: all of it */
	u64 sum;
};

static inline void qc_count_note(struct qc_count *count, u64 index, bool was, bool is)
{
	if (index < count->cursor)
		count->sum += is - was;
}

/* A range of guest clusters (or another unit) that is locked, and all that are. */
struct qc_range {
	struct list_head list;
	u64 first, last;
};

struct qc_ranges {
	spinlock_t lock;		/* the list */
	struct list_head list;
	wait_queue_head_t wait;
};

/*
 * A use of an image by a device: by one of its tables, in use or only loaded, or one of its jobs.
 * It holds a reference, and is there as long as anything may be read or written for it.
 *
 * An image that is written, or released to be edited, is used by one device only, all its objects
 * taken together (see qc_image_open()).  Who wants that gets it when, and not before, no other
 * device has a use of it; who had one earlier does not matter.
 */
struct qc_use {
	struct list_head list;		/* in image->uses */
	struct qc_image *image;		/* NULL: no use */
	struct qc_device *device;	/* there longer than its uses */
};

struct qc_image {
	/* constant after open */
	enum qc_format format;
	bool writable;
	bool discard_passdown;		/* freed clusters are discarded in the store */
	struct qc_store *store;
	struct qc_store_id id;
	u64 size;			/* virtual size in bytes */
	unsigned int version;
	unsigned int cluster_bits;
	unsigned int l2_bits;		/* entries of an L2 table, log2 */
	unsigned int refcount_order;
	enum qcow2_compression compression;
	u64 l1_offset;
	u32 l1_size;			/* entries */
	u64 snapshots_offset;
	u32 nb_snapshots;

	/*
	 * For .map(): the device that bios are remapped to (NULL: a file), the alignment
	 * that they must have, as a mask, and where the device ends as far as is known.
	 */
	struct block_device *remap;
	unsigned int remap_mask;
	u64 remap_end;

	/* registry (image.c) */
	struct list_head list;
	struct kref kref;
	bool busy;			/* being opened: not to be used yet */
	struct qc_device *writer;	/* the device that may write; a reference */
	struct list_head uses;
	bool released;			/* see qc_image_release(); changed under registry_lock */

	struct qc_cache cache;		/* by store position >> block_bits */

	/*
	 * The active L1 table in CPU order, NULL in an image that is only read below
	 * others (which reads it through the cache).  Changed under lock, read with READ_ONCE().
	 */
	u64 *l1;

	bool aborted;			/* see the top; of a writable qcow2 image */

	/* In a writable one. */
	struct list_head kept;		/* in writer->kept, see device.h */
	errseq_t told[QC_TELLS];	/* of failed flushes, the user of the device */

	/* --- the rest only in a writable qcow2 image --- */
	struct srcu_struct *in_flight;	/* the writer's */
	struct mutex commit_lock;	/* these two: see the top */
	struct mutex lock;		/* all changes of metadata */

	/* refcount.c, under lock */
	u64 *reftable;			/* CPU order */
	u64 reftable_offset;
	u32 reftable_clusters;
	u64 reftable_entries;
	bool reftable_moved;		/* and the header on disk may not know yet */
	u64 free_hint;			/* no free cluster below */
	u64 host_end;			/* first cluster above all that are in use */
	u64 host_limit;			/* clusters that the store surely has room for */
	u64 keep_clusters;		/* never truncate below */
	struct xarray tables;		/* bitmap pages of host clusters that hold metadata */

	/* commit.c, under lock */
	struct list_head dirty[QC_DIRTY_CLASSES];
	void *scratch;			/* the size of a metadata block */
	struct list_head freed;		/* since the last commit */
	unsigned int freed_runs;	/* in that list */
	void *bounce;			/* under commit_lock */
	mempool_t freed_pool;
	/* Freed clusters between commit and release: in their grace period, and before it. */
	struct list_head batch, batch_next;
	bool batch_running;
	unsigned long batches_begun, batches_done; /* done is read without lock by who waits */
	struct rcu_head batch_rcu;
	struct work_struct batch_work;
	wait_queue_head_t batch_wait;
	bool unclean;			/* something is dirty; read without lock after a look-up */
	u64 commit_started, commit_done; /* generations; done under commit_lock */
	struct delayed_work commit_work;
	bool closing;			/* no more delayed commits */
	bool quiesced;			/* nothing is to be read or written in the background */
	bool written_back;		/* all of it, when it was last quiesced */
	/*
	 * For commits in the background and for releasing freed clusters.  The image's own: its
	 * work waits for the store, and that may lie on another of the module's devices.
	 */
	struct workqueue_struct *wq;
	bool features_written;		/* autoclear bits are cleared on disk */

	struct qc_ranges ranges;	/* guest clusters being changed */

	/* mirror.c: set while writes to this image, as a top layer, go elsewhere, too */
	struct qc_mirror *mirror;

	/* Set once, never cleared: metadata was found bad; writes fail from then on. */
	bool corrupt;
	struct work_struct corrupt_work; /* marks the header */
	struct work_struct abort_work;	/* tells user space */

	/* For status, under lock: guest clusters with an L2 entry, host clusters in use. */
	struct qc_count mapped, used;
	struct work_struct count_work;
};

static inline u64 qc_cluster_size(const struct qc_image *image)
{
	return 1ULL << image->cluster_bits;
}

static inline u64 qc_cluster_offset(const struct qc_image *image, u64 pos)
{
	return pos & (qc_cluster_size(image) - 1);
}

/* Entries of eight bytes in a cached block, log2. */
static inline unsigned int qc_block_entry_bits(const struct qc_image *image)
{
	return image->cache.block_bits - 3;
}

/* ---- image.c ---- */

/*
 * qc_image_open - find or open the image that @name (see qc_store_open()) names.
 * @device: whose table wants it; with @writable it becomes the one device that may write.
 * @use: of the table, free; taken when the image is opened, see qc_image_unuse().
 * An image that only this device has, read-only, is opened a second time for writing: the table in
 * use goes on with the first, which is closed with it.  Nobody may change the image before.
 * One that was released or is aborted is opened again, too.
 * @top: the L1 table is wanted in memory.
 * @error: set to a sentence on failure.
 *
 * Checks the header as section "Header" of the specification demands, refuses unknown
 * incompatible features by their names from the feature name table (in the kernel log).
 * Errors: those of qc_store_open(), -EINVAL (not a valid image), -EOPNOTSUPP (a feature),
 * -EUCLEAN (dirty or corrupt, and @writable), -EBUSY (another device writes it, or reads
 * what is to be written), -ENOMEM.
 * Process context, sleeps; in a memalloc_noio section, as the device may be suspended.
 */
struct qc_image *qc_image_open(enum qc_format format, const char *name, bool writable, bool top,
			       struct qc_device *device, struct qc_use *use, char **error);

/*
 * qc_image_use - one more use of an image that @device has, for somebody with a reference.
 * qc_image_unuse - its end; nothing is in flight for it any more.  A free one is fine.
 * Process context, sleep.
 */
void qc_image_use(struct qc_image *image, struct qc_device *device, struct qc_use *use);
void qc_image_unuse(struct qc_use *use);

/* One more reference, for somebody who has one.  Any context. */
static inline struct qc_image *qc_image_get(struct qc_image *image)
{
	kref_get(&image->kref);
	return image;
}

/* The same image, perhaps opened twice (see qc_image_open()).  Any context. */
static inline bool qc_image_same(const struct qc_image *a, const struct qc_image *b)
{
	return a->format == b->format && qc_store_id_equal(&a->id, &b->id);
}

/*
 * qc_image_release - let user space edit the metadata of an image whose device is suspended.
 * Everything is written back, the file is cut to its last used cluster, and nothing is written any
 * more through @image, which must not be used again.  Tables loaded from now on open it
 * anew, and check it as they did the first time.
 * 0, -EBUSY (another device has it, too), or what writing back said: then nothing has changed.
 * Process context, sleeps; under @device->mutex, in a memalloc_noio section.
 */
int qc_image_release(struct qc_image *image, const struct qc_device *device);

/*
 * qc_image_put - drop a reference; the last one writes everything back, truncates the
 * file to its last used cluster and closes.  Process context, sleeps.
 */
void qc_image_put(struct qc_image *image);

/*
 * qc_image_corrupt - metadata of @image was found bad, as @what says at store position @pos.
 * Logs once; in a writable image all further writes fail and the header gets its corrupt
 * bit (version 3), from a work item.  Any context.
 */
void qc_image_corrupt(struct qc_image *image, const char *what, u64 pos);

/* Set the corrupt bit now.  Process context, sleeps; a failure is logged. */
void qc_image_mark_corrupt(struct qc_image *image);

/* Has a flush failed?  See the top.  Any context. */
static inline bool qc_image_aborted(const struct qc_image *image)
{
	return READ_ONCE(image->aborted);
}

/*
 * qc_image_flush - flush the store of a writable qcow2 image.
 * 0: all that was written before is stable, whoever else has flushed meanwhile; -EIO when the image
 * is aborted; or what the store said.  Process context, sleeps.
 */
int qc_image_flush(struct qc_image *image);

/* Point the header to where the refcount table is now, and flush.  Under lock; sleeps. */
int qc_image_write_reftable(struct qc_image *image);

/* Clear the autoclear bits before the first change (section "Header").  Under lock; sleeps. */
int qc_image_before_change(struct qc_image *image);

/*
 * Does [@pos, @pos + @len) begin at a cluster and lie in the store, the last cluster of
 * which may be cut?
 */
bool qc_table_ok(const struct qc_image *image, u64 pos, u64 len);

/* Read @entries big-endian words at @pos into @table, CPU order.  At open; sleeps. */
int qc_read_table(struct qc_image *image, u64 pos, u64 *table, u64 entries);

/* ---- l2.c ---- */

/* Mark the entries of an L1 table just read that are bad, for ever.  Any context. */
void qc_l1_validate(struct qc_image *image, u64 *l1);

/*
 * The entries of a block of the L1 table are on disk as @bytes has them: tables that were new and
 * are named there are so no longer.  Under lock.
 */
void qc_l1_committed(struct qc_image *image, u64 block_pos, const void *bytes);

/* Check a block of L2 entries just read from disk; marks it SUSPECT.  Any context. */
void qc_l2_validate(struct qc_image *image, struct qc_block *block);

/*
 * qc_image_peek - look up without sleeping.
 * Fills @extent for at most @len bytes from @pos, as far as the mapping is contiguous in
 * the image and cached in one block.  Returns false when it cannot be told from memory, or
 * is to be checked first (a @write through entries whose refcounts nobody has compared yet).
 * Any context, inside rcu_read_lock() and, in a writable image, inside in_flight.
 * @pos + @len <= image->size.
 */
bool qc_image_peek(struct qc_image *image, u64 pos, u64 len, bool write, struct qc_extent *extent);

/*
 * qc_image_lookup - the same, reading metadata as needed.
 * 0, or -EIO (a bad entry; an aborted image and @write, or what is not committed), -EROFS (@write
 * to a corrupt image), I/O errors, -ENOMEM.
 * Process context, sleeps.
 */
int qc_image_lookup(struct qc_image *image, u64 pos, u64 len, bool write,
		    struct qc_extent *extent);

/* Lock @first...@last against others who do so.  Lock: process context, sleeps. */
void qc_ranges_init(struct qc_ranges *ranges);
void qc_range_lock(struct qc_ranges *ranges, struct qc_range *range, u64 first, u64 last);
void qc_range_unlock(struct qc_ranges *ranges, struct qc_range *range);

/* What is to become of guest clusters. */
enum qc_l2_change {
	QC_L2_MAP,		/* host clusters @host..., data written, refcount one */
	QC_L2_DISCARD,		/* reads zeroes, host clusters freed */
	QC_L2_ZERO,		/* reads zeroes, host clusters freed */
	QC_L2_ZERO_KEEP,	/* reads zeroes, host clusters stay allocated */
};

/*
 * qc_l2_change - change the entries of guest clusters @first... @first + @count - 1, which
 * the caller has range-locked and which lie in one L2 table.
 *
 * Host clusters no longer named are queued to be freed.  @backed: unallocated clusters would show a
 * backing file's data.  For an image of version 2 (no zero flag) DISCARD and ZERO of a
 * backed cluster return -EOPNOTSUPP, having changed nothing.
 * @done returns how many clusters were changed, also on error.
 * 0, -ENOSPC, -EIO, -EROFS.  Not inside in_flight.  Process context, takes commit_lock and lock,
 * sleeps, also for want of memory.
 */
int qc_l2_change(struct qc_image *image, enum qc_l2_change what, u64 first, u64 count,
		 u64 host, bool backed, u64 *done);

/* As qc_refcount_count(), for guest clusters with an entry. */
int qc_l2_count(struct qc_image *image, u64 cluster, u64 *sum, u64 *next);

/* ---- refcount.c ---- */

/* Load the refcount table, find the end of the used part.  At open; sleeps. */
int qc_refcount_open(struct qc_image *image);
void qc_refcount_close(struct qc_image *image);

/* The first cluster behind all that must stay in the file.  Takes lock; sleeps. */
u64 qc_refcount_end(struct qc_image *image);

/*
 * Mark tables at [@pos, @pos + @len) in the store, -EUCLEAN when something is marked there
 * already; @what for the log.  At open; sleeps.
 */
int qc_tables_mark_once(struct qc_image *image, u64 pos, u64 len, const char *what);

/* Note where the tables are: header, L1, L2, snapshots; refcounts are noted before.  Sleeps. */
int qc_tables_load(struct qc_image *image);

/*
 * qc_alloc_clusters - allocate up to @count contiguous host clusters, at least one.
 * Their refcounts become one in memory; @count returns how many.  Under lock; sleeps.
 * -EAGAIN (the refcount table is full), -ENOSPC, -ENOMEM: see qc_change_retry(); -EIO.
 */
int qc_alloc_clusters(struct qc_image *image, u64 *count, u64 *host);

/*
 * The same for data, from outside the lock, growing the refcount table when needed and,
 * when space is short, releasing what was freed.  @fresh: the clusters are known to read as
 * zeroes.  Not inside in_flight.
 */
int qc_alloc_data(struct qc_image *image, u64 *count, u64 *host, bool *fresh);

/*
 * Take clusters back that were allocated and never named by anything.  Takes lock; sleeps, also for
 * want of memory.
 */
void qc_alloc_undo(struct qc_image *image, u64 host, u64 count);

/* Make room in the refcount table.  Takes commit_lock and lock; sleeps. */
int qc_reftable_grow(struct qc_image *image);

/* The refcount of one host cluster.  Under lock; sleeps. */
int qc_refcount_read(struct qc_image *image, u64 cluster, u64 *refcount);

/*
 * Lower refcounts by one, a reference being gone for good: that of one cluster, under lock, which
 * gives 0, -EIO, or -ENOMEM; or of @count, from outside the lock, waiting for memory.  Sleep.
 */
int qc_refcount_lower(struct qc_image *image, u64 cluster);
void qc_refcount_give_back(struct qc_image *image, u64 cluster, u64 count);

/* Note that host clusters hold tables, and ask.  Under lock; marking may allocate: -ENOMEM. */
int qc_tables_mark(struct qc_image *image, u64 cluster, u64 count, gfp_t gfp);
void qc_tables_clear(struct qc_image *image, u64 cluster, u64 count);
bool qc_tables_test(struct qc_image *image, u64 cluster);

/*
 * qc_table_init - make a newly allocated cluster read as zeroes on disk, before
 * anything names it; parts that will be written anyhow included.  Sleeps.
 */
int qc_table_init(struct qc_image *image, u64 host);

/*
 * Count the host clusters in use that the cached block with the refcount of @cluster
 * tells of; @next: where to go on, U64_MAX at the end.  Under lock; sleeps.
 */
int qc_refcount_count(struct qc_image *image, u64 cluster, u64 *sum, u64 *next);

/* ---- snapshot.c ---- */

/* Mark the snapshot table and the L1 tables of the internal snapshots.  At open; sleeps. */
int qc_snapshots_mark(struct qc_image *image);

/* ---- count.c ---- */

/* Make the counts for status, once, in the background.  A writable image; any context. */
void qc_count_start(struct qc_image *image);
void qc_count_init(struct qc_image *image);

/* ---- commit.c ---- */

/*
 * Make an image writable; and, when nothing is in flight any more, write everything back,
 * release what was freed and truncate the file: for now (0, or what the store said), or, unless
 * it was released, for the end.  Process context, sleep.
 */
int qc_writer_open(struct qc_image *image);
int qc_writer_write_back(struct qc_image *image);
void qc_writer_close(struct qc_image *image);

/* After this an aborted image's metadata is not written any more.  Takes its locks; sleeps. */
void qc_writer_settle(struct qc_image *image);

/* Enter a changed block into its list.  Call qc_block_shadow() before the change.  Under lock. */
void qc_commit_dirty(struct qc_image *image, struct qc_block *block, enum qc_dirty_class class);

/*
 * Set the entry at position @pos of the L1 table or the refcount table, as @class says.
 * Under lock; sleeps.  -ENOMEM, I/O errors.
 */
int qc_commit_entry(struct qc_image *image, enum qc_dirty_class class, u64 pos, u64 entry);

/*
 * Queue host clusters to lose one reference after the next commit; @table: what they held may be in
 * the cache.  Under lock.  -ENOMEM.
 */
int qc_commit_free(struct qc_image *image, u64 cluster, u64 count, bool table);

/* The last @count clusters of the last call, under the same lock, are kept after all. */
void qc_commit_keep(struct qc_image *image, u64 count);

/*
 * qc_commit - put everything that was completed before the call on stable storage.
 * Callers that come while one commit runs share the next one.  0; -EIO for an aborted image; or
 * what the store said, after which everything is still there to be tried again.  Process context,
 * sleeps.
 */
int qc_commit(struct qc_image *image);

/* The same, and then wait until all freed clusters can be allocated again. */
int qc_commit_and_release(struct qc_image *image);

/*
 * The same until nothing is left to be written: nothing is in flight, and the image's metadata on
 * disk is complete.  Also after an error nothing is written in the background any more, so that
 * user space may change the header, until qc_commit_resume().  Sets @image->written_back.
 */
int qc_commit_quiesce(struct qc_image *image);

/* What could not be written then is tried again, and what was being counted goes on. */
void qc_commit_resume(struct qc_image *image);

/*
 * For qc_reftable_grow(): with commit_lock and lock held and nothing under writeback.  What the
 * first one writes is on stable storage when it returns 0, and else it is dirty again.
 */
int qc_commit_write_class(struct qc_image *image, enum qc_dirty_class class);
int qc_commit_locked(struct qc_image *image);

/*
 * Drop dirty blocks in a range of the store that nothing on disk will ever name, and that are not
 * under writeback.  Under lock.
 */
void qc_commit_discard(struct qc_image *image, u64 pos, u64 len);

/* Let writers that produce dirty metadata wait until the bound allows more.  No locks held. */
int qc_commit_throttle(struct qc_image *image);

/*
 * qc_commit_for_memory - wait a moment for memory, and make what the image holds of it free.
 * 0 or what the store said.  Takes commit_lock and lock; sleeps.
 */
int qc_commit_for_memory(struct qc_image *image);

/*
 * qc_commit_room - may a writer that has the lock go on to make some blocks dirty?
 * -ENOMEM: not before a commit, as what is dirty holds too much of the cache's reserve.
 */
int qc_commit_room(struct qc_image *image);

/*
 * qc_change_retry - remove what kept a change of metadata from being made, @error:
 * -EAGAIN: the refcount table was full; -ENOSPC, unless @released, which is set: what was freed
 * may be enough; -ENOMEM: a commit lets go of memory, and others may do so in a while.
 * Returns -EAGAIN, to try again; another error, or 0, is as it was or came of trying.
 * Takes commit_lock and lock, waits for released clusters; not inside in_flight.  Sleeps.
 */
int qc_change_retry(struct qc_image *image, int error, bool *released);

/* ---- compress.c ---- */

/*
 * qc_decompress_prepare - have buffers for clusters of this image.  At open; sleeps.
 */
int qc_decompress_prepare(const struct qc_image *image);

/*
 * qc_decompress - read the compressed cluster that @entry describes (section "Compressed
 * Clusters Descriptor") and copy @iter->bi_size bytes from @offset in it to the memory of
 * @bvec, @iter.
 * 0, -EIO (bad data or descriptor), I/O errors.  Process context, sleeps.
 */
int qc_decompress(struct qc_image *image, u64 entry, u64 offset,
		  const struct bio_vec *bvec, struct bvec_iter iter);

/* @image goes away: nothing that was read from it is remembered.  Sleeps. */
void qc_decompress_forget(const struct qc_image *image);

/*
 * Where a compressed cluster's data is in the store, in bytes, up to the end of its last sector
 * (section "Compressed Clusters Descriptor").  False: a bad descriptor.  Any context.
 */
bool qc_compressed_range(const struct qc_image *image, u64 entry, u64 *pos, u64 *len);

int qc_decompress_module_init(void);
void qc_decompress_module_exit(void);

#endif /* QCHAIN_IMAGE_H */
