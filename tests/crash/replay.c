// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Crash a recorded workload at many points, and judge what is left.
 *
 * A point is a cut in the log of writes (log.h), and what the disk kept of the writes before it
 * that no flush covers: all; each or not, at random; or any of their sectors. What a flush
 * covers, and FUA writes, are kept in any case. Discarded sectors hold noise, as nothing says
 * that they read as zeroes.
 *
 * --barriers judges, besides the points of --points, all cuts after flushes and FUA writes and
 * around writes of headers, with everything kept.
 *
 * --lying N makes the disk one that lies: what the last N flushes covered may be lost, too.
 * --lose drops of each flush the newest data that it covers. Both are there to show that the
 * judge sees it.
 */
#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "judge.h"
#include "log.h"
#include "map.h"
#include "options.h"
#include "random.h"
#include "rule.h"
#include "sector.h"

#define ALL_POINTS UINT64_MAX
#define TOLD_MAX 10		/* failed points described */

enum point_kind {
	POINT_FLUSH,		/* after a flush or FUA write */
	POINT_PREFIX,		/* anywhere, everything kept */
	POINT_SUBSET,		/* any subset of writes */
	POINT_TORN,		/* any subset of sectors */
	POINT_KINDS
};

static const char * const kind_names[POINT_KINDS] = {
	"after a flush", "a prefix", "a subset", "torn"
};

/* Of a hundred points; the rest are POINT_TORN. */
static const unsigned int kind_share[POINT_KINDS - 1] = { 30, 15, 30 };

struct point {
	size_t cut;		/* entries before it were issued */
	enum point_kind kind;
	uint64_t number;
};

static struct {
	const char *log, *journal, *dir, *layers;
	uint64_t seed, disk;
	uint64_t points, only;
	uint64_t repair_every, lying;
	uint64_t whole;			/* sectors that are written together, or not */
	bool lose, barriers;
} opt = { .seed = 1, .points = 100, .only = ALL_POINTS, .repair_every = 10, .whole = 1 };

static struct judge judge = { .qchain = "qchain" };
static struct log log_;
static size_t *flushes, nr_flushes;	/* indices in the log */
static size_t *turns, nr_turns;		/* of writes to an image's first sector, and of notes */
static uint64_t nr_points, nr_barriers;	/* of all points, so many are at barriers */
static bool *lost;			/* --lose: entries that the disk dropped */

static uint8_t *disk, *stable;
static uint64_t disk_bytes;
static size_t applied;			/* entries that @stable has */

/* What of @disk differs from @stable. */
static size_t touched_first, touched_end;

/* ---- points ---- */

static int compare_cuts(const void *a, const void *b)
{
	const struct point *pa = a, *pb = b;

	if (pa->cut != pb->cut)
		return pa->cut < pb->cut ? -1 : 1;
	return pa->number < pb->number ? -1 : pa->number > pb->number;
}

/* Marks that follow are no I/O: a cut comes after them. */
static size_t after_marks(size_t cut)
{
	while (cut < log_.count && log_.entries[cut].mark)
		cut++;
	return cut;
}

static bool is_header(const struct log_entry *entry)
{
	return entry->data && !(judge.slice ? entry->sector % judge.slice : entry->sector);
}

/* Cuts that are of interest: after flushes and FUA writes, and around writes of the header. */
static size_t *find_barriers(size_t *count)
{
	size_t *barriers = calloc(2 * log_.count + 1, sizeof(*barriers));
	size_t i, cut;

	if (!barriers)
		err(1, "no memory");
	*count = 0;
	for (i = 0; i < log_.count; i++) {
		const struct log_entry *entry = &log_.entries[i];
		bool header = is_header(entry);

		if (header && (!*count || barriers[*count - 1] != i))
			barriers[(*count)++] = i;
		cut = after_marks(i + 1);
		if ((header || entry->flush || entry->fua) &&
		    (!*count || barriers[*count - 1] != cut))
			barriers[(*count)++] = cut;
	}
	return barriers;
}

/*
 * Anywhere: each write is as likely as the others, or each pair of flushes is; but of several
 * images every fourth cut is where another one becomes the top, or has another backing file.
 */
static size_t choose_cut(uint64_t *state, enum point_kind *kind)
{
	size_t n, from, end;

	if (judge.slice && nr_turns && !(random_next(state) % 4)) {
		if (random_next(state) & 1)
			*kind = POINT_TORN;
		n = turns[random_next(state) % nr_turns] + random_next(state) % 6;
		return after_marks(n < log_.count ? n : log_.count);
	}
	if (!nr_flushes || (random_next(state) & 1))
		return after_marks(random_next(state) % (log_.count + 1));
	n = random_next(state) % nr_flushes;
	from = n ? flushes[n - 1] + 1 : 0;
	end = flushes[n];
	return after_marks(from + random_next(state) % (end - from + 1));
}

static enum point_kind choose_kind(uint64_t *state)
{
	uint64_t dice = random_next(state) % (100 - kind_share[POINT_FLUSH]);

	if (dice < kind_share[POINT_PREFIX])
		return POINT_PREFIX;
	dice -= kind_share[POINT_PREFIX];
	return dice < kind_share[POINT_SUBSET] ? POINT_SUBSET : POINT_TORN;
}

/* Those at barriers come first: all of them, or some that lie evenly. */
static struct point *choose_points(uint64_t *state)
{
	size_t found, n;
	size_t *barriers = find_barriers(&found);
	struct point *points;

	nr_barriers = opt.barriers ? found : opt.points * kind_share[POINT_FLUSH] / 100;
	if (nr_barriers > found)
		nr_barriers = found;
	nr_points = opt.points + (opt.barriers ? nr_barriers : 0);
	points = calloc(nr_points, sizeof(*points));
	if (!points)
		err(1, "no memory");
	for (n = 0; n < nr_points; n++) {
		points[n].number = n;
		if (n < nr_barriers) {
			points[n].kind = POINT_FLUSH;
			points[n].cut = barriers[n * found / nr_barriers];
		} else {
			points[n].kind = choose_kind(state);
			points[n].cut = choose_cut(state, &points[n].kind);
		}
	}
	free(barriers);
	qsort(points, nr_points, sizeof(*points), compare_cuts);
	return points;
}

/* ---- the disk ---- */

static void put_sector(uint8_t *to, const struct log_entry *entry, size_t index, uint64_t n)
{
	uint64_t *words = (uint64_t *)(to + (entry->sector + n) * SECTOR_SIZE);
	unsigned int i;

	if (entry->data) {
		memcpy(words, entry->data + n * SECTOR_SIZE, SECTOR_SIZE);
		return;
	}
	for (i = 0; i < SECTOR_WORDS; i++)
		words[i] = sector_mix(opt.seed + index, (entry->sector + n) * SECTOR_WORDS + i);
}

static void apply_all(uint8_t *to, size_t index)
{
	const struct log_entry *entry = &log_.entries[index];
	uint64_t n;

	for (n = 0; n < entry->count; n++)
		put_sector(to, entry, index, n);
}

static void apply_torn(uint8_t *to, size_t index, uint64_t *state)
{
	const struct log_entry *entry = &log_.entries[index];
	uint64_t n, end = entry->count;
	bool prefix = random_next(state) & 1, there = true;

	if (prefix)
		end = random_next(state) % (entry->count + 1);
	for (n = 0; n < entry->count; n++) {
		if (!n || !((entry->sector + n) % opt.whole))
			there = prefix ? n < end : random_next(state) & 1;
		if (there)
			put_sector(to, entry, index, n);
	}
}

/* The first entry that the disk may have lost, when it crashes at @cut. */
static size_t unflushed_from(size_t cut)
{
	size_t n = 0;

	while (n < nr_flushes && flushes[n] < cut)
		n++;
	n -= opt.lying < n ? opt.lying : n;
	return n ? flushes[n - 1] + 1 : 0;
}

static void make_stable(size_t end)
{
	for (; applied < end; applied++) {
		if (lost && lost[applied])
			continue;
		apply_all(stable, applied);
		apply_all(disk, applied);
	}
}

/* Which images may be the top one: what the last note before @cut says. */
static const char *tops_at(size_t cut)
{
	while (cut--)
		if (log_.entries[cut].note)
			return log_.entries[cut].note;
	return judge.layers[judge.nr_layers - 1];
}

/* The last mark before @cut. */
static uint64_t mark_before(size_t cut)
{
	while (cut--)
		if (log_.entries[cut].mark)
			return log_.entries[cut].mark;
	return 0;
}

static void make_point(const struct point *point, uint64_t *state)
{
	/* How many writes of a hundred a subset loses. */
	static const unsigned int losses[] = { 10, 50, 90 };
	unsigned int loss = losses[random_next(state) % 3];
	size_t i, end = point->cut;

	make_stable(unflushed_from(point->cut));
	touched_first = applied;
	/* One FUA write may have been under way. */
	if (point->kind == POINT_TORN && end < log_.count && log_.entries[end].fua)
		end++;
	touched_end = end;
	for (i = applied; i < end; i++) {
		const struct log_entry *entry = &log_.entries[i];
		bool sure = (entry->fua && i < point->cut && !opt.lying) ||
			    point->kind == POINT_FLUSH || point->kind == POINT_PREFIX;

		if (lost && lost[i])
			continue;
		if (sure)
			apply_all(disk, i);
		else if (random_next(state) % 100 < loss)
			continue;
		else if (point->kind == POINT_TORN && (random_next(state) & 1))
			apply_torn(disk, i, state);
		else
			apply_all(disk, i);
	}
}

static void undo_point(void)
{
	size_t i;

	for (i = touched_first; i < touched_end; i++) {
		const struct log_entry *entry = &log_.entries[i];

		memcpy(disk + entry->sector * SECTOR_SIZE, stable + entry->sector * SECTOR_SIZE,
		       entry->count * SECTOR_SIZE);
	}
}

/* ---- a disk that lies ---- */

/* The generation of the first sector of an entry, 0: no data of the workload. */
static uint64_t entry_generation(const struct log_entry *entry)
{
	const uint64_t *words = (const uint64_t *)entry->data;

	return words && words[0] == SECTOR_MAGIC && words[1] == opt.disk ? words[3] : 0;
}

static void choose_lost(void)
{
	size_t i, newest = SIZE_MAX;

	lost = calloc(log_.count, sizeof(*lost));
	if (!lost)
		err(1, "no memory");
	for (i = 0; i < log_.count; i++) {
		uint64_t generation = entry_generation(&log_.entries[i]);

		if (generation && (newest == SIZE_MAX ||
				   generation > entry_generation(&log_.entries[newest])))
			newest = i;
		if (log_.entries[i].flush && newest != SIZE_MAX) {
			lost[newest] = true;
			newest = SIZE_MAX;
		}
	}
}

/* ---- all together ---- */

static void describe(const struct point *point, const char *why)
{
	char *line, *lines = strdup(why), *rest = lines;

	printf("# point %" PRIu64 ", %s, before entry %zu of %zu (flushed: %zu), mark %" PRIu64
	       "\n", point->number, kind_names[point->kind], point->cut, log_.count, applied,
	       mark_before(point->cut));
	while ((line = strsep(&rest, "\n")))
		if (*line)
			printf("#   %s\n", line);
	free(lines);
	fflush(stdout);
}

/* Judge all points.  Returns how many are bad. */
static unsigned int replay(const struct point *points, struct rule *rule)
{
	unsigned int failed = 0;
	uint64_t n, judged = 0;

	for (n = 0; n < nr_points; n++) {
		uint64_t state = sector_mix(opt.seed, points[n].number);
		char *why = NULL;
		size_t size;
		FILE *out;

		if (opt.only != ALL_POINTS && points[n].number != opt.only)
			continue;
		out = open_memstream(&why, &size);
		if (!out)
			err(1, "no memory");
		make_point(&points[n], &state);
		rule_advance(rule, mark_before(points[n].cut));
		if (judge.nr_layers)
			judge.tops = tops_at(points[n].cut);
		if (!judge_disk(&judge, rule, judged % opt.repair_every == 0, out)) {
			fclose(out);
			if (failed++ < TOLD_MAX)
				describe(&points[n], why);
		} else {
			fclose(out);
		}
		free(why);
		judged++;
		/* What was asked for alone is left to be looked at. */
		if (opt.only == ALL_POINTS)
			undo_point();
	}
	return failed;
}

/* Words, the base first. */
static void parse_layers(char *words)
{
	char *word;

	while ((word = strsep(&words, " ")) && judge.nr_layers < JUDGE_MAX_LAYERS)
		judge.layers[judge.nr_layers++] = word;
	judge.tops = judge.layers[judge.nr_layers - 1];
}

static void parse(int argc, char **argv)
{
	const struct option_to options[] = {
		{ "log", .string = &opt.log },
		{ "journal", .string = &opt.journal },
		{ "dir", .string = &opt.dir },
		{ "seed", .number = &opt.seed },
		{ "disk", .number = &opt.disk },
		{ "points", .number = &opt.points },
		{ "only", .number = &opt.only },
		{ "repair-every", .number = &opt.repair_every },
		{ "lying", .number = &opt.lying },
		{ "whole", .number = &opt.whole },
		{ "lose", .flag = &opt.lose },
		{ "barriers", .flag = &opt.barriers },
		{ "layers", .string = &opt.layers },
		{ "slice", .number = &judge.slice },
		{ "inner", .string = &judge.inner },
		{ "snapshot", .string = &judge.snapshot },
		{ "snapshot-raw", .string = &judge.snapshot_raw },
		{ "files", .number = &judge.files },
		{ "qchain", .string = &judge.qchain },
		{ }
	};
	int first = options_parse(argc, argv, options);

	if (opt.layers)
		parse_layers(strdup(opt.layers));
	if (first != argc || !opt.log || !opt.journal || !opt.dir || !opt.points || !opt.whole ||
	    !opt.repair_every || !judge.snapshot != !judge.snapshot_raw ||
	    !judge.slice != !judge.nr_layers)
		errx(2, "usage: replay --log FILE --journal FILE --dir DIR --disk N [OPTION]...");
}

static void read_log(void)
{
	size_t i;

	log_read(&log_, opt.log);
	flushes = calloc(log_.count, sizeof(*flushes));
	turns = calloc(log_.count, sizeof(*turns));
	if (!flushes || !turns)
		err(1, "no memory");
	for (i = 0; i < log_.count; i++) {
		const struct log_entry *entry = &log_.entries[i];

		if (entry->sector + entry->count > disk_bytes / SECTOR_SIZE)
			errx(1, "the log has a write behind the end of the disk");
		if (entry->flush)
			flushes[nr_flushes++] = i;
		if (is_header(entry) || entry->note)
			turns[nr_turns++] = i;
	}
}

int main(int argc, char **argv)
{
	uint64_t state;
	unsigned int failed;
	struct point *points;
	struct rule *rule;
	uint8_t *initial;
	uint64_t bytes;

	parse(argc, argv);
	state = opt.seed;
	judge_open(&judge, opt.dir);
	disk = map_file_shared("disk", &disk_bytes);
	stable = malloc(disk_bytes);
	if (!stable)
		err(1, "no memory");
	memcpy(stable, disk, disk_bytes);
	read_log();
	initial = judge_content(&judge, &bytes, stderr);
	if (!initial)
		errx(1, "cannot read the image as it was at first");
	rule = rule_new(opt.journal, opt.disk, bytes / SECTOR_SIZE, initial);
	if (opt.lose)
		choose_lost();
	points = choose_points(&state);
	failed = replay(points, rule);
	printf("# %" PRIu64 " of %" PRIu64 " points at barriers, in %zu entries, %zu flushes\n",
	       nr_barriers, nr_points, log_.count, nr_flushes);
	printf("# %" PRIu64 " points judged: %u failed\n",
	       opt.only == ALL_POINTS ? nr_points : 1, failed);
	printf("# %u with leaks, at most %" PRIu64 " clusters; %u repaired\n",
	       judge.leaking, judge.max_leaks, judge.repaired);
	rule_free(rule);
	free(initial);
	free(points);
	return failed ? 1 : 0;
}
