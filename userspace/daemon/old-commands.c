// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The commands of before block-stream and the jobs, as other forms of those that there are now.
 * A device has no more than one stream into what it shows, so there is no need for names of jobs.
 */
#include "backing-name.h"
#include "export.h"
#include "job.h"
#include "old-commands.h"
#include "qapi-define.h"
#include "standing.h"
#include "stream.h"

static struct export *find_export(struct json_object *arguments, struct qmp_error *error)
{
	const char *device = qapi_get_str(arguments, "device", "");
	struct export *export = export_find(device);

	if (!export)
		qmp_fail_class(error, QMP_DEVICE_NOT_FOUND, "Device '%s' not found", device);
	return export;
}

/* --- block_stream ----------------------------------------------------------------------------- */

static bool is_stream(const struct job *job)
{
	return job->type == JOB_STREAM && job->status < JOB_CONCLUDED;
}

/* One into what the device shows, or else any. */
static const struct job *find_stream(const struct export *export)
{
	const struct job *job, *found = NULL;

	TAILQ_FOREACH(job, &job_list, link)
		if (is_stream(job) && !strcmp(job->export, export->id) &&
		    (!found || job->above == export->root.node))
			found = job;
	return found;
}

static int stop_stream(struct qmp_session *session, const struct export *export,
		       struct qmp_error *error)
{
	struct json_object *arguments;
	const struct job *job = find_stream(export);

	if (!job)
		return qmp_fail_class(error, QMP_DEVICE_NOT_ACTIVE,
				      "No active stream on device '%s'", export->id);
	arguments = json_object_new_object();
	qapi_add_str(arguments, "device", job->id);
	qapi_add_bool(arguments, "force", true);	/* also one that is paused */
	return qapi_call("block-job-cancel", session, arguments, NULL, error);
}

static int stream_all(struct qmp_session *session, const struct export *export,
		      struct qmp_error *error)
{
	struct json_object *arguments = json_object_new_object();

	qapi_add_str(arguments, "device", export->id);
	return qapi_call("block-stream", session, arguments, NULL, error);
}

/* After the last one the backing file is not needed: that is what block-stream ends with. */
static int stream_one(struct qmp_session *session, struct export *export,
		      struct json_object **result, struct qmp_error *error)
{
	struct node *top = export->root.node;
	u64 len, offset;

	if (node_size(top, &len, error) || stream_one_cluster(export, &offset, error))
		return -1;
	if (offset >= len) {
		top->streamed = 0;
		if (top->backing.node && stream_all(session, export, error))
			return -1;
	}
	*result = json_object_new_object();
	qapi_add_str(*result, "device", export->id);
	qapi_add_int(*result, "len", len);
	qapi_add_int(*result, "offset", offset);
	return 0;
}

static int run_stream(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	bool all = qapi_get_bool(arguments, "all", false);
	bool stop = qapi_get_bool(arguments, "stop", false);
	struct export *export = find_export(arguments, error);

	if (!export)
		return -1;
	if (all && stop)
		return qmp_fail(error, "'all' and 'stop' cannot be specified at the same time");
	if (stop)
		return stop_stream(session, export, error);
	return all ? stream_all(session, export, error) :
		     stream_one(session, export, result, error);
}

static int run_query(struct qmp_session *session, struct json_object *arguments,
		     struct json_object **result, struct qmp_error *error)
{
	struct job *job;

	(void)session;
	(void)arguments;
	(void)error;
	*result = json_object_new_array();
	TAILQ_FOREACH(job, &job_list, link) {
		struct json_object *info;

		if (!is_stream(job))
			continue;
		job_refresh(job);
		info = json_object_new_object();
		qapi_add_str(info, "device", job->export);
		qapi_add_int(info, "len", job->len);
		qapi_add_int(info, "offset", job->offset);
		json_object_array_add(*result, info);
	}
	return 0;
}

/* --- change ----------------------------------------------------------------------------------- */

/* Under a device in use there can only be an image that shows the same. */
static int check_target(const struct export *export, const char *target, struct qmp_error *error)
{
	struct node *root = export->root.node;
	enum qc_format format, wanted = node_format(root);
	CLEANUP_STORE struct qc_store *store = NULL;
	CLEANUP_FREE char *path = NULL;
	struct qc_header *header;
	struct qc_error err;
	int ret;

	if (standing_check_path(target, error))
		return -1;
	if (qc_store_open(target, 0, &store, &err) < 0 || qc_header_read(store, &header, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	ret = qc_chain_backing(target, header, &path, &format, &err);
	qc_header_free(header);
	if (ret < 0)
		return qmp_fail(error, "%s", err.text);
	if (!ret || !backing_name_means(target, path, node_protocol(root)))
		return qmp_fail(error, "'%s' is not backed by '%s', which device '%s' has", target,
				node_filename(root), export->id);
	if (format != wanted)
		return qmp_fail(error, "'%s' takes '%s' for %s, but it is %s", target,
				node_filename(root), qc_format_name(format),
				qc_format_name(wanted));
	return 0;
}

static int run_change(struct qmp_session *session, struct json_object *arguments,
		      struct json_object **result, struct qmp_error *error)
{
	const char *target = qapi_get_str(arguments, "target", "");
	struct export *export = find_export(arguments, error);
	struct json_object *new;

	(void)result;
	if (!export)
		return -1;
	if (qapi_get_bool(arguments, "notify", true))
		return qmp_fail(error, "Device '%s' is not removable", export->id);
	if (check_target(export, target, error))
		return -1;
	new = json_object_new_object();
	qapi_add_str(new, "device", export->id);
	qapi_add_str(new, "snapshot-file", target);
	qapi_add_str(new, "format", qapi_get_str(arguments, "arg", NULL));
	qapi_add_str(new, "mode", "existing");
	return qapi_call("blockdev-snapshot-sync", session, new, NULL, error);
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct qapi_type stream_arguments =
	OBJECT("q_obj_block_stream-arg",
	       MEMBER("device", qapi_str),
	       OPTIONAL("all", qapi_bool),
	       OPTIONAL("stop", qapi_bool));

/* Of one cluster; nothing else returns anything. */
static const struct qapi_type stream_result =
	OBJECT("BlockStreamResult",
	       OPTIONAL("device", qapi_str),
	       OPTIONAL("len", qapi_int),
	       OPTIONAL("offset", qapi_int));

static const struct qapi_type stream_info =
	OBJECT("BlockStreamInfo",
	       MEMBER("device", qapi_str),
	       MEMBER("len", qapi_int),
	       MEMBER("offset", qapi_int));
static const struct qapi_type stream_infos = ARRAY(stream_info);

static const struct qapi_type change_arguments =
	OBJECT("q_obj_change-arg",
	       MEMBER("device", qapi_str),
	       MEMBER("target", qapi_str),
	       OPTIONAL("arg", qapi_str),
	       OPTIONAL("notify", qapi_bool));

const struct qapi_command old_commands[] = {
	{ "block_stream", .arguments = &stream_arguments, .result = &stream_result,
	  .run = run_stream },
	{ "query-block-stream", .result = &stream_infos, .run = run_query },
	{ "change", .arguments = &change_arguments, .run = run_change },
	{ 0 }
};
