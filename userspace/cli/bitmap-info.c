// SPDX-License-Identifier: GPL-2.0-or-later
/* Persistent bitmaps as people and scripts see them. */
#include <stdio.h>

#include "bitmap-info.h"
#include "cli.h"
#include "human.h"

struct json_object *bitmap_infos(const struct qc_bitmaps *bitmaps)
{
	struct json_object *array = json_object_new_array();

	for (u32 i = 0; i < bitmaps->count; i++) {
		const struct qc_bitmap *b = &bitmaps->list[i];
		struct json_object *o = json_object_new_object();
		struct json_object *flags = json_object_new_array();

		if (b->flags & QC_BITMAP_IN_USE)
			json_object_array_add(flags, json_object_new_string("in-use"));
		if (b->flags & QC_BITMAP_AUTO)
			json_object_array_add(flags, json_object_new_string("auto"));
		json_object_object_add(o, "flags", flags);
		json_object_object_add(o, "name", json_object_new_string(b->name));
		json_object_object_add(o, "granularity",
				       cli_json_u64(BIT_ULL(b->granularity_bits)));
		json_object_array_add(array, o);
	}
	return array;
}

void bitmap_print(const struct qc_bitmap *b)
{
	CLEANUP_FREE char *name = strdup(b->name);

	if (!name)
		return;
	qc_make_printable(name);
	printf("%s (granularity %s%s%s)\n", name, qc_human(BIT_ULL(b->granularity_bits)),
	       b->flags & QC_BITMAP_AUTO ? ", auto" : "",
	       b->flags & QC_BITMAP_IN_USE ? ", in use" : "");
}
