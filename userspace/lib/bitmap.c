// SPDX-License-Identifier: GPL-2.0-or-later
/* The directory of persistent bitmaps. */
#include <errno.h>

#include "bitmap.h"

#define ENTRY_FIXED 24
#define MAX_TABLE_ENTRIES 0x8000000U	/* QEMU's limit */

static int parse_one(const struct qc_header *h, const u8 *entry, u64 room, const char *path,
		     struct qc_bitmap *bitmap, u64 *entry_len, struct qc_error *err)
{
	u32 name_len, extra_len;

	if (room < ENTRY_FIXED)
		goto malformed;
	bitmap->table_offset = qc_get_be64(entry);
	bitmap->table_size = qc_get_be32(entry + 8);
	bitmap->flags = qc_get_be32(entry + 12);
	bitmap->granularity_bits = entry[17];
	name_len = qc_get_be16(entry + 18);
	extra_len = qc_get_be32(entry + 20);
	*entry_len = qc_round_up((u64)ENTRY_FIXED + extra_len + name_len, 8);
	if (!name_len || *entry_len > room || bitmap->granularity_bits > 63 ||
	    bitmap->table_size > MAX_TABLE_ENTRIES ||
	    bitmap->table_offset % qc_cluster_size(h) || bitmap->table_offset > INT64_MAX)
		goto malformed;
	bitmap->name = strndup((const char *)entry + ENTRY_FIXED + extra_len, name_len);
	return bitmap->name ? 0 : qc_fail_nomem(err, path);

malformed:
	return qc_fail(err, EINVAL, path, "remove the bitmaps: qemu-img bitmap --remove",
		       "the bitmap directory is malformed");
}

int qc_bitmaps_read(const struct qc_store *store, const struct qc_header *h,
		    struct qc_bitmaps *out, struct qc_error *err)
{
	CLEANUP_BITMAPS struct qc_bitmaps found = { 0 };
	struct qc_bitmaps_extension ext;
	CLEANUP_FREE u8 *directory = NULL;
	u64 at = 0;
	int ret;

	memset(out, 0, sizeof(*out));
	ret = qc_header_bitmaps(h, store->path, &ext, err);
	if (ret == -ENOENT || !(h->autoclear & QC_AUTOCLEAR_BITMAPS))
		return 0;
	if (ret < 0)
		return ret;

	directory = malloc(ext.directory_size ? ext.directory_size : 1);
	found.list = calloc(ext.nb_bitmaps, sizeof(*found.list));
	if (!directory || !found.list)
		return qc_fail_nomem(err, store->path);
	ret = qc_store_read(store, ext.directory_offset, directory, ext.directory_size, err);
	if (ret < 0)
		return ret;
	while (found.count < ext.nb_bitmaps) {
		u64 len = 0;

		ret = parse_one(h, directory + at, ext.directory_size - at, store->path,
				&found.list[found.count++], &len, err);
		if (ret < 0)
			return ret;
		at += len;
	}
	*out = found;
	memset(&found, 0, sizeof(found));
	return 0;
}

void qc_bitmaps_free(struct qc_bitmaps *bitmaps)
{
	for (u32 i = 0; i < bitmaps->count; i++)
		free(bitmaps->list[i].name);
	free(bitmaps->list);
}
