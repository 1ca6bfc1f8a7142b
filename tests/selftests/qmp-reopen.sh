#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# blockdev-reopen of devices in use, while fio writes and verifies; and a daemon that is killed in it.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
at_exit cd /
echo "# seed $seed"

# options NODE FILE [MORE-JSON]: of a qcow2 node.
options() {
	echo "{\"driver\": \"qcow2\", \"node-name\": \"$1\",
		\"file\": {\"driver\": \"file\", \"filename\": \"$2.qcow2\"}${3:+, $3}}"
}

# reopen OPTIONS...
reopen() {
	local IFS=,

	execute blockdev-reopen "{\"options\": [$*]}"
}

# refused TEXT OPTIONS...
refused() {
	local text=$1 IFS=,

	shift
	says "$text" blockdev-reopen "{\"options\": [$*]}"
}

backed_by() {
	options top top "\"backing\": $1"
}

# The device has these layers, and shows PATTERN at 16 MiB; nothing waits.
shows() {
	local device=$1 pattern=$2

	shift 2
	[ "$(layers_of "$device")" = "$*" ] || { layers_of "$device"; return 1; }
	qemu-io -r -f raw -c "read -P $pattern 16M 1M" "/dev/mapper/$device" | fails grep -i fail
	[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded "$device")" = Active:Live ]
}

# Locked as by one who reads it: every node here is open.
is_read() {
	fails qemu-io -f qcow2 -c "read 0 512" "$1" > /dev/null 2>&1
	qemu-io -r -f qcow2 -c "read 0 512" "$1" > /dev/null
}

blockdevs=(
	"node-name=base,read-only=on,file.filename=base.qcow2"
	"node-name=mid,read-only=on,backing=base,file.filename=mid.qcow2"
	"node-name=flat,read-only=on,file.filename=flat.qcow2"
	"node-name=rw,file.filename=rw.qcow2"
	"node-name=top,backing=mid,file.filename=top.qcow2"
	"node-name=second,backing=mid,file.filename=second.qcow2"
)
devices=()
for blockdev in "${blockdevs[@]}"; do
	devices+=(--blockdev "driver=qcow2,file.driver=file,$blockdev")
done
for export in top second; do
	devices+=(--export "type=dm,id=v$export,node-name=$export,name=$export,writable=on")
done

fresh_dir ext4
cd "$dir" || exit
for image in base flat rw; do qemu-img create -q -f qcow2 $image.qcow2 32M; done
qemu-io -c "write -q -P 1 16M 1M" base.qcow2
qemu-io -c "write -q -P 2 16M 1M" flat.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
for image in top second; do qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 $image.qcow2; done
launch_again
daemon_ready
start_load top 8M

backing() {
	shows top 1 top.qcow2 mid.qcow2 base.qcow2
	reopen "$(backed_by '"flat"')" | is '. == {}'
	shows top 2 top.qcow2 flat.qcow2
	reopen "$(backed_by null)" | is '. == {}'
	shows top 0 top.qcow2
	is_read flat.qcow2
	reopen "$(backed_by '"base"')" | is '. == {}'
	shows top 1 top.qcow2 base.qcow2
	is_read base.qcow2
	# A node in the middle, which two devices use.
	reopen "$(backed_by '"mid"')" "$(options mid mid '"read-only": true, "backing": "flat"')" |
		is '. == {}'
	shows top 2 top.qcow2 mid.qcow2 flat.qcow2
	shows second 2 second.qcow2 mid.qcow2 flat.qcow2
	reopen "$(options mid mid '"read-only": true, "backing": "base"')" | is '. == {}'
	shows second 1 second.qcow2 mid.qcow2 base.qcow2
	is_read flat.qcow2
	kill -0 "$load"
}
try "other backing nodes under load" backing

discards() {
	dmsetup table top | grep -q no_discard_passdown
	reopen "$(options top top '"backing": "mid", "discard": "unmap"')" | is '. == {}'
	dmsetup table top | fails grep no_discard_passdown
	reopen "$(backed_by '"mid"')" | is '. == {}'
	dmsetup table top | grep -q no_discard_passdown
	kill -0 "$load"
}
try "discard, and back to its default" discards

refusals() {
	local frozen="Cannot change frozen 'backing' link from 'top' to 'mid'"

	refused "Read-only block node 'top' cannot support read-write users" \
		"$(options top top '"backing": "mid", "read-only": true')"
	says_part "Cannot change the option 'read-only' of node" \
		blockdev-reopen "{\"options\": [$(options base base)]}"
	refused "Node 'rw' is writable, and cannot be part of export 'vtop'" "$(backed_by '"rw"')"
	says_part "Permission conflict on node 'second': permissions 'write' are both required by" \
		blockdev-reopen "{\"options\": [$(backed_by '"second"')]}"
	# All or nothing.
	refused "Cannot find device='' nor node-name='nobody'" "$(backed_by '"flat"')" \
		"$(options second second '"backing": "nobody"')"
	refused "Making 'top' a backing child of 'mid' would create a cycle" \
		"$(backed_by '"mid"')" "$(options mid mid '"read-only": true, "backing": "top"')"
	refused "Node 'rw' is writable, and cannot be part of export 'vsecond'" \
		"$(backed_by '"flat"')" "$(options second second '"backing": "rw"')"
	execute block-stream '{"device": "vtop", "job-id": "j", "speed": 1}' | is '. == {}'
	refused "$frozen" "$(backed_by null)"
	says_part "is busy: block device is in use by block job: stream" blockdev-reopen \
		"{\"options\": [$(options top top '"backing": "mid", "discard": "unmap"')]}"
	execute job-cancel '{"id": "j"}' > /dev/null
	wait_for 20 no_jobs
	shows top 1 top.qcow2 mid.qcow2 base.qcow2
	shows second 1 second.qcow2 mid.qcow2 base.qcow2
	is_read flat.qcow2
	fails qemu-io -r -f qcow2 -c "read 0 512" rw.qcow2 > /dev/null 2>&1
	kill -0 "$load"
}
try "refusals leave everything as it was" refusals

stopped() {
	execute stop > /dev/null
	reopen "$(options second second '"backing": "flat"')" | is '. == {}'
	[ "$(dmsetup info -c --noheadings -o suspended second)" = Suspended ]
	execute cont > /dev/null
	shows second 2 second.qcow2 flat.qcow2
	reopen "$(options second second '"backing": "mid"')" | is '. == {}'
	shows second 1 second.qcow2 mid.qcow2 base.qcow2
	kill -0 "$load"
}
try "a stopped device" stopped

killed() {
	local n name rounds=$some_kills

	for n in $(seq "$rounds"); do
		name=$([ $((n % 2)) = 1 ] && echo '"flat"' || echo '"mid"')
		request blockdev-reopen "{\"options\": [$(backed_by "$name"),
			$(options second second "\"backing\": $name")]}"
		sleep "0.$(printf '%03d' $((RANDOM % 100)))"
		kill_daemon
		launch_again
		answer > /dev/null || true
		daemon_ready
		echo "# round $n: $(layers_of top), $(layers_of second)"
		for name in top second; do
			case $(layers_of $name) in
			"$name.qcow2 mid.qcow2 base.qcow2") shows $name 1 "$(layers_of $name)" ;;
			"$name.qcow2 flat.qcow2") shows $name 2 "$(layers_of $name)" ;;
			*) return 1 ;;
			esac
			[ "$(known_layers "v$name")" = "$(layers_of $name)" ]
		done
		kill -0 "$load"
	done
	reopen "$(backed_by '"mid"')" "$(options second second '"backing": "mid"')" | is '. == {}'
	shows top 1 top.qcow2 mid.qcow2 base.qcow2
	shows second 1 second.qcow2 mid.qcow2 base.qcow2
}
try "a daemon that is killed meanwhile" killed

end_load
check "no byte was lost" test $? = 0

judged() {
	local image

	end_daemon
	for image in base mid flat top second rw; do
		clean $image.qcow2
		unlocked $image.qcow2
	done
}
try "what QEMU's tools say of the images" judged
