// SPDX-License-Identifier: GPL-2.0-or-later
/* The lines of qchain tree below the first. */
#include <langinfo.h>

#include "bitmap-info.h"
#include "human.h"
#include "job-show.h"
#include "qapi.h"
#include "tree.h"

#define MAX_INDENT 12		/* layers; below that a chain goes straight down */

static void print_name(const char *before, const char *name)
{
	CLEANUP_FREE char *text = strdup(name);

	if (!text)
		return;
	qc_make_printable(text);
	printf("%s%s", before, text);
}

void tree_print_layer(const struct tree_layer *layer, size_t depth)
{
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	size_t indent = depth < MAX_INDENT ? depth : MAX_INDENT;

	printf("%*s%s", (int)(indent * 3), "", utf8 ? "└─" : "`-");
	print_name(" ", layer->filename);
	print_name("  ", layer->format);
	fputs(layer->writable ? " rw" : " ro", stdout);
	if (layer->data)
		print_name("  data in ", layer->data);
	if (!layer->opened) {
		puts("  (cannot be opened)");
		return;
	}
	printf("  %s", qc_human(layer->size));
	if (layer->allocated != TREE_UNKNOWN)
		printf(", %s on disk", qc_human(layer->allocated));
	if (layer->cluster_size)
		printf(", clusters of %s", qc_human(layer->cluster_size));
	if (layer->node)
		print_name("  ", layer->node);
	putchar('\n');
	for (u32 i = 0; layer->bitmaps && i < layer->bitmaps->count; i++) {
		printf("%*sbitmap ", (int)(indent * 3 + 3), "");
		bitmap_print(&layer->bitmaps->list[i]);
	}
}

struct json_object *tree_json_layer(const struct tree_layer *layer)
{
	struct json_object *o = json_object_new_object();

	qapi_add_str(o, "filename", layer->filename);
	qapi_add_str(o, "format", layer->format);
	qapi_add_bool(o, "read-only", !layer->writable);
	qapi_add_str(o, "data-file", layer->data);
	qapi_add_str(o, "node-name", layer->node);
	if (!layer->opened)
		return o;
	qapi_add_int(o, "virtual-size", layer->size);
	if (layer->allocated != TREE_UNKNOWN)
		qapi_add_int(o, "actual-size", layer->allocated);
	if (layer->cluster_size)
		qapi_add_int(o, "cluster-size", layer->cluster_size);
	if (layer->bitmaps)
		json_object_object_add(o, "bitmaps", bitmap_infos(layer->bitmaps));
	return o;
}

static bool is_meant(const struct listed_job *job, const char *of)
{
	return job->end == JOB_GOES_ON && !job->gone &&
	       (!of || !strcmp(qapi_get_str(job->info, "export", ""), of));
}

void tree_print_jobs(const struct jobs *jobs, const char *of)
{
	const struct listed_job *job;
	char line[JOB_LINE_MAX];

	TAILQ_FOREACH(job, jobs, link) {
		if (!is_meant(job, of))
			continue;
		job_line(job, 0, line, sizeof(line));
		printf("job %s\n", line);
	}
}

struct json_object *tree_json_jobs(const struct jobs *jobs, const char *of)
{
	struct json_object *array = json_object_new_array();
	const struct listed_job *job;

	TAILQ_FOREACH(job, jobs, link)
		if (is_meant(job, of))
			json_object_array_add(array, job_json(job));
	return array;
}
