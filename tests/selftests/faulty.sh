# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the tests share that let things below fail, over chain.sh: devices with bad places, and what
# must hold when the fault is over.

MIB=1048576

# ---- devices that fail ------------------------------------------------------------------

# pieces DISK [OFFSET LENGTH KIND]...: the table of a device that is DISK but for the pieces named,
# in ascending order, which fail: error (reads and writes), error_reads, error_writes.
pieces() {
	local disk=$1 at=0 off len end

	end=$(blockdev --getsz "$disk")
	shift
	while [ $# -gt 0 ]; do
		off=$(($1 / 512)) len=$(($2 / 512))
		[ $off = $at ] || echo "$at $((off - at)) linear $disk $at"
		case $3 in
		error) echo "$off $len error" ;;
		*) echo "$off $len flakey $disk $off 0 1 1 $3" ;;
		esac
		at=$((off + len))
		shift 3
	done
	[ $at = "$end" ] || echo "$at $((end - at)) linear $disk $at"
}

# swap NAME [OFFSET LENGTH KIND]...: prints the commands that give the bad_disk NAME such pieces, or
# none.
swap() {
	local name=$1 table

	shift
	table=$(mktemp "$scratch/table.XXXXXX")
	pieces "$(readlink "$scratch/$name.disk")" "$@" > "$table"
	echo "dmsetup load $name $table && dmsetup suspend $name && dmsetup resume $name"
}

# The same, now.
fail_at() {
	eval "$(swap "$@")"
}

# bad_disk NAME MIB: /dev/mapper/NAME, a new disk all of which is well for now. NAME must not begin
# with qc, or try() takes it away.
bad_disk() {
	new_disk "$2"
	ln -s "$disk" "$scratch/$1.disk"
	attach "$1" "$(pieces "$disk")"
}

# ---- what must hold ---------------------------------------------------------------------

# mode_is MODE: of qctest.
mode_is() {
	[ "$(status_field qctest 1)" = "$1" ]
}

# unread_at_worst STATUS: that of random_io, whose output is in $scratch/last. Its last compare may fail
# to read (2). Wrong content is something else, and so is no end.
unread_at_worst() {
	[ "$1" = 0 ] || { [ "$1" = 2 ] && ! grep -q "not done after" "$scratch/last"; }
}

# sound IMAGE: nothing is wrong but leaks, where an error kept them from being cleaned up.
sound() {
	local status=0

	not_marked "$1" || return
	qemu-img check -q -f qcow2 "$1" > "$scratch/log" 2>&1 || status=$?
	[ $status != 0 ] || return 0
	[ $status != 3 ] || { echo "# leaked clusters: $(grep -c Leaked "$scratch/log")"; return 0; }
	head -n 20 "$scratch/log" | sed 's/^/#   /'
	return 1
}
