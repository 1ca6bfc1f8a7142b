#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# qchain attach, detach, tree: what is refused, what is repaired, and that nothing is left
# behind, neither by a failure nor by a process killed half-way.
# shellcheck source=tests/selftests/lib.sh
. "$(dirname "$0")/lib.sh"

command -v qchain > /dev/null || skip_all "qchain is not in PATH"
for tool in qemu-img qemu-io qemu-nbd gojq; do
	command -v $tool > /dev/null || skip_all "$tool is not installed"
done
mkdir -p /run/lock

here=$(cd "$(dirname "$0")" && pwd)
cd "$scratch" || exit

# The command fails with this exit status and one line that contains every given text.
refused() {
	local status=$1 line text got
	shift
	local texts=()
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	line=$("$@" 2>&1 > /dev/null)
	got=$?
	[ $got = "$status" ] || { echo "exit status $got, not $status: $line"; return 1; }
	[ "$(wc -l <<< "$line")" = 1 ] || { echo "not one line: $line"; return 1; }
	for text in "${texts[@]}"; do
		[[ $line == *"$text"* ]] || { echo "'$text' is not in: $line"; return 1; }
	done
}

no_devices() {
	[ -z "$(dm_names)" ] || { dmsetup info; return 1; }
	[ -z "$(ls /dev/mapper | grep -v '^control$')" ] || { ls /dev/mapper; return 1; }
}

# QEMU can have the image for writing: nobody holds a lock any more.
unlocked() {
	qemu-io -c "read 0 512" "$1"
}

nothing_left() {
	no_devices && unlocked "$1"
}

new_chain() {
	rm -f base.qcow2 top.qcow2
	qemu-img create -q -f qcow2 base.qcow2 64M
	qemu-io -c "write -P 1 0 8M" base.qcow2 > /dev/null
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
}

# --- the plain way ---------------------------------------------------------------------------

new_chain
check "attach" qchain attach top.qcow2 --name plain
check "the node is there" test -b /dev/mapper/plain
check "the backing file's data is seen" qemu-io -r -f raw -c "read -P 1 1M 1M" /dev/mapper/plain
dd if=/dev/zero bs=1M count=4 status=none | tr '\0' '\7' |
	dd of=/dev/mapper/plain bs=64k oflag=direct iflag=fullblock status=none
check "tree draws the chain" bash -c \
	"qchain tree plain | grep -A1 top.qcow2 | grep -q base.qcow2"
check "tree --json has mode, layers and memory" bash -c \
	"qchain tree --json | gojq -e '.[0] | .name == \"plain\" and .mode == \"rw\" and
		(.layers | length) == 2 and .layers[1].\"read-only\" and .\"metadata-memory\" >= 0'"
check "the name cannot be attached twice" refused 1 plain "already" -- \
	qchain attach base.qcow2 --name plain --read-only
check "the image cannot be attached twice" refused 1 "attached device 'plain'" detach -- \
	qchain attach top.qcow2 --name other
check "nor its backing file for writing" refused 1 base.qcow2 "'plain'" -- \
	qchain attach base.qcow2 --name other
check "but the backing file for reading" qchain attach base.qcow2 --name second --read-only
check "and taken off again" qchain detach second
check_fails "QEMU cannot write to the attached image" qemu-io -c "write 0 512" top.qcow2
check_fails "QEMU cannot write to its backing file" qemu-io -c "write 0 512" base.qcow2
check "QEMU can read its backing file" qemu-io -r -c "read -P 1 0 512" base.qcow2
check "check refuses an attached image" refused 1 top.qcow2 -- qchain check top.qcow2
check "the device's table can be loaded again" bash -c \
	"dmsetup table plain | dmsetup load plain && dmsetup clear plain"
check "detach" qchain detach plain
check "nothing is left" nothing_left top.qcow2
check "nor on the backing file" unlocked base.qcow2
check "qemu-img finds nothing wrong" qemu-img check top.qcow2
check "what was written is there" qemu-io -r -c "read -P 7 0 4M" -c "read -P 1 4M 4M" top.qcow2
check "detach of what is not there" refused 1 plain "no such device" -- qchain detach plain

check "the table of 'qchain table' works with dmsetup" bash -c \
	"qchain table top.qcow2 | dmsetup create by-hand && dmsetup remove by-hand"
mkdir "with space"
cp base.qcow2 "with space/a b.qcow2"
check "a path with spaces" bash -c \
	"qchain attach 'with space/a b.qcow2' --name space > /dev/null &&
	dmsetup table space | dmsetup load space && dmsetup clear space && qchain detach space &&
	qchain table 'with space/a b.qcow2' | dmsetup create by-hand && dmsetup remove by-hand"
truncate -s 3M plain.raw
check "a raw image needs --format raw" refused 1 plain.raw "--format raw" -- \
	qchain attach plain.raw --name raw
check "with it the name defaults to the base name" qchain attach --format raw plain.raw
check "and detach takes the node's path" qchain detach /dev/mapper/plain.raw

# --- read-only -------------------------------------------------------------------------------

before=$(md5sum < top.qcow2)
qchain attach top.qcow2 --name ro --read-only > /dev/null
check "a read-only device says so" test "$(blockdev --getro /dev/mapper/ro)" = 1
check "QEMU can read an image attached read-only" qemu-io -r -c "read 0 512" top.qcow2
check_fails "but not write to it" qemu-io -c "write 0 512" top.qcow2
check "an image attached read-only can be attached read-only again" bash -c \
	"qchain attach top.qcow2 --name ro2 --read-only && qchain detach ro2"
qchain detach ro
check "the image was not touched" test "$before" = "$(md5sum < top.qcow2)"

# --- in use ----------------------------------------------------------------------------------

qchain attach top.qcow2 --name busy > /dev/null
exec 9< /dev/mapper/busy
check "an open device is not detached" refused 1 busy "in use" -- qchain detach busy
exec 9<&-
mkfs.ext4 -q -F /dev/mapper/busy
mkdir mnt
mount /dev/mapper/busy mnt
check "nor a mounted one, and it says where" refused 1 busy "$scratch/mnt" umount -- \
	qchain detach busy
umount mnt
dmsetup create above --table "0 2048 linear /dev/mapper/busy 0"
check "nor one below another device" refused 1 busy dm- -- qchain detach busy
dmsetup remove above
check "then it goes" qchain detach busy
dmsetup create foreign --table "0 2048 zero"
check "another target's device is left alone" refused 1 foreign "not attached by qchain" -- \
	qchain detach foreign
check "and its name is not taken" refused 1 foreign exists -- \
	qchain attach top.qcow2 --name foreign
dmsetup remove foreign

# QEMU has the image: refused until it is gone.
qemu-nbd -t -k "$scratch/nbd.sock" top.qcow2 &
nbd=$!
until [ -S nbd.sock ]; do sleep 0.1; done
# It answers only when it has opened the image.
qemu-img info "nbd+unix:///?socket=$scratch/nbd.sock" > /dev/null
check "an image that QEMU writes to is refused" refused 1 top.qcow2 "another program" -- \
	qchain attach top.qcow2 --name held
check "so it is for reading" refused 1 top.qcow2 "for writing" -- \
	qchain attach top.qcow2 --name held --read-only
check "the image's backing file can be attached read-only" bash -c \
	"qchain attach base.qcow2 --name held --read-only && qchain detach held"
check "but not for writing" refused 1 base.qcow2 "another program" -- \
	qchain attach base.qcow2 --name held
kill $nbd
wait $nbd
check "when QEMU is gone it can be attached" qchain attach top.qcow2 --name held
qchain detach held

new_disk 4
check "create refuses a disk that is too small" refused 1 "$disk" "extend the device" -- \
	qchain create -o cluster_size=2M "$disk" 1G
new_disk 64
qemu-img create -q -f qcow2 "$disk" 32M
check "an image on a block device" bash -c \
	"qchain attach $disk --name disk && qchain tree disk --json | gojq -e '.[0].mode == \"rw\"'"
check "it cannot be attached twice either" refused 1 "$disk" "'disk'" -- \
	qchain attach "$disk" --name disk2
qchain detach disk
check "after which it is clean" qemu-img check "$disk"
check "create does not overwrite it" refused 1 "$disk" "--force" -- \
	qchain create "$disk" 32M
check "unless it is told to" qchain create --force "$disk" 32M
check "but never over its own backing chain" refused 1 "$disk" "does not share" -- \
	qchain create --force -b "$disk" -F qcow2 "$disk"
check "which gives a clean image" qemu-img check -f qcow2 "$disk"
qchain create --force "$disk" 32M
qemu-io -f qcow2 -c "write -P 3 0 8M" "$disk" > /dev/null
# The refcount table's only entry: everything must be counted and written anew.
head -c 8 /dev/zero |
	dd of="$disk" bs=1 seek=$((16#$(od -An -tx8 --endian=big -j48 -N8 "$disk" | tr -d ' '))) \
		conv=notrunc status=none
check "check --repair rebuilds refcounts on a disk" bash -c \
	"qchain check --repair $disk | grep -q 'built anew'"
check "after which it is clean" qemu-img check -f qcow2 "$disk"
check "with its data" qemu-io -f qcow2 -r -c "read -P 3 0 8M" "$disk"
mkfs.ext4 -q -F "$disk"
mount "$disk" mnt
check "a mounted disk is refused" refused 1 "$disk" mounted -- \
	qchain attach --format raw "$disk" --name disk
umount mnt

# Its disk fails while the device has metadata that is not written yet.
new_disk 64
sectors=$(blockdev --getsz "$disk")
dmsetup create below --table "0 $sectors linear $disk 0"
qchain create /dev/mapper/below 32M
qchain attach /dev/mapper/below --name unwritten > /dev/null
dd if=/dev/zero of=/dev/mapper/unwritten bs=1M count=4 oflag=direct status=none
dmsetup load below --table "0 $sectors error"
dmsetup suspend --noflush below
dmsetup resume below
dmsetup suspend unwritten
check "detach says when not all was written, also of what was suspended" \
	refused 1 unwritten "not everything" -- qchain detach unwritten
dmsetup remove below
check "nothing is left" no_devices

# --- dirty and corrupt -----------------------------------------------------------------------

qemu-img create -q -f qcow2 -o lazy_refcounts=on dirty.qcow2 64M
qemu-io -c "write -P 5 0 20M" -c flush -c abort dirty.qcow2 > /dev/null 2>&1
check "QEMU left the image dirty" bash -c \
	"qemu-img info --output=json dirty.qcow2 | gojq -e '.\"dirty-flag\"'"
cp dirty.qcow2 dirty2.qcow2
check "dmsetup is refused a dirty image" bash -c \
	"! echo \"0 131072 qchain 1 qcow2 $scratch/dirty.qcow2 -\" | dmsetup create dirty 2>&1"
check "table refuses it too" refused 1 dirty.qcow2 "--repair" -- qchain table dirty.qcow2
check "a dirty image can be attached read-only" bash -c \
	"qchain attach dirty.qcow2 --name dirty --read-only && qchain detach dirty"
check "and is still dirty then" cmp dirty.qcow2 dirty2.qcow2
check "attach repairs it and says so" bash -c \
	"qchain attach dirty.qcow2 --name dirty 2>&1 | grep -q 'was left dirty; repaired'"
check "its data is there" qemu-io -f raw -r -c "read -P 5 0 20M" /dev/mapper/dirty
qchain detach dirty
check "it is clean" qemu-img check dirty.qcow2
check "and not dirty" bash -c \
	"qemu-img info --output=json dirty.qcow2 | gojq -e '.\"dirty-flag\" == false'"

# Byte 79 has the lower feature bits: 2 is the corrupt bit.
cp top.qcow2 corrupt.qcow2
printf '\2' | dd of=corrupt.qcow2 bs=1 seek=79 conv=notrunc status=none
check "a corrupt image is refused" refused 1 corrupt.qcow2 "marked corrupt" "check --repair" -- \
	qchain attach corrupt.qcow2 --name corrupt
check "nothing is left" no_devices
check "it can be attached read-only" bash -c \
	"qchain attach corrupt.qcow2 --name corrupt --read-only && qchain detach corrupt"
check "check --repair clears the mark" qchain check --repair corrupt.qcow2
check "then it can be attached" bash -c \
	"qchain attach corrupt.qcow2 --name corrupt && qchain detach corrupt"

# --- failures half-way -----------------------------------------------------------------------

check "a name that cannot be" refused 1 "a/b" "--name" -- qchain attach top.qcow2 --name a/b
rm -f gone.qcow2
qemu-img create -q -f qcow2 -u -b gone.qcow2 -F qcow2 orphan.qcow2 8M
check "a missing backing file" refused 1 gone.qcow2 orphan.qcow2 -- qchain attach orphan.qcow2
check "nothing is left" no_devices
check "no lock either" qemu-io -c "write 0 512" -f qcow2 \
	"json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\",\"filename\":\"orphan.qcow2\"}}"

cp base.qcow2 swap.qcow2
dmsetup create taken --notable
check "a device without a table of another program" refused 1 taken exists -- \
	qchain attach swap.qcow2 --name taken
dmsetup remove taken
check "nothing is left" nothing_left swap.qcow2

if unload_module && ! modprobe -n dm-qchain 2> /dev/null; then
	check "without the module it says so" refused 1 "modprobe dm-qchain" -- \
		qchain attach top.qcow2 --name nomodule
	check "nothing is left" nothing_left top.qcow2
	load_module
else
	skip "without the module it says so" "the module is in use, or can be loaded by name"
fi

# What a killed attach leaves is a device without a live table.
dmsetup create stale --uuid QCHAIN-stale --notable
check "tree tells of a device that is not complete" bash -c \
	"qchain tree 2>&1 | grep -q 'stale.*not attached completely'"
check "attach takes it over" bash -c "qchain attach top.qcow2 --name stale && qchain detach stale"
dmsetup create stale --uuid QCHAIN-stale --notable
qchain table top.qcow2 | dmsetup load stale
check "also one with an inactive table" bash -c \
	"qchain attach top.qcow2 --name stale && qchain detach stale"
dmsetup create stale --uuid QCHAIN-stale --notable
check "detach removes it" qchain detach stale
qchain attach top.qcow2 --name stale > /dev/null
rm /dev/mapper/stale
check "detach does without the node, if that was never made" qchain detach stale
qchain attach top.qcow2 --name stale > /dev/null
rm /dev/mapper/stale
check "attach says that the device is there" refused 1 stale "attached already" -- \
	qchain attach top.qcow2 --name stale
check "and makes the node that was not made" test -b /dev/mapper/stale
check "it is detached" qchain detach stale
check "nothing is left" nothing_left top.qcow2

# --- killed at any moment --------------------------------------------------------------------

# Afterwards attach or detach must simply work, so that the image is free.
survives_kill() {
	local signal=$1 rounds=$2 round

	for ((round = 0; round < rounds; round++)); do
		qchain attach top.qcow2 --name killed > /dev/null 2>&1 &
		sleep "0.0$((RANDOM % 90 + 10))"
		kill -s "$signal" $! 2> /dev/null
		wait $! 2> /dev/null
		if ((round % 2)); then
			if ! dmsetup info killed > /dev/null 2>&1; then
				refused 1 killed "no such device" -- qchain detach killed &&
					unlocked top.qcow2 > /dev/null || return
				continue
			fi
		elif [ "$(dmsetup info -c --noheadings -o suspended killed 2> /dev/null)" != Active ]; then
			qchain attach top.qcow2 --name killed > /dev/null || return
		fi
		qchain detach killed || return
		unlocked top.qcow2 > /dev/null || return
	done
}

detach_survives_kill() {
	local rounds=$1 round

	for ((round = 0; round < rounds; round++)); do
		qchain attach top.qcow2 --name killed > /dev/null || return
		qemu-io -f raw -c "write -P 9 $((round % 32))M 128k" /dev/mapper/killed > /dev/null || return
		qchain detach killed > /dev/null 2>&1 &
		sleep "0.0$((RANDOM % 90 + 10))"
		kill -KILL $! 2> /dev/null
		wait $! 2> /dev/null
		if dmsetup info killed > /dev/null 2>&1; then
			qchain detach killed || return
		else
			# Takes away the node, if the first detach did not come that far.
			refused 1 killed "no such device" -- qchain detach killed || return
		fi
		unlocked top.qcow2 > /dev/null || return
	done
}

# Unless it was faster.
create_interrupted() {
	local status

	qchain create -o preallocation=metadata,cluster_size=512 new.qcow2 2G 2> /dev/null &
	while [ ! -e new.qcow2 ] && kill -0 $!; do
		sleep 0.01
	done
	kill $!
	wait $!
	status=$?
	[ $status = 0 ] || { [ $status = 143 ] && [ ! -e new.qcow2 ]; }
}

check "create interrupted leaves no file" create_interrupted
check "attach killed at any moment" survives_kill KILL 12
# Not SIGINT: a shell without job control has its background processes ignore that.
check "attach interrupted at any moment" survives_kill TERM 6
check "detach killed at any moment" detach_survives_kill 6
check "nothing is left" nothing_left top.qcow2
check "qemu-img finds nothing wrong" qemu-img check top.qcow2

# --- many layers -----------------------------------------------------------------------------

layers=1000
mkdir deep
if [ -x "$here/mkchain" ]; then
	eval "$("$here/mkchain" --seed 1 --depth $layers --cluster 4096 --size 4194304 --ops 5 \
		--flat "$scratch/model" "$scratch/deep")"
	check "a chain of $layers layers" qchain attach "$TOP" --name deep
	check "its data is seen" cmp model /dev/mapper/deep
	check "tree draws it" test "$(qchain tree deep | wc -l)" = $((layers + 1))
	check "it is detached" qchain detach deep
	check "nothing is left" no_devices
else
	skip "a chain of $layers layers" "mkchain is not built"
fi
