// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The journal of a workload, see journal.h.
 */
#include <err.h>
#include <inttypes.h>
#include <libdevmapper.h>
#include <pthread.h>
#include <stdio.h>

#include "journal.h"

static FILE *file;
static const char *log_name;
static uint64_t last_id, last_mark;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mark_lock = PTHREAD_MUTEX_INITIALIZER;

void journal_open(const char *path, const char *log)
{
	file = fopen(path, "w");
	if (!file)
		err(1, "%s", path);
	setvbuf(file, NULL, _IOFBF, 1 << 20);
	log_name = log;
}

void journal_close(void)
{
	if (ferror(file) || fclose(file))
		err(1, "cannot write the journal");
}

uint64_t journal_begin(char kind, uint64_t sector, uint64_t count)
{
	uint64_t id;

	pthread_mutex_lock(&lock);
	id = ++last_id;
	fprintf(file, "%c %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", kind, id, sector, count);
	pthread_mutex_unlock(&lock);
	return id;
}

static void line(char kind, uint64_t id)
{
	pthread_mutex_lock(&lock);
	fprintf(file, "%c %" PRIu64 "\n", kind, id);
	pthread_mutex_unlock(&lock);
}

/* Marks are sent one after the other, so their order in the journal is that in the log. */
static void send_mark(void)
{
	struct dm_task *task;
	char message[40];

	pthread_mutex_lock(&mark_lock);
	line('M', ++last_mark);
	snprintf(message, sizeof(message), "mark %" PRIu64, last_mark);
	task = dm_task_create(DM_DEVICE_TARGET_MSG);
	if (!task || !dm_task_set_name(task, log_name) || !dm_task_set_sector(task, 0) ||
	    !dm_task_set_message(task, message) || !dm_task_run(task))
		errx(1, "cannot send a mark to %s", log_name);
	dm_task_destroy(task);
	line('N', last_mark);
	pthread_mutex_unlock(&mark_lock);
}

void journal_end(char kind, uint64_t id)
{
	line(kind, id);
	if (kind != 'A')
		send_mark();
}
