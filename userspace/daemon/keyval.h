/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arguments of options as QEMU takes them: JSON, when the first character is '{', or
 *
 *	node-name=a,driver=qcow2,file.driver=file,file.filename=a,,b.qcow2,list.0=x,list.1=y
 *
 * Dots make objects, and arrays where a part of the key is a number; a comma in a value is doubled;
 * the last of several values for one key counts.  In this form numbers, sizes (with the suffixes B,
 * K, M, G, T, P, E) and booleans ("on", "off") are recognised by the type.
 */
#ifndef QCHAIN_KEYVAL_H
#define QCHAIN_KEYVAL_H

#include "qapi.h"

/*
 * keyval_parse - what is behind an option, as an object of type @type.
 * @implied: the key that the first value may come without, or NULL.
 * Returns 0, or -1 with @error set as QEMU says it.  The object has been checked.
 */
int keyval_parse(const char *text, const char *implied, const struct qapi_type *type,
		 struct json_object **object, struct qmp_error *error);

/*
 * keyval_put - one value into a tree of objects, by its dotted key.
 * @value: taken over, also on failure.  keyval_finish() makes arrays in the end.  Both return 0, or
 * -1 with @error.
 */
int keyval_put(struct json_object *root, const char *key, struct json_object *value,
	       struct qmp_error *error);
int keyval_finish(struct json_object **root, struct qmp_error *error);

#endif /* QCHAIN_KEYVAL_H */
