#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The bound of cached metadata holds when what is used of an image is far larger, also when memory
# is short; memory is given back; and a device that is swapped to makes progress when there is no
# memory but what that swapping frees.
# QCHAIN_LONG=1: ten times as much I/O, more swapping.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/pressure.sh"

limit=/sys/module/dm_qchain/parameters/metadata_limit_kib

metadata() {
	local both

	both=$(status_field "$1" 5)
	echo "${both%/*}"
}

# The most that the status tells until the process has ended.
most_metadata() {
	local most=0 now

	while kill -0 "$2" 2> /dev/null; do
		now=$(metadata "$1")
		[ "$now" -le "$most" ] || most=$now
		sleep 0.1
	done
	echo "$most"
}

big_image() {
	[ -e "$dir/big" ] || qemu-img create -q -f qcow2 "$dir/big" 1T
	attach qctest "$(table_of '' qcow2 "$dir/big")"
}

# within_bound KIB [COMMAND...]: random I/O (run by the COMMAND) over a TiB, with this limit.
within_bound() {
	local kib=$1 load most

	shift
	rm -f "$dir/big"
	big_image
	echo "$kib" > $limit
	"$@" slot_io --seed "$seed" --slots "$slots" --ops "$ops" /dev/mapper/qctest &
	load=$!
	most=$(most_metadata qctest $load)
	wait $load
	echo "# $(dmsetup status qctest)"
	echo "# at most $most KiB of metadata with a limit of $kib KiB"
	[ "$most" -gt $((kib / 4)) ]
	[ "$most" -le "$kib" ]
	detach qctest
	clean "$dir/big"
}

# Beside a process in the same group that takes all it may have: direct I/O alone takes next to nothing.
crowded() {
	in_group 16 bash -c 'dd if=/dev/mapper/qctest of=/dev/null bs=1M count=100 status=none &
		"$@" && wait $!' bash "$@"
}

within_bound_pressed() {
	squeeze 96
	within_bound "$1"
	release_memory
}

# The tables are counted in the background, once, and that reads all of them.
counted() {
	[[ $(status_field "$1" 3) != -* ]] && [[ $(status_field "$1" 4) != -* ]]
}

# Much is cached with a large limit, then the shrinkers are asked.
given_back() {
	local before after

	echo 65536 > $limit
	big_image
	wait_for 120 counted qctest
	before=$(metadata qctest)
	for _ in 1 2 3 4; do
		echo 2 > /proc/sys/vm/drop_caches
	done
	after=$(metadata qctest)
	echo "# $before KiB before, $after KiB after"
	[ "$before" -gt 2048 ]
	[ "$after" -lt $((before / 8)) ]
	detach qctest
}

swapped() {
	awk '$1 == "pswpout" { print int($2 / 256) }' /proc/vmstat
}

# swap_on IMAGE SIZE: swap on a device with this one.
swap_on() {
	image=$1
	qemu-img create -q -f qcow2 "$image" "$2"
	attach qcswap "$(table_of '' qcow2 "$image")"
	mkswap /dev/mapper/qcswap > "$scratch/log"
	swapon /dev/mapper/qcswap
}

# swapping MIB COMMAND...: run it with the swap; it must have swapped out so much.
swapping() {
	local mib=$1 before status=0

	shift
	before=$(swapped)
	"$@" || status=$?
	echo "# $(($(swapped) - before)) MiB swapped out; $(dmsetup status qcswap)"
	before=$(($(swapped) - before))
	swapoff /dev/mapper/qcswap
	detach qcswap
	clean "$image"
	[ $status = 0 ]
	[ "$before" -ge "$mib" ]
}

# More than fits into its group's memory.
swapping_group() {
	swap_on "$dir/swap" 250M
	swapping 80 in_group 40 hog --passes "$passes" 128
}

# More than fits into what is left of the machine's: reclaim finds nothing but what it can swap
# to the chain. What is left is an estimate of the kernel's, tens of MiB too low at times. Not for
# an image in a file: its file system takes bios from the pool from which swap takes its own.
swapping_machine() {
	swap_on "$swap_disk" 250M
	squeeze 96
	swapping 40 hog --passes "$passes" 232
	release_memory
}

slots=4000 ops=1200 passes=2
if [ "${QCHAIN_LONG:-0}" = 1 ]; then
	slots=20000 ops=30000 passes=12
fi

kib=$(cat $limit)
at_exit swapoff -a
echo "# seed $seed"
plan 6
filled_disk 280
swap_disk=$disk
filled_disk 800
mkdir "$scratch/ext4"
mkfs.ext4 -q -E nodiscard "$disk"
mount "$disk" "$scratch/ext4"
dir=$scratch/ext4
try "1 MiB of metadata for 1 TiB" within_bound 1024
try "the same in a group with 16 MiB" within_bound 1024 crowded
try "the same when the machine has little memory" within_bound_pressed 1024
try "metadata is given back" given_back
rm -f "$dir/big"
try "swap on a chain in a file, in a group" swapping_group
try "swap on a chain on a disk, machine without memory" swapping_machine
echo "$kib" > $limit
