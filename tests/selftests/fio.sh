#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# fio's own verification, with several jobs and depths, on chains in files and on devices.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# verify CHAIN-SETTING ENGINE JOBS DEPTH [fio OPTION]...
verify() {
	local setting=$1 engine=$2 jobs=$3 depth=$4 places=() word out

	shift 4
	for word in $setting; do
		place "$word"
		[ -b "$place" ] || { fresh_dir "$word" && place=$dir; }
		places+=("$place")
	done
	fresh_dir tmpfs
	chain --depth 2 --size 33554432 --ops 12 --cluster "$cluster" "${places[@]}" "$dir"
	attach qctest "$TABLE"
	if ! out=$(fio --name=verify --filename=/dev/mapper/qctest --direct=1 --ioengine="$engine" \
		--numjobs="$jobs" --iodepth="$depth" --size=$((32 / jobs))M \
		--offset_increment=$((32 / jobs))M --randseed="$seed" --allrandrepeat=1 \
		--verify=crc32c --verify_fatal=1 --verify_async=0 --group_reporting "$@" 2>&1); then
		tail -n 30 <<< "$out" | sed 's/^/# /'
		return 1
	fi
	flatten_device
	detach qctest
	clean "$TOP"
	content "$TOP" "$scratch/device"
}

flatten_device() {
	dd if=/dev/mapper/qctest of="$scratch/device" bs=1M iflag=direct status=none
}

command -v fio > /dev/null || skip_all "fio is not installed"
echo "# seed $seed"
plan 6
for name in tmpfs ext4 xfs disk disk-2; do
	place $name
done

cluster=65536
try "random writes, 2 jobs, depth 16, io_uring, ext4" verify ext4 io_uring 2 16 \
	--rw=randwrite --bs=4k
try "random writes of many sizes, 4 jobs, depth 4, libaio, XFS" verify xfs libaio 4 4 \
	--rw=randwrite --bsrange=512-128k --blockalign=512
try "sequential, 1 job, depth 8, io_uring, a device" verify "disk disk-2" io_uring 1 8 \
	--rw=write --bs=64k
try "random writes, 2 jobs, depth 16, libaio, a device over a file" verify "ext4 disk" libaio 2 16 \
	--rw=randwrite --bs=8k --fsync=64
try "reads and writes with trims, 2 jobs, depth 8, io_uring, tmpfs" verify tmpfs io_uring 2 8 \
	--rw=randtrimwrite --bs=16k --verify_backlog=64
cluster=4096
try "random writes, 2 jobs, depth 32, io_uring, 4 KiB clusters, ext4" verify ext4 io_uring 2 32 \
	--rw=randwrite --bs=4k --fdatasync=128
