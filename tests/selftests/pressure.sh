# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Memory that is short, for tests of what happens then.  Sourced after lib.sh.
#
#	filled_disk MIB		$disk: a new memory disk which has all its memory already
#	squeeze MIB		leave the machine about so much memory that is free or can be made free;
#				in a function that "try" runs: it ends with that, too
#	release_memory		end that
#	in_group MIB COMMAND...	run it in a control group with so much memory, and no more than twice as
#				much while what is above is on its way to swap; it must want more

# null_blk takes memory for what is written, and fails a write when there is none. Make file systems
# on it without discard, which would give the memory back.
filled_disk() {
	new_disk "$1"
	# It ends with the disk.
	dd if=/dev/zero of="$disk" bs=1M count="$1" oflag=direct status=none
}

squeeze() {
	local available

	sync
	echo 3 > /proc/sys/vm/drop_caches
	available=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
	hog --locked $((available - $1)) > "$scratch/hog" &
	squeezer=$!
	trap release_memory EXIT
	# Out of memory, the load shall not be what is killed.
	echo 1000 > /proc/$squeezer/oom_score_adj
	wait_for 120 grep -q holds "$scratch/hog"
	sed "s/$/; $1 MiB are left/" "$scratch/hog"
}

release_memory() {
	trap - EXIT
	kill "$squeezer"
	wait "$squeezer" || :
}

in_group() {
	local root=$scratch/cgroup group status high

	if ! mountpoint -q "$root"; then
		mkdir -p "$root"
		mount -t cgroup2 none "$root"
	fi
	echo +memory > "$root/cgroup.subtree_control"
	group=$root/qctest$BASHPID
	mkdir "$group"
	echo "$1M" > "$group/memory.high"
	echo "$(($1 * 2))M" > "$group/memory.max"
	shift
	status=0
	(
		echo $BASHPID > "$group/cgroup.procs"
		exec "$@"
	) || status=$?
	high=$(awk '$1 == "high" { print $2 }' "$group/memory.events")
	rmdir "$group"
	echo "# the group was over its limit $high times"
	[ $status = 0 ] || return $status
	[ "$high" -gt 0 ]
}
