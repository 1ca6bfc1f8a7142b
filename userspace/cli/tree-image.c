// SPDX-License-Identifier: GPL-2.0-or-later
/* What qchain tree finds in the images themselves. */
#include "tree.h"

void tree_image_open(const char *path, const char *format, struct tree_image *image)
{
	const struct qc_layer *layer;

	memset(image, 0, sizeof(*image));
	if (qc_chain_open(path, qc_format_parse(format), QC_CHAIN_TOP | QC_CHAIN_ANY,
			  &image->chain, NULL) < 0)
		return;
	layer = &image->chain->layers[0];
	if (layer->header)
		qc_bitmaps_read(layer->store, layer->header, &image->bitmaps, NULL);
}

void tree_image_close(struct tree_image *image)
{
	qc_bitmaps_free(&image->bitmaps);
	qc_chain_close(image->chain);
}
