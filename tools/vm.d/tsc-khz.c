// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Print the frequency of this machine's time stamp counter in kHz, as CLOCK_MONOTONIC has it.
 *
 * QEMU's emulation shows the counter to the guest, and a guest that measures it on a busy machine
 * can be wrong by an order of magnitude: its clock would run that much too fast or too slowly.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The counter at one moment of the clock: of several tries the one that took least. */
static uint64_t sample(uint64_t *ns)
{
	uint64_t best = UINT64_MAX, at = 0;

	for (int i = 0; i < 20; i++) {
		uint64_t before = __rdtsc(), clock = now(), took = __rdtsc() - before;

		if (took < best) {
			best = took;
			*ns = clock;
			at = before + took / 2;
		}
	}
	return at;
}

int main(void)
{
	const struct timespec wait = { .tv_nsec = 200000000 };
	uint64_t t0, t1, c0 = sample(&t0), c1;

	nanosleep(&wait, NULL);
	c1 = sample(&t1);
	printf("%llu\n", (unsigned long long)((c1 - c0) * 1000000 / (t1 - t0)));
	return 0;
}
