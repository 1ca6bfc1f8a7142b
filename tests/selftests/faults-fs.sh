#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images in files whose file system fails, freezes, fills up, or lets somebody cut the file off, under
# load. Reads are served as long as they can be; nothing hangs; what was flushed is there.
#
# QCHAIN_LONG=1 does ten times as many operations.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"

ops=40
[ -z "${QCHAIN_LONG:-}" ] || ops=400

# mounted FS: $dir, that file system on a bad_disk.
mounted() {
	dir=$scratch/$1-mount
	mountpoint -q "$dir" && return
	[ -d "$dir" ] || { mkdir "$dir" && "mkfs.$1" -q "/dev/mapper/bad-$1"; }
	mount "/dev/mapper/bad-$1" "$dir"
}

# A chain of two files in $dir, with $model.
files() {
	rm -rf "${dir:?}/t"
	mkdir "$dir/t"
	chain --cluster 65536 --depth 2 --size 16777216 "$dir/t"
}

# Random I/O, on all of qctest or on $device; what it says is in $scratch/last, too.
device=/dev/mapper/qctest
load() {
	random_io --seed "$seed" --model "$model" --out "$model.new" --timeout 200 --ops $ops \
		--cluster "$CLUSTER" "$@" $device | tee "$scratch/last"
	return "${PIPESTATUS[0]}"
}

judged() {
	mode_is rw
	detach qctest
	sound "$TOP"
	content "$TOP" "$model.new"
}

# Frozen again and again while there is I/O: it waits, reads go on, and the status can be seen.
# Not with what holds the lock of the device's node while it waits, as fallocate() does: dd wants it.
frozen() {
	local freezes=0

	mounted "$1"
	files
	attach qctest "$TABLE"
	# Before the load, which could be through by the time that this takes.
	fsfreeze -f "$dir"
	load --no-free &
	while true; do
		mode_is rw
		timeout 60 dd if=/dev/mapper/qctest of=/dev/null bs=4k count=1 iflag=direct status=none
		! kill -0 $! 2> /dev/null || freezes=$((freezes + 1))
		fsfreeze -u "$dir"
		kill -0 $! 2> /dev/null || break
		fsfreeze -f "$dir"
	done
	wait $!
	echo "# frozen $freezes times under load"
	[ $freezes -gt 0 ]
	judged
	clean "$TOP"
}

# The disk of the file system fails, which makes that give up sooner or later. When it is mounted
# again what was flushed is there: the first half of the disk.
fs_dies() {
	mounted "$1"
	files
	attach qctest "$TABLE"
	load
	fail_at "bad-$1" 0 $((400 * MIB)) "$2"
	fails dd if=/dev/urandom of=/dev/mapper/qctest bs=64k seek=8M count=128 \
		iflag=fullblock oflag=direct,seek_bytes conv=fsync
	timeout 60 dmsetup status qctest
	timeout 60 dmsetup remove qctest
	umount "$dir"
	fail_at "bad-$1"
	mount "/dev/mapper/bad-$1" "$dir"
	sound "$TOP"
	flatten "$TOP" "$scratch/after"
	cmp -n $((8 * MIB)) "$scratch/after" "$model.new"
	qemu-img check -q -r leaks "$TOP" > "$scratch/log"
	exercise "$TABLE" "$TOP" "$scratch/after" --ops 20
}

# clusters_of IMAGE: of each cluster that has a host cluster for itself, guest and host offset. Holes of
# the file cut clusters in pieces.
clusters_of() {
	qemu-img map -f qcow2 --output=json "$1" | jq -r --argjson size "$CLUSTER" '
		.[] | select(.depth == 0 and .data and has("offset")) | (.start % $size) as $in |
		range(-$in; .length; $size) as $at | "\(.start + $at) \(.offset + $at)"' | uniq
}

# reads_right GUEST: one cluster of $model.
reads_right() {
	dd if=/dev/mapper/qctest of="$scratch/got" bs="$CLUSTER" skip=$(($1 / CLUSTER)) count=1 \
		iflag=direct status=none
	cmp -i 0:"$1" -n "$CLUSTER" "$scratch/got" "$model"
}

reads_nothing() {
	fails dd if=/dev/mapper/qctest of="$scratch/got" bs="$CLUSTER" skip=$(($1 / CLUSTER)) \
		count=1 iflag=direct status=none
	dd if=/dev/mapper/qctest of="$scratch/got" bs="$CLUSTER" skip=$(($1 / CLUSTER)) \
		count=1 iflag=direct status=none 2>&1 | grep -q "Input/output error"
}

# Cut off at byte $1, which clusters are served and which are not: those above.
served_below() {
	local guest host right=0 lost=0

	clusters_of "$scratch/kept" > "$scratch/clusters"
	while read -r guest host; do
		if [ "$host" -lt "$1" ]; then
			reads_right "$guest"
			right=$((right + 1))
		else
			reads_nothing "$guest"
			lost=$((lost + 1))
		fi
	done < "$scratch/clusters"
	echo "# cut off at $1: $right clusters are served, $lost give errors"
	[ $right -gt 0 ] && [ $lost -gt 0 ]
}

# Cut off below: what lay in the rest of the file is served, what is lost gives errors, not zeroes,
# and nobody makes the file as long again.
cut_off() {
	local size

	mounted "$1"
	files
	cp "$TOP" "$scratch/kept"
	size=$(($(stat -c %s "$TOP") / 2 / CLUSTER * CLUSTER))
	attach qctest "$TABLE"
	truncate -s $size "$TOP"
	dmsetup message qctest 0 drop_caches
	served_below $size
	mode_is rw
	timeout 60 dmsetup remove qctest
	cp "$scratch/kept" "$TOP"
	attach qctest "$TABLE"
	# The last compare has to fail, with an error and not with other content.
	fails load --hurt "truncate -s $size $TOP && dmsetup message qctest 0 drop_caches" \
		--may-fail read --may-fail write --may-fail flush
	grep "final compare: .*Input/output error" "$scratch/last"
	mode_is rw
	timeout 60 dmsetup remove qctest
	[ "$(stat -c %s "$TOP")" -le $size ]
	cp "$scratch/kept" "$TOP"
	exercise "$TABLE" "$TOP" "$model" --ops 20
}

# A small file system of which somebody else takes most, and gives it back: under load.
full() {
	dir=$scratch/small
	mkdir -p "$dir"
	mountpoint -q "$dir" || { mkfs.ext4 -q "$small"; mount "$small" "$dir"; }
	rm -f "$dir/top" "$dir/other"
	qemu-img create -q -f qcow2 "$dir/top" 32M
	TOP=$dir/top CLUSTER=65536
	model=$scratch/zeroes
	truncate -s 32M "$model"
	fallocate -l 52M "$dir/other"
	attach qctest "$(table_of "$1" qcow2 "$TOP")"
}

full_fails() {
	full error_if_no_space
	load --may-fail write --heal "rm $dir/other && dmsetup message qctest 0 extended"
	grep -Eq " write \([0-9]+ errors" "$scratch/last"
	judged
}

full_waits() {
	full ''
	load &
	wait_for 60 mode_is out-of-space
	rm "$dir/other"
	dmsetup message qctest 0 extended
	wait $!
	judged
	clean "$TOP"
}

# While writes wait for space everything fails, for a while: they get the error, or go on waiting. What
# was flushed before is there afterwards: the last MiB, which the load does not touch.
full_and_failing() {
	local heal status=0 last=$((31 * MIB))

	full ''
	dd if=/dev/urandom of="$scratch/known" bs=$MIB count=1 iflag=fullblock status=none
	dd if="$scratch/known" of=/dev/mapper/qctest bs=$MIB seek=31 oflag=direct conv=fsync status=none
	dmsetup create qcpart --table "0 $((last / 512)) linear /dev/mapper/qctest 0"
	device=/dev/mapper/qcpart
	load --may-fail read --may-fail write --may-fail flush &
	wait_for 60 mode_is out-of-space
	fail_at bad-small 0 $((64 * MIB)) error
	dmsetup message qctest 0 extended
	timeout 60 dmsetup status qctest
	# Without freezing the file system, which would fail for what it could not write.
	heal=$(swap bad-small)
	eval "${heal/suspend/suspend --nolockfs}"
	rm -f "$dir/other" || :
	dmsetup message qctest 0 extended
	wait $! || status=$?
	unread_at_worst $status
	# Nobody waits any more, also when what had waited failed in the end. The file system may have
	# failed a flush.
	[[ $(status_field qctest 1) = @(rw|flush-failed) ]]
	timeout 60 dmsetup remove qcpart
	timeout 60 dmsetup remove qctest
	umount "$dir"
	mount "$small" "$dir"
	sound "$TOP"
	flatten "$TOP" "$scratch/after"
	cmp -i $last:0 "$scratch/after" "$scratch/known"
}

echo "# seed $seed"
plan 9
bad_disk bad-ext4 400
bad_disk bad-xfs 400
bad_disk bad-small 64
small=/dev/mapper/bad-small

try "ext4 is frozen under load" frozen ext4
try "XFS is frozen under load" frozen xfs
try "writes fail below ext4" fs_dies ext4 error_writes
try "everything fails below XFS" fs_dies xfs error
try "a file on ext4 is cut off" cut_off ext4
try "a file on XFS is cut off" cut_off xfs
try "a full file system under load: errors" full_fails
try "a full file system under load: waiting" full_waits
try "a full file system that fails besides" full_and_failing
