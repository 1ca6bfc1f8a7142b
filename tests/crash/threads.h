/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads of a workload.
 */
#ifndef CRASH_THREADS_H
#define CRASH_THREADS_H

/*
 * Run @main in @count threads, with their numbers from 0 on, to the end.  Ends the program
 * on errors.
 */
void threads_run(unsigned int count, void *(*main)(void *));

#endif /* CRASH_THREADS_H */
