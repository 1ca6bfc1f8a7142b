// SPDX-License-Identifier: GPL-2.0-or-later
/* Names of backing files. */
#include <sys/stat.h>

#include "backing-name.h"

bool backing_name_means(const char *overlay, const char *name, const struct node *protocol)
{
	CLEANUP_FREE char *resolved = NULL;
	struct stat st;

	if (qc_chain_resolve_name(overlay, name, &resolved, NULL) < 0 || stat(resolved, &st) < 0)
		return false;
	if (protocol->is_bdev)
		return S_ISBLK(st.st_mode) && st.st_rdev == protocol->dev;
	return st.st_dev == protocol->dev && st.st_ino == protocol->ino;
}

char *backing_name_of(const struct node *protocol, const char *overlay)
{
	if (backing_name_means(overlay, protocol->filename, protocol))
		return strdup(protocol->filename);
	return realpath(protocol->path, NULL);
}
