// SPDX-License-Identifier: GPL-2.0-or-later
/* Build and take apart the target's table and status lines. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "table.h"

static const struct {
	unsigned int flag;
	const char *name;
} features[] = {
	{ QC_TABLE_READ_ONLY, "read_only" },
	{ QC_TABLE_ERROR_IF_NO_SPACE, "error_if_no_space" },
	{ QC_TABLE_NO_DISCARD_PASSDOWN, "no_discard_passdown" },
};

u64 qc_table_sectors(const struct qc_chain *chain)
{
	return qc_div_round_up(chain->layers[0].size, QC_SECTOR_SIZE);
}

/*
 * White space and backslashes go as in /proc/mounts, in octal.  dm's own escape, a single
 * backslash, does not get through libdevmapper, which doubles every backslash.
 */
static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (isspace((unsigned char)*text) || *text == '\\')
			fprintf(out, "\\%03o", (unsigned char)*text);
		else
			fputc(*text, out);
	}
}

static int put_device(FILE *out, const struct qc_store *store, unsigned int flags,
		      struct qc_error *err)
{
	CLEANUP_FREE char *real = NULL;

	if (flags & QC_TABLE_BY_FD) {
		fprintf(out, "fd:%d", store->fd);
		return 0;
	}
	real = realpath(store->path, NULL);
	if (!real)
		return qc_fail_errno(err, errno, store->path, "cannot resolve the path");
	put_escaped(out, real);
	return 0;
}

static int put_table(FILE *out, const struct qc_chain *chain, unsigned int flags,
		     struct qc_error *err)
{
	unsigned int nb_features = 0;
	int ret;

	fprintf(out, "%zu", chain->count);
	for (size_t i = 0; i < chain->count; i++) {
		const struct qc_layer *layer = &chain->layers[i];

		fprintf(out, " %s ", qc_format_name(layer->format));
		ret = put_device(out, layer->store, flags, err);
		if (ret < 0)
			return ret;
		fputs(" -", out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		nb_features += !!(flags & features[i].flag);
	for (size_t i = 1; i < chain->count; i++)
		nb_features += 2 * chain->layers[i].writable;
	if (!nb_features)
		return 0;
	fprintf(out, " %u", nb_features);
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (flags & features[i].flag)
			fprintf(out, " %s", features[i].name);
	for (size_t i = 1; i < chain->count; i++)
		if (chain->layers[i].writable)
			fprintf(out, " writable %zu", i);
	return 0;
}

int qc_table_build(const struct qc_chain *chain, unsigned int flags, char **params,
		   struct qc_error *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int ret;

	if (!out)
		return qc_fail_nomem(err, chain->layers[0].store->path);
	ret = put_table(out, chain, flags, err);
	if (fclose(out) && !ret)
		ret = qc_fail_nomem(err, chain->layers[0].store->path);
	if (ret < 0)
		return ret;
	*params = qc_steal(text);
	return 0;
}

static bool is_octal_escape(const char *text)
{
	return text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
	       text[2] <= '7' && text[3] >= '0' && text[3] <= '7';
}

/* The next word, unescaped, as a new string; NULL at the end or without memory. */
static char *next_word(const char **at)
{
	const char *from = *at;
	char *word, *to;

	while (isspace((unsigned char)*from))
		from++;
	if (!*from)
		return NULL;
	word = malloc(strlen(from) + 1);
	if (!word)
		return NULL;
	for (to = word; *from && !isspace((unsigned char)*from); from++) {
		if (is_octal_escape(from)) {
			*to++ = (from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0');
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = 0;
	*at = from;
	return word;
}

static bool next_number(const char **at, u64 *value)
{
	CLEANUP_FREE char *word = next_word(at);
	char *end;

	if (!word || !isdigit((unsigned char)*word))
		return false;
	*value = strtoull(word, &end, 10);
	return !*end;
}

static bool parse_features(const char **at, unsigned int *flags)
{
	u64 count = 0;

	if (!(*at)[strspn(*at, " ")])
		return true;
	if (!next_number(at, &count))
		return false;
	while (count--) {
		CLEANUP_FREE char *word = next_word(at);

		if (!word)
			return false;
		for (size_t i = 0; i < ARRAY_SIZE(features); i++)
			if (!strcmp(word, features[i].name))
				*flags |= features[i].flag;
	}
	return true;
}

static bool parse_table(const char *at, struct qc_table *table)
{
	u64 count;

	/* Each layer takes more than a character, which bounds what is allocated. */
	if (!next_number(&at, &count) || !count || count > strlen(at))
		return false;
	table->layers = calloc(count, sizeof(*table->layers));
	if (!table->layers)
		return false;
	while (table->count < count) {
		struct qc_table_layer *layer = &table->layers[table->count++];

		layer->format = next_word(&at);
		layer->device = next_word(&at);
		layer->data = next_word(&at);
		if (!layer->data)
			return false;
	}
	return parse_features(&at, &table->flags);
}

int qc_table_parse(const char *params, const char *name, struct qc_table *table,
		   struct qc_error *err)
{
	memset(table, 0, sizeof(*table));
	if (parse_table(params, table))
		return 0;
	qc_table_free(table);
	memset(table, 0, sizeof(*table));
	return qc_fail(err, EINVAL, name, NULL, "has a table that is not understood: %.200s",
		       params);
}

void qc_table_free(struct qc_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		free(table->layers[i].format);
		free(table->layers[i].device);
		free(table->layers[i].data);
	}
	free(table->layers);
}

/* A number or "-", up to @end. */
static bool parse_count(const char **at, char end, u64 *value)
{
	char *stop;

	if ((*at)[0] == '-') {
		*value = QC_UNKNOWN_COUNT;
		stop = (char *)*at + 1;
	} else if (isdigit((unsigned char)(*at)[0])) {
		*value = strtoull(*at, &stop, 10);
	} else {
		return false;
	}
	if (*stop != end && !(end == ' ' && !*stop))
		return false;
	*at = *stop ? stop + 1 : stop;
	return true;
}

static bool parse_job_state(const char *word, enum qc_job_state *state)
{
	static const char *const names[] = {
		"running", "paused", "stopped", "ready", "ending", "ended",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(word, names[i])) {
			*state = (enum qc_job_state)i;
			return true;
		}
	}
	return false;
}

static bool parse_job(const char **at, struct qc_job_status *job)
{
	char state[16], operation[16];
	u64 error;
	int len = 0;

	if (sscanf(*at, "%63[^ ] %15[^ ] %15[^ ] %n", job->id, job->kind, state, &len) != 3 ||
	    !len || !parse_job_state(state, &job->state))
		return false;
	*at += len;
	if (!parse_count(at, '/', &job->done) || !parse_count(at, ' ', &job->length) ||
	    !parse_count(at, ' ', &job->speed) || !parse_count(at, ' ', &error) || error > INT_MAX)
		return false;
	job->error = (int)error;
	if (sscanf(*at, "%15[^ ]%n", operation, &len) != 1)
		return false;
	*at += len + ((*at)[len] == ' ');
	job->reading = !strcmp(operation, "read");
	return job->reading || !strcmp(operation, "write") || !strcmp(operation, "-");
}

static bool parse_jobs(const char *at, struct qc_status *status)
{
	if (status->jobs > QC_MAX_JOBS)
		return false;
	for (u64 i = 0; i < status->jobs; i++)
		if (!parse_job(&at, &status->job[i]))
			return false;
	return !*at;
}

int qc_status_parse(const char *params, const char *name, struct qc_status *status,
		    struct qc_error *err)
{
	size_t mode = strcspn(params, " ");
	const char *at = params + mode + !!params[mode];

	memset(status, 0, sizeof(*status));
	if (mode && mode < sizeof(status->mode)) {
		memcpy(status->mode, params, mode);
		if (parse_count(&at, ' ', &status->cluster_sectors) &&
		    parse_count(&at, '/', &status->mapped) &&
		    parse_count(&at, ' ', &status->total) &&
		    parse_count(&at, '/', &status->used) &&
		    parse_count(&at, ' ', &status->host_total) &&
		    parse_count(&at, '/', &status->metadata_kib) &&
		    parse_count(&at, ' ', &status->metadata_limit_kib) &&
		    parse_count(&at, ' ', &status->layers) &&
		    parse_count(&at, ' ', &status->bitmaps) &&
		    parse_count(&at, ' ', &status->jobs) &&
		    parse_jobs(at, status))
			return 0;
	}
	return qc_fail(err, EINVAL, name, NULL, "has a status that is not understood: %.200s",
		       params);
}
