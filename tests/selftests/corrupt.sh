#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images that lie: nothing in them is believed.  A bad entry costs the I/O that needs it, marks
# the image, raises an event, and the rest goes on.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

l1_table() {
	header_u64 "$1" 40
}

# Where the L2 entry of cluster N is, in the first L2 table.
l2_entry() {
	local l1

	l1=$(l1_table "$1")
	echo $((($(header_u64 "$1" "$l1") & 0x00fffffffffffe00) + 8 * $2))
}

new_image() {
	if [ ! -e "$scratch/good" ]; then
		qemu-img create -q -f qcow2 "$scratch/good" 8M
		qemu-io -f qcow2 -c "write -q -P 7 0 2M" "$scratch/good" > "$scratch/log"
	fi
	cp "$scratch/good" "$dir/top"
	table=$(table_of '' qcow2 "$dir/top")
}

incompatible_bits() {
	od -An -tu1 -j 79 -N 1 "$1" | tr -d ' '
}

# bytes IMAGE OFFSET LENGTH: a sum of them.
bytes() {
	tail -c "+$(($2 + 1))" "$1" | head -c "$3" | sha256sum
}

# sevens IMAGE CLUSTER...: what QEMU reads there is what new_image wrote.
sevens() {
	local image=$1 cluster words=()

	shift
	for cluster; do
		words+=(-c "read -q -P 7 $((cluster * 64))k 64k")
	done
	# It fails for a pattern that is not there.
	qemu-io -r -f qcow2 "${words[@]}" "$image" > "$scratch/log" 2>&1 ||
		{ cat "$scratch/log"; return 1; }
}

# $1: HEX of a bad L2 entry for cluster 3.
bad_l2_entry() {
	local events

	new_image
	poke "$dir/top" "$(l2_entry "$dir/top" 3)" "$1"
	attach qctest "$table"
	events=$(dmsetup info -c --noheadings -o events qctest)
	fails dd if=/dev/mapper/qctest of=/dev/null bs=64k skip=3 count=1 iflag=direct status=none
	# The neighbours are none the worse for it.
	dd if=/dev/mapper/qctest bs=64k skip=2 count=1 iflag=direct status=none |
		cmp -n 65536 - <(tr '\0' '\7' < /dev/zero)
	dd if=/dev/mapper/qctest bs=64k skip=4 count=1 iflag=direct status=none |
		cmp -n 65536 - <(tr '\0' '\7' < /dev/zero)
	[ "$(dmsetup info -c --noheadings -o events qctest)" -gt "$events" ]
	detach qctest
	# Marked, as the specification says: bit 1.
	[ $(($(incompatible_bits "$dir/top") & 2)) = 2 ]
}

bad_l1_entry() {
	new_image
	poke "$dir/top" "$(l1_table "$dir/top")" 80ffffffffff0000
	attach qctest "$table"
	fails dd if=/dev/mapper/qctest of=/dev/null bs=4k count=1 iflag=direct status=none
	detach qctest
}

# A mapping that points at the image's own header must not be written through.
mapped_onto_metadata() {
	local header l1

	new_image
	poke "$dir/top" "$(l2_entry "$dir/top" 3)" 8000000000000000
	header=$(head -c 72 "$dir/top" | sha256sum)
	attach qctest "$table"
	dd if=/dev/zero of=/dev/mapper/qctest bs=64k seek=3 count=1 oflag=direct status=none \
		2> /dev/null || :
	detach qctest
	[ "$(head -c 72 "$dir/top" | sha256sum)" = "$header" ]
	new_image
	poke "$dir/top" "$(l2_entry "$dir/top" 3)" \
		"$(printf 80%014x "$(l1_table "$dir/top")")"
	l1=$(bytes "$dir/top" "$(l1_table "$dir/top")" 65536)
	attach qctest "$table"
	dd if=/dev/zero of=/dev/mapper/qctest bs=64k seek=3 count=1 oflag=direct status=none \
		2> /dev/null || :
	dmsetup message qctest 0 drop_caches
	dd if=/dev/mapper/qctest bs=64k skip=2 count=1 iflag=direct status=none |
		cmp -n 65536 - <(tr '\0' '\7' < /dev/zero)
	detach qctest
	[ "$(bytes "$dir/top" "$(l1_table "$dir/top")" 65536)" = "$l1" ]
	[ $(($(incompatible_bits "$dir/top") & 2)) = 2 ]
}

refcounts_of() {
	header_u64 "$1" "$(header_u64 "$1" 48)"
}

# Where cluster $2 has its data.
host_of() {
	echo $(($(header_u64 "$1" "$(l2_entry "$1" "$2")") & 0x00fffffffffffe00))
}

# Clusters of data that are free as the refcounts tell: nobody can know that they are not, and new data
# go there. It is only these that suffer; tables, and what they say of old data, do not.
wrong_refcount() {
	local n host safe=() tables

	new_image
	# 16-bit refcounts from cluster 6 on: 0.
	poke "$dir/top" $(($(refcounts_of "$dir/top") + 12)) 00000000000000000000
	tables=$(bytes "$dir/top" "$(l1_table "$dir/top")" 65536)
	tables+=$(bytes "$dir/top" "$(l2_entry "$dir/top" 0)" $((32 * 8)))
	for ((n = 0; n < 32; n++)); do
		host=$(host_of "$dir/top" $n)
		[ $((host / 65536)) -ge 6 ] && [ $((host / 65536)) -lt 11 ] || safe+=($n)
	done
	[ ${#safe[@]} = 27 ]
	attach qctest "$table"
	dd if=/dev/urandom of=/dev/mapper/qctest bs=64k seek=64 count=16 oflag=direct status=none \
		2> /dev/null || :
	detach qctest
	[ "$tables" = "$(bytes "$dir/top" "$(l1_table "$dir/top")" 65536
		)$(bytes "$dir/top" "$(l2_entry "$dir/top" 0)" $((32 * 8)))" ]
	sevens "$dir/top" "${safe[@]}"
}

# The same of the L1 and the L2 table: allocation must notice.
wrong_refcount_of_tables() {
	local l1 l2 tables at

	new_image
	l1=$(l1_table "$dir/top")
	l2=$(l2_entry "$dir/top" 0)
	for at in $l1 $l2; do
		poke "$dir/top" $(($(refcounts_of "$dir/top") + at / 65536 * 2)) 0000
	done
	tables="$(bytes "$dir/top" "$l1" 65536) $(bytes "$dir/top" "$l2" $((32 * 8)))"
	attach qctest "$table"
	fails dd if=/dev/urandom of=/dev/mapper/qctest bs=64k seek=64 count=16 oflag=direct status=none
	detach qctest
	[ "$(bytes "$dir/top" "$l1" 65536) $(bytes "$dir/top" "$l2" $((32 * 8)))" = "$tables" ]
	[ $(($(incompatible_bits "$dir/top") & 2)) = 2 ]
	sevens "$dir/top" {0..31}
}

compressed_beyond_end() {
	new_image
	poke "$dir/top" "$(l2_entry "$dir/top" 3)" 4000ffffffff0000
	attach qctest "$table"
	fails dd if=/dev/mapper/qctest of=/dev/null bs=64k skip=3 count=1 iflag=direct status=none
	detach qctest
}

compressed_noise() {
	new_image
	qemu-img convert -q -c -f qcow2 -O qcow2 "$dir/top" "$dir/packed"
	poke "$dir/packed" $(($(l2_descriptor "$dir/packed" 3) + 4)) ffffffffffffffff
	attach qctest "$(table_of read_only qcow2 "$dir/packed")"
	dd if=/dev/mapper/qctest of="$scratch/got" bs=64k skip=3 count=1 iflag=direct status=none \
		2> /dev/null && cmp -n 65536 "$scratch/got" <(tr '\0' '\7' < /dev/zero) && return 1
	detach qctest
}

l2_descriptor() {
	echo $(($(header_u64 "$1" "$(l2_entry "$1" "$2")") & 0x3fffffffffffff))
}

dirty() {
	new_image
	poke "$dir/top" 79 01
	refused "dirty" dmsetup create qctest --table "$table"
	attach qctest "$table 1 read_only"
	dd if=/dev/mapper/qctest of=/dev/null bs=1M iflag=direct status=none
	detach qctest
	[ "$(incompatible_bits "$dir/top")" = 1 ]
}

marked_corrupt() {
	new_image
	poke "$dir/top" 79 02
	refused "corrupt" dmsetup create qctest --table "$table"
	attach qctest "$table 1 read_only"
	dd if=/dev/mapper/qctest of=/dev/null bs=1M iflag=direct status=none
	detach qctest
}

# Header fields, one at a time: byte offset and value.  None may be accepted for writing.
bad_headers() {
	local field

	while read -r field; do
		new_image
		# shellcheck disable=SC2086	# offset and value
		poke "$dir/top" $field
		if dmsetup create qctest --table "$table" 2> /dev/null; then
			echo "# accepted with header field $field"
			return 1
		fi
	done <<-END
		0 00000000
		4 00000001
		4 00000009
		20 00000008
		20 00000016
		20 ffffffff
		36 ffffffff
		36 00000000
		40 0000000000030001
		40 00ffffffffff0000
		48 0000000000010001
		48 00ffffffffff0000
		56 00000000
		56 ffffffff
		96 00000007
		100 00000010
		100 ffffffff
	END
}

# A file that ends before its metadata does: at the L1 table or before it cannot be attached, at the L2
# table nothing can be read, and before the data only what is left. Nothing in it changes.
truncated() {
	local clusters sum size data

	for clusters in 1 2 3 4 5 12; do
		new_image
		size=$((clusters * 65536))
		truncate -s $size "$dir/top"
		sum=$(sha256sum < "$dir/top")
		if [ $clusters -le 3 ]; then
			fails dmsetup create qctest --table "$table"
		else
			data=$((clusters - 5))
			attach qctest "$table"
			[ $data -le 0 ] || dd if=/dev/mapper/qctest bs=64k count=$data iflag=direct \
				status=none | cmp -n $((data * 65536)) - <(tr '\0' '\7' < /dev/zero)
			fails dd if=/dev/mapper/qctest of=/dev/null bs=64k skip=$((data < 0 ? 0 : data)) \
				count=1 iflag=direct status=none
			detach qctest
		fi
		# But for the corrupt bit.
		poke "$dir/top" 79 00
		echo "# cut off after cluster $clusters: $(stat -c %s "$dir/top") bytes of $size"
		[ "$(sha256sum < "$dir/top")" = "$sum" ]
	done
}

# Random bytes over the metadata: any result but an oops or a hang (the VM watches for those).
fuzz() {
	local i n rounds=15

	# Everything takes several times as long there.
	[[ $(uname -r) != *debug* ]] || rounds=3
	RANDOM=$((seed % 32768))
	for ((i = 0; i < rounds; i++)); do
		new_image
		for ((n = 0; n < 6; n++)); do
			poke "$dir/top" $((RANDOM * 32768 % 5 * 65536 + RANDOM % 256)) \
				"$(printf %02x $((RANDOM % 256)))"
		done
		dmsetup create qctest --table "$table" 2> /dev/null || continue
		timeout 60 dd if=/dev/mapper/qctest of=/dev/null bs=64k iflag=direct status=none \
			conv=noerror 2> /dev/null || :
		timeout 60 dd if=/dev/urandom of=/dev/mapper/qctest bs=64k seek=30 count=4 \
			oflag=direct status=none 2> /dev/null || :
		detach qctest
	done
}

exercise_good() {
	chain --depth 2 "$dir"
	exercise "$TABLE" "$TOP" "$model" --ops 30
}

echo "# seed $seed"
plan 15
fresh_dir tmpfs
try "an L2 entry between clusters" bad_l2_entry 8000000000050200
try "an L2 entry beyond the end" bad_l2_entry 800fffffffff0000
try "an L2 entry with reserved bits" bad_l2_entry be00000000050000
try "an L1 entry beyond the end" bad_l1_entry
try "a mapping onto metadata" mapped_onto_metadata
try "clusters in use with refcount 0" wrong_refcount
try "tables in use with refcount 0" wrong_refcount_of_tables
try "compressed data beyond the end" compressed_beyond_end
try "compressed data that is noise" compressed_noise
try "a dirty image is refused for writing" dirty
try "a corrupt image is refused for writing" marked_corrupt
try "bad header fields are refused" bad_headers
try "a truncated file" truncated
try "random damage" fuzz
try "after all that a good image works" exercise_good
