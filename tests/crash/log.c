// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading the log of dm-log-writes, see log.h.
 */
#include <endian.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <string.h>

#include "log.h"
#include "map.h"
#include "sector.h"

#define LOG_MAGIC UINT64_C(0x6a736677736872)
#define LOG_VERSION 1
#define LOG_END "dm-log-writes-end"	/* its own mark */

enum log_flags {
	LOG_FLUSH = 1 << 0,
	LOG_FUA = 1 << 1,
	LOG_DISCARD = 1 << 2,
	LOG_MARK = 1 << 3,
};

struct log_super {
	uint64_t magic;
	uint64_t version;
	uint64_t nr_entries;
	uint32_t sector_size;
};

struct log_header {
	uint64_t sector;
	uint64_t nr_sectors;
	uint64_t flags;
	uint64_t data_len;
};

void log_read(struct log *log, const char *path)
{
	uint64_t size, pos = SECTOR_SIZE, flags;
	const struct log_header *header;
	const struct log_super *super;
	struct log_entry *entry;
	const uint8_t *bytes = map_file(path, &size);
	size_t i;

	super = (const struct log_super *)bytes;
	if (size < SECTOR_SIZE || le64toh(super->magic) != LOG_MAGIC ||
	    le64toh(super->version) != LOG_VERSION)
		errx(1, "%s is not a log of dm-log-writes", path);
	if (le32toh(super->sector_size) != SECTOR_SIZE)
		errx(1, "%s: sectors must have %d bytes", path, SECTOR_SIZE);
	log->count = le64toh(super->nr_entries);
	log->entries = calloc(log->count, sizeof(*log->entries));
	if (!log->entries)
		err(1, "%s", path);
	for (i = 0; i < log->count; i++) {
		if (size - pos < SECTOR_SIZE)
			errx(1, "%s is cut off", path);
		header = (const struct log_header *)(bytes + pos);
		pos += SECTOR_SIZE;
		entry = &log->entries[i];
		flags = le64toh(header->flags);
		entry->sector = le64toh(header->sector);
		entry->count = le64toh(header->nr_sectors);
		entry->flush = flags & LOG_FLUSH;
		entry->fua = flags & LOG_FUA;
		entry->discard = flags & LOG_DISCARD;
		if (flags & LOG_MARK) {
			entry->mark = strtoull((const char *)(header + 1), NULL, 10);
			if (!entry->mark && strcmp((const char *)(header + 1), LOG_END))
				entry->note = (const char *)(header + 1);
		} else if (entry->count && !entry->discard) {
			if ((size - pos) / SECTOR_SIZE < entry->count)
				errx(1, "%s is cut off", path);
			entry->data = bytes + pos;
			pos += entry->count * SECTOR_SIZE;
		}
	}
}
