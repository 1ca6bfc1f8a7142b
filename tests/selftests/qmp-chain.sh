# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What tests of jobs share, over qmp-lib.sh: the chain [A] <-- [B] <-- [C] <-- [D] of the texts on
# live block operations in a device, with load on it; and what is told of jobs.

device=virtio0		# whose ID this is, too

completed="created running waiting pending BLOCK_JOB_COMPLETED concluded null"

start_with_a() {
	launch_with_a
	daemon_ready
}

launch_with_a() {
	launch --blockdev \
		node-name=node-A,driver=qcow2,file.driver=file,file.node-name=file,file.filename=./a.qcow2 \
		--export "type=dm,id=$device,node-name=node-A,name=$device,writable=on" \
		--pidfile "$scratch/pid"
}

# The daemon of launch_with_a is killed, and started again.
killed_and_back() {
	kill -9 "$daemon"
	was_killed
	launch_with_a
	daemon_ready
}

snapshot() {
	execute blockdev-snapshot-sync "{\"node-name\": \"$1\", \"snapshot-file\": \"$2.qcow2\",
		\"format\": \"qcow2\", \"snapshot-node-name\": \"node-${2^}\"}" | is '. == {}'
}

# fill BYTE MIB: 4 MiB of it on the device.
fill() {
	head -c 4M /dev/zero | tr '\0' "\\$(printf '%o' "$1")" |
		dd of="/dev/mapper/$device" bs=1M seek="$2" oflag=direct conv=notrunc status=none
}

# [A] <-- [B] <-- [C] <-- [D] in the empty directory $dir, each with data of its own from 16 MiB on:
# by snapshots, or, when $kinds says of what kind each is, made before. The load is below that.
chain_of_four() {
	cd "$dir"
	if [ ${#kinds[@]} = 0 ]; then
		made_by_snapshots
	else
		made_before
	fi
	watch_events
	start_load "$device" 8M
}

kinds=()

made_by_snapshots() {
	qemu-img create -q -f qcow2 a.qcow2 "${BASE_MIB:-40}M"
	qemu-io -c "write -P 1 0 28M" a.qcow2 > /dev/null
	start_with_a
	snapshot node-A b
	fill 2 20
	snapshot node-B c
	fill 3 24
	snapshot node-C d
	fill 4 28
}

# Each of $kinds, from the base on, is the format, options of "qemu-img create", and one of "write" of
# qemu-io (-c: compressed). The names of the files are those of the texts, whatever the format.
made_before() {
	local i name format options how below='' areas=("0 28M" "20M 4M" "24M 4M" "28M 4M")
	local nodes=()

	for i in 0 1 2 3; do
		read -r format options how <<< "${kinds[i]}"
		name=${names:i:1}
		qemu-img create -q -f "$format" ${options:+-o "$options"} \
			${below:+-b "$below.qcow2" -F "$(format_of "$below.qcow2")"} "$name.qcow2" 40M
		# shellcheck disable=SC2086	# there may be none
		qemu-io -f "$format" -c "write -q $how -P $((i + 1)) ${areas[i]}" "$name.qcow2"
		nodes+=(--blockdev "{\"driver\": \"$format\", \"node-name\": \"node-${name^}\",
			${below:+\"backing\": \"node-${below^}\",} \"read-only\": $([ $i = 3 ] &&
			echo false || echo true), \"file\": {\"driver\": \"file\",
			\"filename\": \"$name.qcow2\"}}")
		below=$name
	done
	start_daemon "${nodes[@]}" --pidfile "$scratch/pid" \
		--export "type=dm,id=$device,node-name=node-D,name=$device,writable=on"
}

# The format of a file of $kinds.
format_of() {
	local i=${names%%"${1%.qcow2}"*} format=qcow2

	[ ${#kinds[@]} = 0 ] || format=${kinds[${#i}]%% *}
	echo "$format"
}

names=abcd

# The data of chain_of_four in IMAGE or device of FORMAT.
still_there() {
	qemu-io -r -f "$1" -c "read -P 1 16M 4M" -c "read -P 2 20M 4M" -c "read -P 3 24M 4M" \
		-c "read -P 4 28M 4M" -c "read -P 0 32M 8M" "$2" > "$scratch/io" 2>&1 &&
		! grep -q "Pattern verification failed" "$scratch/io" && return
	sed 's/^/# /' "$scratch/io"
	return 1
}

# Has a status of a job been told?
status_is() {
	gojq -r "select(.event == \"JOB_STATUS_CHANGE\" and .data.id == \"$1\") | .data.status" \
		"$scratch/events" | grep -qx "$2"
}

# What was told about a job: events, and statuses by their names alone.
told() {
	gojq -r "select(.data.id == \"$1\" or .data.device == \"$1\") |
		if .event == \"JOB_STATUS_CHANGE\" then .data.status else .event end" \
		"$scratch/events" | paste -sd ' '
}

# story JOB WORDS: exactly these were told, in this order.
story() {
	[ "$(told "$1")" = "$2" ] || { printf '# %s\n# not: %s\n' "$(told "$1")" "$2"; return 1; }
}

# The data of an event.
data_of() {
	gojq -c "select(.event == \"$1\") | .data" "$scratch/events"
}

# The daemon and the kernel agree that the device has these layers.
layers_are() {
	local live known

	live=$(layers_of "$device")
	known=$(known_layers "$device")
	[ "$live" = "$1" ] && [ "$known" = "$1" ] && return
	printf '# %s\n# known: %s\n# not: %s\n' "$live" "$known" "$1"
	return 1
}

# What has been written to the device since it is there.
written_kib() {
	local number

	number=$(dmsetup info -c --noheadings -o major,minor --separator : $device)
	awk '{ print int($7 / 2) }' "/sys/dev/block/$number/stat"
}

# written_since BEFORE KIB
written_since() {
	[ $(($(written_kib) - $1)) -ge "$2" ]
}

# ends LAYERS IMAGE...: no byte was lost, the device shows LAYERS, and after the end IMAGE... are
# fine for QEMU's tools, too.
ends() {
	local top=${1%% *}

	end_load
	still_there raw "/dev/mapper/$device"
	device_ends "$@"
	still_there "$(format_of "$top")" "$top"
}

# device_ends LAYERS IMAGE...: the same, whatever is in it, when nobody writes any more.
device_ends() {
	local layers=$1 top=${1%% *} image

	shift
	layers_are "$layers"
	dd if="/dev/mapper/$device" of="$scratch/content" bs=1M iflag=direct status=none
	quit_daemon
	kill "$events" 2> /dev/null || true
	for image in "$@"; do
		[ "$(format_of "$image")" = raw ] || clean "$image"
		unlocked "$image" "$(format_of "$image")"
	done
	content "$top" "$scratch/content" "$(format_of "$top")"
	[ "$(qemu-img info -f "$(format_of "$top")" --backing-chain "$top" |
		awk '/^image:/ { sub(".*/", "", $2); printf "%s%s", sep, $2; sep = " " }')" = "$layers" ]
}

# try_daemon DESCRIPTION COMMAND...: what a test that failed leaves is taken away.
try_daemon() {
	local name

	try "$@"
	[ ! -e "$scratch/pid" ] || kill -9 "$(cat "$scratch/pid")" 2> /dev/null
	touch "$scratch/stop"
	# shellcheck disable=SC2046	# one word for each
	kill $(pgrep -f "fio --name=load|qmp_client.py") 2> /dev/null
	start_client
	for name in $(dmsetup ls --target qchain | awk '/^No devices/ { exit } { print $1 }'); do
		timeout 20 dmsetup remove --retry "$name"
	done
	rm -f "$scratch/pid" "$QCHAIN_STATE"
}
