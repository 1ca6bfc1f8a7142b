// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Let the N-th write, or read, of the disk below a chain fail, for one N after the other, and see
 * what becomes of the chain, of what was written, and of what was flushed.
 *
 * Each round starts with the same image on a faulty_disk, attaches it, and does the same
 * operations, one after the other.  What each sector may hold is known: the set of operations whose
 * content it may show.  A write that fails leaves old or new; what was flushed must be there after
 * a power cut, and what was acknowledged after a detach.  QEMU reads the images, and checks them.
 *
 * After a flush that failed nothing is written any more: the mode says so, all but reads fail, and
 * after a detach there is what a power cut must leave.  A disk that forgets has dropped, with the
 * flush, everything that was written since the last one that went well.
 *
 * Modes, that is how the disk fails:
 *	one	the N-th request, and no other
 *	from	all from the N-th on, until the end of the operations; it is well again before the
 *		detach, or in every other round after it
 *
 * Exit status: 0 all well, 1 a round is not, 2 a wrong call or a machine that cannot.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libdevmapper.h>
#include <linux/fs.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faulty_disk.h"
#include "kselftest.h"

#define SECTOR 512
#define NAME "qc-nth"
#define DEVICE "/dev/mapper/" NAME
#define MAX_OPS 62
#define INITIAL 0			/* "operation" 0 */
#define ZEROES 63			/* and one that is none, either */
#define BIT(n) (1ULL << (n))

enum kind { OP_WRITE, OP_WRITE_FUA, OP_DISCARD, OP_ZEROOUT, OP_READ, OP_FLUSH, NR_KINDS };

static const char * const kind_name[NR_KINDS] = {
	"write", "fua write", "discard", "zeroout", "read", "flush",
};

struct op {
	enum kind kind;
	uint64_t off, len;
};

static struct {
	const char *disk;
	const char *image;		/* what lies on the disk in the beginning */
	const char *model;		/* what it then shows */
	const char *below;		/* further layers, as the table has them */
	unsigned int layers;
	const char *dir;		/* for images to be judged */
	uint64_t disk_size;
	uint64_t cluster;
	uint64_t seed;
	unsigned int nr_ops;
	unsigned int rounds;
	unsigned int only;
	bool list;
	bool reads;
	bool from;
	bool torn;
	bool forget;
} opt = {
	.disk = "/dev/nbd0", .below = "", .layers = 1, .disk_size = 16 << 20, .cluster = 65536,
	.nr_ops = 40,
};

static struct faulty_disk *disk;
static uint64_t size;			/* of the device */
static unsigned char *initial;		/* its content */
static unsigned char *buf;		/* as large */
static struct op ops[MAX_OPS + 1];
static uint64_t *live;			/* by sector: operations whose content it may show */
static uint64_t *durable;		/* the same after a power cut */
static uint64_t *durable_at_cut;
static unsigned int round_nr;
static unsigned long leaks, cut_leaks;	/* images with such, after a detach or a power cut */
static unsigned long failed_ops, bad_rounds, refused_attaches, aborts;
static bool bad;			/* this round */

static uint64_t rng;

static uint64_t rnd_below(uint64_t limit)
{
	uint64_t z = (rng += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) % limit;
}

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("# nth_fault: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	exit(2);
}

static __attribute__((format(printf, 1, 2))) void complain(const char *fmt, ...)
{
	struct faulty_counts counts;
	va_list ap;

	faulty_disk_counts(disk, &counts);
	va_start(ap, fmt);
	printf("# nth_fault: %s %u, ",
	       opt.reads ? "read" : opt.forget ? "flush" : "write", round_nr);
	vprintf(fmt, ap);
	printf(" (%" PRIu64 " requests failed, the last a %s; seed %" PRIu64 ")\n", counts.failed,
	       counts.last, opt.seed);
	va_end(ap);
	fflush(stdout);
	bad = true;
}

/* ---- programs and devices ---- */

static int run(const char *const argv[], const char *output)
{
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	errno = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (errno || waitpid(pid, &status, 0) != pid)
		die("%s: %s", argv[0], strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static struct dm_task *task_run(struct dm_task *task)
{
	if (task && dm_task_run(task))
		return task;
	if (task)
		dm_task_destroy(task);
	return NULL;
}

static bool attach(void)
{
	struct dm_task *task = dm_task_create(DM_DEVICE_CREATE);
	char params[4096];

	snprintf(params, sizeof(params), "%u qcow2 %s - %s", opt.layers, opt.disk, opt.below);
	if (!task || !dm_task_set_name(task, NAME) ||
	    !dm_task_add_target(task, 0, size / SECTOR, "qchain", params) ||
	    !dm_task_set_add_node(task, DM_ADD_NODE_ON_CREATE))
		die("libdevmapper");
	task = task_run(task);
	if (!task)
		return false;
	dm_task_destroy(task);
	dm_task_update_nodes();
	return true;
}

static void detach(void)
{
	struct dm_task *task = dm_task_create(DM_DEVICE_REMOVE);

	if (!task || !dm_task_set_name(task, NAME))
		die("libdevmapper");
	task = task_run(task);
	if (!task)
		die("the device cannot be removed");
	dm_task_destroy(task);
	dm_task_update_nodes();
}

/* Is it the device's? */
static bool mode_is(const char *mode)
{
	struct dm_task *task = dm_task_create(DM_DEVICE_STATUS);
	uint64_t start, length;
	char *type, *params;
	bool is;

	if (!task || !dm_task_set_name(task, NAME))
		die("libdevmapper");
	task = task_run(task);
	if (!task)
		die("no status");
	dm_get_next_target(task, NULL, &start, &length, &type, &params);
	is = !strncmp(params, mode, strlen(mode)) && params[strlen(mode)] == ' ';
	dm_task_destroy(task);
	return is;
}

/* Flushes that failed, those of writes with FUA included. */
static uint64_t flushes_failed(void)
{
	struct faulty_counts counts;

	faulty_disk_counts(disk, &counts);
	return counts.flushes_failed;
}

/* The status says that nothing is wrong with the image: I/O errors are not the image's. */
static void check_status(bool aborted)
{
	const char *mode = aborted ? "flush-failed" : "rw";

	if (!mode_is(mode))
		complain("the mode is not %s", mode);
}

/* ---- contents ---- */

static void fill_pattern(unsigned char *p, unsigned int nr, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t word = (uint64_t)nr << 56 | (off + i) / 8;

		memcpy(p + i, &word, 8);
	}
}

/* The content of a sector after operation @nr. */
static const unsigned char *content_of(unsigned int nr, uint64_t sector)
{
	static const unsigned char zeroes[SECTOR];
	static unsigned char pattern[SECTOR];

	if (nr == INITIAL)
		return initial + sector * SECTOR;
	if (nr == ZEROES)
		return zeroes;
	fill_pattern(pattern, nr, sector * SECTOR, SECTOR);
	return pattern;
}

static bool may_be(const unsigned char *p, uint64_t sector, uint64_t set)
{
	for (; set; set &= set - 1)
		if (!memcmp(p, content_of(__builtin_ctzll(set), sector), SECTOR))
			return true;
	return false;
}

/* Do @len bytes at @off look as @allowed says? */
static bool compare(const unsigned char *p, uint64_t off, uint64_t len, const uint64_t *allowed,
		    const char *when)
{
	for (uint64_t i = 0; i < len; i += SECTOR) {
		uint64_t sector = (off + i) / SECTOR, word;

		if (may_be(p + i, sector, allowed[sector]))
			continue;
		memcpy(&word, p + i, sizeof(word));
		complain("%s: wrong content in sector %" PRIu64 " (cluster %" PRIu64
			 "): begins with %#" PRIx64 ", operations that it may come from: %#" PRIx64,
			 when, sector, sector * SECTOR / opt.cluster, word, allowed[sector]);
		return false;
	}
	return true;
}

/* What an operation leaves in the sectors it touched. */
static void note(const struct op *op, unsigned int nr, bool failed)
{
	bool zeroes = op->kind == OP_DISCARD || op->kind == OP_ZEROOUT;
	uint64_t bit = BIT(zeroes ? ZEROES : nr);

	if (op->kind == OP_READ)
		return;
	if (op->kind == OP_FLUSH) {
		if (!failed)
			memcpy(durable, live, size / SECTOR * sizeof(*live));
		return;
	}
	for (uint64_t s = op->off / SECTOR; s < (op->off + op->len) / SECTOR; s++) {
		/* A discard may leave what it likes. */
		live[s] = failed || op->kind == OP_DISCARD ? live[s] | bit : bit;
		durable[s] = !failed && op->kind == OP_WRITE_FUA ? bit : durable[s] | bit;
	}
}

/* ---- operations ---- */

static void make_ops(void)
{
	static const enum kind dice[] = {
		OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE_FUA, OP_DISCARD,
		OP_DISCARD, OP_ZEROOUT, OP_READ, OP_FLUSH, OP_FLUSH,
	};
	uint64_t lens[] = { SECTOR, 4096, opt.cluster / 2, opt.cluster, 3 * opt.cluster, 131072 };

	rng = opt.seed;
	for (unsigned int nr = 1; nr <= opt.nr_ops; nr++) {
		struct op *op = &ops[nr];
		uint64_t unit = rnd_below(2) ? SECTOR : opt.cluster;

		op->kind = dice[rnd_below(ARRAY_SIZE(dice))];
		op->len = lens[rnd_below(ARRAY_SIZE(lens))] / SECTOR * SECTOR;
		if (!op->len)
			op->len = SECTOR;
		op->off = rnd_below((size - op->len) / unit + 1) * unit;
	}
	/* One that is long enough to need a larger refcount table, when that is small. */
	ops[opt.nr_ops / 2] = (struct op){ .kind = OP_WRITE, .off = size / 4, .len = size / 2 };
	ops[opt.nr_ops] = (struct op){ .kind = OP_FLUSH };
}

static int do_op(int fd, const struct op *op, unsigned int nr)
{
	uint64_t range[2] = { op->off, op->len };
	struct iovec iov = { buf, op->len };
	ssize_t r;

	switch (op->kind) {
	case OP_FLUSH:
		return fsync(fd) ? errno : 0;
	case OP_DISCARD:
		return ioctl(fd, BLKDISCARD, range) ? errno : 0;
	case OP_ZEROOUT:
		return ioctl(fd, BLKZEROOUT, range) ? errno : 0;
	case OP_READ:
		r = preadv2(fd, &iov, 1, op->off, 0);
		break;
	default:
		fill_pattern(buf, nr, op->off, op->len);
		r = pwritev2(fd, &iov, 1, op->off, op->kind == OP_WRITE_FUA ? RWF_DSYNC : 0);
	}
	return r < 0 ? errno : (uint64_t)r < op->len ? EIO : 0;
}

static uint64_t faults(void)
{
	struct faulty_counts counts;

	faulty_disk_counts(disk, &counts);
	return counts.failed;
}

/* A copy of what a power cut would leave now, with what must be there then. */
static void cut(const char *path)
{
	if (faulty_disk_save(disk, FAULTY_CUT, path))
		die("%s: %s", path, strerror(errno));
	memcpy(durable_at_cut, durable, size / SECTOR * sizeof(*durable));
}

/*
 * All operations.  The power is cut, in a copy, after the first flush that succeeds when something
 * has failed, or some operations later.
 */
static void do_ops(const char *cut_path)
{
	unsigned int wait = round_nr % 3, failed = 0;
	int fd = open(DEVICE, O_RDWR | O_DIRECT | O_CLOEXEC), err;
	bool flushed = false, was_cut = false, aborted = false;

	if (fd < 0)
		die(DEVICE ": %s", strerror(errno));
	for (unsigned int nr = 1; nr <= opt.nr_ops; nr++) {
		const struct op *op = &ops[nr];

		/* In the end the disk is well, so that the last flush has to succeed. */
		if (nr == opt.nr_ops && opt.from && !(round_nr % 2))
			faulty_disk_heal(disk);
		aborted = aborted || (flushes_failed() && mode_is("flush-failed"));
		err = do_op(fd, op, nr);
		if (aborted && op->kind != OP_READ) {
			if (err != EIO)
				complain("operation %u, %s, after a flush that failed: %s", nr,
					 kind_name[op->kind], strerror(err));
			continue;
		}
		if (err) {
			failed++;
			if (err != EIO || !faults())
				complain("operation %u, %s [%" PRIu64 ", +%" PRIu64 "): %s", nr,
					 kind_name[op->kind], op->off, op->len, strerror(err));
			else if (op->kind == OP_READ && !opt.reads && !flushes_failed())
				complain("operation %u, a read, fails for want of a write", nr);
		} else if (op->kind == OP_READ) {
			/* What was overwritten in place and not flushed is old again. */
			compare(buf, op->off, op->len,
				opt.forget && flushes_failed() ? durable : live, "while attached");
		}
		note(op, nr, err);
		flushed |= op->kind == OP_FLUSH && !err && faults();
		if (flushed && !was_cut && !wait--) {
			cut(cut_path);
			was_cut = true;
		}
	}
	if (!was_cut)
		cut(cut_path);
	if (!opt.from && failed > faults() && !flushes_failed())
		complain("%u operations failed for %" PRIu64 " requests", failed, faults());
	failed_ops += failed;
	if (close(fd))
		complain("close: %s", strerror(errno));
}

/* ---- judges ---- */

static void judge(const char *image, const uint64_t *allowed, unsigned long *leaky,
		  const char *when)
{
	const char *const check[] = { "qemu-img", "check", "-q", "-f", "qcow2", image, NULL };
	char raw[4096], log[4096];
	const char *const convert[] = {
		"qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw, NULL,
	};
	int status, fd;

	snprintf(raw, sizeof(raw), "%s/raw", opt.dir);
	snprintf(log, sizeof(log), "%s/log", opt.dir);
	status = run(check, log);
	if (status == 3 && leaky) {
		(*leaky)++;
	} else if (status) {
		complain("%s: qemu-img check says %d", when, status);
		return;
	}
	if (run(convert, log)) {
		complain("%s: qemu-img cannot read the image", when);
		return;
	}
	fd = open(raw, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, buf, size, 0) != (ssize_t)size)
		die("%s: %s", raw, strerror(errno));
	close(fd);
	compare(buf, 0, size, allowed, when);
}

/* The device shows what it should, all of it. */
static void compare_device(const uint64_t *allowed)
{
	int fd = open(DEVICE, O_RDONLY | O_DIRECT | O_CLOEXEC);

	if (fd < 0 || pread(fd, buf, size, 0) != (ssize_t)size)
		complain("cannot read the device: %s", strerror(errno));
	else
		compare(buf, 0, size, allowed, "attached again");
	close(fd);
}

/* ---- rounds ---- */

/* Returns how many requests of the kind there were: after so many rounds all is done. */
static uint64_t one_round(unsigned int n)
{
	struct faulty_plan plan = {
		.what = !n ? FAULTY_NOTHING : opt.reads ? FAULTY_READS :
			opt.forget ? FAULTY_FLUSHES : FAULTY_WRITES,
		.first = n, .count = opt.from ? UINT64_MAX : 1, .torn = opt.torn,
		.forgets = opt.forget,
	};
	bool well_before_detach = !opt.from || !(n % 2);
	char cut_path[4096], end_path[4096];
	struct faulty_counts counts;
	const uint64_t *expected;
	bool aborted;

	round_nr = n;
	bad = false;
	snprintf(cut_path, sizeof(cut_path), "%s/cut", opt.dir);
	snprintf(end_path, sizeof(end_path), "%s/end", opt.dir);
	if (faulty_disk_fill(disk, opt.image))
		die("%s: %s", opt.image, strerror(errno));
	for (uint64_t s = 0; s < size / SECTOR; s++)
		live[s] = BIT(INITIAL);
	memcpy(durable, live, size / SECTOR * sizeof(*live));

	faulty_disk_plan(disk, &plan);
	if (!attach()) {
		if (!faults())
			die("cannot attach");
		refused_attaches++;
		faulty_disk_heal(disk);
		if (!attach())
			die("cannot attach after a fault");
	}
	do_ops(cut_path);
	aborted = flushes_failed();
	check_status(aborted);
	if (well_before_detach)
		faulty_disk_heal(disk);
	detach();
	faulty_disk_heal(disk);
	faulty_disk_counts(disk, &counts);
	if (faulty_disk_save(disk, FAULTY_CACHED, end_path))
		die("%s: %s", end_path, strerror(errno));

	expected = well_before_detach && !counts.flushes_failed ? live : durable;
	aborts += !!counts.flushes_failed;
	judge(cut_path, durable_at_cut, &cut_leaks, "after a power cut");
	/* What a failure kept from being cleaned up is all that may leak. */
	judge(end_path, expected, counts.failed ? &leaks : NULL, "after the detach");
	if (!well_before_detach || aborted || bad) {
		if (!attach())
			die("cannot attach again");
		compare_device(expected);
		check_status(false);
		detach();
	}
	bad_rounds += bad;
	return opt.reads ? counts.reads : opt.forget ? counts.flushes : counts.writes;
}

static __attribute__((noreturn)) void usage(int status)
{
	fputs("usage: nth_fault [OPTION]... IMAGE MODEL DIRECTORY\n"
	      "IMAGE is laid on the disk, MODEL is a raw file with what the chain shows,\n"
	      "images to be judged go to DIRECTORY.\n"
	      "  --disk DEVICE      an nbd device that nobody uses (/dev/nbd0)\n"
	      "  --disk-size BYTES  (16 MiB)\n"
	      "  --below WORDS      further layers, as the table has them\n"
	      "  --layers N         how many layers there are in all (1)\n"
	      "  --cluster BYTES    (65536)\n"
	      "  --seed N           of the operations\n"
	      "  --ops N            how many (40)\n"
	      "  --reads            let reads fail, not writes\n"
	      "  --from             all from the N-th on fail, not only that\n"
	      "  --torn             what fails is done in part\n"
	      "  --forget           let flushes fail, and lose what was written since the last one\n"
	      "  --rounds N         try so many, spread over all that there are (all)\n"
	      "  --only N           try this alone\n"
	      "  --list             only print the requests of a round without faults\n",
	      status ? stderr : stdout);
	exit(status);
}

static void parse(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "disk", required_argument, NULL, 'd' },
		{ "disk-size", required_argument, NULL, 'z' },
		{ "below", required_argument, NULL, 'b' },
		{ "layers", required_argument, NULL, 'l' },
		{ "cluster", required_argument, NULL, 'c' },
		{ "seed", required_argument, NULL, 's' },
		{ "ops", required_argument, NULL, 'n' },
		{ "reads", no_argument, NULL, 'r' },
		{ "from", no_argument, NULL, 'f' },
		{ "torn", no_argument, NULL, 't' },
		{ "forget", no_argument, NULL, 'g' },
		{ "rounds", required_argument, NULL, 'R' },
		{ "only", required_argument, NULL, 'o' },
		{ "list", no_argument, NULL, 'L' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case 'd':
			opt.disk = optarg;
			break;
		case 'z':
			opt.disk_size = strtoull(optarg, NULL, 0);
			break;
		case 'b':
			opt.below = optarg;
			break;
		case 'l':
			opt.layers = strtoul(optarg, NULL, 0);
			break;
		case 'c':
			opt.cluster = strtoull(optarg, NULL, 0);
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			opt.nr_ops = strtoul(optarg, NULL, 0);
			break;
		case 'r':
			opt.reads = true;
			break;
		case 'f':
			opt.from = true;
			break;
		case 't':
			opt.torn = true;
			break;
		case 'g':
			opt.forget = true;
			break;
		case 'R':
			opt.rounds = strtoul(optarg, NULL, 0);
			break;
		case 'L':
			opt.list = true;
			break;
		case 'o':
			opt.only = strtoul(optarg, NULL, 0);
			break;
		default:
			usage(c == 'h' ? 0 : 2);
		}
	}
	if (optind + 3 != argc || opt.nr_ops < 2 || opt.nr_ops > MAX_OPS)
		usage(2);
	opt.image = argv[optind];
	opt.model = argv[optind + 1];
	opt.dir = argv[optind + 2];
}

static void load_model(void)
{
	int fd = open(opt.model, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (end <= 0 || end % 4096)
		die("%s: cannot be the model", opt.model);
	size = end;
	initial = malloc(size);
	live = calloc(size / SECTOR, sizeof(*live));
	durable = calloc(size / SECTOR, sizeof(*durable));
	durable_at_cut = calloc(size / SECTOR, sizeof(*durable_at_cut));
	if (!initial || !live || !durable || !durable_at_cut ||
	    posix_memalign((void **)&buf, 4096, size) || pread(fd, initial, size, 0) != end)
		die("%s: cannot be read", opt.model);
	close(fd);
}

/* Try the N-th for all N, or for some of them that lie evenly. */
static unsigned int try_all(uint64_t requests)
{
	unsigned int rounds = opt.rounds && opt.rounds < requests ? opt.rounds : requests;

	rng = opt.seed;
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t first = requests * i / rounds, next = requests * (i + 1) / rounds;

		one_round(1 + first + rnd_below(next - first));
	}
	return rounds;
}

int main(int argc, char **argv)
{
	unsigned int rounds = 1;
	uint64_t requests;

	parse(argc, argv);
	load_model();
	disk = faulty_disk_open(opt.disk, opt.disk_size, opt.seed);
	if (!disk)
		die("%s: %s", opt.disk, strerror(errno));
	make_ops();

	/* Without any fault, to see that all is well, and how many requests there are. */
	faulty_disk_list(disk, opt.list);
	requests = one_round(0);
	if (opt.only)
		one_round(opt.only);
	else if (!opt.list)
		rounds = try_all(requests);
	printf("# nth_fault: %u of %" PRIu64 " %s%s%s failed in turn (seed %" PRIu64 ")\n", rounds,
	       requests, opt.reads ? "reads" : opt.forget ? "flushes" : "writes",
	       opt.from ? " and all after it" : "", opt.torn ? " in part" : "", opt.seed);
	printf("#   %lu operations with errors, %lu attaches refused, %lu rounds with a flush\n",
	       failed_ops, refused_attaches, aborts);
	printf("#   images with leaks: %lu after a detach, %lu after a power cut; %lu rounds bad\n",
	       leaks, cut_leaks, bad_rounds);
	faulty_disk_close(disk);
	return bad_rounds ? 1 : 0;
}
