# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the tests of qchaind share, over chain.sh: a daemon, a client, and load on a device.

export QCHAIN_STATE=$scratch/state.json
sock=$scratch/qmp.sock
daemon=
events=

# start_daemon [OPTION]...: $daemon; it is ready when it answers.
start_daemon() {
	qchaind --chardev "socket,id=m,path=$sock,server=on,wait=off" --monitor chardev=m "$@" \
		2>> "$scratch/daemon.log" &
	daemon=$!
	qmp '{"execute": "query-version"}' > /dev/null
}

# watch_events: $scratch/events has them from here on.
watch_events() {
	: > "$scratch/events"
	qmp_client.py "$sock" --events >> "$scratch/events" &
	events=$!
	sleep 0.3
}

# qmp JSON...: what is returned.
qmp() {
	qmp_client.py "$sock" "$@"
}

# execute COMMAND [ARGUMENTS-JSON]
execute() {
	local none='{}'

	qmp "{\"execute\": \"$1\", \"arguments\": ${2:-$none}}"
}

# says TEXT COMMAND [ARGUMENTS-JSON]: is refused with exactly this ("CLASS: " in front of it when it
# is not GenericError).
says() {
	local text=$1 got

	shift
	if got=$(execute "$@"); then
		echo "# $* succeeded, but must say: $text"
		return 1
	fi
	[ "${got#GenericError: }" = "$text" ] || { printf '# %s\n# not: %s\n' "$got" "$text"; return 1; }
}

# is FILTER: the result of the jq filter over the input is true.
is() {
	local input

	input=$(cat)
	jq -e "$1" > /dev/null <<< "$input" || { printf '# not %s:\n# %s\n' "$1" "$input"; return 1; }
}

quit_daemon() {
	execute quit > /dev/null
	wait "$daemon"
}

# Verified writes all the time, until end_load; $load.
start_load() {
	rm -f "$scratch/stop"
	(
		n=0
		while [ ! -e "$scratch/stop" ]; do
			n=$((n + 1))
			fio --name=load --filename="/dev/mapper/$1" --direct=1 --ioengine=libaio \
				--iodepth=8 --rw=randwrite --bsrange=4k-64k --size="${2:-24M}" \
				--randseed=$((seed + n)) --allrandrepeat=1 --verify=crc32c \
				--verify_fatal=1 --fsync=32 > "$scratch/fio.log" 2>&1 || {
				sed 's/^/# /' "$scratch/fio.log"
				exit 1
			}
		done
		echo "# $n rounds of fio"
	) &
	load=$!
}

end_load() {
	touch "$scratch/stop"
	wait "$load"
}

# QEMU can have the image for writing: nobody holds a lock any more.
unlocked() {
	qemu-io -f qcow2 -c "read 0 512" "$1" > /dev/null
}

# The names of the files that a device shows, top first.
layers_of() {
	dmsetup table "$1" | tr ' ' '\n' | grep '^/' | xargs -n 1 basename | paste -sd ' '
}
