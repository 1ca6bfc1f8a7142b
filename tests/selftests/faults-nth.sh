#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The disk below fails the N-th write, or read, for every N (nth_fault.c): nothing that was flushed is
# lost, also on a disk that forgets its cache, the image stays consistent, and no request fails that
# has nothing to do with it.
#
# The short form tries some, with one seed; QCHAIN_LONG=1 tries all, with
# QCHAIN_SEEDS seeds (3). A failure is repeated by the line that it prints.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# prepare NAME SIZE CREATE_OPTIONS: $dir/NAME.image, an image with data, compressed clusters and an
# internal snapshot over one with data, and NAME.model with what it shows.
prepare() {
	local image=$dir/$1.image base=$dir/$1.base

	qemu-img create -q -f qcow2 "$base" "$2"
	qemu-io -f qcow2 -c "write -q -P 1 0 1M" -c "write -q -P 2 2M 64k" \
		-c "write -q -P 3 3M 1M" "$base"
	qemu-img create -q -f qcow2 -b "$base" -F qcow2 -o "$3" "$image"
	qemu-io -f qcow2 -c "write -q -P 4 512k 256k" -c "write -q -c -P 5 1M 128k" \
		-c "write -q -P 6 3584k 300k" "$image"
	qemu-img snapshot -c kept "$image"
	qemu-io -f qcow2 -c "write -q -P 7 600k 64k" -c "write -q -z 2M 64k" "$image"
	flatten "$image" "$dir/$1.model"
}

# nth NAME CLUSTER ROUNDS [OPTION]...: in the long form all, with several seeds.
nth() {
	local name=$1 cluster=$2 rounds=$3 seeds=1 i

	shift 3
	[ -z "${QCHAIN_LONG:-}" ] || { rounds=0 seeds=${QCHAIN_SEEDS:-3}; }
	for ((i = 0; i < seeds; i++)); do
		echo "# nth_fault --seed $((seed + i)) --cluster $cluster $* for $name"
		nth_fault --seed $((seed + i)) --rounds "$rounds" --cluster "$cluster" --layers 2 \
			--below "qcow2 $dir/$name.base -" "$@" \
			"$dir/$name.image" "$dir/$name.model" "$dir"
	done
}

echo "# seed $seed"
modprobe nbd nbds_max=1 max_part=0 || skip_all "there is no nbd"
plan 11
dir=$scratch
prepare large 4M cluster_size=65536
prepare small 4M cluster_size=512,refcount_bits=64
prepare v2 4M cluster_size=4096,compat=0.10

try "one write fails, clusters of 64 KiB" nth large 65536 3
try "one write fails in part" nth large 65536 2 --torn
try "writes fail from one moment on" nth large 65536 2 --from --torn
try "one write fails, clusters of 512 bytes and a refcount table that grows" \
	nth small 512 3 --torn
try "writes fail from one moment on, clusters of 512 bytes" nth small 512 3 --from
try "one write fails, version 2" nth v2 4096 2 --torn
try "a disk forgets, clusters of 64 KiB" nth large 65536 4 --forget
try "a disk forgets some of it, clusters of 512 bytes" nth small 512 3 --forget --torn
try "a disk forgets, and fails from one moment on" nth large 65536 3 --forget --from
try "one read fails" nth large 65536 2 --reads
try "reads fail from one moment on" nth small 512 2 --reads --from
