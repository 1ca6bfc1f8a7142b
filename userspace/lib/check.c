// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check and repair.
 *
 * The refcounts that an image should have are counted by a walk over its metadata, then
 * compared with those it has.  The counters cover a window of host clusters; an image
 * with more clusters than fit is walked once per window.  Refcounts of what lies beyond the end
 * of the file or device are not looked at, as in QEMU: the refcount table can name more than
 * could be looked through in a lifetime.
 */
#include <errno.h>
#include <stdio.h>

#include "check.h"
#include "entry.h"
#include "refcount.h"
#include "walk.h"

/* In struct check.kind, besides the enum qc_use: the refcount on disk is exactly one. */
#define KIND_SINGLE 0x80
#define KIND_USE 0x7f

/* How far new refcount structures may be from the rest of a small image. */
#define REBUILD_SLACK (1ULL << 20)

struct check {
	struct qc_store *store;
	struct qc_header *header;
	const struct qc_check_options *options;
	u64 clusters;		/* in the file or device */
	u64 area_first;		/* beyond these, where new refcount structures are to be */
	u64 area_end;
	u64 area_used;		/* first cluster behind all references to that area; 0: none */
	u64 used_end;		/* first cluster behind the last one that something refers to */

	/* The window */
	u64 first;
	u64 count;
	u32 *refs;		/* references counted */
	u8 *kind;		/* what the first reference uses the cluster as */

	/* What this pass does and finds */
	bool quiet;		/* reported before */
	bool counted;		/* the walk of an earlier window counted what is bad */
	unsigned int fix;	/* enum qc_repair */
	bool rebuild;		/* the refcount structures are not fit for repair in place */
	bool overlap;		/* metadata is shared with something else */
	u64 corruptions;
	u64 leaks;
	struct qc_walk walk;
};

static void found(struct check *c, enum qc_finding finding, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void found(struct check *c, enum qc_finding finding, const char *fmt, ...)
{
	char message[320];
	va_list args;

	if (finding == QC_FOUND_LEAK)
		c->leaks++;
	else
		c->corruptions++;
	if (c->quiet || !c->options->report)
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	c->options->report(c->options->ctx, finding, message);
}

static bool in_window(const struct check *c, u64 cluster)
{
	return cluster >= c->first && cluster - c->first < c->count;
}

static bool is_refcount_structure(enum qc_use use)
{
	return use == QC_USE_REFTABLE || use == QC_USE_REFBLOCK;
}

/* Clusters that one refcount above one can stand for: everything else is an overlap. */
static bool may_share(enum qc_use a, enum qc_use b)
{
	return a == b && (a == QC_USE_DATA || a == QC_USE_COMPRESSED || a == QC_USE_L2);
}

static void count_reference(struct check *c, u64 cluster, enum qc_use use)
{
	u64 at = cluster - c->first;
	enum qc_use before = c->kind[at] & KIND_USE;

	if (c->refs[at] < UINT32_MAX)
		c->refs[at]++;
	if (before == QC_USE_NONE) {
		c->kind[at] = use;
		return;
	}
	if (may_share(before, use))
		return;
	found(c, QC_FOUND_CORRUPTION, "cluster at 0x%llx is used as %s and as %s",
	      cluster << c->header->cluster_bits, qc_use_name(before), qc_use_name(use));
	if (is_refcount_structure(before) || is_refcount_structure(use))
		c->rebuild = true;
	else
		c->overlap = true;
}

static int check_use(struct qc_walk *walk, enum qc_use use, u64 offset, u64 len)
{
	struct check *c = walk->ctx;
	u64 cluster = offset >> c->header->cluster_bits;
	u64 last = (offset + len - 1) >> c->header->cluster_bits;

	if (last >= c->clusters) {
		if (!c->counted)
			found(c, QC_FOUND_CORRUPTION, "%s at 0x%llx lies outside of the image",
			      qc_use_name(use), offset);
		if (is_refcount_structure(use))
			c->rebuild = true;
		if (cluster < c->area_end && last >= c->area_first && last >= c->area_used)
			c->area_used = last + 1;
		return 1;
	}
	if (last >= c->used_end)
		c->used_end = last + 1;
	if (cluster < c->first)
		cluster = c->first;
	for (; cluster <= last && in_window(c, cluster); cluster++)
		count_reference(c, cluster, use);
	return 0;
}

static void check_bad(struct qc_walk *walk, enum qc_use use, const char *message)
{
	struct check *c = walk->ctx;

	if (!c->counted)
		found(c, QC_FOUND_CORRUPTION, "%s", message);
	if (is_refcount_structure(use))
		c->rebuild = true;
}

/* Count the references to the clusters of the window that starts at @first. */
static int count_window(struct check *c, u64 first, bool refcounts, struct qc_error *err)
{
	c->first = first;
	memset(c->refs, 0, c->count * sizeof(*c->refs));
	memset(c->kind, 0, c->count);
	c->walk = (struct qc_walk) {
		.store = c->store,
		.header = c->header,
		.refcounts = refcounts,
		.terse = c->counted || c->quiet || !c->options->report,
		.ctx = c,
		.use = check_use,
		.bad = check_bad,
	};
	return qc_walk(&c->walk, err);
}

static u32 references(const struct check *c, u64 cluster)
{
	return c->refs[cluster - c->first];
}

/* Compare one refcount; returns what it should become on disk. */
static u64 compare_one(struct check *c, u64 cluster, u64 refcount)
{
	u64 counted = references(c, cluster);

	if (refcount > counted) {
		found(c, QC_FOUND_LEAK, "cluster %llu is leaked: refcount %llu, references %llu",
		      cluster, refcount, counted);
		if (c->fix & QC_REPAIR_LEAKS)
			refcount = counted;
	} else if (refcount < counted) {
		found(c, QC_FOUND_CORRUPTION, "cluster %llu has refcount %llu, references %llu",
		      cluster, refcount, counted);
		if (c->fix & QC_REPAIR_ERRORS &&
		    counted <= qc_refcount_max(c->header->refcount_order))
			refcount = counted;
	}
	if (refcount == 1)
		c->kind[cluster - c->first] |= KIND_SINGLE;
	return refcount;
}

/* Compare the block for the clusters from @first on; @entry is its refcount table entry. */
static int compare_block(struct check *c, u64 first, u64 entry, u8 *block, struct qc_error *err)
{
	u32 order = c->header->refcount_order;
	u32 entries = qc_refblock_entries(c->header);
	bool valid = entry && qc_reftable_entry_sound(c->header, entry) &&
		     entry >> c->header->cluster_bits < c->clusters;
	bool dirty = false;
	int ret;

	memset(block, 0, qc_cluster_size(c->header));
	if (valid) {
		ret = qc_store_read(c->store, entry, block, qc_cluster_size(c->header), err);
		if (ret < 0)
			return ret;
	}
	for (u32 i = 0; i < entries && first + i < c->clusters; i++) {
		u64 refcount = qc_refcount_get(block, order, i);
		u64 wanted;

		if (!refcount && !references(c, first + i))
			continue;
		if (!valid)
			c->rebuild = true;
		wanted = compare_one(c, first + i, refcount);
		if (wanted != refcount) {
			qc_refcount_set(block, order, i, wanted);
			dirty = true;
		}
	}
	if (!dirty || !valid)
		return 0;
	return qc_store_write(c->store, entry, block, qc_cluster_size(c->header), err);
}

static int compare_window(struct check *c, const u64 *reftable, u64 nb_entries,
			  struct qc_error *err)
{
	u64 entries = qc_refblock_entries(c->header);
	CLEANUP_FREE u8 *block = malloc(qc_cluster_size(c->header));

	if (!block)
		return qc_fail_nomem(err, c->store->path);
	for (u64 at = c->first; at < c->first + c->count && at < c->clusters; at += entries) {
		u64 index = at / entries;
		int ret;

		if (at >= c->used_end && index >= nb_entries)
			break;
		ret = compare_block(c, at, index < nb_entries ? be64toh(reftable[index]) : 0,
				    block, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/*
 * The copied flag says whether the refcount on disk is exactly one.  Returns the
 * entry as it should be; one whose cluster is outside of the window stays.
 */
static u64 check_copied(struct check *c, const char *what, u32 index, u64 entry)
{
	u64 cluster = (entry & QC_OFFSET_MASK) >> c->header->cluster_bits;
	bool single;

	if (!in_window(c, cluster) || cluster >= c->clusters)
		return entry;
	single = c->kind[cluster - c->first] & KIND_SINGLE;
	if (single == !!(entry & QC_COPIED))
		return entry;
	found(c, QC_FOUND_CORRUPTION,
	      "%s entry %u (0x%016llx): the copied flag does not match the refcount", what, index,
	      entry);
	return entry ^ QC_COPIED;
}

/* The entry with everything set right that can be without guessing. */
static u64 check_l2_entry(struct check *c, u32 index, u64 entry)
{
	u64 offset = entry & QC_OFFSET_MASK;

	if (entry & QC_COMPRESSED)
		return entry & ~QC_COPIED;
	if (!offset)
		return entry & ~QC_COPIED;
	if (offset & (qc_cluster_size(c->header) - 1))
		/* Reads as zeroes anyway: only the preallocation is lost. */
		return c->header->version >= 3 && entry & QC_ZERO ? QC_ZERO : entry;
	return check_copied(c, "L2", index, entry);
}

static int check_l2_flags(struct check *c, u64 offset, u64 *l2, struct qc_error *err)
{
	u64 cluster = offset >> c->header->cluster_bits;
	bool dirty = false;
	int ret;

	if (offset & (qc_cluster_size(c->header) - 1) || cluster >= c->clusters)
		return 0;
	ret = qc_store_read(c->store, offset, l2, qc_cluster_size(c->header), err);
	if (ret < 0)
		return ret;
	for (u32 i = 0; i < qc_l2_entries(c->header); i++) {
		u64 entry = be64toh(l2[i]);
		u64 right = entry ? check_l2_entry(c, i, entry) : 0;

		if (right != entry) {
			l2[i] = htobe64(right);
			dirty = true;
		}
	}
	if (!dirty || !(c->fix & QC_REPAIR_ERRORS))
		return 0;
	return qc_store_write(c->store, offset, l2, qc_cluster_size(c->header), err);
}

/* How many of a table's entries lie in the image. */
static u64 entries_within(const struct check *c, u64 offset, u64 entries)
{
	u64 end = c->clusters << c->header->cluster_bits;
	u64 within = offset < end ? (end - offset) / sizeof(u64) : 0;

	return entries < within ? entries : within;
}

/* Copied flags of the active L1 table and its L2 tables; elsewhere they mean nothing. */
static int check_flags(struct check *c, struct qc_error *err)
{
	const struct qc_header *h = c->header;
	CLEANUP_FREE u64 *l2 = malloc(qc_cluster_size(h));
	CLEANUP_FREE u64 *l1 = NULL;
	bool dirty = false;
	int ret;

	if (!l2)
		return qc_fail_nomem(err, c->store->path);
	if (entries_within(c, h->l1_offset, h->l1_size) < h->l1_size)
		return 0;	/* not followed by the walk either */
	ret = qc_read_table(c->store, h->l1_offset, h->l1_size, &l1, err);
	if (ret < 0)
		return ret;
	for (u32 i = 0; i < h->l1_size; i++) {
		u64 entry = be64toh(l1[i]);
		u64 right;

		if (!(entry & QC_OFFSET_MASK))
			continue;
		right = check_copied(c, "L1", i, entry);
		if (right != entry) {
			l1[i] = htobe64(right);
			dirty = true;
		}
		ret = check_l2_flags(c, entry & QC_OFFSET_MASK, l2, err);
		if (ret < 0)
			return ret;
	}
	if (!dirty || !(c->fix & QC_REPAIR_ERRORS))
		return 0;
	return qc_store_write(c->store, h->l1_offset, l1, h->l1_size * sizeof(u64), err);
}

static void free_windows(struct check *c)
{
	free(c->refs);
	free(c->kind);
}

/*
 * The size of the file or device, which a repair may change, and a window for it: a whole number of
 * refcount blocks, and no larger than needed.
 */
static int measure(struct check *c, struct qc_error *err)
{
	u64 memory = c->options->memory ? c->options->memory : QC_CHECK_MEMORY;
	u64 entries = qc_refblock_entries(c->header);
	u64 size;
	int ret;

	ret = qc_store_size(c->store, &size, err);
	if (ret < 0)
		return ret;
	free_windows(c);
	c->clusters = qc_div_round_up(size, qc_cluster_size(c->header));
	c->count = memory / (sizeof(*c->refs) + sizeof(*c->kind));
	if (c->count > c->clusters)
		c->count = c->clusters;
	c->count = qc_div_round_up(c->count ? c->count : 1, entries) * entries;
	c->refs = malloc(c->count * sizeof(*c->refs));
	c->kind = malloc(c->count);
	return c->refs && c->kind ? 0 : qc_fail_nomem(err, c->store->path);
}

/* Look at everything once, and set right in place what @fix allows. */
static int pass(struct check *c, unsigned int fix, struct qc_error *err)
{
	const struct qc_header *h = c->header;
	u64 nb_entries = ((u64)h->reftable_clusters << h->cluster_bits) / sizeof(u64);
	CLEANUP_FREE u64 *reftable = NULL;
	u64 first = 0;
	int ret;

	ret = measure(c, err);
	if (ret < 0)
		return ret;
	nb_entries = entries_within(c, h->reftable_offset, nb_entries);
	ret = qc_read_table(c->store, h->reftable_offset, nb_entries, &reftable, err);
	if (ret < 0)
		return ret;
	while (nb_entries && !reftable[nb_entries - 1])
		nb_entries--;

	c->fix = fix;
	c->corruptions = 0;
	c->leaks = 0;
	c->used_end = 0;
	c->counted = false;
	c->rebuild = false;
	c->overlap = false;
	do {
		ret = count_window(c, first, true, err);
		if (ret >= 0)
			ret = compare_window(c, reftable, nb_entries, err);
		if (ret >= 0)
			ret = check_flags(c, err);
		if (ret < 0)
			return ret;
		c->counted = true;
		first += c->count;
	} while (first < c->used_end ||
		 (first < nb_entries * qc_refblock_entries(h) && first < c->clusters));

	return fix ? qc_store_flush(c->store, err) : 0;
}

static int fill_block(void *ctx, void *block, u64 first, struct qc_error *err)
{
	struct check *c = ctx;
	u32 order = c->header->refcount_order;
	int ret;

	if (!in_window(c, first) || first == 0) {
		ret = count_window(c, first, false, err);
		if (ret < 0)
			return ret;
	}
	for (u32 i = 0; i < qc_refblock_entries(c->header); i++) {
		u64 counted = references(c, first + i);

		if (counted > qc_refcount_max(order))
			return qc_fail(err, EOVERFLOW, c->store->path,
				       "copy the data out with qemu-img convert",
				       "cluster %llu has %llu references, more than a refcount of %u bits can hold",
				       first + i, counted, 1 << order);
		qc_refcount_set(block, order, i, counted);
	}
	return 0;
}

/*
 * Where new refcount structures can be: behind everything in use, and where nothing points to that
 * lies outside of the image, for that would come to lie in them when the file grows.
 */
static int find_area(struct check *c, struct qc_refcount_layout *layout, struct qc_error *err)
{
	const struct qc_header *h = c->header;
	u64 behind = c->store->is_bdev ? c->used_end : c->clusters;
	/* In proportion to the image, as every cluster below costs a refcount. */
	u64 limit = 2 * behind + (REBUILD_SLACK >> h->cluster_bits);
	int ret;

	for (;;) {
		if (behind > limit || qc_refcount_layout(h, behind, layout) < 0)
			return qc_fail(err, EFBIG, c->store->path,
				       "copy the data out with qemu-img convert to an image with larger clusters",
				       "there is no room for a new refcount table");
		c->area_first = layout->first;
		c->area_end = layout->end;
		c->area_used = 0;
		ret = count_window(c, 0, false, err);
		if (ret < 0 || !c->area_used)
			return ret;
		behind = c->area_used;
	}
}

/*
 * Write new refcount structures behind everything in use, then let the header point
 * to them.  The old ones are left alone, so that being killed half-way changes nothing.
 */
static int rebuild(struct check *c, struct qc_error *err)
{
	struct qc_header *h = c->header;
	struct qc_refcount_layout layout;
	int ret;

	c->counted = true;
	c->quiet = true;
	ret = find_area(c, &layout, err);
	if (ret < 0)
		return ret;
	ret = qc_store_resize(c->store, layout.end << h->cluster_bits, err);
	if (!ret)
		ret = measure(c, err);
	if (ret < 0)
		return ret;
	ret = qc_refcount_build(c->store, h, &layout, fill_block, c, err);
	if (ret < 0)
		return ret;
	h->reftable_offset = layout.first << h->cluster_bits;
	h->reftable_clusters = layout.table_clusters;
	return qc_header_write(h, c->store, err);
}

/* The bits that the repair makes untrue, and the bitmaps whose clusters it gave back. */
static int update_header(struct check *c, unsigned int repair, struct qc_error *err)
{
	struct qc_header *h = c->header;
	u64 incompatible = h->incompatible;
	bool stale_bitmaps = !(h->autoclear & QC_AUTOCLEAR_BITMAPS) &&
			     repair & QC_REPAIR_LEAKS &&
			     qc_header_extension(h, QC_EXT_BITMAPS);

	if (repair & QC_REPAIR_ERRORS && !c->corruptions)
		incompatible &= ~(QC_INCOMPAT_DIRTY | QC_INCOMPAT_CORRUPT);
	if (incompatible == h->incompatible && !stale_bitmaps)
		return 0;
	h->incompatible = incompatible;
	if (stale_bitmaps)
		qc_header_set_extension(h, QC_EXT_BITMAPS, NULL, 0);
	return qc_header_write(h, c->store, err);
}

static int repair(struct check *c, struct qc_check_result *result, struct qc_error *err)
{
	unsigned int fix = c->options->repair;
	u64 corruptions = c->corruptions;
	u64 leaks = c->leaks;
	int ret;

	c->quiet = true;
	ret = qc_header_begin_change(c->header, 0, c->store, err);
	if (ret < 0)
		return ret;
	if (corruptions && c->rebuild) {
		/* Blocks that overlap something else must not be written to. */
		if (!(fix & QC_REPAIR_ERRORS))
			return 0;
		ret = rebuild(c, err);
		if (ret < 0)
			return ret;
		result->rebuilt = true;
	}
	if (corruptions || leaks) {
		/* The same goes for L2 tables: then leave everything but leaks alone. */
		ret = pass(c, c->overlap ? fix & QC_REPAIR_LEAKS : fix, err);
		if (ret < 0)
			return ret;
		ret = pass(c, 0, err);
		if (ret < 0)
			return ret;
	}
	result->corruptions_fixed = corruptions > c->corruptions ? corruptions - c->corruptions : 0;
	result->leaks_fixed = leaks > c->leaks ? leaks - c->leaks : 0;
	return update_header(c, fix, err);
}

int qc_check(struct qc_store *store, struct qc_header *h, const struct qc_check_options *options,
	     struct qc_check_result *result, struct qc_error *err)
{
	__attribute__((cleanup(free_windows))) struct check c = {
		.store = store,
		.header = h,
		.options = options,
	};
	int ret;

	memset(result, 0, sizeof(*result));
	ret = qc_header_supported(h, store->path, err);
	if (ret < 0)
		return ret;
	ret = pass(&c, 0, err);
	if (ret < 0)
		return ret;
	if (options->repair) {
		ret = repair(&c, result, err);
		if (ret < 0)
			return ret;
	}
	result->corruptions = c.corruptions;
	result->leaks = c.leaks;
	result->image_end = c.used_end << h->cluster_bits;
	result->total_clusters = qc_div_round_up(h->size, qc_cluster_size(h));
	result->allocated = c.walk.allocated;
	result->compressed = c.walk.compressed;
	result->fragmented = c.walk.fragmented;
	return 0;
}

int qc_check_sound(struct qc_store *store, struct qc_header *h, struct qc_error *err)
{
	const struct qc_check_options options = { 0 };
	struct qc_check_result result;
	int ret = qc_check(store, h, &options, &result, err);

	if (ret || !result.corruptions)
		return ret;
	return qc_fail(err, EUCLEAN, store->path, "see: qchain check", "its tables are damaged");
}
