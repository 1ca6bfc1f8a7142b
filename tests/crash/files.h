/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CRASH_FILES_H
#define CRASH_FILES_H

/* Sectors that a file of the file system workload can have; file n is called "f<n>". */
#define FILE_SECTORS 160

#endif /* CRASH_FILES_H */
