// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Repairing.  Whatever is wrong with an image, a repair does not touch data: what one L2 entry
 * alone names is still named by it, and has the same bytes.  A check afterwards finds what the
 * repair said is left.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "checking.h"
#include "entry.h"
#include "walk.h"

/* What the clusters of the image are used as, and by how many. */
struct usage {
	struct qc_walk walk;
	unsigned int bits;
	u64 size;		/* of the image */
	u8 count[2 * FUZZ_ROOM >> QC_MIN_CLUSTER_BITS];
	u8 use[2 * FUZZ_ROOM >> QC_MIN_CLUSTER_BITS];
};

struct image {
	u64 size;
	u8 bytes[2 * FUZZ_ROOM];
};

static struct usage usage;
static struct image before, after;

static void read_top(struct image *image)
{
	CLEANUP_FD int fd = open("top", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, image->bytes, sizeof(image->bytes));

	FUZZ_MUST(len >= 0);
	image->size = len;
}

static int note_use(struct qc_walk *walk, enum qc_use use, u64 offset, u64 len)
{
	u64 last = (offset + len - 1) >> usage.bits;

	(void)walk;
	if (last << usage.bits >= usage.size)
		return 1;
	for (u64 cluster = offset >> usage.bits; cluster <= last; cluster++) {
		usage.use[cluster] = use;
		if (usage.count[cluster] < 2)
			usage.count[cluster]++;
	}
	return 0;
}

static void note_bad(struct qc_walk *walk, enum qc_use use, const char *message)
{
	(void)walk;
	(void)use;
	(void)message;
}

/* False when the image cannot be walked over. */
static bool count_usage(const struct image *image)
{
	CLEANUP_HEADER struct qc_header *h = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_error err = { 0 };

	FUZZ_MUST(!qc_store_open("top", 0, &store, &err));
	if (qc_header_read(store, &h, &err))
		return false;
	memset(&usage, 0, sizeof(usage));
	usage.bits = h->cluster_bits;
	usage.size = image->size;
	usage.walk = (struct qc_walk){
		.store = store, .header = h, .refcounts = true, .terse = true,
		.use = note_use, .bad = note_bad,
	};
	return !qc_walk(&usage.walk, &err);
}

static void compare_l2(u64 table)
{
	u64 size = BIT_ULL(usage.bits);

	for (u64 at = table; at < table + size && at + 8 <= before.size; at += 8) {
		u64 was = qc_get_be64(before.bytes + at), is = qc_get_be64(after.bytes + at);
		u64 host = was & QC_OFFSET_MASK;

		if (was & (QC_COMPRESSED | QC_L2_RESERVED) || !host || host % size ||
		    host + size > before.size || usage.count[host >> usage.bits] != 1)
			continue;
		FUZZ_MUST(!((was ^ is) & ~QC_COPIED));
		FUZZ_MUST(!memcmp(before.bytes + host, after.bytes + host, size));
	}
}

/* Every L2 table that nothing else overlaps. */
static void compare(void)
{
	for (u64 i = 0; (i + 1) << usage.bits <= before.size; i++)
		if (usage.count[i] == 1 && usage.use[i] == QC_USE_L2)
			compare_l2(i << usage.bits);
}

static void repair(unsigned int what)
{
	const struct qc_check_options checking = { 0 }, repairing = { .repair = what };
	struct qc_check_result done, found;

	read_top(&before);
	if (!count_usage(&before) || !fuzz_check(&repairing, &done))
		return;
	read_top(&after);
	compare();
	/*
	 * The end of a repair is an update of the header, which may be somebody's L1 table, too;
	 * also one that the image did not reach to before it grew.
	 */
	if (usage.count[0] > 1 || !count_usage(&after) || usage.count[0] > 1)
		return;
	FUZZ_MUST(fuzz_check(&checking, &found));
	FUZZ_MUST(found.corruptions == done.corruptions && found.leaks == done.leaks);
	FUZZ_MUST(found.corruptions || !(what & QC_REPAIR_LEAKS) || !found.leaks);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	fuzz_write(data, size);
	/* Leaks first: that leaves the rest for later. */
	if (size % 2)
		repair(QC_REPAIR_LEAKS);
	repair(QC_REPAIR_ALL);
	return 0;
}
