/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's schema, as completion needs it. */
#ifndef QCHAIN_SCHEMA_H
#define QCHAIN_SCHEMA_H

#include "client.h"

struct schema;

int schema_fetch(struct client *client, struct schema **schema, struct qc_error *err);
void schema_free(struct schema *schema);

/* Call @found with each command's name. */
void schema_commands(const struct schema *schema,
		     void (*found)(const char *word, void *context), void *context);

/*
 * Call @found with each key that @command may have, "key=", below the dotted @prefix, which is
 * empty or ends with a dot.  Members of all variants of a union are among them.
 */
void schema_keys(const struct schema *schema, const char *command, const char *prefix,
		 void (*found)(const char *word, void *context), void *context);

/* Call @found with each value that the dotted @key may have, as far as they can be listed. */
void schema_values(const struct schema *schema, const char *command, const char *key,
		   void (*found)(const char *word, void *context), void *context);

#endif /* QCHAIN_SCHEMA_H */
