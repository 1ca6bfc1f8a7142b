#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What qcow2 can be: refcount widths, internal snapshots, compressed and zero clusters, sizes and
# cluster sizes that differ from layer to layer, a raw base, growing refcount tables,
# discards, features of the header; and the file systems that images can be on.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

refcount_width() {
	chain --refcount-bits "$1" --cluster 4096 --size 2097152 --ops 10 "$dir"
	exercise "$TABLE" "$TOP" "$model" --cluster 4096 --ops 40 --discard-zeroes 4096
}

# Clusters that a snapshot shares are copied before they change.
internal_snapshots() {
	chain --version "$1" --cluster 16384 --size 4194304 --ops 20 --snapshots 2 "$dir"
	for name in snap0 snap1; do
		qemu-img convert -l $name -f qcow2 -O raw "$TOP" "$scratch/$name"
	done
	exercise "$TABLE" "$TOP" "$model" --cluster 16384 --ops 60
	for name in snap0 snap1; do
		qemu-img convert -l $name -f qcow2 -O raw "$TOP" "$scratch/$name.now"
		cmp "$scratch/$name" "$scratch/$name.now"
	done
}

mixed_cluster_sizes() {
	chain --mixed-clusters --version mixed --depth 5 --cluster "$1" --size 4194304 --ops 15 \
		"$dir"
	exercise "$TABLE" "$TOP" "$model" --cluster "$1" --ops 40
}

# backing_size BACKING TOP: an overlay of one size over a backing file of another.
backing_size() {
	qemu-img create -q -f qcow2 "$dir/base" "$1"
	qemu-io -f qcow2 -c "write -q -P 170 0 $1" "$dir/base" > "$dir/log"
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$dir/top" "$2"
	flatten "$dir/top" "$scratch/model"
	exercise "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")" "$dir/top" \
		"$scratch/model" --ops 40 --discard-zeroes 65536
}

raw_base() {
	chain --raw-base --depth 3 --size 4194304 --mixed-sizes --ops 15 "$dir"
	exercise "$TABLE" "$TOP" "$model" --ops 40 --discard-zeroes 65536
}

# Every cluster compressed, so each write has a compressed one below it.
compressed() {
	chain --compression "$1" --version "$2" --cluster "$3" --size 4194304 "$dir"
	qemu-img convert -c -f raw -O qcow2 \
		-o "cluster_size=$3,compat=$([ "$2" = 2 ] && echo 0.10 || echo 1.1)$4" \
		"$model" "$dir/packed"
	exercise "$(table_of '' qcow2 "$dir/packed")" "$dir/packed" "$model" \
		--cluster "$3" --ops 50
}

# Zero clusters without and with a host cluster: data never shows again, around a write neither.
zero_clusters() {
	local off

	qemu-img create -q -f qcow2 "$dir/base" 1M
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$dir/top" 1M
	qemu-io -f qcow2 -c "write -q -P 17 0 1M" "$dir/base" > "$dir/log"
	qemu-io -f qcow2 -c "write -q -z 0 256k" -c "write -q -P 34 256k 256k" \
		-c "write -q -z 256k 256k" "$dir/top" > "$dir/log"
	flatten "$dir/top" "$scratch/model"
	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	same_bytes "$scratch/model" /dev/mapper/qctest
	for off in 3 130 515 700 1023; do
		dd if=/dev/urandom of="$scratch/sector" bs=512 count=1 status=none
		dd if="$scratch/sector" of=/dev/mapper/qctest bs=512 seek=$off oflag=direct \
			status=none
		dd if="$scratch/sector" of="$scratch/model" bs=512 seek=$off conv=notrunc \
			status=none
	done
	same_bytes "$scratch/model" /dev/mapper/qctest
	detach qctest
	clean "$dir/top"
	content "$dir/top" "$scratch/model"
}

# With 512-byte clusters and 64-bit refcounts a refcount table of one cluster covers 2 MiB.
refcount_table_growth() {
	local before

	qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 "$dir/top" 6M
	before=$(header_u32 "$dir/top" 56)
	dd if=/dev/urandom of="$scratch/model" bs=1M count=6 status=none
	attach qctest "$(table_of '' qcow2 "$dir/top")"
	dd if="$scratch/model" of=/dev/mapper/qctest bs=64k oflag=direct status=none
	detach qctest
	echo "# refcount table: $before clusters, now $(header_u32 "$dir/top" 56)"
	[ "$(header_u32 "$dir/top" 56)" -gt "$before" ]
	clean "$dir/top"
	content "$dir/top" "$scratch/model"
}

# discarded VERSION BACKED: 128 KiB of ones discarded, over twos when BACKED.  The result, as the
# value of all its bytes.
discarded() {
	local layers=(qcow2 "$dir/top") backing=()

	rm -f "$dir"/*
	if [ "$2" = backed ]; then
		qemu-img create -q -f qcow2 "$dir/base" 1M
		qemu-io -f qcow2 -c "write -q -P 2 0 1M" "$dir/base" > "$dir/log"
		layers+=(qcow2 "$dir/base") backing=(-b "$dir/base" -F qcow2)
	fi
	qemu-img create -q -f qcow2 -o "compat=$1" "${backing[@]}" "$dir/top" 1M
	qemu-io -f qcow2 -c "write -q -P 1 0 512k" "$dir/top" > "$dir/log"
	attach qctest "$(table_of '' "${layers[@]}")"
	blkdiscard -o 128k -l 128k /dev/mapper/qctest
	# Never written in the top layer: the backing file's data may go, but not come back.
	blkdiscard -o 768k -l 128k /dev/mapper/qctest
	values=
	for off in 128 768; do
		values+=" $(dd if=/dev/mapper/qctest bs=1k skip=$off count=128 iflag=direct \
			status=none | od -An -v -tu1 -w1 | sort -u | tr -d ' \n')"
	done
	detach qctest
	clean "$dir/top"
	qemu-io -f qcow2 -r -c "read -P ${values##* } 768k 128k" "$dir/top" > "$dir/log"
	if grep -q "verification failed" "$dir/log"; then
		echo "# QEMU reads something else than$values"
		return 1
	fi
	echo "# reads after the discard:$values"
}

discard_v3() {
	discarded 1.1 backed
	[ "$values" = " 0 0" ]
	discarded 1.1 alone
	[ "$values" = " 0 0" ]
}

# Version 2 has no zero clusters: over a backing file nothing changes, or zeroes are written.
discard_v2() {
	discarded 0.10 backed
	[[ "$values" = " "[01]" "[02] ]]
	discarded 0.10 alone
	[ "$values" = " 0 0" ]
}

write_zeroes() {
	qemu-img create -q -f qcow2 -o "compat=$1" "$dir/base" 2M
	qemu-io -f qcow2 -c "write -q -P 2 0 2M" "$dir/base" > "$dir/log"
	qemu-img create -q -f qcow2 -o "compat=$1" -b "$dir/base" -F qcow2 "$dir/top" 2M
	flatten "$dir/top" "$scratch/model"
	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	blkdiscard -z -o 33k -l 1000k /dev/mapper/qctest
	dd if=/dev/zero of="$scratch/model" bs=1k seek=33 count=1000 conv=notrunc status=none
	same_bytes "$scratch/model" /dev/mapper/qctest
	detach qctest
	clean "$dir/top"
	content "$dir/top" "$scratch/model"
}

# Refcounts are kept up to date all the same, and the image is never left dirty.
lazy_refcounts() {
	qemu-img create -q -f qcow2 -o lazy_refcounts=on "$dir/top" 4M
	flatten "$dir/top" "$scratch/model"
	attach qctest "$(table_of '' qcow2 "$dir/top")"
	random_io --model "$scratch/model" --out "$scratch/model.new" --ops 30 --seed "$seed" \
		/dev/mapper/qctest
	[ $(($(header_u64 "$dir/top" 72) & 1)) = 0 ]
	detach qctest
	clean "$dir/top"
	content "$dir/top" "$scratch/model.new"
}

# ---- header features ---------------------------------------------------------------------------

INCOMPATIBLE=72		# offsets in the header, of big-endian 64-bit words
AUTOCLEAR=88

# A bit of a feature that the module knows nothing of is cleared by the first change of anything,
# also one that overwrites data in place, and by nothing else.
autoclear() {
	qemu-img create -q -f qcow2 "$dir/top" 1M
	qemu-io -f qcow2 -c "write -q -P 7 0 256k" "$dir/top" > "$dir/log"
	poke "$dir/top" $AUTOCLEAR 0000000200000000
	attach qctest "$(table_of '' qcow2 "$dir/top")"
	dd if=/dev/mapper/qctest of=/dev/null bs=64k status=none
	detach qctest
	[ "$(header_u64 "$dir/top" $AUTOCLEAR)" = $((1 << 33)) ]
	attach qctest "$(table_of '' qcow2 "$dir/top")"
	dd if=/dev/urandom of=/dev/mapper/qctest bs=4k count=1 oflag=direct status=none
	[ "$(header_u64 "$dir/top" $AUTOCLEAR)" = 0 ]
	detach qctest
	clean "$dir/top"
}

# bad_entry ENTRY OPERATION: the L2 entry of the second cluster is this one.  What needs it fails,
# the rest reads on; the image is failed, and marked corrupt.
bad_entry() {
	local l1 l2 event

	rm -f "$dir"/*
	qemu-img create -q -f qcow2 "$dir/top" 1M
	qemu-io -f qcow2 -c "write -q -P 7 0 256k" "$dir/top" > "$dir/log"
	l1=$(header_u64 "$dir/top" 40)
	l2=$(($(header_u64 "$dir/top" "$l1") & 0xfffffffffffe00))
	poke "$dir/top" $((l2 + 8)) "$(printf %016x $(($1 | 1 << 63)))"
	cp "$dir/top" "$dir/before"

	attach qctest "$(table_of '' qcow2 "$dir/top")"
	event=$(dmsetup info -c --noheadings -o events qctest)
	if "$2" 1; then
		echo "# entry $1: no error"
		return 1
	fi
	reads 0
	reads 2
	wait_for 10 failed_with_event "$event"
	detach qctest
	[ "$(header_u64 "$dir/top" $INCOMPATIBLE)" = 2 ]
	# Not a byte but the corrupt bit.
	poke "$dir/before" $((INCOMPATIBLE + 7)) 02
	cmp "$dir/before" "$dir/top"
}

failed_with_event() {
	[ "$(status_field qctest 1)" = failed ] &&
		[ "$(dmsetup info -c --noheadings -o events qctest)" -gt "$1" ]
}

# reads CLUSTER, writes CLUSTER
reads() {
	dd if=/dev/mapper/qctest of=/dev/null bs=64k count=1 skip="$1" iflag=direct \
		status=none 2> "$dir/log"
}

writes() {
	dd if=/dev/zero of=/dev/mapper/qctest bs=64k count=1 seek="$1" oflag=direct \
		status=none 2> "$dir/log"
}

bad_entries() {
	bad_entry 0x50200 reads			# misaligned
	bad_entry 0x40000000000000 reads	# far behind the end
	bad_entry 0x50200 writes
	bad_entry 0x30000 writes		# the L1 table
	bad_entry 0 writes			# the header, as the word of a bad zero cluster
}

# ---- file systems ------------------------------------------------------------------------------

# File systems without direct or without non-blocking I/O, or with their own ideas of a file.
on_btrfs() {
	fresh_dir btrfs
	chain --depth 2 --size 8388608 "$dir"
	exercise "$TABLE" "$TOP" "$model" --ops 60 --discard-zeroes 65536
	# Not a whole number of the file system's blocks: I/O is by sectors all the same.
	qemu-img resize -q -f qcow2 "$TOP" $((8388608 + 512))
	TABLE=${TABLE/16384/16385}
	truncate -s +512 "$model"
	exercise "$TABLE" "$TOP" "$model" --ops 20
}

on_overlayfs() {
	local o=$scratch/overlay

	mkdir -p "$o/lower" "$o/upper" "$o/work" "$o/merged"
	mount -t overlay overlay -o "lowerdir=$o/lower,upperdir=$o/upper,workdir=$o/work" \
		"$o/merged"
	chain --depth 2 --size 4194304 "$o/merged"
	exercise "$TABLE" "$TOP" "$model" --ops 40 --discard-zeroes 65536
	umount "$o/merged"
}

# old_times_and_write [OPTION]...: the file has times of long ago, and something is written.
old_times_and_write() {
	touch -d 2001-02-03 "$dir/top"
	dd if=/dev/urandom of=/dev/mapper/qctest bs=4k count=1 oflag=direct status=none "$@"
}

recent() {
	[ "$(stat -c %Y "$dir/top")" -ge "$began" ]
}

# Whoever makes backups of files by their time stamps finds that an image was written to.
time_stamps() {
	local began

	began=$(date +%s)
	fresh_dir "$1"
	qemu-img create -q -f qcow2 -o preallocation=full "$dir/top" 1M
	attach qctest "$(table_of '' qcow2 "$dir/top")"
	old_times_and_write
	wait_for 5 recent
	old_times_and_write conv=fsync
	recent
	old_times_and_write
	detach qctest
	recent
}

# The VM's output directory is a virtiofs: FUSE.
on_fuse() {
	mkdir -p "$QCHAIN_OUT/formats"
	chain --depth 2 --size 4194304 "$QCHAIN_OUT/formats"
	exercise "$TABLE" "$TOP" "$model" --ops 40 --discard-zeroes 65536
	rm -rf "$QCHAIN_OUT/formats"
}

echo "# seed $seed"
fresh_dir tmpfs
place ext4
place xfs

for bits in 1 16 64; do
	fresh_dir tmpfs
	try "refcounts of $bits bits" refcount_width $bits
done
for bits in 2 4 8 32; do
	fresh_dir tmpfs
	variant "refcounts of $bits bits" refcount_width $bits
done
fresh_dir ext4
try "internal snapshots, version 2" internal_snapshots 2
try "internal snapshots, version 3" internal_snapshots 3
try "layers of other cluster sizes below one of 512 bytes" mixed_cluster_sizes 512
try "layers of other cluster sizes below one of 64 KiB" mixed_cluster_sizes 65536
fresh_dir tmpfs
try "overlay longer than its backing file" backing_size 2098688 4M
fresh_dir ext4
try "overlay shorter than its backing file" backing_size 4M 2098688
try "raw base that ends inside a sector" raw_base
fresh_dir tmpfs
try "zlib, version 2, 4 KiB clusters" compressed zlib 2 4096 ''
try "zlib, version 3, 64 KiB clusters" compressed zlib 3 65536 ,compression_type=zlib
fresh_dir ext4
try "zstd, 64 KiB clusters" compressed zstd 3 65536 ,compression_type=zstd
try "zstd, 512-byte clusters" compressed zstd 3 512 ,compression_type=zstd
fresh_dir tmpfs
try "zero clusters, with and without a host cluster" zero_clusters
fresh_dir tmpfs
try "the refcount table grows" refcount_table_growth
fresh_dir ext4
try "discard, version 3" discard_v3
try "discard, version 2" discard_v2
fresh_dir ext4
try "write zeroes, version 3" write_zeroes 1.1
fresh_dir ext4
try "write zeroes, version 2" write_zeroes 0.10
fresh_dir tmpfs
try "lazy refcounts" lazy_refcounts
fresh_dir tmpfs
try "autoclear bits are cleared with the first change" autoclear
fresh_dir tmpfs
try "a bad entry fails what needs it, and marks the image corrupt" bad_entries
for p in ext4 xfs tmpfs; do
	try "time stamps of a file on $p" time_stamps $p
done
if place btrfs 2> /dev/null; then
	try "images on btrfs" on_btrfs
else
	skip "images on btrfs" "no btrfs here"
fi
if grep -q overlay /proc/filesystems || modprobe -q overlay; then
	try "images on overlayfs" on_overlayfs
else
	skip "images on overlayfs" "no overlayfs here"
fi
if [[ "$(findmnt -no FSTYPE -T "${QCHAIN_OUT:-/}")" = *fuse* ]] ||
   [ "$(findmnt -no FSTYPE -T "${QCHAIN_OUT:-/}")" = virtiofs ]; then
	try "images on FUSE" on_fuse
else
	skip "images on FUSE" "no writable FUSE file system here"
fi
