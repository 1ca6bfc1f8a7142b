/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far something is that takes time: a bar, how fast it gets on, how long it will take yet.
 * Arithmetic and text only; the caller says what time it is.
 */
#ifndef QCHAIN_PROGRESS_H
#define QCHAIN_PROGRESS_H

#include "util.h"

#define PROGRESS_UNKNOWN UINT64_MAX

/* All zeroes is one that nothing is known of yet. */
struct progress {
	u64 done, total;	/* bytes */
	bool begun;		/* the next three are set */
	u64 from_done, from;	/* where the rate was last worked out, and when, in ms */
	u64 rate;		/* bytes a second over some seconds, or PROGRESS_UNKNOWN */
};

/* It is so far at @now, in ms of a clock that only goes forward. */
void progress_update(struct progress *p, u64 done, u64 total, u64 now);

/* It does not move, and is not meant to: what was known of its rate does not hold any more. */
void progress_stand(struct progress *p);

/* 100 only when all is done. */
unsigned int progress_percent(const struct progress *p);

/* Bytes a second, or PROGRESS_UNKNOWN. */
u64 progress_rate(const struct progress *p);

/* Seconds, rounded up, or PROGRESS_UNKNOWN. */
u64 progress_left(const struct progress *p);

/* @width characters and a 0: "####----". */
void progress_bar(const struct progress *p, char *text, size_t width);

/* "0:05", "1:02:03", "4 days"; "" for PROGRESS_UNKNOWN. */
#define PROGRESS_TIME_MAX 32
void progress_time(u64 seconds, char *text);

#endif /* QCHAIN_PROGRESS_H */
