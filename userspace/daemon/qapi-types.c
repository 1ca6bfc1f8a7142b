// SPDX-License-Identifier: GPL-2.0-or-later
/* The built-in types of the schema. */
#include <stdint.h>

#include "qapi.h"

#define INTEGER(type_name, least, greatest) {					\
	.name = type_name,							\
	.meta = QAPI_BUILTIN,							\
	.builtin = QAPI_INT,							\
	.min = least,								\
	.max = greatest,							\
}

const struct qapi_type qapi_str = { .name = "str", .builtin = QAPI_STR };
const struct qapi_type qapi_int = INTEGER("int", INT64_MIN, INT64_MAX);
const struct qapi_type qapi_int32 = INTEGER("int32", INT32_MIN, INT32_MAX);
const struct qapi_type qapi_int64 = INTEGER("int64", INT64_MIN, INT64_MAX);
const struct qapi_type qapi_uint8 = INTEGER("uint8", 0, UINT8_MAX);
const struct qapi_type qapi_uint16 = INTEGER("uint16", 0, UINT16_MAX);
const struct qapi_type qapi_uint32 = INTEGER("uint32", 0, UINT32_MAX);
const struct qapi_type qapi_uint64 = INTEGER("uint64", 0, UINT64_MAX);
const struct qapi_type qapi_size = INTEGER("size", 0, UINT64_MAX);
const struct qapi_type qapi_number = { .name = "number", .builtin = QAPI_NUMBER };
const struct qapi_type qapi_bool = { .name = "bool", .builtin = QAPI_BOOL };
const struct qapi_type qapi_null = { .name = "null", .builtin = QAPI_NULL };
const struct qapi_type qapi_any = { .name = "any", .builtin = QAPI_ANY };

const struct qapi_type qapi_empty = { .name = "q_empty", .meta = QAPI_OBJECT };
