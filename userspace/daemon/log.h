/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's log: lines on stderr, which systemd takes to the journal with their level. */
#ifndef QCHAIN_LOG_H
#define QCHAIN_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* --log-level: error, warning, info or debug.  False when @name is none of them. */
bool log_set_level(const char *name);

/* One line; control characters become '?'.  @level: LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG. */
void log_line(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif /* QCHAIN_LOG_H */
