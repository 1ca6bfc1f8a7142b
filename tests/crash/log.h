/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log that dm-log-writes made, see Documentation/admin-guide/device-mapper/log-writes.rst in
 * the kernel's source.  A plain write is logged when a flush covers it, before the entry of that
 * flush; a FUA write when it ends.  So between two flushes stand writes that the disk may
 * have kept or not, but for the FUA ones.
 */
#ifndef CRASH_LOG_H
#define CRASH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_entry {
	uint64_t sector;	/* of 512 bytes, as is count */
	uint64_t count;
	bool flush, fua, discard;
	uint64_t mark;		/* its number, 0: no mark of a journal */
	const char *note;	/* a mark of another kind, or NULL */
	const uint8_t *data;	/* NULL: none (discard, flush, mark) */
};

struct log {
	struct log_entry *entries;
	size_t count;
};

/* Ends the program when the log is none, or is cut off. */
void log_read(struct log *log, const char *path);

#endif /* CRASH_LOG_H */
