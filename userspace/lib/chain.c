// SPDX-License-Identifier: GPL-2.0-or-later
/* Follow backing file names from an image down to its base. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* asprintf */
#endif
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>

#include "chain.h"

static const char *const format_names[] = {
	[QC_FORMAT_UNKNOWN] = "unknown",
	[QC_FORMAT_QCOW2] = "qcow2",
	[QC_FORMAT_RAW] = "raw",
};

const char *qc_format_name(enum qc_format format)
{
	return format_names[format];
}

enum qc_format qc_format_parse(const char *name)
{
	for (size_t i = QC_FORMAT_QCOW2; i < ARRAY_SIZE(format_names); i++)
		if (!strcmp(name, format_names[i]))
			return i;
	return QC_FORMAT_UNKNOWN;
}

char *qc_absolute_name(const char *name)
{
	char cwd[PATH_MAX], *path;

	if (name[0] == '/' || !getcwd(cwd, sizeof(cwd)))
		return strdup(name);
	return asprintf(&path, "%s/%s", strcmp(cwd, "/") ? cwd : "", name) < 0 ? NULL : path;
}

/* A colon before the first slash makes a name a protocol's, as in QEMU. */
static bool has_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

static int refuse_protocol(const char *overlay, const char *name, struct qc_error *err)
{
	static const struct {
		const char *prefix;
		const char *remedy;
	} known[] = {
		{ "json:", "give the plain file name: qemu-img rebase -u -b FILE" },
		{ "nbd", "connect nbd-client to it, then: qemu-img rebase -u -b /dev/nbdN" },
		{ "rbd:", "do an rbd map of it, then: qemu-img rebase -u -b /dev/rbdN" },
		{ "iscsi:", "log in with iscsiadm, then: qemu-img rebase -u -b /dev/sdX" },
	};
	const char *remedy =
		"make it a block device with nbdkit and nbd-client, then: qemu-img rebase -u";

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp(name, known[i].prefix, strlen(known[i].prefix)))
			remedy = known[i].remedy;
	return qc_fail(err, ENOTSUP, overlay, remedy,
		       "backing file '%s' is not a plain file or device name", name);
}

int qc_chain_resolve_name(const char *overlay, const char *backing, char **path,
			  struct qc_error *err)
{
	static const char *const plain[] = { "file:", "host_device:" };
	const char *name = backing;
	const char *slash = strrchr(overlay, '/');
	int ret;

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		if (!strncmp(name, plain[i], strlen(plain[i]))) {
			name += strlen(plain[i]);
			break;
		}
	if (name == backing && has_protocol(name))
		return refuse_protocol(overlay, name, err);

	if (name[0] == '/' || !slash)
		ret = asprintf(path, "%s", name);
	else
		ret = asprintf(path, "%.*s%s", (int)(slash - overlay + 1), overlay, name);
	return ret < 0 ? qc_fail_nomem(err, overlay) : 0;
}

void qc_raise_nofile(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void close_layer(struct qc_layer *layer)
{
	qc_header_free(layer->header);
	qc_store_close(layer->store);
}

void qc_chain_close(struct qc_chain *chain)
{
	if (!chain)
		return;
	for (size_t i = 0; i < chain->count; i++)
		close_layer(&chain->layers[i]);
	free(chain->layers);
	free(chain);
}

void qc_cleanup_chain(struct qc_chain **chain)
{
	qc_chain_close(*chain);
}

/* The top image's format, when the user gave none. */
static int detect_top(const struct qc_store *store, enum qc_format *format, struct qc_error *err)
{
	CLEANUP_FREE char *type = NULL;
	u8 magic[4] = { 0 };
	int ret;

	ret = qc_store_read(store, 0, magic, sizeof(magic), err);
	if (ret < 0)
		return ret;
	if (qc_header_magic(magic)) {
		*format = QC_FORMAT_QCOW2;
		return 0;
	}
	ret = qc_store_signature(store, &type, err);
	if (ret < 0)
		return ret;
	return qc_fail(err, EINVAL, store->path, "say --format raw if it is a raw disk",
		       "is not a qcow2 image%s%s", type ? ", it looks like " : "",
		       type ? type : "");
}

/* Fill in what the layer is; its store is open and locked. */
static int identify(struct qc_layer *layer, unsigned int flags, struct qc_error *err)
{
	int ret;

	if (layer->format == QC_FORMAT_UNKNOWN) {
		ret = detect_top(layer->store, &layer->format, err);
		if (ret < 0)
			return ret;
	}
	if (layer->format == QC_FORMAT_RAW)
		return qc_store_size(layer->store, &layer->size, err);

	ret = qc_header_read(layer->store, &layer->header, err);
	if (ret < 0)
		return ret;
	layer->size = layer->header->size;
	if (flags & QC_CHAIN_ANY)
		return 0;
	return qc_header_supported(layer->header, layer->store->path, err);
}

/* Append a layer; on success it is the chain's last. */
static int add_layer(struct qc_chain *chain, const char *path, enum qc_format format,
		     unsigned int flags, struct qc_error *err)
{
	bool write = flags & QC_CHAIN_WRITE && !chain->count;
	struct qc_layer layer = { .format = format };
	struct qc_layer *grown;
	int ret;

	ret = qc_store_open(path, write ? QC_OPEN_WRITE : 0, &layer.store, err);
	if (ret == -EMFILE)
		return qc_fail(err, EMFILE, path, "raise the limit: ulimit -n",
			       "too many open files for a chain of more than %zu layers",
			       chain->count);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < chain->count; i++) {
		if (!qc_store_same(layer.store, chain->layers[i].store))
			continue;
		ret = qc_fail(err, ELOOP, chain->layers[chain->count - 1].store->path,
			      "set the right backing file: qemu-img rebase -u",
			      "its backing file '%s' is above it in the chain", path);
		close_layer(&layer);
		return ret;
	}
	if (flags & QC_CHAIN_LOCK)
		ret = qc_lock(layer.store, write ? QC_LOCK_WRITE : QC_LOCK_READ, err);
	if (!ret)
		ret = identify(&layer, flags, err);
	if (ret < 0) {
		close_layer(&layer);
		return ret;
	}
	grown = realloc(chain->layers, (chain->count + 1) * sizeof(*grown));
	if (!grown) {
		close_layer(&layer);
		return qc_fail_nomem(err, path);
	}
	chain->layers = grown;
	chain->layers[chain->count++] = layer;
	return 0;
}

int qc_chain_backing(const char *name, const struct qc_header *h, char **path,
		     enum qc_format *format, struct qc_error *err)
{
	CLEANUP_FREE char *resolved = NULL;
	char remedy[QC_MAX_BACKING_NAME + 128];
	int ret;

	if (!h || !h->backing)
		return 0;
	ret = qc_chain_resolve_name(name, h->backing, &resolved, err);
	if (ret < 0)
		return ret;
	if (!h->backing_format) {
		snprintf(remedy, sizeof(remedy),
			 "set it: qemu-img rebase -u -b '%s' -F FORMAT (qcow2 or raw)", h->backing);
		return qc_fail(err, EINVAL, name, remedy,
			       "does not say which format its backing file '%s' has", h->backing);
	}
	*format = qc_format_parse(h->backing_format);
	if (*format == QC_FORMAT_UNKNOWN) {
		snprintf(remedy, sizeof(remedy),
			 "convert it: qemu-img convert -O qcow2, or serve it with qemu-nbd");
		return qc_fail(err, ENOTSUP, name, remedy,
			       "the format '%s' of its backing file '%s' is not supported",
			       h->backing_format, h->backing);
	}
	*path = qc_steal(resolved);
	return 1;
}

int qc_chain_open(const char *path, enum qc_format format, unsigned int flags,
		  struct qc_chain **out, struct qc_error *err)
{
	CLEANUP_CHAIN struct qc_chain *chain = calloc(1, sizeof(*chain));
	int ret;

	if (!chain)
		return qc_fail_nomem(err, path);
	ret = add_layer(chain, path, format, flags, err);
	while (!ret && !(flags & QC_CHAIN_TOP)) {
		const struct qc_layer *lowest = &chain->layers[chain->count - 1];
		CLEANUP_FREE char *next = NULL;

		ret = qc_chain_backing(lowest->store->path, lowest->header, &next, &format, err);
		if (ret <= 0)
			break;
		ret = add_layer(chain, next, format, flags, err);
		if (ret == -ENOENT)
			ret = qc_fail(err, ENOENT, next,
				      "restore it, or set the right name: qemu-img rebase -u",
				      "no such file, but it is the backing file of '%s'",
				      chain->layers[chain->count - 1].store->path);
	}
	if (ret < 0)
		return ret;
	*out = qc_steal(chain);
	return 0;
}
