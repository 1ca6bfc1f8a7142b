#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# File systems on chains whose images lie in file systems on chains: all of them are written and
# fsynced at once, with memory so short that each level writes back and commits while
# the others do, with devices suspended and resumed at every level. Nothing may wait for itself,
# and everything that was fsynced is there. The debug kernel's lockdep watches.
# QCHAIN_LONG=1: thirty times as much.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/pressure.sh"

# make_fs FS DEVICE DIRECTORY
make_fs() {
	case $1 in
	ext4) mkfs.ext4 -q -F -E nodiscard "$2" ;;
	xfs) mkfs.xfs -q -f -K "$2" ;;
	esac
	mkdir -p "$3"
	mount "$2" "$3"
}

check_fs() {
	case $1 in
	ext4) e2fsck -f -n "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	esac > "$scratch/fsck" 2>&1 || {
		tail -n 20 "$scratch/fsck" | sed 's/^/# /'
		return 1
	}
}

# Everything that makes the kernel take memory back, four times at least, until there is a file
# that says stop.
pressure() {
	local n

	for ((n = 0; ; n++)); do
		[ ! -e "$scratch/stop" ] || [ $n -lt 4 ] || break
		[ $((n % 4)) != 0 ] || echo 3 > /proc/sys/vm/drop_caches
		[ ! -e /proc/sys/vm/compact_memory ] || echo 1 > /proc/sys/vm/compact_memory
		dd if=/dev/zero of="$scratch/m2/big" bs=1M count=12 status=none
		dd if=/dev/zero of="$scratch/m$((n % 3))/other" bs=64k count=64 conv=fsync status=none
		sync -f "$scratch/m$((n % 3))"
		if [ -n "$1" ]; then
			dmsetup suspend "qcs$((1 + n % 2))"
			dmsetup resume "qcs$((1 + n % 2))"
		fi
	done
	echo "# $n rounds of pressure"
}

# stacked FS FS FS SUSPEND: from the bottom up; SUSPEND: also suspend devices.
stacked() {
	local fs=("$1" "$2" "$3") n jobs=() presser

	make_fs "$1" "$bottom" "$scratch/m0"
	for n in 1 2; do
		qemu-img create -q -f qcow2 "$scratch/m$((n - 1))/image" $((520 - 70 * n))M
		attach "qcs$n" "$(table_of '' qcow2 "$scratch/m$((n - 1))/image")"
		make_fs "${fs[n]}" "/dev/mapper/qcs$n" "$scratch/m$n"
	done
	[ -n "$roomy" ] || squeeze 160
	rm -f "$scratch/stop"
	for n in 0 1 2; do
		fsync_files --seed $((seed + n)) --threads 2 --steps "$steps" "$scratch/m$n/files" \
			> "$scratch/markers$n" &
		jobs+=($!)
	done
	pressure "$4" &
	presser=$!
	for n in 0 1 2; do
		wait "${jobs[n]}"
	done
	touch "$scratch/stop"
	wait $presser
	[ -n "$roomy" ] || release_memory
	echo 3 > /proc/sys/vm/drop_caches
	for n in 2 1 0; do
		fsync_files --seed $((seed + n)) --verify "$scratch/markers$n" "$scratch/m$n/files"
	done
	for n in 2 1; do
		umount "$scratch/m$n"
		check_fs "${fs[n]}" "/dev/mapper/qcs$n"
		detach "qcs$n"
		clean "$scratch/m$((n - 1))/image"
	done
	umount "$scratch/m0"
	check_fs "$1" "$bottom"
}

steps=20 roomy=
if [[ $(uname -r) = *debug* ]]; then
	# Everything takes several times as long there, taking memory even more.  Lockdep knows what
	# memory is taken back under without that it is short.
	steps=6 roomy=1
fi
if [ "${QCHAIN_LONG:-0}" = 1 ]; then
	steps=600 roomy=
fi

echo "# seed $seed"
if [ -n "$roomy" ]; then
	plan 1
else
	plan 3
fi
filled_disk 520
bottom=$disk
if [ -z "$roomy" ]; then
	try "ext4 on ext4 on ext4" stacked ext4 ext4 ext4 ''
	try "XFS on XFS on XFS, devices are suspended" stacked xfs xfs xfs suspend
fi
try "ext4 on XFS on ext4, devices are suspended" stacked ext4 xfs ext4 suspend
