// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Make a random qcow2 backing chain with qemu-img and qemu-io, the same for the same seed.
 *
 * Prints shell assignments to be eval'ed:
 *   TOP      path of the top layer
 *   BYTES    its virtual size
 *   CLUSTER  its cluster size
 *   VERSION  its qcow2 version
 *   LAYERS   "<format> <device> -" for each layer, top first, as a dm table has them
 *   TABLE    the whole line for dmsetup, without features
 *
 * Exit status: 0 made, 1 a QEMU tool or a system call failed, 2 wrong call.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Beyond this depth overlays are copies of one empty overlay, and few of them get data. */
#define MAX_INDIVIDUAL 16
#define DEEP_DATA_EVERY 10

#define NR_SOURCES 12
#define SOURCE_SIZE (48 * 1024 + 7 * 8)	/* no multiple of a sector: repeats shift */

#define MAX_AT_ONCE 2			/* qemu-img processes side by side */

struct layer {
	char path[PATH_MAX];
	bool raw;
	bool v2;
	bool zstd;
	bool lazy;
	bool prealloc;
	bool on_device;
	uint32_t cluster;
	uint64_t size;
};

static struct {
	uint64_t seed;
	uint64_t size;
	uint32_t cluster;
	unsigned int version;		/* 0: either */
	unsigned int depth;
	unsigned int ops;
	unsigned int refcount_bits;
	unsigned int snapshots;
	unsigned int align;
	const char *compression;	/* none, zlib, zstd or any */
	bool raw_base;
	bool mixed_sizes;
	bool mixed_clusters;
	const char *flat;
	bool verbose;
} opt = {
	.size = 8 << 20, .cluster = 65536, .version = 3, .depth = 1, .ops = 60,
	.align = 512, .compression = "any",
};

static char **places;
static unsigned int nr_places;
static const char *work_dir;		/* the first place that is a directory */
static struct layer *layers;		/* [0] is the base */
static uint64_t rng;
static char source[NR_SOURCES][PATH_MAX];

static __attribute__((noreturn, format(printf, 2, 3))) void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "mkchain: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, " (seed %" PRIu64 ")\n", opt.seed);
	va_end(ap);
	exit(status);
}

static uint64_t rnd(void)
{
	uint64_t z = (rng += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t rnd_below(uint64_t limit)
{
	return limit ? rnd() % limit : 0;
}

static bool chance(unsigned int percent)
{
	return rnd_below(100) < percent;
}

static __attribute__((format(printf, 2, 3))) void make_path(char *path, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(path, PATH_MAX, fmt, ap);
	va_end(ap);
	if (len >= PATH_MAX)
		die(1, "%s: name too long", path);
}

/* ---- running QEMU's tools ---- */

static unsigned int running;

static void reap(void)
{
	int status;

	if (wait(&status) < 0)
		die(1, "wait: %s", strerror(errno));
	running--;
	if (status)
		die(1, "qemu-img failed with status %#x", status);
}

static void reap_all(void)
{
	while (running)
		reap();
}

static void spawn(char *const argv[])
{
	pid_t pid;
	int err;

	while (running >= MAX_AT_ONCE)
		reap();
	if (opt.verbose) {
		for (char *const *a = argv; *a; a++)
			fprintf(stderr, "%s ", *a);
		fputc('\n', stderr);
	}
	err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (err)
		die(1, "%s: %s", argv[0], strerror(err));
	running++;
}

static FILE *qemu_io_start(void)
{
	FILE *f = popen(opt.verbose ? "tee /dev/stderr | qemu-io >&2"
				    : "out=$(qemu-io 2>&1) || { echo \"$out\" >&2; exit 1; }", "w");

	if (!f)
		die(1, "qemu-io: %s", strerror(errno));
	return f;
}

static void qemu_io_end(FILE *io)
{
	if (pclose(io))
		die(1, "qemu-io failed");
}

/* ---- planning the layers ---- */

static bool is_device(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		die(1, "%s: %s", path, strerror(errno));
	return S_ISBLK(st.st_mode);
}

/* Places take turns; a device holds one layer, so later rounds pass over it. */
static void place(struct layer *l, unsigned int nr)
{
	static unsigned int next;
	unsigned int tried;

	for (tried = 0; tried < nr_places; tried++) {
		unsigned int turn = next++;
		const char *p = places[turn % nr_places];

		if (!is_device(p)) {
			make_path(l->path, "%s/layer%04u.%s", p, nr, l->raw ? "raw" : "qcow2");
			return;
		}
		if (turn < nr_places) {
			make_path(l->path, "%s", p);
			l->on_device = true;
			return;
		}
	}
	die(2, "not enough places for %u layers", opt.depth);
}

static uint64_t choose_size(bool top)
{
	uint64_t size = opt.size;

	if (!top && opt.mixed_sizes)
		size = size / 2 + rnd_below(size);
	return (size + opt.align - 1) / opt.align * opt.align;
}

static void plan(struct layer *l, unsigned int nr)
{
	bool top = nr == opt.depth - 1;

	l->raw = nr == 0 && opt.raw_base;
	l->size = choose_size(top);
	l->v2 = opt.version == 2 || (!opt.version && chance(50));
	l->cluster = opt.mixed_clusters && !top ? 512U << rnd_below(9) : opt.cluster;
	if (!strcmp(opt.compression, "zstd"))
		l->zstd = !l->v2;
	else if (!strcmp(opt.compression, "any"))
		l->zstd = !l->v2 && chance(50);
	l->lazy = !l->v2 && chance(25);
	l->prealloc = nr == 0 && chance(15);
	place(l, nr);
}

/* ---- creating them ---- */

static void create_qcow2(const struct layer *l, const char *path, const char *backing,
			 const char *backing_format)
{
	char options[256], size[32];
	char *argv[16];
	unsigned int n = 0;

	snprintf(options, sizeof(options), "compat=%s,cluster_size=%u", l->v2 ? "0.10" : "1.1",
		 l->cluster);
	if (!l->v2) {
		snprintf(options + strlen(options), sizeof(options) - strlen(options),
			 ",lazy_refcounts=%s,compression_type=%s", l->lazy ? "on" : "off",
			 l->zstd ? "zstd" : "zlib");
		if (opt.refcount_bits)
			snprintf(options + strlen(options), sizeof(options) - strlen(options),
				 ",refcount_bits=%u", opt.refcount_bits);
	}
	if (l->prealloc && !backing)
		strcat(options, ",preallocation=metadata");
	snprintf(size, sizeof(size), "%" PRIu64, l->size);

	argv[n++] = "qemu-img";
	argv[n++] = "create";
	argv[n++] = "-q";
	argv[n++] = "-f";
	argv[n++] = "qcow2";
	argv[n++] = "-o";
	argv[n++] = options;
	if (backing) {
		argv[n++] = "-u";
		argv[n++] = "-b";
		argv[n++] = (char *)backing;
		argv[n++] = "-F";
		argv[n++] = (char *)backing_format;
	}
	argv[n++] = (char *)path;
	argv[n++] = size;
	argv[n] = NULL;
	spawn(argv);
}

static void write_file(const char *path, const void *data, size_t len, int flags, uint64_t off)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

	if (fd < 0 || pwrite(fd, data, len, off) != (ssize_t)len || close(fd))
		die(1, "%s: %s", path, strerror(errno));
}

/* Half random, half runs: compresses, but not to nothing. */
static void fill(unsigned char *buf, size_t len)
{
	for (size_t i = 0; i + 8 <= len; ) {
		uint64_t word = rnd();
		size_t run = word & 1 ? 8 : 8 + (word >> 8 & 0x1ff) / 8 * 8;

		for (; run && i + 8 <= len; run -= 8, i += 8)
			memcpy(buf + i, &word, 8);
	}
}

/* In a file a raw base ends inside a sector, as a file may. */
static void create_raw(struct layer *l)
{
	uint64_t len = l->on_device ? l->size : l->size - 312;
	unsigned char *data = calloc(1, l->size);

	if (!data)
		die(1, "no memory");
	for (uint64_t off = 0; off < l->size; off += 65536)
		if (chance(60))
			fill(data + off, l->size - off < 65536 ? l->size - off : 65536);
	write_file(l->path, data, len, l->on_device ? 0 : O_CREAT | O_TRUNC, 0);
	free(data);
}

static void create_layers(void)
{
	for (unsigned int nr = 0; nr < opt.depth; nr++) {
		struct layer *below = nr ? &layers[nr - 1] : NULL;

		if (layers[nr].raw)
			create_raw(&layers[nr]);
		else
			create_qcow2(&layers[nr], layers[nr].path, below ? below->path : NULL,
				     below && below->raw ? "raw" : "qcow2");
	}
	reap_all();
}

/* ---- filling them ---- */

static void make_sources(void)
{
	static unsigned char buf[SOURCE_SIZE];

	for (unsigned int i = 0; i < NR_SOURCES; i++) {
		make_path(source[i], "%s/source%u", work_dir, i);
		fill(buf, sizeof(buf));
		write_file(source[i], buf, sizeof(buf), O_CREAT | O_TRUNC, 0);
	}
}

static void remove_sources(void)
{
	for (unsigned int i = 0; i < NR_SOURCES; i++)
		unlink(source[i]);
}

/* QEMU writes compressed data only to clusters that have none, so they come first. */
static void compressed_ops(FILE *io, const struct layer *l)
{
	uint64_t clusters = l->size / l->cluster;
	unsigned char *used = calloc(1, clusters + 1);

	if (!used)
		die(1, "no memory");
	for (unsigned int i = 0; i < opt.ops / 3 && clusters; i++) {
		uint64_t first = rnd_below(clusters);
		uint64_t nr = 1 + rnd_below(4), n;

		for (n = 0; n < nr && first + n < clusters && !used[first + n]; n++)
			used[first + n] = 1;
		if (n)
			fprintf(io, "write -q -c -s %s %" PRIu64 " %" PRIu64 "\n",
				source[rnd_below(NR_SOURCES)], first * l->cluster, n * l->cluster);
	}
	free(used);
}

static void one_op(FILE *io, const struct layer *l)
{
	uint64_t max = 4ULL * l->cluster > 65536 ? 4ULL * l->cluster : 65536;
	uint64_t len = (1 + rnd_below(chance(70) ? max / 512 : 16)) * 512;
	uint64_t off = rnd_below(l->size / 512) * 512;
	unsigned int dice = rnd_below(100);

	if (chance(50)) {
		off = off / l->cluster * l->cluster;
		if (len > l->cluster)
			len = len / l->cluster * l->cluster;
	}
	if (len > l->size - off)
		len = l->size - off;

	if (dice < 50)
		fprintf(io, "write -q -s %s", source[rnd_below(NR_SOURCES)]);
	else if (dice < 58)
		fprintf(io, "write -q -P %u", (unsigned int)rnd_below(256));
	else if (dice < 70)
		fprintf(io, "write -q -z");
	else if (dice < 80)
		fprintf(io, "write -q -z -u");
	else
		fprintf(io, "discard -q");
	fprintf(io, " %" PRIu64 " %" PRIu64 "\n", off, len);
}

static void open_layer(FILE *io, const struct layer *l)
{
	fprintf(io, "open -o driver=qcow2,discard=unmap %s\n", l->path);
}

static void fill_layer(FILE *io, const struct layer *l)
{
	if (l->raw)
		return;
	open_layer(io, l);
	if (strcmp(opt.compression, "none") && !l->prealloc)
		compressed_ops(io, l);
	for (unsigned int i = 0; i < opt.ops; i++)
		one_op(io, l);
	fprintf(io, "close\n");
}

static void fill_layers(void)
{
	FILE *io = qemu_io_start();

	for (unsigned int nr = 0; nr < opt.depth; nr++)
		fill_layer(io, &layers[nr]);
	qemu_io_end(io);
}

/* The top layer is snapshotted and then changed again, so that clusters are shared. */
static void take_snapshots(void)
{
	struct layer *top = &layers[opt.depth - 1];

	for (unsigned int i = 0; i < opt.snapshots; i++) {
		char name[16];
		char *const argv[] = { "qemu-img", "snapshot", "-c", name, top->path, NULL };
		FILE *io;

		snprintf(name, sizeof(name), "snap%u", i);
		spawn(argv);
		reap_all();
		io = qemu_io_start();
		open_layer(io, top);
		for (unsigned int n = 0; n < opt.ops / 4; n++)
			one_op(io, top);
		fprintf(io, "close\n");
		qemu_io_end(io);
	}
}

/* ---- very deep chains ---- */

static void copy_file(const char *from, const char *to)
{
	static char buf[1 << 20];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (in < 0)
		die(1, "%s: %s", from, strerror(errno));
	len = read(in, buf, sizeof(buf));
	if (len < 0 || len == sizeof(buf))
		die(1, "%s: not the small file it should be", from);
	close(in);
	write_file(to, buf, len, O_CREAT | O_TRUNC, 0);
}

/* The name in the header gives way to another of the same length. */
static void set_backing(const struct layer *l, const char *backing)
{
	unsigned char head[20];
	uint64_t off;
	uint32_t len;
	int fd = open(l->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, head, sizeof(head), 0) != sizeof(head))
		die(1, "%s: %s", l->path, strerror(errno));
	close(fd);
	memcpy(&off, head + 8, 8);
	memcpy(&len, head + 16, 4);
	if (be32toh(len) != strlen(backing))
		die(1, "%s: placeholder and backing file differ in length", l->path);
	write_file(l->path, backing, strlen(backing), 0, be64toh(off));
}

/*
 * The same operations on the layer and on the flat image.  Whole clusters only: a layer still
 * lies over its placeholder, and around a smaller write would get the placeholder's zeroes.
 */
static void fill_deep(FILE *io, const struct layer *l, FILE *flat)
{
	uint64_t clusters = l->size / l->cluster;

	open_layer(io, l);
	for (unsigned int i = 0; i < opt.ops; i++) {
		char op[PATH_MAX + 64];
		uint64_t first = rnd_below(clusters);
		uint64_t nr = 1 + rnd_below(3);

		if (nr > clusters - first)
			nr = clusters - first;
		if (chance(25))
			make_path(op, "write -q -z");
		else
			make_path(op, "write -q -s %s", source[rnd_below(NR_SOURCES)]);
		fprintf(io, "%s %" PRIu64 " %" PRIu64 "\n", op, first * l->cluster,
			nr * l->cluster);
		if (flat)
			fprintf(flat, "%s %" PRIu64 " %" PRIu64 "\n", op, first * l->cluster,
				nr * l->cluster);
	}
	fprintf(io, "close\n");
}

/*
 * A process for each of a thousand layers would take minutes.  Over an empty placeholder of the
 * same size one overlay is made and copied; some get data, then each learns its real backing.
 */
static void create_deep(void)
{
	struct layer *l = &layers[1], placeholder;
	char overlay[PATH_MAX];
	FILE *io, *flat = NULL;
	unsigned int nr;

	placeholder = *l;
	make_path(placeholder.path, "%s/layer____.qcow2", work_dir);
	make_path(overlay, "%s/overlay.qcow2", work_dir);
	create_qcow2(&placeholder, placeholder.path, NULL, NULL);
	create_qcow2(l, overlay, placeholder.path, "qcow2");
	if (layers[0].raw)
		die(2, "a chain this deep has no raw base");
	create_qcow2(&layers[0], layers[0].path, NULL, NULL);
	reap_all();

	if (opt.flat) {
		write_file(opt.flat, "", 0, O_CREAT | O_TRUNC, 0);
		if (truncate(opt.flat, opt.size))
			die(1, "%s: %s", opt.flat, strerror(errno));
		flat = qemu_io_start();
		fprintf(flat, "open -o driver=raw %s\n", opt.flat);
	}
	io = qemu_io_start();
	for (nr = 0; nr < opt.depth; nr++) {
		if (nr)
			copy_file(overlay, layers[nr].path);
		if (nr % DEEP_DATA_EVERY == 0 || nr == opt.depth - 1)
			fill_deep(io, &layers[nr], flat);
	}
	qemu_io_end(io);
	if (flat)
		qemu_io_end(flat);
	for (nr = 1; nr < opt.depth; nr++)
		set_backing(&layers[nr], layers[nr - 1].path);
	unlink(placeholder.path);
	unlink(overlay);
}

static void plan_deep(void)
{
	if (nr_places != 1 || is_device(places[0]))
		die(2, "a chain of more than %u layers lies in one directory", MAX_INDIVIDUAL);
	plan(&layers[0], 0);
	plan(&layers[1], 1);
	for (unsigned int nr = 2; nr < opt.depth; nr++) {
		layers[nr] = layers[1];
		place(&layers[nr], nr);
	}
	for (unsigned int nr = 0; nr < opt.depth; nr++)
		layers[nr].size = opt.size;
}

/* ---- the frame ---- */

static void print_result(void)
{
	const struct layer *top = &layers[opt.depth - 1];

	printf("TOP=%s\nBYTES=%" PRIu64 "\nCLUSTER=%u\nVERSION=%u\n", top->path, top->size,
	       top->raw ? 0 : top->cluster, top->v2 ? 2 : 3);
	printf("LAYERS='");
	for (unsigned int nr = opt.depth; nr--; )
		printf("%s %s -%s", layers[nr].raw ? "raw" : "qcow2", layers[nr].path,
		       nr ? " " : "'\n");
	printf("TABLE=\"0 %" PRIu64 " qchain %u $LAYERS\"\n", (top->size + 511) / 512, opt.depth);
}

static __attribute__((noreturn)) void usage(int status)
{
	fputs("usage: mkchain [OPTION]... PLACE...\n"
	      "A PLACE is a directory or a block device; layers take them in turn, from the base.\n"
	      "At least one is a directory.\n"
	      "  --seed N\n"
	      "  --size BYTES            virtual size (8388608)\n"
	      "  --cluster BYTES         cluster size (65536)\n"
	      "  --mixed-clusters        other cluster sizes below the top layer\n"
	      "  --version 2|3|mixed     (3)\n"
	      "  --depth N               number of layers (1)\n"
	      "  --ops N                 operations per layer (60)\n"
	      "  --refcount-bits N       version 3 only\n"
	      "  --compression none|zlib|zstd|any\n"
	      "  --snapshots N           internal snapshots of the top layer\n"
	      "  --align N               sizes are multiples of N (512)\n"
	      "  --raw-base              the lowest layer is raw\n"
	      "  --mixed-sizes           lower layers are shorter or longer than the top\n"
	      "  --flat FILE             deep chains: the content of the whole chain, raw\n"
	      "  --verbose               show every command\n", status ? stderr : stdout);
	exit(status);
}

static uint64_t parse_number(const char *arg)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(arg, &end, 0);
	if (errno || *end || end == arg)
		die(2, "'%s' is no number", arg);
	return n;
}

static uint64_t parse_version(const char *arg)
{
	return strcmp(arg, "mixed") ? parse_number(arg) : 0;
}

static void parse(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "size", required_argument, NULL, 'S' },
		{ "cluster", required_argument, NULL, 'c' },
		{ "version", required_argument, NULL, 'V' },
		{ "depth", required_argument, NULL, 'd' },
		{ "ops", required_argument, NULL, 'n' },
		{ "refcount-bits", required_argument, NULL, 'r' },
		{ "compression", required_argument, NULL, 'z' },
		{ "snapshots", required_argument, NULL, 'i' },
		{ "align", required_argument, NULL, 'a' },
		{ "raw-base", no_argument, NULL, 'R' },
		{ "flat", required_argument, NULL, 'f' },
		{ "mixed-clusters", no_argument, NULL, 'C' },
		{ "mixed-sizes", no_argument, NULL, 'M' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case 's':
			opt.seed = parse_number(optarg);
			break;
		case 'S':
			opt.size = parse_number(optarg);
			break;
		case 'c':
			opt.cluster = parse_number(optarg);
			break;
		case 'V':
			opt.version = parse_version(optarg);
			break;
		case 'd':
			opt.depth = parse_number(optarg);
			break;
		case 'n':
			opt.ops = parse_number(optarg);
			break;
		case 'r':
			opt.refcount_bits = parse_number(optarg);
			break;
		case 'z':
			opt.compression = optarg;
			break;
		case 'i':
			opt.snapshots = parse_number(optarg);
			break;
		case 'a':
			opt.align = parse_number(optarg);
			break;
		case 'R':
			opt.raw_base = true;
			break;
		case 'f':
			opt.flat = optarg;
			break;
		case 'C':
			opt.mixed_clusters = true;
			break;
		case 'M':
			opt.mixed_sizes = true;
			break;
		case 'v':
			opt.verbose = true;
			break;
		default:
			usage(c == 'h' ? 0 : 2);
		}
	}
	places = argv + optind;
	nr_places = argc - optind;
	if (!nr_places || !opt.depth || !opt.align || (opt.raw_base && opt.depth < 2))
		usage(2);
	for (unsigned int i = 0; i < nr_places && !work_dir; i++)
		if (!is_device(places[i]))
			work_dir = places[i];
	if (!work_dir)
		die(2, "no place is a directory");
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	rng = opt.seed;
	layers = calloc(opt.depth, sizeof(*layers));
	if (!layers)
		die(1, "no memory");

	make_sources();
	if (opt.depth > MAX_INDIVIDUAL) {
		plan_deep();
		create_deep();
	} else {
		for (unsigned int nr = 0; nr < opt.depth; nr++)
			plan(&layers[nr], nr);
		create_layers();
		fill_layers();
	}
	take_snapshots();
	remove_sources();
	print_result();
	return 0;
}
