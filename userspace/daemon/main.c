// SPDX-License-Identifier: GPL-2.0-or-later
/* qchaind: options. */
#include <getopt.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 }
	};
	int option;

	while ((option = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			printf("Usage: qchaind [OPTION]...\n");
			return 0;
		case 'V':
			printf("qchaind %s\n", QCHAIN_VERSION);
			return 0;
		default:
			return 2;
		}
	}
	return 0;
}
