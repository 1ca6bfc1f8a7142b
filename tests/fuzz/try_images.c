// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Attach damaged images straight as tables of the target, past all checks of user space, and use
 * them: read against the oracle, write, discard, zero, flush, detach.
 *
 *	try_images --seeds DIR [--first N] [--count N] [--limit SECONDS] [--disk DISK@START]
 *		   [--save FILE] [--verbose] PLACE...
 *
 * Images N ... N + count - 1 are each made from their number alone: the same number, the same image
 * in the same place and the same I/O.  A PLACE is a directory or a block device, the first one a
 * directory; with --disk the device is the window of DISK that begins at byte START, and the
 * rest of it is a guard.
 *
 * What must be: a table is loaded or refused; reads that need a bad entry fail, all others give the
 * right bytes; nothing takes longer than the limit; backing files, images attached read-only, the
 * header's fields and the guard do not change; nobody asks for what is beyond the end of a device,
 * which the block layer refuses and only tells in the log; a file grows by no more than was
 * written and a bound; so does memory.  Every UNDAMAGED-th image is valid: there everything must
 * work.  What else the kernel says is for its log's reader, tools/vm.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* O_DIRECT */
#endif
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <libdevmapper.h>

#include "dm.h"
#include "entry.h"
#include "oracle.h"
#include "place.h"
#include "table.h"

#define NAME		"qcfuzz"
#define UNDAMAGED	25
#define ROOM		(32U << 20)	/* for an image in memory */
#define LARGE		(4U << 20)
#define MAX_LAYERS	8
#define READS		48		/* chunks */
#define WRITES		40
#define MAX_IO		(64U << 10)
#define MAX_DISCARD	(8ULL << 20)
#define MAX_GROWTH	(64ULL << 20)
#define MAX_MEMORY	(128ULL << 20)	/* files on tmpfs that grow are memory, too */
#define MAX_FAILURES	10

struct seed {
	char name[64];
	struct fuzz_image top;
	struct fuzz_image backing;
	struct fuzz_image model;
	bool has_backing, raw_backing;
};

/* One image: what it is, and how it is used. */
struct test {
	u64 number;
	struct fuzz_rng rng;
	const struct seed *seed;
	const struct fuzz_place *place;
	const char *top, *backing;		/* paths */
	const struct fuzz_image *top_bytes, *backing_bytes;
	bool undamaged, read_only;
	char kinds[256];			/* of damage */
	struct fuzz_layer layers[MAX_LAYERS];
	const char *paths[MAX_LAYERS];
	unsigned int nr_layers;
	u64 bytes;				/* size of the device */
	u64 before_kib;				/* available memory before it is attached */
	int fd;
};

/* Shared with the supervisor. */
static struct {
	u64 number;
	u64 started;				/* seconds */
	char stage[32];
	char what[512];
	unsigned int failures;
} *now;

static struct {
	u64 attached, refused, right, errors, any, writes, failed_writes, undamaged;
	u64 most_kib;					/* of memory */
	u64 back_right, back_old, back_shared, back_errors;	/* sectors */
	struct {
		char text[120];
		u64 count;
	} reasons[64];
	struct {
		const char *name;
		u64 ms;
	} stages[16];
} sum;

static struct seed seeds[32];
static unsigned int nr_seeds;
static struct fuzz_place places[8];
static unsigned int nr_places;
static u8 image_bytes[ROOM];
static bool verbose;
static const char *save;

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static u64 milliseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static u64 seconds(void)
{
	return milliseconds() / 1000;
}

/* What is done from now on; NULL: nothing. */
static void stage(const char *name)
{
	static u64 *ms, since;
	u64 time = milliseconds();
	unsigned int i = 0;

	if (ms)
		*ms += time - since;
	since = time;
	ms = NULL;
	if (!name)
		return;
	snprintf(now->stage, sizeof(now->stage), "%s", name);
	while (i < ARRAY_SIZE(sum.stages) - 1 && sum.stages[i].name &&
	       strcmp(sum.stages[i].name, name))
		i++;
	sum.stages[i].name = name;
	ms = &sum.stages[i].ms;
}

static void failed(const struct test *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void failed(const struct test *t, const char *fmt, ...)
{
	va_list args;

	now->failures++;
	printf("# image %llu (%s): ", t->number, now->what);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* ---- what is seen of the kernel ---- */

static int kernel_log = -1;

static void open_kernel_log(void)
{
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel_log < 0 || lseek(kernel_log, 0, SEEK_END) < 0)
		die("/dev/kmsg: %s", strerror(errno));
}

/* I/O beyond the end of a device fails as that of a bad entry does: the log tells them apart. */
static void check_kernel_log(const struct test *t)
{
	char record[8192], *text;
	ssize_t n;

	while ((n = read(kernel_log, record, sizeof(record) - 1)) > 0) {
		record[n] = 0;
		text = strchr(record, ';');
		if (text && strstr(text, "beyond end of device"))
			failed(t, "the kernel says: %.*s", (int)strcspn(text + 1, "\n"), text + 1);
	}
	/* EPIPE: more was said than the log holds. */
	if (errno != EAGAIN)
		failed(t, "the kernel's log: %s", strerror(errno));
}

static u64 available_kib(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	u64 kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* While the image is attached: what there is less of than before. */
static void check_memory(const struct test *t)
{
	u64 kib = available_kib(), less = kib < t->before_kib ? t->before_kib - kib : 0;

	if (less > sum.most_kib)
		sum.most_kib = less;
	if (less << 10 > MAX_MEMORY)
		failed(t, "it takes %llu MiB of memory to %s", less >> 10, now->stage);
}

/* ---- seeds ---- */

static bool load(const char *dir, const char *name, const char *suffix, struct fuzz_image *image)
{
	char path[PATH_MAX];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.%s", dir, name, suffix);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) || st.st_size > ROOM)
		die("%s: too large", path);
	image->size = st.st_size;
	image->room = st.st_size;
	image->bytes = malloc(image->size);
	if (!image->bytes || read(fd, image->bytes, image->size) != (ssize_t)image->size)
		die("%s: cannot read", path);
	close(fd);
	return true;
}

static void load_seeds(const char *dir)
{
	char path[PATH_MAX], backing[16];
	struct seed *s = seeds;
	FILE *list;

	snprintf(path, sizeof(path), "%s/list", dir);
	list = fopen(path, "r");
	if (!list)
		die("%s: %s", path, strerror(errno));
	while (s < seeds + ARRAY_SIZE(seeds) &&
	       fscanf(list, "%63s %15s", s->name, backing) == 2) {
		s->raw_backing = !strcmp(backing, "raw");
		s->has_backing = strcmp(backing, "none");
		if (!load(dir, s->name, "top", &s->top) ||
		    !load(dir, s->name, "model", &s->model) ||
		    (s->has_backing && !load(dir, s->name, backing, &s->backing)))
			die("%s: incomplete", s->name);
		s++;
	}
	fclose(list);
	nr_seeds = s - seeds;
	if (!nr_seeds)
		die("%s: no seeds", dir);
}

/* ---- making an image ---- */

static void damage(struct test *t, const struct fuzz_image *seed, struct fuzz_image *image)
{
	static size_t last_size;
	unsigned int n = 1;

	image->bytes = image_bytes;
	image->room = ROOM;
	image->size = last_size;
	fuzz_resize(image, seed->size);
	memcpy(image_bytes, seed->bytes, seed->size);
	while (!fuzz_below(&t->rng, 3))
		n++;
	while (n--) {
		size_t len = strlen(t->kinds);

		snprintf(t->kinds + len, sizeof(t->kinds) - len, "%s%s", len ? ", " : "",
			 fuzz_mutate(image, &t->rng));
	}
	last_size = image->size;
}

static void add_layer(struct test *t, const char *path, const struct fuzz_image *image, bool raw,
		      bool in_place)
{
	struct fuzz_layer *l = &t->layers[t->nr_layers];

	*l = (struct fuzz_layer){
		.raw = raw, .bytes = image->bytes, .len = image->size, .store = image->size,
	};
	if (in_place && t->place->device)
		l->store = t->place->size;
	fuzz_layer_init(l);
	t->paths[t->nr_layers++] = path;
}

/* The layers: the image in a place, and backing files, which are always files. */
static void make_chain(struct test *t, struct fuzz_image *image)
{
	static struct fuzz_place files;
	const struct seed *s = t->seed;
	const struct fuzz_image *backing = &s->backing;
	unsigned int shape = t->undamaged ? 9 : fuzz_below(&t->rng, 10), i;

	files = places[0];
	t->top = fuzz_place_name(t->place, "top");
	if (s->has_backing && shape < 2) {
		/* The backing image is the damaged one. */
		damage(t, s->raw_backing ? &s->top : backing, image);
		t->backing = t->top;
		t->top = fuzz_place_name(&files, "overlay");
		fuzz_place_write(t->place, t->backing, image);
		fuzz_place_write(&files, t->top, &s->top);
		t->top_bytes = &s->top;
		t->backing_bytes = image;
		add_layer(t, t->top, &s->top, false, false);
		add_layer(t, t->backing, image, false, true);
		return;
	}
	*image = s->top;
	if (!t->undamaged)
		damage(t, &s->top, image);
	fuzz_place_write(t->place, t->top, image);
	t->top_bytes = image;
	add_layer(t, t->top, image, false, true);
	if (shape == 2) {
		/* The image below itself, once or many times, as what it is or as raw. */
		for (i = 1 + fuzz_below(&t->rng, 3); i; i--)
			add_layer(t, t->top, image, !fuzz_below(&t->rng, 4), true);
		return;
	}
	if (!s->has_backing)
		return;
	t->backing = fuzz_place_name(&files, "backing");
	t->backing_bytes = backing;
	fuzz_place_write(&files, t->backing, backing);
	for (i = shape == 3 ? 4 : 1; i; i--)
		add_layer(t, t->backing, backing, s->raw_backing, false);
}

static u64 choose_size(struct test *t)
{
	u64 size = t->layers[0].size;

	if (!t->undamaged && !fuzz_below(&t->rng, 8))
		size = fuzz_below(&t->rng, size);
	size &= ~511ULL;
	return size ? size : 4096;
}

/* The table, and what the image is for whoever reads of its failure. */
static void describe(struct test *t, char *table, size_t size)
{
	int len = snprintf(table, size, "%u", t->nr_layers);

	for (unsigned int i = 0; i < t->nr_layers; i++)
		len += snprintf(table + len, size - len, " %s %s -",
				t->layers[i].raw ? "raw" : "qcow2", t->paths[i]);
	/* A device that waits for space would wait for ever. */
	snprintf(table + len, size - len, " %u error_if_no_space%s", 1 + t->read_only,
		 t->read_only ? " read_only" : "");
	snprintf(now->what, sizeof(now->what), "%s in %s, %u layers, %s: %s", t->seed->name,
		 t->place->path, t->nr_layers, t->read_only ? "read only" : "writable",
		 t->undamaged ? "not damaged" : t->kinds);
	if (verbose)
		printf("# image %llu: %s\n", t->number, now->what);
}

/* ---- using it ---- */

static void note_reason(const char *text)
{
	const char *reason = strstr(text, "table: ");
	unsigned int i;

	reason = reason ? reason + strlen("table: ") : text;
	for (i = 0; i < ARRAY_SIZE(sum.reasons) - 1 && sum.reasons[i].count; i++)
		if (!strncmp(sum.reasons[i].text, reason, sizeof(sum.reasons[i].text) - 1))
			break;
	snprintf(sum.reasons[i].text, sizeof(sum.reasons[i].text), "%.119s", reason);
	sum.reasons[i].count++;
}

/* Somewhere on the device, most often near its beginning, where the seed has its data. */
static u64 somewhere(struct fuzz_rng *rng, u64 bytes, u64 unit)
{
	u64 near = bytes < (8 << 20) ? bytes : 8 << 20;

	return fuzz_below(rng, fuzz_below(rng, 6) ? near : bytes) / unit * unit;
}

static void check_read(struct test *t, u64 pos, u64 len)
{
	static u8 got[MAX_IO] __attribute__((aligned(4096))), wanted[MAX_IO];
	enum fuzz_expect expect = fuzz_expected(t->layers, t->nr_layers, pos, len, wanted);
	ssize_t n = pread(t->fd, got, len, pos);
	int error = n < 0 ? errno : 0;

	if (t->undamaged) {
		/* QEMU's word counts more than the oracle's, and it knows compressed data. */
		if (expect == FUZZ_ERROR ||
		    (expect == FUZZ_BYTES && memcmp(wanted, t->seed->model.bytes + pos, len)))
			failed(t, "the oracle errs at %llu", pos);
		memcpy(wanted, t->seed->model.bytes + pos, len);
		expect = FUZZ_BYTES;
	}
	switch (expect) {
	case FUZZ_ANY:
		sum.any++;
		if (error && error != EIO)
			failed(t, "reading %llu bytes at %llu: %s", len, pos, strerror(error));
		break;
	case FUZZ_ERROR:
		sum.errors++;
		if (error != EIO)
			failed(t, "reading %llu bytes at %llu: %s, and they need a bad entry",
			       len, pos, error ? strerror(error) : "served");
		break;
	case FUZZ_BYTES:
		sum.right++;
		if (n != (ssize_t)len)
			failed(t, "reading %llu bytes at %llu: %s, and they need no bad entry",
			       len, pos, strerror(error));
		else if (memcmp(got, wanted, len))
			failed(t, "reading %llu bytes at %llu: other bytes", len, pos);
	}
}

/* Everything, of a small device, but in no more pieces than can be had in a reasonable time. */
static void read_all_over(struct test *t)
{
	u64 chunk = 1ULL << (t->layers[0].raw ? 16 : t->layers[0].cluster_bits);
	u64 chunks, i;

	chunk = chunk < 512 ? 512 : chunk > MAX_IO ? MAX_IO : chunk;
	if (t->bytes / chunk > READS && fuzz_below(&t->rng, 2))
		chunk = t->bytes / READS > MAX_IO ? MAX_IO :
			qc_round_up(t->bytes / READS, 4096);
	chunks = qc_div_round_up(t->bytes, chunk);
	for (i = 0; i < chunks && i < READS; i++) {
		u64 at = chunks <= READS ? i * chunk : somewhere(&t->rng, t->bytes, chunk);

		check_read(t, at, t->bytes - at < chunk ? t->bytes - at : chunk);
	}
	chunk = t->bytes < 4096 ? t->bytes : 4096;
	check_read(t, t->bytes - chunk, chunk);
}

struct writer {
	const struct test *t;
	struct fuzz_rng rng;
	u8 *model;			/* NULL: not known */
	bool alone;			/* nobody else writes */
	u64 done, errors;
};

static void change_model(u8 *model, u64 pos, u64 len, const u8 *bytes)
{
	if (model && bytes)
		memcpy(model + pos, bytes, len);
	else if (model)
		memset(model + pos, 0, len);
}

/* May sector @i of what was written be @got?  It may be that of a cluster in the same place. */
static bool shares_cluster(const struct test *t, const u8 *buf, u64 len, u64 i, const u8 *got)
{
	u64 step = t->undamaged || t->layers[0].raw ? len : 1ULL << t->layers[0].cluster_bits;

	for (u64 at = i % step; at < len; at += step)
		if (!memcmp(buf + at, got, 512))
			return true;
	return false;
}

/*
 * What was written is there, or is not to be had since a bad entry is in the way; nothing else.
 * Two clusters of a damaged image may be one below.  @before: a discard, which leaves old bytes
 * or zeroes.
 */
static void read_back(const struct test *t, u64 pos, u64 len, const u8 *buf, const u8 *before)
{
	static u8 got[MAX_IO] __attribute__((aligned(4096)));
	static const u8 zeroes[512];
	bool whole = pread(t->fd, got, len, pos) == (ssize_t)len;

	if (!whole && (t->undamaged || errno != EIO))
		failed(t, "reading back %llu bytes at %llu: %s", len, pos, strerror(errno));
	for (u64 i = 0; i < len; i += 512) {
		if (!whole && pread(t->fd, got + i, 512, pos + i) != 512) {
			sum.back_errors++;
		} else if (!memcmp(got + i, buf ? buf + i : zeroes, 512)) {
			sum.back_right++;
		} else if (before && !memcmp(got + i, before + i, 512)) {
			sum.back_old++;
		} else if (buf && shares_cluster(t, buf, len, i, got + i)) {
			sum.back_shared++;
		} else {
			failed(t, "reading back [%llu, +%llu) after a %s: other bytes at %llu", pos,
			       len, buf ? "write" : before ? "discard" : "zeroing", pos + i);
			return;
		}
	}
}

/* A discard of @range, of which the first bytes are judged. */
static int discard(struct writer *w, u64 *range)
{
	static u8 before[MAX_IO] __attribute__((aligned(4096)));
	u64 len = range[1] < MAX_IO ? range[1] : MAX_IO;
	bool known = w->alone && pread(w->t->fd, before, len, range[0]) == (ssize_t)len;

	if (ioctl(w->t->fd, BLKDISCARD, range))
		return -1;
	if (known)
		read_back(w->t, range[0], len, NULL, before);
	return 0;
}

static void one_change(struct writer *w, u8 *buf)
{
	const struct test *t = w->t;
	unsigned int what = fuzz_below(&w->rng, 16);
	u64 pos = somewhere(&w->rng, t->bytes, 512), left = t->bytes - pos;
	u64 len = 512 * (1 + fuzz_below(&w->rng, fuzz_below(&w->rng, 2) ? 8 : MAX_IO / 512));
	u64 range[2] = { pos, 512 * (1 + fuzz_below(&w->rng, MAX_DISCARD / 512)) };
	int r = 0;

	if (len > left)
		len = left;
	if (range[1] > left)
		range[1] = left;
	switch (what) {
	case 0:
	case 1:
		/* What it leaves is not defined, so not where a model is kept. */
		if (!w->model)
			r = discard(w, range);
		break;
	case 2:
	case 3:
		range[1] = len;
		r = ioctl(t->fd, BLKZEROOUT, range);
		if (!r)
			change_model(w->model, pos, len, NULL);
		if (!r && w->alone)
			read_back(t, pos, len, NULL, NULL);
		break;
	case 4:
		r = fsync(t->fd);
		break;
	case 5:
		r = pread(t->fd, buf, len, pos) == (ssize_t)len ? 0 : -1;
		break;
	default:
		for (u64 i = 0; i < len; i += 8)
			qc_put_be64(buf + i, fuzz_random(&w->rng));
		r = pwrite(t->fd, buf, len, pos) == (ssize_t)len ? 0 : -1;
		if (!r)
			change_model(w->model, pos, len, buf);
		if (!r && w->alone)
			read_back(t, pos, len, buf, NULL);
	}
	w->done++;
	w->errors += r < 0;
	if (r < 0 && (w->model || (errno != EIO && errno != ENOSPC)))
		failed(t, "change %u of %llu bytes at %llu: %s", what, len, pos, strerror(errno));
}

static void *write_all_over(void *ctx)
{
	struct writer *w = ctx;
	u8 *buf = aligned_alloc(4096, MAX_IO);

	for (unsigned int i = 0; i < WRITES; i++)
		one_change(w, buf);
	free(buf);
	return NULL;
}

static void write_from_two(struct test *t, struct writer *w)
{
	struct writer other = { .t = t, .rng = fuzz_rng_init(~t->number) };
	pthread_t thread;

	if (pthread_create(&thread, NULL, write_all_over, &other))
		die("no thread");
	write_all_over(w);
	pthread_join(thread, NULL);
	w->done += other.done;
	w->errors += other.errors;
}

static void tell(const char *text)
{
	struct dm_task *task = dm_task_create(DM_DEVICE_TARGET_MSG);

	if (!task || !dm_task_set_name(task, NAME) || !dm_task_set_message(task, text) ||
	    !dm_task_run(task))
		die("message %s", text);
	dm_task_destroy(task);
}

static void check_status(struct test *t)
{
	CLEANUP_FREE char *line = NULL;
	struct qc_error err = { 0 };
	struct qc_status status;
	u64 sectors;

	if (qc_dm_status(NAME, &sectors, &line, &err) ||
	    qc_status_parse(line, NAME, &status, &err))
		failed(t, "%s", err.text);
	else if (status.metadata_kib > status.metadata_limit_kib)
		failed(t, "more metadata than the bound: %s", line);
	else if (t->undamaged && strcmp(status.mode, t->read_only ? "ro" : "rw"))
		failed(t, "status: %s", line);
}

/* The undamaged image reads as what was written to it. */
static void check_model(struct test *t, const u8 *model)
{
	static u8 got[MAX_IO] __attribute__((aligned(4096)));

	for (u64 at = 0; at < t->bytes; at += MAX_IO) {
		u64 len = t->bytes - at < MAX_IO ? t->bytes - at : MAX_IO;

		if (pread(t->fd, got, len, at) != (ssize_t)len)
			failed(t, "reading back at %llu: %s", at, strerror(errno));
		else if (memcmp(got, model + at, len))
			failed(t, "reading back at %llu: other bytes", at);
	}
}

static void use(struct test *t)
{
	struct writer w = { .t = t, .rng = t->rng };

	stage("read");
	read_all_over(t);
	check_memory(t);
	stage("status");
	check_status(t);
	if (t->undamaged && !t->read_only) {
		w.model = malloc(t->seed->model.size);
		memcpy(w.model, t->seed->model.bytes, t->seed->model.size);
	}
	stage("write");
	if (!t->read_only) {
		w.alone = w.model || t->number % 4;
		if (w.alone)
			write_all_over(&w);
		else
			write_from_two(t, &w);
		sum.writes += w.done;
		sum.failed_writes += w.errors;
		if (fsync(t->fd) && t->undamaged)
			failed(t, "flush: %s", strerror(errno));
		check_memory(t);
	}
	stage("message");
	if (t->number % 2)
		tell("drop_caches");
	if (t->read_only) {
		stage("read again");
		read_all_over(t);
	} else if (w.model) {
		stage("read back");
		check_model(t, w.model);
	}
	free(w.model);
	stage("status");
	check_status(t);
}

/*
 * The name of the backing file is that of the seed.  Bitmaps do not keep up with the writes, and
 * what only they use counts as leaked then.
 */
static void check_with_qemu(const struct test *t)
{
	const u8 *header = t->seed->top.bytes;
	bool bitmaps = qc_get_be32(header + 4) >= 3 &&
		       qc_get_be64(header + 88) & QC_AUTOCLEAR_BITMAPS;
	char file[PATH_MAX + 64], command[PATH_MAX + 160];
	int status;

	snprintf(file, sizeof(file), "{\"driver\":\"%s\",\"filename\":\"%s\"}",
		 t->place->device ? "host_device" : "file", t->top);
	snprintf(command, sizeof(command),
		 "qemu-img check -q 'json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":%s}'",
		 file);
	status = system(command);
	if (bitmaps && !t->read_only && WIFEXITED(status) && WEXITSTATUS(status) == 3)
		return;
	if (status)
		failed(t, "qemu-img check finds something");
}

/* What nobody may have changed, whatever the image says. */
static void check_image(struct test *t)
{
	u8 was[QC_V3_HEADER_LENGTH] = { 0 }, is[QC_V3_HEADER_LENGTH] = { 0 };
	size_t size = t->top_bytes->size, len = size < sizeof(was) ? size : sizeof(was);
	struct stat st;
	int fd = open(t->top, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) || pread(fd, is, len, 0) != (ssize_t)len)
		die("%s: %s", t->top, strerror(errno));
	close(fd);
	memcpy(was, t->top_bytes->bytes, len);
	/* Refcount table, corrupt bit, autoclear bits. */
	memset(was + 48, 0, 12);
	memset(is + 48, 0, 12);
	was[79] |= 2;
	is[79] |= 2;
	memset(was + 88, 0, 8);
	memset(is + 88, 0, 8);
	if (memcmp(was, is, len))
		failed(t, "the header was overwritten");
	/* Holes cost nothing. */
	if (S_ISREG(st.st_mode) && (u64)st.st_blocks * 512 > size + MAX_GROWTH)
		failed(t, "the file grew from %zu to %llu bytes in use", size,
		       (u64)st.st_blocks * 512);
	if (t->read_only && !fuzz_place_equal(t->top, t->top_bytes->bytes, size))
		failed(t, "an image that was attached read-only has changed");
	if (t->backing && !fuzz_place_equal(t->backing, t->backing_bytes->bytes,
					    t->backing_bytes->size))
		failed(t, "a backing file has changed");
	if (t->place->device && !fuzz_place_guarded(t->place, t->undamaged))
		failed(t, "bytes outside of the device have changed");
	check_kernel_log(t);
	if (t->undamaged)
		check_with_qemu(t);
}

static void run(u64 number)
{
	struct test t = { .number = number, .rng = fuzz_rng_init(number), .fd = -1 };
	CLEANUP_FREE char *node = qc_dm_node(NAME);
	struct fuzz_image image;
	struct qc_error err = { 0 };
	char table[8192];

	/* Large ones take long: half of the turns they had. */
	do
		t.seed = &seeds[fuzz_below(&t.rng, nr_seeds)];
	while (t.seed->top.size > LARGE && fuzz_below(&t.rng, 2));
	t.place = &places[fuzz_below(&t.rng, nr_places)];
	t.undamaged = number % UNDAMAGED == 0;
	t.read_only = fuzz_below(&t.rng, 4) == 0;
	now->number = number;
	now->started = seconds();
	stage("make");
	make_chain(&t, &image);
	t.bytes = choose_size(&t);
	describe(&t, table, sizeof(table));
	if (save) {
		static const struct fuzz_place here = { .path = "." };

		fuzz_place_write(&here, save, &image);
	}
	t.before_kib = available_kib();
	stage("attach");
	if (qc_dm_create(NAME, t.bytes / 512, table, t.read_only, &err)) {
		sum.refused++;
		note_reason(err.text);
		if (verbose)
			printf("#   %s\n", err.text);
		if (t.undamaged)
			failed(&t, "%s", err.text);
	} else {
		sum.attached++;
		sum.undamaged += t.undamaged;
		t.fd = open(node, (t.read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC);
		if (t.fd < 0)
			failed(&t, "%s: %s", node, strerror(errno));
		else
			use(&t);
		close(t.fd);
		stage("detach");
		if (qc_dm_remove(NAME, &err))
			die("image %llu: %s", number, err.text);
	}
	stage("compare");
	check_image(&t);
	for (unsigned int i = 0; i < t.nr_layers; i++)
		if (strcmp(t.paths[i], t.place->path))
			unlink(t.paths[i]);
	stage(NULL);
}

/* ---- the frame ---- */

static void report(u64 count, u64 warm_kib)
{
	printf("# %llu images: %llu attached, %llu refused; %llu were not damaged\n", count,
	       sum.attached, sum.refused, sum.undamaged);
	printf("# reads: %llu with the right bytes, %llu rightly failed, %llu not judged\n",
	       sum.right, sum.errors, sum.any);
	printf("# writes, discards, flushes: %llu, of which %llu failed\n", sum.writes,
	       sum.failed_writes);
	printf("# sectors read back: %llu right, %llu not discarded, %llu shared, %llu failed\n",
	       sum.back_right, sum.back_old, sum.back_shared, sum.back_errors);
	for (unsigned int i = 0; i < ARRAY_SIZE(sum.reasons) && sum.reasons[i].count; i++)
		printf("# refused %llu times: %s\n", sum.reasons[i].count, sum.reasons[i].text);
	printf("# seconds:");
	for (unsigned int i = 0; i < ARRAY_SIZE(sum.stages) && sum.stages[i].name; i++)
		printf("%s %s %.1f", i ? "," : "", sum.stages[i].name,
		       sum.stages[i].ms / 1000.0);
	printf("\n# memory: %lld MiB less than at the start; for one image up to %llu MiB\n",
	       ((long long)warm_kib - (long long)available_kib()) / 1024, sum.most_kib >> 10);
}

static int work(u64 first, u64 count)
{
	u64 warm_kib = 0, i;

	for (i = 0; i < count && now->failures < MAX_FAILURES; i++) {
		if (i == 20)
			warm_kib = available_kib();
		run(first + i);
	}
	for (unsigned int p = 0; p < nr_places; p++) {
		if (places[p].device && !fuzz_place_guarded(&places[p], true)) {
			printf("# bytes far from the device have changed\n");
			now->failures++;
		}
	}
	report(i, warm_kib);
	fflush(stdout);
	if (i < 200)
		return now->failures != 0;
	if (available_kib() + (512 << 10) < warm_kib) {
		printf("# that is too much\n");
		return 1;
	}
	return now->failures != 0;
}

/* Wait for the worker; name the image that takes too long. */
static int supervise(pid_t worker, u64 limit)
{
	int status, sysrq;

	while (!waitpid(worker, &status, WNOHANG)) {
		struct timespec wait = { .tv_nsec = 200000000 };

		nanosleep(&wait, NULL);
		if (!now->started || seconds() - now->started < limit)
			continue;
		printf("# image %llu (%s) takes more than %llu seconds to %s\n", now->number,
		       now->what, limit, now->stage);
		fflush(stdout);
		sysrq = open("/proc/sysrq-trigger", O_WRONLY);
		if (sysrq >= 0 && write(sysrq, "w", 1) == 1)
			close(sysrq);
		return 1;
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("# image %llu (%s): the worker ended with status %#x\n", now->number, now->what,
	       status);
	return 1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seeds", required_argument, NULL, 's' },
		{ "first", required_argument, NULL, 'f' },
		{ "count", required_argument, NULL, 'c' },
		{ "limit", required_argument, NULL, 'l' },
		{ "disk", required_argument, NULL, 'd' },
		{ "save", required_argument, NULL, 'S' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 }
	};
	u64 first = 1, count = 1, limit = 300, start = 0;
	const char *dir = NULL;
	char *disk = NULL;
	pid_t worker;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			dir = optarg;
			break;
		case 'f':
			first = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			count = strtoull(optarg, NULL, 0);
			break;
		case 'l':
			limit = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			disk = strchr(optarg, '@');
			if (!disk)
				die("--disk DISK@START");
			*disk = 0;
			start = strtoull(disk + 1, NULL, 0);
			disk = optarg;
			break;
		case 'S':
			save = optarg;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			return 2;
		}
	}
	if (!dir || optind == argc || argc - optind > (int)ARRAY_SIZE(places))
		die("usage: see the head of try_images.c");
	now = mmap(NULL, sizeof(*now), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (now == MAP_FAILED)
		die("no memory");
	load_seeds(dir);
	open_kernel_log();
	for (; optind < argc; optind++)
		fuzz_place_init(&places[nr_places++], argv[optind], disk, start);
	if (places[0].device)
		die("the first place must be a directory");
	setvbuf(stdout, NULL, _IOLBF, 0);
	worker = fork();
	if (worker < 0)
		die("fork: %s", strerror(errno));
	if (!worker)
		return work(first, count);
	return supervise(worker, limit);
}
