#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What administrators do to devices, in any order, at any moment, many times: under I/O on two
# devices with a shared base (churn.c); "qchain" killed half-way (kill_qchain.c); the module loaded
# and unloaded; devices that are in use refused.
# QCHAIN_LONG=1: thousands of changes, 500 kills.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# overlays N DIRECTORY BASE: a pile of them, the last one by name on top: $pile has their paths with
# commas.
overlays() {
	local n image below=$3

	pile=
	for ((n = 1; n <= $1; n++)); do
		image=$2/overlay$(printf %02d "$n")
		qemu-img create -q -f qcow2 -b "$below" -F qcow2 "$image"
		below=$image
		pile+=${pile:+,}$image
	done
}

# Changes of all kinds to two devices over one base, which stays as it was. One has its first
# overlay on a disk.
churned() {
	local steps=$1 count=$2 size=8M sum n name image first

	fresh_dir "$3"
	place disk
	qemu-img create -q -f qcow2 "$dir/base" $size
	qemu-io -f qcow2 -c "write -q -P 90 0 $size" "$dir/base" > "$scratch/log"
	sum=$(md5sum < "$dir/base")
	mkdir "$dir/qc1" "$dir/qc2"
	overlays "$count" "$dir/qc1" "$dir/base"
	first=$pile
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$place"
	overlays $((count - 1)) "$dir/qc2" "$place"
	churn --seed "$seed" --steps "$steps" --initial 90 --model "$scratch/model" \
		--timeout "${4:-900}" "$dir/base" "qc1:$first" "qc2:$place,$pile"
	[ "$sum" = "$(md5sum < "$dir/base")" ]
	for n in 1 2; do
		name=qc$n
		for image in "$dir/$name"/*; do
			clean "$image"
		done
		# What is above the last one in use shows its content.
		content "$image" "$scratch/model.$name"
	done
	clean "$place"
}

killed() {
	fresh_dir "$1"
	qemu-img create -q -f qcow2 "$dir/base" 16M
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$dir/top"
	mkdir -p /run/lock
	kill_qchain --rounds "$2" --seed "$seed" qckilled "$dir/top" "$dir/base" 2> "$scratch/log" || {
		tail -n 5 "$scratch/log" | sed 's/^/# /'
		return 1
	}
	clean "$dir/top"
}

# The module goes as long as nobody uses it, and only then.
unloaded() {
	local n

	fresh_dir ext4
	qemu-img create -q -f qcow2 "$dir/top" 16M
	for ((n = 0; n < $1; n++)); do
		attach qctest "$(table_of '' qcow2 "$dir/top")"
		fails unload_module
		dd if=/dev/zero of=/dev/mapper/qctest bs=64k count=8 seek=$((n % 32 * 8)) \
			status=none
		detach qctest
		unload_module
		load_module
	done
	clean "$dir/top"
}

# A device that is open, mounted or has a device above stays, and its data with it.
in_use() {
	local mnt=$scratch/mnt

	fresh_dir ext4
	mkdir -p "$mnt" /run/lock
	qemu-img create -q -f qcow2 "$dir/top" 64M
	qchain attach "$dir/top" --name qcbusy
	mkfs.ext4 -q /dev/mapper/qcbusy
	mount /dev/mapper/qcbusy "$mnt"
	echo kept > "$mnt/file"
	fails qchain detach qcbusy
	fails dmsetup remove qcbusy
	umount "$mnt"
	dmsetup create qcuser --table "0 2048 linear /dev/mapper/qcbusy 0"
	fails qchain detach qcbusy
	fails dmsetup remove qcbusy
	dmsetup remove qcuser
	exec 9< /dev/mapper/qcbusy
	fails qchain detach qcbusy
	exec 9<&-
	mount /dev/mapper/qcbusy "$mnt"
	[ "$(cat "$mnt/file")" = kept ]
	umount "$mnt"
	qchain detach qcbusy
	clean "$dir/top"
}

steps=50 pile_size=4 kills=16 loads=3 timeout=240
# Everything takes several times as long there.
if [[ $(uname -r) = *debug* ]]; then
	steps=14 pile_size=2 kills=2 loads=1 timeout=600
fi
if [ "${QCHAIN_LONG:-0}" = 1 ]; then
	steps=1000 pile_size=12 kills=500 loads=50 timeout=2400
fi

echo "# seed $seed"
plan 5
place ext4
place xfs
place disk
try "devices that are in use stay" in_use
try "the module is unloaded and loaded" unloaded $loads
try "two devices changed in every way under load, images on ext4" \
	churned $steps $pile_size ext4 $timeout
try "the same, images on XFS" churned $((steps / 2)) $pile_size xfs $timeout
try "attach and detach killed at any moment" killed ext4 $kills
