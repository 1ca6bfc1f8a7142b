/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a sector may hold after a crash: the last version that was acknowledged before the last
 * acknowledged flush that covers it (or was acknowledged as stable itself), or any later one
 * that was issued before the crash.  Versions come from a journal (journal.h).
 */
#ifndef CRASH_RULE_H
#define CRASH_RULE_H

#include <stdint.h>
#include <stdio.h>

struct rule;

/* @initial: what the @sectors of disk @disk held before. */
struct rule *rule_new(const char *journal, uint64_t disk, uint64_t sectors, const uint8_t *initial);

/* The crash comes after mark @mark (0: before all) and before the next one.  Never goes back. */
void rule_advance(struct rule *rule, uint64_t mark);

/*
 * Judge what the disk holds now.  Tells about the first few sectors that break the rule, to @out;
 * returns how many do.
 */
uint64_t rule_check(const struct rule *rule, const uint8_t *content, FILE *out);

void rule_free(struct rule *rule);

#endif /* CRASH_RULE_H */
