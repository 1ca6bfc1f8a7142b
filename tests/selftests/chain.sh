# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the tests of the data path share, over lib.sh: places for images, attaching them with
# dmsetup alone, and QEMU's tools as the judge.  Sourced after lib.sh.

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
PATH=$here:$PATH

# Every random choice follows from this; a failed test is repeated by setting it.
seed=${QCHAIN_SEED:-$(($(date +%s) % 1000000))}

# ---- places -------------------------------------------------------------------------

# place NAME: sets $place to a directory or a block device, made on first use:
#	tmpfs, ext4, xfs, btrfs	directories; the last three each on a disk of its own
#	disk, disk-2		whole disks
#	loop4k, loop4k-2	disks with 4096-byte sectors (loop devices: null_blk's lose data
#				when a buffer is not as aligned)
# Not in a subshell: what is made there is not undone at the end.
place() {
	local dir=$scratch/$1

	place=$dir
	case $1 in
	tmpfs)
		mkdir -p "$dir"
		;;
	ext4|xfs|btrfs)
		mountpoint -q "$dir" && return
		mkdir -p "$dir"
		new_disk 400 && "mkfs.$1" -q "$disk" && mount "$disk" "$dir"
		;;
	disk*)
		[ -L "$dir" ] || { new_disk 256 && ln -s "$disk" "$dir"; }
		place=$(readlink "$dir")
		;;
	loop4k*)
		if [ ! -L "$dir" ]; then
			truncate -s 256M "$dir.image"
			ln -s "$(losetup --find --show --sector-size 4096 "$dir.image")" "$dir"
		fi
		place=$(readlink "$dir")
		;;
	esac
}

# An empty directory in the place $1: $dir.
fresh_dir() {
	place "$1"
	dir=$place/t
	rm -rf "$dir"
	mkdir -p "$dir"
}

# ---- devices ------------------------------------------------------------------------

# attach NAME TABLE: /dev/mapper/NAME.
attach() {
	dmsetup create "$1" --table "$2"
}

detach() {
	dmsetup remove "$1"
}

# message WORD...: to qctest.
message() {
	dmsetup message qctest 0 "$@"
}

# table_of FEATURES FORMAT IMAGE [FORMAT IMAGE]...: the table of a chain, top first, as long as
# the top layer.  FEATURES are words, or an empty string.
table_of() {
	local features=$1 layers='' n=0 bytes

	shift
	bytes=$(virtual_size "$1" "$2")
	while [ $# -gt 0 ]; do
		layers+=" $1 $2 -"
		n=$((n + 1))
		shift 2
	done
	# shellcheck disable=SC2086	# the words are counted
	set -- $features
	echo "0 $(((bytes + 511) / 512)) qchain $n$layers${features:+ $# $features}"
}

# The virtual size in bytes, from a qcow2 header (big-endian at byte 24) or the file's size.
virtual_size() {
	if [ "$1" = raw ]; then
		blockdev --getsize64 "$2" 2> /dev/null || stat -L -c %s "$2"
	else
		header_u64 "$2" 24
	fi
}

# header_u32 IMAGE OFFSET, header_u64 IMAGE OFFSET: a big-endian number.
header_u32() {
	echo $((0x$(od -An -v -tx1 -j "$2" -N 4 "$1" | tr -d ' \n')))
}

header_u64() {
	echo $((0x$(od -An -v -tx1 -j "$2" -N 8 "$1" | tr -d ' \n')))
}

# poke FILE OFFSET HEXBYTES: overwrite bytes, as "00ff".
poke() {
	printf "$(sed 's/../\\x&/g' <<< "$3")" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# status_field NAME N: word N of the target's part of the status line, from 1.
status_field() {
	dmsetup status "$1" | awk -v n="$2" '{ print $(3 + n) }'
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		if [ $SECONDS -ge $end ]; then
			echo "# not within its time: $*"
			return 1
		fi
		sleep 0.2
	done
}

# fails COMMAND...: "! COMMAND" would not count under set -e.
fails() {
	if "$@" > /dev/null 2>&1; then
		echo "# succeeded, but must not: $*"
		return 1
	fi
}

# refused MESSAGE-PATTERN COMMAND...: it fails, and the kernel log says why.
refused() {
	local pattern=$1 mark="qchain-test $RANDOM$RANDOM"

	shift
	echo "$mark" > /dev/kmsg
	if "$@" > /dev/null 2>&1; then
		echo "# not refused: $*"
		return 1
	fi
	if ! dmesg | sed "1,/$mark/d" | grep -Eqi -- "$pattern"; then
		echo "# the kernel log has no '$pattern' but:"
		dmesg | sed "1,/$mark/d; s/^/#   /"
		return 1
	fi
}

# ---- judges -------------------------------------------------------------------------

# In a qcow2 header: not the bit "corrupt" (of version 3), with which qemu-img has no trouble.
not_marked() {
	[ "$(header_u32 "$1" 4)" -lt 3 ] || [ $(($(header_u64 "$1" 72) & 2)) = 0 ] ||
		{ echo "# $1 is marked as corrupt"; return 1; }
}

# No errors, no leaks.
clean() {
	local out

	not_marked "$1" || return
	if ! out=$(qemu-img check -f qcow2 "$1" 2>&1); then
		printf '# qemu-img check %s:\n' "$1"
		head -n 20 <<< "$out" | sed 's/^/#   /'
		return 1
	fi
}

# content IMAGE RAW [FORMAT]: the chain below the image reads as the raw file.
content() {
	local out

	[ "${3:-qcow2}" != qcow2 ] || not_marked "$1" || return
	if ! out=$(qemu-img compare -f "${3:-qcow2}" -F raw "$1" "$2" 2>&1); then
		printf '# qemu-img compare %s %s:\n' "$1" "$2"
		head -n 20 <<< "$out" | sed 's/^/#   /'
		return 1
	fi
}

# flatten IMAGE RAW: what QEMU reads from the chain.
flatten() {
	qemu-img convert -f qcow2 -O raw "$1" "$2"
}

# same_bytes FILE DEVICE
same_bytes() {
	local out

	if ! out=$(cmp "$1" "$2" 2>&1); then
		echo "# $out"
		return 1
	fi
}

# chain [mkchain OPTION]... PLACE...: makes a chain and sets TOP, BYTES, CLUSTER, VERSION, LAYERS,
# TABLE (see mkchain.c) and model, a raw file with what QEMU reads from it.
chain() {
	local made

	made=$(mkchain --seed "$seed" "$@")
	eval "$made"
	model=$scratch/model
	flatten "$TOP" "$model"
}

# exercise TABLE TOP MODEL [random_io OPTION]...: a whole round on a chain whose content is in
# MODEL: attach, read back, random I/O, detach, check, compare, and what the module then reads.
# MODEL holds the new content afterwards.
exercise() {
	local table=$1 top=$2 model=$3

	shift 3
	attach qctest "$table"
	same_bytes "$model" /dev/mapper/qctest
	random_io --seed "$seed" --model "$model" --out "$model.new" --timeout 240 "$@" \
		/dev/mapper/qctest
	mv "$model.new" "$model"
	detach qctest
	clean "$top"
	content "$top" "$model"
	attach qctest "$table 1 read_only"
	same_bytes "$model" /dev/mapper/qctest
	detach qctest
}

# ---- results ------------------------------------------------------------------------

# try DESCRIPTION COMMAND...: one result.  COMMAND is a function of commands that must all succeed.
# With the pattern $QCHAIN_TRY those with another description are skipped.
try() {
	local description=$1 status name

	shift
	# shellcheck disable=SC2053	# a pattern
	if [[ $description != ${QCHAIN_TRY:-*} ]]; then
		skip "$description" "not among QCHAIN_TRY"
		return
	fi
	(
		# The end of the script is not the end of this subshell.
		trap - EXIT
		set -e
		"$@"
	)
	status=$?
	for name in $(dm_names); do
		[[ $name = qc* ]] || continue
		echo "# $name is left over"
		umount --all-targets "/dev/mapper/$name" 2> /dev/null
		timeout 20 dmsetup remove --retry "$name" 2> /dev/null ||
			timeout 60 dmsetup remove --force "$name"
	done
	if [ $status = 0 ]; then
		ok "$description"
	else
		echo "# failed with status $status; seed $seed"
		not_ok "$description"
	fi
}

# variant DESCRIPTION COMMAND...: as try, but not in the short form.
variant() {
	if [ -n "${QCHAIN_SHORT:-}" ]; then
		left_out=$((${left_out:-0} + 1))
		return
	fi
	try "$@"
}
