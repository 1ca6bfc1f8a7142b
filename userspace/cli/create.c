// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain create. */
#include <errno.h>

#include "cli.h"
#include "create.h"

enum {
	CREATE_FORMAT,
	CREATE_BACKING,
	CREATE_BACKING_FORMAT,
	CREATE_OPTIONS,
	CREATE_UNSAFE,
	CREATE_FORCE,
};

static const struct cli_option options[] = {
	[CREATE_FORMAT] = { "format", 'f', CLI_ARGUMENT, "FORMAT", "qcow2, the only one" },
	[CREATE_BACKING] = { "backing", 'b', CLI_ARGUMENT, "FILE",
			     "backing file, relative to the new image's directory" },
	[CREATE_BACKING_FORMAT] = { "backing-format", 'F', CLI_ARGUMENT, "FORMAT",
				    "of the backing file: qcow2 or raw" },
	[CREATE_OPTIONS] = { "option", 'o', CLI_LIST, "NAME=VALUE,...",
			     "compat, cluster_size, refcount_bits, lazy_refcounts, ..." },
	[CREATE_UNSAFE] = { "unsafe", 'u', CLI_FLAG, NULL, "do not open the backing file" },
	[CREATE_FORCE] = { "force", 0, CLI_FLAG, NULL, "overwrite what is there" },
	{ 0 }
};

static int bad_value(const char *name, const char *value, const char *remedy,
		     struct qc_error *err)
{
	return qc_fail(err, EINVAL, name, remedy, "bad value '%s'", value);
}

static int set_compat(struct qc_create_options *o, const char *value, struct qc_error *err)
{
	if (!strcmp(value, "0.10") || !strcmp(value, "v2"))
		o->version = 2;
	else if (!strcmp(value, "1.1") || !strcmp(value, "v3"))
		o->version = 3;
	else
		return bad_value("compat", value, "use 0.10 or 1.1", err);
	return 0;
}

static int set_cluster_size(struct qc_create_options *o, const char *value, struct qc_error *err)
{
	u64 size;
	int ret = cli_size("cluster_size", value, &size, err);

	if (ret < 0)
		return ret;
	if (!size || size > UINT32_MAX)
		return bad_value("cluster_size", value, "use a power of two from 512 to 2M", err);
	o->cluster_size = size;
	return 0;
}

static int set_refcount_bits(struct qc_create_options *o, const char *value,
			     struct qc_error *err)
{
	char *end;
	unsigned long bits = strtoul(value, &end, 10);

	if (*end || !bits || bits > 64)
		return bad_value("refcount_bits", value, "use a power of two from 1 to 64", err);
	o->refcount_bits = bits;
	return 0;
}

static int set_lazy_refcounts(struct qc_create_options *o, const char *value,
			      struct qc_error *err)
{
	o->lazy_refcounts = !strcmp(value, "on");
	if (!o->lazy_refcounts && strcmp(value, "off"))
		return bad_value("lazy_refcounts", value, "use on or off", err);
	return 0;
}

static int set_compression(struct qc_create_options *o, const char *value, struct qc_error *err)
{
	for (int i = 0; i < QC_NR_COMPRESSIONS; i++) {
		if (!strcmp(value, qc_compression_names[i])) {
			o->compression = i;
			return 0;
		}
	}
	return bad_value("compression_type", value, "use zlib or zstd", err);
}

static int set_preallocation(struct qc_create_options *o, const char *value,
			     struct qc_error *err)
{
	o->preallocate = !strcmp(value, "metadata");
	return !o->preallocate && strcmp(value, "off") ?
	       bad_value("preallocation", value, "use off or metadata, or qemu-img create", err) :
	       0;
}

static const struct {
	const char *name;
	int (*set)(struct qc_create_options *o, const char *value, struct qc_error *err);
} settings[] = {
	{ "compat", set_compat },
	{ "cluster_size", set_cluster_size },
	{ "refcount_bits", set_refcount_bits },
	{ "lazy_refcounts", set_lazy_refcounts },
	{ "compression_type", set_compression },
	{ "preallocation", set_preallocation },
};

/* @list is taken apart in place. */
static int parse_settings(char *list, struct qc_create_options *o, struct qc_error *err)
{
	char *setting;

	while ((setting = strsep(&list, ","))) {
		char *value = strchr(setting, '=');
		size_t i;
		int ret;

		if (!*setting)
			continue;
		if (value)
			*value++ = 0;
		for (i = 0; i < ARRAY_SIZE(settings); i++)
			if (!strcmp(setting, settings[i].name))
				break;
		if (i == ARRAY_SIZE(settings))
			return qc_fail(err, EINVAL, setting,
				       "there are compat, cluster_size, refcount_bits, lazy_refcounts, compression_type, preallocation",
				       "no such option");
		ret = settings[i].set(o, value ? value : "on", err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/*
 * The backing chain must be good; its size is the new image's if none was given.  It stays open,
 * and locked, so that the new image cannot take the place of a part of it.
 */
static int open_backing(const char *image, struct qc_create_options *o, bool need_size,
			struct qc_chain **chain, struct qc_error *err)
{
	CLEANUP_FREE char *path = NULL;
	enum qc_format format;
	int ret;

	ret = cli_format(o->backing_format, &format, err);
	if (!ret)
		ret = qc_chain_resolve_name(image, o->backing, &path, err);
	if (!ret)
		ret = qc_chain_open(path, format, QC_CHAIN_LOCK, chain, err);
	if (!ret && need_size)
		o->size = (*chain)->layers[0].size;
	return ret;
}

static int run(const struct cli_call *call, struct qc_error *err)
{
	const char *image = call->arguments[0];
	bool have_size = call->nb_arguments > 1;
	struct qc_create_options o = {
		.backing = call->values[CREATE_BACKING],
		.backing_format = call->values[CREATE_BACKING_FORMAT],
		.force = call->values[CREATE_FORCE],
		.cancelled = cli_signal_pending,
	};
	CLEANUP_CHAIN struct qc_chain *backing = NULL;
	int ret;

	if (call->values[CREATE_FORMAT] && strcmp(call->values[CREATE_FORMAT], "qcow2"))
		return bad_value("--format", call->values[CREATE_FORMAT],
				 "use qcow2, or truncate -s for a raw image", err);
	if (call->values[CREATE_OPTIONS]) {
		ret = parse_settings(call->values[CREATE_OPTIONS], &o, err);
		if (ret < 0)
			return ret;
	}
	if (have_size) {
		ret = cli_size("size", call->arguments[1], &o.size, err);
		if (ret < 0)
			return ret;
	}
	if (o.backing && !o.backing_format)
		return qc_fail(err, EINVAL, image, "say -F qcow2 or -F raw",
			       "the format of the backing file is not given");
	if (o.backing && !call->values[CREATE_UNSAFE]) {
		ret = open_backing(image, &o, !have_size, &backing, err);
		if (ret < 0)
			return ret;
	} else if (!have_size) {
		return qc_fail(err, EINVAL, image, "give it behind the image's name",
			       "the size is missing");
	}
	cli_hold_signals(NULL);
	ret = qc_create(image, &o, err);
	if (ret < 0)
		cli_release_signals();
	return ret < 0 ? ret : CLI_OK;
}

const struct cli_command cli_create = {
	.name = "create",
	.arguments = "IMAGE [SIZE]",
	.help = "make a new qcow2 image",
	.min_arguments = 1,
	.max_arguments = 2,
	.usage_exit = CLI_USAGE,
	.options = options,
	.run = run,
};
