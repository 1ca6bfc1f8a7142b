#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Room for the image: what happens when there is none, who hears of it, and how it goes on; what is
# used again, given back below, and cut off in the end.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

MIB=1048576

events() {
	dmsetup info -c --noheadings -o events qctest
}

mode_is() {
	[ "$(status_field qctest 1)" = "$1" ]
}

# Direct writes of $scratch/model to the device, in the background: $writer.
start_writing() {
	dd if="$scratch/model" of=/dev/mapper/qctest bs=256k oflag=direct status=none \
		2> "$scratch/dd" &
	writer=$!
}

# waits_for_space COMMAND...: the write stops, the device says so, and COMMAND lets it go on; there
# were $before events before that.
waits_for_space() {
	before=$(events)
	start_writing
	timeout 60 dmsetup wait qctest "$before" > "$scratch/log"
	mode_is out-of-space
	kill -0 "$writer"
	# What is there can be read all the same.
	cmp -n 65536 "$scratch/model" /dev/mapper/qctest
	before=$(events)
	"$@"
	wait "$writer"
	mode_is rw
}

# The end of the want was an event, too.
told() {
	[ "$(events)" -gt "$before" ]
}

judged() {
	same_bytes "$scratch/model" /dev/mapper/qctest
	detach qctest
	clean "$1"
	content "$1" "$scratch/model"
}

# A file system of 64 MiB with 40 of them taken: $dir.
full_file_system() {
	dir=$scratch/small
	mountpoint -q "$dir" || { mkdir "$dir" && mkfs.ext4 -q "$small" && mount "$small" "$dir"; }
	rm -f "$dir/top"
	fallocate -l 40M "$dir/other"
	qemu-img create -q -f qcow2 "$dir/top" 32M
}

make_room() {
	rm "$dir/other"
	dmsetup message qctest 0 extended
}

file_waits() {
	full_file_system
	attach qctest "$(table_of '' qcow2 "$dir/top")"
	waits_for_space make_room
	told
	judged "$dir/top"
}

# The kernel looks for itself, too.
file_waits_unattended() {
	full_file_system
	attach qctest "$(table_of '' qcow2 "$dir/top")"
	waits_for_space rm "$dir/other"
	told
	judged "$dir/top"
}

# volume MIB: a volume of that size, as lvm makes and extends one: /dev/mapper/qctest-volume.
volume() {
	local table="0 $(($1 * 2048)) linear $large 0"

	if [ -b /dev/mapper/qctest-volume ]; then
		dmsetup load qctest-volume --table "$table"
		dmsetup suspend qctest-volume
		dmsetup resume qctest-volume
	else
		attach qctest-volume "$table"
	fi
}

small_volume() {
	volume 16
	qemu-img create -q -f qcow2 /dev/mapper/qctest-volume 32M
}

extend_volume() {
	volume 48
	dmsetup message qctest 0 extended
}

volume_waits() {
	small_volume
	attach qctest "$(table_of '' qcow2 /dev/mapper/qctest-volume)"
	waits_for_space extend_volume
	told
	judged /dev/mapper/qctest-volume
	detach qctest-volume
}

# Waiting writes outlive a change of the table that does not flush.
reload_with_room() {
	dmsetup table qctest | dmsetup load qctest
	dmsetup suspend --noflush qctest
	volume 48
	dmsetup resume qctest
}

waits_over_reload() {
	small_volume
	attach qctest "$(table_of '' qcow2 /dev/mapper/qctest-volume)"
	waits_for_space reload_with_room
	judged /dev/mapper/qctest-volume
	detach qctest-volume
}

# A suspend that has to flush cannot wait for what may never come.
suspend_ends_waiting() {
	small_volume
	attach qctest "$(table_of '' qcow2 /dev/mapper/qctest-volume)"
	start_writing
	wait_for 60 mode_is out-of-space
	timeout 60 dmsetup suspend qctest
	dmsetup resume qctest
	fails_without_space
	detach qctest
	clean /dev/mapper/qctest-volume
	detach qctest-volume
}

fails_without_space() {
	if wait "$writer"; then
		echo "# a write that has no room succeeded"
		return 1
	fi
	grep -q "No space left" "$scratch/dd"
}

# errors_without_space IMAGE COMMAND...: and after COMMAND there is room.
errors_without_space() {
	local image=$1

	shift
	attach qctest "$(table_of error_if_no_space qcow2 "$image")"
	start_writing
	fails_without_space
	mode_is rw
	cmp -n 65536 "$scratch/model" /dev/mapper/qctest
	"$@"
	start_writing
	wait "$writer"
	judged "$image"
}

file_errors() {
	full_file_system
	errors_without_space "$dir/top" make_room
}

volume_errors() {
	small_volume
	errors_without_space /dev/mapper/qctest-volume extend_volume
	detach qctest-volume
}

# Without room for one more cluster, what is allocated is still written, and freed clusters are
# enough for others.
full_volume_lives_on() {
	small_volume
	attach qctest "$(table_of error_if_no_space qcow2 /dev/mapper/qctest-volume)"
	start_writing
	fails_without_space
	dd if=/dev/urandom of="$scratch/part" bs=1M count=2 status=none
	dd if="$scratch/part" of=/dev/mapper/qctest bs=64k oflag=direct status=none
	blkdiscard -o $((4 * MIB)) -l $((4 * MIB)) /dev/mapper/qctest
	dd if="$scratch/part" of=/dev/mapper/qctest bs=64k seek=24M oflag=direct,seek_bytes \
		status=none
	cmp -n $((2 * MIB)) "$scratch/part" /dev/mapper/qctest
	cmp -n $((2 * MIB)) -i 0:$((24 * MIB)) "$scratch/part" /dev/mapper/qctest
	detach qctest
	clean /dev/mapper/qctest-volume
	detach qctest-volume
}

image_end() {
	qemu-img check -f qcow2 --output=json "$1" |
		sed -n 's/.*"image-end-offset": \([0-9]*\).*/\1/p'
}

# While attached the file has room to grow into; in the end it has what the image needs.
cut_back() {
	local cluster attached

	for cluster in 512 65536 2097152; do
		qemu-img create -q -f qcow2 -o cluster_size=$cluster "$place/top" 32M
		attach qctest "$(table_of '' qcow2 "$place/top")"
		dd if="$scratch/model" of=/dev/mapper/qctest bs=64k count=33 oflag=direct status=none
		# The last clusters are given back.
		blkdiscard -o $MIB -l $((4 * MIB)) /dev/mapper/qctest
		attached=$(stat -c %s "$place/top")
		detach qctest
		clean "$place/top"
		echo "# clusters of $cluster: $attached bytes, then $(stat -c %s "$place/top")"
		[ "$(stat -c %s "$place/top")" -lt "$attached" ]
		[ "$(stat -c %s "$place/top")" = "$(image_end "$place/top")" ]
	done
}

# Eight times 4 MiB at eight places, each discarded before the next: one time 4 MiB is needed.
used_again() {
	local i end

	qemu-img create -q -f qcow2 "$place/top" 32M
	attach qctest "$(table_of '' qcow2 "$place/top")"
	for i in 0 1 2 3 4 5 6 7; do
		dd if="$scratch/model" of=/dev/mapper/qctest bs=1M count=4 seek=$((4 * i)) \
			oflag=direct conv=fsync status=none
		cmp -n $((4 * MIB)) -i 0:$((4 * i * MIB)) "$scratch/model" /dev/mapper/qctest
		blkdiscard -o $((4 * i * MIB)) -l $((4 * MIB)) /dev/mapper/qctest
		sync /dev/mapper/qctest
	done
	end=$(stat -c %s "$place/top")
	detach qctest
	clean "$place/top"
	echo "# the file had $end bytes, in the end $(stat -c %s "$place/top")"
	[ "$end" -lt $((12 * MIB)) ]
}

# KiB that the file takes below.
blocks_at_most() {
	[ $(($(stat -c %b "$place/top") / 2)) -le "$1" ]
}

file_passdown() {
	qemu-img create -q -f qcow2 "$place/top" 32M
	attach qctest "$(table_of "$1" qcow2 "$place/top")"
	dd if="$scratch/model" of=/dev/mapper/qctest bs=1M count=16 oflag=direct status=none
	blkdiscard -l $((16 * MIB)) /dev/mapper/qctest
	sync /dev/mapper/qctest
	if [ -n "$1" ]; then
		# The end of the work that would have done it.
		dmsetup suspend qctest
		dmsetup resume qctest
		fails blocks_at_most 16384
	else
		wait_for 20 blocks_at_most 6144
	fi
	detach qctest
	clean "$place/top"
}

# Bytes of the pattern on the disk below, not in its page cache.
pattern_bytes() {
	dd if="$large" bs=1M count=16 iflag=direct status=none | tr -dc '\245' | wc -c
}

pattern_gone() {
	[ "$(pattern_bytes)" = 0 ]
}

disk_passdown() {
	dd if=/dev/zero bs=1M count=16 of="$large" oflag=direct status=none
	qemu-img create -q -f qcow2 "$large" 32M
	attach qctest "$(table_of "$1" qcow2 "$large")"
	dd if=/dev/zero bs=1M count=2 status=none | tr '\0' '\245' |
		dd of=/dev/mapper/qctest bs=64k iflag=fullblock oflag=direct status=none
	[ "$(pattern_bytes)" -ge $((2 * MIB)) ]
	blkdiscard -l $((2 * MIB)) /dev/mapper/qctest
	sync /dev/mapper/qctest
	if [ -n "$1" ]; then
		dmsetup suspend qctest
		dmsetup resume qctest
		[ "$(pattern_bytes)" -ge $((2 * MIB)) ]
	else
		wait_for 20 pattern_gone
	fi
	detach qctest
	clean "$large"
}

plan 15
new_disk 64 && small=$disk
new_disk 64 && large=$disk
place ext4
dd if=/dev/urandom of="$scratch/model" bs=1M count=32 status=none

try "a full file system: writes wait, and go on when told" file_waits
try "a full file system: writes go on by themselves, too" file_waits_unattended
try "a full volume: writes wait, and go on when it is extended" volume_waits
try "waiting writes outlive a reload of the table" waits_over_reload
try "waiting writes fail when a suspend has to flush" suspend_ends_waiting
try "error_if_no_space on a file system" file_errors
try "error_if_no_space on a volume" volume_errors
try "a full volume is written and its freed clusters used" full_volume_lives_on
try "the file is cut back to its last cluster" cut_back
try "freed clusters are used again" used_again
try "discards reach the file system" file_passdown ''
try "no_discard_passdown keeps them from it" file_passdown no_discard_passdown
try "discards reach the disk" disk_passdown ''
try "no_discard_passdown keeps them from it, too" disk_passdown no_discard_passdown
place tmpfs
try "the file is cut back on tmpfs" cut_back
