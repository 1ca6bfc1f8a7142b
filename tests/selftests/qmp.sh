#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# qchaind: nodes, devices of them, and snapshots, through its socket, while fio writes and verifies;
# and a daemon that is killed at any moment.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
at_exit cd /

check_quit() {
	quit_daemon
	check "quit takes down all" test $? = 0
}

load_runs() {
	kill -0 "$load"
}

check_load() {
	end_load
	check "no byte was lost" test $? = 0
}

snapshot_sync() {
	execute blockdev-snapshot-sync "{\"node-name\": \"$1\", \"snapshot-file\": \"$2\",
		\"format\": \"qcow2\", \"snapshot-node-name\": \"$3\"}"
}

top_layer() {
	dmsetup table "$1" | awk '{ print $6 }'
}

# --- the chain of live-block-operations.rst, under load -------------------------------------------

fresh_dir ext4
cd "$dir" || exit
qemu-img create -q -f qcow2 a.qcow2 32M
qemu-io -c "write -q -P 165 24M 8M" a.qcow2

start_daemon --blockdev \
	node-name=node-A,driver=qcow2,file.driver=file,file.node-name=file,file.filename=./a.qcow2 \
	--export type=dm,id=virtio0,node-name=node-A,name=virtio0,writable=on
watch_events
check "the device is there" test -b /dev/mapper/virtio0
check_fails "QEMU cannot write to the image" qemu-io -f qcow2 -c "write 0 512" a.qcow2
start_load virtio0 24M

chain_of_the_text() {
	qmp '{
		"execute": "blockdev-snapshot-sync",
		"arguments": {
			"node-name": "node-A",
			"snapshot-file": "b.qcow2",
			"format": "qcow2",
			"snapshot-node-name": "node-B"
		}
	}' | is '. == {}'
	sleep 1
	snapshot_sync node-B c.qcow2 node-C | is '. == {}'
	sleep 1
	snapshot_sync node-C d.qcow2 node-D | is '. == {}'
	[ "$(status_field virtio0 6)" = 4 ]
	[ "$(top_layer virtio0)" = "$dir/d.qcow2" ]
	load_runs
}
try "the example disk image chain" chain_of_the_text

queries() {
	execute query-named-block-nodes '{"flat": true}' |
		is '[.[]."node-name"] | .[0] == "node-D" and contains(["node-A", "node-B", "node-C",
			"file"]) and length == 8'
	execute query-named-block-nodes '{"flat": true}' |
		is '[.[] | select(.drv == "qcow2") | {n: ."node-name", ro, f: .file, b: .backing_file}] ==
		[{n: "node-D", ro: false, f: "d.qcow2", b: "c.qcow2"},
		 {n: "node-C", ro: true, f: "c.qcow2", b: "b.qcow2"},
		 {n: "node-B", ro: true, f: "b.qcow2", b: "./a.qcow2"},
		 {n: "node-A", ro: true, f: "./a.qcow2", b: null}]'
	execute query-block |
		is 'length == 1 and .[0].device == "virtio0" and .[0]."io-status" == "ok" and
			.[0].inserted."node-name" == "node-D" and
			.[0].inserted.backing_file_depth == 3 and
			.[0].inserted.image."backing-image"."backing-image"."backing-image".filename
				== "./a.qcow2" and
			.[0].inserted.image."virtual-size" == 33554432'
	execute query-blockstats |
		is '.[0].device == "virtio0" and .[0]."node-name" == "node-D" and
			.[0].stats.wr_bytes > 0 and .[0].stats.wr_operations > 0 and
			(.[0] | .parent.stats.wr_bytes == 0 and (.parent | has("device") | not) and
			.backing."node-name" == "node-C" and .backing.stats.rd_bytes == 0 and
			(.backing.backing.backing | ."node-name" == "node-A" and
			.parent."node-name" == "file" and (has("backing") | not)))'
	execute query-blockstats '{"query-nodes": true}' | is 'length == 8 and
		.[0]."node-name" == "file" and all(has("backing") | not)'
	execute query-block-exports |
		is '. == [{"id": "virtio0", "type": "dm", "node-name": "node-D", "shutting-down": false,
			"name": "virtio0"}]'
	execute query-status | is '.running and .status == "running"'
}
try "queries" queries

# --- what is refused, and that nothing is left of it ----------------------------------------------

refusals() {
	local sync='"snapshot-file": "x.qcow2", "snapshot-node-name": "x"' n

	says "Node 'node-A' is busy: node is used as backing hd of 'node-B'" \
		blockdev-snapshot-sync "{\"node-name\": \"node-A\", $sync}"
	says "DeviceNotFound: Cannot find device='' nor node-name='none'" \
		blockdev-snapshot-sync "{\"node-name\": \"none\", $sync}"
	says "DeviceNotFound: Cannot find device='none' nor node-name=''" \
		blockdev-snapshot-sync "{\"device\": \"none\", $sync}"
	says "New overlay node-name missing" blockdev-snapshot-sync \
		'{"node-name": "node-D", "snapshot-file": "x.qcow2"}'
	says "New overlay node-name already in use" blockdev-snapshot-sync \
		'{"node-name": "node-D", "snapshot-file": "x.qcow2", "snapshot-node-name": "node-A"}'
	says "Invalid node-name: '9'" blockdev-snapshot-sync \
		'{"node-name": "node-D", "snapshot-file": "x.qcow2", "snapshot-node-name": "9"}'
	says "Could not create '/none/x.qcow2': No such file or directory" blockdev-snapshot-sync \
		'{"device": "virtio0", "snapshot-file": "/none/x.qcow2", "snapshot-node-name": "x"}'
	says_part "Could not create '/proc/x.qcow2'" blockdev-snapshot-sync \
		'{"device": "virtio0", "snapshot-file": "/proc/x.qcow2", "snapshot-node-name": "x"}'
	says "Could not create '.': Is a directory" blockdev-snapshot-sync \
		'{"device": "virtio0", "snapshot-file": ".", "snapshot-node-name": "x"}'
	says "Unknown file format 'nonsense'" blockdev-snapshot-sync \
		"{\"device\": \"virtio0\", $sync, \"format\": \"nonsense\"}"
	says "Backing file not supported for file format 'raw'" blockdev-snapshot-sync \
		"{\"device\": \"virtio0\", $sync, \"format\": \"raw\"}"
	says "Could not open 'x.qcow2': No such file or directory" blockdev-snapshot-sync \
		"{\"device\": \"virtio0\", $sync, \"mode\": \"existing\"}"
	says "Failed to get \"write\" lock" blockdev-snapshot-sync \
		'{"device": "virtio0", "snapshot-file": "d.qcow2", "snapshot-node-name": "x"}'
	truncate -s 1M raw.img
	says "Image is not in qcow2 format" blockdev-snapshot-sync \
		'{"device": "virtio0", "snapshot-file": "raw.img", "mode": "existing",
		  "snapshot-node-name": "x"}'
	qemu-img create -q -f qcow2 small.qcow2 1M
	says_part "fewer than" blockdev-snapshot-sync \
		'{"device": "virtio0", "snapshot-file": "small.qcow2", "mode": "existing",
		  "snapshot-node-name": "x"}'
	says "Block export id 'virtio0' is already in use" block-export-add \
		'{"type": "dm", "id": "virtio0", "node-name": "node-D", "name": "y"}'
	says "Cannot export read-only node as writable" block-export-add \
		'{"type": "dm", "id": "y", "node-name": "node-C", "name": "y", "writable": true}'
	says_part "already" block-export-add \
		'{"type": "dm", "id": "y", "node-name": "node-C", "name": "virtio0"}'
	says_part "Permission conflict on node 'node-D'" block-export-add \
		'{"type": "dm", "id": "y", "node-name": "node-D", "name": "y"}'
	says "Node 'node-A' is busy: node is used as backing hd of 'node-B'" blockdev-del \
		'{"node-name": "node-A"}'
	says "Node node-D is in use" blockdev-del '{"node-name": "node-D"}'
	says "Failed to get \"write\" lock" blockdev-add \
		'{"driver": "qcow2", "node-name": "y", "file": {"driver": "file", "filename": "d.qcow2"}}'
	says "Transaction aborted using Abort action" transaction \
		"{\"actions\": [{\"type\": \"blockdev-snapshot-sync\", \"data\":
			{\"device\": \"virtio0\", $sync}}, {\"type\": \"abort\", \"data\": {}}]}"
	exec 9< /dev/mapper/virtio0
	says_part "export 'virtio0' still in use" block-export-del '{"id": "virtio0"}'
	exec 9<&-
	[ ! -e x.qcow2 ]
	[ ! -e /dev/mapper/y ]
	[ "$(top_layer virtio0)" = "$dir/d.qcow2" ]
	[ "$(dmsetup info -c --noheadings -o tables_loaded virtio0)" = Live ]
	n=$(execute query-named-block-nodes '{"flat": true}' | gojq length)
	[ "$n" = 8 ] || { echo "# $n nodes"; return 1; }
	execute query-block-exports | is 'length == 1'
	load_runs
}
try "refusals leave nothing behind" refusals

overwritten() {
	echo "old" > e.qcow2
	snapshot_sync node-D e.qcow2 node-E | is '. == {}'
	[ "$(top_layer virtio0)" = "$dir/e.qcow2" ]
}
try "an overlay may replace a file" overwritten

existing() {
	qemu-img create -q -f qcow2 -b e.qcow2 -F qcow2 -u f.qcow2 32M
	execute blockdev-snapshot-sync '{"device": "virtio0", "snapshot-file": "f.qcow2",
		"snapshot-node-name": "node-F", "mode": "existing"}' | is '. == {}'
	qemu-img create -q -f qcow2 -b f.qcow2 -F qcow2 -u g.qcow2 32M
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-G", "backing": null,
		"file": {"driver": "file", "filename": "g.qcow2"}}' | is '. == {}'
	execute blockdev-snapshot '{"node": "virtio0", "overlay": "node-G"}' | is '. == {}'
	says "The overlay is already in use" blockdev-snapshot \
		'{"node": "node-G", "overlay": "node-G"}'
	says "The overlay already has a backing image" blockdev-snapshot \
		'{"node": "node-G", "overlay": "node-E"}'
	says "The overlay does not support backing images" blockdev-snapshot \
		'{"node": "virtio0", "overlay": "file"}'
	says "Node 'node-F' is busy: node is used as backing hd of 'node-G'" blockdev-snapshot \
		'{"node": "node-F", "overlay": "node-G"}'
	mkdir sub
	snapshot_sync node-G sub/h.qcow2 node-H | is '. == {}'
	[ "$(status_field virtio0 6)" = 8 ]
	[ "$(top_layer virtio0)" = "$dir/sub/h.qcow2" ]
	load_runs
}
try "overlays that exist, and blockdev-snapshot" existing

stopped() {
	local before

	execute stop | is '. == {}'
	execute query-status | is '(.running | not) and .status == "paused"'
	[ "$(dmsetup info -c --noheadings -o suspended virtio0)" = Suspended ]
	before=$(md5sum < sub/h.qcow2)
	snapshot_sync node-H i.qcow2 node-I | is '. == {}'
	# The kernel does not know of it yet.
	says "'virtio0' is stopped; use cont first" block-stream '{"device": "virtio0"}'
	sleep 1
	[ "$before" = "$(md5sum < sub/h.qcow2)" ]
	execute stop | is '. == {}'
	execute cont | is '. == {}'
	execute query-status | is .running
	[ "$(top_layer virtio0)" = "$dir/i.qcow2" ]
	[ "$before" = "$(md5sum < sub/h.qcow2)" ]
	grep -q '"STOP"' "$scratch/events"
	grep -q '"RESUME"' "$scratch/events"
	load_runs
}
try "stop, a snapshot meanwhile, cont" stopped

backing_changed() {
	execute change-backing-file '{"device": "virtio0", "image-node-name": "node-I",
		"backing-file": "./sub/h.qcow2"}' | is '. == {}'
	execute change-backing-file '{"device": "virtio0", "image-node-name": "node-C",
		"backing-file": "./b.qcow2"}' | is '. == {}'
	qemu-img info -U i.qcow2 | grep -q '^backing file: ./sub/h.qcow2'
	qemu-img info -U c.qcow2 | grep -q '^backing file: ./b.qcow2'
	says "not allowing backing file change on an image without a backing file" \
		change-backing-file '{"device": "virtio0", "image-node-name": "node-A",
		"backing-file": "z"}'
	load_runs
}
try "change-backing-file" backing_changed

check_load
written_before() {
	qemu-io -r -f raw -c "read -P 165 28M 4M" /dev/mapper/virtio0 |
		fails grep "Pattern verification failed"
}
try "what was in the image before is there" written_before
dd if=/dev/mapper/virtio0 of="$scratch/content" bs=1M iflag=direct status=none

deleted() {
	execute block-export-del '{"id": "virtio0"}' | is '. == {}'
	[ ! -e /dev/mapper/virtio0 ]
	grep -q '"BLOCK_EXPORT_DELETED", "data": {"id": "virtio0"}' "$scratch/events" ||
		grep '"BLOCK_EXPORT_DELETED"' "$scratch/events" | grep -q '"id": "virtio0"'
	execute query-block | is 'length == 0'
	# As in QEMU the nodes that snapshots made go with their user.
	execute query-named-block-nodes '{"flat": true}' |
		is '[.[]."node-name"] | contains(["node-A"]) and (contains(["node-I"]) | not)'
	unlocked i.qcow2
}
try "block-export-del" deleted
check_quit
kill $events 2> /dev/null

judged() {
	local image

	for image in a b c d e f g sub/h i; do
		clean $image.qcow2
	done
	content i.qcow2 "$scratch/content"
	[ "$(qemu-img info --backing-chain i.qcow2 | grep -c '^image:')" = 9 ]
	unlocked i.qcow2
	[ ! -e "$QCHAIN_STATE" ]
}
try "what QEMU's tools say of the chain" judged

# --- a mounted file system, and several devices at one point in time ------------------------------

fresh_dir ext4
cd "$dir" || exit
qemu-img create -q -f qcow2 m.qcow2 64M
truncate -s 16M p.raw
qemu-img create -q -f qcow2 q.qcow2 16M
start_daemon --blockdev driver=qcow2,node-name=m,file.driver=file,file.filename=m.qcow2 \
	--export type=dm,id=fs,node-name=m,name=fs,writable=on \
	--blockdev driver=raw,node-name=p,file.driver=file,file.filename=p.raw,discard=unmap \
	--export type=dm,id=dp,node-name=p,name=dp,writable=on \
	--blockdev driver=qcow2,node-name=q,file.driver=file,file.filename=q.qcow2 \
	--export type=dm,id=dq,node-name=q,name=dq,writable=on

mounted() {
	local n writer

	mkdir -p "$scratch/mnt"
	mkfs.ext4 -q /dev/mapper/fs
	mount /dev/mapper/fs "$scratch/mnt"
	while echo x >> "$scratch/mnt/file"; do sync "$scratch/mnt/file"; done 2> /dev/null &
	writer=$!
	for n in 1 2 3 4 5; do
		execute blockdev-snapshot-sync "{\"device\": \"fs\", \"snapshot-file\": \"fs$n.qcow2\"}" |
			is '. == {}'
	done
	kill $writer
	wait $writer 2> /dev/null || true
	umount "$scratch/mnt"
	fsck.ext4 -fn /dev/mapper/fs > /dev/null
	# Frozen and flushed: each snapshot is a clean file system by itself, but for its journal.
	qemu-img convert -U -f qcow2 -O raw fs2.qcow2 "$scratch/fs2.raw"
	fsck.ext4 -fn "$scratch/fs2.raw" > "$scratch/fsck.log" 2>&1 ||
		{ sed 's/^/# /' "$scratch/fsck.log"; return 1; }
}
try "snapshots of a mounted file system" mounted

# A number goes to one device, and when it is there to the other.
count_up() {
	python3 - "$1" "$2" "$scratch/stop" <<-'END'
		import mmap, os, sys
		fds = [os.open(p, os.O_WRONLY | os.O_DIRECT) for p in sys.argv[1:3]]
		page = mmap.mmap(-1, 4096)
		n = 0
		while not os.path.exists(sys.argv[3]):
		    n += 1
		    page[0:8] = n.to_bytes(8, "little")
		    for fd in fds:
		        os.pwrite(fd, page, 0)
		print("# counted to", n)
	END
}

number_in() {
	qemu-img convert -U -f "$1" -O raw "$2" "$scratch/number"
	od -An -t u8 -N 8 "$scratch/number" | tr -d ' '
}

together() {
	local n counter first=raw:p.raw second=qcow2:q.qcow2 a b

	rm -f "$scratch/stop"
	count_up /dev/mapper/dp /dev/mapper/dq &
	counter=$!
	for n in 1 2 3 4 5 6 7 8; do
		sleep 0.2
		execute transaction "{\"actions\": [
			{\"type\": \"blockdev-snapshot-sync\", \"data\": {\"device\": \"dp\",
				\"snapshot-file\": \"p$n.qcow2\"}},
			{\"type\": \"blockdev-snapshot-sync\", \"data\": {\"device\": \"dq\",
				\"snapshot-file\": \"q$n.qcow2\"}}]}" | is '. == {}'
		a=$(number_in "${first%%:*}" "${first#*:}")
		b=$(number_in "${second%%:*}" "${second#*:}")
		echo "# snapshot $n: $a $b"
		[ "$a" = "$b" ] || [ "$a" = $((b + 1)) ]
		first=qcow2:p$n.qcow2
		second=qcow2:q$n.qcow2
	done
	kill -0 $counter
	# Both or none.
	says "Could not create '/none/q': No such file or directory" transaction '{"actions": [
		{"type": "blockdev-snapshot-sync", "data": {"device": "dp", "snapshot-file": "px"}},
		{"type": "blockdev-snapshot-sync", "data": {"device": "dq",
			"snapshot-file": "/none/q"}}]}'
	[ ! -e px ]
	[ "$(top_layer dp)" = "$dir/p8.qcow2" ]
	touch "$scratch/stop"
	wait $counter
}
try "a transaction is one point in time" together
check_quit
check "no devices are left" test -z "$(dm_names)"
for image in fs5 p8 q8; do
	check "$image is clean" clean $image.qcow2
done

# --- killed ---------------------------------------------------------------------------------------

fresh_dir ext4
cd "$dir" || exit
qemu-img create -q -f qcow2 k0.qcow2 32M
qemu-img create -q -f qcow2 l0.qcow2 32M
two_devices=(
	--blockdev driver=qcow2,node-name=k,file.driver=file,file.filename=k0.qcow2
	--export type=dm,id=dk,node-name=k,name=dk,writable=on
	--blockdev driver=qcow2,node-name=l,file.driver=file,file.filename=l0.qcow2
	--export type=dm,id=dl,node-name=l,name=dl,writable=on
)
start_daemon "${two_devices[@]}"
start_load dk 4M

# The layers that the daemon knows are those that the kernel has.
agrees() {
	local id live known

	for id in dk dl; do
		[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded $id)" = Active:Live ] || {
			dmsetup info $id
			return 1
		}
		live=$(layers_of $id)
		known=$(known_layers $id)
		[ "$live" = "$known" ] || { printf '# %s: %s\n# but: %s\n' $id "$live" "$known"; return 1; }
	done
}

# What a daemon is killed in, a request a line.
requests_of() {
	case $(($1 % 5)) in
	0)	echo '{"execute": "blockdev-snapshot-sync", "arguments": {"device": "dk",' \
			"\"snapshot-file\": \"k$1.qcow2\"}}" ;;
	1|2)	echo '{"execute": "transaction", "arguments": {"actions": [' \
			'{"type": "blockdev-snapshot-sync", "data": {"device": "dk",' \
			"\"snapshot-file\": \"k$1.qcow2\"}}," \
			'{"type": "blockdev-snapshot-sync", "data": {"device": "dl",' \
			"\"snapshot-file\": \"l$1.qcow2\"}}]}}" ;;
	3)	echo '{"execute": "stop"}'
		echo '{"execute": "cont"}' ;;
	4)	echo '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "n",' \
			'"file": {"driver": "file", "filename": "k0.raw"}}}'
		echo '{"execute": "block-export-add", "arguments": {"type": "dm", "id": "dn",' \
			'"name": "dn", "node-name": "n"}}'
		echo '{"execute": "block-export-del", "arguments": {"id": "dn"}}'
		echo '{"execute": "blockdev-del", "arguments": {"node-name": "n"}}' ;;
	esac
}

truncate -s 1M k0.raw
rounds=$many_kills
failed=
done=0
for n in $(seq 1 "$rounds"); do
	requests_of "$n" >&7
	sleep "0.$(printf '%03d' $((RANDOM % 250)))"
	kill -9 "$daemon"
	was_killed
	launch "${two_devices[@]}"
	# What the dead one did not answer is lost; what came after is the new one's.
	for request in $(requests_of "$n" | tr -d ' '); do
		! answer > /dev/null || done=$((done + 1))
	done
	wait_for 20 qmp '{"execute": "cont"}' > /dev/null || { failed="round $n: no answer"; break; }
	qmp '{"execute": "block-export-del", "arguments": {"id": "dn"}}' > /dev/null
	qmp '{"execute": "blockdev-del", "arguments": {"node-name": "n"}}' > /dev/null
	agrees > "$scratch/agrees" 2>&1 ||
		{ failed="round $n"; sed 's/^/# /' "$scratch/agrees"; break; }
	load_runs || { failed="round $n: fio has ended"; break; }
done
echo "# $done requests were answered"
check "after each of $rounds kills the daemon finds everything again${failed:+: $failed}" test -z "$failed"
[ -z "$failed" ] || tail -n 20 "$scratch/daemon.log" | sed 's/^/# /'
check_load
top=$(top_layer dk)
dd if=/dev/mapper/dk of="$scratch/content" bs=1M iflag=direct status=none
check_quit
check "no devices are left" test -z "$(dm_names)"

survived() {
	local image left

	qemu-img info --backing-chain "$top" | awk '/^image:/ { print $2 }' > "$scratch/used"
	while read -r image; do
		clean "$image"
	done < "$scratch/used"
	content "$top" "$scratch/content"
	unlocked "$top"
	# A file whose snapshot was not made is gone again.
	left=$(comm -13 <(xargs -n 1 basename < "$scratch/used" | sort) <(ls k*.qcow2 | sort))
	[ -z "$left" ] || { echo "# left over: $left"; return 1; }
}
try "the chain is whole" survived

kept() {
	start_daemon "${two_devices[@]}"
	execute quit '{"keep": true}' > /dev/null
	wait_for 20 fails kill -0 "$daemon"
	[ -b /dev/mapper/dk ]
	fails qemu-io -f qcow2 -c "write 0 512" k0.qcow2
	# As if it had been killed before it came to the node.
	rm /dev/mapper/dk
	start_daemon "${two_devices[@]}"
	[ -b /dev/mapper/dk ]
	agrees
	execute quit > /dev/null
	wait_for 20 fails kill -0 "$daemon"
	[ -z "$(dm_names)" ]
	unlocked k0.qcow2
}
rm -f ./*.qcow2
qemu-img create -q -f qcow2 k0.qcow2 32M
qemu-img create -q -f qcow2 l0.qcow2 32M
try "devices that are kept are found again" kept

# Whoever has taken the name of a device that was stopped keeps it.
taken() {
	start_daemon "${two_devices[@]}"
	execute stop | is '. == {}'
	snapshot_sync k k1.qcow2 k1 | is '. == {}'
	kill -9 "$daemon"
	was_killed
	dmsetup remove dk
	qemu-img create -q -f qcow2 other.qcow2 1M
	qchain attach other.qcow2 --name dk > /dev/null
	start_daemon
	[ "$(layers_of dk)" = other.qcow2 ]
	[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded dk)" = Active:Live ]
	execute query-block-exports | is '[.[].id] == ["dl"]'
	execute cont | is '. == {}'
	quit_daemon
	[ "$(dm_names)" = dk ]
	qchain detach dk
	clean other.qcow2
}
try "a name that somebody else has taken" taken
