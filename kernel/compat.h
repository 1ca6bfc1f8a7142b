/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that the module builds for (6.1 and later).
 * Everything else is written for the newest of them, without version checks.
 */
#ifndef QCHAIN_COMPAT_H
#define QCHAIN_COMPAT_H

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/version.h>

/*
 * IOCB_DIO_CALLER_COMP (6.6): the file system may leave the end of a direct write to the
 * issuer, instead of taking a work queue of its own for it.
 */
#ifdef IOCB_DIO_CALLER_COMP
static inline void qc_iocb_allow_caller_comp(struct kiocb *iocb)
{
	iocb->ki_flags |= IOCB_DIO_CALLER_COMP;
	iocb->dio_complete = NULL;
}

static inline bool qc_iocb_needs_caller_comp(const struct kiocb *iocb)
{
	return (iocb->ki_flags & IOCB_DIO_CALLER_COMP) && iocb->dio_complete;
}

/* Task context.  Returns what ki_complete() would have got. */
static inline long qc_iocb_caller_comp(struct kiocb *iocb)
{
	return iocb->dio_complete(iocb->private);
}
#else
static inline void qc_iocb_allow_caller_comp(struct kiocb *iocb)
{
}

static inline bool qc_iocb_needs_caller_comp(const struct kiocb *iocb)
{
	return false;
}

static inline long qc_iocb_caller_comp(struct kiocb *iocb)
{
	return -EIO;
}
#endif

/* An SRCU section that ends in another context than it began in (srcu_down_read() since 6.2). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
static inline int qc_in_flight_enter(struct srcu_struct *srcu)
{
	int token = __srcu_read_lock(srcu);

	__release(srcu);	/* the section does not end in this function */
	return token;
}

static inline void qc_in_flight_leave(struct srcu_struct *srcu, int token)
{
	__acquire(srcu);
	__srcu_read_unlock(srcu, token);
}
#else
static inline int qc_in_flight_enter(struct srcu_struct *srcu)
{
	int token = srcu_down_read(srcu);

	__release(srcu);	/* the section does not end in this function */
	return token;
}

static inline void qc_in_flight_leave(struct srcu_struct *srcu, int token)
{
	__acquire(srcu);
	srcu_up_read(srcu, token);
}
#endif

typedef unsigned long (*qc_shrink_fn)(struct shrinker *s, struct shrink_control *sc);

/* Shrinkers are allocated by the kernel since 6.7. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static inline struct shrinker *qc_shrinker_register(const char *name, qc_shrink_fn count,
						    qc_shrink_fn scan)
{
	struct shrinker *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	s->count_objects = count;
	s->scan_objects = scan;
	s->seeks = DEFAULT_SEEKS;
	if (register_shrinker(s, "%s", name)) {
		kfree(s);
		return NULL;
	}
	return s;
}

static inline void qc_shrinker_unregister(struct shrinker *s)
{
	unregister_shrinker(s);
	kfree(s);
}
#else
static inline struct shrinker *qc_shrinker_register(const char *name, qc_shrink_fn count,
						    qc_shrink_fn scan)
{
	struct shrinker *s = shrinker_alloc(0, "%s", name);

	if (!s)
		return NULL;
	s->count_objects = count;
	s->scan_objects = scan;
	shrinker_register(s);
	return s;
}

static inline void qc_shrinker_unregister(struct shrinker *s)
{
	shrinker_free(s);
}
#endif

/* Modes of block devices have a type of their own since 6.5. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define QC_BLK_READ	FMODE_READ
#define QC_BLK_WRITE	FMODE_WRITE
#define qc_blk_mode	fmode_t
#else
#define QC_BLK_READ	BLK_OPEN_READ
#define QC_BLK_WRITE	BLK_OPEN_WRITE
#define qc_blk_mode	blk_mode_t
#endif

/* What a bio-based driver takes of discards (6.8 tells hardware and user limits apart). */
static inline void qc_limit_discards(struct queue_limits *limits, unsigned int sectors)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	limits->max_hw_discard_sectors = sectors;
#endif
	limits->max_discard_sectors = sectors;
}

/* Pages must not change while they are written (a limit since 6.11; before, dm looks itself). */
static inline void qc_limit_stable_writes(struct queue_limits *limits)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	limits->features |= BLK_FEAT_STABLE_WRITES;
#endif
}

#endif /* QCHAIN_COMPAT_H */
