#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Errors below, at chosen places, under load: data and every kind of metadata, of the top layer and
# of a backing layer. They reach the I/O that needs the place and nothing else, nothing is
# taken for damage of the image, and when they are over all is as it was, or as it was written.
#
# QCHAIN_LONG=1 does ten times as many operations.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"

CLUSTER=4096
ops=40
[ -z "${QCHAIN_LONG:-}" ] || ops=400

well() {
	fail_at bad-top
	fail_at bad-base
}

# ---- the chain --------------------------------------------------------------------------

TOP=/dev/mapper/bad-top
BASE=/dev/mapper/bad-base

# The backing layer has data everywhere; of the four L2 tables of the top layer the first and the third
# are there, for half a MiB of data each. A refcount block counts 2 MiB.
make_chain() {
	bad_disk bad-top 32
	bad_disk bad-base 32
	dd if=/dev/urandom of="$scratch/random" bs=1M count=8 status=none
	qemu-img create -q -f qcow2 -o cluster_size=$CLUSTER $BASE 8M
	qemu-img convert -n -f raw -O qcow2 "$scratch/random" $BASE
	qemu-img create -q -f qcow2 -b $BASE -F qcow2 -o cluster_size=$CLUSTER,refcount_bits=64 \
		"$scratch/top.image" 8M
	qemu-io -f qcow2 -c "write -q -P 1 0 512k" -c "write -q -P 2 4M 512k" "$scratch/top.image"
	flatten "$scratch/top.image" "$scratch/model"
}

image=$scratch/top.image
model=$scratch/model
fresh_top() {
	well
	dd if="$image" of=$TOP bs=64k oflag=direct,dsync status=none
	blockdev --flushbufs $TOP
	cp "$model" "$scratch/now"
}

# Where things are, in $image or on a device: l1 IMAGE, reftable IMAGE, refblock IMAGE, l2 IMAGE N,
# and host_of IMAGE GUEST_OFFSET.
l1() {
	header_u64 "$1" 40
}

reftable() {
	header_u64 "$1" 48
}

refblock() {
	header_u64 "$1" "$(reftable "$1")"
}

entry_at() {
	echo $(($(header_u64 "$1" "$2") & 0x00fffffffffffe00))
}

l2() {
	entry_at "$1" $(($(l1 "$1") + 8 * $2))
}

host_of() {
	entry_at "$1" $(($(l2 "$1" $(($2 / (2 * MIB)))) + 8 * ($2 / CLUSTER % 512)))
}

# ---- rounds -----------------------------------------------------------------------------

# under DEVICE "OFFSET LENGTH KIND..." "KIND..." [random_io OPTION]...: a round of random I/O
# in which the pieces fail, and the operations of those kinds do.
under() {
	local device=$1 where=$2 seen=$3 kind

	shift 3
	fresh_top
	attach qctest "$(table_of '' qcow2 $TOP qcow2 $BASE)"
	# shellcheck disable=SC2086	# words
	random_io --seed "$seed" --model "$scratch/now" --out "$scratch/now.new" --timeout 120 \
		--cluster $CLUSTER --max-io 262144 --ops $ops \
		--hurt "dmsetup message qctest 0 drop_caches && $(swap "$device" $where)" \
		--heal "$(swap "$device")" "$@" /dev/mapper/qctest > "$scratch/out" ||
		{ cat "$scratch/out"; return 1; }
	cat "$scratch/out"
	for kind in $seen; do
		grep -Eq " $kind \([0-9]+ errors\)" "$scratch/out" ||
			{ echo "# no $kind failed: that tried nothing"; return 1; }
	done
	after_all
}

after_all() {
	mv "$scratch/now.new" "$scratch/now"
	mode_is rw
	detach qctest
	sound $TOP
	content $TOP "$scratch/now"
}

# attach_fails DEVICE OFFSET: with a bad cluster there the device cannot be attached, but later.
attach_fails() {
	fresh_top
	fail_at "$1" "$2" $CLUSTER error
	fails attach qctest "0 $((8 * MIB / 512)) qchain 2 qcow2 $TOP - qcow2 $BASE -"
	well
	attach qctest "$(table_of '' qcow2 $TOP qcow2 $BASE)"
	same_bytes "$scratch/model" /dev/mapper/qctest
	detach qctest
	clean $TOP
}

attach_fails_everywhere() {
	local place

	for place in 0 "$(l1 "$image")" "$(reftable "$image")" "$(refblock "$image")"; do
		attach_fails bad-top "$place"
	done
	attach_fails bad-base 0
}

# Where threads meet most often.
top_data() {
	under bad-top "$(host_of "$image" 16384) 16384 $1" "$2" --no-free "${@:3}"
}

# The header is written before the first change of an image with a bitmap.
top_header() {
	image=$scratch/bitmap.image
	cp "$scratch/top.image" "$image"
	qemu-img bitmap --add "$image" b
	under bad-top "0 $CLUSTER error_writes" write --may-fail write --may-fail flush
}

# It is written when a new refcount block is needed: soon, in an image with this much data.
top_reftable() {
	image=$scratch/fuller.image
	cp "$scratch/top.image" "$image"
	qemu-io -f qcow2 -c "write -q -P 3 5M 900k" "$image"
	model=$scratch/fuller.model
	flatten "$image" "$model"
	under bad-top "$(reftable "$image") $CLUSTER error" write --may-fail write --may-fail flush
}

# Writes fail everywhere, again and again, at moments that nobody chose.
now_and_then() {
	local bad good on=$scratch/on off=$scratch/off status=0

	bad=$(swap bad-top 0 $((32 * MIB)) "$1")
	good=$(swap bad-top)
	fresh_top
	attach qctest "$(table_of '' qcow2 $TOP qcow2 $BASE)"
	rm -f "$on" "$off"
	{
		until [ -e "$on" ] || [ -e "$off" ]; do sleep 0.1; done
		until [ -e "$off" ]; do
			eval "$good"
			eval "$bad"
			echo swap >> "$on"
		done
		eval "$good"
	} &
	# It begins badly: the load may be over before a program has been started twice.
	random_io --seed "$seed" --model "$scratch/now" --out "$scratch/now.new" --timeout 200 \
		--cluster $CLUSTER --max-io 262144 --ops $((4 * ops)) \
		--hurt "$bad && touch $on" --heal "touch $off && tail --pid $! -f /dev/null" \
		"${@:2}" /dev/mapper/qctest > "$scratch/out" || status=$?
	cat "$scratch/out"
	echo "# $(grep -c swap "$on") times well and bad again"
	touch "$off"
	wait $!
	[ $status = 0 ] || return $status
	grep -Eq " \([0-9]+ errors\)" "$scratch/out" || { echo "# nothing failed"; return 1; }
	after_all
}

# sectors_written NAME
sectors_written() {
	awk '{ print $7 }' \
		"/sys/dev/block/$(dmsetup info -c --noheadings --separator : -o major,minor "$1")/stat"
}

# The background's period, five seconds, has passed since moment $1.
period_is_over() {
	[ $SECONDS -gt $(($1 + 7)) ]
}

# What a suspend could not write back is not tried again before the resume, so that user space can
# change the header meanwhile; and what it changed stays.
suspended() {
	local before

	image=$scratch/top.image
	fresh_top
	ln -sf $BASE "$scratch/base"
	attach qctest "$(table_of '' qcow2 $TOP qcow2 $BASE)"
	dd if=/dev/urandom of="$scratch/data" bs=64k count=4 status=none
	dd if="$scratch/data" of=/dev/mapper/qctest bs=64k seek=$((6 * MIB)) oflag=direct,seek_bytes \
		status=none
	dd if="$scratch/data" of="$scratch/now" bs=64k seek=$((6 * MIB)) oflag=seek_bytes \
		conv=notrunc status=none
	# shellcheck disable=SC2086	# words
	fail_at bad-top $everything error_writes
	dmsetup suspend qctest
	well
	fails message release 0
	before=$(sectors_written bad-top)
	wait_for 20 period_is_over $SECONDS
	[ "$(sectors_written bad-top)" = "$before" ]
	qemu-img rebase -u -f qcow2 -F qcow2 -b "$scratch/base" $TOP
	before=$(sectors_written bad-top)
	dmsetup resume qctest
	wait_for 30 eval '[ "$(sectors_written bad-top)" != '"$before"' ]'
	same_bytes "$scratch/now" /dev/mapper/qctest
	cp "$scratch/now" "$scratch/now.new"
	after_all
	qemu-img info -f qcow2 $TOP | grep -q "^backing file: $scratch/base"
}

# ---- flushes that fail -------------------------------------------------------------------

CACHED=/dev/mapper/qccache

# A disk with a write cache, which can forget what is in it, and on it $1 or, without, the top layer's
# image.
cached_disk() {
	local loop

	rm -f "$scratch/cached"
	truncate -s 32M "$scratch/cached"
	loop=$(losetup --find --show "$scratch/cached")
	ln -sfn "$loop" "$scratch/qccache.disk"
	attach qccache "$(pieces "$loop")"
	dd if="${1:-$image}" of=$CACHED bs=64k oflag=direct,dsync status=none
	cp "$model" "$scratch/now"
}

attach_cached() {
	cached_disk
	attach qctest "$(table_of '' qcow2 $CACHED qcow2 $BASE)"
}

# What is on it now is stable, and no commit in the background is due.
remembers() {
	dmsetup suspend qctest
	dmsetup resume qctest
	cp "$scratch/cached" "$scratch/stable"
}

# Flushes go to every piece, writes to none of this one.
flushes_fail() {
	fail_at qccache $((31 * MIB)) $CLUSTER error_writes
}

# The flush has failed, and with it goes what was written since the last one; from then on all is well.
forgets() {
	dd if="$scratch/stable" of="$scratch/cached" bs=$MIB conv=notrunc status=none
	fail_at qccache
}

put_cached() {
	sound $CACHED
	content $CACHED "$scratch/now"
	detach qccache
	losetup -d "$(readlink "$scratch/qccache.disk")"
}

detach_cached() {
	detach qctest
	put_cached
}

events() {
	dmsetup info -c --noheadings -o events qctest
}

reload() {
	dmsetup load qctest --table "$(dmsetup table qctest)"
	dmsetup suspend qctest
	dmsetup resume qctest
}

# Each time.
refuses_writes() {
	local kind i

	for i in 1 2; do
		for kind in fdatasync dsync; do
			fails stable $kind
		done
		fails dd if=/dev/zero of=/dev/mapper/qctest bs=$CLUSTER count=1 \
			seek="${1:-0}" oflag=direct,seek_bytes
		fails blkdiscard -o 0 -l $((2 * CLUSTER)) /dev/mapper/qctest
		fails blkdiscard -o 512 -l 512 /dev/mapper/qctest
		fails blkdiscard -z -o 0 -l $((2 * CLUSTER)) /dev/mapper/qctest
	done
}

# sectors OFFSET: two sectors are written, for which the rest of their clusters is copied. All at once:
# the commit in the background comes after five seconds, and no flush that is well may come after it.
sectors() {
	dd if=/dev/urandom of=/dev/mapper/qctest bs=1024 count=1 seek="$1" oflag=direct,seek_bytes \
		status=none
}

# Sectors are written into clusters that are copied for it, through a table that there is and through one
# that is new; then a flush fails, and with it all that is lost. What was flushed before is served, also
# the rest of those clusters by the image on disk, and by the device when it is loaded anew.
loses_flush() {
	local before

	attach_cached
	writes $((6 * MIB)) conv=fsync
	remembers
	before=$(events)
	flushes_fail
	sectors $((2 * MIB - 512))
	fails stable fdatasync
	forgets
	mode_is flush-failed
	wait_for 10 eval '[ "$(events)" -gt '"$before"' ]'
	[ "$(dmesg | tail -n 20 | grep -c "qchain: image on .* a flush failed")" -gt 0 ]
	refuses_writes
	dmsetup message qctest 0 drop_caches
	reads $((4 * MIB)) 65536
	reads $((6 * MIB))
	reads_error $((2 * MIB - CLUSTER))
	reads_error $((2 * MIB))
	# In the same block of the L2 table.
	reads_error 0
	content $CACHED "$scratch/now"
}

loses_flush_reload() {
	loses_flush
	reload
	mode_is rw
	same_bytes "$scratch/now" /dev/mapper/qctest
	stable fdatasync
	writes $MIB conv=fsync
	writes $((2 * MIB)) conv=fsync
	same_bytes "$scratch/now" /dev/mapper/qctest
	detach_cached
}

loses_flush_attach() {
	loses_flush
	detach qctest
	sound $CACHED
	attach qctest "$(table_of '' qcow2 $CACHED qcow2 $BASE)"
	mode_is rw
	same_bytes "$scratch/now" /dev/mapper/qctest
	writes $MIB conv=fsync
	detach_cached
}

# Suspend and resume come to their end. A table from before is of no use.
loses_flush_suspend() {
	attach_cached
	writes $((7 * MIB)) conv=fsync
	remembers
	dmsetup load qctest --table "$(dmsetup table qctest)"
	flushes_fail
	sectors $((2 * MIB - 512))
	timeout 60 dmsetup suspend qctest
	forgets
	fails message release 0
	timeout 60 dmsetup resume qctest
	mode_is flush-failed
	refuses_writes
	cmp "$scratch/stable" "$scratch/cached"
	reload
	mode_is rw
	same_bytes "$scratch/now" /dev/mapper/qctest
	detach_cached
}

# A flush of the device with nothing to commit goes down as it is. Everything can be read.
loses_passed_flush() {
	attach_cached
	# The tables have been looked at before, and the header written.
	writes 16384 conv=fsync
	remembers
	flushes_fail
	sectors 16384
	fails stable fdatasync
	forgets
	mode_is flush-failed
	refuses_writes
	same_bytes "$scratch/now" /dev/mapper/qctest
	reload
	mode_is rw
	same_bytes "$scratch/now" /dev/mapper/qctest
	detach_cached
}

# A flush of the module's own fails, and all goes well again before anybody asks: when the image has been
# loaded anew the first flush of the device fails, and the first write with FUA, each once.
flush_told() {
	local kind waiting

	attach_cached
	timeout 60 dmsetup wait qctest "$(events)" &
	waiting=$!
	flushes_fail
	dd if=/dev/zero of=/dev/mapper/qctest bs=$CLUSTER count=1 seek=7M oflag=direct,seek_bytes \
		status=none
	wait $waiting
	fail_at qccache
	mode_is flush-failed
	reload
	mode_is rw
	for kind in fdatasync dsync; do
		fails stable $kind
		stable $kind
	done
	dd if=/dev/zero of="$scratch/now" bs=$CLUSTER count=1 conv=notrunc status=none
	stable fdatasync
	mode_is rw
	detach_cached
}

# job_is WORDS...: the only job of qctest, state, error and operation.
job_is() {
	local words

	read -r -a words <<< "$(dmsetup status qctest)"
	[ "${words[13]} ${words[16]} ${words[17]}" = "$*" ]
}

# A job that writes to the top layer ends, whatever it is to do after errors.
loses_flush_stream() {
	attach_cached
	remembers
	flushes_fail
	message job_start j stream 0 - speed=65536 on_error="$1"
	fails stable fdatasync
	forgets
	wait_for 60 job_is ended 5 write
	mode_is flush-failed
	message job_forget j
	fails message job_start j stream 0 -
	reload
	mode_is rw
	message job_start j stream 0 -
	wait_for 60 job_is ended 0 -
	detach_cached
}

# And one that writes to a backing layer, of which the device's writes know nothing.
loses_flush_commit() {
	local over=$scratch/over

	cached_disk
	qemu-img create -q -f qcow2 -u -b $CACHED -F qcow2 "$over" 8M
	qemu-io -f qcow2 -c "write -q -P 9 1M 4M" "$over"
	dmsetup create qctest --table "$(table_of "" qcow2 "$over" qcow2 $CACHED qcow2 $BASE) 2 writable 1"
	cat /dev/mapper/qctest > "$scratch/now"
	message job_start j commit 0 1 speed=65536 on_error=stop
	flushes_fail
	wait_for 60 mode_is flush-failed
	fail_at qccache
	wait_for 60 job_is ended 5 write
	writes $((7 * MIB)) conv=fsync
	reads $((7 * MIB))
	message job_forget j
	fails message job_start j commit 0 1
	reload
	mode_is rw
	same_bytes "$scratch/now" /dev/mapper/qctest
	message job_start j commit 0 1
	wait_for 60 job_is ready 0 -
	detach qctest
	content "$over" "$scratch/now"
	put_cached
}

# What the layer that is below a new one now could not write back, a flush of the device needs.
kept_below() {
	fresh_top
	attach qctest "$(table_of '' qcow2 $TOP qcow2 $BASE)"
	writes $((7 * MIB))
	qemu-img create -q -f qcow2 -u -b $TOP -F qcow2 "$scratch/new" 8M
	# shellcheck disable=SC2086	# words
	fail_at bad-top $everything error_writes
	dmsetup load qctest --table "$(table_of '' qcow2 "$scratch/new" qcow2 $TOP qcow2 $BASE)"
	dmsetup suspend qctest
	dmsetup resume qctest
	fails stable fdatasync
	fails stable dsync
	fail_at bad-top
	stable fdatasync
	clean $TOP
	content $TOP "$scratch/now"
	stable dsync
	detach qctest
	clean "$scratch/new"
	clean $TOP
	content $TOP "$scratch/now"
}

# stable fdatasync|dsync: make what was written stable; with dsync a write does it, with FUA.
stable() {
	case $1 in
	fdatasync) dd if=/dev/null of=/dev/mapper/qctest conv=fdatasync,notrunc status=none ;;
	dsync) dd if=/dev/zero of=/dev/mapper/qctest bs=$CLUSTER count=1 oflag=direct,dsync status=none ;;
	esac
}

# One cluster, which random I/O need not meet: read for certain before.
base_data() {
	local where

	where="$(host_of $BASE $((2 * MIB))) $CLUSTER error"
	fresh_top
	attach qctest "$(table_of '' qcow2 $TOP qcow2 $BASE)"
	# shellcheck disable=SC2086	# words
	fail_at bad-base $where
	fails dd if=/dev/mapper/qctest of=/dev/null bs=$CLUSTER skip=$((2 * MIB / CLUSTER)) count=1 \
		iflag=direct
	dd if=/dev/mapper/qctest of=/dev/null bs=$CLUSTER skip=$((2 * MIB / CLUSTER + 1)) count=1 \
		iflag=direct status=none
	well
	same_bytes "$scratch/model" /dev/mapper/qctest
	detach qctest
	under bad-base "$where" "" \
		--may-fail read:$((2 * MIB)):$CLUSTER --may-fail write:$((2 * MIB)):$CLUSTER
}

# What the top layer has is served all the same.
base_without() {
	under bad-base "$1" "read write" \
		--may-fail read:524288:3670016 --may-fail write:524288:3670016 \
		--may-fail read:4718592:3670016 --may-fail write:4718592:3670016
}

# ---- bad blocks that a write heals -------------------------------------------------------

# bad_block OFFSET: one of bad-dust's.
bad_block() {
	dmsetup message bad-dust 0 addbadblock $(($1 / CLUSTER))
}

# The chain over bad-dust, on which all is well for now.
attach_dust() {
	fresh_top
	dmsetup create bad-dust --table "0 $((32 * MIB / 512)) dust $TOP 0 $CLUSTER"
	dmsetup message bad-dust 0 enable
	attach qctest "$(table_of '' qcow2 /dev/mapper/bad-dust qcow2 $BASE)"
}

# reads OFFSET [LENGTH]: they are as $scratch/now has them.
reads() {
	dd if=/dev/mapper/qctest bs="${2:-$CLUSTER}" skip="$1" count=1 iflag=direct,skip_bytes \
		status=none | cmp -n "${2:-$CLUSTER}" -i "0:$1" - "$scratch/now"
}

reads_error() {
	dd if=/dev/mapper/qctest of=/dev/null bs=$CLUSTER skip="$1" count=1 \
		iflag=direct,skip_bytes 2> "$scratch/log" && { echo "# $1 can be read"; return 1; }
	grep -q "Input/output error" "$scratch/log"
}

# writes OFFSET [dd option]...: a cluster.
writes() {
	dd if=/dev/urandom of="$scratch/data" bs=$CLUSTER count=1 status=none
	dd if="$scratch/data" of=/dev/mapper/qctest bs=$CLUSTER seek="$1" oflag=direct,seek_bytes \
		status=none "${@:2}" || return
	dd if="$scratch/data" of="$scratch/now" bs=$CLUSTER seek="$1" oflag=seek_bytes conv=notrunc \
		status=none
}

detach_dust() {
	same_bytes "$scratch/now" /dev/mapper/qctest
	mode_is rw
	detach qctest
	dmsetup remove bad-dust
	clean $TOP
	content $TOP "$scratch/now"
}

dust_in_data() {
	attach_dust
	bad_block "$(host_of $TOP 16384)"
	reads_error 16384
	reads $((16384 - CLUSTER))
	reads $((16384 + CLUSTER))
	reads $((4 * MIB)) 65536
	writes 16384
	reads 16384
	detach_dust
}

# It fails for all whose table it is, until it is rewritten: by the module, which has it in memory and
# dirty, or from outside.
dust_in_table() {
	local table

	attach_dust
	table=$(l2 $TOP 2)
	reads $((4 * MIB))
	bad_block "$table"
	writes $((5 * MIB)) conv=fsync
	dmsetup message qctest 0 drop_caches
	reads $((4 * MIB))
	reads $((5 * MIB))

	bad_block "$table"
	dmsetup message qctest 0 drop_caches
	reads_error $((4 * MIB))
	reads_error $((5 * MIB))
	fails writes $((5 * MIB))
	reads 0 65536
	reads $((2 * MIB)) 65536
	writes 16384
	dd if=$TOP of="$scratch/table" bs=$CLUSTER count=1 skip="$table" iflag=direct,skip_bytes \
		status=none
	dd if="$scratch/table" of=/dev/mapper/bad-dust bs=$CLUSTER seek="$table" \
		oflag=direct,seek_bytes status=none
	detach_dust
}

# try_dust DESCRIPTION FUNCTION
try_dust() {
	if modprobe -q dm-dust; then
		try "$@"
	else
		skip "$1" "there is no dm-dust"
	fi
}

# Two disks that can be pulled out: made here, since a subshell cannot have them removed.
make_spares() {
	local i

	for i in 0 1; do
		new_disk 32
		spare_disks[i]=$disk
		spare_names[i]=${null_disks[-1]}
	done
}

pull_out() {
	local i

	for i in 0 1; do
		[ "${spare_disks[i]}" != "$1" ] ||
			echo 0 > "/sys/kernel/config/nullb/${spare_names[i]}/power"
	done
}

# The disk of the backing layer is pulled out while it is read.
base_pulled() {
	local disk=${spare_disks[0]}

	dd if=$BASE of="$disk" bs=1M oflag=direct status=none
	fresh_top
	attach qctest "$(table_of '' qcow2 $TOP qcow2 "$disk")"
	dd if=/dev/mapper/qctest of=/dev/null bs=64k iflag=direct,fullblock conv=noerror \
		2> "$scratch/log" &
	pull_out "$disk"
	wait $! || :
	dmsetup message qctest 0 drop_caches
	fails dd if=/dev/mapper/qctest of=/dev/null bs=64k skip=1M count=1 \
		iflag=direct,skip_bytes status=none
	dd if=/dev/mapper/qctest bs=64k skip=4M count=8 iflag=direct,skip_bytes status=none |
		cmp - <(head -c 524288 /dev/zero | tr '\0' '\2')
	dd if=/dev/random of=/dev/mapper/qctest bs=64k seek=4M count=8 \
		oflag=direct,seek_bytes conv=fsync iflag=fullblock status=none
	mode_is rw
	detach qctest
	clean $TOP
}

# And that of the top layer while it is written: errors, and nobody waits for more room.
top_pulled() {
	local disk=${spare_disks[1]}

	dd if="$image" of="$disk" bs=64k oflag=direct,dsync status=none
	attach qctest "$(table_of '' qcow2 "$disk" qcow2 $BASE)"
	dd if=/dev/zero of=/dev/mapper/qctest bs=64k oflag=direct 2> "$scratch/log" &
	pull_out "$disk"
	wait $! || :
	dmsetup message qctest 0 drop_caches
	fails timeout 60 dd if=/dev/zero of=/dev/mapper/qctest bs=64k seek=6M count=1 \
		oflag=direct,seek_bytes
	fails timeout 60 dd if=/dev/mapper/qctest of=/dev/null bs=64k skip=4M count=1 \
		iflag=direct,skip_bytes
	mode_is rw
	timeout 60 dmsetup remove qctest
}

echo "# seed $seed"
modprobe dm-flakey || skip_all "there is no dm-flakey"
# Everything takes several times as long on the debug kernel, but that is the one that has dm-dust.
short=
[[ $(uname -r) != *debug* ]] || [ -n "${QCHAIN_LONG:-}" ] || short=1
[ -z "$short" ] || plan 2
spare_disks=()
spare_names=()
make_spares
make_chain

everything="0 $((32 * MIB))"
third="$((4 * MIB)):$((2 * MIB))"

try_dust "top layer: a bad block of data, which a write heals" dust_in_data
try_dust "top layer: a bad L2 table, which is rewritten" dust_in_table
[ -z "$short" ] || exit 0

try "attaching fails with a bad header, L1 table, refcount table or block" attach_fails_everywhere
try "top layer: a data cluster fails" top_data error "read write" \
	--may-fail read:16384:16384 --may-fail write:16384:16384
variant "top layer: reads of a data cluster fail" top_data error_reads read \
	--may-fail read:16384:16384
try "top layer: writes of a data cluster fail" top_data error_writes write \
	--may-fail write:16384:16384 --may-fail fua --may-fail flush
try "top layer: an L2 table fails" under bad-top "$(l2 "$image" 2) $CLUSTER error" "read write" \
	--may-fail "read:$third" --may-fail "write:$third" --may-fail fua --may-fail flush
try "top layer: writes of an L2 table fail" under bad-top "$(l2 "$image" 2) $CLUSTER error_writes" fsync \
	--may-fail fua --may-fail flush
try "top layer: writes of the L1 table fail" under bad-top "$(l1 "$image") $CLUSTER error_writes" fsync \
	--may-fail fua --may-fail flush
variant "top layer: a refcount block fails" under bad-top "$(refblock "$image") $CLUSTER error" write \
	--may-fail write --may-fail flush
try "top layer: writes of a refcount block fail" \
	under bad-top "$(refblock "$image") $CLUSTER error_writes" fsync --may-fail fua --may-fail flush
try "top layer: the refcount table fails" top_reftable
try "top layer: writes of the header fail" top_header
try "top layer: all writes fail" under bad-top "$everything error_writes" "write fsync" \
	--may-fail write --may-fail flush
variant "top layer: everything fails" under bad-top "$everything error" "read write" \
	--may-fail read --may-fail write --may-fail flush
try "top layer: writes fail now and then" now_and_then error_writes --may-fail write --may-fail flush
variant "top layer: everything fails now and then" now_and_then error \
	--may-fail read --may-fail write --may-fail flush
try "top layer: nothing can be written back on suspend" suspended
try "top layer: a flush fails, the disk forgets; loaded anew" loses_flush_reload
try "top layer: a flush fails, the disk forgets; attached anew" loses_flush_attach
try "top layer: a flush fails on suspend" loses_flush_suspend
try "top layer: a flush of the user's fails below" loses_passed_flush
try "top layer: a flush fails that nobody had asked for" flush_told
try "top layer: a flush fails under a job, which is to stop" loses_flush_stream stop
variant "top layer: a flush fails under a job, which is to ignore errors" loses_flush_stream ignore
try "backing layer: a flush fails under a job" loses_flush_commit
try "a layer below a new top cannot be written back" kept_below
try "backing layer: a data cluster fails" base_data
try "backing layer: an L2 table fails" under bad-base "$(l2 $BASE 1) $CLUSTER error" read \
	--may-fail read:$((2 * MIB)):$((2 * MIB)) --may-fail write:$((2 * MIB)):$((2 * MIB))
try "backing layer: the L1 table fails" base_without "$(l1 $BASE) $CLUSTER error"
variant "backing layer: everything fails" base_without "$everything error"
try "backing layer: the disk is pulled out" base_pulled
try "top layer: the disk is pulled out" top_pulled
