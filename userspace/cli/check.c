// SPDX-License-Identifier: GPL-2.0-or-later
/* qchain check. */
#include <errno.h>

#include "attach.h"
#include "check.h"
#include "cli.h"

enum {
	CHECK_REPAIR,
	CHECK_FORCE_SHARE,
	CHECK_JSON,
};

static const struct cli_option options[] = {
	[CHECK_REPAIR] = { "repair", 'r', CLI_OPTIONAL, "leaks|all",
			   "repair leaked clusters, or (the default) everything that can be" },
	[CHECK_FORCE_SHARE] = { "force-share", 'U', CLI_FLAG, NULL,
				"look even while the image is in use; it may seem corrupt then" },
	[CHECK_JSON] = { "json", 0, CLI_FLAG, NULL, "print the result as an object" },
	{ 0 }
};

static int parse_repair(const char *value, unsigned int *repair, struct qc_error *err)
{
	if (!value)
		*repair = 0;
	else if (!*value || !strcmp(value, "all"))
		*repair = QC_REPAIR_ALL;
	else if (!strcmp(value, "leaks"))
		*repair = QC_REPAIR_LEAKS;
	else
		return qc_fail(err, EINVAL, "--repair", "use leaks or all", "bad value '%s'",
			       value);
	return 0;
}

static void print_finding(void *ctx, enum qc_finding finding, const char *message)
{
	fprintf(ctx, "%s %s\n", finding == QC_FOUND_LEAK ? "Leak:" : "ERROR:", message);
}

static void print_text(const struct qc_check_result *r)
{
	if (r->rebuilt)
		printf("The refcount structures were built anew.\n");
	if (r->corruptions_fixed || r->leaks_fixed)
		printf("Repaired: %llu leaked clusters, %llu errors.\n", r->leaks_fixed,
		       r->corruptions_fixed);
	if (r->corruptions)
		printf("%llu errors were found; data may be corrupt, do not write to the image.\n",
		       r->corruptions);
	if (r->leaks)
		printf("%llu leaked clusters were found; this wastes space and does no harm.\n",
		       r->leaks);
	if (!r->corruptions && !r->leaks)
		printf("No errors were found on the image.\n");
	printf("%llu/%llu clusters allocated, %llu fragmented, %llu compressed\n", r->allocated,
	       r->total_clusters, r->fragmented, r->compressed);
	printf("Image end offset: %llu\n", r->image_end);
}

static void print_json(const char *image, const struct qc_check_result *r)
{
	const struct {
		const char *name;
		u64 value;
	} numbers[] = {
		{ "image-end-offset", r->image_end },
		{ "total-clusters", r->total_clusters },
		{ "allocated-clusters", r->allocated },
		{ "fragmented-clusters", r->fragmented },
		{ "compressed-clusters", r->compressed },
		{ "check-errors", 0 },
		{ "corruptions", r->corruptions },
		{ "leaks", r->leaks },
		{ "corruptions-fixed", r->corruptions_fixed },
		{ "leaks-fixed", r->leaks_fixed },
	};
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "filename", json_object_new_string(image));
	json_object_object_add(object, "format", json_object_new_string("qcow2"));
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		json_object_object_add(object, numbers[i].name, cli_json_u64(numbers[i].value));
	json_object_object_add(object, "refcounts-rebuilt", json_object_new_boolean(r->rebuilt));
	cli_print_json(object);
}

static int open_image(const struct cli_call *call, unsigned int repair, struct qc_store **store,
		      struct qc_error *err)
{
	bool share = call->values[CHECK_FORCE_SHARE];
	int ret;

	if (share && repair)
		return qc_fail(err, EINVAL, "--force-share", "leave one of them out",
			       "does not go with --repair");
	ret = qc_store_open(call->arguments[0], repair ? QC_OPEN_WRITE | QC_OPEN_EXCL : 0, store,
			    err);
	if (!ret && !share)
		ret = qc_lock(*store, repair ? QC_LOCK_WRITE : QC_LOCK_READ, err);
	return ret;
}

static int run(const struct cli_call *call, struct qc_error *err)
{
	struct qc_check_options check = {
		.report = print_finding,
		.ctx = call->values[CHECK_JSON] ? stderr : stdout,
	};
	CLEANUP_HEADER struct qc_header *header = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	struct qc_check_result result;
	int ret;

	ret = parse_repair(call->values[CHECK_REPAIR], &check.repair, err);
	if (!ret)
		ret = open_image(call, check.repair, &store, err);
	if (!ret)
		ret = qc_header_read(store, &header, err);
	if (!ret)
		ret = qc_check(store, header, &check, &result, err);
	if (ret < 0)
		return ret;

	if (call->values[CHECK_JSON])
		print_json(call->arguments[0], &result);
	else
		print_text(&result);
	if (result.corruptions)
		return CLI_CHECK_CORRUPT;
	return result.leaks ? CLI_CHECK_LEAKS : CLI_OK;
}

const struct cli_command cli_check = {
	.name = "check",
	.arguments = "IMAGE",
	.help = "check a qcow2 image's metadata, and repair its refcounts",
	.min_arguments = 1,
	.max_arguments = 1,
	.usage_exit = CLI_FAILURE,	/* 2 says that the image is corrupt */
	.options = options,
	.run = run,
};
