#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The older ways to talk to qchaind: block_stream, query-block-stream and change, and the monitor for
# people, as the texts that they come from have them, with fio writing and verifying meanwhile.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
. "$(dirname "$0")/qmp-chain.sh"

export QCHAIN_SOCKET=$sock

# hmp TEXT LINE: is what the daemon says to the line.
hmp() {
	local got

	got=$(qchain hmp "$2" 2>&1) || true
	[ "$got" = "$1" ] || { printf '# %s\n# not: %s\n# to: %s\n' "$got" "$1" "$2"; return 1; }
}

# hmp_lines TEXT LINE...: the same of several, right after each other.
hmp_lines() {
	local got

	got=$(printf '%s\n' "${@:2}" | qchain hmp 2>&1) || true
	[ "$got" = "$1" ] || { printf '# %s\n# not: %s\n' "$got" "$1"; return 1; }
}

# The device over a.qcow2 alone, with the load.
device_over_a() {
	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 40M
	qemu-io -c "write -P 1 0 28M" a.qcow2 > /dev/null
	start_with_a
	watch_events
	start_load "$device" 8M
}

# --- the text of 2011 -----------------------------------------------------------------------------

streams() {
	fresh_dir ext4
	BASE_MIB=10240 chain_of_four
	says "'all' and 'stop' cannot be specified at the same time" \
		block_stream '{ "device": "virtio0", "all": true, "stop": true }'
	says "DeviceNotActive: No active stream on device 'virtio0'" \
		block_stream '{ "stop": true, "device": "virtio0" }'
	says "DeviceNotFound: Device 'node-D' not found" \
		block_stream '{ "all": true, "device": "node-D" }'
	qmp '{ "execute": "query-block-stream" }' | is '. == []'

	# While the device is stopped the stream is, too, and can be looked at.
	execute stop | is '. == {}'
	qmp '{ "execute": "block_stream", "arguments": { "all": true, "device": "virtio0" } }' |
		is '. == {}'
	qmp '{ "execute": "query-block-stream" }' |
		is '. == [{ "device": "virtio0", "len": 10737418240, "offset": 0 }]'
	execute query-block-jobs | is '.[0] | .device == "virtio0" and .type == "stream"'
	says "Node 'virtio0' is busy: block device is in use by block job: stream" \
		block_stream '{ "all": true, "device": "virtio0" }'
	qmp '{ "execute": "block_stream", "arguments": { "stop": true, "device": "virtio0" } }' |
		is '. == {}'
	execute cont | is '. == {}'
	wait_for 20 status_is virtio0 null
	story virtio0 "created running aborting BLOCK_JOB_CANCELLED concluded null"
	qmp '{ "execute": "query-block-stream" }' | is '. == []'
	layers_are "d.qcow2 c.qcow2 b.qcow2 a.qcow2"

	# One that was started in the new way, has another name, and is paused; a commit is no stream.
	execute block-stream '{"device": "virtio0", "job-id": "new", "speed": 65536}' | is '. == {}'
	execute block-job-pause '{"device": "new"}' | is '. == {}'
	qmp '{ "execute": "query-block-stream" }' | is 'length == 1 and (.[0] |
		.device == "virtio0" and .len == 10737418240 and .offset < .len and length == 3)'
	execute block_stream '{ "stop": true, "device": "virtio0" }' | is '. == {}'
	wait_for 20 status_is new null
	execute block-commit '{"device": "virtio0", "job-id": "commit", "speed": 65536}' | is '. == {}'
	execute query-block-stream | is '. == []'
	says "DeviceNotActive: No active stream on device 'virtio0'" \
		block_stream '{ "stop": true, "device": "virtio0" }'
	execute block-job-cancel '{"device": "commit", "force": true}' | is '. == {}'
	wait_for 20 status_is commit null
	layers_are "d.qcow2 c.qcow2 b.qcow2 a.qcow2"

	: > "$scratch/events"
	execute block_stream '{ "all": true, "device": "virtio0" }' | is '. == {}'
	wait_for 60 status_is virtio0 null
	story virtio0 "$completed"
	execute query-block-stream | is '. == []'
	end_load
	layers_are d.qcow2
	still_there raw /dev/mapper/virtio0
	quit_daemon
	kill "$events" 2> /dev/null || true
	clean d.qcow2
	unlocked d.qcow2
	still_there qcow2 d.qcow2
}

# step: the next cluster of the device; $offset is where it ends.
step() {
	local got='"offset": ([0-9]+)'

	qmp '{ "execute": "block_stream", "arguments": { "device": "virtio0" } }' > "$scratch/step" &&
		[[ $(< "$scratch/step") =~ $got ]] || { sed 's/^/# /' "$scratch/step"; return 1; }
	offset=${BASH_REMATCH[1]}
}

# One cluster for each call, with other writes in between, and a daemon that dies.
steps() {
	local offset last=0 calls=0

	fresh_dir ext4
	chain_of_four
	execute stop | is '. == {}'
	says_part "Device or resource busy" block_stream '{ "device": "virtio0" }'
	execute cont | is '. == {}'
	step
	is '. == { "device": "virtio0", "len": 41943040, "offset": .offset }' < "$scratch/step"
	execute query-block-jobs | is '. == []'
	layers_are "d.qcow2 c.qcow2 b.qcow2 a.qcow2"
	while [ "$offset" -lt 41943040 ]; do
		calls=$((calls + 1))
		last=$offset
		if [ $calls = 20 ]; then
			killed_and_back
			watch_events
		fi
		step
		# It is one cluster where there is something to copy: from 8 MiB on, below the load.
		[ "$offset" -gt "$last" ]
		[ "$last" -lt $((8 << 20)) ] || [ "$offset" -gt $((28 << 20)) ] ||
			[ "$offset" = $((last + 65536)) ] || { echo "# $last, $offset"; return 1; }
	done
	echo "# $calls calls"
	wait_for 60 status_is virtio0 null
	story virtio0 "$completed"
	end_load
	layers_are d.qcow2
	still_there raw /dev/mapper/virtio0
	# There is nothing more to be had.
	step
	[ "$offset" = 41943040 ]
	execute query-block-jobs | is '. == []'
	quit_daemon
	kill "$events" 2> /dev/null || true
	clean d.qcow2
	unlocked d.qcow2
	still_there qcow2 d.qcow2
}

change() {
	execute change "{ \"device\": \"virtio-blk0\", \"target\": \"$1\", \"notify\": false }"
}

refuses_change() {
	says "$1" change "{ \"device\": \"virtio-blk0\", \"target\": \"$2\", \"notify\": false }"
}

# 1. create the destination file, 2. switch to it, 3. stream the base into it.
live_copy() {
	device=virtio-blk0
	device_over_a
	says "DeviceNotFound: Device 'ide1-cd0' not found" change '{ "device": "ide1-cd0",
		"target": "/srv/images/Fedora-12-x86_64-DVD.iso" }'
	says "DeviceNotFound: Device 'vnc' not found" change '{ "device": "vnc",
		"target": "password", "arg": "foobar1" }'
	qemu-img create -q -f qcow2 other.img 40M
	qemu-img create -q -f qcow2 -u -b a.qcow2 -F raw raw.img 40M
	says "Device 'virtio-blk0' is not removable" change \
		"{ \"device\": \"virtio-blk0\", \"target\": \"other.img\" }"
	refuses_change "'other.img' is not backed by './a.qcow2', which device 'virtio-blk0' has" \
		other.img
	refuses_change "'raw.img' takes './a.qcow2' for raw, but it is qcow2" raw.img
	says_part "nothing.img" change '{ "device": "virtio-blk0", "target": "nothing.img",
		"notify": false }'
	layers_are a.qcow2

	qemu-img create -q -f qcow2 -u -o backing_file=a.qcow2,backing_fmt=qcow2 vm_1.img 40M
	says "The overlay does not support backing images" change '{ "device": "virtio-blk0",
		"target": "vm_1.img", "arg": "raw", "notify": false }'
	change "$dir/vm_1.img" | is '. == {}'
	layers_are "vm_1.img a.qcow2"
	refuses_change "'raw.img' is not backed by '$dir/vm_1.img', which device 'virtio-blk0' has" \
		raw.img
	fill 2 20
	execute block_stream '{ "all": true, "device": "virtio-blk0" }' | is '. == {}'
	wait_for 60 status_is virtio-blk0 null
	story virtio-blk0 "$completed"
	fill 3 24
	fill 4 28
	ends vm_1.img vm_1.img a.qcow2
}

# --- the monitor for people -----------------------------------------------------------------------

# [A] -> [B] -> [C] -> [D] becomes [A] -> [D].
merge() {
	fresh_dir ext4
	chain_of_four
	hmp "No active jobs" "info block-jobs"
	hmp "VM status: running" "info status"
	hmp "Error: Can't find 'x' in the backing chain" "block_stream virtio0 x"
	hmp "" stop
	hmp "VM status: paused" "info status"
	hmp "" "block_stream virtio0 a.qcow2"
	hmp "Streaming device virtio0: Completed 0 of 41943040 bytes, speed limit 0 bytes/s" \
		"info block-jobs"
	hmp "Error: Node 'virtio0' is busy: block device is in use by block job: stream" \
		"snapshot_blkdev virtio0 x.qcow2"
	hmp "" cont
	wait_for 60 status_is virtio0 null
	story virtio0 "$completed"
	hmp "No active jobs" "info block-jobs"
	ends "d.qcow2 a.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
}

copy() {
	device=ide0-hd0
	device_over_a
	hmp "ide0-hd0 (node-A): ./a.qcow2 (qcow2)
    Cache mode:       writeback" "info block"
	hmp "'commit' error for 'ide0-hd0': Operation not supported" "commit ide0-hd0"
	hmp "Error: Device 'ide0-hd0' is not removable" "change ide0-hd0 a.qcow2"
	hmp "" "snapshot_blkdev ide0-hd0 $dir/disk.img qcow2"
	layers_are "disk.img a.qcow2"
	qchain hmp info block -v ide0-hd0 | grep -qx "image: $dir/disk.img"
	qchain hmp info block ide0-hd0 | grep -qxF \
		"    Backing file:     ./a.qcow2 (chain depth: 1)"
	fill 2 20
	hmp "" "block_stream ide0-hd0"
	wait_for 60 status_is ide0-hd0 null
	story ide0-hd0 "$completed"
	fill 3 24
	fill 4 28
	ends disk.img disk.img a.qcow2
}

committed() {
	local layers="d.qcow2 c.qcow2 b.qcow2 a.qcow2" image

	fresh_dir ext4
	BASE_MIB=104 chain_of_four
	# Enough for a job to be met while it runs.
	head -c 64M /dev/zero | tr '\0' '\5' |
		dd of=/dev/mapper/virtio0 bs=1M seek=40 oflag=direct iflag=fullblock status=none
	hmp "" "commit virtio0"
	wait_for 60 status_is virtio0 null
	story virtio0 "created running ready BLOCK_JOB_READY ${completed#created running }"
	layers_are "$layers"
	: > "$scratch/events"
	hmp_lines "'commit' error for 'virtio0': Node 'virtio0' is busy: block device is in use by block job: commit" \
		"commit all" "block_job_set_speed virtio0 64K" "commit virtio0"
	hmp "" "block_job_cancel virtio0"
	wait_for 20 status_is virtio0 null
	story virtio0 "created running aborting BLOCK_JOB_CANCELLED concluded null"
	# That it ends by itself is known to the next daemon, too.
	hmp_lines "" "commit virtio0" "block_job_set_speed virtio0 64K"
	execute query-jobs | is '.[0].status == "running"'
	killed_and_back
	hmp "" "block_job_set_speed virtio0 0"
	wait_for 60 no_jobs
	layers_are "$layers"
	end_load
	still_there raw /dev/mapper/virtio0
	quit_daemon
	kill "$events" 2> /dev/null || true
	for image in $layers; do clean "$image"; done
	still_there qcow2 d.qcow2
	# What was below the load's part was not written to since.
	qemu-io -r -c "read -P 4 28M 4M" -c "read -P 5 40M 64M" c.qcow2 > "$scratch/io"
	fails grep "Pattern verification failed" "$scratch/io"
}

steered() {
	fresh_dir ext4
	chain_of_four
	execute block-commit '{"device": "virtio0", "speed": 65536}' | is '. == {}'
	hmp "" "block_job_pause virtio0"
	hmp "Error: Job is already paused" "block_job_pause virtio0"
	hmp "Error: The block job for device 'virtio0' is currently paused" "block_job_cancel virtio0"
	hmp "Error: Job 'virtio0' in state 'paused' cannot accept command verb 'complete'" \
		"block_job_complete virtio0"
	qchain hmp info block-jobs | grep -q \
		'^Type commit, device virtio0: Completed .* of 41943040 bytes, speed limit 65536 bytes/s$'
	hmp "" "block_job_resume virtio0"
	hmp "Error: Can't resume a job that was not paused" "block_job_resume virtio0"
	hmp "" "block_job_set_speed virtio0 1G"
	execute query-block-jobs | is '.[0].speed == 1073741824'
	wait_for 60 status_is virtio0 ready
	hmp "" "block_job_complete virtio0"
	wait_for 60 status_is virtio0 null
	layers_are a.qcow2
	end_load
	still_there raw /dev/mapper/virtio0
	hmp "" quit
	wait "$daemon"
	kill "$events" 2> /dev/null || true
	clean a.qcow2
	unlocked a.qcow2
	still_there qcow2 a.qcow2
}

echo "# seed $seed"
plan 7
place ext4

try_daemon "block_stream: all, stop, query-block-stream" streams
try_daemon "block_stream: one cluster for each call" steps
try_daemon "change without notification, and a live copy" live_copy
try_daemon "snapshot live merge, by the monitor for people" merge
try_daemon "live block copy, by the monitor for people" copy
try_daemon "commit, by the monitor for people" committed
try_daemon "pause, speed, complete, quit, by the monitor for people" steered
tail -n 20 "$scratch/daemon.log" | sed 's/^/# /'
