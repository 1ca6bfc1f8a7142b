// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whether a disk after a crash is what it has to be, see judge.h.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "judge.h"
#include "map.h"
#include "sector.h"

#define COMMAND_MAX 1000
#define OUTPUT "output"
#define LEAKS_ONLY 3		/* qemu-img check's exit status */

static const char *image;	/* the qcow2 image */

/* Run a shell command.  What it prints goes to the file OUTPUT. */
__attribute__((format(printf, 1, 2)))
static int shell(const char *format, ...)
{
	char line[COMMAND_MAX] = "exec > " OUTPUT " 2>&1; ";
	size_t n = strlen(line);
	va_list arguments;
	int status;

	va_start(arguments, format);
	n += vsnprintf(line + n, sizeof(line) - n, format, arguments);
	va_end(arguments);
	if (n >= sizeof(line))
		errx(1, "command is too long");
	status = system(line);
	if (status < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 127)
		errx(1, "cannot run: %s", line);
	return WEXITSTATUS(status);
}

/* Why a command failed, from its output. */
static bool fail(FILE *out, const char *what, int status)
{
	FILE *file = fopen(OUTPUT, "r");
	char line[300];
	unsigned int lines = 0;

	fprintf(out, "%s: status %d\n", what, status);
	while (file && lines++ < 6 && fgets(line, sizeof(line), file))
		fprintf(out, "  %s", line);
	if (file)
		fclose(file);
	return false;
}

void judge_open(struct judge *judge, const char *dir)
{
	if (chdir(dir))
		err(1, "%s", dir);
	image = judge->inner ? "image" : "disk";
}

/* The images of a chain as files. */
static void extract_layers(const struct judge *judge)
{
	size_t bytes = judge->slice * SECTOR_SIZE;
	uint64_t size;
	const uint8_t *disk = map_file("disk", &size);
	unsigned int i;
	int fd;

	if (size < judge->nr_layers * bytes)
		errx(1, "the disk is too small for %u images", judge->nr_layers);
	for (i = 0; i < judge->nr_layers; i++) {
		fd = open(judge->layers[i], O_WRONLY | O_CREAT, 0666);
		if (fd < 0 || write(fd, disk + i * bytes, bytes) != (ssize_t)bytes)
			err(1, "%s", judge->layers[i]);
		close(fd);
	}
	unmap_file(disk, size);
}

/* The file system on a raw disk replays its journal, as in a mount, and then must be clean. */
static bool recover(const char *disk, FILE *out)
{
	int status = shell("e2fsck -p %s", disk);

	if (status > 1)
		return fail(out, "e2fsck -p", status);
	status = shell("e2fsck -fn %s", disk);
	return !status || fail(out, "e2fsck -fn after the journal's replay", status);
}

static bool extract_inner(const struct judge *judge, FILE *out)
{
	int status;

	if (shell("cp --sparse=always disk outer"))
		return fail(out, "cp", 1);
	if (!recover("outer", out))
		return false;
	unlink(image);
	status = shell("debugfs -R 'dump %s %s' outer", judge->inner, image);
	return (!status && !access(image, R_OK)) || fail(out, "debugfs dump", status);
}

static bool read_image(const char *from, const char *to, const char *snapshot, FILE *out)
{
	int status = shell("qemu-img convert -f qcow2 -O raw %s%s %s %s", snapshot ? "-l " : "",
			 snapshot ? snapshot : "", from, to);

	return !status || fail(out, "qemu-img convert", status);
}

/* qemu-img check is content with an image that is marked as corrupt. */
static bool marked_corrupt(const char *name)
{
	uint8_t header[80] = { 0 };
	FILE *file = fopen(name, "r");

	if (!file || fread(header, 1, sizeof(header), file) != sizeof(header))
		err(1, "%s", name);
	fclose(file);
	return header[7] >= 3 && header[79] & 2;
}

static bool consistent(struct judge *judge, const char *name, FILE *out)
{
	int status = shell("qemu-img check -f qcow2 %s", name);
	unsigned long leaks = 0;
	char line[300];
	FILE *file;

	if (status && status != LEAKS_ONLY)
		return fail(out, "qemu-img check", status);
	if (marked_corrupt(name)) {
		fprintf(out, "%s is marked as corrupt\n", name);
		return false;
	}
	file = fopen(OUTPUT, "r");
	while (file && !leaks && fgets(line, sizeof(line), file))
		if (strstr(line, " leaked clusters"))
			leaks = strtoul(line, NULL, 10);
	if (file)
		fclose(file);
	judge->leaking += status == LEAKS_ONLY;
	if (leaks > judge->max_leaks)
		judge->max_leaks = leaks;
	return true;
}

static bool same_content(const char *a, const char *b, const char *what, FILE *out)
{
	int status = shell("cmp %s %s", a, b);

	return !status || fail(out, what, status);
}

static bool repair_copy(struct judge *judge, FILE *out)
{
	int status;

	if (shell("cp --sparse=always %s copy", image))
		return fail(out, "cp", 1);
	status = shell("%s check --repair copy", judge->qchain);
	if (status)
		return fail(out, "qchain check --repair", status);
	status = shell("qemu-img check -f qcow2 copy");
	if (status)
		return fail(out, "qemu-img check after the repair", status);
	judge->repaired++;
	return read_image("copy", "copy.raw", NULL, out) &&
	       same_content("content", "copy.raw", "content after the repair", out);
}

/* The files of the file system in the image, one after the other; absent is zero. */
static bool read_files(const struct judge *judge, uint8_t *bytes, FILE *out)
{
	char name[32];
	uint64_t n;
	int status, fd;

	if (!recover("content", out))
		return false;
	status = shell("rm -rf files && mkdir files && debugfs -R 'rdump / files' content");
	if (status)
		return fail(out, "debugfs rdump", status);
	for (n = 0; n < judge->files; n++) {
		snprintf(name, sizeof(name), "files/f%" PRIu64, n);
		fd = open(name, O_RDONLY);
		if (fd < 0 && errno != ENOENT)
			err(1, "%s", name);
		if (fd < 0)
			continue;
		if (read(fd, bytes + n * FILE_SECTORS * SECTOR_SIZE,
			 FILE_SECTORS * SECTOR_SIZE) < 0)
			err(1, "%s", name);
		close(fd);
	}
	return true;
}

/* What the rule is about, from the file "content". */
static uint8_t *load_content(const struct judge *judge, uint64_t *size, FILE *out)
{
	const uint8_t *content = map_file("content", size);
	uint64_t all = *size;
	uint8_t *bytes;

	if (judge->files)
		*size = judge->files * FILE_SECTORS * SECTOR_SIZE;
	bytes = calloc(1, *size);
	if (!bytes)
		err(1, "no memory");
	if (!judge->files) {
		memcpy(bytes, content, all);
	} else if (!read_files(judge, bytes, out)) {
		free(bytes);
		bytes = NULL;
	}
	unmap_file(content, all);
	return bytes;
}

static bool obeys_rule(const struct judge *judge, const struct rule *rule, FILE *out)
{
	uint64_t size, broken;
	uint8_t *bytes = load_content(judge, &size, out);

	if (!bytes)
		return false;
	broken = rule_check(rule, bytes, out);
	if (broken)
		fprintf(out, "%" PRIu64 " sectors break the rule\n", broken);
	free(bytes);
	return !broken;
}

/* The whole image as the file "content". */
static bool read_all(const struct judge *judge, FILE *out)
{
	return (!judge->inner || extract_inner(judge, out)) &&
	       read_image(image, "content", NULL, out);
}

uint8_t *judge_content(const struct judge *judge, uint64_t *size, FILE *out)
{
	if (judge->nr_layers) {
		extract_layers(judge);
		image = judge->tops;
	}
	return read_all(judge, out) ? load_content(judge, size, out) : NULL;
}

static bool judge_image(struct judge *judge, const struct rule *rule, bool repair, FILE *out)
{
	if (!read_all(judge, out) || !consistent(judge, image, out))
		return false;
	if (repair && !repair_copy(judge, out))
		return false;
	if (judge->snapshot &&
	    !(read_image(image, "snapshot", judge->snapshot, out) &&
	      same_content("snapshot", judge->snapshot_raw, "content of the snapshot", out)))
		return false;
	return obeys_rule(judge, rule, out);
}

/* Any of the tops will do. */
static bool judge_tops(struct judge *judge, const struct rule *rule, bool repair, FILE *out)
{
	char *names = strdup(judge->tops), *rest = names, *name;
	bool good = false;

	while (!good && (name = strsep(&rest, ","))) {
		image = name;
		fprintf(out, "read from %s:\n", name);
		good = judge_image(judge, rule, repair, out);
	}
	free(names);
	return good;
}

bool judge_disk(struct judge *judge, const struct rule *rule, bool repair, FILE *out)
{
	unsigned int i;

	if (!judge->nr_layers)
		return judge_image(judge, rule, repair, out);
	extract_layers(judge);
	for (i = 0; i < judge->nr_layers; i++)
		if (!consistent(judge, judge->layers[i], out))
			return false;
	return judge_tops(judge, rule, repair, out);
}
