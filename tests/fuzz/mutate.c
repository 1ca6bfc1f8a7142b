// SPDX-License-Identifier: GPL-2.0-or-later
/* Structure-aware damage to qcow2 images. */
#include "entry.h"
#include "header.h"
#include "mutate.h"

struct fuzz_rng fuzz_rng_init(u64 seed)
{
	struct fuzz_rng rng = { seed * 0xd1342543de82ef95ULL + 0x2545f4914f6cdd1dULL };

	fuzz_random(&rng);
	fuzz_random(&rng);
	return rng;
}

/* A linear congruential generator; the high half of its state is mixed into the low one. */
u64 fuzz_random(struct fuzz_rng *rng)
{
	u64 x;

	rng->state = rng->state * 6364136223846793005ULL + 1442695040888963407ULL;
	x = rng->state;
	x ^= x >> 32;
	x *= 0xff51afd7ed558ccdULL;
	return x ^ x >> 29;
}

u64 fuzz_below(struct fuzz_rng *rng, u64 limit)
{
	return limit ? fuzz_random(rng) % limit : 0;
}

static bool one_in(struct fuzz_rng *rng, unsigned int n)
{
	return !fuzz_below(rng, n);
}

void fuzz_resize(struct fuzz_image *image, size_t size)
{
	if (size > image->room)
		size = image->room;
	if (size < image->size)
		memset(image->bytes + size, 0, image->size - size);
	image->size = size;
}

/* ---- reaching into the image ---- */

static bool within(const struct fuzz_image *image, u64 at, u64 len)
{
	return at <= image->size && len <= image->size - at;
}

/* A big-endian number of @width bytes; 0 beyond the end. */
static u64 get(const struct fuzz_image *image, u64 at, unsigned int width)
{
	u64 value = 0;

	if (within(image, at, width))
		for (unsigned int i = 0; i < width; i++)
			value = value << 8 | image->bytes[at + i];
	return value;
}

static void put(struct fuzz_image *image, u64 at, unsigned int width, u64 value)
{
	if (within(image, at, width))
		for (unsigned int i = width; i-- > 0; value >>= 8)
			image->bytes[at + i] = value;
}

/* Positions in the header: see the specification. */
enum {
	VERSION = 4, BACKING_OFFSET = 8, BACKING_SIZE = 16, CLUSTER_BITS = 20, SIZE = 24,
	CRYPT = 32, L1_SIZE = 36, L1_OFFSET = 40, REFTABLE_OFFSET = 48, REFTABLE_CLUSTERS = 56,
	NB_SNAPSHOTS = 60, SNAPSHOTS_OFFSET = 64, INCOMPATIBLE = 72, COMPATIBLE = 80,
	AUTOCLEAR = 88, REFCOUNT_ORDER = 96, HEADER_LENGTH = 100, COMPRESSION = 104,
};

static unsigned int cluster_bits(const struct fuzz_image *image)
{
	u64 bits = get(image, CLUSTER_BITS, 4);

	return bits < 9 || bits > 21 ? 16 : bits;
}

static u64 cluster_size(const struct fuzz_image *image)
{
	return BIT_ULL(cluster_bits(image));
}

static u64 extensions_at(const struct fuzz_image *image)
{
	u64 length = get(image, HEADER_LENGTH, 4);

	if (get(image, VERSION, 4) < 3)
		return 72;
	return length < 104 || length > 4096 ? 104 : length;
}

/* Where an entry of a table is, most often one that is in use; 0 when there is no table. */
static u64 pick_entry(const struct fuzz_image *image, struct fuzz_rng *rng, u64 table, u64 entries)
{
	u64 in_image = table < image->size ? (image->size - table) / 8 : 0;

	if (entries > in_image)
		entries = in_image;
	if (!table || !entries)
		return 0;
	for (int tries = 0; tries < 24; tries++) {
		u64 at = table + 8 * fuzz_below(rng, entries);

		if (get(image, at, 8) || tries > 20)
			return at;
	}
	return table;
}

static u64 pick_l1_entry(const struct fuzz_image *image, struct fuzz_rng *rng)
{
	return pick_entry(image, rng, get(image, L1_OFFSET, 8), get(image, L1_SIZE, 4));
}

static u64 pick_l2_table(const struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 at = pick_l1_entry(image, rng);

	return at ? get(image, at, 8) & QC_OFFSET_MASK : 0;
}

static u64 pick_l2_entry(const struct fuzz_image *image, struct fuzz_rng *rng)
{
	return pick_entry(image, rng, pick_l2_table(image, rng), cluster_size(image) / 8);
}

static u64 pick_reftable_entry(const struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 clusters = get(image, REFTABLE_CLUSTERS, 4);

	return pick_entry(image, rng, get(image, REFTABLE_OFFSET, 8),
			  (clusters << cluster_bits(image)) / 8);
}

static u64 pick_refblock(const struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 at = pick_reftable_entry(image, rng);

	return at ? get(image, at, 8) & ~511ULL : 0;
}

/* The table entry of some snapshot; 0 without one. */
static u64 pick_snapshot(const struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 nb = get(image, NB_SNAPSHOTS, 4), at = get(image, SNAPSHOTS_OFFSET, 8), skip;

	if (!nb || !at)
		return 0;
	for (skip = fuzz_below(rng, nb > 4 ? 4 : nb); skip; skip--) {
		at += 40 + get(image, at + 36, 4) + get(image, at + 12, 2) +
		      get(image, at + 14, 2);
		at = qc_round_up(at, 8);
	}
	return within(image, at, 40) ? at : 0;
}

/* A cluster of metadata of some kind. */
static u64 pick_structure(const struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 snapshot;

	switch (fuzz_below(rng, 7)) {
	case 0:
		return 0;
	case 1:
		return get(image, L1_OFFSET, 8);
	case 2:
		return get(image, REFTABLE_OFFSET, 8);
	case 3:
		return pick_refblock(image, rng);
	case 4:
		return pick_l2_table(image, rng);
	case 5:
		return get(image, SNAPSHOTS_OFFSET, 8);
	default:
		snapshot = pick_snapshot(image, rng);
		return snapshot ? get(image, snapshot, 8) : 0;
	}
}

/* ---- values ---- */

/* A number that is often at a limit of something. */
static u64 odd_number(struct fuzz_rng *rng, u64 old, unsigned int width)
{
	u64 max = width == 8 ? ~0ULL : BIT_ULL(8 * width) - 1;

	switch (fuzz_below(rng, 9)) {
	case 0:
		return 0;
	case 1:
		return max;
	case 2:
		return old + 1;
	case 3:
		return old - 1;
	case 4:
		return old ^ BIT_ULL(fuzz_below(rng, 8 * width));
	case 5:
		return BIT_ULL(fuzz_below(rng, 8 * width)) - fuzz_below(rng, 2);
	case 6:
		return old << fuzz_below(rng, 12);
	case 7:
		return fuzz_below(rng, 65536);
	default:
		return fuzz_random(rng) & max;
	}
}

/* A host offset: another structure's, near the end, beyond it, or between clusters. */
static u64 odd_offset(const struct fuzz_image *image, struct fuzz_rng *rng, u64 old)
{
	u64 size = cluster_size(image), clusters = image->size / size;

	switch (fuzz_below(rng, 12)) {
	case 0:
	case 1:
	case 2:
		return pick_structure(image, rng);
	case 3:
		return old + size;
	case 4:
		return old ^ 512;
	case 5:
		return old + size / 2;
	case 6:
		return image->size & ~(size - 1);
	case 7:
		return qc_round_up(image->size, size) + size * fuzz_below(rng, 2);
	case 8:
		return qc_round_up(image->size, size) << fuzz_below(rng, 24);
	case 9:
		return BIT_ULL(56) - size * (1 + fuzz_below(rng, 2));
	case 10:
		return fuzz_random(rng) & QC_OFFSET_MASK;
	default:
		return size * fuzz_below(rng, clusters + 1);
	}
}

static u64 odd_flags(struct fuzz_rng *rng, u64 old)
{
	static const u64 flags[] = {
		0, 0, QC_COPIED, QC_COMPRESSED, QC_ZERO, QC_COPIED | QC_ZERO, BIT_ULL(1),
		BIT_ULL(8), BIT_ULL(56), BIT_ULL(61), QC_COPIED | QC_COMPRESSED,
	};
	u64 flag = flags[fuzz_below(rng, ARRAY_SIZE(flags))];

	return one_in(rng, 3) ? flag : (old & ~QC_OFFSET_MASK) ^ flag;
}

/* ---- kinds of damage ---- */

struct field {
	u8 at;
	u8 width;
};

static void damage_header(struct fuzz_image *image, struct fuzz_rng *rng)
{
	static const struct field fields[] = {
		{ 0, 4 }, { VERSION, 4 }, { BACKING_OFFSET, 8 }, { BACKING_SIZE, 4 },
		{ CLUSTER_BITS, 4 }, { SIZE, 8 }, { CRYPT, 4 }, { L1_SIZE, 4 }, { L1_OFFSET, 8 },
		{ REFTABLE_OFFSET, 8 }, { REFTABLE_CLUSTERS, 4 }, { NB_SNAPSHOTS, 4 },
		{ SNAPSHOTS_OFFSET, 8 }, { INCOMPATIBLE, 8 }, { COMPATIBLE, 8 },
		{ AUTOCLEAR, 8 }, { REFCOUNT_ORDER, 4 }, { HEADER_LENGTH, 4 }, { COMPRESSION, 1 },
	};
	const struct field *f = &fields[fuzz_below(rng, ARRAY_SIZE(fields))];
	u64 old = get(image, f->at, f->width), value = odd_number(rng, old, f->width);

	switch (f->at) {
	case VERSION:
		value = 2 + fuzz_below(rng, 3);
		break;
	case CLUSTER_BITS:
		value = 8 + fuzz_below(rng, 15);
		break;
	case REFCOUNT_ORDER:
		value = fuzz_below(rng, 8);
		break;
	case L1_OFFSET:
	case REFTABLE_OFFSET:
	case SNAPSHOTS_OFFSET:
		value = odd_offset(image, rng, old);
		break;
	case INCOMPATIBLE:
		value = old ^ BIT_ULL(fuzz_below(rng, one_in(rng, 4) ? 64 : 6));
		break;
	}
	put(image, f->at, f->width, value);
}

static void damage_size(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 covered = get(image, L1_SIZE, 4) << (2 * cluster_bits(image) - 3);

	switch (fuzz_below(rng, 4)) {
	case 0:
		put(image, SIZE, 8, covered);
		break;
	case 1:
		put(image, SIZE, 8, fuzz_below(rng, covered));
		break;
	case 2:
		/* As large as can be: the L1 table grows over all that follows it. */
		put(image, L1_SIZE, 4, fuzz_below(rng, 4 << 20));
		put(image, SIZE, 8, get(image, L1_SIZE, 4) << (2 * cluster_bits(image) - 3));
		break;
	default:
		put(image, SIZE, 8, BIT_ULL(fuzz_below(rng, 64)) - fuzz_below(rng, 2) * 511);
	}
}

static const u32 extension_types[] = {
	QC_EXT_END, QC_EXT_BACKING_FORMAT, QC_EXT_FEATURE_NAMES, QC_EXT_BITMAPS, QC_EXT_CRYPTO,
	QC_EXT_DATA_FILE, 0x12345678,
};

static void damage_extension(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 at = extensions_at(image), skip = fuzz_below(rng, 4);

	while (skip-- && get(image, at, 4))
		at = qc_round_up(at + 8 + get(image, at + 4, 4), 8);
	switch (fuzz_below(rng, 5)) {
	case 0:
		put(image, at, 4, extension_types[fuzz_below(rng, ARRAY_SIZE(extension_types))]);
		break;
	case 1:
		put(image, at + 4, 4, odd_number(rng, get(image, at + 4, 4), 4));
		break;
	case 2:
		/* A new one, over whatever is there. */
		put(image, at, 4, extension_types[fuzz_below(rng, ARRAY_SIZE(extension_types))]);
		put(image, at + 4, 4, fuzz_below(rng, 128));
		break;
	default:
		put(image, at + 8 + fuzz_below(rng, 64), 1, fuzz_random(rng));
	}
}

/* Unknown features, and names for them without an end. */
static void damage_features(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 at = extensions_at(image), nb = 1 + fuzz_below(rng, 6);

	put(image, at, 4, QC_EXT_FEATURE_NAMES);
	put(image, at + 4, 4, nb * 48 + fuzz_below(rng, 3));
	for (u64 i = 0; i < nb * 48; i++)
		put(image, at + 8 + i, 1, 'A' + i % 48);
	for (u64 i = 0; i < nb; i++) {
		put(image, at + 8 + i * 48, 1, fuzz_below(rng, 4));
		put(image, at + 9 + i * 48, 1, fuzz_below(rng, 70));
	}
	if (one_in(rng, 2))
		put(image, INCOMPATIBLE, 8, fuzz_random(rng));
}

static void damage_backing_name(struct fuzz_image *image, struct fuzz_rng *rng)
{
	static const char *const names[] = {
		"top", "./top", "file:top", "base.qcow2", "base.raw", "loop.qcow2", "none",
		"nbd://host/disk", "json:{}", "", ".", "//", "a:b",
	};
	const char *name = names[fuzz_below(rng, ARRAY_SIZE(names))];
	const char *format = one_in(rng, 2) ? "qcow2" : one_in(rng, 2) ? "raw" : "vmdk";
	u64 at = extensions_at(image), len = strlen(name);

	put(image, at, 4, QC_EXT_BACKING_FORMAT);
	put(image, at + 4, 4, strlen(format));
	put(image, at + 8, 8, 0);
	for (size_t i = 0; format[i]; i++)
		put(image, at + 8 + i, 1, format[i]);
	put(image, at + 16, 8, 0);
	put(image, BACKING_OFFSET, 8, at + 24);
	put(image, BACKING_SIZE, 4, len);
	for (u64 i = 0; i < len; i++)
		put(image, at + 24 + i, 1, name[i]);
}

static void damage_entry(struct fuzz_image *image, struct fuzz_rng *rng, u64 at)
{
	u64 old = get(image, at, 8);

	if (!at)
		return;
	switch (fuzz_below(rng, 8)) {
	case 0:
		put(image, at, 8, fuzz_random(rng));
		break;
	case 1:
		put(image, at, 8, old ^ BIT_ULL(fuzz_below(rng, 64)));
		break;
	case 2:
		put(image, at, 8, odd_flags(rng, old) | (old & QC_OFFSET_MASK));
		break;
	default:
		put(image, at, 8, odd_flags(rng, old) |
		    (odd_offset(image, rng, old & QC_OFFSET_MASK) & QC_OFFSET_MASK));
	}
}

static void damage_l1(struct fuzz_image *image, struct fuzz_rng *rng)
{
	damage_entry(image, rng, pick_l1_entry(image, rng));
}

static void damage_l2(struct fuzz_image *image, struct fuzz_rng *rng)
{
	damage_entry(image, rng, pick_l2_entry(image, rng));
}

static void damage_reftable(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 at = pick_reftable_entry(image, rng);

	if (one_in(rng, 3))
		damage_entry(image, rng, at);
	else if (at)
		put(image, at, 8, odd_offset(image, rng, get(image, at, 8)));
}

static void damage_refcounts(struct fuzz_image *image, struct fuzz_rng *rng)
{
	static const u8 fills[] = { 0, 1, 0x55, 0xff };
	u64 block = pick_refblock(image, rng), size = cluster_size(image), at, len;

	if (!block || !within(image, block, size))
		return;
	if (one_in(rng, 2)) {
		/* Near the start, where those of the tables are. */
		at = fuzz_below(rng, one_in(rng, 2) ? 64 : size);
		put(image, block + at, 1, one_in(rng, 2) ? fills[fuzz_below(rng, 4)] :
		    fuzz_random(rng));
		return;
	}
	at = one_in(rng, 2) ? 0 : fuzz_below(rng, size);
	len = one_in(rng, 3) ? size - at : fuzz_below(rng, size - at);
	memset(image->bytes + block + at, fills[fuzz_below(rng, 4)], len);
}

static void damage_snapshots(struct fuzz_image *image, struct fuzz_rng *rng)
{
	static const struct field fields[] = {
		{ 0, 8 }, { 8, 4 }, { 12, 2 }, { 14, 2 }, { 32, 4 }, { 36, 4 }, { 40, 8 },
		{ 48, 8 },
	};
	const struct field *f = &fields[fuzz_below(rng, ARRAY_SIZE(fields))];
	u64 at = pick_snapshot(image, rng), old;

	if (!at || one_in(rng, 6)) {
		put(image, NB_SNAPSHOTS, 4, one_in(rng, 4) ? fuzz_random(rng) : fuzz_below(rng, 9));
		put(image, SNAPSHOTS_OFFSET, 8, odd_offset(image, rng, 0));
		return;
	}
	if (one_in(rng, 4)) {
		damage_entry(image, rng, pick_entry(image, rng, get(image, at, 8),
						    get(image, at + 8, 4)));
		return;
	}
	old = get(image, at + f->at, f->width);
	put(image, at + f->at, f->width,
	    f->at ? odd_number(rng, old, f->width) : odd_offset(image, rng, old));
}

static void damage_compressed(struct fuzz_image *image, struct fuzz_rng *rng)
{
	unsigned int shift = 62 - (cluster_bits(image) - 8);
	u64 at = 0, entry = 0, offset, sectors;

	for (int tries = 0; tries < 40 && !(entry & QC_COMPRESSED); tries++) {
		at = pick_l2_entry(image, rng);
		entry = at ? get(image, at, 8) : 0;
	}
	if (!at)
		return;
	offset = entry & (BIT_ULL(shift) - 1);
	sectors = entry >> shift & (BIT_ULL(cluster_bits(image) - 8) - 1);
	switch (fuzz_below(rng, 6)) {
	case 0:
		sectors = fuzz_random(rng);
		break;
	case 1:
		sectors = 0;
		break;
	case 2:
		offset = image->size - fuzz_below(rng, 1024);
		break;
	case 3:
		offset = fuzz_random(rng) >> fuzz_below(rng, 60);
		break;
	case 4:
		offset = odd_offset(image, rng, offset) + fuzz_below(rng, 512);
		break;
	default:
		put(image, offset + fuzz_below(rng, 64), 8, fuzz_random(rng));
	}
	sectors &= BIT_ULL(cluster_bits(image) - 8) - 1;
	put(image, at, 8, QC_COMPRESSED | sectors << shift | (offset & (BIT_ULL(shift) - 1)));
}

/* Entries that name the same thing, or each other's. */
static void damage_overlap(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 from = one_in(rng, 2) ? pick_l1_entry(image, rng) : pick_l2_entry(image, rng);
	u64 to = one_in(rng, 2) ? pick_l1_entry(image, rng) : pick_l2_entry(image, rng);
	u64 run = one_in(rng, 3) ? fuzz_below(rng, 32) : 1;

	if (!from || !to)
		return;
	for (u64 i = 0; i < run; i++)
		put(image, to + 8 * i, 8, get(image, one_in(rng, 2) ? from : from + 8 * i, 8));
}

static void damage_length(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 size = cluster_size(image);

	switch (fuzz_below(rng, 5)) {
	case 0:
		fuzz_resize(image, fuzz_below(rng, image->size));
		break;
	case 1:
		fuzz_resize(image, size * fuzz_below(rng, image->size / size + 1));
		break;
	case 2:
		fuzz_resize(image, fuzz_below(rng, 4096));
		break;
	case 3:
		fuzz_resize(image, image->size + fuzz_below(rng, 4 * size));
		break;
	default:
		fuzz_resize(image, image->size - fuzz_below(rng, size < image->size ? size : 1));
	}
}

static void damage_bytes(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 at = pick_structure(image, rng), size = cluster_size(image), n;

	if (!within(image, at, size))
		at = 0;
	for (n = 1 + fuzz_below(rng, 8); n; n--)
		put(image, at + fuzz_below(rng, size), 1, fuzz_random(rng));
}

/* A structure in the place of another. */
static void damage_clusters(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 from = pick_structure(image, rng), to = pick_structure(image, rng);
	u64 len = cluster_size(image);

	if (one_in(rng, 4))
		len = fuzz_below(rng, len);
	if (!within(image, to, len) || !within(image, from, len))
		return;
	/* The header as a whole would be the end of it. */
	if (to)
		memmove(image->bytes + to, image->bytes + from, len);
}

static void damage_bitmaps(struct fuzz_image *image, struct fuzz_rng *rng)
{
	u64 at = extensions_at(image), directory;

	while (get(image, at, 4) && get(image, at, 4) != QC_EXT_BITMAPS)
		at = qc_round_up(at + 8 + get(image, at + 4, 4), 8);
	if (get(image, at, 4) != QC_EXT_BITMAPS) {
		put(image, at, 4, QC_EXT_BITMAPS);
		put(image, at + 4, 4, 24);
		put(image, at + 8, 4, 1 + fuzz_below(rng, 3));
		put(image, at + 16, 8, fuzz_below(rng, 4096));
		put(image, at + 24, 8, pick_structure(image, rng));
		put(image, AUTOCLEAR, 8, QC_AUTOCLEAR_BITMAPS);
		return;
	}
	directory = get(image, at + 24, 8);
	switch (fuzz_below(rng, 4)) {
	case 0:
		put(image, at + 8, 4, odd_number(rng, get(image, at + 8, 4), 4));
		break;
	case 1:
		put(image, at + 16, 8, odd_number(rng, get(image, at + 16, 8), 8));
		break;
	case 2:
		put(image, at + 24, 8, odd_offset(image, rng, directory));
		break;
	default:
		put(image, directory + fuzz_below(rng, 64), 1, fuzz_random(rng));
	}
}

static const struct {
	const char *name;
	unsigned int weight;
	void (*damage)(struct fuzz_image *image, struct fuzz_rng *rng);
} kinds[] = {
	{ "header field", 8, damage_header },
	{ "virtual size", 3, damage_size },
	{ "header extension", 3, damage_extension },
	{ "feature names", 1, damage_features },
	{ "backing name", 2, damage_backing_name },
	{ "L1 entry", 10, damage_l1 },
	{ "L2 entry", 16, damage_l2 },
	{ "refcount table entry", 6, damage_reftable },
	{ "refcounts", 10, damage_refcounts },
	{ "snapshot table", 6, damage_snapshots },
	{ "compressed cluster", 8, damage_compressed },
	{ "overlap", 8, damage_overlap },
	{ "length of the file", 4, damage_length },
	{ "bytes of a table", 5, damage_bytes },
	{ "table in place of another", 3, damage_clusters },
	{ "bitmaps", 3, damage_bitmaps },
};

const char *fuzz_mutate(struct fuzz_image *image, struct fuzz_rng *rng)
{
	unsigned int sum = 0, pick, i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		sum += kinds[i].weight;
	pick = fuzz_below(rng, sum);
	for (i = 0; pick >= kinds[i].weight; i++)
		pick -= kinds[i].weight;
	kinds[i].damage(image, rng);
	return kinds[i].name;
}
