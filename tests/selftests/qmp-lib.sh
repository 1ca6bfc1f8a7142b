# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the tests of qchaind share, over chain.sh: a daemon, a client, and load on a device. Answers
# are read with gojq, which takes a fifth of the time that jq takes to start.

command -v qchaind > /dev/null || skip_all "qchaind is not in PATH"
for tool in qemu-img qemu-io fio gojq python3; do
	command -v $tool > /dev/null || skip_all "$tool is not installed"
done
mkdir -p /run/lock
# How often the daemon is killed, in tests that do it often or now and then.
many_kills=${QCHAIN_KILLS:-4}
some_kills=${QCHAIN_KILLS:-2}
[ -z "${QCHAIN_SHORT:-}" ] || many_kills=2 some_kills=1
ulimit -n 65536

export QCHAIN_STATE=$scratch/state.json
sock=$scratch/qmp.sock
daemon=
events=

# launch [OPTION]...: $daemon
launch() {
	qchaind --chardev "socket,id=m,path=$sock,server=on,wait=off" --monitor chardev=m "$@" \
		2>> "$scratch/daemon.log" &
	daemon=$!
}

# It is ready when it answers.
daemon_ready() {
	wait_for 20 qmp '{"execute": "query-version"}' > /dev/null
}

start_daemon() {
	launch "$@"
	daemon_ready
}

# launch_again, kill_daemon, end_daemon: of a daemon with what is in $devices, which is known by its
# file, as each test is in a shell of its own.
launch_again() {
	launch "${devices[@]}" --pidfile "$scratch/pid"
}

kill_daemon() {
	local pid

	pid=$(cat "$scratch/pid")
	kill -9 "$pid"
	wait_for 60 gone "$pid"
}

# The same of the daemon that this shell has started, in two steps: kill -9 has ended it, and nothing
# before that.
was_killed() {
	local status=0

	wait "$daemon" 2> /dev/null || status=$?
	[ $status = 137 ]
}

end_daemon() {
	local pid

	pid=$(cat "$scratch/pid")
	execute quit > /dev/null
	wait_for 60 gone "$pid"
}

# gone PID
gone() {
	! kill -0 "$1" 2> /dev/null
}

no_jobs() {
	execute query-jobs | gojq -e '. == []' > /dev/null
}

# A client for all requests: to start one each time takes longer than what it asks for.
start_client() {
	local pipes

	pipes=$(mktemp -d)	# not in $scratch, which would be busy to the end
	mkfifo "$pipes/requests" "$pipes/answers"
	exec 7<> "$pipes/requests" 8<> "$pipes/answers"
	rm -r "$pipes"
	qmp_client.py "$sock" --serve <&7 >&8 &
}

# watch_events: $scratch/events has them from here on.
watch_events() {
	: > "$scratch/events"
	qmp_client.py "$sock" --events >> "$scratch/events" &
	events=$!
	wait_for 20 grep -q connected "$scratch/events"
}

# qmp JSON...: what is returned, or the error. Not in two shells at once.
qmp() {
	while [ $# -gt 0 ]; do
		echo "${1//$'\n'/ }" >&7
		answer || return
		shift
	done
}

# request COMMAND ARGUMENTS-JSON: without the wait for its answer.
request() {
	echo "{\"execute\": \"$1\", \"arguments\": ${2//$'\n'/ }}" >&7
}

# The next answer.
answer() {
	local answer

	read -r answer <&8
	echo "${answer#??}"
	[ "${answer:0:1}" = + ]
}

# execute COMMAND [ARGUMENTS-JSON]
execute() {
	local none='{}'

	qmp "{\"execute\": \"$1\", \"arguments\": ${2:-$none}}"
}

# refusal TEXT COMMAND [ARGUMENTS-JSON]: $got is what it is refused with; TEXT is what to expect.
refusal() {
	got=$(execute "${@:2}") || return 0
	echo "# ${*:2} succeeded, but must say: $1"
	return 1
}

# says TEXT COMMAND [ARGUMENTS-JSON]: is refused with exactly this ("CLASS: " in front of it when it
# is not GenericError).
says() {
	local got

	refusal "$@" || return
	[ "${got#GenericError: }" = "$1" ] || { printf '# %s\n# not: %s\n' "$got" "$1"; return 1; }
}

# says_part TEXT COMMAND [ARGUMENTS-JSON]: is refused, with this among what it says.
says_part() {
	local got

	refusal "$@" || return
	[[ $got == *"$1"* ]] || { printf '# %s\n# without: %s\n' "$got" "$1"; return 1; }
}

# is FILTER: the result of the gojq filter over the input is true.
is() {
	local input

	input=$(cat)
	gojq -e "$1" > /dev/null <<< "$input" || { printf '# not %s:\n# %s\n' "$1" "$input"; return 1; }
}

# In the shell whose child the daemon is.
quit_daemon() {
	execute quit > "$scratch/quit"
	wait "$daemon"
}

# start_load NAME [SIZE]: verified writes all the time, until end_load; $load.
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

# unlocked IMAGE [FORMAT]: QEMU can have it for writing: nobody holds a lock any more.
unlocked() {
	qemu-io -f "${2:-qcow2}" -c "read 0 512" "$1" > /dev/null
}

# The names of the files that a device shows, top first.
layers_of() {
	local word names=()

	for word in $(dmsetup table "$1"); do
		[[ $word != /* ]] || names+=("${word##*/}")
	done
	echo "${names[*]}"
}

# known_layers ID: the same as the daemon knows them, of the device of export ID.
known_layers() {
	execute query-block | gojq -r ".[] | select(.device == \"$1\") | [.inserted.image |
		recurse(.\"backing-image\"; . != null) | .filename | sub(\".*/\"; \"\")] | join(\" \")"
}

start_client
