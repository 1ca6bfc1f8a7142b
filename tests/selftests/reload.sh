#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Suspend, resume and new tables while I/O runs; images that outlive tables; a base that devices share.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# Random I/O in the background, its process $load; it ends by itself after --ops of work.
start_load() {
	local name=$1 before=$2

	shift 2
	random_io --model "$before" --out "$before.new" --seed "$seed" --timeout 240 "$@" \
		"/dev/mapper/$name" &
	load=$!
}

running() {
	kill -0 "$1" 2> /dev/null
}

# load_and COMMAND...: again and again as long as the load runs, twice at least; on a slow machine the
# load may have to run twice for that.
load_and() {
	local rounds=0

	while :; do
		start_load qctest "$model" --cluster "$CLUSTER" --ops 600
		while running "$load"; do
			"$@"
			rounds=$((rounds + 1))
			sleep 0.1
		done
		wait "$load"
		echo "# $rounds rounds"
		[ $rounds -lt 2 ] || break
		mv "$model.new" "$model"
	done
}

ended() {
	same_bytes "$model.new" /dev/mapper/qctest
	detach qctest
	clean "$TOP"
	content "$TOP" "$model.new"
}

suspend_resume() {
	dmsetup suspend qctest
	dmsetup resume qctest
	dmsetup suspend --noflush --nolockfs qctest
	dmsetup resume qctest
}

suspended_under_load() {
	chain --depth 2 --cluster "$1" --size 8388608 --ops 20 "$dir"
	attach qctest "$TABLE"
	load_and suspend_resume
	ended
}

same_table() {
	dmsetup table qctest | dmsetup load qctest
	dmsetup suspend qctest
	dmsetup resume qctest
	[ "$(dmsetup table qctest)" = "$TABLE" ]
}

reloaded_under_load() {
	chain --depth 2 --cluster "$1" --size 8388608 --ops 20 "$dir"
	attach qctest "$TABLE"
	load_and same_table
	ended
}

# A table that is loaded and cleared, or refused, is nothing to the one in use.
abandoned_tables() {
	dmsetup load qctest --table "$TABLE 1 error_if_no_space"
	dmsetup clear qctest
	fails dmsetup load qctest --table "$TABLE 1 none"
	fails dmsetup load qctest --table "${TABLE/qchain/qchain 9}"
}

abandoned_under_load() {
	chain --depth 2 --size 8388608 --ops 20 "$dir"
	attach qctest "$TABLE"
	load_and abandoned_tables
	ended
}

other_features() {
	chain --depth 2 --size 4194304 --ops 20 "$dir"
	attach qctest "$TABLE"
	for features in "1 error_if_no_space" "1 read_only" "" "1 no_discard_passdown"; do
		dmsetup load qctest --table "$TABLE${features:+ $features}"
		dmsetup suspend qctest
		dmsetup resume qctest
		[ "$(dmsetup table qctest)" = "$TABLE${features:+ $features}" ]
		if [ "$features" = "1 read_only" ]; then
			[ "$(status_field qctest 1)" = ro ]
			same_bytes "$model" /dev/mapper/qctest
			fails blkdiscard -l 65536 /dev/mapper/qctest
			continue
		fi
		[ "$(status_field qctest 1)" = rw ]
		# What can be done does not hang on the table before.
		blkdiscard -l 65536 /dev/mapper/qctest
		head -c 65536 /dev/zero | dd of="$model" conv=notrunc status=none
		random_io --model "$model" --out "$model.new" --ops 20 --seed "$seed" \
			/dev/mapper/qctest
		mv "$model.new" "$model"
	done
	detach qctest
	clean "$TOP"
	content "$TOP" "$model"
}

# While suspended nothing of the image is in memory only.
all_on_disk() {
	local before

	chain --depth 2 --cluster 4096 --size 8388608 --ops 20 "$dir"
	attach qctest "$TABLE"
	random_io --model "$model" --out "$model.new" --cluster 4096 --ops 60 --seed "$seed" \
		/dev/mapper/qctest
	dmsetup suspend qctest
	clean "$TOP"
	content "$TOP" "$model.new"
	# Nor does anything reach it: what waits for a time does not wait for this one.
	before=$(md5sum < "$TOP")
	sleep 6
	[ "$before" = "$(md5sum < "$TOP")" ]
	dmsetup resume qctest
	ended
}

# A new top layer over the old one while I/O runs: from then on the old one does not change.
new_top() {
	chain --depth 2 --size 8388608 --ops 20 "$dir"
	attach qctest "$TABLE"
	start_load qctest "$model" --ops 600
	qemu-img create -q -f qcow2 -u -b "$TOP" -F qcow2 "$dir/new" "$BYTES"
	sleep 1
	dmsetup load qctest --table \
		"0 $(((BYTES + 511) / 512)) qchain 3 qcow2 $dir/new - $LAYERS"
	dmsetup suspend qctest
	dmsetup resume qctest
	cp "$TOP" "$scratch/old"
	wait "$load"
	cmp "$scratch/old" "$TOP"
	clean "$TOP"
	TOP=$dir/new
	ended
}

# Below a new top layer the old one, which nobody has written to, is only read: its header, too, is as
# it was, with the autoclear bits that the first change clears.
untouched_top() {
	chain --depth 2 --size 8388608 --ops 20 "$dir"
	poke "$TOP" 95 04
	cp "$TOP" "$scratch/old"
	attach qctest "$TABLE"
	same_bytes "$model" /dev/mapper/qctest
	qemu-img create -q -f qcow2 -u -b "$TOP" -F qcow2 "$dir/new" "$BYTES"
	dmsetup load qctest --table \
		"0 $(((BYTES + 511) / 512)) qchain 3 qcow2 $dir/new - $LAYERS"
	dmsetup suspend qctest
	dmsetup resume qctest
	same_bytes "$model" /dev/mapper/qctest
	random_io --model "$model" --out "$model.new" --ops 60 --seed "$seed" /dev/mapper/qctest
	cmp "$scratch/old" "$TOP"
	TOP=$dir/new
	ended
}

# Three devices with one base; one of them goes while the others work.
shared_base() {
	local n base=$dir/base loads=() sum

	qemu-img create -q -f qcow2 "$base" 8M
	qemu-io -f qcow2 -c "write -q -P 7 0 5M" "$base" > "$scratch/log"
	sum=$(md5sum < "$base")
	for n in 1 2 3; do
		qemu-img create -q -f qcow2 -b "$base" -F qcow2 "$dir/top$n" 8M
		flatten "$dir/top$n" "$scratch/model$n"
		attach qctest$n "$(table_of '' qcow2 "$dir/top$n" qcow2 "$base")"
	done
	for n in 1 2 3; do
		start_load qctest$n "$scratch/model$n" --threads 2 --ops $((30 + 60 * n))
		loads+=("$load")
	done
	for n in 1 2 3; do
		wait "${loads[n - 1]}"
		same_bytes "$scratch/model$n.new" /dev/mapper/qctest$n
		detach qctest$n
	done
	for n in 1 2 3; do
		clean "$dir/top$n"
		content "$dir/top$n" "$scratch/model$n.new"
	done
	[ "$sum" = "$(md5sum < "$base")" ]
}

# A base of 8 MiB, $base, and two images over it, with tables for each and for the base alone.
base_and_tops() {
	local n

	base=$dir/base
	qemu-img create -q -f qcow2 "$base" 8M
	qemu-io -f qcow2 -c "write -q -P 7 0 5M" "$base" > "$scratch/log"
	flatten "$base" "$scratch/model"
	for n in 1 2; do
		qemu-img create -q -f qcow2 -b "$base" -F qcow2 "$dir/top$n"
	done
	over1=$(table_of '' qcow2 "$dir/top1" qcow2 "$base")
	over2=$(table_of '' qcow2 "$dir/top2" qcow2 "$base")
	alone=$(table_of '' qcow2 "$base")
}

# The base can be written by one of two devices when the other has let it go, not before.
shared_then_written() {
	local read="in use read-only by another" written="attached for writing by another"

	base_and_tops
	attach qctest1 "$over1"
	attach qctest2 "$over2"
	refused "$read" dmsetup load qctest1 --table "$alone"
	refused "$read" dmsetup load qctest1 --table "$over1 2 writable 1"
	detach qctest2
	# A table that is not in use yet counts, too.
	dmsetup load qctest1 --table "$alone"
	refused "$written" dmsetup create qctest2 --table "$over2"
	dmsetup clear qctest1
	attach qctest2 "$over2"
	refused "$read" dmsetup load qctest1 --table "$alone"
	# The other has another table, and no longer the base.
	dmsetup load qctest2 --table "$(table_of '' qcow2 "$dir/top2")"
	refused "$read" dmsetup load qctest1 --table "$alone"
	dmsetup resume qctest2
	dmsetup suspend qctest1
	dmsetup load qctest1 --table "$alone"
	dmsetup resume qctest1
	refused "$written" dmsetup load qctest2 --table "$over2"
	random_io --model "$scratch/model" --out "$scratch/model.new" --ops 30 --seed "$seed" \
		/dev/mapper/qctest1
	detach qctest1
	clean "$base"
	content "$base" "$scratch/model.new"
	dmsetup load qctest2 --table "$over2"
	dmsetup resume qctest2
	same_bytes "$scratch/model.new" /dev/mapper/qctest2
	detach qctest2
}

# A job keeps what it reads, also when its device is left with a table that cannot be used.
kept_by_job() {
	base_and_tops
	attach qctest1 "$over1"
	dmsetup message qctest1 0 job_start j stream 0 - speed=65536
	dmsetup message qctest1 0 job_pause j
	dmsetup load qctest1 --table "$(table_of '' qcow2 "$dir/top1")"
	dmsetup suspend qctest1
	dmsetup message qctest1 0 release 0
	fails dmsetup resume qctest1
	[[ "$(dmsetup table qctest1)" != *"$base"* ]]
	refused "in use read-only by another" dmsetup create qctest2 --table "$alone"
	dmsetup message qctest1 0 job_cancel j
	attach qctest2 "$alone"
	refused "attached for writing by another" dmsetup load qctest1 --table "$over1"
	detach qctest2
	dmsetup load qctest1 --table "$over1"
	dmsetup resume qctest1
	same_bytes "$scratch/model" /dev/mapper/qctest1
	detach qctest1
	clean "$dir/top1"
	content "$dir/top1" "$scratch/model"
}

# An image on a device that is itself a chain.
stacked() {
	qemu-img create -q -f qcow2 "$dir/lower" 32M
	attach qctest1 "$(table_of '' qcow2 "$dir/lower")"
	qemu-img create -q -f qcow2 /dev/mapper/qctest1 8M
	flatten /dev/mapper/qctest1 "$scratch/model"
	attach qctest2 "$(table_of '' qcow2 /dev/mapper/qctest1)"
	start_load qctest2 "$scratch/model" --ops 60
	dmsetup suspend qctest1
	dmsetup resume qctest1
	wait "$load"
	fails dmsetup remove qctest1
	detach qctest2
	clean /dev/mapper/qctest1
	content /dev/mapper/qctest1 "$scratch/model.new"
	detach qctest1
	clean "$dir/lower"
}

# Metadata comes and goes all the time when its memory is this small.
small_cache() {
	chain --depth 3 --cluster 4096 "$dir"
	echo 64 > $limit
	exercise "$TABLE" "$TOP" "$model" --ops 80 --cluster 4096
}

echo "# seed $seed"
plan 14
fresh_dir ext4
try "suspend and resume under load" suspended_under_load 65536
fresh_dir tmpfs
try "suspend and resume under load, 512-byte clusters" suspended_under_load 512
fresh_dir ext4
try "the same table again and again under load" reloaded_under_load 65536
fresh_dir tmpfs
try "the same table again and again under load, 4 KiB clusters" reloaded_under_load 4096
fresh_dir ext4
try "tables that are loaded but never used" abandoned_under_load
fresh_dir tmpfs
try "tables with other features" other_features
fresh_dir ext4
try "a suspended device has everything on disk" all_on_disk
fresh_dir ext4
try "a new top layer under load" new_top
fresh_dir tmpfs
try "a top layer that nobody has written to, below a new one" untouched_top
fresh_dir tmpfs
try "devices that share a base" shared_base
fresh_dir tmpfs
try "a base that two devices shared, and one writes" shared_then_written
fresh_dir ext4
try "a base that a job keeps" kept_by_job
fresh_dir ext4
try "a chain on a chain" stacked
limit=/sys/module/dm_qchain/parameters/metadata_limit_kib
kib=$(cat $limit)
fresh_dir ext4
try "metadata in 64 KiB" small_cache
echo "$kib" > $limit
