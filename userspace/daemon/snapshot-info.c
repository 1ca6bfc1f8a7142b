// SPDX-License-Identifier: GPL-2.0-or-later
/* Internal snapshots as clients see them. */
#include "qapi.h"
#include "snapshot-info.h"

struct json_object *snapshot_info(const struct qc_snapshot *s)
{
	struct json_object *info = json_object_new_object();

	qapi_add_str(info, "id", s->id);
	qapi_add_str(info, "name", s->name);
	qapi_add_int(info, "vm-state-size", s->vm_state_size);
	qapi_add_int(info, "date-sec", s->date_sec);
	qapi_add_int(info, "date-nsec", s->date_nsec);
	qapi_add_int(info, "vm-clock-sec", s->vm_clock_nsec / 1000000000);
	qapi_add_int(info, "vm-clock-nsec", s->vm_clock_nsec % 1000000000);
	if (s->icount != QC_NO_ICOUNT)
		qapi_add_int(info, "icount", s->icount);
	return info;
}

struct json_object *snapshot_infos(const struct qc_snapshots *snapshots)
{
	struct json_object *infos = snapshots->count ? json_object_new_array() : NULL;

	for (u32 i = 0; i < snapshots->count; i++)
		json_object_array_add(infos, snapshot_info(&snapshots->list[i]));
	return infos;
}
