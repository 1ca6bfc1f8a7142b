// SPDX-License-Identifier: GPL-2.0-or-later
/* Work on suspended devices, in a process that outlives the daemon. */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "dm.h"
#include "resize.h"
#include "snapshot-edit.h"
#include "window.h"

/* In memory shared with the child; @done is the last that is written. */
struct outcome {
	size_t switched;
	const struct window_edit *failed;
	int ret;
	struct qc_error err;
	bool done;
};

/* Also when the child cannot be made: then here. */
static void run(void (*work)(void *ctx, struct outcome *outcome), void *ctx,
		struct outcome *outcome)
{
	struct outcome *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = -1;
	sigset_t all;

	memset(outcome, 0, sizeof(*outcome));
	if (shared != MAP_FAILED)
		child = fork();
	if (!child) {
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
		mlockall(MCL_CURRENT | MCL_FUTURE);
		/* A new table must not wait for what the suspended device has to write first. */
		prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
		work(ctx, shared);
		shared->done = true;
		_exit(0);
	}
	if (child < 0) {
		work(ctx, outcome);
	} else {
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
		*outcome = *shared;
		if (!shared->done)
			outcome->ret = qc_fail(&outcome->err, EINTR, "qchaind", NULL,
					       "the process that changes devices was killed");
	}
	if (shared != MAP_FAILED)
		munmap(shared, sizeof(*shared));
}

/* The same of work of which there is no more to tell than its result. */
static int run_to_end(void (*work)(void *ctx, struct outcome *outcome), void *ctx,
		      struct qc_error *err)
{
	struct outcome outcome;

	run(work, ctx, &outcome);
	if (outcome.ret)
		*err = outcome.err;
	return outcome.ret;
}

struct switching {
	const char *const *names;
	size_t count;
};

static void switch_all(void *ctx, struct outcome *outcome)
{
	const struct switching *s = ctx;
	size_t first = s->count;	/* from this one on they are suspended */
	int ret = 0;

	/*
	 * The newest first: it may lie on an older one, which it needs to write back.  The kernel
	 * suspends, switches and resumes a single one in one call.
	 */
	while (first && s->count > 1 && !ret) {
		ret = qc_dm_suspend(s->names[first - 1], &outcome->err);
		first -= !ret;
	}
	while (!ret && outcome->switched < s->count) {
		ret = qc_dm_resume(s->names[outcome->switched], &outcome->err);
		outcome->switched += !ret;
	}
	/* What was not switched goes on with its old table. */
	for (size_t i = outcome->switched; i < s->count; i++) {
		qc_dm_clear(s->names[i], NULL);
		if (i >= first)
			qc_dm_resume(s->names[i], NULL);
	}
	outcome->ret = ret;
}

size_t window_switch(const char *const *names, size_t count, struct qc_error *err)
{
	struct switching switching = { names, count };
	struct outcome outcome;

	run(switch_all, &switching, &outcome);
	if (outcome.switched < count)
		*err = outcome.err;
	return outcome.switched;
}

struct before {
	const char *device;
	u64 sectors;
	const char *params;
};

static void switch_or_back(void *ctx, struct outcome *outcome)
{
	const struct before *before = ctx;
	struct qc_dm_device device;

	outcome->ret = qc_dm_resume(before->device, &outcome->err);
	if (outcome->ret && !qc_dm_query(before->device, &device, NULL) && device.suspended &&
	    !qc_dm_load(before->device, before->sectors, before->params, false, NULL))
		qc_dm_resume(before->device, NULL);
}

int window_switch_or_back(const char *device, u64 sectors, const char *params,
			  struct qc_error *err)
{
	struct before before = { device, sectors, params };

	return run_to_end(switch_or_back, &before, err);
}

struct rewriting {
	const char *device;
	struct qc_store *store;
	const char *backing;
	const char *format;
};

static int rewrite(const struct rewriting *r, struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *header = NULL;
	int ret;

	/* The kernel may have changed it up to the suspend. */
	qc_store_refresh(r->store);
	ret = qc_header_read(r->store, &header, err);
	if (ret < 0)
		return ret;
	free(header->backing);
	header->backing = r->backing ? strdup(r->backing) : NULL;
	if ((r->backing && !header->backing) ||
	    qc_header_set_extension(header, QC_EXT_BACKING_FORMAT, r->backing ? r->format : NULL,
				    r->backing && r->format ? strlen(r->format) : 0) < 0)
		return qc_fail_nomem(err, r->store->path);
	return qc_header_write(header, r->store, err);
}

/* Name again what @before names; the rest of the header may have changed since. */
static void name_again(const struct rewriting *r, const struct qc_header *before)
{
	const struct qc_extension *format = qc_header_extension(before, QC_EXT_BACKING_FORMAT);
	CLEANUP_FREE char *name = format ? strndup((const char *)format->data, format->len) : NULL;
	const struct rewriting back = { r->device, r->store, before->backing, name };

	rewrite(&back, NULL);
}

/* All or nothing: a write that failed may have taken place. */
static int rewrite_or_not(const struct rewriting *r, struct qc_header **before,
			  struct qc_error *err)
{
	int ret;

	qc_store_refresh(r->store);
	ret = qc_header_read(r->store, before, err);
	if (ret)
		return ret;
	ret = rewrite(r, err);
	if (ret)
		name_again(r, *before);
	return ret;
}

static void rewrite_suspended(void *ctx, struct outcome *outcome)
{
	const struct rewriting *r = ctx;
	CLEANUP_HEADER struct qc_header *before = NULL;
	int ret;

	outcome->ret = qc_dm_suspend(r->device, &outcome->err);
	if (outcome->ret)
		return;
	outcome->ret = rewrite_or_not(r, &before, &outcome->err);
	ret = qc_dm_resume(r->device, outcome->ret ? NULL : &outcome->err);
	if (!outcome->ret)
		outcome->ret = ret;
}

int window_set_backing(const char *device, struct qc_store *store, const char *backing,
		       const char *format, struct qc_error *err)
{
	struct rewriting rewriting = { device, store, backing, format };
	CLEANUP_HEADER struct qc_header *before = NULL;

	if (!device)
		return rewrite_or_not(&rewriting, &before, err);
	return run_to_end(rewrite_suspended, &rewriting, err);
}

static void pivot(void *ctx, struct outcome *outcome)
{
	const struct rewriting *r = ctx;
	CLEANUP_HEADER struct qc_header *before = NULL;
	struct qc_error *err = &outcome->err;

	outcome->ret = qc_dm_suspend(r->device, err);
	if (outcome->ret) {
		qc_dm_clear(r->device, NULL);
		return;
	}
	outcome->ret = rewrite_or_not(r, &before, err);
	if (outcome->ret) {
		qc_dm_clear(r->device, NULL);
		qc_dm_resume(r->device, NULL);
		return;
	}
	outcome->ret = qc_dm_resume(r->device, err);
	/* It runs with the old table. */
	if (outcome->ret && !qc_dm_suspend(r->device, NULL)) {
		name_again(r, before);
		qc_dm_resume(r->device, NULL);
	}
}

int window_pivot(const char *device, struct qc_store *store, const char *backing,
		 const char *format, struct qc_error *err)
{
	struct rewriting rewriting = { device, store, backing, format };

	return run_to_end(pivot, &rewriting, err);
}

static int load(const struct window_resize *r, u64 sectors, struct qc_error *err)
{
	return qc_dm_load(r->device, sectors, r->params, false, err);
}

/*
 * Before a layer is released: what the module has found to be corrupt it would not open again.
 * The device is suspended, so the image says it.
 */
static int check_sound(struct qc_store *store, struct qc_error *err)
{
	CLEANUP_HEADER struct qc_header *header = NULL;
	int ret;

	qc_store_refresh(store);
	ret = qc_header_read(store, &header, err);
	return ret < 0 ? ret : qc_header_sound(header, store->path, err);
}

static void resize_suspended(void *ctx, struct outcome *outcome)
{
	const struct window_resize *r = ctx;
	u64 sectors = qc_div_round_up(r->size, QC_SECTOR_SIZE), before = 0;
	CLEANUP_FREE char *params = NULL;
	struct qc_error *err = &outcome->err;
	int ret;

	outcome->ret = qc_dm_table(r->device, &before, &params, err);
	if (!outcome->ret)
		outcome->ret = qc_dm_suspend(r->device, err);
	if (outcome->ret)
		return;
	if (r->format == QC_FORMAT_QCOW2)
		outcome->ret = check_sound(r->store, err);
	if (!outcome->ret)
		outcome->ret = qc_dm_message(r->device, "release 0", err);
	if (outcome->ret) {
		qc_dm_resume(r->device, NULL);
		return;
	}
	qc_store_refresh(r->store);
	outcome->ret = qc_resize_layer(r->store, r->format, r->size, r->below, err);
	ret = outcome->ret;
	if (!ret)
		ret = load(r, sectors, err);
	/* Any size that the image allows is better than none. */
	if (ret)
		outcome->ret = ret;
	if (!ret || !load(r, before, NULL) || !load(r, sectors, NULL))
		ret = qc_dm_resume(r->device, outcome->ret ? NULL : err);
	if (!outcome->ret)
		outcome->ret = ret;
}

int window_resize(const struct window_resize *resize, struct qc_error *err)
{
	return run_to_end(resize_suspended, (void *)resize, err);
}

/* --- internal snapshots ----------------------------------------------------------------------- */

/* A device while it stands still. */
struct still {
	bool suspended;
	bool released;
	u64 sectors;		/* of the table that it had */
	char *params;
};

struct edit_work {
	const struct window_editing *editing;
	struct still *stills;	/* for each of the devices */
	char **made;		/* for each of the edits the ID of what it made, or NULL */
	struct qc_error *err;
};

static int stand_still(struct edit_work *w)
{
	const struct window_editing *e = w->editing;
	int ret = 0;

	for (size_t i = 0; i < e->nb_devices && !ret; i++)
		ret = qc_dm_table(e->devices[i].name, &w->stills[i].sectors, &w->stills[i].params,
				  w->err);
	/* The newest first: it may lie on an older one, which it needs to write back. */
	for (size_t i = e->nb_devices; i-- && !ret;) {
		ret = e->stopped ? 0 : qc_dm_suspend(e->devices[i].name, w->err);
		w->stills[i].suspended = !ret;
	}
	for (size_t i = 0; i < e->nb_edits && !ret; i++)
		if (e->edits[i].device >= 0)
			ret = check_sound(e->edits[i].store, w->err);
	/* A table that waits for cont has images open, which would not be read again. */
	for (size_t i = 0; i < e->nb_devices && e->stopped && !ret; i++)
		ret = qc_dm_clear(e->devices[i].name, w->err);
	for (size_t i = 0; i < e->nb_devices && !ret; i++) {
		if (!e->devices[i].released)
			continue;
		ret = qc_dm_message(e->devices[i].name, "release 0", w->err);
		w->stills[i].released = !ret;
	}
	return ret;
}

static int edit_images(struct edit_work *w, const struct window_edit **failed)
{
	const struct window_editing *e = w->editing;
	int ret = 0;

	for (size_t i = 0; i < e->nb_edits && !ret; i++) {
		const struct window_edit *edit = &e->edits[i];

		qc_store_refresh(edit->store);
		ret = edit->create ?
		      qc_snapshot_create(edit->store, edit->create, edit->date_sec,
					 edit->date_nsec, &w->made[i], w->err) :
		      qc_snapshot_delete(edit->store, edit->delete_id, edit->delete_name, w->err);
		if (ret)
			*failed = edit;
	}
	return ret;
}

static int load_new(struct edit_work *w)
{
	const struct window_editing *e = w->editing;
	int ret = 0;

	for (size_t i = 0; i < e->nb_devices && !ret; i++)
		ret = qc_dm_load(e->devices[i].name, e->devices[i].sectors, e->devices[i].params,
				 e->devices[i].read_only, w->err);
	return ret;
}

/* The table that it had, of an image that is as it was. */
static void load_old(const struct window_device *device, const struct still *still)
{
	/* With descriptors where they are of the same files: those may have been renamed. */
	qc_dm_load(device->name, still->sectors, device->relayered ? still->params : device->params,
		   device->read_only, NULL);
}

/* All devices from @first on go on as they were. */
static void take_back(struct edit_work *w, size_t first)
{
	const struct window_editing *e = w->editing;

	for (size_t i = first; i < e->nb_devices; i++) {
		if (!w->stills[i].suspended)
			continue;
		qc_dm_clear(e->devices[i].name, NULL);
		/* One that could not be resumed, and what was loaded since. */
		qc_dm_suspend(e->devices[i].name, NULL);
		if (w->stills[i].released)
			qc_dm_message(e->devices[i].name, "release 0", NULL);
	}
	for (size_t i = e->nb_edits; i--;)
		if (w->made[i] && (!first || e->edits[i].device >= (int)first))
			qc_snapshot_delete(e->edits[i].store, w->made[i], NULL, NULL);
	for (size_t i = first; i < e->nb_devices; i++) {
		if (w->stills[i].released)
			load_old(&e->devices[i], &w->stills[i]);
		if (w->stills[i].suspended && !e->stopped)
			qc_dm_resume(e->devices[i].name, NULL);
	}
}

static void edit_suspended(void *ctx, struct outcome *outcome)
{
	struct edit_work *w = ctx;
	const struct window_editing *e = w->editing;
	int ret;

	w->err = &outcome->err;
	ret = stand_still(w);
	if (!ret)
		ret = edit_images(w, &outcome->failed);
	if (!ret)
		ret = load_new(w);
	while (!ret && outcome->switched < e->nb_devices) {
		ret = e->stopped ? 0 : qc_dm_resume(e->devices[outcome->switched].name, w->err);
		outcome->switched += !ret;
	}
	if (ret)
		take_back(w, outcome->switched);
	outcome->ret = ret;
}

int window_edit(const struct window_editing *editing, size_t *switched,
		const struct window_edit **failed, struct qc_error *err)
{
	CLEANUP_FREE struct still *stills = calloc(editing->nb_devices + 1, sizeof(*stills));
	CLEANUP_FREE char **made = calloc(editing->nb_edits + 1, sizeof(*made));
	struct edit_work work = { .editing = editing, .stills = stills, .made = made };
	struct outcome outcome;

	*switched = 0;
	*failed = NULL;
	if (!stills || !made)
		return qc_fail_nomem(err, "qchaind");
	run(edit_suspended, &work, &outcome);
	/* Of this process only where there was no child. */
	for (size_t i = 0; i < editing->nb_devices; i++)
		free(stills[i].params);
	for (size_t i = 0; i < editing->nb_edits; i++)
		free(made[i]);
	*switched = outcome.switched;
	*failed = outcome.failed;
	if (outcome.ret)
		*err = outcome.err;
	return outcome.ret;
}
