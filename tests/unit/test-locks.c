// SPDX-License-Identifier: GPL-2.0-or-later
/* Our locks and QEMU's exclude each other exactly where they must. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "helper.h"
#include "locks.h"

#define IMAGE "image.qcow2"
#define BASE "base.qcow2"

static int make_images(void **state)
{
	if (scratch_setup(state))
		return -1;
	must("qemu-img create -f qcow2 " BASE " 1M");
	must("qemu-img create -f qcow2 -b " BASE " -F qcow2 " IMAGE);
	return 0;
}

static int try_lock(const char *path, enum qc_lock_mode mode, struct qc_store **store,
		    struct qc_error *err)
{
	int ret;

	memset(err, 0, sizeof(*err));
	ret = qc_store_open(path, mode == QC_LOCK_WRITE ? QC_OPEN_WRITE : 0, store, err);
	return ret ? ret : qc_lock(*store, mode, err);
}

/* A QEMU that holds the images until stop_qemu(). */
static pid_t start_qemu(bool read_only)
{
	CLEANUP_FREE char *here = realpath(".", NULL);
	char socket[4200];
	pid_t pid;

	snprintf(socket, sizeof(socket), "%s/nbd.sock", here);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		/* Not a grandchild: what is killed must be what holds the locks. */
		execlp("qemu-nbd", "qemu-nbd", "-t", "-k", socket, IMAGE,
		       read_only ? "-r" : NULL, NULL);
		_exit(127);
	}
	while (access(socket, F_OK) < 0) {
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	/* It answers only when it has opened the images. */
	must("qemu-img info 'nbd+unix:///?socket=%s'", socket);
	return pid;
}

static void stop_qemu(pid_t pid)
{
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	unlink("nbd.sock");
}

static void assert_lockable(const char *path, enum qc_lock_mode mode, bool expected)
{
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_error err;
	int ret = try_lock(path, mode, &store, &err);

	if (expected)
		assert_int_equal(ret, 0);
	else
		assert_failed(&err, ret, EBUSY, path, "another program");
}

static void against_a_qemu_that_writes(void **state)
{
	pid_t qemu = start_qemu(false);

	(void)state;
	assert_lockable(IMAGE, QC_LOCK_WRITE, false);
	assert_lockable(IMAGE, QC_LOCK_READ, false);
	assert_lockable(BASE, QC_LOCK_WRITE, false);
	assert_lockable(BASE, QC_LOCK_READ, true);
	stop_qemu(qemu);
	assert_lockable(IMAGE, QC_LOCK_WRITE, true);
	assert_lockable(BASE, QC_LOCK_WRITE, true);
}

static void against_a_qemu_that_reads(void **state)
{
	pid_t qemu = start_qemu(true);

	(void)state;
	assert_lockable(IMAGE, QC_LOCK_WRITE, false);
	assert_lockable(IMAGE, QC_LOCK_READ, true);
	assert_lockable(BASE, QC_LOCK_WRITE, false);
	assert_lockable(BASE, QC_LOCK_READ, true);
	stop_qemu(qemu);
}

static int qemu_writes(const char *path)
{
	return sh("qemu-io -c 'write 0 512' %s", path);
}

static int qemu_reads(const char *path)
{
	return sh("qemu-io -r -c 'read 0 512' %s", path);
}

static void our_writer_against_qemu(void **state)
{
	struct qc_store *store = NULL;
	struct qc_error err;

	(void)state;
	assert_int_equal(try_lock(IMAGE, QC_LOCK_WRITE, &store, &err), 0);
	assert_int_not_equal(qemu_writes(IMAGE), 0);
	must("qemu-io -c 'write 0 512' " IMAGE " 2>&1 | grep 'Failed to get'");
	assert_int_not_equal(qemu_reads(IMAGE), 0);
	qc_store_close(store);
	assert_int_equal(qemu_writes(IMAGE), 0);
}

static void our_reader_against_qemu(void **state)
{
	struct qc_store *store = NULL;
	struct qc_error err;

	(void)state;
	assert_int_equal(try_lock(BASE, QC_LOCK_READ, &store, &err), 0);
	assert_int_not_equal(qemu_writes(BASE), 0);
	assert_int_equal(qemu_reads(BASE), 0);
	assert_int_equal(qemu_writes(IMAGE), 0);	/* has it as its backing file */
	qc_store_close(store);
	assert_int_equal(qemu_writes(BASE), 0);
}

static void among_ourselves(void **state)
{
	static const enum qc_lock_mode modes[] = { QC_LOCK_READ, QC_LOCK_WRITE };

	(void)state;
	for (int first = 0; first < 2; first++) {
		for (int second = 0; second < 2; second++) {
			CLEANUP_STORE struct qc_store *store = NULL;
			struct qc_error err;

			assert_int_equal(try_lock(IMAGE, modes[first], &store, &err), 0);
			assert_lockable(IMAGE, modes[second], !first && !second);
		}
	}
}

/* After a conflict the loser holds nothing, and the winner what it had. */
static void conflict_leaves_nothing(void **state)
{
	CLEANUP_STORE struct qc_store *reader = NULL;
	CLEANUP_STORE struct qc_store *loser = NULL;
	struct qc_error err;

	(void)state;
	assert_int_equal(try_lock(IMAGE, QC_LOCK_READ, &reader, &err), 0);
	assert_int_equal(try_lock(IMAGE, QC_LOCK_WRITE, &loser, &err), -EBUSY);
	assert_lockable(IMAGE, QC_LOCK_READ, true);
	assert_int_equal(qc_lock(reader, QC_LOCK_NONE, &err), 0);
	assert_lockable(IMAGE, QC_LOCK_WRITE, true);
}

/* As the kernel module does: another reference to the description keeps the locks. */
static void held_by_the_description(void **state)
{
	struct qc_store *store = NULL;
	struct qc_error err;
	int copy;

	(void)state;
	assert_int_equal(try_lock(IMAGE, QC_LOCK_WRITE, &store, &err), 0);
	copy = dup(store->fd);
	qc_store_close(store);
	assert_lockable(IMAGE, QC_LOCK_READ, false);
	assert_int_not_equal(qemu_writes(IMAGE), 0);
	close(copy);
	assert_lockable(IMAGE, QC_LOCK_WRITE, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_a_qemu_that_writes),
		cmocka_unit_test(against_a_qemu_that_reads),
		cmocka_unit_test(our_writer_against_qemu),
		cmocka_unit_test(our_reader_against_qemu),
		cmocka_unit_test(among_ourselves),
		cmocka_unit_test(conflict_leaves_nothing),
		cmocka_unit_test(held_by_the_description),
	};

	return cmocka_run_group_tests_name("locks", tests, make_images, scratch_teardown);
}
