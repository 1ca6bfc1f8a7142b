// SPDX-License-Identifier: GPL-2.0-or-later
/* A connection to the daemon. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "client.h"
#include "json-stream.h"

#define ANSWER_MAX (256U << 20)
#define ANSWER_DEPTH 8192	/* an image is within what it is the backing file of */
#define PATIENCE_MS 200		/* between questions whether to go on waiting */
#define DEFAULT_PATH "/run/qchain/qmp.sock"

struct client {
	int fd;
	char *path;			/* for errors */
	struct json_stream *stream;
	bool (*goes_on)(void *context);	/* may be NULL */
	void *context;			/* for that */
	const char *at;			/* what of input[] has not been read */
	size_t left;
	char input[65536];
};

const char *client_path(const char *option)
{
	const char *environment = getenv("QCHAIN_SOCKET");

	return option ? option : environment && *environment ? environment : DEFAULT_PATH;
}

void client_wait_while(struct client *client, bool (*goes_on)(void *context), void *context)
{
	client->goes_on = goes_on;
	client->context = context;
}

int client_fd(const struct client *client)
{
	return client->fd;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	json_stream_free(client->stream);
	free(client->path);
	free(client);
}

static int open_socket(struct client *c, struct qc_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(c->path) >= sizeof(address.sun_path))
		return qc_fail(err, ENAMETOOLONG, c->path, NULL,
			       "this is too long for a socket's path");
	memcpy(address.sun_path, c->path, strlen(c->path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd >= 0 && !connect(c->fd, (const struct sockaddr *)&address, sizeof(address)))
		return 0;
	if (errno == ENOENT || errno == ECONNREFUSED)
		return qc_fail(err, errno, c->path, "start qchaind, or give its --socket",
			       "no daemon listens here");
	return qc_fail_errno(err, errno, c->path, "cannot connect");
}

/* The daemon's side of the protocol is broken, or this is something else. */
static int fail_protocol(const struct client *c, struct qc_error *err)
{
	return qc_fail(err, EPROTO, c->path, NULL, "this does not speak QMP");
}

static int negotiate(struct client *c, struct qc_error *err)
{
	struct json_object *greeting, *result = NULL;
	bool good;
	int ret;

	ret = client_receive(c, true, &greeting, err);
	if (ret == -EPIPE || ret == -ECONNRESET)
		return qc_fail(err, ECONNABORTED, c->path, NULL,
			       "the connection was closed before a daemon answered");
	if (ret < 0)
		return ret;
	good = qapi_has(greeting, "QMP");
	json_object_put(greeting);
	if (!good)
		return fail_protocol(c, err);
	ret = client_execute(c, "qmp_capabilities", NULL, NULL, &result, err);
	json_object_put(result);
	return ret;
}

int client_connect(const char *path, struct client **client, struct qc_error *err)
{
	CLEANUP_CLIENT struct client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return qc_fail_nomem(err, path);
	c->fd = -1;
	c->stream = json_stream_new(ANSWER_MAX, ANSWER_DEPTH);
	c->path = strdup(path);
	if (!c->path)
		return qc_fail_nomem(err, path);
	ret = open_socket(c, err);
	if (!ret)
		ret = negotiate(c, err);
	if (!ret)
		*client = qc_steal(c);
	return ret;
}

/* @request is only borrowed. */
static int send_request(struct client *c, struct json_object *request, struct qc_error *err)
{
	const char *text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	size_t len = strlen(text);

	while (len) {
		ssize_t sent = send(c->fd, text, len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return qc_fail_errno(err, errno, c->path, "cannot send");
		text += sent;
		len -= sent;
	}
	return 0;
}

/* Until there is input, or somebody has enough of that. */
static int wait_for_input(struct client *c, struct qc_error *err)
{
	struct pollfd fd = { .fd = c->fd, .events = POLLIN };

	while (c->goes_on && poll(&fd, 1, PATIENCE_MS) <= 0)
		if (!c->goes_on(c->context))
			return qc_fail(err, EINTR, c->path, NULL, "the daemon does not answer");
	return 0;
}

/* Returns 1 when there is more input, 0 when there is none yet. */
static int fill(struct client *c, bool wait, struct qc_error *err)
{
	ssize_t len;
	int ret;

	ret = wait ? wait_for_input(c, err) : 0;
	if (ret < 0)
		return ret;
	do
		len = recv(c->fd, c->input, sizeof(c->input), wait ? 0 : MSG_DONTWAIT);
	while (len < 0 && errno == EINTR);
	if (len < 0 && errno == EAGAIN)
		return 0;
	if (len < 0)
		return qc_fail_errno(err, errno, c->path, "cannot receive");
	if (!len)
		return qc_fail(err, EPIPE, c->path, NULL, "the daemon has closed the connection");
	c->at = c->input;
	c->left = len;
	return 1;
}

int client_receive(struct client *c, bool wait, struct json_object **message,
		   struct qc_error *err)
{
	struct qmp_error bad;
	int ret;

	*message = NULL;
	for (;;) {
		switch (json_stream_next(c->stream, &c->at, &c->left, message, &bad)) {
		case JSON_VALUE:
			if (json_object_is_type(*message, json_type_object))
				return 0;
			json_object_put(*message);
			*message = NULL;
			return fail_protocol(c, err);
		case JSON_BAD:
			return qc_fail(err, EPROTO, c->path, NULL, "cannot read the answer: %s",
				       bad.text);
		case JSON_NOTHING:
			ret = fill(c, wait, err);
			if (ret <= 0)
				return ret;
		}
	}
}

static int result_of(const char *command, struct json_object *answer, struct json_object **result,
		     struct qc_error *err)
{
	struct json_object *error;

	if (json_object_object_get_ex(answer, "return", result)) {
		json_object_get(*result);
		return 0;
	}
	if (!json_object_object_get_ex(answer, "error", &error))
		return qc_fail(err, EPROTO, command, NULL, "the daemon's answer is none");
	return qc_fail(err, EREMOTEIO, command, NULL, "%s",
		       qapi_get_str(error, "desc", "failed without a reason"));
}

int client_call(struct client *c, struct json_object *request,
		const struct client_listener *listener, struct json_object **result,
		struct qc_error *err)
{
	struct json_object *message;
	int ret;

	*result = NULL;
	ret = send_request(c, request, err);
	while (!ret) {
		ret = client_receive(c, true, &message, err);
		if (ret)
			break;
		if (!qapi_has(message, "event")) {
			ret = result_of(qapi_get_str(request, "execute", ""), message, result, err);
			json_object_put(message);
			break;
		}
		if (listener)
			listener->event(message, listener->context);
		json_object_put(message);
	}
	return ret;
}

int client_execute(struct client *c, const char *command, struct json_object *arguments,
		   const struct client_listener *listener, struct json_object **result,
		   struct qc_error *err)
{
	CLEANUP_JSON struct json_object *request = client_request(command, arguments);

	return client_call(c, request, listener, result, err);
}

struct json_object *client_request(const char *command, struct json_object *arguments)
{
	struct json_object *request = json_object_new_object();

	json_object_object_add(request, "execute", json_object_new_string(command));
	if (arguments)
		json_object_object_add(request, "arguments", arguments);
	return request;
}

int client_query_nodes(struct client *c, struct json_object **nodes, struct qc_error *err)
{
	struct json_object *flat = json_object_new_object();

	qapi_add_bool(flat, "flat", true);
	return client_execute(c, "query-named-block-nodes", flat, NULL, nodes, err);
}

struct json_object *client_find(struct json_object *array, const char *member, const char *value)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);

		if (!strcmp(qapi_get_str(o, member, ""), value))
			return o;
	}
	return NULL;
}
