// SPDX-License-Identifier: GPL-2.0-or-later
/* block_set_io_throttle: limits for the processes of cgroups. */
#include <stdio.h>

#include "dm.h"
#include "log.h"
#include "schema-block.h"
#include "state.h"
#include "throttle.h"

/* --- what is asked for ------------------------------------------------------------------------ */

#define VALUE_MAX 1000000000000000ULL

enum kind { BPS, BPS_RD, BPS_WR, IOPS, IOPS_RD, IOPS_WR, KINDS };

static const char *const names[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };

struct bucket {
	u64 value, max, length;
};

static void get_bucket(struct json_object *arguments, const char *name, struct bucket *bucket)
{
	char member[32];

	bucket->value = qapi_get_int(arguments, name, 0);
	snprintf(member, sizeof(member), "%s_max", name);
	bucket->max = qapi_get_int(arguments, member, 0);
	snprintf(member, sizeof(member), "%s_max_length", name);
	bucket->length = qapi_get_int(arguments, member, 1);
}

static bool conflict(const struct bucket *total)
{
	const struct bucket *rd = total + 1, *wr = total + 2;

	return (total->value && (rd->value || wr->value)) || (total->max && (rd->max || wr->max));
}

static int check_bucket(const struct bucket *bucket, struct qmp_error *error)
{
	if (bucket->value > VALUE_MAX || bucket->max > VALUE_MAX)
		return qmp_fail(error, "bps/iops/max values must be within [0, %llu]", VALUE_MAX);
	if (!bucket->length)
		return qmp_fail(error, "the burst length cannot be 0");
	if (bucket->length > 1 && !bucket->max)
		return qmp_fail(error, "burst length set without burst rate");
	if (bucket->max && bucket->length > VALUE_MAX / bucket->max)
		return qmp_fail(error, "burst length too high for this burst rate");
	if (bucket->max && !bucket->value)
		return qmp_fail(error, "bps_max/iops_max require corresponding bps/iops values");
	if (bucket->max && bucket->max < bucket->value)
		return qmp_fail(error, "bps_max/iops_max cannot be lower than bps/iops");
	return 0;
}

/* In QEMU's order. */
static int check_like_qemu(const struct bucket *buckets, int64_t size, struct qmp_error *error)
{
	if (conflict(&buckets[BPS]) || conflict(&buckets[IOPS]))
		return qmp_fail(error,
				"bps/iops/max total values and read/write values cannot be used at the same time");
	if (size && !buckets[IOPS].value && !buckets[IOPS_RD].value && !buckets[IOPS_WR].value)
		return qmp_fail(error, "iops size requires an iops value to be set");
	for (size_t i = 0; i < KINDS; i++)
		if (check_bucket(&buckets[i], error))
			return -1;
	return 0;
}

/* What io.max cannot express. */
static int check_kernel(const struct bucket *buckets, int64_t size, struct qmp_error *error)
{
	for (size_t i = 0; i < KINDS; i++) {
		u64 value = buckets[i].value, max = i < IOPS ? VALUE_MAX : CGROUP_IOPS_MAX;

		if (value && (i == BPS || i == IOPS))
			return qmp_fail(error,
					"'%s' is not supported: the kernel limits reads and writes each by itself; use '%s_rd' and '%s_wr'",
					names[i], names[i], names[i]);
		if (buckets[i].max)
			return qmp_fail(error,
					"'%s_max' is not supported: the kernel's limits allow no bursts; use '%s' alone",
					names[i], names[i]);
		if (value && (value < CGROUP_LIMIT_MIN || value > max))
			return qmp_fail(error, "'%s' must be 0, for no limit, or within [%d, %llu]",
					names[i], CGROUP_LIMIT_MIN, max);
	}
	if (size)
		return qmp_fail(error,
				"'iops_size' is not supported: a request of any size is one for the kernel; use 'bps_rd' and 'bps_wr'");
	return 0;
}

int throttle_parse(struct json_object *arguments, struct cgroup_limits *limits,
		   struct qmp_error *error)
{
	int64_t size = qapi_get_int(arguments, "iops_size", 0);
	struct bucket buckets[KINDS];

	for (size_t i = 0; i < KINDS; i++)
		get_bucket(arguments, names[i], &buckets[i]);
	if (check_like_qemu(buckets, size, error) || check_kernel(buckets, size, error))
		return -1;
	*limits = (struct cgroup_limits){
		.bps_rd = buckets[BPS_RD].value,
		.bps_wr = buckets[BPS_WR].value,
		.iops_rd = buckets[IOPS_RD].value,
		.iops_wr = buckets[IOPS_WR].value,
	};
	return 0;
}

static struct export *find_export(struct json_object *arguments, struct qmp_error *error)
{
	const char *device = qapi_get_str(arguments, "device", NULL);
	const char *id = qapi_get_str(arguments, "id", NULL);
	struct export *export;

	if (!device == !id) {
		qmp_fail(error, "Need exactly one of 'device' and 'id'");
		return NULL;
	}
	device = device ? device : id;
	export = export_find(device);
	if (!export)
		qmp_fail_class(error, QMP_DEVICE_NOT_FOUND, "Device '%s' not found", device);
	return export;
}

/* --- cgroups ---------------------------------------------------------------------------------- */

/* One cgroup, and the device's limits there. */
struct change {
	const char *cgroup;
	struct cgroup_limits before, after;
	unsigned int enabled;		/* see cgroup_enable() */
};

static int make_change(int root, const char *device, struct change *change,
		       struct qmp_error *error)
{
	bool removal = cgroup_unlimited(&change->after);

	change->enabled = 0;
	/* A cgroup that is gone has taken its limits with it. */
	if (removal && !cgroup_has_limits(root, change->cgroup))
		return 0;
	if (!removal && cgroup_enable(root, change->cgroup, &change->enabled, error))
		return -1;
	if (!cgroup_write(root, change->cgroup, device, &change->after, error))
		return 0;
	cgroup_disable(root, change->cgroup, change->enabled);
	return -1;
}

static void undo_change(int root, const char *device, const struct change *change)
{
	struct qmp_error error;

	if (cgroup_has_limits(root, change->cgroup) &&
	    cgroup_write(root, change->cgroup, device, &change->before, &error))
		log_line(LOG_WARNING, "%s", error.text);
	cgroup_disable(root, change->cgroup, change->enabled);
}

/* All of them, or none. */
static int make_changes(int root, const char *device, struct change *changes, size_t count,
			struct qmp_error *error)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (make_change(root, device, &changes[i], error))
			break;
	if (i == count)
		return 0;
	while (i--)
		undo_change(root, device, &changes[i]);
	return -1;
}

static int find_device(const struct export *export, char *number, size_t size,
		       struct qmp_error *error)
{
	struct qc_dm_device device;
	struct qc_error err;

	if (qc_dm_query(export->name, &device, &err) < 0)
		return qmp_fail(error, "%s", err.text);
	if (!device.exists)
		return qmp_fail(error, "%s: there is no such device any more", export->name);
	snprintf(number, size, "%u:%u", device.major, device.minor);
	return 0;
}

/* The cgroups that @group stands for.  NULL with @error. */
static struct json_object *cgroups_of(int root, const char *group, struct qmp_error *error)
{
	struct json_object *cgroups;

	if (strcmp(group, "/")) {
		cgroups = json_object_new_array();
		json_object_array_add(cgroups, json_object_new_string(group));
		return cgroups;
	}
	cgroups = cgroup_below_root(root);
	if (json_object_array_length(cgroups))
		return cgroups;
	json_object_put(cgroups);
	qmp_fail(error,
		 "There is no cgroup to be limited, and the root cannot be; make one, and set 'group'");
	return NULL;
}

/* --- the command ------------------------------------------------------------------------------ */

static const char *cgroup_at(struct json_object *cgroups, size_t i)
{
	return json_object_get_string(json_object_array_get_idx(cgroups, i));
}

static bool has_cgroup(struct json_object *cgroups, const char *path)
{
	for (size_t i = 0; cgroups && i < json_object_array_length(cgroups); i++)
		if (!strcmp(cgroup_at(cgroups, i), path))
			return true;
	return false;
}

static void add_cgroups(struct json_object *to, struct json_object *cgroups)
{
	for (size_t i = 0; cgroups && i < json_object_array_length(cgroups); i++)
		if (!has_cgroup(to, cgroup_at(cgroups, i)))
			json_object_array_add(to, json_object_new_string(cgroup_at(cgroups, i)));
}

/* Takes @cgroups over. */
static int remember(struct export *export, struct json_object *cgroups, struct qmp_error *error)
{
	struct json_object *before = export->cgroups;

	export->cgroups = cgroups;
	if (state_save(error)) {
		export->cgroups = before;
		json_object_put(cgroups);
		return -1;
	}
	json_object_put(before);
	return 0;
}

/* Let the cgroups in @wanted, and no others, have the limits, and @group stand for them. */
static int set_limits(struct export *export, int root, struct json_object *wanted, char *group,
		      const struct cgroup_limits *limits, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *before = json_object_get(export->cgroups);
	struct json_object *all = json_object_new_array();
	CLEANUP_FREE struct change *changes = NULL;
	struct qmp_error ignored;
	char device[32];
	size_t count;
	int ret;

	add_cgroups(all, wanted);
	add_cgroups(all, before);
	count = json_object_array_length(all);
	changes = calloc(count + 1, sizeof(*changes));
	if (!changes || find_device(export, device, sizeof(device), error)) {
		json_object_put(all);
		return changes ? -1 : qmp_fail(error, "Out of memory");
	}
	/* Before it is done: whatever comes, what has limits is known. */
	if (remember(export, all, error))
		return -1;
	for (size_t i = 0; i < count; i++) {
		changes[i].cgroup = cgroup_at(all, i);
		cgroup_read(root, changes[i].cgroup, device, &changes[i].before);
		if (has_cgroup(wanted, changes[i].cgroup))
			changes[i].after = *limits;
	}
	ret = make_changes(root, device, changes, count, error);
	if (!ret && group != export->group) {
		free(export->group);
		export->group = group;
	}
	if (remember(export, json_object_get(ret ? before : wanted), &ignored))
		log_line(LOG_WARNING, "%s", ignored.text);
	return ret;
}

static int limit(struct export *export, const char *group, const struct cgroup_limits *limits,
		 struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *wanted = NULL;
	CLEANUP_FREE char *name = NULL;
	CLEANUP_FD int root = -1;

	/* As /proc/PID/cgroup has it. */
	if (group[0] == '/' && group[1])
		group++;
	if (strcmp(group, "/") && !cgroup_wellformed(group))
		return qmp_fail(error, "Group '%s' is not the path of a cgroup below the root",
				group);
	name = strdup(group);
	root = cgroup_root(error);
	if (root < 0 || !name)
		return root < 0 ? -1 : qmp_fail(error, "Out of memory");
	if (strcmp(group, "/") && !cgroup_exists(root, group))
		return qmp_fail(error, "Group '%s' is no cgroup that exists", group);
	wanted = cgroups_of(root, group, error);
	if (!wanted || set_limits(export, root, wanted, name, limits, error))
		return -1;
	qc_steal(name);
	return 0;
}

static int unlimit(struct export *export, struct qmp_error *error)
{
	CLEANUP_FD int root = -1;

	if (!export->cgroups)
		return 0;
	root = cgroup_root(error);
	return root < 0 ? -1 : set_limits(export, root, NULL, export->group, NULL, error);
}

static int run_throttle(struct qmp_session *session, struct json_object *arguments,
			struct json_object **result, struct qmp_error *error)
{
	struct export *export = find_export(arguments, error);
	const char *group = export && export->group ? export->group : "/";
	struct cgroup_limits limits;

	(void)session;
	(void)result;
	if (!export || throttle_parse(arguments, &limits, error))
		return -1;
	if (cgroup_unlimited(&limits))
		return unlimit(export, error);
	return limit(export, qapi_get_str(arguments, "group", group), &limits, error);
}

bool throttle_get(const struct export *export, struct cgroup_limits *limits)
{
	CLEANUP_FD int root = -1;
	struct qmp_error ignored;
	char device[32];

	if (!export->cgroups || find_device(export, device, sizeof(device), &ignored))
		return false;
	root = cgroup_root(&ignored);
	for (size_t i = 0; root >= 0 && i < json_object_array_length(export->cgroups); i++) {
		cgroup_read(root, cgroup_at(export->cgroups, i), device, limits);
		if (!cgroup_unlimited(limits))
			return true;
	}
	return false;
}

const struct qapi_command throttle_commands[] = {
	{ "block_set_io_throttle", .arguments = &schema_io_throttle, .run = run_throttle },
	{ 0 }
};
