// SPDX-License-Identifier: GPL-2.0-only
/* Mapped devices: found, made, gone.  See device.h. */
#include <linux/slab.h>

#include "device.h"
#include "image.h"
#include "job.h"
#include "target.h"

static DEFINE_MUTEX(devices_lock);
static LIST_HEAD(devices);

static void device_release(struct kref *kref)
{
	struct qc_device *device = container_of(kref, struct qc_device, kref);

	list_del(&device->list);
	mutex_unlock(&devices_lock);
	destroy_workqueue(device->wq);
	cleanup_srcu_struct(&device->writers);
	cleanup_srcu_struct(&device->in_flight);
	kfree(device);
}

void qc_device_get(struct qc_device *device)
{
	kref_get(&device->kref);
}

void qc_device_put(struct qc_device *device)
{
	kref_put_mutex(&device->kref, device_release, &devices_lock);
}

static struct qc_device *new_device(struct mapped_device *md)
{
	struct qc_device *device = kzalloc(sizeof(*device), GFP_KERNEL);

	if (!device)
		return NULL;
	if (init_srcu_struct(&device->in_flight))
		goto free;
	if (init_srcu_struct(&device->writers))
		goto cleanup_in_flight;
	device->wq = alloc_workqueue("qchain-job", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!device->wq)
		goto cleanup_writers;
	kref_init(&device->kref);
	device->md = md;
	mutex_init(&device->mutex);
	INIT_LIST_HEAD(&device->jobs);
	INIT_LIST_HEAD(&device->kept);
	init_waitqueue_head(&device->ended);
	spin_lock_init(&device->lock);
	device->halted = true;
	list_add(&device->list, &devices);
	return device;

cleanup_writers:
	cleanup_srcu_struct(&device->writers);
cleanup_in_flight:
	cleanup_srcu_struct(&device->in_flight);
free:
	kfree(device);
	return NULL;
}

struct qc_device *qc_device_get_table(struct mapped_device *md)
{
	struct qc_device *device, *found = NULL;

	mutex_lock(&devices_lock);
	list_for_each_entry(device, &devices, list)
		if (device->md == md)
			found = device;
	if (found)
		kref_get(&found->kref);
	else
		found = new_device(md);
	if (found)
		found->tables++;
	mutex_unlock(&devices_lock);
	return found;
}

void qc_device_keep(struct qc_device *device, struct qc_image *image)
{
	spin_lock(&device->lock);
	if (list_empty(&image->kept))
		list_add_tail(&qc_image_get(image)->kept, &device->kept);
	spin_unlock(&device->lock);
}

bool qc_device_keeps(const struct qc_device *device)
{
	return !list_empty(&device->kept);
}

void qc_device_let_go(struct qc_device *device, struct qc_image *image)
{
	bool kept;

	spin_lock(&device->lock);
	kept = !list_empty(&image->kept);
	list_del_init(&image->kept);
	spin_unlock(&device->lock);
	if (kept)
		qc_image_put(image);
}

void qc_device_owe(struct qc_device *device, struct qc_image *image)
{
	enum qc_tell kind;

	for (kind = 0; kind < QC_TELLS; kind++)
		if (qc_store_flush_tell(image->store, &image->told[kind]))
			set_bit(kind, &device->untold);
}

void qc_device_kept_written(struct qc_device *device, struct qc_image *image)
{
	if (list_empty(&image->kept))
		return;
	qc_device_owe(device, image);
	qc_device_let_go(device, image);
}

/* With a reference of the caller's. */
static struct qc_image *first_kept(struct qc_device *device)
{
	struct qc_image *image;

	spin_lock(&device->lock);
	image = list_first_entry_or_null(&device->kept, struct qc_image, kept);
	if (image)
		qc_image_get(image);
	spin_unlock(&device->lock);
	return image;
}

int qc_device_commit_kept(struct qc_device *device)
{
	struct qc_image *image;
	int error = 0;

	while (!error && qc_device_keeps(device)) {
		image = first_kept(device);
		if (!image)
			break;
		error = qc_commit(image);
		if (!error)
			qc_device_kept_written(device, image);
		qc_image_put(image);
	}
	return error;
}

void qc_device_event(struct qc_device *device)
{
	spin_lock(&device->lock);
	if (device->target)
		queue_work(device->target->wq, &device->target->event);
	spin_unlock(&device->lock);
}

static void let_all_go(struct qc_device *device)
{
	struct qc_image *image;

	while ((image = first_kept(device))) {
		qc_device_let_go(device, image);
		qc_image_put(image);
	}
}

void qc_device_put_table(struct qc_device *device)
{
	bool last;

	mutex_lock(&devices_lock);
	last = !--device->tables;
	mutex_unlock(&devices_lock);
	if (last) {
		qc_jobs_cancel(device);
		let_all_go(device);
	}
	qc_device_put(device);
}
