#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Chains of many layers: read right, written right, attached in reasonable time and memory.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# Opening a chain this deep takes QEMU minutes, so the judge of its content is a flat image that
# got the same writes, and the top layer is checked without its backing files.
deep() {
	local depth=$1 start

	eval "$(mkchain --seed "$seed" --depth "$depth" --cluster 4096 --size 4194304 --ops 5 \
		--flat "$scratch/model" "$dir")"
	start=$(date +%s%N)
	attach qctest "$TABLE"
	echo "# attached in $((($(date +%s%N) - start) / 1000000)) ms"
	same_bytes "$scratch/model" /dev/mapper/qctest
	echo "# $(dmsetup status qctest)"
	memory=$(status_field qctest 5)
	random_io --seed "$seed" --model "$scratch/model" --out "$scratch/new" --cluster 4096 \
		--ops 40 --discard-zeroes 4096 /dev/mapper/qctest
	start=$(date +%s%N)
	detach qctest
	echo "# detached in $((($(date +%s%N) - start) / 1000000)) ms"
	qemu-img check -q "json:{ \"driver\": \"qcow2\", \"backing\": null,
		\"file\": { \"driver\": \"file\", \"filename\": \"$TOP\" } }"
	attach qctest "$TABLE 1 read_only"
	same_bytes "$scratch/new" /dev/mapper/qctest
	detach qctest
	rm -rf "${dir:?}"/*
	echo "${memory%/*}" > "$scratch/memory.$depth"
}

# What the module holds after everything was read once, in KiB.
memory_does_not_grow() {
	local few many

	few=$(cat "$scratch/memory.100")
	many=$(cat "$scratch/memory.1000")
	echo "# metadata memory: $few KiB for 100 layers, $many KiB for 1000"
	[ "$many" -le $((few * 2 + 256)) ]
}

echo "# seed $seed"
plan 3
fresh_dir tmpfs
try "100 layers" deep 100
try "1000 layers" deep 1000
try "metadata memory does not grow with the depth" memory_does_not_grow
