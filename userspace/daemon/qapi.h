/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The schema: one set of tables that arguments are checked against, that commands are found in and
 * that query-qmp-schema shows.  A type, command or event that is not in the tables does
 * not exist; one that is there is both accepted and shown.
 *
 * Names, types, defaults and error texts are QAPI's.  Tables are constant and need no
 * initialisation.  Nothing here does I/O.
 */
#ifndef QCHAIN_QAPI_H
#define QCHAIN_QAPI_H

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json.h>

enum qapi_meta {
	QAPI_BUILTIN,
	QAPI_ENUM,
	QAPI_ARRAY,
	QAPI_OBJECT,		/* struct, or flat union when it has a tag */
	QAPI_ALTERNATE,
};

enum qapi_builtin {
	QAPI_STR,
	QAPI_INT,		/* all sizes, by their limits */
	QAPI_NUMBER,
	QAPI_BOOL,
	QAPI_NULL,
	QAPI_ANY,
};

struct qapi_type;

struct qapi_member {
	const char *name;	/* NULL ends a table */
	const struct qapi_type *type;
	bool optional;
	const char *const *features;	/* of the schema, such as "deprecated"; NULL: none */
};

/* What a union has besides its own members for one value of its tag; what an alternate may be. */
struct qapi_variant {
	const char *value;	/* of the tag; NULL ends a table.  In an alternate: any word */
	const struct qapi_type *type;	/* NULL: no more members */
};

struct qapi_type {
	const char *name;		/* NULL for an array: "[ELEMENT]" */
	enum qapi_meta meta;
	enum qapi_builtin builtin;
	int64_t min;			/* QAPI_INT: the least and the greatest value */
	uint64_t max;
	const char *const *values;	/* QAPI_ENUM, ends with NULL */
	const struct qapi_type *element;	/* QAPI_ARRAY */
	const struct qapi_member *members;	/* QAPI_OBJECT: with those of its base */
	const char *tag;		/* the member whose value selects a variant, or NULL */
	/* QAPI_OBJECT with a tag: values that are missing have no more members.  QAPI_ALTERNATE. */
	const struct qapi_variant *variants;
	const char *const *features;	/* ends with NULL; NULL: none */
};

/* Error classes of the protocol; all but the first exist for the commands that document them. */
enum qmp_class {
	QMP_GENERIC_ERROR,
	QMP_COMMAND_NOT_FOUND,
	QMP_DEVICE_NOT_ACTIVE,
	QMP_DEVICE_NOT_FOUND,
	QMP_KVM_MISSING_CAP,
};

#define QMP_ERROR_MAX 6400

struct qmp_error {
	enum qmp_class class;
	char text[QMP_ERROR_MAX];	/* empty while nothing failed */
};

/* The name of a class in the protocol. */
extern const char *const qmp_class_names[];

/*
 * Fill in @error and return -1, so that "return qmp_fail(...)" reads well.  What @error said before
 * is replaced; its own text may be among the arguments.  Names in it are as they are: JSON escapes
 * what would end the line, and log_line() replaces it.
 */
int qmp_fail(struct qmp_error *error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int qmp_fail_class(struct qmp_error *error, enum qmp_class class, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct qmp_session;

struct qapi_command {
	const char *name;
	const struct qapi_type *arguments;	/* QAPI_OBJECT, or NULL: none */
	const struct qapi_type *result;		/* NULL: {} */
	const char *const *features;		/* ends with NULL; NULL: none */
	/*
	 * @arguments, an object, has been checked: what is not optional is there, of the right
	 * type, and nothing else is there.  The callee sets *@result to a new object (left NULL:
	 * {}), or returns -1 with @error set, having changed nothing.  Runs in the event loop and
	 * may sleep on local I/O.  @session: who asked; NULL from the command line.
	 */
	int (*run)(struct qmp_session *session, struct json_object *arguments,
		   struct json_object **result, struct qmp_error *error);
};

struct qapi_event {
	const char *name;
	const struct qapi_type *data;		/* QAPI_OBJECT, or NULL: none */
};

/* Built-in types, by their QAPI names.  Unlike QEMU's the unsigned ones take no negative number. */
extern const struct qapi_type qapi_str, qapi_int, qapi_int32, qapi_uint8, qapi_uint16, qapi_uint32,
	qapi_int64, qapi_uint64, qapi_size, qapi_number, qapi_bool, qapi_null, qapi_any;

/* The type of what has no arguments, result or data. */
extern const struct qapi_type qapi_empty;

/*
 * The tables of each area, each ended by an entry without a name; qapi_commands[] and
 * qapi_events[] list the tables and end with NULL.  They are in tables.c, or a test's own.
 */
extern const struct qapi_command *const qapi_commands[];
extern const struct qapi_event *const qapi_events[];

/* NULL when there is none of that name. */
const struct qapi_command *qapi_find_command(const char *name);
const struct qapi_event *qapi_find_event(const char *name);

/*
 * qapi_check - is @value of @type?  Says what is wrong as QEMU does, naming the member by its
 * path ("file.filename"), or, where QEMU does, by its last part.  Returns 0 or -1.
 */
int qapi_check(const struct qapi_type *type, struct json_object *value, struct qmp_error *error);

/*
 * qapi_run - check @arguments, an object, and run the command.  As its run(), but *@result is never
 * NULL then.
 */
int qapi_run(const struct qapi_command *command, struct qmp_session *session,
	     struct json_object *arguments, struct json_object **result, struct qmp_error *error);

/*
 * qapi_call - the same for the command called @name, which there must be.
 * @arguments: taken over; NULL: none.  @result may be NULL.
 */
int qapi_call(const char *name, struct qmp_session *session, struct json_object *arguments,
	      struct json_object **result, struct qmp_error *error);

/*
 * Members of a checked object.  The default is returned when the member is not there, and for
 * qapi_get_str() also when it is null.  What is more than INT64_MAX is returned as that.
 */
const char *qapi_get_str(struct json_object *object, const char *member, const char *otherwise);
int64_t qapi_get_int(struct json_object *object, const char *member, int64_t otherwise);
bool qapi_get_bool(struct json_object *object, const char *member, bool otherwise);
bool qapi_has(struct json_object *object, const char *member);

/* Give an object a member, which it has not yet; a string that is NULL is left out. */
static inline void qapi_add_str(struct json_object *object, const char *member, const char *value)
{
	if (value)
		json_object_object_add(object, member, json_object_new_string(value));
}

static inline void qapi_add_int(struct json_object *object, const char *member, uint64_t value)
{
	json_object_object_add(object, member, json_object_new_uint64(value));
}

static inline void qapi_add_bool(struct json_object *object, const char *member, bool value)
{
	json_object_object_add(object, member, json_object_new_boolean(value));
}

/* What query-qmp-schema answers: an array of SchemaInfo over everything the tables name. */
struct json_object *qapi_introspect(void);

/* For a reference to a JSON value that is dropped at the end of its scope. */
static inline void qapi_put_json(struct json_object **value)
{
	json_object_put(*value);
}

#define CLEANUP_JSON __attribute__((cleanup(qapi_put_json)))

/*
 * Send an event of the tables to every session that has finished negotiation.  Takes @data over
 * (NULL: none).
 */
void qmp_emit(const char *event, struct json_object *data);

#endif /* QCHAIN_QAPI_H */
