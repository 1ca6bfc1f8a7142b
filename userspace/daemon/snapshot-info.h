/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots as clients see them. */
#ifndef QCHAIN_SNAPSHOT_INFO_H
#define QCHAIN_SNAPSHOT_INFO_H

#include <json-c/json.h>

#include "snapshots.h"

/* A SnapshotInfo. */
struct json_object *snapshot_info(const struct qc_snapshot *snapshot);

/* Those of an image: an array, or NULL when there are none. */
struct json_object *snapshot_infos(const struct qc_snapshots *snapshots);

#endif /* QCHAIN_SNAPSHOT_INFO_H */
