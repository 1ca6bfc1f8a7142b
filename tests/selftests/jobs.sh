#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The jobs that copy one layer of a chain into another while the device is used, alone with
# dmsetup: what they copy, and how they are steered, interrupted and disturbed.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"

# Of the only job.
state() {
	status_field qctest 11
}

state_is() {
	[ "$(state)" = "$1" ]
}

progress() {
	local words

	words=$(status_field qctest 12)
	echo "${words%/*}"
}

error_number() {
	status_field qctest 14
}

# error_is NUMBER OPERATION
error_is() {
	[ "$(status_field qctest 14) $(status_field qctest 15)" = "$*" ] ||
		{ echo "# $(dmsetup status qctest)"; return 1; }
}

# It has ended well, and is gone when forgotten.
ended_well() {
	wait_for 120 state_is ended
	error_is 0 -
	[ "$(status_field qctest 12)" = "$BYTES/$BYTES" ]
	message job_forget job0
	[ "$(status_field qctest 8)" = 0 ]
}

# layer N: words of layer N of $TABLE, the top being 0.
layer() {
	awk -v n="$1" '{ print $(5 + 3 * n), $(6 + 3 * n) }' <<< "$TABLE"
}

# pivot A B: the chain without the layers between numbers A and B ("-": none stays below A). Header and
# table change in a suspend, as whoever ends a job does it.
pivot() {
	local format image

	read -r format image <<< "$(layer "$1")"
	dmsetup suspend qctest
	if [ "$2" = - ]; then
		qemu-img rebase -u -f qcow2 -b '' "$image"
	else
		# shellcheck disable=SC2046	# words
		set -- "$1" "$2" $(layer "$2")
		qemu-img rebase -u -f qcow2 -b "$4" -F "$3" "$image"
	fi
	TABLE=$(awk -v a="$1" -v b="$2" '{
		if (b == "-")
			b = $4
		printf "%s %s %s %d", $1, $2, $3, $4 - (b - a - 1)
		for (i = 5; i < 5 + 3 * $4; i++)
			if (i < 8 + 3 * a || i >= 5 + 3 * b)
				printf " %s", $i
	}' <<< "$TABLE")
	dmsetup load qctest --table "$TABLE"
	dmsetup resume qctest
}

# The number of layers.
depth() {
	awk '{ print $4 }' <<< "$TABLE"
}

# chain_in PLACES [mkchain OPTION]...: a chain in directories and on disks.
chain_in() {
	local dirs=() name

	for name in $1; do
		case $name in
		disk*) place "$name"; dirs+=("$place") ;;
		*) fresh_dir "$name"; dirs+=("$dir") ;;
		esac
	done
	chain --ops 20 "${@:2}" "${dirs[@]}"
}

# under_load COMMAND...: it runs beside random I/O, and both succeed.
under_load() {
	random_io --model "$model" --out "$model.new" --seed "$seed" --timeout 240 \
		--cluster "$CLUSTER" --ops 25 --max-io 262144 /dev/mapper/qctest > "$scratch/out" &
	"$@"
	wait $! || { cat "$scratch/out"; return 1; }
	mv "$model.new" "$model"
}

# What is there is right, now and after more load, and in the image.
still_right() {
	same_bytes "$model" /dev/mapper/qctest
	random_io --model "$model" --out "$model.new" --seed "$((seed + 1))" --timeout 240 \
		--cluster "$CLUSTER" --ops 10 /dev/mapper/qctest > "$scratch/out" ||
		{ cat "$scratch/out"; return 1; }
	mv "$model.new" "$model"
	detach qctest
	clean "$TOP"
	content "$TOP" "$model"
}

# switch_to TABLE
switch_to() {
	dmsetup load qctest --table "$1"
	dmsetup suspend qctest
	dmsetup resume qctest
}

# writable N: a table in which layer N may be written.
writable() {
	switch_to "$TABLE 2 writable $1"
	[ "$(dmsetup table qctest)" = "$TABLE 2 writable $1" ]
}

# streamed PLACES TOP BASE [mkchain OPTION]...: a stream into layer TOP down to layer BASE ("below":
# the lowest) under load, the pivot, and more load.
streamed() {
	local top=$2 base=$3

	chain_in "$1" "${@:4}"
	[ "$base" != below ] || base=$(($(depth) - 1))
	attach qctest "$TABLE"
	[ "$top" = 0 ] || writable "$top"
	under_load message job_start job0 stream "$top" "$base"
	# shellcheck disable=SC2046	# words
	BYTES=$(virtual_size $(layer "$top"))
	ended_well
	pivot "$top" "$base"
	[ "$top" = 0 ] || clean_layer "$top"
	still_right
}

# clusters TOP BASE: each call goes on where the last one ended, at the end of a cluster.
clusters() {
	local image size at=0 next

	read -r _ image <<< "$(layer "$1")"
	size=$((1 << $(header_u32 "$image" 20)))
	while [ "$at" -lt "$BYTES" ]; do
		next=$(message stream_cluster "$1" "$2" "$at")
		[ "$next" -gt "$at" ] && [ "$next" -le "$BYTES" ]
		[ "$next" = "$BYTES" ] || [ $((next % size)) = 0 ]
		at=$next
	done
	[ "$(message stream_cluster "$1" "$2" 0)" = "$BYTES" ]
}

# As streamed(), but without a job.
streamed_by_clusters() {
	local top=$2 base=$3

	chain_in "$1" "${@:4}"
	attach qctest "$TABLE"
	[ "$top" = 0 ] || writable "$top"
	# shellcheck disable=SC2046	# words
	BYTES=$(virtual_size $(layer "$top"))
	under_load clusters "$top" "$base"
	[ "$(status_field qctest 8)" = 0 ]
	pivot "$top" "$base"
	[ "$top" = 0 ] || clean_layer "$top"
	still_right
}

clean_layer() {
	local format image

	read -r format image <<< "$(layer "$1")"
	[ "$format" = raw ] || clean "$image"
}

# commit_length TOP BASE: all of TOP, and what the layer above it sees as zeroes behind its end.
commit_length() {
	local top above base

	# shellcheck disable=SC2046	# words
	top=$(virtual_size $(layer "$1")) above=$(virtual_size $(layer $(($1 - 1))))
	# shellcheck disable=SC2046	# words
	base=$(virtual_size $(layer "$2"))
	[ "$above" -lt "$base" ] || above=$base
	[ "$above" -gt "$top" ] && echo "$above" || echo "$top"
}

# committed PLACES TOP BASE [mkchain OPTION]...: layers TOP to above BASE into layer BASE.
committed() {
	local top=$2 base=$3 size format image

	chain_in "$1" "${@:4}"
	[ "$base" != below ] || base=$(($(depth) - 1))
	# shellcheck disable=SC2046	# words
	size=$(virtual_size $(layer "$top"))
	read -r format image <<< "$(layer "$base")"
	[ "$(virtual_size "$format" "$image")" -ge "$size" ] ||
		qemu-img resize -q -f "$format" "$image" "$size"
	attach qctest "$TABLE"
	fails message job_start job0 commit "$top" "$base"	# not writable
	writable "$base"
	under_load message job_start job0 commit "$top" "$base"
	BYTES=$(commit_length "$top" "$base")
	ended_well
	pivot $((top - 1)) "$base"
	still_right
	[ "$format" = raw ] || clean "$image"
}

# committed_active PLACES BASE [mkchain OPTION]...: all layers above BASE into it, while much is written,
# and the base becomes the top layer.
committed_active() {
	local base=$2 size format image load

	chain_in "$1" "${@:3}"
	[ "$base" != below ] || base=$(($(depth) - 1))
	# shellcheck disable=SC2046	# words
	size=$(virtual_size $(layer 0))
	read -r format image <<< "$(layer "$base")"
	[ "$(virtual_size "$format" "$image")" -ge "$size" ] ||
		qemu-img resize -q -f "$format" "$image" "$size"
	attach qctest "$TABLE"
	writable "$base"
	random_io --model "$model" --out "$model.new" --seed "$seed" --timeout 240 \
		--cluster "$CLUSTER" --ops 60 --max-io 262144 /dev/mapper/qctest > "$scratch/out" &
	load=$!
	message job_start job0 commit 0 "$base"
	fails message job_start job1 commit 0 "$base"
	wait_for 120 state_is ready
	echo "# ready, and the load $(kill -0 $load 2> /dev/null && echo runs || echo "has ended")"
	dmsetup suspend qctest
	dmsetup resume qctest
	state_is ready
	wait $load || { cat "$scratch/out"; return 1; }
	mv "$model.new" "$model"

	message job_complete job0
	dmsetup suspend qctest
	TABLE=$(awk -v n="$base" '{
		printf "%s %s %s %d", $1, $2, $3, $4 - n
		for (i = 5 + 3 * n; i < 5 + 3 * $4; i++)
			printf " %s", $i
	}' <<< "$TABLE")
	dmsetup load qctest --table "$TABLE"
	dmsetup resume qctest
	BYTES=$size
	ended_well
	same_bytes "$model" /dev/mapper/qctest
	random_io --model "$model" --out "$model.new" --seed "$((seed + 1))" --timeout 240 \
		--cluster "$CLUSTER" --ops 10 /dev/mapper/qctest > "$scratch/out" ||
		{ cat "$scratch/out"; return 1; }
	detach qctest
	clean "$TOP"
	[ "$format" = raw ] || clean "$image"
	qemu-img convert -f "$format" -O raw "$image" "$scratch/base.raw"
	cmp -n "$size" "$scratch/base.raw" "$model.new"		# the base may be longer
}

# delays NAME: that device of target delay holds a write.
delays() {
	dmsetup status "$1" | awk '{ exit !$5 }'
}

# A write that began before the active commit, and comes to the disk when its place is copied.
overtaken() {
	local disk sectors write start

	place disk
	disk=$place sectors=$(blockdev --getsz "$place")
	fresh_dir tmpfs
	qemu-img create -q -f qcow2 "$dir/base" 8M
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$disk"
	qemu-io -f qcow2 -c "write -q -P 1 1M 64k" "$disk"
	attach slow "0 $sectors delay $disk 0 0 $disk 0 600000"
	TABLE=$(table_of '' qcow2 /dev/mapper/slow qcow2 "$dir/base")
	attach qctest "$TABLE"
	writable 1
	blkdiscard --zeroout --offset 1M --length 4096 /dev/mapper/qctest &
	write=$!
	wait_for 60 delays slow
	message job_start job0 commit 0 1 &
	start=$!
	# Without a wait for the write the place is copied meanwhile.
	sleep 3
	dmsetup load slow --table "0 $sectors linear $disk 0"
	dmsetup suspend slow
	dmsetup resume slow
	wait $start
	wait $write
	wait_for 60 state_is ready
	message job_complete job0
	dmsetup suspend qctest
	dmsetup load qctest --table "$(table_of '' qcow2 "$dir/base")"
	dmsetup resume qctest
	BYTES=$((8 * 1048576))
	ended_well
	qemu-io -f raw -c "read -P 0 1M 4k" -c "read -P 1 1028k 60k" /dev/mapper/qctest \
		> "$scratch/log"
	fails grep failed "$scratch/log"
	detach qctest
	detach slow
	clean "$dir/base"
}

# An active commit that is not completed: cancelled, overtaken by another table, or in the way of a base
# that fails.
not_completed() {
	local size

	two_layers
	writable 1
	message job_start job0 commit 0 1
	fails message job_complete job1
	wait_for 60 state_is ready
	message job_cancel job0
	state_is ended
	[ "$(error_number)" = 125 ]
	message job_forget job0

	message job_start job0 commit 0 1
	wait_for 60 state_is ready
	fails message job_pause job0
	message job_complete job0
	qemu-img create -q -f qcow2 -b "$TOP" -F qcow2 "$dir/above"
	switch_to "$(table_of '' qcow2 "$dir/above" qcow2 "$TOP" qcow2 "$dir/base")"
	state_is ended
	[ "$(error_number)" = 116 ]
	message job_forget job0
	all_is_well

	two_layers
	detach qctest
	dd if="$dir/base" of=/dev/mapper/bad-base bs=64k oflag=direct conv=fsync status=none
	qemu-img create -q -f qcow2 -b /dev/mapper/bad-base -F qcow2 "$TOP" 8M
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 /dev/mapper/bad-base)
	attach qctest "$TABLE"
	writable 1
	message job_start job0 commit 0 1
	wait_for 60 state_is ready
	fails message job_start job1 commit 0 1 		# two over the same layers
	message job_complete job0
	fail_at bad-base 0 $((32 * MIB)) error_writes
	dd if=/dev/urandom of="$scratch/some" bs=64k count=4 status=none
	dd if="$scratch/some" of=/dev/mapper/qctest bs=64k seek=9 oflag=direct status=none
	dd if="$scratch/some" of="$model" bs=64k seek=9 conv=notrunc status=none
	wait_for 20 state_is ended
	error_is 5 write
	fail_at bad-base
	# The write is missing in the base: it must not become the top layer.
	dmsetup load qctest --table "$(table_of '' qcow2 /dev/mapper/bad-base)"
	dmsetup suspend qctest
	fails dmsetup resume qctest
	dmsetup load qctest --table "$TABLE"
	dmsetup resume qctest
	message job_forget job0
	all_is_well
}

# change NAME TABLE: give a device another table.
change() {
	dmsetup load "$1" --table "$2"
	dmsetup suspend "$1"
	dmsetup resume "$1"
}

# Cancelled when it is ready, with a write under way to both images, the second of which fails then: who
# cancels takes the base for equal, which it is not.
cancelled_in_a_write() {
	local sectors write cancel bad=/dev/mapper/bad-base

	two_layers
	detach qctest
	dd if="$dir/base" of=$bad bs=64k oflag=direct conv=fsync status=none
	sectors=$(blockdev --getsz $bad)
	attach slow "0 $sectors linear $bad 0"
	qemu-img create -q -f qcow2 -b /dev/mapper/slow -F qcow2 "$TOP" 8M
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 /dev/mapper/slow)
	attach qctest "$TABLE"
	writable 1
	message job_start job0 commit 0 1
	wait_for 60 state_is ready
	change slow "0 $sectors delay $bad 0 0 $bad 0 600000"
	dd if=/dev/urandom of="$scratch/some" bs=64k count=4 status=none
	dd if="$scratch/some" of="$model" bs=64k seek=9 conv=notrunc status=none
	dd if="$scratch/some" of=/dev/mapper/qctest bs=64k seek=9 oflag=direct status=none &
	write=$!
	wait_for 60 delays slow
	message job_cancel job0 &
	cancel=$!
	# The message waits for the write, and the status for the message.
	sleep 3
	fail_at bad-base 0 $((32 * MIB)) error_writes
	change slow "0 $sectors linear $bad 0"
	wait $write
	wait $cancel
	wait_for 20 state_is ended
	error_is 5 write
	fail_at bad-base
	message job_forget job0
	all_is_well
	detach slow
}

# A chain to play with: 8 MiB, two layers, all data in the base.
two_layers() {
	BYTES=$((8 * MIB))
	CLUSTER=65536
	fresh_dir tmpfs
	model=$scratch/model
	dd if=/dev/urandom of="$model" bs=1M count=8 status=none
	qemu-img convert -f raw -O qcow2 "$model" "$dir/base"
	TOP=$dir/top
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$TOP"
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 "$dir/base")
	attach qctest "$TABLE"
}

all_is_well() {
	same_bytes "$model" /dev/mapper/qctest
	detach qctest
	clean "$TOP"
	content "$TOP" "$model"
}

steered() {
	local at begin

	two_layers
	begin=${EPOCHREALTIME/./}
	message job_start job0 stream 0 - speed=1048576
	[ "$(status_field qctest 8)" = 1 ]
	[ "$(status_field qctest 9)" = job0 ]
	[ "$(status_field qctest 10)" = stream ]
	[ "$(status_field qctest 13)" = 1048576 ]
	state_is running
	sleep 2
	at=$(progress)
	begin=$((${EPOCHREALTIME/./} - begin))
	echo "# after $begin us of 1 MiB/s: $at bytes"
	[ "$at" -gt 0 ]
	[ "$at" -le $((begin * MIB / 1000000 + MIB / 2)) ]	# what is allowed, and a chunk for each lane
	message job_pause job0
	state_is paused
	at=$(progress)
	sleep 1
	[ "$(progress)" = "$at" ]
	message job_speed job0 0
	[ "$(status_field qctest 13)" = 0 ]
	[ "$(progress)" = "$at" ]
	fails message job_forget job0
	message job_resume job0
	fails message job_resume job0
	ended_well
	all_is_well
}

cancelled() {
	two_layers
	message job_start job0 stream 0 - speed=65536
	message job_cancel job0
	state_is ended
	[ "$(error_number)" = 125 ]		# ECANCELED
	fails message job_pause job0
	fails message job_start job0 stream 0 -	# the name is taken until it is forgotten
	message job_forget job0
	message job_start job0 stream 0 -
	ended_well
	all_is_well
}

refused_messages() {
	local i

	two_layers
	fails message job_start job0
	fails message job_start job0 mirror 0 -
	fails message job_start job0 stream 0
	fails message job_start job0 stream 0 0
	fails message job_start job0 stream 0 3
	fails message job_start job0 stream x -
	fails message job_start job0 stream 0 x
	fails message job_start job0 stream 1 -		# not writable
	fails message job_start "a b" stream 0 -
	fails message job_start "$(printf 'x%.0s' {1..64})" stream 0 -
	fails message job_start job0 stream 0 - speed=x
	fails message job_start job0 stream 0 - on_error=perhaps
	fails message job_start job0 stream 0 - more
	fails message job_cancel job0
	fails message job_what job0
	[ "$(status_field qctest 8)" = 0 ]
	for i in {1..16}; do message job_start "job$i" stream 0 - speed=1; done
	fails message job_start job17 stream 0 -
	for i in {1..16}; do message job_cancel "job$i"; message job_forget "job$i"; done
	[ "$(status_field qctest 8)" = 0 ]
	fails message stream_cluster 0 -
	fails message stream_cluster 1 - 0	# not writable
	fails message stream_cluster 0 3 0
	fails message stream_cluster 0 0 0
	fails message stream_cluster 0 - -1
	[ "$(message stream_cluster 0 - 18446744073709551615)" = "$BYTES" ]
	dmsetup suspend qctest
	fails message stream_cluster 0 - 0
	dmsetup resume qctest
	message job_start job0 stream 0 2 	# no layer stays, by number
	ended_well
	message job_start job0 stream 0 - speed=1024
	switch_to "$TABLE 1 read_only"
	state_is ended
	[ "$(error_number)" = 30 ]		# EROFS
	message job_forget job0
	fails message job_start job0 stream 0 -
	fails message stream_cluster 0 - 0
	detach qctest
	fails attach qctest "0 $((BYTES / 512)) qchain 3 ${TABLE#* qchain 2 } \
		$(layer 1) - 2 writable 1"	# an image twice
	TABLE=$(table_of '' raw "$scratch/model")
	attach qctest "$TABLE"
	fails message job_start job0 stream 0 -
	detach qctest
	content "$TOP" "$model"
}

# It goes on with the next table, and stands still in between.
through_tables() {
	local at i

	two_layers
	message job_start job0 stream 0 - speed=1024
	for i in 1 2 3 4 5; do
		dmsetup load qctest --table "$TABLE"
		dmsetup suspend qctest
		at=$(progress)
		sleep 0.3
		[ "$(progress)" = "$at" ]
		dmsetup resume qctest
		sleep 0.2
	done
	state_is running
	message job_speed job0 0
	ended_well
	all_is_well
}

# A job goes on wherever its layers are, and ends where they are not.
other_table() {
	local above

	two_layers
	message job_start job0 stream 0 - speed=65536
	qemu-img create -q -f qcow2 -b "$TOP" -F qcow2 "$dir/above"
	above=$(table_of '' qcow2 "$dir/above" qcow2 "$TOP" qcow2 "$dir/base")
	switch_to "$above 2 writable 1"
	state_is running
	switch_to "$TABLE"
	state_is running
	switch_to "$above"
	state_is ended
	[ "$(error_number)" = 30 ]		# EROFS
	message job_forget job0

	qemu-img rebase -u -f qcow2 -b "$dir/base" -F qcow2 "$dir/above"
	switch_to "$TABLE"
	message job_start job0 stream 0 - speed=65536
	switch_to "$(table_of '' qcow2 "$dir/above" qcow2 "$dir/base")"
	state_is ended
	[ "$(error_number)" = 116 ]		# ESTALE
	message job_forget job0

	switch_to "$TABLE"
	message job_start job0 stream 0 1 speed=65536
	switch_to "$(table_of '' qcow2 "$TOP")"	# without its base
	state_is ended
	[ "$(error_number)" = 116 ]
	message job_forget job0
	switch_to "$TABLE"
	all_is_well
	becomes_the_top
}

# A commit of a layer that nobody writes to does not go on when somebody does.
becomes_the_top() {
	two_layers
	qemu-img create -q -f qcow2 -b "$TOP" -F qcow2 "$dir/above"
	switch_to "$(table_of 'writable 2' qcow2 "$dir/above" qcow2 "$TOP" qcow2 "$dir/base")"
	message job_start job0 commit 1 2 speed=65536
	switch_to "$TABLE 2 writable 1"
	state_is ended
	[ "$(error_number)" = 116 ]
	message job_forget job0
	all_is_well
}

# The device of seven images, 0 to 6: each has its own byte, one more than its number, from as many MiB
# on; $model is what the device shows.
seven_layers() {
	local n below='' layers=()

	fresh_dir tmpfs
	for n in 0 1 2 3 4 5 6; do
		qemu-img create -q -f qcow2 ${below:+-b "$below" -F qcow2} "$dir/$n" 8M
		qemu-io -f qcow2 -c "write -q -P $((n + 1)) ${n}M $((8 - n))M" "$dir/$n"
		below=$dir/$n
		layers=(qcow2 "$below" "${layers[@]}")
	done
	BYTES=$((8 * MIB))
	TOP=$below
	model=$scratch/model
	qemu-img convert -f qcow2 -O raw "$TOP" "$model"
	attach qctest "$(table_of '' "${layers[@]}")"
}

# switch_to_layers OPTIONS N...: a table of these, the last one the base.
switch_to_layers() {
	local n layers=()

	for n in "${@:2}"; do
		layers+=(qcow2 "$dir/$n")
	done
	switch_to "$(table_of "$1" "${layers[@]}")"
}

# Each of several jobs, under I/O, finds its layers in the tables that come when others have ended. Of
# two streams and an active commit the headers are not changed here: what is dropped is complete.
side_by_side() {
	local io job

	seven_layers
	switch_to_layers "writable 2 writable 4" 6 5 4 3 2 1 0
	message job_start low stream 4 6 speed=65536
	message job_start middle stream 2 4 speed=65536
	fails message job_start clash commit 2 4
	fails message job_start high commit 0 1		# not writable
	random_io --seed "$seed" --model "$model" --out "$model.new" --threads 2 --ops 2000 \
		--max-io 65536 /dev/mapper/qctest > "$scratch/io" 2>&1 &
	io=$!
	switch_to_layers "writable 1 writable 2 writable 4" 6 5 4 3 2 1 0
	message job_start high commit 0 1
	wait_for 60 job_is high ready
	message job_speed middle 0
	wait_for 60 job_is middle ended
	switch_to_layers "writable 1 writable 3" 6 5 4 2 1 0
	job_is low running
	job_is high ready
	message job_complete high
	switch_to_layers "writable 2" 5 4 2 1 0
	job_is high ended
	job_is low running
	message job_speed low 0
	wait_for 60 job_is low ended
	for job in low middle high; do
		[ "$(job_word $job 5)" = 0 ]
		message job_forget $job
	done
	switch_to_layers "" 5 4 2 0
	wait "$io" || { cat "$scratch/io"; return 1; }
	same_bytes "$model.new" /dev/mapper/qctest
	detach qctest
	# The headers do not know.
	qemu-img rebase -u -f qcow2 -b "$dir/2" -F qcow2 "$dir/4"
	qemu-img rebase -u -f qcow2 -b "$dir/0" -F qcow2 "$dir/2"
	clean "$dir/5"
	content "$dir/5" "$model.new"
}

# job_word JOB N: word N of those that the status has of a job, its name being 0.
job_word() {
	dmsetup status qctest | awk -v job="$1" -v n="$2" '
		{ for (i = 12; i <= NF; i += 7) if ($i == job) print $(i + n) }'
}

# job_is JOB STATE
job_is() {
	[ "$(job_word "$1" 2)" = "$2" ] || { dmsetup status qctest; return 1; }
}

removed() {
	two_layers
	message job_start job0 stream 0 - speed=65536
	message job_start job1 stream 0 -
	detach qctest
	clean "$TOP"
	content "$TOP" "$model"
}

# zeroed_behind VERSION: the top layer goes on behind the end of the layer below it, and the base does,
# too. What is zeroed there when a stream has been there stays so when the base is next.
zeroed_behind() {
	BYTES=$((8 * MIB))
	CLUSTER=65536
	fresh_dir tmpfs
	model=$scratch/model
	TOP=$dir/top
	qemu-img create -q -f qcow2 "$dir/base" 8M
	qemu-io -f qcow2 -c "write -q -P 1 0 8M" "$dir/base"
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$dir/middle" 4M
	qemu-img create -q -f qcow2 -o "compat=$1" -b "$dir/middle" -F qcow2 "$TOP" 8M
	flatten "$TOP" "$model"
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 "$dir/middle" qcow2 "$dir/base")
	attach qctest "$TABLE"
	message job_start job0 stream 0 2
	ended_well
	blkdiscard -o 5M -l 1M /dev/mapper/qctest
	blkdiscard -z -o 6M -l 1M /dev/mapper/qctest
	pivot 0 2
	all_is_well
}

# A cluster of the base fails: $1 is the policy.
with_bad_base() {
	local where

	where=$(($(stat -c %s "$dir/base") / 2 / 65536 * 65536))
	cp "$model" "$scratch/now"
	BYTES=$((8 * MIB))
	qemu-img create -q -f qcow2 -b /dev/mapper/bad-base -F qcow2 "$dir/over" 8M
	TOP=$dir/over
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 /dev/mapper/bad-base)
	attach qctest "$TABLE"
	fail_at bad-base $where 65536 error
	message job_start job0 stream 0 - on_error="$1"
}

bad_base() {
	two_layers
	detach qctest
	dd if="$dir/base" of=/dev/mapper/bad-base bs=64k oflag=direct conv=fsync status=none
	with_bad_base report
	wait_for 20 state_is ended
	error_is 5 read
	message job_forget job0
	fail_at bad-base
	detach qctest
	clean "$TOP"

	with_bad_base ignore
	wait_for 20 state_is ended
	error_is 5 read
	[ "$(progress)" = "$BYTES" ]
	message job_forget job0
	fail_at bad-base
	detach qctest
	clean "$TOP"

	with_bad_base stop
	wait_for 20 state_is stopped
	error_is 5 read
	message job_resume job0
	wait_for 20 state_is stopped
	fail_at bad-base
	message job_resume job0
	ended_well
	all_is_well
}

# What is written to fails: the layer of a stream, the base of a commit.
bad_target() {
	two_layers
	detach qctest
	TOP=/dev/mapper/bad-base
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$TOP" 8M
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 "$dir/base")
	attach qctest "$TABLE"
	fail_at bad-base $((4 * MIB)) $((28 * MIB)) error_writes
	message job_start job0 stream 0 - on_error=stop
	wait_for 20 state_is stopped
	error_is 5 write
	fail_at bad-base
	message job_resume job0
	ended_well
	all_is_well

	qemu-img create -q -f qcow2 -b /dev/mapper/bad-base -F qcow2 "$dir/over" 8M
	qemu-io -c "write -P 9 0 8M" "$dir/over" > /dev/null
	qemu-io -f raw -c "write -P 9 0 8M" "$model" > /dev/null
	TOP=$dir/over
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 /dev/mapper/bad-base)
	attach qctest "$TABLE"
	writable 1
	fail_at bad-base $((4 * MIB)) $((28 * MIB)) error_writes
	message job_start job0 commit 0 1
	wait_for 20 state_is ended
	error_is 5 write
	message job_forget job0
	fail_at bad-base
	message job_start job0 commit 0 1 on_error=stop
	wait_for 60 state_is ready
	message job_cancel job0
	error_is 125 -
	message job_forget job0
	all_is_well
}

# No room for what is copied: it says so, the device goes on, and so does the job when there is room.
without_room() {
	local disk

	place disk-3
	disk=$place
	dmsetup create room --table "0 8192 linear $disk 0"
	two_layers
	detach qctest
	TOP=/dev/mapper/room
	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$TOP" 8M
	TABLE=$(table_of '' qcow2 "$TOP" qcow2 "$dir/base")
	attach qctest "$TABLE"
	message job_start job0 stream 0 - on_error=enospc
	wait_for 20 state_is stopped
	error_is 28 write
	[ "$(status_field qctest 1)" = rw ]
	same_bytes "$model" /dev/mapper/qctest
	dmsetup load room --table "0 32768 linear $disk 0"
	dmsetup suspend room
	dmsetup resume room
	message job_resume job0
	ended_well
	all_is_well
	dmsetup remove room
}

echo "# seed $seed"
modprobe dm-flakey || skip_all "there is no dm-flakey"
bad_disk bad-base 32
for name in ext4 xfs disk disk-2 disk-3; do place $name; done

try "stream everything, tmpfs" streamed tmpfs 0 - --depth 3 --compression any
variant "stream everything, ext4" streamed ext4 0 - --depth 3 --raw-base
try "stream everything, a disk and XFS" streamed "xfs disk" 0 - --depth 2
variant "stream everything, a chain on disks" streamed "tmpfs disk-2" 0 - --depth 2 --cluster 4096
try "stream everything, mixed clusters and sizes" \
	streamed tmpfs 0 - --depth 6 --mixed-clusters --mixed-sizes
try "stream everything, 512-byte clusters, version 2" \
	streamed tmpfs 0 - --depth 3 --cluster 512 --version 2 --size 2097152 --mixed-sizes
variant "stream everything, 2 MiB clusters over others" \
	streamed tmpfs 0 - --depth 5 --cluster 2097152 --size 16777216 --mixed-clusters --mixed-sizes
try "stream everything, a top layer with snapshots" streamed tmpfs 0 - --depth 3 --snapshots 2
try "stream down to the base" streamed tmpfs 0 below --depth 4 --mixed-clusters --compression any
variant "stream down to the base, other sizes" streamed ext4 0 below --depth 4 --mixed-sizes
variant "stream down to the base, version 2" streamed tmpfs 0 below --depth 3 --version 2 --mixed-sizes
try "zeroes behind the end of a streamed layer" zeroed_behind 1.1
variant "zeroes behind the end of a streamed layer, version 2" zeroed_behind 0.10
variant "stream down to the second layer" \
	streamed tmpfs 0 2 --depth 5 --mixed-clusters --mixed-sizes --raw-base
try "stream into a backing layer" streamed tmpfs 1 - --depth 4 --mixed-clusters --compression any
variant "stream into a backing layer, down to the base" \
	streamed "ext4 disk" 1 below --depth 5 --mixed-clusters --mixed-sizes
variant "stream into a backing layer, version 2" streamed xfs 2 4 --depth 6 --version 2 --mixed-sizes
try "stream everything, a cluster for each message" \
	streamed_by_clusters ext4 0 - --depth 3 --size 4194304 --compression any
variant "stream into a backing layer, a cluster for each message" \
	streamed_by_clusters tmpfs 1 3 --depth 4 --size 4194304 --mixed-clusters --mixed-sizes
try "commit one layer" committed tmpfs 1 2 --depth 4 --compression any
variant "commit all but the top layer" committed ext4 1 below --depth 5 --mixed-clusters --mixed-sizes
try "commit into a raw base" committed xfs 1 below --depth 4 --raw-base --mixed-clusters
variant "commit, version 2" committed tmpfs 1 3 --depth 5 --version 2 --mixed-clusters
try "commit, 512-byte clusters" \
	committed tmpfs 1 2 --depth 3 --cluster 512 --size 2097152 --mixed-clusters
variant "commit, on disks" committed "disk disk-2 tmpfs" 1 2 --depth 3 --mixed-clusters
try "commit in the middle" committed tmpfs 2 4 --depth 7 --mixed-clusters --mixed-sizes
try "active commit" committed_active tmpfs 1 --depth 3 --compression any
variant "active commit of all layers" committed_active ext4 below --depth 5 --mixed-clusters --mixed-sizes
try "active commit into a raw base" committed_active xfs below --depth 3 --raw-base
variant "active commit, version 2 on disks" \
	committed_active "disk disk-2 tmpfs" 1 --depth 3 --version mixed --mixed-clusters
variant "active commit, 512-byte clusters" \
	committed_active tmpfs 1 --depth 2 --cluster 512 --size 2097152
if modprobe -q dm-delay; then
	try "active commit that overtakes a write" overtaken
else
	skip "active commit that overtakes a write" "there is no dm-delay"
fi
try "active commit that does not come to that" not_completed
try "active commit that is cancelled during a write" cancelled_in_a_write
try "pause, resume, speed" steered
try "cancel" cancelled
try "messages that are refused" refused_messages
try "the same table again and again" through_tables
try "a table with other layers" other_table
try "several jobs at once" side_by_side
try "removal with jobs" removed
try "a backing layer with a bad place" bad_base
try "a layer that cannot be written to" bad_target
try "no room" without_room
