#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# block_set_io_throttle: what processes in cgroups may read and write of a device, measured; and
# daemons that come and go meanwhile.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
at_exit cd /

# ---- cgroups -----------------------------------------------------------------------------------

groups=(qctest-a qctest-b qctest-c)
was_mounted=$(findmnt -rno TARGET -t cgroup2 | head -n 1)
cgroups=${was_mounted:-$scratch/cgroups}
mkdir -p "$cgroups"
[ -n "$was_mounted" ] || mount -t cgroup2 none "$cgroups"
grep -qw io "$cgroups/cgroup.controllers" || skip_all "cgroup v2 has no io controller here"
had_io=$(grep -w io "$cgroups/cgroup.subtree_control")

make_groups() {
	at_exit remove_groups
	mkdir "${groups[@]/#/$cgroups/}" "$cgroups/qctest-c/inner"
}

remove_groups() {
	rmdir "$cgroups/qctest-c/inner" "${groups[@]/#/$cgroups/}"
	[ -n "$had_io" ] || echo -io > "$cgroups/cgroup.subtree_control"
}

# within GROUP COMMAND...
within() {
	local group=$1

	shift
	(
		echo "$BASHPID" > "$cgroups/$group/cgroup.procs"
		exec "$@"
	)
}

# io_max GROUP [DEVICE]: what the kernel has for it, without its number.
io_max() {
	[ ! -e "$cgroups/$1/io.max" ] ||
		sed -n "s/^$(dmsetup info -c --noheadings -o major,minor "${2:-o}") //p" \
			"$cgroups/$1/io.max"
}

# ---- limits ------------------------------------------------------------------------------------

# arguments NAME=VALUE...: of device o, without limits but for these.
arguments() {
	local member name all="\"device\": \"o\""

	for name in bps bps_rd bps_wr iops iops_rd iops_wr; do
		[[ " $*" = *" $name="* ]] || all+=", \"$name\": 0"
	done
	for member; do
		all+=", \"${member%%=*}\": ${member#*=}"
	done
	echo "{$all}"
}

# limit NAME=VALUE...
limit() {
	execute block_set_io_throttle "$(arguments "$@")" | is '. == {}'
}

# refuses TEXT NAME=VALUE...
refuses() {
	says "$1" block_set_io_throttle "$(arguments "${@:2}")"
}

# shows FILTER: of what query-block tells of device o.
shows() {
	execute query-block | is ".[] | select(.device == \"o\").inserted | $1"
}

shows_none() {
	shows 'has("group") or .bps_rd + .bps_wr + .iops_rd + .iops_wr > 0 | not'
}

# ---- measuring ---------------------------------------------------------------------------------

# took COMMAND...: $ms.
took() {
	local start=${EPOCHREALTIME/./}

	"$@"
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
}

# 1 MiB from device o, and to it; 16 requests.
read_some() {
	dd if=/dev/mapper/o of=/dev/null bs=64k count=16 iflag=direct status=none
}
write_some() {
	dd if=/dev/zero of=/dev/mapper/o bs=64k count=16 oflag=direct status=none
}
export -f read_some write_some

# slow GROUP COMMAND, fast [GROUP] COMMAND: what should take 8 seconds takes 6 at least; what is not
# limited takes no 4.
slow() {
	took within "$1" bash -c "$2"
	echo "# $2 in $1: $ms ms"
	[ $ms -ge 6000 ]
}

fast() {
	if [ $# = 2 ]; then
		took within "$1" bash -c "$2"
	else
		took "$1"
	fi
	echo "# $*: $ms ms"
	[ $ms -lt 4000 ]
}

# ---- tests -------------------------------------------------------------------------------------

devices=(
	--blockdev driver=qcow2,node-name=node-o,file.driver=file,file.filename=o.qcow2
	--export type=dm,id=o,node-name=node-o,name=o,writable=on
)

fresh_dir ext4
cd "$dir" || exit
qemu-img create -q -f qcow2 base.qcow2 16M
qemu-io -c "write -q -P 165 0 16M" base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 o.qcow2
launch_again
daemon_ready

not_mounted() {
	umount "$cgroups"
	says_part "There is no cgroup v2, which limits need; mount it" \
		block_set_io_throttle "$(arguments bps_rd=131072)"
	limit
	mount -t cgroup2 none "$cgroups"
}
if [ -z "$was_mounted" ]; then
	try "without cgroup v2" not_mounted
else
	skip "without cgroup v2" "it is mounted already"
fi
make_groups

# A QEMU with a device of the same name.
start_qemu() {
	qemu-system-x86_64 -machine none -nodefaults -display none \
		-drive if=none,id=o,driver=null-co -chardev "socket,id=m,path=$1,server=on,wait=off" \
		-mon chardev=m,mode=control &
	qemu=$!
}

like_qemu() {
	local members got wanted

	start_qemu "$scratch/qemu.sock"
	trap 'kill "$qemu"; wait "$qemu" || :' EXIT
	wait_for 60 test -S "$scratch/qemu.sock"
	coproc qmp_client.py "$scratch/qemu.sock" --serve
	# shellcheck disable=SC2089	# as words
	for members in "" "bps=5 bps_rd=5" "iops=1 iops_wr=1" "bps=5 bps_max=5 bps_wr_max=1" \
		iops_size=5 iops_size=-1 bps_rd=-1 iops_wr=1000000000000001 bps_rd_max=-1 \
		bps_max_length=0 iops_wr_max_length=0 bps_max_length=5 bps_rd_max_length=-1 \
		"iops=5 iops_max=5 iops_max_length=1000000000000000" bps_max=5 "bps=5 bps_max=4" \
		"bps_rd=5 bps_rd_max=10 bps_rd_max_length=-1" 'group="nothing"' \
		'bps=1 bps_rd=1 group="nothing"'; do
		# shellcheck disable=SC2086,SC2090	# words
		set -- $members
		got=$(execute block_set_io_throttle "$(arguments "$@")" || :)
		echo "{\"execute\": \"block_set_io_throttle\", \"arguments\": $(arguments "$@")}" \
			>&"${COPROC[1]}"
		read -r wanted <&"${COPROC[0]}"
		[ "$got" = "${wanted#[+-] }" ] || { echo "# $members: $got, QEMU: $wanted"; return 1; }
	done
}
try "what QEMU refuses is refused with the same words" like_qemu

refusals() {
	refuses "'bps' is not supported: the kernel limits reads and writes each by itself; use 'bps_rd' and 'bps_wr'" \
		bps=1048576
	refuses "'iops_wr_max' is not supported: the kernel's limits allow no bursts; use 'iops_wr' alone" \
		iops_wr=50 iops_wr_max=100
	for group in "" . .. a//b ../x qctest-a/ //qctest-a qctest-a/../qctest-b; do
		refuses "Group '${group/#\//}' is not the path of a cgroup below the root" \
			bps_rd=131072 "group=\"$group\""
	done
	refuses "Group 'qctest-a/nothing' is no cgroup that exists" \
		bps_rd=131072 'group="qctest-a/nothing"'
	says "DeviceNotFound: Device 'node-o' not found" block_set_io_throttle \
		"$(arguments | sed 's/"o"/"node-o"/')"
	shows_none
	limit
}
try "refusals" refusals

# What each can do without a limit, and then with one.
limited() {
	fast qctest-a read_some
	fast qctest-a write_some
	limit bps_rd=131072 bps_wr=131072 'group="qctest-a"'
	[ "$(io_max qctest-a)" = "rbps=131072 wbps=131072 riops=max wiops=max" ]
	[ -z "$(io_max qctest-b)" ]
	slow qctest-a read_some
	slow qctest-a write_some
	fast qctest-b read_some
	fast qctest-b write_some
	fast read_some
	# Not given: as before.
	limit iops_rd=2
	[ "$(io_max qctest-a)" = "rbps=max wbps=max riops=2 wiops=max" ]
	slow qctest-a read_some
	fast qctest-a write_some
	limit iops_wr=2 'group="/qctest-a"'
	slow qctest-a write_some
	fast qctest-a read_some
	limit
	[ -z "$(io_max qctest-a)" ]
	fast qctest-a read_some
	fast qctest-a write_some
}
try "reads and writes of one cgroup, and of no other" limited

shown() {
	local line

	shows_none
	limit bps_rd=131072 iops_wr=2 'group="qctest-b"'
	shows '.bps == 0 and .bps_rd == 131072 and .bps_wr == 0 and .iops == 0 and .iops_rd == 0 and
		.iops_wr == 2 and .group == "qctest-b"'
	execute query-named-block-nodes | is '.[] | select(."node-name" == "node-o") |
		.bps_rd == 131072 and .iops_wr == 2 and .group == "qctest-b"'
	execute query-named-block-nodes | is 'all(.[] | select(."node-name" != "node-o"); has("group") | not)'
	line="I/O throttling:   bps=0 bps_rd=131072 bps_wr=0 bps_max=0 bps_rd_max=0 bps_wr_max=0 iops=0 "
	line+="iops_rd=0 iops_wr=2 iops_max=0 iops_rd_max=0 iops_wr_max=0 iops_size=0 group=qctest-b"
	qchain hmp --socket "$sock" info block o | grep -Fx "    $line"
	# What somebody else makes of it is what is shown.
	echo "$(dmsetup info -c --noheadings -o major,minor o) rbps=500000 wiops=max" \
		> "$cgroups/qctest-b/io.max"
	shows '.bps_rd == 500000 and .iops_wr == 0 and .group == "qctest-b"'
	qchain hmp --socket "$sock" block_set_io_throttle o 0 0 0 0 0 0
	shows_none
	[ -z "$(io_max qctest-b)" ]
	# The last group.
	qchain hmp --socket "$sock" block_set_io_throttle o 0 0 300000 0 0 0
	[ "$(io_max qctest-b)" = "rbps=max wbps=300000 riops=max wiops=max" ]
	[ -z "$(io_max qctest-a)" ]
	fails qchain hmp --socket "$sock" block_set_io_throttle o 5 0 0 0 0 0
	shows '.bps_wr == 300000'
}
try "limits are shown as the kernel has them" shown

moved() {
	limit bps_wr=300000 'group="qctest-a"'
	[ -z "$(io_max qctest-b)" ]
	[ "$(io_max qctest-a)" = "rbps=max wbps=300000 riops=max wiops=max" ]
	limit bps_wr=300000 'group="qctest-c/inner"'
	[ -z "$(io_max qctest-a)" ]
	[ "$(io_max qctest-c/inner)" = "rbps=max wbps=300000 riops=max wiops=max" ]
	grep -qw io "$cgroups/qctest-c/cgroup.subtree_control"
	# One that is gone has nothing any more, and is no obstacle.
	rmdir "$cgroups/qctest-c/inner"
	shows_none
	says_part "Group 'qctest-c/inner' is no cgroup" block_set_io_throttle "$(arguments bps_wr=5)"
	limit bps_wr=300000 'group="qctest-a"'
	mkdir "$cgroups/qctest-c/inner"
	echo -io > "$cgroups/qctest-c/cgroup.subtree_control"
	shows '.group == "qctest-a"'
}
try "from one cgroup to another" moved

all() {
	limit bps_rd=131072 'group="/"'
	for group in "${groups[@]}"; do
		[ "$(io_max "$group")" = "rbps=131072 wbps=max riops=max wiops=max" ]
		slow "$group" read_some &
		pids+=($!)
	done
	# Each by itself: together they take no longer.
	took wait_all
	[ $ms -lt 16000 ]
	fast read_some
	shows '.bps_rd == 131072 and .group == "/"'
	limit
	for group in "${groups[@]}"; do
		[ -z "$(io_max "$group")" ]
	done
}
wait_all() {
	for pid in "${pids[@]}"; do
		wait "$pid"
	done
}
try "every cgroup below the root" all

# all_are LIMITS: of each group.
all_are() {
	for group in "${groups[@]}"; do
		[ "$(io_max "$group")" = "$1" ] || { echo "# $group: $(io_max "$group")"; return 1; }
	done
}

# Whichever of them is the one that cannot be limited.
all_or_nothing() {
	local file before had

	limit bps_rd=131072 'group="/"'
	for had in 131072 0; do
		for group in "${groups[@]}"; do
			file=$cgroups/$group/io.max
			mount --bind "$file" "$file"
			mount -o remount,bind,ro "$file"
			says_part "Could not set limits of cgroup '$group'" \
				block_set_io_throttle "$(arguments bps_wr=131072 'group="/"')"
			umount "$file"
			if [ $had = 0 ]; then
				all_are ""
				shows_none
			else
				all_are "rbps=$had wbps=max riops=max wiops=max"
				shows ".bps_rd == $had and .bps_wr == 0"
			fi
		done
		limit
	done
	# Where the controller cannot be enabled it is nowhere that it was not.
	sleep 60 &
	echo $! > "$cgroups/qctest-c/cgroup.procs"
	[ -n "$had_io" ] || echo -io > "$cgroups/cgroup.subtree_control"
	before=$(cat "$cgroups/cgroup.subtree_control")
	refuses "Could not enable the io controller below cgroup '/qctest-c': it has processes besides its cgroups" \
		bps_wr=131072 'group="qctest-c/inner"'
	[ "$before" = "$(cat "$cgroups/cgroup.subtree_control")" ]
	fails grep -qw io "$cgroups/qctest-c/cgroup.subtree_control"
	kill $!
	wait $! || :
	shows_none
}
try "all of them, or none" all_or_nothing

# Stopped devices wait for nothing here; limits stay through snapshots.
changes() {
	limit bps_rd=131072 'group="qctest-a"'
	execute blockdev-snapshot-sync \
		'{"device": "o", "snapshot-file": "s.qcow2", "snapshot-node-name": "node-s"}' | is '. == {}'
	slow qctest-a read_some
	shows '."node-name" == "node-s" and .bps_rd == 131072'
	execute query-named-block-nodes | is '.[] | select(."node-name" == "node-o") | .bps_rd == 0'
	execute stop | is '. == {}'
	limit bps_wr=131072 'group="qctest-b"'
	execute cont | is '. == {}'
	slow qctest-b write_some
	fast qctest-a read_some
	limit
}
try "over snapshots, and of a stopped device" changes

restarted() {
	limit bps_rd=131072 'group="qctest-a"'
	kill_daemon
	slow qctest-a read_some
	launch_again
	daemon_ready
	shows '.bps_rd == 131072 and .group == "qctest-a"'
	limit iops_rd=2
	[ "$(io_max qctest-a)" = "rbps=max wbps=max riops=2 wiops=max" ]
	kill_daemon
	launch_again
	daemon_ready
	limit
	[ -z "$(io_max qctest-a)" ]
	fast qctest-a read_some
	# In the middle of it.
	for round in $(seq "$some_kills"); do
		request block_set_io_throttle "$(arguments bps_rd=131072 "group=\"${groups[round % 3]}\"")"
		sleep "0.$(printf '%03d' $((RANDOM % 30)))"
		kill_daemon
		launch_again
		answer > /dev/null || :
		daemon_ready
		limit
		all_are ""
		shows_none
	done
}
try "a daemon that is killed" restarted

removed() {
	local number pid

	limit bps_rd=131072 'group="/"'
	number=$(dmsetup info -c --noheadings -o major,minor o)
	execute block-export-del '{"id": "o"}' | is '. == {}'
	cat "$cgroups"/qctest-?/io.max | fails grep "^$number "
	execute block-export-add '{"type": "dm", "id": "o", "node-name": "node-o", "name": "o"}' |
		is '. == {}'
	[ "$number" = "$(dmsetup info -c --noheadings -o major,minor o)" ]
	all_are ""
	shows_none
	fast qctest-a read_some
	limit bps_rd=131072 'group="qctest-a"'
	end_daemon
	cat "$cgroups"/qctest-?/io.max | fails grep "^$number "
	clean o.qcow2
	unlocked o.qcow2
}
try "nothing is left of a device that is removed" removed
