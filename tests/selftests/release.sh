#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# User space edits the metadata of an image between suspend and resume: the layer is released, and
# the next table opens it again.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# used CHAIN_OPTION... PLACE...: a chain with its device, after some I/O.
used() {
	chain --ops 6 "$@"
	attach qctest "$TABLE"
	use 8
}

# use OPS: verified random I/O on all of the device.
use() {
	same_bytes "$model" /dev/mapper/qctest
	random_io --model "$model" --out "$model.new" --seed "$seed" --timeout 240 \
		--cluster "$CLUSTER" --ops "$1" --max-io 262144 /dev/mapper/qctest
	mv "$model.new" "$model"
}

# let_go [LAYER]: the window opens.
let_go() {
	dmsetup suspend qctest
	message release "${1:-0}"
}

# go_on [TABLE]: it closes.
go_on() {
	fails dmsetup resume qctest		# with the old table
	dmsetup load qctest --table "${1:-$TABLE}"
	dmsetup resume qctest
}

# The end of each test.
judged() {
	use 8
	detach qctest
	clean "$TOP"
	content "$TOP" "$model"
}

refusals() {
	fresh_dir tmpfs
	used --depth 2 "$dir"
	below
	fails message release 0			# not suspended
	dmsetup suspend qctest
	fails message release
	fails message release x
	fails message release 2
	fails message release 0 1
	dmsetup resume qctest
	fails message release 0
	# Its lower layer is another's, too.
	attach qcother "$(table_of read_only "${BASE[@]}")"
	dmsetup suspend qctest
	fails message release 1
	dmsetup resume qctest
	detach qcother
	judged
}

# As words: what is below the top layer.
below() {
	# shellcheck disable=SC2206	# words
	BASE=($(awk '{ print $8, $9 }' <<< "$TABLE"))
}

# top_in PLACE: $where has the places for a chain whose top layer lies there.
top_in() {
	fresh_dir tmpfs
	where=("$dir")
	[ "$1" != tmpfs ] || return 0
	place "$1"
	where=("$dir" "$place")
}

unchanged() {
	top_in "$1"
	used --depth 2 "${where[@]}"
	for layer in 0 1; do
		let_go $layer
		clean "$TOP"
		go_on
		use 5
	done
	judged
}

grown() {
	fresh_dir "$1"
	used --depth 2 "$dir" "${@:2}"
	let_go
	[ "$(stat -c %s "$TOP")" = "$(qemu-img check -f qcow2 --output json "$TOP" |
		sed -n 's/.*"image-end-offset": \([0-9]*\).*/\1/p')" ]
	qemu-img resize -q -f qcow2 "$TOP" $((BYTES * 3 + 65536))
	go_on "$(awk -v n=$(((BYTES * 3 + 65536) / 512)) '{ $2 = n; print }' <<< "$TABLE")"
	[ "$(blockdev --getsize64 /dev/mapper/qctest)" = $((BYTES * 3 + 65536)) ]
	truncate -s $((BYTES * 3 + 65536)) "$model"
	judged
}

with_snapshots() {
	top_in "$1"
	used --depth 2 "${where[@]}" "${@:2}"
	for name in one two; do
		cp "$model" "$scratch/$name"
		let_go
		qemu-img snapshot -c $name "$TOP"
		go_on
		use 5
	done
	judged
	for name in one two; do
		qemu-img convert -f qcow2 -l $name -O raw "$TOP" "$scratch/then"
		cmp "$scratch/then" "$scratch/$name"
	done
}

raw() {
	fresh_dir ext4
	BYTES=$((4 * 1048576)) CLUSTER=65536
	model=$scratch/model
	head -c $BYTES /dev/urandom > "$dir/raw"
	cp "$dir/raw" "$model"
	attach qctest "$(table_of '' raw "$dir/raw")"
	use 5
	let_go
	truncate -s $((BYTES * 2)) "$dir/raw" "$model"
	go_on "$(table_of '' raw "$dir/raw")"
	use 5
	detach qctest
	cmp "$dir/raw" "$model"
}

# A layer below the top one, which is not written through the device.
edited_below() {
	fresh_dir ext4
	used --depth 2 "$dir"
	below
	let_go 1
	qemu-io -f "${BASE[0]}" -c "write -P 7 0 $BYTES" "${BASE[1]}" > /dev/null
	go_on
	flatten "$TOP" "$model"
	judged
}

# Two tables are loaded, and the first is not used.
loaded_twice() {
	fresh_dir tmpfs
	used --depth 2 "$dir"
	let_go
	dmsetup load qctest --table "$TABLE"
	dmsetup clear qctest
	fails dmsetup resume qctest
	dmsetup load qctest --table "$TABLE"
	message release 0			# and that one is out of date
	qemu-img snapshot -c name "$TOP"
	go_on
	judged
}

# The locks that QEMU's tools see stay through all of it.
locked() {
	fresh_dir ext4
	qemu-img create -q -f qcow2 "$dir/image" 8M
	qchain attach "$dir/image" --name qctest
	TABLE=$(dmsetup table qctest)
	fails qemu-io -f qcow2 -c "write 0 512" "$dir/image"
	let_go
	fails qemu-io -f qcow2 -c "write 0 512" "$dir/image"
	dmsetup load qctest --table "$TABLE"
	dmsetup clear qctest
	fails qemu-io -f qcow2 -c "write 0 512" "$dir/image"
	go_on
	fails qemu-io -f qcow2 -c "write 0 512" "$dir/image"
	qchain detach qctest
	qemu-io -f qcow2 -c "write 0 512" "$dir/image" > /dev/null
}

with_a_job() {
	fresh_dir tmpfs
	used --depth 3 "$dir"
	message job_start job0 stream 0 - speed=65536
	let_go
	go_on
	[ "$(status_field qctest 11)" = running ]
	message job_speed job0 0
	wait_for 60 job_ended
	[ "$(status_field qctest 14)" = 0 ]
	message job_forget job0
	judged
}

# What a stream has copied is taken away again: it has to begin anew.
job_over_older_snapshot() {
	fresh_dir tmpfs
	TOP=$dir/top
	qemu-img create -q -f qcow2 "$dir/base" 16M
	qemu-io -f qcow2 -c "write -P 5 0 16M" "$dir/base" > /dev/null
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$TOP"
	qemu-img snapshot -c before "$TOP"
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 "$dir/base")
	attach qctest "$TABLE"
	message job_start job0 stream 0 - speed=2097152
	wait_for 60 some_copied
	let_go
	qemu-img snapshot -a before "$TOP"
	go_on
	message job_speed job0 0
	wait_for 60 job_ended
	[ "$(status_field qctest 14)" = 0 ]
	detach qctest
	qemu-img rebase -u -b "" "$TOP"
	qemu-img compare -q -f qcow2 "$TOP" "$dir/base"
	clean "$TOP"
}

some_copied() {
	[ "$(status_field qctest 12 | cut -d / -f 1)" -gt 4194304 ]
}

job_ended() {
	[ "$(status_field qctest 11)" = ended ]
}

echo "# seed $seed"
plan 14
for name in tmpfs ext4 disk; do place $name; done

try "what is refused" refusals
try "nothing edited, tmpfs" unchanged tmpfs
try "nothing edited, a disk" unchanged disk
try "grown by qemu-img, ext4" grown ext4
try "grown by qemu-img, 512-byte clusters" grown tmpfs --cluster 512 --size 2097152
try "grown by qemu-img, 2 MiB clusters" grown tmpfs --cluster 2097152 --size 16777216
try "internal snapshots, tmpfs" with_snapshots tmpfs
try "internal snapshots, a disk, version 2" with_snapshots disk --version 2
try "a raw image" raw
try "a layer below" edited_below
try "tables that are loaded and not used" loaded_twice
try "locks stay" locked
try "a job goes on" with_a_job
try "a job begins anew when what it copied is gone" job_over_older_snapshot
