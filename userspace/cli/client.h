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

/* Send a request.  @request is only borrowed. */
int client_send(struct client *client, struct json_object *request, struct qc_error *err);

/*
 * client_receive - the next message, an answer or an event, which the caller then owns.
 * @wait: else *@message is NULL when there is no complete one yet.
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

/* {"execute": @command}, with @arguments, which are taken over, when they are not NULL. */
struct json_object *client_request(const char *command, struct json_object *arguments);

static inline void client_cleanup(struct client **client)
{
	client_close(*client);
}

#define CLEANUP_CLIENT __attribute__((cleanup(client_cleanup)))

#endif /* QCHAIN_CLIENT_H */
