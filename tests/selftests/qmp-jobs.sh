#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Jobs of qchaind: the cases of live-block-operations.rst by their own JSON, with fio writing and
# verifying on the device meanwhile; what can be done to a running job; and a daemon that is killed.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"

command -v qchaind > /dev/null || skip_all "qchaind is not in PATH"
for tool in qemu-img qemu-io fio jq python3; do
	command -v $tool > /dev/null || skip_all "$tool is not installed"
done
. "$(dirname "$0")/qmp-lib.sh"
mkdir -p /run/lock
ulimit -n 65536

# [A] <-- [B] <-- [C] <-- [D], each with data of its own, and the load on D.
chain_of_four() {
	local name node

	fresh_dir ext4
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 64M
	qemu-io -c "write -P 1 0 48M" a.qcow2 > /dev/null
	# shellcheck disable=SC2054	# commas of QEMU's
	start_daemon --blockdev \
		node-name=node-A,driver=qcow2,file.driver=file,file.node-name=file,file.filename=./a.qcow2 \
		--export type=dm,id=virtio0,node-name=node-A,name=virtio0,writable=on
	node=node-A
	for name in B C D; do
		execute blockdev-snapshot-sync "{\"node-name\": \"$node\",
			\"snapshot-file\": \"${name,}.qcow2\", \"format\": \"qcow2\",
			\"snapshot-node-name\": \"node-$name\"}" | is '. == {}'
		node=node-$name
		qemu-io -r -f raw -c "read 0 512" /dev/mapper/virtio0 > /dev/null
		fill $((8#$(printf '%o' "'$name"))) "$((${#node} + 24))M"
	done
	watch_events
	start_load virtio0
}

# fill BYTE OFFSET: 8 MiB of it on the device, and a piece at the end.
fill() {
	local at=${2%M}

	head -c 8M /dev/zero | tr '\0' "\\$(printf '%o' "$1")" |
		dd of=/dev/mapper/virtio0 bs=1M seek="$at" oflag=direct conv=notrunc status=none
}

# Wait for an event with the status of a job.
status_is() {
	grep '"JOB_STATUS_CHANGE"' "$scratch/events" | grep "\"id\": \"$1\"" |
		jq -r .data.status | grep -qx "$2"
}

# What was told about a job: events, and statuses by their names alone.
told() {
	jq -r "select(.data.id == \"$1\" or .data.device == \"$1\") |
		if .event == \"JOB_STATUS_CHANGE\" then .data.status else .event end" \
		"$scratch/events" | paste -sd ' '
}

# story JOB WORDS: exactly these were told, in this order.
story() {
	[ "$(told "$1")" = "$2" ] || { printf '# %s\n# not: %s\n' "$(told "$1")" "$2"; return 1; }
}

completed="created running waiting pending BLOCK_JOB_COMPLETED concluded null"

# ends LAYERS IMAGE...: no byte was lost, the device shows LAYERS, and after the end IMAGE... are the
# chain for QEMU's tools, too.
ends() {
	local live=$1 image

	shift
	end_load
	[ "$(layers_of virtio0)" = "$live" ] || { echo "# $(layers_of virtio0), not $live"; return 1; }
	execute query-block | jq -r '.[0].inserted.image | recurse(."backing-image"; . != null) |
		.filename' | xargs -n 1 basename | paste -sd ' ' > "$scratch/known"
	[ "$(cat "$scratch/known")" = "$live" ] || { echo "# known: $(cat "$scratch/known")"; return 1; }
	dd if=/dev/mapper/virtio0 of="$scratch/content" bs=1M iflag=direct status=none
	quit_daemon
	kill "$events" 2> /dev/null || true
	for image in "$@"; do
		clean "$image"
		unlocked "$image"
	done
	content "${live%% *}" "$scratch/content"
	[ "$(qemu-img info --backing-chain "${live%% *}" | awk '/^image:/ { print $2 }' |
		xargs -n 1 basename | paste -sd ' ')" = "$live" ]
}

# streamed JSON LAYERS: block-stream, to its end.
operation() {
	local json=$1

	shift
	chain_of_four
	qmp "$json" | is '. == {}'
	wait_for 60 status_is job0 null
	story job0 "$completed"
	jq -c 'select(.event == "BLOCK_JOB_COMPLETED") | .data' "$scratch/events" |
		is '.device == "job0" and .len == .offset and .len == 67108864 and .speed == 0 and
			(has("error") | not)'
	execute query-block-jobs | is '. == []'
	execute query-jobs | is '. == []'
	ends "$@"
}

try "block-stream, case 1: everything into the active layer" operation '{
        "execute": "block-stream",
        "arguments": {
            "device": "node-D",
            "job-id": "job0"
        }
    }' "d.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
