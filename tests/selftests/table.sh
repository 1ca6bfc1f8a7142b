#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The target's face: what a table may say, what is refused and why, round trips, status, read_only.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

# create_fails TABLE
create_fails() {
	if dmsetup create qctest --table "$1" 2> /dev/null; then
		echo "# accepted: $1"
		return 1
	fi
	fails dmsetup info qctest
}

round_trip() {
	local features=$1 printed

	attach qctest "$(table_of "$features" qcow2 "$dir/top" qcow2 "$dir/base")"
	printed=$(dmsetup table qctest)
	echo "# $printed"
	detach qctest
	attach qctest "$printed"
	[ "$(dmsetup table qctest)" = "$printed" ]
	for word in $features; do
		[[ "$printed" = *" $word"* ]]
	done
	same_bytes "$model" /dev/mapper/qctest
	# Also as dmsetup pipes it, into the same device.
	dmsetup table qctest | dmsetup load qctest
	dmsetup suspend qctest
	dmsetup resume qctest
	[ "$(dmsetup table qctest)" = "$printed" ]
	same_bytes "$model" /dev/mapper/qctest
	detach qctest
}

# As the file was named by a descriptor, the table names it by its path.
descriptor() {
	local bytes

	bytes=$(virtual_size qcow2 "$dir/top")
	# dmsetup closes nothing that it inherits.
	dmsetup create qctest --table "0 $((bytes / 512)) qchain 2 qcow2 fd:8 - qcow2 fd:9 -" \
		8<> "$dir/top" 9< "$dir/base"
	echo "# $(dmsetup table qctest)"
	[[ "$(dmsetup table qctest)" = *" qcow2 $dir/top - qcow2 $dir/base -"* ]]
	same_bytes "$model" /dev/mapper/qctest
	detach qctest
	create_fails "0 $((bytes / 512)) qchain 2 qcow2 fd:99 - qcow2 $dir/base -"
}

# A writable layer from a descriptor that cannot write.
read_only_descriptor() {
	local bytes

	bytes=$(virtual_size qcow2 "$dir/top")
	fails dmsetup create qctest --table "0 $((bytes / 512)) qchain 1 qcow2 fd:8 -" \
		8< "$dir/top" 2> /dev/null
	dmsetup create qctest --table "0 $((bytes / 512)) qchain 1 qcow2 fd:8 - 1 read_only" \
		8< "$dir/top"
	detach qctest
}

status_words() {
	local status mapped used

	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	dd if=/dev/mapper/qctest of=/dev/null bs=1M iflag=direct status=none
	status=$(dmsetup status qctest)
	echo "# $status"
	[[ "$status" =~ ^0\ 16384\ qchain\ rw\ 128\ ([0-9]+|-)/128\ ([0-9]+|-)/[0-9]+\ [0-9]+/65536\ 2\ 0\ 0$ ]]
	mapped=$(status_field qctest 3)
	used=$(status_field qctest 4)
	# Places that are mapped nowhere in the top layer.
	dd if=/dev/urandom of=/dev/mapper/qctest bs=64k count=128 oflag=direct status=none
	sync /dev/mapper/qctest
	status=$(dmsetup status qctest)
	echo "# $status"
	[[ "$(status_field qctest 3)" = 128/128 || "$(status_field qctest 3)" = -/128 ]]
	echo "# mapped $mapped -> $(status_field qctest 3), used $used -> $(status_field qctest 4)"
	detach qctest
	attach qctest "$(table_of read_only qcow2 "$dir/top")"
	[ "$(status_field qctest 1)" = ro ]
	detach qctest
}

read_only() {
	local before

	before=$(sha256sum < "$dir/top")
	attach qctest "$(table_of read_only qcow2 "$dir/top" qcow2 "$dir/base")"
	fails dd if=/dev/zero of=/dev/mapper/qctest bs=4k count=1 oflag=direct status=none
	fails blkdiscard /dev/mapper/qctest
	same_bytes "$model" /dev/mapper/qctest
	detach qctest
	[ "$(sha256sum < "$dir/top")" = "$before" ]
	chmod 444 "$dir/top"
	attach qctest "$(table_of read_only qcow2 "$dir/top" qcow2 "$dir/base")"
	detach qctest
	chmod 644 "$dir/top"
}

odd_path() {
	local odd="$dir/a b\\c"

	mkdir "$odd"
	cp "$dir/base" "$odd/base"
	dmsetup create qctest --table \
		"0 16384 qchain 1 qcow2 $(sed 's/\\/\\134/g; s/ /\\040/g' <<< "$odd/base") -"
	echo "# $(dmsetup table qctest)"
	dmsetup table qctest | dmsetup load qctest
	dmsetup suspend qctest
	dmsetup resume qctest
	detach qctest
}

messages() {
	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	dd if=/dev/mapper/qctest of=/dev/null bs=1M iflag=direct status=none
	dmsetup message qctest 0 drop_caches
	same_bytes "$model" /dev/mapper/qctest
	dmsetup message qctest 0 extended
	fails dmsetup message qctest 0 no_such_message
	detach qctest
}

# Features with a number, in 512 bytes of feature names and bits: "set BIT" in the header word.
set_incompatible() {
	local image=$1 byte value

	byte=$((72 + 7 - $2 / 8))
	value=$((0x$(od -An -tx1 -j $byte -N 1 "$image" | tr -d ' ') | 1 << ($2 % 8)))
	poke "$image" $byte "$(printf %02x $value)"
}

# A feature that nobody knows, with an entry in the name table that QEMU wrote.
unknown_feature() {
	local at

	cp "$dir/base" "$dir/odd"
	at=$(grep -obUa 'extended L2 entries' "$dir/odd" | cut -d : -f 1)
	poke "$dir/odd" $((at - 2)) "00$(printf %02x 41)$(printf 'gizmo' | od -An -tx1 | tr -d ' \n')00"
	set_incompatible "$dir/odd" 41
	refused "gizmo" create_table '' "$dir/odd"
	refused "gizmo" create_table read_only "$dir/odd"
}

create_table() {
	dmsetup create qctest --table "$(table_of "$1" qcow2 "$2")"
}

unsupported() {
	qemu-img create -q -f qcow2 -o extended_l2=on "$dir/ext" 8M
	refused "extended.L2" create_table '' "$dir/ext"
	qemu-img create -q -f qcow2 -o "data_file=$dir/ext.raw" "$dir/data" 8M
	refused "data file" create_table '' "$dir/data"
	cp "$dir/base" "$dir/luks"
	poke "$dir/luks" 32 00000002
	refused "encrypt|LUKS" create_table '' "$dir/luks"
}

bad_tables() {
	local l="qcow2 $dir/top -"

	create_fails "0 16384 qchain"
	create_fails "0 16384 qchain 0"
	create_fails "0 16384 qchain 2 $l"
	create_fails "0 16384 qchain 1 vmdk $dir/top -"
	create_fails "0 16384 qchain 1 qcow2 $dir/nothing -"
	create_fails "0 16384 qchain 1 qcow2 $dir -"
	create_fails "0 16384 qchain 1 qcow2 /dev/null -"
	create_fails "0 16384 qchain 1 qcow2 $dir/top $dir/base"
	create_fails "0 16384 qchain 1 $l 1 no_such_feature"
	create_fails "0 16384 qchain 1 $l 2 read_only"
	create_fails "0 16384 qchain 1 $l read_only"
	create_fails "0 16385 qchain 1 $l"
	dd if=/dev/urandom of="$dir/noise" bs=64k count=1 status=none
	create_fails "0 128 qchain 1 qcow2 $dir/noise -"
	: > "$dir/empty"
	create_fails "0 128 qchain 1 qcow2 $dir/empty -"
}

# A shorter device than the image, and one that is writable twice.
shorter() {
	attach qctest "0 8192 qchain 2 qcow2 $dir/top - qcow2 $dir/base -"
	[ "$(blockdev --getsz /dev/mapper/qctest)" = 8192 ]
	cmp -n 4194304 "$model" /dev/mapper/qctest
	detach qctest
}

written_twice() {
	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	fails dmsetup create qctest2 --table "$(table_of '' qcow2 "$dir/top")"
	fails dmsetup create qctest2 --table "$(table_of '' qcow2 "$dir/base")"
	detach qctest
}

plan 13
fresh_dir tmpfs
chain --seed 5 --depth 2 --compression none --ops 10 "$dir"
mv "$dir/layer0000.qcow2" "$dir/base"
mv "$dir/layer0001.qcow2" "$dir/top"
qemu-img rebase -q -u -f qcow2 -b "$dir/base" -F qcow2 "$dir/top"

try "the table round trip" round_trip ''
try "the table round trip with features" round_trip "read_only error_if_no_space no_discard_passdown"
try "layers by descriptor" descriptor
try "a read-only descriptor" read_only_descriptor
try "a path with a space and a backslash" odd_path
try "read_only" read_only
try "messages" messages
try "an unknown incompatible feature is refused by its name" unknown_feature
try "extended L2, data file and encryption are refused by name" unsupported
try "bad tables are refused" bad_tables
try "a device shorter than the image" shorter
try "an image has one writer" written_twice
try "status" status_words
