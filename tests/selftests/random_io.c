// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random direct I/O from several threads against a model of the device in memory.
 *
 * Every writing operation holds its range of the device exclusively, so the content after it is
 * known; ranges end at any logical block, so at any moment several threads work inside the same
 * cluster.  Watchers read without holding anything, and judge the blocks that no
 * operation touched meanwhile.  The operations of each thread follow from the seed alone.
 *
 * Errors end it, but for those that --may-fail names.  After one of these each block of the range
 * has its old or its new content, until something is written there.
 *
 * Exit status: 0 all content as the model says, 1 wrong content, 2 an I/O error or a wrong call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define COMPARE_CHUNK (1U << 20)
#define MAX_IOVECS 4
#define MAX_MAY_FAIL 8
#define INITIAL_OP 0

enum op_kind {
	OP_INITIAL, OP_READ, OP_WRITE, OP_WRITE_FUA, OP_DISCARD, OP_ZEROOUT, OP_ZERO_RANGE,
	OP_PUNCH_HOLE, OP_FSYNC, OP_WATCH, NR_KINDS
};

static const char * const kind_name[NR_KINDS] = {
	[OP_INITIAL] = "initial content", [OP_READ] = "read", [OP_WRITE] = "write",
	[OP_WRITE_FUA] = "write-fua", [OP_DISCARD] = "discard", [OP_ZEROOUT] = "zeroout",
	[OP_ZERO_RANGE] = "zero-range", [OP_PUNCH_HOLE] = "punch-hole", [OP_FSYNC] = "fsync",
	[OP_WATCH] = "watch",
};

/* Out of 100; what is left goes to plain writes. */
static const unsigned int kind_share[NR_KINDS] = {
	[OP_READ] = 30, [OP_WRITE_FUA] = 6, [OP_DISCARD] = 9, [OP_ZEROOUT] = 6,
	[OP_ZERO_RANGE] = 4, [OP_PUNCH_HOLE] = 4, [OP_FSYNC] = 3,
};

struct op {
	enum op_kind kind;
	unsigned int thread;
	bool done;
	uint64_t off;
	uint64_t len;
};

/* A held or awaited range, oldest first in the list: nobody overtakes an overlapping elder. */
struct range {
	uint64_t off;
	uint64_t end;
	bool exclusive;
	struct range *next;
};

/* Errors that the device may return. */
struct may_fail {
	bool kinds[NR_KINDS];
	uint64_t off;
	uint64_t end;
};

/* An operation that failed, and whose content a block may have all the same. */
struct maybe {
	unsigned int nr;
	struct maybe *next;
};

struct worker {
	pthread_t tid;
	unsigned int id;
	uint64_t rng;			/* what to do: drawn a fixed number of times each */
	uint64_t split_rng;		/* how to cut it: short transfers draw again */
	unsigned char *mem;
	unsigned char *buf;
	unsigned long count[NR_KINDS];
	unsigned long unsupported[NR_KINDS];
	unsigned long errors[NR_KINDS];
	unsigned long nowait_done;
	unsigned long nowait_again;
	uint64_t bytes;
};

static struct {
	const char *path;
	const char *model_path;
	const char *out_path;
	uint64_t seed;
	uint64_t cluster;
	uint64_t discard_zeroes;
	uint64_t max_io;
	unsigned int block;
	unsigned int threads;
	unsigned int watchers;
	unsigned int ops;
	unsigned int timeout;
	bool no_discard;
	bool no_free;
	bool buffered;
	const char *hurt;
	const char *heal;
	struct may_fail may_fail[MAX_MAY_FAIL];
	unsigned int nr_may_fail;
} opt = {
	.cluster = 65536, .max_io = 1 << 20, .threads = 4, .watchers = 1, .ops = 500,
};

static int dev_fd;
static bool dev_is_file;
static uint64_t dev_size;
static unsigned char *model;
static struct op *ops;
static uint32_t *last_op;		/* per block: who began to change it last */
static struct maybe **maybes;		/* per block */
static unsigned int nr_ops = 1;		/* operation 0 is the initial content */
static struct range *ranges;
static bool stop;			/* first failure, or workers done: all leave */
static int exit_status;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ranges_changed = PTHREAD_COND_INITIALIZER;

static uint64_t rnd(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t rnd_below(uint64_t *state, uint64_t limit)
{
	return limit ? rnd(state) % limit : 0;
}

static __attribute__((format(printf, 2, 3))) void fail(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	flockfile(stdout);
	printf("# random_io: %s: ", opt.path);
	vprintf(fmt, ap);
	printf(" (seed %" PRIu64 ")\n", opt.seed);
	fflush(stdout);
	funlockfile(stdout);
	va_end(ap);
	__atomic_store_n(&exit_status, status, __ATOMIC_RELAXED);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
}

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("# random_io: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	exit(2);
}

static void *alloc_aligned(size_t size)
{
	void *mem = NULL;

	if (posix_memalign(&mem, 4096, size))
		die("no memory for %zu bytes", size);
	return mem;
}

/* ---- ranges ---- */

static bool overlaps(const struct range *a, const struct range *b)
{
	return a->off < b->end && b->off < a->end;
}

static bool has_to_wait(const struct range *me)
{
	for (const struct range *r = ranges; r != me; r = r->next)
		if ((r->exclusive || me->exclusive) && overlaps(r, me))
			return true;
	return false;
}

static void range_lock(struct range *me)
{
	struct range **tail;

	pthread_mutex_lock(&lock);
	for (tail = &ranges; *tail; tail = &(*tail)->next)
		;
	me->next = NULL;
	*tail = me;
	while (has_to_wait(me))
		pthread_cond_wait(&ranges_changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void range_unlock(struct range *me)
{
	struct range **r;

	pthread_mutex_lock(&lock);
	for (r = &ranges; *r != me; r = &(*r)->next)
		;
	*r = me->next;
	pthread_cond_broadcast(&ranges_changed);
	pthread_mutex_unlock(&lock);
}

/* ---- what is known of each block ---- */

static unsigned int op_begin(struct worker *w, enum op_kind kind, uint64_t off, uint64_t len)
{
	unsigned int nr;

	pthread_mutex_lock(&lock);
	nr = nr_ops++;
	ops[nr] = (struct op){ .kind = kind, .thread = w->id, .off = off, .len = len };
	for (uint64_t b = off / opt.block; b < (off + len) / opt.block; b++)
		last_op[b] = nr;
	pthread_mutex_unlock(&lock);
	return nr;
}

static void op_end(unsigned int nr)
{
	pthread_mutex_lock(&lock);
	ops[nr].done = true;
	pthread_mutex_unlock(&lock);
}

/* Each 8 bytes of written data tell the operation that wrote them and their place. */
static void fill_pattern(unsigned char *buf, unsigned int nr, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t word = (uint64_t)nr << 32 | ((off + i) / 8 & UINT32_MAX);

		memcpy(buf + i, &word, 8);
	}
}

static bool all_zero(const unsigned char *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static void print_op(const char *what, unsigned int nr)
{
	const struct op *op = &ops[nr];

	if (nr == INITIAL_OP)
		printf("# random_io:   %s: initial content\n", what);
	else
		printf("# random_io:   %s: #%u %s [%" PRIu64 ", +%" PRIu64 ") thread %u%s\n", what,
		       nr, kind_name[op->kind], op->off, op->len, op->thread,
		       op->done ? "" : " (still running)");
}

static void print_bytes(const char *what, const unsigned char *p, size_t len)
{
	printf("# random_io:   %s", what);
	for (size_t i = 0; i < len && i < 16; i++)
		printf(" %02x", p[i]);
	putchar('\n');
}

/* What the block at @got is: of which operation, and how far from where it belongs. */
struct kind_of_block {
	enum { AS_EXPECTED, ZEROES, WRITTEN, UNKNOWN } what;
	unsigned int nr;
	int64_t moved;
};

static bool same_kind(const struct kind_of_block *a, const struct kind_of_block *b)
{
	return a->what == b->what && a->nr == b->nr && a->moved == b->moved;
}

static struct kind_of_block kind_of_block(uint64_t off, const unsigned char *expected,
					  const unsigned char *got)
{
	struct kind_of_block kind = { .what = UNKNOWN };
	uint64_t word;

	memcpy(&word, got, 8);
	if (!memcmp(got, expected, opt.block)) {
		kind.what = AS_EXPECTED;
	} else if (all_zero(got, opt.block)) {
		kind.what = ZEROES;
	} else if (word >> 32 && word >> 32 < nr_ops) {
		kind.what = WRITTEN;
		kind.nr = word >> 32;
		kind.moved = (int64_t)(word & UINT32_MAX) * 8 - (int64_t)off;
	}
	return kind;
}

/* All of what was seen, in runs of blocks of one kind. */
static void print_blocks(uint64_t off, const unsigned char *expected, const unsigned char *got,
			 uint64_t len)
{
	static const char *const what[] = { "as expected", "zeroes", "written by", "unknown" };

	for (uint64_t i = 0, end; i < len; i = end) {
		struct kind_of_block kind = kind_of_block(off + i, expected + i, got + i), next;

		for (end = i + opt.block; end < len; end += opt.block) {
			next = kind_of_block(off + end, expected + end, got + end);
			if (!same_kind(&kind, &next))
				break;
		}
		printf("# random_io:   [%" PRIu64 ", +%" PRIu64 "): %s", off + i, end - i,
		       what[kind.what]);
		if (kind.what == WRITTEN)
			printf(" #%u, %" PRId64 " bytes from its place", kind.nr, kind.moved);
		putchar('\n');
	}
}

/* Is it so on the device, or was it so only for who has seen it? */
static void print_again(uint64_t off, const unsigned char *expected, uint64_t len)
{
	void *again;

	if (posix_memalign(&again, 4096, len))
		return;
	printf("# random_io:   read again%s\n",
	       pread(dev_fd, again, len, off) == (ssize_t)len ? ":" : ": fails");
	print_blocks(off, expected, again, len);
	free(again);
}

static void report_mismatch(enum op_kind during, uint64_t off, const unsigned char *expected,
			    const unsigned char *got, uint64_t len)
{
	uint64_t first = 0, end, word;

	while (first < len && expected[first] == got[first])
		first++;
	for (end = first; end < len && expected[end] != got[end]; )
		end++;

	flockfile(stdout);
	printf("# random_io: %s: wrong content at %" PRIu64 " (cluster %" PRIu64 " + %" PRIu64
	       "), %" PRIu64 " bytes, seen by %s [%" PRIu64 ", +%" PRIu64 ")\n", opt.path,
	       off + first, (off + first) / opt.cluster, (off + first) % opt.cluster, end - first,
	       kind_name[during], off, len);
	print_bytes("expected", expected + first, end - first);
	print_bytes("got     ", got + first, end - first);
	print_op("last changed by", last_op[(off + first) / opt.block]);

	memcpy(&word, got + (first & ~7ULL), 8);
	if (word >> 32 && word >> 32 < nr_ops)
		print_op("the data look like those of", word >> 32);
	for (unsigned int nr = 1; nr < nr_ops; nr++)
		if (ops[nr].off <= off + first && off + first < ops[nr].off + ops[nr].len)
			print_op("changed by", nr);
	print_blocks(off, expected, got, len);
	print_again(off, expected, len);
	funlockfile(stdout);
	fail(1, "content differs from the model");
}

/* ---- errors that are no failure ---- */

/* Is an error of this operation one that may be?  Counts it; else complains. */
static bool tolerated(struct worker *w, enum op_kind kind, uint64_t off, uint64_t len, int err)
{
	for (unsigned int i = 0; i < opt.nr_may_fail; i++) {
		const struct may_fail *m = &opt.may_fail[i];

		if (m->kinds[kind] && (kind == OP_FSYNC || (m->off < off + len && off < m->end))) {
			__atomic_add_fetch(&w->errors[kind], 1, __ATOMIC_RELAXED);
			return true;
		}
	}
	fail(2, "%s of [%" PRIu64 ", +%" PRIu64 "): %s", kind_name[kind], off, len, strerror(err));
	return false;
}

/* The content of these blocks is known again. */
static void settle(uint64_t off, uint64_t len)
{
	for (uint64_t b = off / opt.block; b < (off + len) / opt.block; b++) {
		while (maybes[b]) {
			struct maybe *m = maybes[b];

			maybes[b] = m->next;
			free(m);
		}
	}
}

/* Operation @nr failed; it may have done its work in any of these blocks. */
static void doubt(unsigned int nr, uint64_t off, uint64_t len)
{
	for (uint64_t b = off / opt.block; b < (off + len) / opt.block; b++) {
		struct maybe *m = malloc(sizeof(*m));

		if (!m)
			die("no memory");
		*m = (struct maybe){ .nr = nr, .next = maybes[b] };
		maybes[b] = m;
	}
}

/* May block @b read as @got, for all that is known? */
static bool may_read_as(uint64_t b, const unsigned char *got)
{
	unsigned char pattern[opt.block];

	if (!memcmp(got, model + b * opt.block, opt.block))
		return true;
	for (const struct maybe *m = maybes[b]; m; m = m->next) {
		bool writes = ops[m->nr].kind == OP_WRITE || ops[m->nr].kind == OP_WRITE_FUA;

		if (writes)
			fill_pattern(pattern, m->nr, b * opt.block, opt.block);
		if (writes ? !memcmp(got, pattern, opt.block) : all_zero(got, opt.block))
			return true;
	}
	return false;
}

/* Report the first block that reads as it must not.  False: there is one. */
static bool as_expected(enum op_kind during, uint64_t off, const unsigned char *got, uint64_t len)
{
	if (!memcmp(got, model + off, len))
		return true;
	for (uint64_t i = 0; i < len; i += opt.block) {
		if (!may_read_as((off + i) / opt.block, got + i)) {
			report_mismatch(during, off + i, model + off + i, got + i, len - i);
			return false;
		}
	}
	return true;
}

static void run_command(const char *command)
{
	if (command && system(command))
		die("'%s' failed", command);
}

/* ---- I/O ---- */

/* Whole transfer of the iovecs; NOWAIT is a wish, what it leaves is done without. */
static int transfer(struct worker *w, bool write, unsigned char *buf, uint64_t off, uint64_t len,
		    int flags)
{
	uint64_t done = 0;

	while (done < len) {
		struct iovec iov[MAX_IOVECS];
		uint64_t filled = done;
		unsigned int n = 0;
		ssize_t r;

		while (filled < len && n < MAX_IOVECS) {
			uint64_t piece = len - filled;

			if (n + 1 < MAX_IOVECS && piece > opt.block)
				piece = opt.block * (1 + rnd_below(&w->split_rng,
								   piece / opt.block));
			iov[n++] = (struct iovec){ buf + filled, piece };
			filled += piece;
		}

		r = write ? pwritev2(dev_fd, iov, n, off + done, flags)
			  : preadv2(dev_fd, iov, n, off + done, flags);
		if (r > 0) {
			done += r;
			w->nowait_done += !!(flags & RWF_NOWAIT);
		} else if (r < 0 && flags & RWF_NOWAIT &&
			   (errno == EAGAIN || errno == EOPNOTSUPP)) {
			w->nowait_again++;
		} else {
			return r ? errno : EIO;
		}
		flags &= ~RWF_NOWAIT;
	}
	w->bytes += len;
	return 0;
}

static int free_range(enum op_kind kind, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };
	int mode;

	if (!dev_is_file && kind == OP_DISCARD)
		return ioctl(dev_fd, BLKDISCARD, range) ? errno : 0;
	if (!dev_is_file && kind == OP_ZEROOUT)
		return ioctl(dev_fd, BLKZEROOUT, range) ? errno : 0;

	mode = kind == OP_DISCARD || kind == OP_PUNCH_HOLE ? FALLOC_FL_PUNCH_HOLE
							   : FALLOC_FL_ZERO_RANGE;
	return fallocate(dev_fd, mode | FALLOC_FL_KEEP_SIZE, off, len) ? errno : 0;
}

/*
 * After a discard every block has its old content or zeroes, and whole clusters of @c bytes (0:
 * none) read as zeroes where the format promises that.  The model then holds what was found.
 */
static void settle_discard(struct worker *w, unsigned int nr, uint64_t off, uint64_t len,
			   uint64_t c)
{
	uint64_t first_whole = UINT64_MAX, end_whole = 0;
	int err = transfer(w, false, w->buf, off, len, 0);

	if (err) {
		if (tolerated(w, OP_READ, off, len, err))
			doubt(nr, off, len);
		return;
	}
	if (c) {
		first_whole = (off + c - 1) / c * c;
		end_whole = (off + len) / c * c;
	}

	for (uint64_t i = 0; i < len; i += opt.block) {
		uint64_t pos = off + i;
		bool whole = pos >= first_whole && pos < end_whole;

		if (all_zero(w->buf + i, opt.block)) {
			memset(model + pos, 0, opt.block);
			settle(pos, opt.block);
		} else if (whole) {
			memset(model + pos, 0, opt.block);
			report_mismatch(OP_DISCARD, pos, model + pos, w->buf + i, opt.block);
			return;
		} else if (!may_read_as(pos / opt.block, w->buf + i)) {
			report_mismatch(OP_DISCARD, pos, model + pos, w->buf + i, opt.block);
			return;
		}
	}
}

static void do_read(struct worker *w, uint64_t off, uint64_t len, int flags)
{
	struct range range = { .off = off, .end = off + len };
	int err;

	range_lock(&range);
	memset(w->buf, 0xa5, len);
	err = transfer(w, false, w->buf, off, len, flags);
	if (err)
		tolerated(w, OP_READ, off, len, err);
	else
		as_expected(OP_READ, off, w->buf, len);
	range_unlock(&range);
}

static void do_write(struct worker *w, enum op_kind kind, uint64_t off, uint64_t len, int flags)
{
	struct range range = { .off = off, .end = off + len, .exclusive = true };
	unsigned int nr;
	int err;

	range_lock(&range);
	nr = op_begin(w, kind, off, len);
	fill_pattern(w->buf, nr, off, len);
	err = transfer(w, true, w->buf, off, len, flags | (kind == OP_WRITE_FUA ? RWF_DSYNC : 0));
	if (!err) {
		memcpy(model + off, w->buf, len);
		settle(off, len);
	} else if (tolerated(w, kind, off, len, err)) {
		doubt(nr, off, len);
	}
	op_end(nr);
	range_unlock(&range);
}

static void do_free(struct worker *w, enum op_kind kind, uint64_t off, uint64_t len)
{
	struct range range = { .off = off, .end = off + len, .exclusive = true };
	unsigned int nr;
	int err;

	range_lock(&range);
	nr = op_begin(w, kind, off, len);
	err = free_range(kind, off, len);
	if (err == EOPNOTSUPP && kind != OP_ZEROOUT) {
		w->unsupported[kind]++;
		settle_discard(w, nr, off, len, 0);
	} else if (err) {
		if (tolerated(w, kind, off, len, err))
			doubt(nr, off, len);
	} else if (kind == OP_DISCARD) {
		settle_discard(w, nr, off, len, opt.discard_zeroes);
	} else {
		memset(model + off, 0, len);
		settle(off, len);
	}
	op_end(nr);
	range_unlock(&range);
}

/* Read without a lock, then judge the blocks at rest from before the read until now. */
static void do_watch(struct worker *w, uint64_t off, uint64_t len)
{
	uint64_t first = off / opt.block, nr = len / opt.block;
	uint32_t *before = malloc(nr * sizeof(*before));
	int err;

	if (!before)
		die("no memory");
	pthread_mutex_lock(&lock);
	for (uint64_t b = 0; b < nr; b++) {
		uint32_t last = last_op[first + b];

		before[b] = ops[last].done ? last : UINT32_MAX;
	}
	pthread_mutex_unlock(&lock);

	err = transfer(w, false, w->buf, off, len, 0);
	if (err)
		tolerated(w, OP_READ, off, len, err);

	pthread_mutex_lock(&lock);
	for (uint64_t b = 0; b < nr && !err; b++) {
		unsigned char *got = w->buf + b * opt.block;
		unsigned char *expected = model + (first + b) * opt.block;

		if (before[b] == last_op[first + b] && !may_read_as(first + b, got)) {
			report_mismatch(OP_WATCH, (first + b) * opt.block, expected, got,
					opt.block);
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	free(before);
}

/* ---- which operation, where ---- */

static enum op_kind choose_kind(struct worker *w)
{
	unsigned int dice = rnd_below(&w->rng, 100);

	for (unsigned int k = 0; k < NR_KINDS; k++) {
		bool frees = k == OP_DISCARD || k == OP_ZEROOUT || k == OP_ZERO_RANGE ||
			     k == OP_PUNCH_HOLE;

		if (dice < kind_share[k])
			return (k == OP_DISCARD && opt.no_discard) || (frees && opt.no_free) ?
			       OP_WRITE : k;
		dice -= kind_share[k];
	}
	return OP_WRITE;
}

/* Sizes: one block, a few, about a cluster, whole clusters, anything up to the limit. */
static uint64_t choose_len(struct worker *w)
{
	unsigned int dice = rnd_below(&w->rng, 100);
	uint64_t limit = opt.max_io < dev_size ? opt.max_io : dev_size;
	uint64_t len;

	if (dice < 20)
		len = opt.block;
	else if (dice < 45)
		len = (1 + rnd_below(&w->rng, 16)) * opt.block;
	else if (dice < 70)
		len = rnd_below(&w->rng, 2 * opt.cluster);
	else if (dice < 92)
		len = (1 + rnd_below(&w->rng, 3)) * opt.cluster;
	else
		len = rnd_below(&w->rng, limit);

	len = len / opt.block * opt.block;
	if (len < opt.block)
		len = opt.block;
	return len < limit ? len : limit / opt.block * opt.block;
}

/*
 * Places: often where a cluster begins, or so that the range ends where one ends, off by a block
 * at times; a quarter in the first few clusters, where threads meet; the device's end at times.
 */
static uint64_t choose_off(struct worker *w, uint64_t len)
{
	uint64_t room = dev_size - len;
	unsigned int dice = rnd_below(&w->rng, 100);
	uint64_t area = dice % 4 ? room : 8 * opt.cluster;
	uint64_t off;

	if (area > room)
		area = room;
	off = rnd_below(&w->rng, area + opt.block);
	if (dice < 40) {
		off = off / opt.cluster * opt.cluster;
	} else if (dice < 60) {
		off = (off / opt.cluster + 1) * opt.cluster;
		off = off > len ? off - len : 0;
	} else if (dice < 70) {
		off = off / opt.cluster * opt.cluster + opt.block;
	} else if (dice < 74) {
		off = room;
	}
	off = off / opt.block * opt.block;
	return off < room ? off : room / opt.block * opt.block;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < opt.ops && !stopped(); i++) {
		enum op_kind kind = choose_kind(w);
		uint64_t len = choose_len(w);
		uint64_t off = choose_off(w, len);
		int flags = rnd_below(&w->rng, 3) ? 0 : RWF_NOWAIT;

		/* Of each thread at least one, after all else. */
		if (i == opt.ops - 1)
			kind = OP_FSYNC;
		if (opt.buffered)
			flags = 0;
		w->buf = w->mem + rnd_below(&w->rng, 8) * 512;
		w->count[kind]++;
		switch (kind) {
		case OP_READ:
			do_read(w, off, len, flags);
			break;
		case OP_FSYNC:
			if (fsync(dev_fd))
				tolerated(w, kind, 0, 0, errno);
			break;
		case OP_WRITE:
		case OP_WRITE_FUA:
			do_write(w, kind, off, len, flags);
			break;
		default:
			do_free(w, kind, off, len);
		}
	}
	return NULL;
}

static void *watch(void *arg)
{
	struct worker *w = arg;

	w->buf = w->mem;
	for (unsigned int i = 0; i < opt.ops && !stopped(); i++) {
		uint64_t len = choose_len(w);

		w->count[OP_WATCH]++;
		do_watch(w, choose_off(w, len), len);
	}
	return NULL;
}

/* ---- the frame ---- */

static void compare_all(struct worker *w, const char *when)
{
	w->buf = w->mem;
	for (uint64_t off = 0; off < dev_size && !stopped(); off += COMPARE_CHUNK) {
		uint64_t len = dev_size - off < COMPARE_CHUNK ? dev_size - off : COMPARE_CHUNK;
		int err = transfer(w, false, w->buf, off, len, 0);

		if (err) {
			fail(2, "%s compare: read of [%" PRIu64 ", +%" PRIu64 "): %s", when, off,
			     len, strerror(err));
		} else if (!as_expected(OP_READ, off, w->buf, len)) {
			printf("# random_io: that was in the %s compare\n", when);
		} else {
			/* What is seen now stays. */
			memcpy(model + off, w->buf, len);
			settle(off, len);
		}
	}
}

static void open_device(void)
{
	struct stat st;
	int ssz;

	dev_fd = open(opt.path, O_RDWR | O_CLOEXEC | (opt.buffered ? 0 : O_DIRECT));
	if (dev_fd < 0 || fstat(dev_fd, &st))
		die("%s: %s", opt.path, strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(dev_fd, BLKGETSIZE64, &dev_size) || ioctl(dev_fd, BLKSSZGET, &ssz))
			die("%s: %s", opt.path, strerror(errno));
	} else {
		dev_is_file = true;
		dev_size = st.st_size;
		ssz = 512;
	}
	if (!opt.block)
		opt.block = ssz;
	if (opt.block % 512 || opt.cluster % 512)
		die("block and cluster size are multiples of 512");
	if (opt.cluster < opt.block)
		opt.cluster = opt.block;
	if (!dev_size || dev_size % opt.block)
		die("%s: size %" PRIu64 " is no multiple of the block size %u", opt.path, dev_size,
		    opt.block);
}

/* The model is at least as long as the device; what it lacks (no file given) is zeroes. */
static void load_model(void)
{
	int fd;

	model = alloc_aligned(dev_size);
	memset(model, 0, dev_size);
	if (!opt.model_path)
		return;
	fd = open(opt.model_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", opt.model_path, strerror(errno));
	for (uint64_t done = 0; done < dev_size; ) {
		ssize_t r = read(fd, model + done, dev_size - done);

		if (r < 0)
			die("%s: %s", opt.model_path, strerror(errno));
		if (!r)
			die("%s: shorter than the device", opt.model_path);
		done += r;
	}
	close(fd);
}

static void save_model(void)
{
	int fd = open(opt.out_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s: %s", opt.out_path, strerror(errno));
	if (ftruncate(fd, dev_size))
		die("%s: %s", opt.out_path, strerror(errno));
	for (uint64_t off = 0; off < dev_size; off += COMPARE_CHUNK) {
		uint64_t len = dev_size - off < COMPARE_CHUNK ? dev_size - off : COMPARE_CHUNK;

		if (!all_zero(model + off, len) &&
		    pwrite(fd, model + off, len, off) != (ssize_t)len)
			die("%s: %s", opt.out_path, strerror(errno));
	}
	if (close(fd))
		die("%s: %s", opt.out_path, strerror(errno));
}

static void start_worker(struct worker *w, unsigned int id, void *(*fn)(void *))
{
	uint64_t mix = opt.seed * 1000003 + id;

	w->id = id;
	w->rng = rnd(&mix);
	w->split_rng = rnd(&mix);
	w->mem = alloc_aligned((opt.max_io > COMPARE_CHUNK ? opt.max_io : COMPARE_CHUNK) + 4096);
	if (fn && pthread_create(&w->tid, NULL, fn, w))
		die("cannot start a thread");
}

/* The operations in flight are told before a hang takes the test with it. */
static void *watchdog(void *arg)
{
	(void)arg;
	sleep(opt.timeout);
	printf("# random_io: %s: not done after %u s (seed %" PRIu64 "); running:\n", opt.path,
	       opt.timeout, opt.seed);
	for (unsigned int nr = 1; nr < nr_ops; nr++)
		if (!ops[nr].done)
			print_op("operation", nr);
	fflush(stdout);
	_exit(2);
}

static void print_summary(const struct worker *w, unsigned int nr)
{
	struct worker sum = { 0 };

	for (unsigned int i = 0; i < nr; i++) {
		for (unsigned int k = 0; k < NR_KINDS; k++) {
			sum.count[k] += w[i].count[k];
			sum.unsupported[k] += w[i].unsupported[k];
			sum.errors[k] += w[i].errors[k];
		}
		sum.nowait_done += w[i].nowait_done;
		sum.nowait_again += w[i].nowait_again;
		sum.bytes += w[i].bytes;
	}
	printf("# random_io: %" PRIu64 " MiB;", sum.bytes >> 20);
	for (unsigned int k = 0; k < NR_KINDS; k++) {
		if (!sum.count[k])
			continue;
		printf(" %lu %s", sum.count[k], kind_name[k]);
		if (sum.errors[k])
			printf(" (%lu errors)", sum.errors[k]);
		if (sum.unsupported[k])
			printf(" (%lu not supported)", sum.unsupported[k]);
	}
	printf("; nowait %lu, again %lu\n", sum.nowait_done, sum.nowait_again);
}

static __attribute__((noreturn)) void usage(int status)
{
	fputs("usage: random_io [OPTION]... DEVICE\n"
	      "  --model FILE         initial content (default: zeroes)\n"
	      "  --out FILE           write the final content here\n"
	      "  --seed N             default: from the clock\n"
	      "  --threads N          writing threads (4)\n"
	      "  --watchers N         threads that only read, unsynchronised (1)\n"
	      "  --ops N              operations per thread (500)\n"
	      "  --cluster N          cluster size that places and sizes favour (65536)\n"
	      "  --block N            unit of all ranges (the device's logical block)\n"
	      "  --max-io N           largest operation (1048576)\n"
	      "  --discard-zeroes N   a discard of a whole cluster of N bytes reads as zeroes\n"
	      "  --no-discard         no discards at all\n"
	      "  --no-free            nothing that gives up space: reads, writes and flushes\n"
	      "  --may-fail WHAT[:OFFSET:LENGTH]\n"
	      "                       errors that are expected, in a range or everywhere; WHAT is read,\n"
	      "                       write (whatever changes something), fua or flush\n"
	      "  --hurt COMMAND       run this after the initial compare\n"
	      "  --heal COMMAND       run this before the final compare, in which nothing may fail\n"
	      "  --timeout S          give up after S seconds, telling what was running\n"
	      "  --buffered           through the page cache (to try this program itself)\n",
	      status ? stderr : stdout);
	exit(status);
}

static uint64_t parse_number(const char *arg)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(arg, &end, 0);
	if (errno || *end || end == arg)
		die("'%s' is no number", arg);
	return n;
}

static void parse_may_fail(const char *arg)
{
	struct may_fail *m = &opt.may_fail[opt.nr_may_fail++];
	char what[16];
	int fields;

	if (opt.nr_may_fail > MAX_MAY_FAIL)
		die("too many --may-fail");
	fields = sscanf(arg, "%15[^:]:%" SCNu64 ":%" SCNu64, what, &m->off, &m->end);
	m->end = fields == 3 ? m->off + m->end : UINT64_MAX;
	if (!strcmp(what, "read")) {
		m->kinds[OP_READ] = true;
	} else if (!strcmp(what, "fua")) {
		m->kinds[OP_WRITE_FUA] = true;
	} else if (!strcmp(what, "flush")) {
		m->kinds[OP_FSYNC] = true;
	} else if (!strcmp(what, "write")) {
		for (unsigned int k = OP_WRITE; k <= OP_PUNCH_HOLE; k++)
			m->kinds[k] = true;
	} else {
		die("'%s' is nothing that may fail", arg);
	}
}

static void parse(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "model", required_argument, NULL, 'm' },
		{ "out", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "watchers", required_argument, NULL, 'w' },
		{ "ops", required_argument, NULL, 'n' },
		{ "cluster", required_argument, NULL, 'c' },
		{ "block", required_argument, NULL, 'b' },
		{ "max-io", required_argument, NULL, 'M' },
		{ "discard-zeroes", required_argument, NULL, 'z' },
		{ "no-discard", no_argument, NULL, 'D' },
		{ "no-free", no_argument, NULL, 'F' },
		{ "may-fail", required_argument, NULL, 'f' },
		{ "hurt", required_argument, NULL, 'h' },
		{ "heal", required_argument, NULL, 'H' },
		{ "timeout", required_argument, NULL, 'T' },
		{ "buffered", no_argument, NULL, 'B' },
		{ "help", no_argument, NULL, 'U' },
		{ NULL, 0, NULL, 0 }
	};
	struct timespec now;
	int c;

	clock_gettime(CLOCK_REALTIME, &now);
	opt.seed = (now.tv_sec ^ now.tv_nsec) & UINT32_MAX;
	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case 'm':
			opt.model_path = optarg;
			break;
		case 'o':
			opt.out_path = optarg;
			break;
		case 's':
			opt.seed = parse_number(optarg);
			break;
		case 't':
			opt.threads = parse_number(optarg);
			break;
		case 'w':
			opt.watchers = parse_number(optarg);
			break;
		case 'n':
			opt.ops = parse_number(optarg);
			break;
		case 'c':
			opt.cluster = parse_number(optarg);
			break;
		case 'b':
			opt.block = parse_number(optarg);
			break;
		case 'M':
			opt.max_io = parse_number(optarg);
			break;
		case 'z':
			opt.discard_zeroes = parse_number(optarg);
			break;
		case 'D':
			opt.no_discard = true;
			break;
		case 'F':
			opt.no_free = true;
			break;
		case 'f':
			parse_may_fail(optarg);
			break;
		case 'h':
			opt.hurt = optarg;
			break;
		case 'H':
			opt.heal = optarg;
			break;
		case 'T':
			opt.timeout = parse_number(optarg);
			break;
		case 'B':
			opt.buffered = true;
			break;
		default:
			usage(c == 'U' ? 0 : 2);
		}
	}
	if (optind + 1 != argc || !opt.threads)
		usage(2);
	opt.path = argv[optind];
}

int main(int argc, char **argv)
{
	struct worker *workers;
	pthread_t dog;
	unsigned int i;

	parse(argc, argv);
	open_device();
	load_model();
	ops = calloc((size_t)opt.threads * opt.ops + 1, sizeof(*ops));
	last_op = calloc(dev_size / opt.block, sizeof(*last_op));
	workers = calloc(opt.threads + opt.watchers + 1, sizeof(*workers));
	maybes = calloc(dev_size / opt.block, sizeof(*maybes));
	if (!ops || !last_op || !workers || !maybes)
		die("no memory");
	ops[INITIAL_OP] = (struct op){ .kind = OP_INITIAL, .done = true, .len = dev_size };

	printf("# random_io: %s: seed %" PRIu64 ", %" PRIu64 " bytes, block %u, cluster %" PRIu64
	       ", %u threads, %u operations each\n", opt.path, opt.seed, dev_size, opt.block,
	       opt.cluster, opt.threads, opt.ops);
	fflush(stdout);
	if (opt.timeout && pthread_create(&dog, NULL, watchdog, NULL))
		die("cannot start a thread");

	/* The last worker is this thread's own, for the two whole compares. */
	start_worker(&workers[opt.threads + opt.watchers], opt.threads + opt.watchers, NULL);
	compare_all(&workers[opt.threads + opt.watchers], "initial");
	if (!stopped()) {
		run_command(opt.hurt);
		for (i = 0; i < opt.threads + opt.watchers; i++)
			start_worker(&workers[i], i, i < opt.threads ? work : watch);
		for (i = 0; i < opt.threads; i++)
			pthread_join(workers[i].tid, NULL);
		__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
		for (; i < opt.threads + opt.watchers; i++)
			pthread_join(workers[i].tid, NULL);
		run_command(opt.heal);
		if (!exit_status) {
			__atomic_store_n(&stop, false, __ATOMIC_RELAXED);
			compare_all(&workers[opt.threads + opt.watchers], "final");
		}
	}
	if (!exit_status && fsync(dev_fd))
		fail(2, "fsync: %s", strerror(errno));
	print_summary(workers, opt.threads + opt.watchers + 1);
	if (!exit_status && opt.out_path)
		save_model();
	return exit_status;
}
