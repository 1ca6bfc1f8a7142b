/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent bitmaps as people and scripts see them. */
#ifndef QCHAIN_BITMAP_INFO_H
#define QCHAIN_BITMAP_INFO_H

#include <json-c/json.h>

#include "bitmap.h"

/* An array with the members of QEMU's Qcow2BitmapInfo, empty when there are none. */
struct json_object *bitmap_infos(const struct qc_bitmaps *bitmaps);

/* Print "NAME (granularity 64 KiB, auto, in use)" and the end of the line. */
void bitmap_print(const struct qc_bitmap *bitmap);

#endif /* QCHAIN_BITMAP_INFO_H */
