// SPDX-License-Identifier: GPL-2.0-or-later
/* Attach and detach as clients of the daemon. */
#include <ctype.h>
#include <errno.h>
#include <time.h>

#include "attach-daemon.h"
#include "qapi.h"
#include "table.h"

#define PREFIX "attached-"
#define PATIENCE 10	/* seconds that a daemon has for its answer when a signal has come */

/* FNV-1a */
static u32 hash(const char *text)
{
	u32 value = 2166136261U;

	for (; *text; text++)
		value = (value ^ (unsigned char)*text) * 16777619U;
	return value;
}

void attached_node_name(const char *device, char node[ATTACHED_NODE_ROOM])
{
	const int digits = 8, room = ATTACHED_NODE_ROOM - 1 - strlen(PREFIX);

	if (strlen(device) <= (size_t)room)
		snprintf(node, ATTACHED_NODE_ROOM, PREFIX "%s", device);
	else
		snprintf(node, ATTACHED_NODE_ROOM, PREFIX "%.*s-%08x", room - digits - 1, device,
			 hash(device));
}

/* Names of devices may have more characters than IDs. */
static int check_id(const char *name, struct qc_error *err)
{
	const char *at = name;

	while (isalnum((unsigned char)*at) || (*at && strchr("-._", *at)))
		at++;
	if (!*at && isalpha((unsigned char)*name))
		return 0;
	return qc_fail(err, EINVAL, name, "choose another with --name, or use --no-daemon",
		       "the daemon takes only letters, digits, '-', '.' and '_', a letter first");
}

/* --- talking to the daemon -------------------------------------------------------------------- */

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Where a signal is held back, an answer that does not come must not hold it for ever. */
static bool patient(void *context)
{
	time_t *since = context;

	if (!cli_signal_pending(NULL))
		return true;
	if (!*since)
		*since = now();
	return now() - *since < PATIENCE;
}

/* Run a command with @arguments, which are taken over.  A refusal is said of @object. */
static int execute(struct client *client, const char *command, struct json_object *arguments,
		   const char *object, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *result = NULL;
	struct qc_error cause = { 0 };
	int ret = client_execute(client, command, arguments, NULL, &result, &cause);

	if (ret == -EREMOTEIO)
		return qc_fail(err, EREMOTEIO, object, NULL, "%s",
			       cause.text + strlen(command) + strlen(": "));
	if (ret < 0 && err)
		*err = cause;
	return ret;
}

static struct json_object *argument(const char *name, const char *value)
{
	struct json_object *arguments = json_object_new_object();

	qapi_add_str(arguments, name, value);
	return arguments;
}

static int delete_node(struct client *client, const char *node, const char *object,
		       struct qc_error *err)
{
	return execute(client, "blockdev-del", argument("node-name", node), object, err);
}

static int delete_export(struct client *client, const char *id, const char *object,
			 struct qc_error *err)
{
	return execute(client, "block-export-del", argument("id", id), object, err);
}

/* Returns 1 when there is such a node, 0 when there is none. */
static int has_node(struct client *client, const char *node, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *nodes = NULL;
	int ret = client_query_nodes(client, &nodes, err);

	return ret < 0 ? ret : !!client_find(nodes, "node-name", node);
}

/* The ID of the export that is the device, a new string; NULL when none is. */
static int find_export(struct client *client, const char *device, char **id, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *exports = NULL;
	struct json_object *export;
	int ret;

	*id = NULL;
	ret = client_execute(client, "query-block-exports", NULL, NULL, &exports, err);
	if (ret < 0)
		return ret;
	export = client_find(exports, "name", device);
	if (!export)
		return 0;
	*id = strdup(qapi_get_str(export, "id", ""));
	return *id ? 0 : qc_fail_nomem(err, device);
}

/* --- attach ----------------------------------------------------------------------------------- */

/* What an attach that was killed left, a node that is part of nothing, goes away here. */
static int remove_stale(struct client *client, const char *node, const char *device,
			struct qc_error *err)
{
	CLEANUP_FREE char *id = NULL;
	int ret;

	ret = find_export(client, device, &id, err);
	if (ret < 0 || id)
		return ret;	/* the name is in use; that is said later */
	ret = has_node(client, node, err);
	return ret <= 0 ? ret : delete_node(client, node, device, err);
}

/* A conflict with the daemon's own nodes is easier to resolve with the name of one. */
static void explain_busy(struct client *client, const char *image, struct qc_error *err)
{
	CLEANUP_JSON struct json_object *nodes = NULL;
	CLEANUP_STORE struct qc_store *store = NULL;
	CLEANUP_FREE char *user = NULL;

	if (qc_store_open(image, 0, &store, NULL) < 0)
		return;
	/* That has been explained. */
	user = qc_find_user(store);
	if (user || client_query_nodes(client, &nodes, NULL) < 0)
		return;
	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *file = qapi_get_str(node, "file", "");

		/* Other names are relative to where the daemon is. */
		if (*file != '/' || !qc_store_is_at(store, file))
			continue;
		qc_fail(err, EBUSY, image,
			"remove what uses it there, see: qchain qmp query-named-block-nodes",
			"is in use by the daemon's node '%s'",
			qapi_get_str(node, "node-name", ""));
		return;
	}
}

static struct json_object *node_options(const char *node, const char *path,
					const struct qc_attach_facts *facts,
					const struct qc_attach_options *options)
{
	struct json_object *o = json_object_new_object();
	struct json_object *file = json_object_new_object();
	bool keep = options->table_flags & QC_TABLE_NO_DISCARD_PASSDOWN;

	qapi_add_str(file, "driver", facts->is_bdev ? "host_device" : "file");
	qapi_add_str(file, "filename", path);
	qapi_add_str(o, "driver", qc_format_name(facts->format));
	qapi_add_str(o, "node-name", node);
	qapi_add_bool(o, "read-only", options->read_only);
	qapi_add_str(o, "discard", keep ? "ignore" : "unmap");
	json_object_object_add(o, "file", file);
	return o;
}

static struct json_object *export_options(const char *node, const struct qc_attach_options *options)
{
	struct json_object *o = json_object_new_object();

	qapi_add_str(o, "type", "dm");
	qapi_add_str(o, "id", options->name);
	qapi_add_str(o, "name", options->name);
	qapi_add_str(o, "node-name", node);
	qapi_add_bool(o, "writable", !options->read_only);
	return o;
}

static int interrupted(const char *name, struct qc_error *err)
{
	return qc_fail(err, ECANCELED, name, NULL, "interrupted");
}

/* Both or nothing. */
static int add_both(struct client *client, const char *path, const struct qc_attach_facts *facts,
		    const struct qc_attach_options *options, struct qc_error *err)
{
	char node[ATTACHED_NODE_ROOM];
	int ret;

	attached_node_name(options->name, node);
	ret = execute(client, "blockdev-add", node_options(node, path, facts, options), path, err);
	if (ret < 0)
		return ret;
	ret = cli_signal_pending(NULL) ? interrupted(options->name, err) :
	      execute(client, "block-export-add", export_options(node, options), path, err);
	if (!ret && cli_signal_pending(NULL)) {
		delete_export(client, options->name, path, NULL);
		ret = interrupted(options->name, err);
	}
	if (ret == -EREMOTEIO || ret == -ECANCELED)
		delete_node(client, node, path, NULL);
	return ret;
}

/* What changes something is not cut short, unless the daemon does not answer. */
static void hold_signals(struct client *client, time_t *since)
{
	*since = 0;
	cli_hold_signals(NULL);
	client_wait_while(client, patient, since);
}

static void tell_unanswered(const char *name)
{
	cli_warn(name, "the daemon does not answer, and may do it later; see: qchain tree");
}

int attach_by_daemon(struct client *client, const char *image,
		     const struct qc_attach_options *options, struct qc_error *err)
{
	CLEANUP_FREE char *path = qc_absolute_name(image);
	char node[ATTACHED_NODE_ROOM];
	struct qc_attach_facts facts;
	CLEANUP_FD int serial = -1;
	time_t since;
	int ret;

	if (!path)
		return qc_fail_nomem(err, image);
	if (options->table_flags & QC_TABLE_ERROR_IF_NO_SPACE)
		return qc_fail(err, ENOTSUP, "--error-if-no-space",
			       "leave it out, or use --no-daemon",
			       "the daemon's devices wait for room instead");
	ret = qc_dm_check_name(options->name, err);
	if (!ret)
		ret = check_id(options->name, err);
	if (!ret)
		ret = qc_dm_serialise_clients(&serial, err);
	if (ret < 0)
		return ret;
	attached_node_name(options->name, node);
	ret = remove_stale(client, node, options->name, err);
	if (ret < 0)
		return ret;
	/* A repair takes long, and the daemon could do nothing else meanwhile. */
	ret = qc_attach_prepare(image, options, &facts, err);
	if (ret == -EBUSY && err)
		explain_busy(client, image, err);
	if (ret < 0)
		return ret;
	hold_signals(client, &since);
	ret = add_both(client, path, &facts, options, err);
	if (ret == -EINTR)
		tell_unanswered(options->name);
	return ret;
}

/* --- detach ----------------------------------------------------------------------------------- */

/* The node is the daemon's as long as something else uses it there. */
static int remove_node(struct client *client, const char *node, const char *device,
		       struct qc_error *err)
{
	struct qc_error cause;
	int ret;

	ret = has_node(client, node, err);
	if (ret <= 0)
		return ret;
	ret = delete_node(client, node, device, &cause);
	if (ret == -EREMOTEIO) {
		fprintf(stderr, "qchain: %s; the daemon keeps the node\n", cause.text);
		return 0;
	}
	if (ret < 0)
		*err = cause;
	return ret;
}

static int remove_both(struct client *client, const char *id, const char *node, const char *device,
		       struct qc_error *err)
{
	struct qc_error ignored;
	int ret, removed;
	char *left;

	ret = delete_export(client, id, device, err);
	if (ret == -EREMOTEIO) {
		/* Gone all the same where not everything could be written. */
		if (find_export(client, device, &left, &ignored) < 0)
			return ret;
		if (left) {
			free(left);
			return ret;
		}
	} else if (ret < 0) {
		return ret;
	}
	removed = remove_node(client, node, device, ret ? &ignored : err);
	return ret ? ret : removed;
}

int detach_by_daemon(struct client *client, const char *name, struct qc_error *err)
{
	char node[ATTACHED_NODE_ROOM];
	CLEANUP_FREE char *id = NULL;
	CLEANUP_FD int serial = -1;
	time_t since;
	int ret;

	attached_node_name(name, node);
	ret = qc_dm_serialise_clients(&serial, err);
	if (!ret)
		ret = find_export(client, name, &id, err);
	if (ret < 0)
		return ret;
	hold_signals(client, &since);
	/* Without a device there may be a node, of an attach or a detach that was killed. */
	ret = id ? remove_both(client, id, node, name, err) :
		   remove_node(client, node, name, err);
	if (ret == -EINTR)
		tell_unanswered(name);
	return ret < 0 ? ret : !!id;
}
