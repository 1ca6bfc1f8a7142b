// SPDX-License-Identifier: GPL-2.0-or-later
/* Internal snapshots that are made and deleted, as QEMU's tools see them. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "snapshot-edit.h"

#define IMAGE "image.qcow2"
#define MODEL "model.raw"

/* --- what reaches the disk -------------------------------------------------------------------- */

/* A write, or with no data a flush. */
struct op {
	u64 at;
	size_t len;
	u8 *data;
};

static struct {
	bool on;
	size_t fail;		/* this one, from 0, fails; SIZE_MAX: none */
	size_t count;
	struct op ops[4096];
} recorder;

static int record(const void *data, size_t len, u64 at)
{
	struct op *op = &recorder.ops[recorder.count];

	if (recorder.count++ == recorder.fail) {
		errno = EIO;
		return -1;
	}
	assert_true(recorder.count <= ARRAY_SIZE(recorder.ops));
	op->at = at;
	op->len = len;
	op->data = NULL;
	if (!data)
		return 0;
	op->data = malloc(len);
	assert_non_null(op->data);
	memcpy(op->data, data, len);
	return 0;
}

/* In the place of libc's, for all that is linked. */
ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	if (recorder.on && record(data, len, at))
		return -1;
	return syscall(SYS_pwrite64, fd, data, len, at);
}

int fdatasync(int fd)
{
	if (recorder.on && record(NULL, 0, 0))
		return -1;
	return syscall(SYS_fdatasync, fd);
}

static void start_recorder(size_t fail)
{
	recorder.on = true;
	recorder.fail = fail;
	recorder.count = 0;
}

static void forget_ops(size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(recorder.ops[i].data);
}

/* --- steps ------------------------------------------------------------------------------------ */

static int create(const char *name, struct qc_error *err)
{
	struct qc_store *store;
	int ret;

	assert_int_equal(qc_store_open(IMAGE, QC_OPEN_WRITE, &store, err), 0);
	ret = qc_snapshot_create(store, name, 1700000000, 5000, NULL, err);
	qc_store_close(store);
	return ret;
}

static int delete(const char *id, const char *name, struct qc_error *err)
{
	struct qc_store *store;
	int ret;

	assert_int_equal(qc_store_open(IMAGE, QC_OPEN_WRITE, &store, err), 0);
	ret = qc_snapshot_delete(store, id, name, err);
	qc_store_close(store);
	return ret;
}

static u32 next_random(void)
{
	static u32 state = 1;

	state = state * 1664525 + 1013904223;
	return state >> 8;
}

/* Have QEMU write data, zeroes and compressed clusters; the model is what there is then. */
static void scribble(u32 size, u32 cluster, int count)
{
	char commands[4096] = "";
	size_t used = 0;

	/* It refuses to where there is something already. */
	sh("qemu-io -f qcow2 -c 'write -q -P %u -c %u %u' " IMAGE, 1 + next_random() % 255,
	   next_random() % (size / cluster) * cluster, cluster);
	while (count--) {
		u32 len = 512 * (1 + next_random() % (size / 512 / 8));
		u32 at = next_random() % ((size - len) / 512 + 1) * 512;
		char what[16] = "-z";

		if (next_random() % 6)
			snprintf(what, sizeof(what), "-P %u", 1 + next_random() % 255);
		used += snprintf(commands + used, sizeof(commands) - used,
				 " -c 'write -q %s %u %u'", what, at, len);
	}
	must("qemu-io -f qcow2 %s " IMAGE, commands);
	must("qemu-img convert -f qcow2 -O raw " IMAGE " " MODEL);
}

enum { NB_SNAPSHOTS, SNAPSHOTS_OFFSET, REFTABLE_OFFSET };

static u64 header_field(int field)
{
	CLEANUP_HEADER struct qc_header *h = header_of(IMAGE);

	return field == NB_SNAPSHOTS ? h->nb_snapshots :
	       field == SNAPSHOTS_OFFSET ? h->snapshots_offset : h->reftable_offset;
}

/* What the snapshot of that name shows is in the file. */
static void shows(const char *name, const char *file)
{
	must("qemu-img convert -f qcow2 -l snapshot.name=%s -O raw " IMAGE " then", name);
	must("cmp then %s", file);
}

/* The image is clean, and shows MODEL; each snapshot NAME of @names shows MODEL.NAME. */
static void judge(const char *const *names)
{
	must("qemu-img check -f qcow2 " IMAGE);
	assert_int_equal(check_status(IMAGE, 0), 0);
	must("qemu-img compare -f raw -F qcow2 " MODEL " " IMAGE);
	for (; *names; names++) {
		char file[64];

		snprintf(file, sizeof(file), MODEL ".%s", *names);
		shows(*names, file);
	}
	must("test $(qemu-img snapshot -l " IMAGE " | sed 1,2d | wc -l) = %llu",
	     header_field(NB_SNAPSHOTS));
}

#define JUDGE(...) judge((const char *const[]){ __VA_ARGS__, NULL })

static void make(const char *name)
{
	struct qc_error err = { 0 };

	must("cp " MODEL " " MODEL ".%s", name);
	if (create(name, &err))
		fail_msg("%s", err.text);
}

static void drop(const char *name)
{
	struct qc_error err = { 0 };

	if (delete(NULL, name, &err))
		fail_msg("%s", err.text);
}

static void make_image(const char *options, u32 size)
{
	must("rm -f " IMAGE " && qemu-img create -q -f qcow2 -o %s " IMAGE " %u", options, size);
	must("rm -f " MODEL " && truncate -s %u " MODEL, size);
}

/* --- tests ------------------------------------------------------------------------------------ */

struct geometry {
	const char *options;
	u32 size, cluster;
};

static const struct geometry geometries[] = {
	{ "cluster_size=512", 1 << 20, 512 },
	{ "cluster_size=512,compat=0.10", 1 << 20, 512 },
	{ "cluster_size=512,refcount_bits=64", 1 << 20, 512 },
	{ "cluster_size=4096,refcount_bits=4", 4 << 20, 4096 },
	{ "cluster_size=4096,refcount_bits=8", 4 << 20, 4096 },
	{ "cluster_size=64k", 8 << 20, 65536 },
	{ "cluster_size=64k,compat=0.10", 8 << 20, 65536 },
	{ "cluster_size=64k,refcount_bits=32,lazy_refcounts=on", 8 << 20, 65536 },
	{ "cluster_size=64k,backing_file=base.qcow2,backing_fmt=qcow2", 8 << 20, 65536 },
	{ "cluster_size=2M,refcount_bits=4,compression_type=zstd", 16 << 20, 2 << 20 },
};

/* Ours and QEMU's in turns, and the image written in between. */
static void every_geometry(void **state)
{
	(void)state;
	must("qemu-img create -q -f qcow2 base.qcow2 8M");
	must("qemu-io -f qcow2 -c 'write -q -P 7 1M 6M' base.qcow2");
	for (size_t i = 0; i < ARRAY_SIZE(geometries); i++) {
		const struct geometry *g = &geometries[i];

		make_image(g->options, g->size);
		must("qemu-img convert -f qcow2 -O raw " IMAGE " " MODEL);
		make("empty");
		JUDGE("empty");
		scribble(g->size, g->cluster, 12);
		make("a");
		JUDGE("empty", "a");
		scribble(g->size, g->cluster, 5);
		make("b");
		make("same");		/* shares what b has */
		JUDGE("empty", "a", "b", "same");
		scribble(g->size, g->cluster, 5);
		must("cp " MODEL " " MODEL ".c && qemu-img snapshot -c c " IMAGE);
		scribble(g->size, g->cluster, 3);
		make("d");
		JUDGE("empty", "a", "b", "same", "c", "d");
		drop("a");
		JUDGE("empty", "b", "same", "c", "d");
		must("qemu-img snapshot -d b " IMAGE);
		JUDGE("empty", "same", "c", "d");
		drop("c");
		JUDGE("empty", "same", "d");
		must("qemu-img snapshot -a same " IMAGE " && cp " MODEL ".same " MODEL);
		JUDGE("empty", "same", "d");
		scribble(g->size, g->cluster, 5);
		drop("d");
		drop("empty");
		JUDGE("same");
		drop("same");
		judge((const char *const[]){ NULL });
		scribble(g->size, g->cluster, 5);
		judge((const char *const[]){ NULL });
	}
}

/* What is recorded is what QEMU records. */
static void like_qemu(void **state)
{
	static const char *const options[] = { "compat=1.1", "compat=0.10" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		make_image(options[i], 1 << 20);
		make("a");
		must("qemu-img snapshot -c b " IMAGE);
		make("c");
		drop("a");
		must("qemu-img snapshot -d b " IMAGE);
		make("d");
		must("qemu-img snapshot -c e " IMAGE);
		must("qemu-img info --output=json -f qcow2 " IMAGE " | jq .snapshots > got");
		/* Without an icount there is none; qemu-img has it 0. */
		must("jq -e 'map([.id, .name, .icount]) == %s' got",
		     "[[\"3\", \"c\", null], [\"4\", \"d\", null], [\"5\", \"e\", 0]]");
		must("jq -e '.[1] | .\"date-sec\" == 1700000000 and .\"date-nsec\" == 5000' got");
		must("jq -e '.[1] | .\"vm-state-size\" == 0 and .\"vm-clock-nsec\" == 0' got");
	}
	/* Extra data of 24 bytes, with the size of the disk. */
	assert_int_equal(peek64(IMAGE, header_field(SNAPSHOTS_OFFSET) + 32), 24);
	assert_int_equal(peek64(IMAGE, header_field(SNAPSHOTS_OFFSET) + 48), 1 << 20);
}

/* Snapshots of another size than the disk's, and what others put into their entries. */
static void others(void **state)
{
	struct qc_error err = { 0 };

	(void)state;
	make_image("cluster_size=512", 1 << 20);
	scribble(1 << 20, 512, 8);
	make("small");
	must("qemu-img resize -q -f qcow2 " IMAGE " 3M");
	must("qemu-img convert -f qcow2 -O raw " IMAGE " " MODEL);
	make("large");
	drop("small");
	JUDGE("large");
	must("qemu-img snapshot -c 7up " IMAGE);
	must("cp " MODEL " " MODEL ".7up");
	/* An ID that is no number. */
	poke(IMAGE, header_field(SNAPSHOTS_OFFSET) + 64, "x", 1);
	assert_int_equal(delete("1", NULL, &err), -ENOENT);
	make("next");
	must("qemu-img snapshot -l " IMAGE " | grep -q '^4 *next'");
	assert_int_equal(delete("x", "next", &err), -ENOENT);
	assert_int_equal(delete("x", "large", &err), 0);
	JUDGE("7up", "next");
}

static void refused(void **state)
{
	char name[300];
	struct qc_error err = { 0 };
	u64 block;
	int ret;

	(void)state;
	make_image("cluster_size=4k,refcount_bits=1", 1 << 20);
	must("qemu-io -c 'write -q -P 7 0 40k' " IMAGE " && cp " IMAGE " before");
	ret = create("a", &err);
	assert_failed(&err, ret, EINVAL, "refcounts of 1 bits are too narrow");
	must("cmp " IMAGE " before");
	must("! qemu-img snapshot -c a " IMAGE);

	make_image("cluster_size=4k,refcount_bits=2", 1 << 20);
	must("qemu-io -c 'write -q -P 7 0 40k' " IMAGE);
	assert_int_equal(create("a", &err), 0);
	assert_int_equal(create("b", &err), 0);
	must("cp " IMAGE " before");
	ret = create("c", &err);
	assert_failed(&err, ret, EINVAL, "refcounts of 2 bits are too narrow");
	must("cmp " IMAGE " before");
	ret = delete(NULL, "c", &err);
	assert_failed(&err, ret, ENOENT, "there is no such snapshot: c");
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	ret = create(name, &err);
	assert_failed(&err, ret, EINVAL, "a snapshot's name has at most 255 bytes");
	name[255] = 0;
	assert_int_equal(delete(NULL, "b", &err), 0);
	assert_int_equal(create(name, &err), 0);
	must("qemu-img check -f qcow2 " IMAGE " && qemu-img snapshot -l " IMAGE " | grep %s", name);

	/* A refcount that is too small: nothing must be put where it says that there is room. */
	make_image("cluster_size=4k", 1 << 20);
	must("qemu-io -c 'write -q -P 7 0 40k' " IMAGE);
	block = peek64(IMAGE, header_field(REFTABLE_OFFSET));
	poke(IMAGE, block + 2 * 7, "\0\0", 2);
	must("cp " IMAGE " before");
	ret = create("a", &err);
	assert_failed(&err, ret, EINVAL, "its refcount is 0", "qemu-img check -r all");
	must("cmp " IMAGE " before");
	poke(IMAGE, block + 2 * 7, "\0\1", 2);
	assert_int_equal(create("a", &err), 0);
	must("qemu-io -c 'write -q -P 8 0 40k' " IMAGE);
	/* Of the active table, and of the snapshot's. */
	for (int i = 5; i < 60; i++) {
		block = peek64(IMAGE, header_field(REFTABLE_OFFSET));
		if (peek64(IMAGE, block + 2 * i) >> 48 != 1)
			continue;
		must("cp " IMAGE " before");
		poke(IMAGE, block + 2 * i, "\0\0", 2);
		must("cp " IMAGE " broken");
		ret = delete(NULL, "a", &err);
		assert_failed(&err, ret, EINVAL, "refcount");
		must("cmp " IMAGE " broken && cp before " IMAGE);
	}

	make_image("cluster_size=4k", 1 << 20);
	poke(IMAGE, 79, "\1", 1);
	ret = create("a", &err);
	assert_failed(&err, ret, EINVAL, "marked as dirty or corrupt");
}

/* The refcount table becomes too short, again and again, while snapshots come and go. */
static void many(void **state)
{
	char name[16];

	(void)state;
	make_image("cluster_size=512", 4 << 20);
	must("qemu-io -c 'write -q -P 1 0 4M' " IMAGE);
	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		make(name);
		must("qemu-io -c 'write -q -P %d 0 4M' " IMAGE, i + 2);
		if (i % 4 == 3) {
			snprintf(name, sizeof(name), "s%d", i - 2);
			drop(name);
		}
		must("qemu-img check -f qcow2 " IMAGE);
	}
	for (int i = 0; i < 12; i++) {
		if (i % 4 == 1)
			continue;
		must("head -c 4M /dev/zero | tr '\\0' '\\%03o' > wanted", i + 1);
		snprintf(name, sizeof(name), "s%d", i);
		shows(name, "wanted");
	}
	must("qemu-io -f qcow2 -c 'read -P 13 0 4M' " IMAGE " | tee out; ! grep -q failed out");
	assert_int_equal(header_field(NB_SNAPSHOTS), 9);
}

/* A file system's worth of snapshots that come and go takes no more room each time. */
static void no_growth(void **state)
{
	struct stat before, after;

	(void)state;
	make_image("cluster_size=4k", 8 << 20);
	must("qemu-io -c 'write -q -P 1 0 8M' " IMAGE);
	make("a");
	drop("a");
	assert_int_equal(stat(IMAGE, &before), 0);
	for (int i = 0; i < 10; i++) {
		make("a");
		drop("a");
	}
	assert_int_equal(stat(IMAGE, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	must("qemu-img check -f qcow2 " IMAGE);
}

/* --- crashes ---------------------------------------------------------------------------------- */

static void prepare_crash(const struct geometry *g)
{
	make_image(g->options, g->size);
	scribble(g->size, g->cluster, 10);
	make("a");
	scribble(g->size, g->cluster, 4);
	make("b");
	scribble(g->size, g->cluster, 4);
	must("cp " IMAGE " before");
}

static int step(bool deletes, struct qc_error *err)
{
	return deletes ? delete(NULL, "a", err) : create("new", err);
}

/* Everything that was there is there, whether the step was done or not. */
static void survives(bool thoroughly)
{
	assert_int_equal(check_status(IMAGE, 0), 0);
	if (!thoroughly)
		return;
	JUDGE("b");
	must("qemu-io -f qcow2 -c 'write -q -P 99 0 300k' " IMAGE);
	must("qemu-img check -f qcow2 " IMAGE);
	shows("b", MODEL ".b");
	if (!sh("qemu-img snapshot -l " IMAGE " | grep -q new"))
		shows("new", MODEL);
}

static void failing_writes(void **state)
{
	static const size_t chosen[] = { 0, 5 };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(chosen); i++) {
		struct qc_error err = { 0 };
		size_t fail = 0;
		int ret;

		prepare_crash(&geometries[chosen[i / 2]]);
		do {
			must("cp before " IMAGE);
			start_recorder(fail);
			ret = step(i % 2, &err);
			recorder.on = false;
			forget_ops(ret ? recorder.count - 1 : recorder.count);
			if (ret)
				assert_failed(&err, ret, EIO, IMAGE);
			survives(fail % 16 == 0 || !ret);
			fail++;
		} while (ret);
		assert_true(fail > 5);
	}
}

static void apply(const struct op *op)
{
	poke(IMAGE, op->at, op->data, op->len);
}

/* The flushes before operation @end are done; of what is behind them only some is on disk. */
static void crash(size_t from, size_t end, u32 keep, size_t alone, bool without)
{
	must("cp before " IMAGE);
	for (size_t i = 0; i < from; i++)
		if (recorder.ops[i].data)
			apply(&recorder.ops[i]);
	for (size_t i = from; i < end; i++) {
		bool there = alone == SIZE_MAX ? next_random() % 4 < keep :
			     (i == alone) != without;

		if (there)
			apply(&recorder.ops[i]);
	}
}

static void crashes(void **state)
{
	static const size_t chosen[] = { 0, 5 };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(chosen); i++) {
		struct qc_error err = { 0 };
		size_t from = 0, count;

		prepare_crash(&geometries[chosen[i / 2]]);
		start_recorder(SIZE_MAX);
		assert_int_equal(step(i % 2, &err), 0);
		recorder.on = false;
		count = recorder.count;
		for (size_t end = 0; end < count; end++) {
			if (recorder.ops[end].data)
				continue;
			for (u32 keep = 0; keep < 5; keep++) {
				crash(from, end, keep, SIZE_MAX, false);
				survives(true);
			}
			for (size_t at = from; at < end; at++) {
				crash(from, end, 0, at, at % 2);
				survives(at % 32 == 0);
			}
			from = end + 1;
		}
		assert_int_equal(from, count);
		forget_ops(count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_geometry),
		cmocka_unit_test(like_qemu),
		cmocka_unit_test(others),
		cmocka_unit_test(refused),
		cmocka_unit_test(many),
		cmocka_unit_test(no_growth),
		cmocka_unit_test(failing_writes),
		cmocka_unit_test(crashes),
	};

	return cmocka_run_group_tests_name("snapshot", tests, scratch_setup, scratch_teardown);
}
