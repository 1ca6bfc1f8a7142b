/* SPDX-License-Identifier: GPL-2.0-only */
/* Messages of the module in the kernel log, in device-mapper's manner. */
#ifndef QCHAIN_LOG_H
#define QCHAIN_LOG_H

#include <linux/printk.h>
#include <linux/ratelimit.h>

#define QC_LOG_PREFIX		"device-mapper: qchain: "

#define qc_err(fmt, ...)	pr_err_ratelimited(QC_LOG_PREFIX fmt "\n", ##__VA_ARGS__)
#define qc_warn(fmt, ...)	pr_warn_ratelimited(QC_LOG_PREFIX fmt "\n", ##__VA_ARGS__)

#endif /* QCHAIN_LOG_H */
