#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# File systems on a chain: made, filled, checked, there again after the next attach, and in
# the overlays above.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# fill SEED DIRECTORY: some 250 files of three sizes, 8 MiB.
fill() {
	local kind size

	for kind in 3001:200 70001:45 1500000:3; do
		size=${kind%:*}
		mkdir -p "$2/$size/deeper"
		tail -c +$(($1 * 1000)) "$scratch/random" | head -c $((size * ${kind#*:})) |
			split -a 4 -b "$size" - "$2/$size/deeper/f"
	done
	sync -f "$2"
}

sums() {
	(cd "$1" && find . -type f ! -path './lost+found/*' -print0 | sort -z | xargs -0 sha256sum)
}

check_fs() {
	case $1 in
	ext4) e2fsck -f -n /dev/mapper/qctest ;;
	xfs) xfs_repair -n /dev/mapper/qctest ;;
	esac > "$scratch/fsck" 2>&1 || {
		tail -n 20 "$scratch/fsck" | sed 's/^/# /'
		return 1
	}
}

# on_chain FS PLACE: with images there the base is made and filled, an overlay changes what is in
# it, and the base is as it was.
on_chain() {
	local fs=$1 mnt=$scratch/mnt base_sums

	fresh_dir "$2"
	mkdir -p "$mnt"
	qemu-img create -q -f qcow2 "$dir/base" 400M
	attach qctest "$(table_of '' qcow2 "$dir/base")"
	"mkfs.$fs" -q /dev/mapper/qctest
	mount -o discard /dev/mapper/qctest "$mnt"
	fill 1 "$mnt"
	sums "$mnt" > "$scratch/sums.base"
	echo "# $(wc -l < "$scratch/sums.base") files; $(dmsetup status qctest)"
	[ "$(wc -l < "$scratch/sums.base")" -gt 100 ]
	umount "$mnt"
	check_fs "$fs"
	detach qctest
	clean "$dir/base"

	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$dir/top"
	base_sums=$(sha256sum < "$dir/base")
	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	mount -o discard /dev/mapper/qctest "$mnt"
	sums "$mnt" | cmp - "$scratch/sums.base"
	mkdir "$mnt/more"
	fill 2 "$mnt/more"
	find "$mnt/3001" "$mnt/70001" -type f | awk 'NR % 3 == 0' | xargs rm
	fstrim "$mnt"
	sums "$mnt" > "$scratch/sums.top"
	umount "$mnt"
	check_fs "$fs"
	detach qctest
	clean "$dir/top"
	[ "$(sha256sum < "$dir/base")" = "$base_sums" ]

	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	mount /dev/mapper/qctest "$mnt"
	sums "$mnt" | cmp - "$scratch/sums.top"
	umount "$mnt"
	detach qctest
	clean "$dir/top"
}

for tool in mkfs.ext4 mkfs.xfs; do
	command -v $tool > /dev/null || skip_all "$tool is not installed"
done
plan 3
place ext4
place xfs
head -c 16M /dev/urandom > "$scratch/random"
try "ext4 on a chain in files on ext4" on_chain ext4 ext4
try "XFS on a chain in files on XFS" on_chain xfs xfs
try "ext4 on a chain in files on XFS" on_chain ext4 xfs
