/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal of a workload: what was asked of the disk, when, and when the answer came.  A text
 * file, in the order of time:
 *
 *	W <id> <sector> <count>		sectors are to be written; the id is their generation
 *	Z <id> <sector> <count>		sectors are to read as zeroes
 *	H <id> <sector> <count>		a hint: they may keep what they hold, or read as zeroes
 *	A <id>				W, Z or H was acknowledged
 *	U <id>				the same, as stable (FUA)
 *	F <id> <sector> <count>		what was acknowledged there before is to become stable
 *	G <id>				F was acknowledged
 *	M <n>, N <n>			mark n is put into the log of writes, is in it
 *
 * Ids go up from 1.  A mark follows each G and U, so whoever replays the log to a mark knows
 * that all that the journal tells before its M had happened.
 *
 * The caller sees to it that no two writes of a sector are under way at once.
 */
#ifndef CRASH_JOURNAL_H
#define CRASH_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

/* @log is the dm-log-writes device that gets the marks.  Ends the program on errors. */
void journal_open(const char *path, const char *log);
void journal_close(void);

/* @kind: W, Z, H or F.  Returns the id.  Any thread. */
uint64_t journal_begin(char kind, uint64_t sector, uint64_t count);

/* @kind: A, U or G. */
void journal_end(char kind, uint64_t id);

#endif /* CRASH_JOURNAL_H */
