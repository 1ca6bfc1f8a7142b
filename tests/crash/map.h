/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CRASH_MAP_H
#define CRASH_MAP_H

#include <stdint.h>

/* The bytes of a whole file, to read only or shared with it.  Ends the program on errors. */
const uint8_t *map_file(const char *path, uint64_t *size);
uint8_t *map_file_shared(const char *path, uint64_t *size);
void unmap_file(const uint8_t *bytes, uint64_t size);

#endif /* CRASH_MAP_H */
