/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection to the daemon that has finished negotiation. */
#ifndef QCHAIN_CLIENT_H
#define QCHAIN_CLIENT_H

#include "cli.h"

struct client;

/* Where the daemon is: @option, else $QCHAIN_SOCKET, else /run/qchain/qmp.sock. */
const char *client_path(const char *option);

/*
 * Connect and negotiate.  Returns 0 or a negative errno.  -ENOENT, -ECONNREFUSED: there is no
 * daemon.  -ECONNABORTED: one that ends, or a service manager without one, dropped the connection.
 */
int client_connect(const char *path, struct client **client, struct qc_error *err);
void client_close(struct client *client);

/*
 * Ask @goes_on some times a second while something is waited for: when that is false the wait ends
 * with -EINTR, and the connection is good for nothing but to be closed.
 */
void client_wait_while(struct client *client, bool (*goes_on)(void *context), void *context);

/* To wait for messages with poll(). */
int client_fd(const struct client *client);

/*
 * client_receive - the next message, an answer or an event, which the caller then owns.
 * @wait: else *@message is NULL when there is no complete one yet.
 * Returns 0, or a negative errno: -EPIPE or -ECONNRESET when the daemon is gone, -EPROTO for what
 * is not the protocol, -EINTR as client_wait_while() says.
 */
int client_receive(struct client *client, bool wait, struct json_object **message,
		   struct qc_error *err);

/* Whom to tell of an event, which is only lent. */
struct client_listener {
	void (*event)(struct json_object *event, void *context);
	void *context;
};

/*
 * client_call - run a command and wait for its answer.
 * @listener: of the events that come before that; NULL: they are dropped.
 * *@result is what it returned, which the caller then owns.  -EREMOTEIO when the daemon refused:
 * @err has the command and the daemon's words.
 */
int client_call(struct client *client, struct json_object *request,
		const struct client_listener *listener, struct json_object **result,
		struct qc_error *err);

/* The same with a request that is made of @command and @arguments, see client_request(). */
int client_execute(struct client *client, const char *command, struct json_object *arguments,
		   const struct client_listener *listener, struct json_object **result,
		   struct qc_error *err);

/* All nodes, as query-named-block-nodes has them, each without what is below it. */
int client_query_nodes(struct client *client, struct json_object **nodes, struct qc_error *err);

/* The element of @array, of objects, whose @member is @value; NULL when there is none. */
struct json_object *client_find(struct json_object *array, const char *member, const char *value);

/* {"execute": @command}, with @arguments, which are taken over, when they are not NULL. */
struct json_object *client_request(const char *command, struct json_object *arguments);

static inline void client_cleanup(struct client **client)
{
	client_close(*client);
}

#define CLEANUP_CLIENT __attribute__((cleanup(client_cleanup)))

#endif /* QCHAIN_CLIENT_H */
