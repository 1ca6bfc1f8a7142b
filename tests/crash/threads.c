// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The threads of a workload, see threads.h.
 */
#include <err.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "threads.h"

void threads_run(unsigned int count, void *(*main)(void *))
{
	pthread_t *threads = calloc(count, sizeof(*threads));
	uintptr_t i;

	if (!threads)
		err(1, "no memory");
	for (i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, main, (void *)i))
			errx(1, "cannot make a thread");
	for (i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}
