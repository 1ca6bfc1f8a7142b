// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes memory.
 *
 *	hog --locked MIB	holds so much in place until it is killed
 *	hog --passes N MIB	writes all of it N times, judging each time what it wrote before;
 *				what the kernel cannot keep in memory goes to swap and comes back
 *
 * Exit status: 0, or 1 for wrong content or when there is not so much memory.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL

static uint64_t stamp(uint64_t page, uint64_t pass, unsigned int word)
{
	return (page << 20 | pass << 10 | word) * 0x9e3779b97f4a7c15ULL;
}

/* Incompressible enough, and cheap: all of the page depends on its number and the pass. */
static void fill(uint64_t *p, uint64_t page, uint64_t pass)
{
	for (unsigned int i = 0; i < PAGE / sizeof(*p); i++)
		p[i] = stamp(page, pass, i);
}

static int judge(const uint64_t *p, uint64_t page, uint64_t pass)
{
	for (unsigned int i = 0; i < PAGE / sizeof(*p); i++) {
		if (p[i] != stamp(page, pass, i)) {
			printf("# hog: page %" PRIu64 " word %u is wrong in pass %" PRIu64
			       ": %016" PRIx64 "\n", page, i, pass, p[i]);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long passes, pages, page, pass;
	unsigned char *memory;

	if (argc < 3)
		return 2;
	pages = strtoul(argv[argc - 1], NULL, 0) * ((1 << 20) / PAGE);
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED) {
		perror("hog: mmap");
		return 1;
	}
	if (!strcmp(argv[1], "--locked")) {
		if (mlock(memory, pages * PAGE)) {
			perror("hog: mlock");
			return 1;
		}
		printf("# hog holds %lu MiB\n", pages * PAGE >> 20);
		fflush(stdout);
		pause();
		return 0;
	}
	passes = strtoul(argv[2], NULL, 0);
	for (pass = 0; pass < passes; pass++) {
		for (page = 0; page < pages; page++) {
			uint64_t *p = (uint64_t *)(memory + page * PAGE);

			if (pass && judge(p, page, pass - 1))
				return 1;
			fill(p, page, pass);
		}
	}
	return 0;
}
