#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Jobs of qchaind, with fio writing and verifying on the device meanwhile: what can be done to a
# running job, and what goes wrong; and a daemon that is killed.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"
. "$(dirname "$0")/qmp-lib.sh"
. "$(dirname "$0")/qmp-chain.sh"

# --- what is refused, and in which words ----------------------------------------------------------

refusals() {
	fresh_dir ext4
	chain_of_four
	says "DeviceNotFound: Cannot find device='x' nor node-name='x'" block-stream '{"device": "x"}'
	says "Invalid job ID ''" block-stream '{"device": "node-D"}'
	says "Invalid job ID '1'" block-stream '{"device": "node-D", "job-id": "1"}'
	says "Parameter 'speed' expects a non-negative value" block-stream \
		'{"device": "virtio0", "speed": -1}'
	says "Can't find 'x' in the backing chain" block-stream '{"device": "virtio0", "base": "x"}'
	says "'base' and 'bottom' cannot be specified at the same time" block-stream \
		'{"device": "virtio0", "base": "a.qcow2", "bottom": "node-B"}'
	says "Node 'node-D' is not a backing image of 'node-C'" block-stream \
		'{"device": "node-C", "base-node": "node-D", "job-id": "j"}'
	says "Node 'node-D' is not in a chain starting from 'node-C'" block-stream \
		'{"device": "node-C", "bottom": "node-D", "job-id": "j"}'
	says "backing file specified, but streaming the entire chain" block-stream \
		'{"device": "virtio0", "backing-file": "x"}'
	says "DeviceNotFound: Device 'x' not found" block-commit '{"device": "x"}'
	says "Need a root block node" block-commit '{"device": "node-C"}'
	says "Top image file x not found" block-commit '{"device": "virtio0", "top": "x"}'
	says "Can't find 'x' in the backing chain" block-commit '{"device": "virtio0", "base": "x"}'
	says "cannot commit an image into itself" block-commit \
		'{"device": "virtio0", "top-node": "node-B", "base-node": "node-B"}'
	says "'node-C' is not in this backing file chain" block-commit \
		'{"device": "virtio0", "top-node": "node-B", "base-node": "node-C"}'
	says "'backing-file' specified, but 'top' is the active layer" block-commit \
		'{"device": "virtio0", "backing-file": "x"}'
	says "DeviceNotActive: Block job 'virtio0' not found" block-job-cancel '{"device": "virtio0"}'
	says "DeviceNotActive: Block job 'x' not found" block-job-dismiss '{"id": "x"}'
	says "Job not found" job-pause '{"id": "x"}'
	no_jobs
	# Somebody has the base open: it cannot be written to, and all is as it was.
	stdbuf -oL qemu-io -r -c "read 0 512" -c "sleep 6000" c.qcow2 > "$scratch/opened" &
	wait_for 20 grep -q "^read 512" "$scratch/opened"
	says 'Failed to get shared "write" lock' block-stream \
		'{"device": "node-C", "base-node": "node-A", "job-id": "j"}' ||
		says 'Failed to get "write" lock' block-stream \
			'{"device": "node-C", "base-node": "node-A", "job-id": "j"}'
	wait $!
	no_jobs
	[ -z "$(told j)" ]
	ends "d.qcow2 c.qcow2 b.qcow2 a.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
}

# --- a job that runs ------------------------------------------------------------------------------

steered() {
	local at busy="Node 'virtio0' is busy: block device is in use by block job: stream"

	fresh_dir ext4
	chain_of_four
	execute block-stream '{"device": "virtio0", "base": "a.qcow2", "speed": 65536,
		"auto-finalize": false, "auto-dismiss": false}' | is '. == {}'
	execute query-block-jobs | is 'length == 1 and (.[0] | .type == "stream" and
		.device == "virtio0" and .len == 41943040 and .offset < .len and .busy and
		(.paused | not) and .speed == 65536 and ."io-status" == "ok" and (.ready | not) and
		.status == "running" and (."auto-finalize" | not) and (."auto-dismiss" | not))'
	execute query-jobs | is '.[0] | .id == "virtio0" and .type == "stream" and
		.status == "running" and ."total-progress" == 41943040'
	says "$busy" block-stream '{"device": "virtio0", "job-id": "other"}'
	says "$busy" block-commit '{"device": "virtio0", "job-id": "other"}'
	says "$busy" blockdev-snapshot-sync '{"device": "virtio0", "snapshot-file": "x.qcow2"}'
	says "$busy" block-export-del '{"id": "virtio0"}'
	says "Job 'virtio0' in state 'running' cannot accept command verb 'complete'" \
		job-complete '{"id": "virtio0"}'
	says "Job 'virtio0' in state 'running' cannot accept command verb 'dismiss'" \
		block-job-dismiss '{"id": "virtio0"}'
	says "Can't resume a job that was not paused" job-resume '{"id": "virtio0"}'
	execute job-pause '{"id": "virtio0"}' | is '. == {}'
	wait_for 10 status_is virtio0 paused
	says "Job is already paused" block-job-pause '{"device": "virtio0"}'
	says "The block job for device 'virtio0' is currently paused" block-job-cancel \
		'{"device": "virtio0"}'
	at=$(execute query-block-jobs | gojq '.[0].offset')
	execute block-job-set-speed '{"device": "virtio0", "speed": 0}' | is '. == {}'
	sleep 0.5
	execute query-block-jobs | is ".[0] | .offset == $at and .paused and .speed == 0"
	execute block-job-resume '{"device": "virtio0"}' | is '. == {}'
	wait_for 60 status_is virtio0 pending
	story virtio0 "created running paused running waiting pending BLOCK_JOB_PENDING"
	layers_are "d.qcow2 c.qcow2 b.qcow2 a.qcow2"
	execute job-finalize '{"id": "virtio0"}' | is '. == {}'
	layers_are "d.qcow2 a.qcow2"
	execute query-jobs | is '.[0] | .status == "concluded" and (has("error") | not)'
	says "Job ID 'virtio0' already in use" block-stream '{"device": "virtio0"}'
	says "Job 'virtio0' in state 'concluded' cannot accept command verb 'cancel'" \
		job-cancel '{"id": "virtio0"}'
	execute job-dismiss '{"id": "virtio0"}' | is '. == {}'
	wait_for 10 status_is virtio0 null
	no_jobs

	: > "$scratch/events"
	execute block-stream '{"device": "virtio0", "speed": 1}' | is '. == {}'
	execute block-job-cancel '{"device": "virtio0"}' | is '. == {}'
	wait_for 10 status_is virtio0 null
	story virtio0 "created running aborting BLOCK_JOB_CANCELLED concluded null"
	data_of BLOCK_JOB_CANCELLED | is '.offset < .len and .type == "stream"'
	: > "$scratch/events"
	execute block-commit '{"device": "virtio0", "job-id": "j"}' | is '. == {}'
	wait_for 60 status_is j ready
	execute block-job-cancel '{"device": "j"}' | is '. == {}'
	wait_for 10 status_is j null
	story j "created running ready BLOCK_JOB_READY ${completed#created running }"
	: > "$scratch/events"
	execute block-commit '{"device": "virtio0", "job-id": "j"}' | is '. == {}'
	wait_for 60 status_is j ready
	execute job-pause '{"id": "j"}' | is '. == {}'
	wait_for 10 status_is j standby
	execute job-cancel '{"id": "j"}' | is '. == {}'
	wait_for 10 status_is j null
	story j "created running ready BLOCK_JOB_READY standby ready aborting BLOCK_JOB_CANCELLED concluded null"
	# What is stopped does not go on because a job ends.
	: > "$scratch/events"
	execute block-commit '{"device": "virtio0", "job-id": "j", "speed": 1}' | is '. == {}'
	execute stop | is '. == {}'
	execute block-job-cancel '{"device": "j"}' | is '. == {}'
	wait_for 10 status_is j null
	[ "$(dmsetup info -c --noheadings -o suspended virtio0)" = Suspended ]
	execute cont | is '. == {}'
	[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded virtio0)" = Active:Live ]
	dmsetup table virtio0 | fails grep writable
	ends "d.qcow2 a.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
}

# --- an active commit while more is written than it copies ----------------------------------------

# It copies slowly until the 16 MiB have been written three times: were it to copy what has changed
# since, it would never be ready.
caught_up() {
	local before copied

	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 16M
	start_with_a
	snapshot node-A b
	watch_events
	head -c 16M /dev/urandom | dd of=/dev/mapper/virtio0 bs=1M oflag=direct status=none
	start_load virtio0 16M
	before=$(written_kib)
	execute block-commit '{"device": "virtio0", "speed": 65536}' | is '. == {}'
	wait_for 300 written_since "$before" $((48 << 10))
	execute block-job-set-speed '{"device": "virtio0", "speed": 2097152}' | is '. == {}'
	wait_for 120 status_is virtio0 ready
	copied=$(data_of BLOCK_JOB_READY | gojq .offset)
	echo "# $(($(written_kib) - before)) KiB written while $((copied >> 10)) were copied"
	[ $(($(written_kib) - before)) -gt $((2 * copied >> 10)) ]
	kill -0 "$load"
	execute block-job-complete '{"device": "virtio0"}' | is '. == {}'
	wait_for 60 status_is virtio0 null
	story virtio0 "created running ready BLOCK_JOB_READY ${completed#created running }"
	kill -0 "$load"
	end_load
	layers_are a.qcow2
	dd if=/dev/mapper/virtio0 of="$scratch/content" bs=1M iflag=direct status=none
	quit_daemon
	clean a.qcow2
	content a.qcow2 "$scratch/content"
}

# --- an end that cannot be written ----------------------------------------------------------------

# The kernel does not forget a job before the state says that it has ended.
unwritten() {
	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 8M
	start_with_a
	snapshot node-A b
	fill 2 4
	until_pending
	mkdir "$QCHAIN_STATE.new"
	execute job-finalize '{"id": "j"}' | is '. == {}'
	execute query-jobs | is '.[0] | .status == "concluded" and (has("error") | not)'
	kill -9 "$daemon"
	was_killed
	rmdir "$QCHAIN_STATE.new"
	launch_with_a
	daemon_ready
	wait_for 20 job_is pending
	execute job-finalize '{"id": "j"}' | is '. == {}'
	execute query-jobs | is '.[0] | .status == "concluded" and (has("error") | not)'
	execute job-dismiss '{"id": "j"}' | is '. == {}'
	[ "$(status_field virtio0 8)" = 0 ]
	# Without a kill it is made up for.
	until_pending
	mkdir "$QCHAIN_STATE.new"
	execute job-finalize '{"id": "j"}' | is '. == {}'
	[ "$(status_field virtio0 8)" = 1 ]
	rmdir "$QCHAIN_STATE.new"
	wait_for 20 forgotten
	execute job-dismiss '{"id": "j"}' | is '. == {}'
	layers_are "b.qcow2 a.qcow2"
	quit_daemon
	clean a.qcow2
	qemu-img compare -q a.qcow2 b.qcow2
}

# A commit, cancelled when it was ready: then it has succeeded.
until_pending() {
	execute block-commit '{"device": "virtio0", "job-id": "j", "auto-finalize": false,
		"auto-dismiss": false}' | is '. == {}'
	wait_for 20 job_is ready
	execute block-job-cancel '{"device": "j"}' | is '. == {}'
	wait_for 20 job_is pending
}

job_is() {
	execute query-jobs | gojq -e ".[0].status == \"$1\"" > /dev/null
}

forgotten() {
	[ "$(status_field virtio0 8)" = 0 ]
}

# --- a base that is too short ---------------------------------------------------------------------

# It is made larger, and what is below it does not show in what is new.
short_base() {
	local n

	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 c.qcow2 16M
	qemu-io -c "write -P 1 0 16M" c.qcow2 > /dev/null
	qemu-img create -q -f qcow2 -b c.qcow2 -F qcow2 b.qcow2 8M
	qemu-io -c "write -P 2 1M 1M" b.qcow2 > /dev/null
	qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 a.qcow2 16M
	qemu-io -c "write -P 3 2M 1M" a.qcow2 > /dev/null
	flatten a.qcow2 "$scratch/content"
	start_with_a
	watch_events
	cmp /dev/mapper/virtio0 "$scratch/content"	# now the kernel knows all tables
	execute block-commit '{"device": "virtio0", "base": "b.qcow2"}' | is '. == {}'
	cmp /dev/mapper/virtio0 "$scratch/content"
	wait_for 60 status_is virtio0 ready
	execute block-job-complete '{"device": "virtio0"}' | is '. == {}'
	wait_for 60 status_is virtio0 null
	layers_are "b.qcow2 c.qcow2"
	cmp /dev/mapper/virtio0 "$scratch/content"
	quit_daemon
	for n in a b c; do clean $n.qcow2; done
	content b.qcow2 "$scratch/content"
}

# What cannot be made larger stays as it is: it has no cluster for its own end.
short_base_refused() {
	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 c.qcow2 16M
	qemu-io -c "write -P 1 0 16M" c.qcow2 > /dev/null
	qemu-img create -q -f qcow2 -b c.qcow2 -F qcow2 b.qcow2 $((8 * MIB + 512))
	qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 a.qcow2 16M
	flatten a.qcow2 "$scratch/content"
	start_with_a
	says_part "a cluster that it does not have" block-commit '{"device": "virtio0", "base": "b.qcow2"}'
	no_jobs
	cmp /dev/mapper/virtio0 "$scratch/content"
	quit_daemon
	for n in a b c; do clean $n.qcow2; done
	content a.qcow2 "$scratch/content"
}

# --- errors below ---------------------------------------------------------------------------------

# The base is on a disk that can be made to fail.
over_bad_base() {
	fresh_dir tmpfs
	cd "$dir"
	qemu-img create -q -f qcow2 base.qcow2 16M
	qemu-io -c "write -P 1 0 16M" base.qcow2 > /dev/null
	dd if=base.qcow2 of=/dev/mapper/bad-base bs=64k oflag=direct conv=fsync status=none
	qemu-img create -q -f qcow2 -b /dev/mapper/bad-base -F qcow2 a.qcow2 16M
	start_with_a
	watch_events
}

bad_base() {
	over_bad_base
	fail_at bad-base $((8 << 20)) 65536 error
	execute block-stream '{"device": "virtio0", "on-error": "stop"}' | is '. == {}'
	wait_for 20 status_is virtio0 paused
	data_of BLOCK_JOB_ERROR | is '. == {"device": "virtio0", "operation": "read",
		"action": "stop"}'
	execute query-block-jobs | is '.[0] | .paused and ."io-status" == "failed" and
		.status == "paused"'
	fail_at bad-base
	execute block-job-resume '{"device": "virtio0"}' | is '. == {}'
	wait_for 20 status_is virtio0 null
	story virtio0 "created running BLOCK_JOB_ERROR paused running ${completed#created running }"
	layers_are "a.qcow2"

	snapshot node-A b
	qemu-img create -q -f qcow2 -b /dev/mapper/bad-base -F qcow2 c.qcow2 16M
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-X",
		"file": {"driver": "file", "filename": "c.qcow2"}}' | is '. == {}'
	execute block-export-add '{"type": "dm", "id": "x", "name": "x", "node-name": "node-X",
		"writable": true}' | is '. == {}'
	fail_at bad-base $((8 << 20)) 65536 error
	execute block-stream '{"device": "x", "auto-dismiss": false}' | is '. == {}'
	wait_for 20 status_is x concluded
	story x "created running BLOCK_JOB_ERROR aborting BLOCK_JOB_COMPLETED concluded"
	data_of BLOCK_JOB_COMPLETED | tail -n 1 | is '.error == "Input/output error"'
	execute query-jobs | is '.[0] | .error == "Input/output error" and .status == "concluded"'
	[ "$(layers_of x | wc -w)" = 2 ]
	fail_at bad-base
	qemu-io -f raw -c "write -P 3 0 1M" /dev/mapper/x > /dev/null
	fail_at bad-base 0 $((32 << 20)) error_writes
	execute block-commit '{"device": "x", "job-id": "y"}' | is '. == {}'
	wait_for 20 status_is y null
	data_of BLOCK_JOB_ERROR | tail -n 1 | is '. == {"device": "y", "operation": "write",
		"action": "report"}'
	fail_at bad-base

	# A base whose metadata cannot be written must not take the place of the top layer.
	qemu-io -f raw -c "write -P 5 0 64k" /dev/mapper/x > /dev/null
	execute block-commit '{"device": "x", "job-id": "w", "auto-dismiss": false}' | is '. == {}'
	wait_for 20 status_is w ready
	blkdiscard -o 12M -l 1M /dev/mapper/x
	sync /dev/mapper/x
	fail_at bad-base 0 $((1 << 20)) error_writes
	blkdiscard -o 14M -l 1M /dev/mapper/x
	execute block-job-complete '{"device": "w"}' | is '. == {}'
	wait_for 20 status_is w concluded
	execute query-jobs | is '.[] | select(.id == "w") | has("error")'
	[ "$(layers_of x | wc -w)" = 2 ]
	[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded x)" = Active:Live ]
	fail_at bad-base
	execute block-commit '{"device": "x", "job-id": "z"}' | is '. == {}'
	wait_for 20 status_is z ready
	execute block-job-complete '{"device": "z"}' | is '. == {}'
	wait_for 20 status_is z null
	[ "$(layers_of x | wc -w)" = 1 ]
	qemu-io -r -f raw -c "read -P 5 0 64k" -c "read -P 3 64k 960k" -c "read -P 1 1M 11M" \
		-c "read -P 0 14M 1M" /dev/mapper/x | fails grep "Pattern verification failed"
	quit_daemon
	kill "$events" 2> /dev/null || :		# it may have seen the end
	for image in a b c; do clean $image.qcow2; done
	sound /dev/mapper/bad-base
	qemu-img compare -q -f qcow2 -F qcow2 b.qcow2 base.qcow2
}

# The kernel refuses to go over to a base whose metadata cannot be written; the daemon is killed
# while it is asked.
refused_switch() {
	over_bad_base
	execute block-commit '{"device": "virtio0", "job-id": "w"}' | is '. == {}'
	wait_for 20 status_is w ready
	blkdiscard -o 12M -l 1M /dev/mapper/virtio0
	dmsetup suspend bad-base
	request block-job-complete '{"device": "w"}'
	wait_for 20 stands || { dmsetup resume bad-base; return 1; }
	kill -9 "$daemon"
	pieces "$(readlink "$scratch/bad-base.disk")" 0 $((1 << 20)) error_writes |
		dmsetup load bad-base
	dmsetup resume bad-base
	was_killed
	wait_for 20 runs
	[ "$(layers_of virtio0)" = "a.qcow2 bad-base" ]
	fails unlocked a.qcow2
	fail_at bad-base
	launch_with_a
	fails answer
	daemon_ready
	wait_for 60 no_jobs
	layers_are bad-base
	fails unlocked /dev/mapper/bad-base
	qemu-io -r -f raw -c "read -P 1 0 12M" -c "read -P 0 12M 1M" -c "read -P 1 13M 3M" \
		/dev/mapper/virtio0 | fails grep "Pattern verification failed"
	quit_daemon
	sound /dev/mapper/bad-base
	clean a.qcow2
}

# "commit" of the monitor for people: before it starts the state has that it ends by itself.
people() {
	over_bad_base
	qemu-io -f raw -c "write -P 5 0 64k" /dev/mapper/virtio0 > /dev/null
	dmsetup suspend bad-base
	request human-monitor-command '{"command-line": "commit virtio0"}'
	wait_for 20 gojq -e '.graph.jobs[0]."ends-here"' "$QCHAIN_STATE" > /dev/null ||
		{ dmsetup resume bad-base; return 1; }
	dmsetup resume bad-base
	answer | is '. == ""'
	wait_for 60 no_jobs
	story virtio0 "created running ready BLOCK_JOB_READY ${completed#created running }"
	layers_are "a.qcow2 bad-base"
	quit_daemon
	qemu-io -r -f qcow2 -c "read -P 5 0 64k" /dev/mapper/bad-base |
		fails grep "Pattern verification failed"
}

stands() {
	[ "$(dmsetup info -c --noheadings -o suspended virtio0)" = Suspended ]
}

runs() {
	[ "$(dmsetup info -c --noheadings -o suspended virtio0)" = Active ]
}

# --- quit while a device is in use ----------------------------------------------------------------

# add NAME FILENAME DRIVER: an export of what is to be written to.
add() {
	execute blockdev-add "{\"driver\": \"raw\", \"node-name\": \"node-$1\",
		\"file\": {\"driver\": \"$3\", \"filename\": \"$2\"}}" | is '. == {}'
	execute block-export-add "{\"type\": \"dm\", \"id\": \"$1\", \"name\": \"$1\",
		\"node-name\": \"node-$1\", \"writable\": true}" | is '. == {}'
}

devices_are() {
	[ "$(dm_names | grep -vx -e bad-base -e other | sort | xargs)" = "$1" ] || { dm_names; return 1; }
}

# All is as it was: the devices, and the job.
untouched() {
	execute query-block-exports | is '[.[].id] | sort == ["newer", "on-it", "virtio0"]'
	devices_are "newer on-it virtio0"
	execute query-jobs | is 'length == 1 and .[0].status == "running"'
	story virtio0 "created running"
}

# The job is of the oldest device, which is also what is in use; one is on another one.
refused_quit() {
	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 8M
	start_with_a
	snapshot node-A b
	fill 2 4
	watch_events
	truncate -s 8M newer.img
	add newer newer.img file
	add on-it /dev/mapper/newer host_device
	execute block-stream '{"device": "virtio0", "speed": 1}' | is '. == {}'
	wait_for 10 status_is virtio0 running
	for name in virtio0 newer on-it; do
		exec 9< /dev/mapper/$name
		says_part "export '$name' still in use" quit
		exec 9<&-
		untouched
	done
	dmsetup create other --table "0 8 linear /dev/mapper/newer 0"
	says_part "export 'newer' still in use" quit
	untouched
	dmsetup remove --retry other

	# A signal leaves everything running, and the job with it.
	exec 9< /dev/mapper/virtio0
	kill -TERM "$daemon"
	fails wait "$daemon"
	exec 9<&-
	devices_are "newer on-it virtio0"
	[ "$(status_field virtio0 8)" = 1 ]
	launch_with_a
	daemon_ready
	wait_for 10 job_is running
	# Nobody is left: also the one that lies on another one goes.
	quit_daemon
	devices_are ""
	clean a.qcow2
	clean b.qcow2
}

# --- the name of a filter -------------------------------------------------------------------------

# The name of a filter node is taken and listed while the job is there, also by the next daemon.
filters() {
	local name='"filter-node-name": "flt"'

	fresh_dir ext4
	chain_of_four
	execute block-commit "{\"device\": \"virtio0\", \"job-id\": \"j\", \"speed\": 1, $name,
		\"top-node\": \"node-C\", \"base-node\": \"node-B\"}" | is '. == {}'
	listed '.drv == "commit_top" and .ro and .file == "c.qcow2" and .backing_file_depth == 3 and
		.image.format == "commit_top" and .image."backing-image".filename == "c.qcow2"'
	name_is_taken
	killed_and_back
	wait_for 20 job_is running
	listed '.drv == "commit_top"'
	name_is_taken
	execute block-job-cancel '{"device": "j"}' | is '. == {}'
	wait_for 20 no_jobs
	execute query-named-block-nodes | is 'all(."node-name" != "flt")'
	execute block-commit "{\"device\": \"virtio0\", \"job-id\": \"j\", $name}" | is '. == {}'
	listed '.drv == "mirror_top" and (.ro | not) and .file == "d.qcow2"'
	wait_for 60 job_is ready
	execute block-job-cancel '{"device": "j"}' | is '. == {}'
	wait_for 20 no_jobs
	execute block-stream "{\"device\": \"virtio0\", \"job-id\": \"j\", \"speed\": 1, $name,
		\"auto-dismiss\": false}" | is '. == {}'
	listed '.drv == "copy-on-read" and .file == "d.qcow2"'
	execute block-job-cancel '{"device": "j"}' | is '. == {}'
	wait_for 20 job_is concluded
	execute query-named-block-nodes | is 'all(."node-name" != "flt")'
	execute blockdev-add '{"driver": "file", "node-name": "flt", "filename": "x.raw"}' |
		is '. == {}'
	ends "d.qcow2 c.qcow2 b.qcow2 a.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
}

listed() {
	execute query-named-block-nodes | is "[.[] | select(.\"node-name\" == \"flt\")] |
		length == 1 and (.[0] | $1)"
}

name_is_taken() {
	truncate -s 1M x.raw
	says "Duplicate nodes with node-name='flt'" blockdev-add \
		'{"driver": "file", "node-name": "flt", "filename": "x.raw"}'
	says "Device name 'flt' conflicts with an existing node name" block-export-add \
		'{"type": "dm", "id": "flt", "node-name": "node-D", "name": "y"}'
}

# --- what clients have set ------------------------------------------------------------------------

# kept STATUS FILTER: the job has, before and after.
kept() {
	wait_for 20 job_is "$1"
	execute query-block-jobs | is ".[0] | $2"
	killed_and_back
	wait_for 20 job_is "$1"
	execute query-block-jobs | is ".[0] | $2"
}

# The next daemon has it, too.
outlives() {
	local set='(."auto-finalize" | not) and (."auto-dismiss" | not)'

	over_bad_base
	execute block-commit '{"device": "virtio0", "job-id": "j", "auto-finalize": false,
		"auto-dismiss": false}' | is '. == {}'
	wait_for 20 job_is ready
	execute job-pause '{"id": "j"}' | is '. == {}'
	kept standby ".paused and .ready and $set"
	execute job-resume '{"id": "j"}' | is '. == {}'
	kept ready "(.paused | not) and .ready and $set"
	execute job-complete '{"id": "j"}' | is '. == {}'
	kept pending "$set"
	execute job-finalize '{"id": "j"}' | is '. == {}'
	kept concluded "(has(\"error\") | not)"
	execute job-dismiss '{"id": "j"}' | is '. == {}'
	killed_and_back
	no_jobs
	layers_are bad-base
	quit_daemon

	over_bad_base
	fail_at bad-base $((8 << 20)) 65536 error
	execute block-stream '{"device": "virtio0", "on-error": "stop", "speed": 1048576,
		"auto-dismiss": false}' | is '. == {}'
	execute block-job-set-speed '{"device": "virtio0", "speed": 8388608}' | is '. == {}'
	execute job-pause '{"id": "virtio0"}' | is '. == {}'
	kept paused '.paused and ."io-status" == "ok" and .speed == 8388608'
	execute job-resume '{"id": "virtio0"}' | is '. == {}'
	wait_for 20 stopped
	kept paused '.paused and ."io-status" == "failed" and .speed == 8388608'
	execute block-job-set-speed '{"device": "virtio0", "speed": 0}' | is '. == {}'
	fail_at bad-base
	execute job-resume '{"id": "virtio0"}' | is '. == {}'
	kept concluded '(has("error") | not) and (."auto-dismiss" | not)'
	quit_daemon
	clean a.qcow2
}

stopped() {
	execute query-block-jobs | gojq -e '.[0]."io-status" == "failed"' > /dev/null
}

# --- a daemon that is killed ----------------------------------------------------------------------

killed() {
	local n top=node-A low high rounds=$many_kills

	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 40M
	qemu-io -c "write -P 1 16M 8M" a.qcow2 > /dev/null
	start_with_a
	start_load virtio0 8M
	for n in $(seq "$rounds"); do
		low=b$n high=c$n
		snapshot "$top" $low
		sleep 0.5
		snapshot "node-${low^}" $high
		case $((n % 4)) in
		0)	request block-stream "{\"device\": \"virtio0\", \"base-node\": \"node-A\"}" ;;
		1)	request block-commit "{\"device\": \"virtio0\", \"top-node\": \"node-${low^}\",
				\"base-node\": \"node-A\"}" ;;
		2)	request block-stream "{\"device\": \"node-${low^}\", \"job-id\": \"virtio0\",
				\"base-node\": \"node-A\"}" ;;
		3)	request block-commit "{\"device\": \"virtio0\", \"base-node\": \"node-A\"}" ;;
		esac
		sleep "0.$(printf '%03d' $((RANDOM % 600)))"
		kill -9 "$daemon"
		was_killed
		launch_with_a
		answer || true
		daemon_ready
		if [ $((n % 4)) = 3 ]; then
			wait_for 60 ready_or_none
			execute block-job-complete '{"device": "virtio0"}' > /dev/null || true
		fi
		wait_for 60 no_jobs || { execute query-block-jobs; return 1; }
		layers_are "$(layers_of virtio0)"
		# Nothing keeps a node that is not in the chain any more.
		[ "$(execute query-named-block-nodes | gojq -r '.[] | select(.drv == "qcow2").file' |
			wc -l)" = "$(layers_of virtio0 | wc -w)" ]
		[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded virtio0)" = Active:Live ]
		[ "$(status_field virtio0 8)" = 0 ]
		kill -0 "$load"
		echo "# round $n: $(layers_of virtio0)"
		# Back to A and one more, whatever came of it.
		top=$(execute query-block | gojq -r '.[0].inserted."node-name"')
		[ "$top" = node-A ] || {
			execute block-stream "{\"device\": \"$top\", \"job-id\": \"again\",
				\"base-node\": \"node-A\"}" > /dev/null
			wait_for 60 no_jobs
			layers_are "$(basename "$(execute query-block |
				gojq -r '.[0].inserted.file')") a.qcow2"
		}
	done
	end_load
	qemu-io -r -f raw -c "read -P 1 16M 8M" -c "read -P 0 24M 16M" /dev/mapper/virtio0 |
		fails grep "Pattern verification failed"
	dd if=/dev/mapper/virtio0 of="$scratch/content" bs=1M iflag=direct status=none
	low=$(layers_of virtio0)
	quit_daemon
	for n in $low; do
		clean "$n"
		unlocked "$n"
	done
	content "${low%% *}" "$scratch/content"
}

ready_or_none() {
	execute query-jobs | gojq -e '. == [] or .[0].status == "ready"' > /dev/null
}

echo "# seed $seed"
plan 13
modprobe dm-flakey || skip_all "there is no dm-flakey"
place tmpfs
place ext4
bad_disk bad-base 32

try_daemon "refusals" refusals
try_daemon "pause, speed, finalize, dismiss, cancel" steered
try_daemon "an active commit while more is written than it copies" caught_up
try_daemon "an end that cannot be written" unwritten
try_daemon "a base that is too short" short_base
try_daemon "a base that cannot be made longer" short_base_refused
try_daemon "errors below" bad_base
try_daemon "commit by the monitor for people" people
try_daemon "quit while a device is in use harms nothing" refused_quit
try_daemon "the name of a job's filter" filters
try_daemon "what clients have set outlives the daemon" outlives
try_daemon "a daemon that is killed while the kernel refuses a base" refused_switch
try_daemon "a daemon that is killed" killed
tail -n 20 "$scratch/daemon.log" | sed 's/^/# /'
