/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For those who walk a value and its type together: where they are, and what comes next. */
#ifndef QCHAIN_QAPI_WALK_H
#define QCHAIN_QAPI_WALK_H

#include "qapi.h"

/* Where in a whole a value is. */
struct qapi_place {
	const struct qapi_place *up;	/* NULL: the whole */
	const char *name;		/* NULL: an element of an array */
	size_t index;
};

#define QAPI_PATH_ROOM 1024

struct qapi_path {
	char text[QAPI_PATH_ROOM];
};

/* "actions[0].data.node", in @path; one that is too long loses its beginning. */
const char *qapi_path_of(const struct qapi_place *place, struct qapi_path *path);

/* The type of the other members that a union's object has by its tag; NULL when there are none. */
const struct qapi_type *qapi_variant_of(const struct qapi_type *type, struct json_object *object);

/* The type that a value of JSON's @json is of in an alternate; NULL when it cannot be. */
const struct qapi_type *qapi_choice_of(const struct qapi_type *alternate, json_type json);

#endif /* QCHAIN_QAPI_WALK_H */
