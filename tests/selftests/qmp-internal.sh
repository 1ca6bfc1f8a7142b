#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Internal snapshots of devices in use, while fio writes and verifies: made, also of two devices at one
# moment, deleted, refused and taken back; and a daemon that is killed in it.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
at_exit cd /
echo "# seed $seed"

offset=$((24 << 20))		# of the numbers; the load is below

take() {
	execute blockdev-snapshot-internal-sync "{\"device\": \"$1\", \"name\": \"$2\"}"
}

drop() {
	execute blockdev-snapshot-delete-internal-sync "{\"device\": \"$1\", $2}"
}

# action DEVICE NAME
action() {
	echo "{\"type\": \"blockdev-snapshot-internal-sync\", \"data\":
		{\"device\": \"$1\", \"name\": \"$2\"}}"
}

# The names of the snapshots that the daemon knows of in the image of a node.
names_of() {
	execute query-named-block-nodes '{"flat": true}' |
		gojq -r "[.[] | select(.\"node-name\" == \"$1\") | .image.snapshots[]?.name] | join(\" \")"
}

# Devices run, with the layers that they had, and the load goes on.
all_run() {
	local name

	for name in p q r; do
		[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded $name)" = Active:Live ] ||
			{ dmsetup info $name; return 1; }
	done
	kill -0 "$load"
	kill -0 "$counter"
}

# shown NAME IMAGE RAW: what the snapshot has, past the page cache, which the device goes past, too.
shown() {
	qemu-img convert -U -T none -f qcow2 -l "snapshot.name=$1" -O raw "$2" "$scratch/$3"
}

# of_one_moment NAME [IMAGE]: the snapshots of that name show p and q together.
of_one_moment() {
	shown "$1" "${2:-p.qcow2}" p.raw
	shown "$1" "$disk_q" q.raw
	moments.py check $offset "$scratch/p.raw" "$scratch/q.raw"
}

# remember NAME: what the snapshot of p shows; later still_shows.
remember() {
	shown "$1" p.qcow2 "remembered.$1"
}

still_shows() {
	shown "$1" p.qcow2 now
	cmp "$scratch/now" "$scratch/remembered.$1"
}

place disk
disk_q=$place
fresh_dir ext4
cd "$dir" || exit
qemu-img create -q -f qcow2 base.qcow2 32M
qemu-io -c "write -q -P 165 28M 2M" base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 p.qcow2
qemu-img create -q -f qcow2 -o cluster_size=4k,compat=0.10 "$disk_q" 32M
qemu-img create -q -f qcow2 -o refcount_bits=1 r.qcow2 8M
qemu-img create -q -f qcow2 alone.qcow2 8M
qemu-img create -q -f qcow2 x.qcow2 8M
qemu-img snapshot -c old x.qcow2
truncate -s 8M w.raw

devices=(
	--blockdev driver=qcow2,node-name=node-p,file.driver=file,file.filename=p.qcow2
	--export type=dm,id=p,node-name=node-p,name=p,writable=on
	--blockdev "driver=qcow2,node-name=node-q,file.driver=host_device,file.filename=$disk_q"
	--export type=dm,id=q,node-name=node-q,name=q,writable=on
	--blockdev driver=qcow2,node-name=node-r,file.driver=file,file.filename=r.qcow2
	--export type=dm,id=r,node-name=node-r,name=r,writable=on
	--blockdev driver=qcow2,node-name=node-x,read-only=on,file.driver=file,file.filename=x.qcow2
	--export type=dm,id=x,node-name=node-x,name=x
	--blockdev driver=qcow2,node-name=node-y,file.driver=file,file.filename=alone.qcow2
	--blockdev driver=raw,node-name=node-w,file.driver=file,file.filename=w.raw
)

launch_again
daemon_ready
qemu-io -f raw -c "write -q -P 7 0 4M" /dev/mapper/r
start_load p 12M
moments.py write "$scratch/stop" $offset /dev/mapper/p /dev/mapper/q &
counter=$!

alone() {
	local n

	for n in 1 2 3 4; do
		sleep 0.2
		take p "one$n" | is '. == {}'
		remember "one$n"
	done
	[ "$(names_of node-p)" = "one1 one2 one3 one4" ]
	execute query-block | is '.[] | select(.device == "p") | .inserted.image.snapshots[3] |
		.id == "4" and ."vm-state-size" == 0 and ."vm-clock-sec" == 0 and
		."vm-clock-nsec" == 0 and (has("icount") | not) and ."date-sec" > 1600000000'
	qemu-img snapshot -U -l p.qcow2 | grep -q '^4 *one4'
	for n in 1 2 3 4; do
		still_shows "one$n"
	done
	qemu-io -r -f raw -c "read -P 165 28M 2M" "$scratch/remembered.one2" | fails grep -i fail
	all_run
}
try "snapshots of a device under load" alone

together() {
	local n

	for n in 1 2 3 4 5; do
		sleep 0.2
		execute transaction "{\"actions\": [$(action p "both$n"), $(action q "both$n")]}" |
			is '. == {}'
		of_one_moment "both$n"
	done
	all_run
}
try "a transaction over two devices is one moment" together

deleted() {
	drop p '"name": "one2"' | is '.id == "2" and .name == "one2" and ."vm-state-size" == 0'
	drop p '"id": "1"' | is '.name == "one1"'
	drop p '"id": "4", "name": "one4"' | is '.name == "one4"'
	[ "$(names_of node-p)" = "one3 both1 both2 both3 both4 both5" ]
	still_shows one3
	drop q '"name": "both1"' | is '.name == "both1"'
	drop q '"name": "both5"' | is '.name == "both5"'
	of_one_moment both3
	says "Snapshot with id 'null' and name 'one2' does not exist on device 'p'" \
		blockdev-snapshot-delete-internal-sync '{"device": "p", "name": "one2"}'
	take p one5 | is '. == {}'
	remember one5
	all_run
}
try "snapshots are deleted" deleted

refusals() {
	local before

	before=$(names_of node-p)
	says "Snapshot with name 'one3' already exists on device 'p'" \
		blockdev-snapshot-internal-sync '{"device": "p", "name": "one3"}'
	says "Device 'x' is read only" blockdev-snapshot-internal-sync '{"device": "x", "name": "s"}'
	says "Failed to remove snapshot from snapshot list: Operation not permitted" \
		blockdev-snapshot-delete-internal-sync '{"device": "x", "name": "old"}'
	says "Block format 'raw' used by device 'node-w' does not support internal snapshots" \
		blockdev-snapshot-internal-sync '{"device": "node-w", "name": "s"}'
	# Found out when the kernel has let go of the image.
	says "Failed to create snapshot 's' on device 'r': Invalid argument" \
		blockdev-snapshot-internal-sync '{"device": "r", "name": "s"}'
	says "Failed to create snapshot 's' on device 'r': Invalid argument" transaction \
		"{\"actions\": [$(action p s), $(action node-y s), $(action r s), $(action q s)]}"
	says "Snapshot with name 's' already exists on device 'node-p'" transaction \
		"{\"actions\": [$(action p s), $(action node-p s)]}"
	says "Transaction aborted using Abort action" transaction \
		"{\"actions\": [$(action p s), {\"type\": \"abort\", \"data\": {}}]}"
	says "Could not create '/none/q': No such file or directory" transaction \
		"{\"actions\": [$(action p s), {\"type\": \"blockdev-snapshot-sync\", \"data\":
			{\"device\": \"q\", \"snapshot-file\": \"/none/q\"}}]}"
	execute block-stream '{"device": "p", "job-id": "j", "speed": 1}' | is '. == {}'
	says_part "is in use by block job: stream" blockdev-snapshot-internal-sync \
		'{"device": "p", "name": "s"}'
	says_part "is in use by block job: stream" blockdev-snapshot-delete-internal-sync \
		'{"device": "p", "name": "one3"}'
	execute job-cancel '{"id": "j"}' > /dev/null
	wait_for 20 no_jobs
	[ "$(names_of node-p)" = "$before" ]
	[ -z "$(names_of node-y)$(names_of node-r)" ]
	[ "$(qemu-img snapshot -U -l p.qcow2 | grep -c one)" = 2 ]
	still_shows one3
	still_shows one5
	all_run
}
try "refusals leave everything as it was" refusals

not_in_use() {
	take node-y s1 | is '. == {}'
	execute human-monitor-command '{"command-line": "snapshot_blkdev_internal node-y s2"}' |
		is '. == ""'
	execute human-monitor-command '{"command-line": "info block -v node-y"}' | gojq -r . |
		grep -q '^2 *s2 *0 B'
	execute human-monitor-command '{"command-line": "snapshot_delete_blkdev_internal node-y s1"}' |
		is '. == ""'
	[ "$(names_of node-y)" = s2 ]
}
try "a node that is no device, and the monitor for people" not_in_use

stopped() {
	execute stop | is '. == {}'
	take p stopped | is '. == {}'
	take q stopped | is '. == {}'
	drop q '"name": "both2"' | is '.name == "both2"'
	[ "$(dmsetup info -c --noheadings -o suspended p)" = Suspended ]
	kill_daemon
	launch_again
	daemon_ready
	[ "$(dmsetup info -c --noheadings -o suspended p)" = Suspended ]
	[[ $(names_of node-p) == *stopped ]]
	execute cont | is '. == {}'
	of_one_moment stopped
	all_run
}
try "devices that are stopped" stopped

# With an external one, of the same device and of others.
mixed() {
	execute transaction "{\"actions\": [$(action p mixed), $(action q mixed),
		{\"type\": \"blockdev-snapshot-sync\", \"data\": {\"device\": \"p\",
			\"snapshot-file\": \"p2.qcow2\"}}, $(action p above)]}" | is '. == {}'
	[ "$(layers_of p)" = "p2.qcow2 p.qcow2 base.qcow2" ]
	qemu-img snapshot -U -l p.qcow2 | grep -q mixed
	qemu-img snapshot -U -l p2.qcow2 | grep -q '^1 *above'
	of_one_moment mixed
	# What was on top is what the internal one shows.
	qemu-img convert -U -f qcow2 -O raw p.qcow2 "$scratch/below"
	shown mixed p.qcow2 now
	cmp "$scratch/below" "$scratch/now"
	says "Need a root block node" blockdev-snapshot-internal-sync '{"device": "node-p", "name": "s"}'
	says "Need a root block node" blockdev-snapshot-delete-internal-sync \
		'{"device": "node-p", "name": "one3"}'
	drop p '"name": "above"' | is '.id == "1"'
	all_run
}
try "in one transaction with an external snapshot" mixed

# The daemon alone, and with the process that changes devices.
killed() {
	local n a b pid rounds=$some_kills

	for n in $(seq "$rounds"); do
		request transaction "{\"actions\": [$(action p "k$n"), $(action q "k$n")]}"
		sleep "0.$(printf '%03d' $((RANDOM % 150)))"
		pid=$(cat "$scratch/pid")
		if [ $((n % 2)) = 0 ]; then
			kill -STOP "$pid"
			for child in $(pgrep -P "$pid"); do
				kill -9 "$child"
			done
		fi
		kill_daemon
		launch_again
		answer > /dev/null || true
		daemon_ready
		a=$(execute query-block | gojq -c '[.[] | select(.device == "p") |
			.inserted.image.snapshots[]?.name]')
		b=$(names_of node-q)
		echo "# round $n: $a, $b"
		if [[ $a == *\"k$n\"* && $b == *"k$n"* ]]; then
			of_one_moment "k$n" p2.qcow2
		elif [ $((n % 2)) = 1 ]; then
			[[ $a != *\"k$n\"* && $b != *"k$n"* ]]
		fi
		all_run
	done
}
try "a daemon that is killed meanwhile" killed

# QEMU cannot have the file for writing, whatever lies below it.
locked() {
	fails qemu-io -f raw -c "read 0 512" "$1"
}

# A table waits for cont while its images are edited; a transaction that fails leaves it there.
waiting() {
	local overlay='"type": "blockdev-snapshot-sync", "data": {"device": "p", "snapshot-file":'

	execute stop | is '. == {}'
	execute transaction "{\"actions\": [{$overlay \"p3.qcow2\"}}]}" | is '. == {}'
	# Nor does it lose its locks when it is of a daemon that was killed.
	kill_daemon
	launch_again
	daemon_ready
	locked p3.qcow2
	take p waiting | is '. == {}'
	locked p3.qcow2
	take p second | is '. == {}'
	drop p '"name": "second"' | is '.name == "second"'
	says_part "Failed to create snapshot 'none' on device 'r'" transaction \
		"{\"actions\": [$(action r none), {$overlay \"p4.qcow2\"}}]}"
	[ ! -e p4.qcow2 ]
	execute cont | is '. == {}'
	[ "$(layers_of p)" = "p3.qcow2 p2.qcow2 p.qcow2 base.qcow2" ]
	locked p3.qcow2
	locked p2.qcow2
	qemu-img snapshot -U -l p3.qcow2 | grep -q waiting
	all_run
}
try "a table that waits for cont" waiting

# A device, high, whose image lies on another one, low.
stack_up() {
	qemu-img create -q -f qcow2 low.qcow2 8M
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-low",
		"file": {"driver": "file", "filename": "low.qcow2"}}' | is '. == {}'
	execute block-export-add '{"type": "dm", "id": "low", "name": "low", "node-name": "node-low",
		"writable": true}' | is '. == {}'
	qemu-img create -q -f qcow2 /dev/mapper/low 4M
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-high",
		"file": {"driver": "host_device", "filename": "/dev/mapper/low"}}' | is '. == {}'
	execute block-export-add '{"type": "dm", "id": "high", "name": "high",
		"node-name": "node-high", "writable": true}' | is '. == {}'
}

on_another() {
	local refusal="Node 'node-high' lies on the device of export 'low', which stands still meanwhile"

	stack_up
	take low a | is '. == {}'
	take high a | is '. == {}'
	says "$refusal" transaction "{\"actions\": [$(action high b), $(action low b)]}"
	execute stop | is '. == {}'
	says "$refusal" blockdev-snapshot-internal-sync '{"device": "high", "name": "b"}'
	says "$refusal" blockdev-snapshot-delete-internal-sync '{"device": "high", "name": "a"}'
	take low b | is '. == {}'
	# Nor by the next daemon, which has to answer all the same.
	kill_daemon
	launch_again
	daemon_ready
	says_part "lies on the device of export 'low', which stands still" block-export-del '{"id": "high"}'
	says_part "lies on the device of export 'low', which stands still" blockdev-add \
		'{"driver": "qcow2", "node-name": "third", "read-only": true,
		"file": {"driver": "host_device", "filename": "/dev/mapper/low", "locking": "off"}}'
	execute cont | is '. == {}'
	execute query-block | is '[.[] | select(.device == "high") | .inserted.image["virtual-size"]] ==
		[4194304]'
	drop high '"name": "a"' | is '.name == "a"'
	for n in high low; do
		execute block-export-del "{\"id\": \"$n\"}" | is '. == {}'
		execute blockdev-del "{\"node-name\": \"node-$n\"}" | is '. == {}'
	done
	qemu-img snapshot -l low.qcow2 | grep -qw b
	clean low.qcow2
	all_run
}
try "an image that lies on another device" on_another

end_load
check "no byte was lost" test $? = 0
wait $counter

judged() {
	local image

	dd if=/dev/mapper/p of="$scratch/content" bs=1M iflag=direct status=none
	end_daemon
	for image in base.qcow2 p.qcow2 p2.qcow2 p3.qcow2 "$disk_q" r.qcow2 x.qcow2 alone.qcow2; do
		clean "$image"
		[ "${image#base}" != "$image" ] || unlocked "$image"
	done
	content p3.qcow2 "$scratch/content"
	still_shows one3
	still_shows one5
	of_one_moment both4
	of_one_moment stopped
	# QEMU goes on with them.
	qemu-img snapshot -a one3 p.qcow2
	content p.qcow2 "$scratch/remembered.one3"
	qemu-img snapshot -d one3 p.qcow2
	still_shows one5
	qemu-img snapshot -d stopped "$disk_q"
	clean p.qcow2
	clean "$disk_q"
}
try "what QEMU's tools say of the images" judged

# The end while both stand still: what lies on a device goes first, and needs that one for it.
stacked() {
	local devices=()

	launch_again
	daemon_ready
	stack_up
	qemu-io -f raw -c "write -P 9 0 1M" /dev/mapper/high > /dev/null
	execute stop | is '. == {}'
	execute blockdev-snapshot-sync '{"device": "low", "snapshot-file": "low2.qcow2"}' | is '. == {}'
	if [ "$1" = killed ]; then
		kill_daemon
		launch_again
		daemon_ready
	fi
	says_part "lies on the device of export 'low', which stands still" block-export-del '{"id": "high"}'
	says_part "export 'low' still in use" block-export-del '{"id": "low"}'
	# One that is in use stays as it is, with all below it.
	exec 9< /dev/mapper/high
	says_part "export 'high' still in use" quit
	exec 9<&-
	for n in low high; do
		[ "$(dmsetup info -c --noheadings -o suspended $n)" = Suspended ] ||
			{ dmsetup info $n; return 1; }
	done
	execute query-status | is '.running | not'
	end_daemon
	[ -z "$(dm_names)" ]
	for n in low low2; do
		clean $n.qcow2
		unlocked $n.qcow2
	done
	qchain attach low2.qcow2 --name low > /dev/null
	clean /dev/mapper/low
	qemu-io -r -f qcow2 -c "read -P 9 0 1M" /dev/mapper/low | fails grep "Pattern verification failed"
	qchain detach low
	rm low.qcow2 low2.qcow2
}
try "the end while an image lies on a device that is stopped" stacked alive
try "the same by another daemon" stacked killed
