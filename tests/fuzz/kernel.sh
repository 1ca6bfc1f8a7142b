#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Damaged images on the module: kernel.sh [FIRST [COUNT [OPTION]...]], options of try_images.
# A file on tmpfs, one on ext4 and a device in the middle of a guarded disk take turns.
# Runs in the test VM, on the debug kernel best.

here=$(dirname "$(readlink -f "$0")")
. "$here/../selftests/lib.sh"

first=${1:-1} count=${2:-200}
build=$here/../../build/fuzz
start=$((8 << 20))

try_all() {
	"$build/try_images" --seeds "$build/seeds" --first "$first" \
		--count "$count" "$@" --disk "$disk@$start" "$scratch/files" "$scratch/ext4" \
		/dev/mapper/qcwindow
}

plan 1
mkdir "$scratch/files" "$scratch/ext4"
new_disk 200 && mkfs.ext4 -q "$disk" && mount "$disk" "$scratch/ext4"
new_disk 48
dmsetup create qcwindow --table "0 $((32 << 11)) linear $disk $((start / 512))"
if try_all "${@:3}"; then
	ok "$count damaged images from number $first on"
else
	not_ok "$count damaged images from number $first on" \
		"one of them again: tests/fuzz/kernel.sh NUMBER 1 --verbose"
fi
