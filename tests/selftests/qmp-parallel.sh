#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Several jobs of qchaind in one chain at once, and what is done to a chain that has one, with fio
# writing and verifying on the device meanwhile: what does not collide goes side by side, what would
# collide is refused, in QEMU's words.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
. "$(dirname "$0")/qmp-chain.sh"

# [A] <-- [B] <-- ... <-- [G] in the empty directory $dir, each with data of its own, of 2 MiB more than
# the one below it has; all of it behind the load.
chain_of_seven() {
	local name below=a at=24

	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 40M
	qemu-io -c "write -q -P 1 8M 16M" a.qcow2
	start_with_a
	for name in b c d e f g; do
		snapshot "node-${below^}" $name
		fill $(((at - 20) / 2)) $at
		at=$((at + 2)) below=$name
	done
	watch_events
	start_load $device 8M
}

# The device has all of that.
all_there() {
	local at patterns=(-c "read -P 1 8M 16M")

	for at in 24 26 28 30 32; do
		patterns+=(-c "read -P $(((at - 20) / 2)) ${at}M 2M")
	done
	qemu-io -r -f raw "${patterns[@]}" -c "read -P 7 34M 4M" -c "read -P 0 38M 2M" \
		"/dev/mapper/$device" > "$scratch/io" 2>&1 &&
		! grep "Pattern verification failed" "$scratch/io"
}

# all_end LAYERS: no byte was lost, the device shows LAYERS, all images are fine for QEMU, too.
all_end() {
	end_load
	all_there
	[ "$(status_field $device 8)" = 0 ]
	device_ends "$1" ./*.qcow2
}

# stream JOB TOP BASE [MEMBERS]; commit the same. A job does next to nothing until it is told to go.
stream() {
	execute block-stream "{\"job-id\": \"$1\", \"device\": \"$2\", \"base-node\": \"$3\",
		\"speed\": 1 ${4:-}}" | is '. == {}'
}

commit() {
	execute block-commit "{\"job-id\": \"$1\", \"device\": \"$device\", \"top-node\": \"$2\",
		\"base-node\": \"$3\", \"speed\": 1 ${4:-}}" | is '. == {}'
}

go() {
	local job

	for job; do
		execute block-job-set-speed "{\"device\": \"$job\", \"speed\": 0}" | is '. == {}'
	done
}

# All jobs run, and no other.
running() {
	execute query-block-jobs | is "[.[] | select(.status == \"running\") | .device] | sort ==
		(\"$*\" / \" \" | sort)"
}

busy() {
	echo "Node '$1' is busy: block device is in use by block job: $2"
}

# --- streams --------------------------------------------------------------------------------------

# three_streams FIRST OTHERS...
three_streams() {
	local job

	chain_of_seven
	stream low node-C node-A
	stream middle node-E node-C
	stream high $device node-E
	running low middle high
	# Wherever one ends, layers change their places for the others.
	go "$1"
	wait_for 60 status_is "$1" null
	go "${@:2}"
	wait_for 60 no_jobs
	for job in low middle high; do
		story $job "$completed"
	done
	all_end "g.qcow2 e.qcow2 c.qcow2 a.qcow2"
}

# --- with commits ---------------------------------------------------------------------------------

# A stream below, and one above, of a commit between backing files.
around_a_commit() {
	chain_of_seven
	stream low node-B node-A
	commit c node-D node-C
	stream high node-F node-E ', "auto-finalize": false'
	running low c high
	go c
	wait_for 60 status_is c null
	layers_are "g.qcow2 f.qcow2 e.qcow2 c.qcow2 b.qcow2 a.qcow2"
	running low high
	go high low
	wait_for 60 status_is high pending
	wait_for 60 status_is low null
	execute job-finalize '{"id": "high"}' | is '. == {}'
	wait_for 60 no_jobs
	all_end "g.qcow2 f.qcow2 e.qcow2 c.qcow2 b.qcow2 a.qcow2"
}

# What is written goes on to both places, whatever becomes of the layers below.
below_an_active_commit() {
	local before

	chain_of_seven
	stream low node-C node-A
	commit c node-G node-E
	go c
	wait_for 60 status_is c ready
	go low
	wait_for 60 status_is low null
	layers_are "g.qcow2 f.qcow2 e.qcow2 d.qcow2 c.qcow2 a.qcow2"
	before=$(written_kib)
	stream low2 node-D node-A
	execute query-block-jobs | is 'map(select(.device == "c" and .ready)) | length == 1'
	wait_for 60 written_since "$before" 1024
	execute block-job-complete '{"device": "c"}' | is '. == {}'
	wait_for 60 status_is c null
	layers_are "e.qcow2 d.qcow2 c.qcow2 a.qcow2"
	running low2
	go low2
	wait_for 60 no_jobs
	all_end "e.qcow2 d.qcow2 a.qcow2"
}

# --- what collides --------------------------------------------------------------------------------

refusals() {
	chain_of_seven
	stream s node-E node-C
	says "$(busy node-E stream)" block-stream '{"job-id": "x", "device": "node-E"}'
	says "$(busy node-D stream)" block-stream '{"job-id": "x", "device": "node-D"}'
	says "$(busy node-E stream)" block-stream \
		"{\"job-id\": \"x\", \"device\": \"$device\", \"base-node\": \"node-A\"}"
	says "$(busy node-E stream)" block-commit \
		"{\"job-id\": \"x\", \"device\": \"$device\", \"base-node\": \"node-A\"}"
	says "$(busy node-E stream)" block-commit "{\"job-id\": \"x\", \"device\": \"$device\",
		\"top-node\": \"node-F\", \"base-node\": \"node-E\"}"
	# What it is to end on.
	says "$(busy node-C stream)" block-commit "{\"job-id\": \"x\", \"device\": \"$device\",
		\"top-node\": \"node-C\", \"base-node\": \"node-B\"}"
	says "$(busy virtio0 stream)" block-export-del "{\"id\": \"$device\"}"
	says "Job ID 's' already in use" block-stream \
		"{\"job-id\": \"s\", \"device\": \"$device\", \"base-node\": \"node-F\"}"
	running s
	execute block-job-cancel '{"device": "s"}' | is '. == {}'
	wait_for 20 no_jobs

	# A commit has the active layer besides.
	commit c node-D node-B
	says "$(busy virtio0 commit)" block-stream \
		"{\"job-id\": \"x\", \"device\": \"$device\", \"base-node\": \"node-E\"}"
	says "$(busy virtio0 commit)" block-commit "{\"job-id\": \"x\", \"device\": \"$device\",
		\"top-node\": \"node-F\", \"base-node\": \"node-E\"}"
	says "$(busy virtio0 commit)" blockdev-snapshot-sync \
		"{\"device\": \"$device\", \"snapshot-file\": \"x.qcow2\"}"
	says "$(busy virtio0 commit)" blockdev-snapshot-internal-sync \
		"{\"device\": \"$device\", \"name\": \"x\"}"
	says "Device 'virtio0' is in use" block_resize "{\"device\": \"$device\", \"size\": 50331648}"
	says "$(busy node-B commit)" block-stream '{"job-id": "x", "device": "node-B"}'
	says "$(busy node-D commit)" block-stream \
		'{"job-id": "x", "device": "node-F", "base-node": "node-A"}'
	says "$(busy node-D commit)" block-stream \
		'{"job-id": "x", "device": "node-F", "base-node": "node-D"}'
	execute block-stream '{"job-id": "y", "device": "node-F", "base-node": "node-E"}' | is '. == {}'
	wait_for 20 status_is y null
	running c
	[ ! -e x.qcow2 ]
	go c
	wait_for 60 no_jobs
	all_end "g.qcow2 f.qcow2 e.qcow2 b.qcow2 a.qcow2"
}

# --- what is done to the chain meanwhile ------------------------------------------------------------

# The stream is between backing files: what is done to the active layer is not in its way.
changed_meanwhile() {
	chain_of_seven
	stream s node-E node-A
	snapshot node-G h
	running s
	execute block_resize "{\"device\": \"$device\", \"size\": 50331648}" | is '. == {}'
	execute blockdev-snapshot-internal-sync "{\"device\": \"$device\", \"name\": \"i\"}" |
		is '. == {}'
	execute change-backing-file "{\"device\": \"$device\", \"image-node-name\": \"node-G\",
		\"backing-file\": \"f.qcow2\"}" | is '. == {}'
	says "$(busy node-C stream)" change-backing-file "{\"device\": \"$device\",
		\"image-node-name\": \"node-C\", \"backing-file\": \"b.qcow2\"}"
	running s
	# A stopped device gets its new layers with cont; the stream goes on then.
	execute stop | is '. == {}'
	snapshot node-H i
	go s
	execute cont | is '. == {}'
	wait_for 60 status_is s null
	story s "$completed"
	execute block-stream "{\"job-id\": \"t\", \"device\": \"$device\", \"base-node\": \"node-G\"}" |
		is '. == {}'
	wait_for 60 no_jobs
	all_end "i.qcow2 g.qcow2 f.qcow2 e.qcow2 a.qcow2"
}

# --- a daemon that is killed ------------------------------------------------------------------------

# The next one finds all of them, and each ends as it was to end.
killed() {
	chain_of_seven
	stream low node-C node-A
	stream middle node-E node-C ', "auto-finalize": false'
	stream high $device node-E
	killed_and_back
	wait_for 20 running low middle high
	says "$(busy virtio0 stream)" blockdev-snapshot-sync \
		"{\"device\": \"$device\", \"snapshot-file\": \"x.qcow2\"}"
	go middle
	wait_for 60 pending
	killed_and_back
	wait_for 20 pending
	watch_events
	go low
	wait_for 60 status_is low null
	killed_and_back
	wait_for 20 pending
	layers_are "g.qcow2 f.qcow2 e.qcow2 d.qcow2 c.qcow2 a.qcow2"
	execute job-finalize '{"id": "middle"}' | is '. == {}'
	layers_are "g.qcow2 f.qcow2 e.qcow2 c.qcow2 a.qcow2"
	go high
	wait_for 60 no_jobs
	all_end "g.qcow2 e.qcow2 c.qcow2 a.qcow2"
}

pending() {
	execute query-jobs | gojq -e '[.[] | select(.id == "middle")][0].status == "pending"' > /dev/null
}

echo "# seed $seed"
place ext4

try_daemon "three streams, the lowest ends first" three_streams low middle high
if [ -n "${QCHAIN_SHORT:-}" ]; then
	left_out=2
else
	try_daemon "three streams, the highest ends first" three_streams high low middle
	try_daemon "a commit between two streams" around_a_commit
fi
try_daemon "a stream below an active commit" below_an_active_commit
try_daemon "what collides is refused" refusals
try_daemon "a chain that is changed above a stream" changed_meanwhile
try_daemon "jobs outlive the daemon" killed
tail -n 20 "$scratch/daemon.log" | sed 's/^/# /'
