// SPDX-License-Identifier: GPL-2.0-or-later
/* How far something is that takes time. */
#include <stdio.h>

#include "progress.h"

#define SHORTEST_MS 200		/* between two looks that tell a rate: jobs copy in bursts */
#define SMOOTH_MS 5000

void progress_update(struct progress *p, u64 done, u64 total, u64 now)
{
	u64 passed = now - p->from, rate;

	p->done = done < total ? done : total;
	p->total = total;
	/* Where it went back, somebody began again. */
	if (!p->begun || p->done < p->from_done) {
		p->begun = true;
		p->from_done = p->done;
		p->from = now;
		p->rate = PROGRESS_UNKNOWN;
		return;
	}
	if (passed < SHORTEST_MS)
		return;
	rate = (double)(p->done - p->from_done) * 1000 / passed;
	if (p->rate != PROGRESS_UNKNOWN)
		rate = ((double)rate * passed + (double)p->rate * SMOOTH_MS) / (passed + SMOOTH_MS);
	p->rate = rate;
	p->from_done = p->done;
	p->from = now;
}

void progress_stand(struct progress *p)
{
	p->begun = false;
}

/* How much of @whole is done; all of it only at the end. */
static unsigned int part(const struct progress *p, unsigned int whole)
{
	unsigned int part;

	if (!p->total)
		return 0;
	if (p->done >= p->total)
		return whole;
	part = (double)p->done * whole / p->total;
	return part < whole ? part : whole - 1;
}

unsigned int progress_percent(const struct progress *p)
{
	return part(p, 100);
}

u64 progress_rate(const struct progress *p)
{
	return p->begun ? p->rate : PROGRESS_UNKNOWN;
}

u64 progress_left(const struct progress *p)
{
	u64 rate = progress_rate(p);

	return rate && rate != PROGRESS_UNKNOWN ? qc_div_round_up(p->total - p->done, rate) :
						  PROGRESS_UNKNOWN;
}

void progress_bar(const struct progress *p, char *text, size_t width)
{
	unsigned int full = part(p, width);

	memset(text, '#', full);
	memset(text + full, '-', width - full);
	text[width] = 0;
}

void progress_time(u64 seconds, char *text)
{
	const u64 minute = 60, hour = 60 * minute, day = 24 * hour;

	text[0] = 0;
	if (seconds == PROGRESS_UNKNOWN)
		return;
	if (seconds < hour)
		snprintf(text, PROGRESS_TIME_MAX, "%llu:%02llu", seconds / minute,
			 seconds % minute);
	else if (seconds < 2 * day)
		snprintf(text, PROGRESS_TIME_MAX, "%llu:%02llu:%02llu", seconds / hour,
			 seconds % hour / minute, seconds % minute);
	else
		snprintf(text, PROGRESS_TIME_MAX, "%llu days", seconds / day);
}
