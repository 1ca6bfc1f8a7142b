/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One client's QMP session: bytes in, bytes out.  It greets, negotiates, checks and runs commands
 * in the order in which they come, and queues their answers and events.  It knows nothing
 * about sockets; monitor.c moves the bytes.
 *
 * Memory has a bound.  No command is run while more than QMP_OUTPUT_LOW bytes wait to be sent, so a
 * client that asks and does not read waits for itself; one that lets QMP_OUTPUT_HIGH bytes of
 * events pile up is lost and must be cut off.
 *
 * No command supports out-of-band execution: all are run at once, so that there would be nothing to
 * overtake.
 */
#ifndef QCHAIN_SESSION_H
#define QCHAIN_SESSION_H

#include "qapi.h"

#define QMP_REQUEST_MAX (1U << 20)
#define QMP_OUTPUT_LOW (64U << 10)
#define QMP_OUTPUT_HIGH (4U << 20)
#define QMP_TURN 16		/* requests, after which other clients have theirs */

/*
 * @wake is called with @context when there is output that was not caused by qmp_session_feed().
 * It must not feed or free any session.  @pretty: output for people.
 */
struct qmp_session *qmp_session_new(bool pretty, void (*wake)(void *context), void *context);
void qmp_session_free(struct qmp_session *session);

/*
 * How many bytes @data begins with that were taken: fewer than @len when output waits, the turn is
 * over, or the daemon quits.
 */
size_t qmp_session_feed(struct qmp_session *session, const char *data, size_t len);

/* What is to be sent, and to say that the first @len bytes of it were.  NULL: nothing. */
const char *qmp_session_output(const struct qmp_session *session, size_t *len);
void qmp_session_sent(struct qmp_session *session, size_t len);

/* Would qmp_session_feed() take something? */
bool qmp_session_wants_input(const struct qmp_session *session);

/* Has the client not read for so long that it must be cut off? */
bool qmp_session_lost(const struct qmp_session *session);

/* Of qmp_capabilities: has it been done, and do it. */
bool qmp_session_negotiated(const struct qmp_session *session);
void qmp_session_negotiate(struct qmp_session *session, bool oob);

#endif /* QCHAIN_SESSION_H */
