// SPDX-License-Identifier: GPL-2.0-or-later
/* --monitor. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "chardev.h"
#include "keyval.h"
#include "log.h"
#include "monitor.h"
#include "qapi-define.h"
#include "session.h"
#include "util.h"

#define INPUT_ROOM 16384
#define ACCEPT_PAUSE_USEC 1000000	/* when descriptors or memory are short */
#define FAREWELL_MSEC 1000

struct monitor {
	struct monitor *next;
	const struct server_socket *socket;
	bool pretty;
	gid_t group;
	sd_event_source *source;
	sd_event_source *retry;		/* of accepting */
};

struct client {
	struct client *next, **link;
	int fd;
	struct qmp_session *session;
	sd_event_source *source;
	sd_event_source *turn;		/* when there is something to do without the socket */
	bool ended;			/* nothing more will come */
	size_t head, tail;		/* of what is not yet fed to the session */
	char input[INPUT_ROOM];
};

static struct monitor *monitors;
static struct client *clients;
static size_t nb_clients;

static const struct qapi_type monitor_mode = ENUM("MonitorMode", "readline", "control");
static const struct qapi_type options =
	OBJECT("MonitorOptions",
	       OPTIONAL("id", qapi_str),
	       OPTIONAL("mode", monitor_mode),
	       OPTIONAL("pretty", qapi_bool),
	       MEMBER("chardev", qapi_str),
	       OPTIONAL("allowed-group", qapi_str));

/* Accept on all monitors, or on none. */
static void set_accepting(bool on)
{
	for (struct monitor *m = monitors; m; m = m->next)
		sd_event_source_set_enabled(m->source, on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void disconnect(struct client *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	sd_event_source_disable_unref(c->source);
	sd_event_source_disable_unref(c->turn);
	qmp_session_free(c->session);
	close(c->fd);
	free(c);
	if (nb_clients-- == MONITOR_CLIENTS)
		set_accepting(true);
	log_line(LOG_DEBUG, "a client has left, %zu are connected", nb_clients);
}

/* Returns false when the client is gone. */
static bool write_output(struct client *c)
{
	const char *data;
	ssize_t sent;
	size_t len;

	while ((data = qmp_session_output(c->session, &len))) {
		sent = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN;
		qmp_session_sent(c->session, sent);
	}
	return true;
}

static bool read_input(struct client *c)
{
	ssize_t len = recv(c->fd, c->input, sizeof(c->input), MSG_DONTWAIT);

	if (len < 0)
		return errno == EAGAIN || errno == EINTR;
	c->ended = !len;
	c->head = 0;
	c->tail = len;
	return true;
}

/* Do one turn of what can be done, and arrange for what remains. */
static void serve(struct client *c, bool readable)
{
	uint32_t events = 0;
	size_t waiting;

	if (qmp_session_lost(c->session)) {
		log_line(LOG_WARNING, "a client that does not read its events was cut off");
		disconnect(c);
		return;
	}
	if (readable && c->head == c->tail && !c->ended &&
	    qmp_session_wants_input(c->session) && !read_input(c)) {
		disconnect(c);
		return;
	}
	c->head += qmp_session_feed(c->session, c->input + c->head, c->tail - c->head);
	if (!write_output(c) || (c->ended && c->head == c->tail &&
				 !qmp_session_output(c->session, &waiting))) {
		disconnect(c);
		return;
	}
	if (qmp_session_output(c->session, &waiting))
		events |= EPOLLOUT;
	if (qmp_session_wants_input(c->session)) {
		if (c->head < c->tail)
			sd_event_source_set_enabled(c->turn, SD_EVENT_ONESHOT);
		else if (!c->ended)
			events |= EPOLLIN;
	}
	sd_event_source_set_io_events(c->source, events);
}

static int on_socket(sd_event_source *source, int fd, uint32_t events, void *context)
{
	(void)source;
	(void)fd;
	serve(context, events & (EPOLLIN | EPOLLHUP | EPOLLERR));
	return 0;
}

static int on_turn(sd_event_source *source, void *context)
{
	(void)source;
	serve(context, false);
	return 0;
}

static void wake(void *context)
{
	struct client *c = context;

	sd_event_source_set_enabled(c->turn, SD_EVENT_ONESHOT);
}

static int connect_client(struct monitor *m, int fd)
{
	struct sd_event *loop = sd_event_source_get_event(m->source);
	struct client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->fd = fd;
	ret = sd_event_add_io(loop, &c->source, fd, EPOLLIN | EPOLLOUT, on_socket, c);
	if (ret >= 0)
		ret = sd_event_add_defer(loop, &c->turn, on_turn, c);
	if (ret >= 0)
		ret = sd_event_source_set_enabled(c->turn, SD_EVENT_OFF);
	if (ret < 0) {
		sd_event_source_disable_unref(c->source);
		sd_event_source_disable_unref(c->turn);
		free(c);
		return ret;
	}
	c->session = qmp_session_new(m->pretty, wake, c);
	c->link = &clients;
	c->next = clients;
	if (clients)
		clients->link = &c->next;
	clients = c;
	if (++nb_clients == MONITOR_CLIENTS)
		set_accepting(false);
	log_line(LOG_DEBUG, "a client has come, %zu are connected", nb_clients);
	return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *context)
{
	struct monitor *m = context;

	(void)source;
	(void)usec;
	if (nb_clients < MONITOR_CLIENTS)
		sd_event_source_set_enabled(m->source, SD_EVENT_ON);
	return 0;
}

/* What keeps a client from being accepted does not go away by trying at once. */
static void pause_accepting(struct monitor *m, int code)
{
	log_line(LOG_WARNING, "a client cannot be accepted now: %s", strerror(code));
	sd_event_source_set_enabled(m->source, SD_EVENT_OFF);
	sd_event_source_set_time_relative(m->retry, ACCEPT_PAUSE_USEC);
	sd_event_source_set_enabled(m->retry, SD_EVENT_ONESHOT);
}

static int on_connection(sd_event_source *source, int listening, uint32_t events, void *context)
{
	struct monitor *m = context;
	int fd, ret;

	(void)source;
	(void)events;
	fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			pause_accepting(m, errno);
		return 0;
	}
	if (!socket_peer_allowed(fd, m->group)) {
		close(fd);
		return 0;
	}
	ret = connect_client(m, fd);
	if (ret < 0) {
		close(fd);
		pause_accepting(m, -ret);
	}
	return 0;
}

static int find_group(const char *name, gid_t *group, struct qmp_error *error)
{
	struct group *entry = getgrnam(name);

	if (!entry)
		return qmp_fail(error, "There is no group '%s'", name);
	*group = entry->gr_gid;
	return 0;
}

static int start(struct monitor *m, struct sd_event *loop, struct qmp_error *error)
{
	int ret = sd_event_add_io(loop, &m->source, m->socket->fd, EPOLLIN, on_connection, m);

	if (ret >= 0)
		ret = sd_event_add_time_relative(loop, &m->retry, CLOCK_MONOTONIC, 0, 0, on_retry,
						 m);
	if (ret >= 0)
		ret = sd_event_source_set_enabled(m->retry, SD_EVENT_OFF);
	return ret < 0 ? qmp_fail(error, "Cannot wait for clients: %s", strerror(-ret)) : 0;
}

static void free_monitor(struct monitor *m)
{
	sd_event_source_disable_unref(m->source);
	sd_event_source_disable_unref(m->retry);
	free(m);
}

static int set_up(struct monitor *m, struct sd_event *loop, struct json_object *arguments,
		  struct qmp_error *error)
{
	const char *group = qapi_get_str(arguments, "allowed-group", NULL);

	if (strcmp(qapi_get_str(arguments, "mode", "control"), "control"))
		return qmp_fail(error, "Only monitors with 'mode=control' are supported");
	m->pretty = qapi_get_bool(arguments, "pretty", false);
	m->group = -1;
	if (group && find_group(group, &m->group, error))
		return -1;
	m->socket = chardev_claim(qapi_get_str(arguments, "chardev", ""), error);
	if (!m->socket || (group && socket_allow_group(m->socket, m->group, error)))
		return -1;
	return start(m, loop, error);
}

int monitor_add(struct sd_event *loop, const char *option, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *arguments = NULL;
	struct monitor *m;

	if (keyval_parse(option, "chardev", &options, &arguments, error))
		return -1;
	m = calloc(1, sizeof(*m));
	if (!m)
		abort();
	if (set_up(m, loop, arguments, error)) {
		free_monitor(m);
		return -1;
	}
	m->next = monitors;
	monitors = m;
	return 0;
}

static int now_msec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec % 1000000 * 1000 + now.tv_nsec / 1000000;
}

/* Wait until the client takes more, or @until. */
static bool wait_writable(const struct client *c, int until)
{
	struct pollfd poll_fd = { .fd = c->fd, .events = POLLOUT };
	int left = until - now_msec();

	return left > 0 && poll(&poll_fd, 1, left) > 0;
}

void monitor_close_all(void)
{
	int until = now_msec() + FAREWELL_MSEC;
	size_t len;

	set_accepting(false);
	while (clients) {
		while (write_output(clients) && qmp_session_output(clients->session, &len))
			if (!wait_writable(clients, until))
				break;
		disconnect(clients);
	}
	while (monitors) {
		struct monitor *m = monitors;

		monitors = m->next;
		free_monitor(m);
	}
}
