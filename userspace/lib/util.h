/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small things that every file of the library needs: the kernel's short type
 * names, big-endian access, rounding, and cleanup attributes that take the
 * place of goto ladders.
 *
 * u64 is "unsigned long long" on every architecture, so %llu and %llx print it
 * without a cast.
 */
#ifndef QCHAIN_UTIL_H
#define QCHAIN_UTIL_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT_ULL(n) (1ULL << (n))

#define QC_SECTOR_SHIFT 9
#define QC_SECTOR_SIZE 512

static inline u64 qc_div_round_up(u64 value, u64 unit)
{
	return value / unit + (value % unit != 0);
}

/* @unit is a power of two. */
static inline u64 qc_round_up(u64 value, u64 unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

static inline u32 qc_get_be32(const void *from)
{
	u32 value;

	memcpy(&value, from, sizeof(value));
	return be32toh(value);
}

static inline u64 qc_get_be64(const void *from)
{
	u64 value;

	memcpy(&value, from, sizeof(value));
	return be64toh(value);
}

static inline u16 qc_get_be16(const void *from)
{
	u16 value;

	memcpy(&value, from, sizeof(value));
	return be16toh(value);
}

static inline void qc_put_be32(void *to, u32 value)
{
	value = htobe32(value);
	memcpy(to, &value, sizeof(value));
}

static inline void qc_put_be64(void *to, u64 value)
{
	value = htobe64(value);
	memcpy(to, &value, sizeof(value));
}

/* For variables that own heap memory or a descriptor until the end of their scope. */
static inline void qc_cleanup_free(void *variable)
{
	free(*(void **)variable);
}

static inline void qc_cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define CLEANUP_FREE __attribute__((cleanup(qc_cleanup_free)))
#define CLEANUP_FD __attribute__((cleanup(qc_cleanup_fd)))

/* Take the value out of a CLEANUP_FREE variable: the caller owns it from here on. */
#define qc_steal(pointer) ({				\
	__typeof__(pointer) *variable = &(pointer);	\
	__typeof__(*variable) stolen = *variable;	\
	*variable = NULL;				\
	stolen;						\
})

#endif /* QCHAIN_UTIL_H */
