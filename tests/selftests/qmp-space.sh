#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What happens to the devices of qchaind by themselves, with no job anywhere: clients are told when
# there is no more space, and when an image turns out to be corrupt.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
. "$(dirname "$0")/qmp-chain.sh"

# volume MIB: a volume of that size, as lvm makes and extends one: /dev/mapper/volume.
volume() {
	local table="0 $(($1 * 2048)) linear $large 0"

	if [ -b /dev/mapper/volume ]; then
		dmsetup load volume --table "$table"
		dmsetup suspend volume
		dmsetup resume volume
	else
		dmsetup create volume --table "$table"
	fi
}

io_status_is() {
	execute query-block | gojq -e ".[0].\"io-status\" == \"$1\"" > /dev/null
}

# told_times EVENT N: it was told that often.
told_times() {
	[ "$(data_of "$1" | wc -l)" = "$2" ] || { data_of "$1"; return 1; }
}

# Direct writes to the device, in the background: $writer.
start_writing() {
	dd if="$scratch/model" of=/dev/mapper/virtio0 bs=256k oflag=direct status=none &
	writer=$!
}

launch_with_volume() {
	launch --blockdev node-name=v,driver=qcow2,file.driver=host_device,file.filename=/dev/mapper/volume \
		--export type=dm,id=virtio0,node-name=v,name=virtio0,writable=on --pidfile "$scratch/pid"
}

no_space() {
	volume 8
	qemu-img create -q -f qcow2 /dev/mapper/volume 32M
	launch_with_volume
	daemon_ready
	watch_events
	io_status_is ok
	start_writing
	wait_for 60 told_times BLOCK_IO_ERROR 1 > /dev/null
	data_of BLOCK_IO_ERROR | is '. == {"device": "virtio0", "node-name": "v",
		"operation": "write", "action": "stop", "nospace": true,
		"reason": "No space left on device"}'
	io_status_is nospace
	execute query-status | is .running
	# It is full once more, and that is told once more.
	volume 16
	dmsetup message virtio0 0 extended
	wait_for 60 told_times BLOCK_IO_ERROR 2 > /dev/null
	# The next daemon knows it without being told, and goes on to tell.
	kill -9 "$daemon"
	was_killed
	launch_with_volume
	daemon_ready
	io_status_is nospace
	watch_events
	volume 24
	dmsetup message virtio0 0 extended
	wait_for 60 told_times BLOCK_IO_ERROR 1 > /dev/null
	volume 48
	dmsetup message virtio0 0 extended
	wait "$writer"
	wait_for 20 io_status_is ok
	told_times BLOCK_IO_ERROR 1
	told_times BLOCK_IMAGE_CORRUPTED 0
	cmp -n $((32 << 20)) "$scratch/model" /dev/mapper/virtio0
	quit_daemon
	clean /dev/mapper/volume
	dmsetup remove --retry volume
}

# bad_image NAME: one with a bad entry for its cluster 3.
bad_image() {
	local l1

	qemu-img create -q -f qcow2 "$1.qcow2" 8M
	qemu-io -f qcow2 -c "write -q -P 7 0 2M" "$1.qcow2" > /dev/null
	l1=$(header_u64 "$1.qcow2" 40)
	poke "$1.qcow2" $((($(header_u64 "$1.qcow2" "$l1") & 0x00fffffffffffe00) + 24)) \
		8000000000000123
}

read_bad() {
	fails dd if=/dev/mapper/virtio0 of=/dev/null bs=64k skip=3 count=1 iflag=direct status=none
}

corrupt() {
	fresh_dir ext4
	cd "$dir"
	bad_image a
	start_with_a
	watch_events
	read_bad
	wait_for 20 told_times BLOCK_IMAGE_CORRUPTED 1 > /dev/null
	data_of BLOCK_IMAGE_CORRUPTED | is '.device == "virtio0" and ."node-name" == "node-A" and
		.fatal and (.msg | length > 0) and (keys | length == 4)'
	io_status_is failed
	read_bad
	sleep 1
	told_times BLOCK_IMAGE_CORRUPTED 1
	told_times BLOCK_IO_ERROR 0
	says_part "not everything could be written" quit
	quit_daemon
}

large=
new_disk 64 && large=$disk
head -c 32M /dev/urandom > "$scratch/model"
place ext4
plan 2
try_daemon "no more space is told" no_space
try_daemon "a corrupt image is told" corrupt
