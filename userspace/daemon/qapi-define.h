/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Short forms for the tables of types:
 *
 *	static const struct qapi_type mode = ENUM("NewImageMode", "existing", "absolute-paths");
 *	static const struct qapi_type modes = ARRAY(mode);
 *	static const struct qapi_type arguments =
 *		OBJECT("q_obj_thing-arg",
 *		       MEMBER("name", qapi_str),
 *		       OPTIONAL("mode", mode));
 */
#ifndef QCHAIN_QAPI_DEFINE_H
#define QCHAIN_QAPI_DEFINE_H

#include "qapi.h"

#define MEMBER(member, of) { .name = member, .type = &(of) }
#define OPTIONAL(member, of) { .name = member, .type = &(of), .optional = true }

/* Names of features, as for .features. */
#define FEATURES(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Initialisers of types. */
#define OBJECT(type_name, ...) {						\
	.name = type_name,							\
	.meta = QAPI_OBJECT,							\
	.members = (const struct qapi_member[]){ __VA_ARGS__, { 0 } },		\
}

#define ENUM(type_name, ...) {							\
	.name = type_name,							\
	.meta = QAPI_ENUM,							\
	.values = (const char *const[]){ __VA_ARGS__, NULL },			\
}

#define ARRAY(of) { .meta = QAPI_ARRAY, .element = &(of) }

#endif /* QCHAIN_QAPI_DEFINE_H */
