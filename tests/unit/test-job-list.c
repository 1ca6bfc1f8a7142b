// SPDX-License-Identifier: GPL-2.0-or-later
/* What events tell of jobs, and the line that is shown for one. */
#include <stdio.h>

#include "helper.h"
#include "job-show.h"
#include "qapi.h"

/* Takes @data over. */
static void tell(struct jobs *jobs, const char *event, struct json_object *data)
{
	CLEANUP_JSON struct json_object *message = json_object_new_object();

	qapi_add_str(message, "event", event);
	json_object_object_add(message, "data", data);
	jobs_event(message, jobs);
}

static void turns(struct jobs *jobs, const char *id, const char *to)
{
	struct json_object *data = json_object_new_object();

	qapi_add_str(data, "id", id);
	qapi_add_str(data, "status", to);
	tell(jobs, "JOB_STATUS_CHANGE", data);
}

/* At @offset of 4 MiB. */
static void ends(struct jobs *jobs, const char *event, const char *id, u64 offset,
		 const char *error)
{
	struct json_object *data = json_object_new_object();

	qapi_add_str(data, "type", "commit");
	qapi_add_str(data, "device", id);
	qapi_add_int(data, "len", 4 << 20);
	qapi_add_int(data, "offset", offset);
	qapi_add_int(data, "speed", 65536);
	qapi_add_str(data, "error", error);
	tell(jobs, event, data);
}

static void error(struct jobs *jobs, const char *id, const char *action)
{
	struct json_object *data = json_object_new_object();

	qapi_add_str(data, "device", id);
	qapi_add_str(data, "operation", "write");
	qapi_add_str(data, "action", action);
	tell(jobs, "BLOCK_JOB_ERROR", data);
}

static const char *line(struct jobs *jobs, const char *id)
{
	static char text[JOB_LINE_MAX];

	job_line(jobs_find(jobs, id), 0, text, sizeof(text));
	return text;
}

static void good_end(void **state)
{
	struct jobs jobs = TAILQ_HEAD_INITIALIZER(jobs);
	struct listed_job *job;

	(void)state;
	assert_null(jobs_find(&jobs, "a"));
	turns(&jobs, "a", "created");
	turns(&jobs, "b", "created");
	turns(&jobs, "a", "running");
	job = jobs_find(&jobs, "a");
	assert_string_equal(listed_job_status(job), "running");
	assert_string_equal(listed_job_status(jobs_find(&jobs, "b")), "created");
	ends(&jobs, "BLOCK_JOB_COMPLETED", "a", 4 << 20, NULL);
	assert_int_equal(job->end, JOB_COMPLETED);
	assert_false(job->gone);
	turns(&jobs, "a", "concluded");
	assert_int_equal(job->end, JOB_COMPLETED);
	turns(&jobs, "a", "null");
	assert_true(job->gone);
	assert_int_equal(jobs_find(&jobs, "b")->end, JOB_GOES_ON);
	assert_string_equal(line(&jobs, "a"),
			    "a  commit  completed  [################] 100%  4 MiB of 4 MiB");
	jobs_free(&jobs);
	assert_true(TAILQ_EMPTY(&jobs));
}

static void bad_ends(void **state)
{
	struct jobs jobs = TAILQ_HEAD_INITIALIZER(jobs);

	(void)state;
	turns(&jobs, "a", "running");
	ends(&jobs, "BLOCK_JOB_COMPLETED", "a", 1 << 20, "No space");
	assert_int_equal(jobs_find(&jobs, "a")->end, JOB_FAILED);
	assert_string_equal(listed_job_error(jobs_find(&jobs, "a")), "No space");
	assert_string_equal(line(&jobs, "a"),
			    "a  commit  failed     [####------------]  25%  No space, 1 MiB of 4 MiB");
	ends(&jobs, "BLOCK_JOB_CANCELLED", "b", 1, NULL);
	assert_int_equal(jobs_find(&jobs, "b")->end, JOB_CANCELLED);
	/* Whoever dismisses them has heard of the end before. */
	turns(&jobs, "c", "concluded");
	assert_int_equal(jobs_find(&jobs, "c")->end, JOB_COMPLETED);
	jobs_free(&jobs);
}

static void same_id_again(void **state)
{
	struct jobs jobs = TAILQ_HEAD_INITIALIZER(jobs);

	(void)state;
	turns(&jobs, "a", "running");
	ends(&jobs, "BLOCK_JOB_COMPLETED", "a", 1, "Input/output error");
	turns(&jobs, "a", "null");
	turns(&jobs, "a", "created");
	assert_int_equal(jobs_find(&jobs, "a")->end, JOB_GOES_ON);
	assert_false(jobs_find(&jobs, "a")->gone);
	assert_null(listed_job_error(jobs_find(&jobs, "a")));
	assert_string_equal(listed_job_status(jobs_find(&jobs, "a")), "created");
	assert_int_equal(progress_percent(&jobs_find(&jobs, "a")->progress), 0);
	jobs_free(&jobs);
}

static void errors_on_the_way(void **state)
{
	struct jobs jobs = TAILQ_HEAD_INITIALIZER(jobs);

	(void)state;
	turns(&jobs, "a", "running");
	error(&jobs, "a", "ignore");
	assert_false(jobs_find(&jobs, "a")->stopped);
	error(&jobs, "a", "stop");
	turns(&jobs, "a", "paused");
	assert_true(jobs_find(&jobs, "a")->stopped);
	assert_int_equal(jobs_find(&jobs, "a")->end, JOB_GOES_ON);
	turns(&jobs, "a", "running");
	assert_false(jobs_find(&jobs, "a")->stopped);
	jobs_free(&jobs);
}

static void others(void **state)
{
	struct jobs jobs = TAILQ_HEAD_INITIALIZER(jobs);

	(void)state;
	tell(&jobs, "BLOCK_EXPORT_DELETED", json_tokener_parse("{\"id\": \"a\"}"));
	tell(&jobs, "BLOCK_JOB_PENDING", json_tokener_parse("{\"id\": \"a\"}"));
	assert_true(TAILQ_EMPTY(&jobs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_end),
		cmocka_unit_test(bad_ends),
		cmocka_unit_test(same_id_again),
		cmocka_unit_test(errors_on_the_way),
		cmocka_unit_test(others),
	};

	return cmocka_run_group_tests_name("job-list", tests, NULL, NULL);
}
