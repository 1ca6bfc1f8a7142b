// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a sector may hold after a crash, see rule.h.
 */
#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "rule.h"
#include "sector.h"

#define TOLD_MAX 4		/* broken sectors described */
#define NEVER UINT64_MAX

/* A write, or a flush, by its id.  Times are lines of the journal. */
struct op {
	char kind;		/* W, Z, H, F; 0: no such id */
	uint64_t first, count;
	uint64_t issued, acked;
	bool stable;		/* all of it */
};

/* The versions of a sector in their order, as ids of ops; the initial one is not among them. */
struct history {
	uint32_t *ids;
	uint32_t count, room;
	uint32_t floor;		/* versions before this one (counted from 1) must be gone */
};

struct event {
	char kind;
	uint64_t id, first, count;
};

struct rule {
	uint64_t disk, sectors;
	const uint8_t *initial;
	struct event *events;
	uint64_t nr_events;
	struct op *ops;
	uint64_t nr_ops;
	struct history *histories;
	uint64_t now;		/* events up to here have happened */
	uint64_t issued_end;	/* ... and no write issued from here on */
};

static const uint64_t *sector_at(const uint8_t *content, uint64_t sector)
{
	return (const uint64_t *)(content + sector * SECTOR_SIZE);
}

static void read_events(struct rule *rule, const char *path)
{
	FILE *file = fopen(path, "r");
	uint64_t room = 0;
	struct event event;
	char line[100];

	if (!file)
		err(1, "%s", path);
	while (fgets(line, sizeof(line), file)) {
		memset(&event, 0, sizeof(event));
		if (sscanf(line, "%c %" SCNu64 " %" SCNu64 " %" SCNu64, &event.kind, &event.id,
			   &event.first, &event.count) < 2)
			errx(1, "%s: bad line: %s", path, line);
		if (rule->nr_events == room) {
			room = room ? 2 * room : 4096;
			rule->events = reallocarray(rule->events, room, sizeof(event));
			if (!rule->events)
				err(1, "%s", path);
		}
		rule->events[rule->nr_events++] = event;
		if (strchr("WZHF", event.kind) && event.id >= rule->nr_ops)
			rule->nr_ops = event.id + 1;
	}
	fclose(file);
}

static void add_version(struct history *history, uint64_t id)
{
	if (history->count == history->room) {
		history->room = history->room ? 2 * history->room : 4;
		history->ids = reallocarray(history->ids, history->room, sizeof(*history->ids));
		if (!history->ids)
			err(1, "no memory");
	}
	history->ids[history->count++] = id;
}

static void add_op(struct rule *rule, const struct event *event, uint64_t line)
{
	struct op *op = &rule->ops[event->id];
	uint64_t sector;

	op->kind = event->kind;
	op->first = event->first;
	op->count = event->count;
	op->issued = line;
	op->acked = NEVER;
	if (op->first + op->count > rule->sectors)
		errx(1, "the journal has an operation behind the end of the disk");
	for (sector = op->first; op->kind != 'F' && sector < op->first + op->count; sector++)
		add_version(&rule->histories[sector], event->id);
}

struct rule *rule_new(const char *journal, uint64_t disk, uint64_t sectors, const uint8_t *initial)
{
	struct rule *rule = calloc(1, sizeof(*rule));
	uint64_t i;

	if (!rule)
		err(1, "no memory");
	rule->disk = disk;
	rule->sectors = sectors;
	rule->initial = initial;
	read_events(rule, journal);
	rule->ops = calloc(rule->nr_ops + 1, sizeof(*rule->ops));
	rule->histories = calloc(sectors, sizeof(*rule->histories));
	if (!rule->ops || !rule->histories)
		err(1, "no memory");
	for (i = 0; i < rule->nr_events; i++)
		if (strchr("WZHF", rule->events[i].kind))
			add_op(rule, &rule->events[i], i);
	return rule;
}

void rule_free(struct rule *rule)
{
	uint64_t i;

	for (i = 0; i < rule->sectors; i++)
		free(rule->histories[i].ids);
	free(rule->histories);
	free(rule->ops);
	free(rule->events);
	free(rule);
}

/* A version is stable: what was before it must not come back.  A hint may not have been taken. */
static void raise_floor(struct rule *rule, uint64_t id, uint64_t first, uint64_t count)
{
	struct op *op = &rule->ops[id];
	uint64_t sector, end = op->first + op->count;
	struct history *history;
	uint32_t i;

	op->stable = op->first >= first && end <= first + count;
	if (op->kind == 'H')
		return;
	if (end > first + count)
		end = first + count;
	for (sector = op->first > first ? op->first : first; sector < end; sector++) {
		history = &rule->histories[sector];
		for (i = history->count; i > history->floor && history->ids[i - 1] != id; i--)
			;
		if (i > history->floor)
			history->floor = i;
	}
}

static void flushed(struct rule *rule, const struct op *flush)
{
	uint64_t id;

	for (id = 1; id < rule->nr_ops; id++)
		if (rule->ops[id].kind && rule->ops[id].kind != 'F' && !rule->ops[id].stable &&
		    rule->ops[id].acked < flush->issued)
			raise_floor(rule, id, flush->first, flush->count);
}

static void happen(struct rule *rule, uint64_t line)
{
	const struct event *event = &rule->events[line];
	struct op *op = &rule->ops[event->id];

	switch (event->kind) {
	case 'A':
	case 'U':
		op->acked = line;
		if (event->kind == 'U')
			raise_floor(rule, event->id, op->first, op->count);
		break;
	case 'G':
		flushed(rule, op);
		break;
	}
}

void rule_advance(struct rule *rule, uint64_t mark)
{
	uint64_t line, begun = rule->now, next = rule->nr_events;

	for (line = rule->now; mark && line < rule->nr_events; line++) {
		if (rule->events[line].kind == 'M' && rule->events[line].id == mark) {
			begun = line;
			break;
		}
	}
	for (; rule->now < begun; rule->now++)
		happen(rule, rule->now);
	for (line = begun; line < rule->nr_events; line++) {
		if (rule->events[line].kind == 'N' && rule->events[line].id > mark) {
			next = line;
			break;
		}
	}
	rule->issued_end = next;
}

/* Is this what version @index (0: the initial one) of the sector shows? */
static bool shows(const struct rule *rule, uint64_t sector, uint32_t index,
		  const uint64_t *words, enum sector_kind kind)
{
	const struct history *history = &rule->histories[sector];
	const struct op *op;

	if (!index)
		return !memcmp(words, sector_at(rule->initial, sector), SECTOR_SIZE);
	op = &rule->ops[history->ids[index - 1]];
	if (op->kind != 'W')
		return kind == SECTOR_ZERO;
	return kind == SECTOR_OURS && sector_generation(words) == history->ids[index - 1];
}

static bool allowed(const struct rule *rule, uint64_t sector, const uint64_t *words,
		    enum sector_kind kind)
{
	const struct history *history = &rule->histories[sector];
	uint32_t i;

	for (i = history->floor; i <= history->count; i++) {
		if (i && rule->ops[history->ids[i - 1]].issued >= rule->issued_end)
			break;
		if (shows(rule, sector, i, words, kind))
			return true;
	}
	return false;
}

/* The last version that must not be lost. */
static uint64_t stable_version(const struct rule *rule, uint64_t sector)
{
	const struct history *history = &rule->histories[sector];

	return history->floor ? history->ids[history->floor - 1] : 0;
}

static void tell(const struct rule *rule, uint64_t sector, const uint64_t *words,
		 enum sector_kind kind, FILE *out)
{
	static const char * const names[] = {
		[SECTOR_ZERO] = "zeroes", [SECTOR_OURS] = "version", [SECTOR_NOISE] = "noise",
		[SECTOR_MISPLACED] = "another sector", [SECTOR_FOREIGN] = "another disk's sector",
	};
	const struct history *history = &rule->histories[sector];
	uint32_t i;

	fprintf(out, "sector %" PRIu64 " holds %s", sector, names[kind]);
	if (kind == SECTOR_OURS)
		fprintf(out, " %" PRIu64, words[3]);
	else if (kind == SECTOR_MISPLACED || kind == SECTOR_FOREIGN)
		fprintf(out, " %" PRIu64 " version %" PRIu64, words[2], words[3]);
	fprintf(out, "; stable is %" PRIu64 ", then", stable_version(rule, sector));
	for (i = history->floor; i < history->count && i < history->floor + 6; i++)
		fprintf(out, " %c%" PRIu32 "%s", rule->ops[history->ids[i]].kind, history->ids[i],
			rule->ops[history->ids[i]].issued < rule->issued_end ? "" : "(later)");
	fputc('\n', out);
}

uint64_t rule_check(const struct rule *rule, const uint8_t *content, FILE *out)
{
	uint64_t sector, broken = 0;

	for (sector = 0; sector < rule->sectors; sector++) {
		const uint64_t *words = sector_at(content, sector);
		enum sector_kind kind = sector_look(words, rule->disk, sector);

		if (allowed(rule, sector, words, kind))
			continue;
		if (broken++ < TOLD_MAX)
			tell(rule, sector, words, kind, out);
	}
	return broken;
}
