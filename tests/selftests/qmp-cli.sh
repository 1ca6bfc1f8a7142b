#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# qchain as a client of qchaind: attach, detach, snapshot, stream, commit, jobs and tree, what they
# print and how they end.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"
. "$(dirname "$0")/qmp-lib.sh"

command -v script > /dev/null || skip_all "script is not installed"
export QCHAIN_SOCKET=$sock

# The export vm1 with the device disk1; by another daemon again.
launch_vm1() {
	# The daemon is somewhere else than its clients.
	(cd / && exec qchaind --chardev "socket,id=m,path=$sock,server=on,wait=off" \
		--monitor chardev=m --blockdev \
		"node-name=node-A,driver=qcow2,file.driver=file,file.filename=$dir/a.qcow2" \
		--export type=dm,id=vm1,node-name=node-A,name=disk1,writable=on \
		2>> "$scratch/daemon.log") &
	daemon=$!
	daemon_ready
}

# a.qcow2 in an empty directory.
make_vm1() {
	fresh_dir tmpfs
	cd "$dir"
	qemu-img create -q -f qcow2 a.qcow2 16M
	qemu-io -c "write -P 1 0 8M" a.qcow2 > /dev/null
}

start_vm1() {
	make_vm1
	launch_vm1
}

fill() {
	qemu-io -f raw -c "write -P $1 $2 $3" /dev/mapper/disk1 > /dev/null
}

# a <- b <- c, with data in each.
grow_chain() {
	qchain snapshot vm1 b.qcow2 --node-name node-B
	fill 2 2M 2M
	qchain snapshot vm1 c.qcow2 --node-name node-C
	fill 3 4M 2M
}

start_chain() {
	start_vm1
	grow_chain
}

# The layers are these, the data is all there, and QEMU finds nothing wrong.
ends_with() {
	local image

	[ "$(layers_of disk1)" = "$*" ] || { layers_of disk1; return 1; }
	qemu-io -r -f raw -c "read -P 1 0 2M" -c "read -P 2 2M 2M" -c "read -P 3 4M 2M" \
		-c "read -P 1 6M 2M" -c "read -P 0 8M 8M" /dev/mapper/disk1 |
		fails grep "Pattern verification failed"
	quit_daemon
	for image; do clean "$image"; done
}

# exits STATUS TEXT COMMAND...: it does, and standard error is one line with TEXT, or empty.
exits() {
	local status=0 wanted=$1 text=$2

	shift 2
	"$@" > "$scratch/out" 2> "$scratch/err" || status=$?
	[ $status = "$wanted" ] && [[ $(cat "$scratch/err") == *"$text"* ]] &&
		[ "$(wc -l < "$scratch/err")" = $((${#text} != 0)) ] && return
	printf '# %s: status %s\n' "$*" $status
	sed 's/^/# /' "$scratch/err"
	return 1
}

job_is() {
	qchain jobs --json | gojq -e ".[] | $1" > /dev/null
}

no_jobs() {
	qchain jobs --json | gojq -e ". == []" > /dev/null
}

try_daemon() {
	try "$@"
	# shellcheck disable=SC2046	# one word for each
	kill -9 $(pgrep -x "qchaind|qchain") $(pgrep -f qmp_client.py) 2> /dev/null
	start_client
	[ ! -b /dev/mapper/disk1 ] || timeout 20 dmsetup remove --retry disk1
	rm -f "$QCHAIN_STATE"
}

# --- snapshot, tree -------------------------------------------------------------------------------

snapshots() {
	start_vm1
	exits 0 "" qchain snapshot vm1 b.qcow2
	[ "$(layers_of disk1)" = "b.qcow2 a.qcow2" ]
	mkdir sub
	cd sub
	exits 0 "" qchain snapshot vm1 ../c.qcow2 --node-name node-C
	exits 0 "" qchain snapshot node-C d.qcow2 --node-name node-D --wait
	cd ..
	qemu-img create -q -f qcow2 -u -b sub/d.qcow2 -F qcow2 e.qcow2 16M
	exits 0 "" qchain snapshot vm1 e.qcow2 --existing --format qcow2
	[ "$(layers_of disk1)" = "e.qcow2 d.qcow2 c.qcow2 b.qcow2 a.qcow2" ]
	exits 1 "node-D: what is put on a node needs a node name, too; give it with --node-name" \
		qchain snapshot node-D x.qcow2
	exits 1 "nobody: the daemon has no export and no node of this name; see: " \
		qchain snapshot nobody x.qcow2
	exits 1 "Unknown file format 'tar'" qchain snapshot vm1 x.qcow2 --format tar
	exits 2 "an argument is missing" qchain snapshot vm1
	exits 1 "no daemon listens here; start qchaind" qchain snapshot -s "$dir/none" vm1 x.qcow2
	fails test -e x.qcow2
	quit_daemon
	for image in [a-e].qcow2 sub/d.qcow2; do clean "$image"; done
}

trees() {
	start_chain
	exits 0 "" qchain tree vm1
	[ "$(wc -l < "$scratch/out")" = 4 ]
	head -n 1 "$scratch/out" | grep -Fx "vm1  rw  16 MiB, device disk1"
	grep -Eq " $dir/c.qcow2  qcow2 rw  16 MiB, .* on disk, clusters of 64 KiB  node-C$" \
		"$scratch/out"
	grep -Eq " $dir/a.qcow2  qcow2 ro  16 MiB, .* on disk, clusters of 64 KiB  node-A$" \
		"$scratch/out"
	exits 0 "" qchain stream node-B --job j --speed 64K
	qchain tree vm1 | grep -E "^job j  stream  running +\[#*-+\] +[0-9]+% .*, limit 64 KiB/s"
	qchain tree --json vm1 | is 'length == 1 and (.[0] | .name == "vm1" and .size == 16777216 and
		."io-status" == "ok" and ([.layers[]."node-name"] == ["node-C", "node-B", "node-A"]) and
		([.layers[]."read-only"] == [false, true, true]) and
		(.layers[2]."actual-size" > 8000000) and .layers[1]."cluster-size" == 65536 and
		(.jobs | length == 1 and .[0].id == "j" and .[0].speed == 65536))'
	# Names come from clients, and do not speak to the terminal.
	qemu-img create -q -f qcow2 $'x\e[31m\n.qcow2' 16M
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-X", "read-only": true,
		"file": {"driver": "file", "filename": "'"$dir"'/x\u001b[31m\n.qcow2"}}' | is '. == {}'
	execute block-export-add '{"type": "dm", "id": "x", "name": "qcx", "node-name": "node-X"}' |
		is '. == {}'
	qchain tree x | grep -F " $dir/x?[31m?.qcow2  qcow2 ro  16 MiB"
	qchain tree qcx | grep -F "x?[31m?.qcow2  qcow2 ro  16 MiB"
	execute block-export-del '{"id": "x"}' | is '. == {}'
	# A device by its own name is what the kernel shows.
	qchain tree disk1 | head -n 1 | grep "^disk1  rw  16 MiB, .* metadata memory, export vm1$"
	qchain tree --json disk1 | is '.[0] | .mode == "rw" and (.layers | length == 3)'
	exits 1 "contradicts" qchain tree -s "$sock" --no-daemon
	exits 1 "none" qchain tree -s "$dir/none" vm1
	qchain qmp job-cancel id=j > /dev/null
	wait_for 10 no_jobs
	ends_with c.qcow2 b.qcow2 a.qcow2
}

# All devices, with what the daemon knows of its own, and without it.
devices() {
	local lines

	make_vm1
	mv a.qcow2 base.qcow2
	qemu-img bitmap --add -g 128k base.qcow2 b0
	qemu-img bitmap --add --disable base.qcow2 b1
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
	launch_vm1
	grow_chain
	qemu-img create -q -f qcow2 other.qcow2 8M
	qemu-img bitmap --add other.qcow2 gone
	qchain attach --no-daemon --read-only other.qcow2 --name qcother > /dev/null
	exits 0 "" qchain stream node-B --job j --speed 64K
	exits 0 "" qchain tree
	cat "$scratch/out"
	mapfile -t lines < "$scratch/out"
	[ ${#lines[@]} = 11 ]
	[[ ${lines[0]} = "disk1  rw  16 MiB, "*", export vm1" ]]
	[[ ${lines[1]} = *" $dir/c.qcow2  qcow2 rw  16 MiB, "*"  node-C" ]]
	[[ ${lines[3]} = *" $dir/a.qcow2  qcow2 ro  16 MiB, "*"  node-A" ]]
	[[ ${lines[4]} = *" $dir/base.qcow2  qcow2 ro  16 MiB, "*"  #block"* ]]
	[[ ${lines[5]} = "            bitmap b0 (granularity 128 KiB, auto)" ]]
	[[ ${lines[6]} = "            bitmap b1 (granularity 64 KiB)" ]]
	[[ ${lines[7]} = "job j  stream  running  "*", limit 64 KiB/s" ]]
	[[ ${lines[8]} = "qcother  ro  8 MiB"* && ${lines[8]} != *export* ]]
	[[ ${lines[9]} = *" $dir/other.qcow2  qcow2 ro"* ]]
	[[ ${lines[10]} = "   bitmap gone "* ]]
	qchain tree --json | is '
		(.[0] | .name == "disk1" and .export == "vm1" and .mode == "rw" and
			([.layers[:3][]."node-name"] == ["node-C", "node-B", "node-A"]) and
			([.layers[].bitmaps | length] == [0, 0, 0, 2]) and
			.layers[3].bitmaps[0] == {"flags": ["auto"], "name": "b0",
				"granularity": 131072} and
			(.jobs | length == 1 and .[0].id == "j" and .[0].export == "vm1")) and
		(.[1] | .name == "qcother" and (has("export") | not) and .jobs == [])'
	qchain tree --json vm1 |
		is '.[0] | .device == "disk1" and .layers[3].bitmaps[1].name == "b1"'
	# The kernel knows the job, too; and nobody has to be asked whether there is a daemon.
	kill -9 $daemon
	for option in "" --no-daemon; do
		exits 0 "" qchain tree $option
		[ "$(wc -l < "$scratch/out")" = 11 ]
		head -n 1 "$scratch/out" | grep "^disk1  rw  16 MiB, .* metadata memory$"
		fails grep node-C "$scratch/out"
		grep "bitmap b0" "$scratch/out"
		grep "^job j  stream  running  .*, limit 64 KiB/s$" "$scratch/out"
	done
	exits 1 "none" qchain tree -s "$dir/none"
	qchain tree --json | is '.[0] | (has("export") | not) and
		(.jobs | (length == 1 and .[0].id == "j" and .[0].type == "stream" and
		.[0].status == "running" and .[0].speed == 65536))'
	dmsetup message disk1 0 job_pause j
	qchain tree | grep "^job j  stream  paused "
	dmsetup message disk1 0 job_cancel j
	qchain detach qcother
	# Who writes to an image lets its bitmaps become invalid.
	qchain attach other.qcow2 --name qcother > /dev/null
	qchain tree qcother | grep "bitmap gone"
	qemu-io -f raw -c "write 0 64k" /dev/mapper/qcother > /dev/null
	qchain tree qcother | fails grep "bitmap"
	qchain detach qcother
}

# --- attach, detach -------------------------------------------------------------------------------

# A daemon that has nothing yet.
launch_empty() {
	(cd / && exec qchaind --chardev "socket,id=m,path=$sock,server=on,wait=off" \
		--monitor chardev=m 2>> "$scratch/daemon.log") &
	daemon=$!
	daemon_ready
}

exports_are() {
	qchain qmp query-block-exports | is "map(.id) | sort == $1"
}

# Names of nodes, but those that were made up.
nodes_are() {
	execute query-named-block-nodes '{"flat": true}' |
		is "map(.\"node-name\") | map(select(startswith(\"#\") | not)) | sort == $1"
}

nothing_left() {
	exports_are '[]'
	nodes_are '[]'
	for image; do unlocked "$image"; done
}

attached() {
	make_vm1
	launch_empty
	exits 0 "" qchain attach a.qcow2 --name qcvm
	[ "$(cat "$scratch/out")" = /dev/mapper/qcvm ]
	qchain qmp query-block-exports | is '. == [{"id": "qcvm", "type": "dm", "name": "qcvm",
		"node-name": "attached-qcvm", "shutting-down": false}]'
	qemu-io -f raw -c "write -P 2 2M 2M" /dev/mapper/qcvm > /dev/null
	exits 0 "" qchain snapshot qcvm b.qcow2
	qemu-io -f raw -c "write -P 3 4M 2M" /dev/mapper/qcvm > /dev/null
	[ "$(layers_of qcvm)" = "b.qcow2 a.qcow2" ]
	qchain tree qcvm | grep "a.qcow2 .*  attached-qcvm$"
	exits 1 "already" qchain attach a.qcow2 --name qcvm
	exits 1 "attached device 'qcvm'" qchain attach b.qcow2 --name qcother
	exits 1 "attached device 'qcvm'" qchain attach b.qcow2 --name qcother --no-daemon
	exits 0 "" timeout 30 qchain stream qcvm --wait
	[ "$(layers_of qcvm)" = "b.qcow2" ]
	exec 9< /dev/mapper/qcvm
	exits 1 "in use" qchain detach qcvm
	exec 9<&-
	exports_are '["qcvm"]'
	exits 0 "" qchain detach /dev/mapper/qcvm
	[ ! -e /dev/mapper/qcvm ]
	nothing_left a.qcow2 b.qcow2
	exits 1 "no such device" qchain detach qcvm
	qemu-io -r -f qcow2 -c "read -P 1 0 2M" -c "read -P 2 2M 2M" -c "read -P 3 4M 2M" b.qcow2 |
		fails grep "Pattern verification failed"
	clean a.qcow2
	clean b.qcow2

	# What others made of the daemon's is taken down through it, too, and their node stays.
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-A", "file": {"driver": "file",
		"filename": "'"$dir"'/a.qcow2"}}' | is '. == {}'
	exits 1 "the daemon's node 'node-A'" qchain attach a.qcow2 --name qcvm
	execute block-export-add '{"type": "dm", "id": "vm1", "name": "qcx", "node-name": "node-A"}' |
		is '. == {}'
	exits 0 "" qchain detach qcx
	exports_are '[]'
	nodes_are '["node-A"]'
	quit_daemon
}

options() {
	local long=qc0123456789012345678901234567890123456789

	make_vm1
	launch_empty
	exits 1 "the daemon's devices wait for room instead" \
		qchain attach a.qcow2 --name qcvm --error-if-no-space
	exits 1 "the daemon takes only letters" qchain attach a.qcow2 --name 9qc
	exits 1 "the daemon takes only letters" qchain attach a.qcow2 --name qc:1
	exits 1 "contradicts --socket" qchain attach a.qcow2 --no-daemon --socket "$sock"
	nothing_left a.qcow2
	exits 0 "" qchain attach a.qcow2 --name 9qc --error-if-no-space --no-daemon
	exports_are '[]'
	dmsetup table 9qc | grep error_if_no_space
	exits 0 "" qchain detach 9qc

	# Read-only, and as often as that is wanted.
	before=$(md5sum < a.qcow2)
	for name in qcro "$long" "${long}x"; do
		exits 0 "" qchain attach --read-only a.qcow2 --name "$name"
		[ "$(blockdev --getro "/dev/mapper/$name")" = 1 ]
	done
	exits 1 "attached device" qchain attach a.qcow2 --name qcvm
	for name in "$long" qcro "${long}x"; do
		exits 0 "" qchain detach "$name"
	done
	nothing_left a.qcow2
	[ "$(md5sum < a.qcow2)" = "$before" ]

	exits 0 "" qchain attach a.qcow2 --name qcvm
	dmsetup table qcvm | fails grep discard
	exits 0 "" qchain detach qcvm
	exits 0 "" qchain attach a.qcow2 --name qcvm --no-discard-passdown
	dmsetup table qcvm | grep no_discard_passdown
	exits 0 "" qchain detach qcvm

	truncate -s 3M plain.raw
	exits 1 "say --format raw" qchain attach plain.raw --name qcraw
	exits 0 "" qchain attach plain.raw --name qcraw --format raw
	exits 0 "" qchain detach qcraw
	exits 0 "" qchain attach --format raw --name qcdisk /dev/mapper/bad-base
	qchain qmp query-named-block-nodes flat=true | is 'any(.drv == "host_device")'
	exits 0 "" qchain detach qcdisk

	qemu-img create -q -f qcow2 -o lazy_refcounts=on dirty.qcow2 8M
	qemu-io -c "write -P 5 0 4M" -c flush -c abort dirty.qcow2 > /dev/null 2>&1 || true
	exits 0 "was left dirty; repaired (" qchain attach dirty.qcow2 --name qcdirty
	exits 0 "" qchain detach qcdirty
	clean dirty.qcow2
	# Byte 79 has the lower feature bits: 2 is the corrupt bit.
	poke dirty.qcow2 79 02
	exits 1 "marked corrupt" qchain attach dirty.qcow2 --name qcdirty
	exits 0 "" qchain attach dirty.qcow2 --name qcdirty --read-only
	exits 0 "" qchain detach qcdirty
	nothing_left a.qcow2
	quit_daemon
}

# A failure between the two steps, and what others left between them.
half_way() {
	make_vm1
	launch_empty
	qemu-img create -q -f qcow2 other.qcow2 8M
	execute blockdev-add '{"driver": "qcow2", "node-name": "qcname", "file": {"driver": "file",
		"filename": "'"$dir"'/other.qcow2"}}' | is '. == {}'
	exits 1 "a.qcow2: Device name 'qcname' conflicts with an existing node name" \
		qchain attach a.qcow2 --name qcname
	nodes_are '["qcname"]'
	unlocked a.qcow2
	execute blockdev-del '{"node-name": "qcname"}' | is '. == {}'
	dmsetup create qcforeign --table "0 2048 zero"
	exits 1 "exists already" qchain attach a.qcow2 --name qcforeign
	nothing_left a.qcow2
	dmsetup remove qcforeign

	left_over
	exits 1 "no such device" qchain detach qcvm
	nothing_left a.qcow2
	left_over
	exits 0 "" qchain attach other.qcow2 --name qcvm
	unlocked a.qcow2
	exits 0 "" qchain detach qcvm
	nothing_left a.qcow2 other.qcow2
	quit_daemon
}

left_over() {
	execute blockdev-add '{"driver": "qcow2", "node-name": "attached-qcvm",
		"file": {"driver": "file", "filename": "'"$dir"'/a.qcow2"}}' | is '. == {}'
}

# It ends at any moment: by SIGTERM nothing is left that is not whole; else nothing that hinders.
ended() {
	local round signal attaching status

	make_vm1
	launch_empty
	for ((round = 0; round < 16; round++)); do
		signal=TERM
		((round % 2)) || signal=KILL
		qchain attach a.qcow2 --name qcvm > /dev/null 2>&1 &
		attaching=$!
		sleep "0.0$((RANDOM % 60 + 10))"
		kill -s $signal $attaching 2> /dev/null || true
		status=0
		wait $attaching || status=$?
		if [ $signal = TERM ]; then
			if [ $status = 0 ]; then
				qchain detach qcvm
			else
				[ $status = 143 ]
			fi
			nothing_left a.qcow2
			continue
		fi
		# The daemon may be about to make it.
		wait_for 10 qmp '{"execute": "query-version"}' > /dev/null
		[ -b /dev/mapper/qcvm ] || qchain attach a.qcow2 --name qcvm > /dev/null
		qchain detach qcvm
		nothing_left a.qcow2
	done
	quit_daemon
	clean a.qcow2
}

# has_socket PID
has_socket() {
	find "/proc/$1/fd" -lname 'socket:*' | grep -q .
}

# Daemons that do not answer, or are gone.
without() {
	local attaching status=0

	make_vm1
	launch_empty
	kill -STOP $daemon
	qchain attach a.qcow2 --name qcvm 2> /dev/null &
	attaching=$!
	wait_for 10 has_socket $attaching
	kill $attaching
	wait $attaching || status=$?
	[ $status = 143 ]
	kill -CONT $daemon
	wait_for 10 exports_are '[]'
	nothing_left a.qcow2
	if command -v setpriv > /dev/null; then
		exits 1 "Permission denied; to do without it: --no-daemon" \
			setpriv --reuid 65534 --clear-groups qchain attach a.qcow2 --name qcvm
	fi

	# Its socket is still there.
	kill -9 $daemon
	wait $daemon || true
	[ -S "$sock" ]
	exits 1 "no daemon listens here" qchain attach a.qcow2 --name qcvm --socket "$sock"
	exits 0 "" qchain attach a.qcow2 --name qcvm
	exits 0 "" qchain detach qcvm
	exits 0 "" qchain attach a.qcow2 --name qcvm
	launch_empty
	exports_are '[]'
	exits 0 "" qchain detach qcvm
	# Its device is taken down without the daemon: the next one forgets it.
	exits 0 "" qchain attach a.qcow2 --name qcvm
	exports_are '["qcvm"]'
	kill -9 $daemon
	wait $daemon || true
	exits 0 "" qchain detach qcvm
	launch_empty
	exports_are '[]'
	exits 0 "" qchain attach a.qcow2 --name qcvm
	exits 0 "" qchain detach qcvm
	nothing_left a.qcow2
	quit_daemon

	rm -f "$sock"
	false_daemon silent
	qchain attach a.qcow2 --name qcvm 2> "$scratch/err" &
	attaching=$!
	wait_for 10 grep -q blockdev-add "$scratch/asked"
	kill $attaching
	status=0
	wait $attaching || status=$?
	[ $status = 143 ]
	grep -Fx "qchain: qcvm: the daemon does not answer, and may do it later; see: qchain tree" \
		"$scratch/err"
	kill $daemon
	rm -f "$sock"
	false_daemon gone
	exits 1 "the daemon has closed the connection" qchain attach a.qcow2 --name qcvm
	[ ! -e /dev/mapper/qcvm ]
	unlocked a.qcow2
	kill $daemon
}

# false_daemon silent|gone: says nothing to what changes something, or goes then; $scratch/asked.
false_daemon() {
	: > "$scratch/asked"
	python3 - "$sock" "$1" "$scratch/asked" <<- 'END' &
		import json, socket, sys
		with socket.socket(socket.AF_UNIX) as s, open(sys.argv[3], 'w') as asked:
		    s.bind(sys.argv[1])
		    s.listen()
		    while True:
		        client, _ = s.accept()
		        client.sendall(b'{"QMP": {}}\r\n')
		        while data := client.recv(65536):
		            command = json.loads(data)['execute']
		            print(command, file=asked, flush=True)
		            if not command.startswith('q'):
		                if sys.argv[2] == 'gone':
		                    break
		                continue
		            answer = [] if command.startswith('query') else {}
		            client.sendall(json.dumps({'return': answer}).encode() + b'\r\n')
		        client.close()
	END
	daemon=$!
	wait_for 10 test -S "$sock"
}

# --- jobs -----------------------------------------------------------------------------------------

shown() {
	local line

	start_chain
	no_jobs
	exits 0 "" qchain jobs
	[ ! -s "$scratch/out" ]
	exits 0 "" qchain jobs --watch
	[ ! -s "$scratch/out" ]
	exits 0 "" qchain stream vm1 --speed 256K
	line=$(qchain jobs)
	echo "# $line"
	grep -E "^vm1  stream  running    \[#*-*\] [ 0-9]{3}%  .*/s, .* of 16 MiB, limit 256 KiB/s$" \
		<<< "$line"
	qchain jobs --json | is 'length == 1 and (.[0] | .id == "vm1" and .type == "stream" and
		.status == "running" and ."total-progress" == 16777216 and .speed == 262144 and
		.export == "vm1" and has("rate"))'
	qchain jobs --watch > "$scratch/lines" &
	lines=$!
	qchain jobs --watch --json > "$scratch/json" &
	json=$!
	TERM=xterm script -qec "stty cols 60; qchain jobs --watch" /dev/null > "$scratch/terminal" &
	terminal=$!
	# Each has drawn before it goes on without a limit.
	for file in lines json terminal; do
		wait_for 10 grep -q running "$scratch/$file"
	done
	qchain qmp block-job-set-speed device=vm1 speed=0 > /dev/null
	wait $lines
	wait $json
	wait $terminal
	tail -n 1 "$scratch/lines" | grep "^vm1  stream  completed  \[#*\] 100%"
	[ "$(sort "$scratch/lines" | uniq -d)" = "" ]
	gojq -es '.[-1] | .id == "vm1" and ."current-progress" == 16777216' "$scratch/json"
	grep -q "$(printf '\033\\[1A')" "$scratch/terminal"
	tail -n 1 "$scratch/terminal" | grep "completed"
	# What is drawn never takes two lines.
	tr '\r' '\n' < "$scratch/terminal" | sed 's/\x1b\[[0-9]*[AK]//g' | fails grep '.\{60\}'
	ends_with c.qcow2
}

# --- the end of a wait ----------------------------------------------------------------------------

# Ends too soon for anybody who begins to listen after the start.
at_once() {
	local n top=node-A

	fresh_dir tmpfs
	start_vm1
	for n in 1 2; do
		qchain snapshot "$top" "s$n.qcow2" --node-name "node-s$n"
		exits 0 "" timeout 30 qchain stream vm1 --wait --base-node node-A
		[ ! -s "$scratch/out" ]
		[ "$(layers_of disk1)" = "s$n.qcow2 a.qcow2" ]
		top=node-s$n
		exits 0 "" timeout 30 qchain commit vm1 --wait
		[ "$(layers_of disk1)" = "a.qcow2" ]
		top=node-A
	done
	quit_daemon
	clean a.qcow2
}

commits() {
	start_chain
	exits 0 "" timeout 30 qchain commit vm1 --top b.qcow2 --base a.qcow2 --wait --job j
	[ "$(layers_of disk1)" = "c.qcow2 a.qcow2" ]
	exits 1 "vm1: there is no such job; see: qchain jobs" qchain commit vm1 --complete
	exits 1 "--complete: this takes only" qchain commit vm1 --complete --base a.qcow2
	exits 0 "" qchain commit vm1 --speed 256K
	exits 1 "cannot accept command verb 'complete'" qchain commit vm1 --complete
	qchain qmp block-job-set-speed device=vm1 speed=0 > /dev/null
	wait_for 20 job_is '.status == "ready"'
	qchain jobs | grep "^vm1  commit  ready      \[#\{16\}\] 100%"
	exits 0 "" qchain commit vm1 --complete
	[ "$(layers_of disk1)" = a.qcow2 ]
	no_jobs
	qchain snapshot vm1 d.qcow2
	fill 3 4M 1M
	exits 0 "" qchain commit vm1
	exits 0 "" timeout 30 qchain commit vm1 --complete --wait
	ends_with a.qcow2
}

interrupted() {
	local signal waiting status

	start_chain
	exits 1 "'fast' is not a size" qchain stream vm1 --speed fast
	exits 1 "on-error" qchain stream vm1 --on-error hope
	exits 1 "Can't find 'x' in the backing chain" qchain stream vm1 --base x --wait
	for signal in INT TERM; do
		# Not in the background, where a shell lets SIGINT be ignored.
		setsid env --default-signal=INT qchain stream vm1 --speed 64K --wait \
			2> "$scratch/err" &
		waiting=$!
		wait_for 10 job_is '.status == "running"'
		kill -$signal "$(pgrep -x qchain)"
		status=0
		wait $waiting || status=$?
		[ $status = 4 ]
		grep -Fx "qchain: vm1: the job goes on; see: qchain jobs --watch" "$scratch/err"
		job_is '.status == "running"'
		exits 1 "is busy" qchain stream vm1 --wait --job other
		qchain qmp job-cancel id=vm1 > /dev/null
		wait_for 10 no_jobs
	done

	qchain stream vm1 --speed 64K --wait 2> "$scratch/err" &
	waiting=$!
	wait_for 10 job_is '.status == "running"'
	qchain qmp block-job-cancel device=vm1 > /dev/null
	status=0
	wait $waiting || status=$?
	[ $status = 3 ]
	grep -Fx "qchain: vm1: the job was cancelled" "$scratch/err"

	qchain stream vm1 --speed 64K --wait 2> "$scratch/err" &
	waiting=$!
	wait_for 10 job_is '.status == "running"'
	kill -9 $daemon
	status=0
	wait $waiting || status=$?
	[ $status = 4 ]
	grep -F "the daemon has closed the connection, and the job may go on" "$scratch/err"
	dmsetup message disk1 0 job_cancel vm1
}

# A job goes on without the daemon, and so does who waits for it.
next_daemon() {
	local waiting status=0

	start_chain
	qchain stream vm1 --base a.qcow2 --speed 64K --wait 2> "$scratch/err" &
	waiting=$!
	wait_for 10 job_is '.status == "running"'
	kill -9 $daemon
	launch_vm1
	job_is '.status == "running"'
	kill -0 $waiting
	qchain qmp block-job-set-speed device=vm1 speed=0 > /dev/null
	wait $waiting || status=$?
	[ $status = 0 ] || { echo "# status $status"; cat "$scratch/err"; return 1; }
	[ ! -s "$scratch/err" ]
	# One that is to become ready, and one that fails by and by.
	qchain commit vm1 --speed 64K --wait 2> "$scratch/err" &
	waiting=$!
	wait_for 10 job_is '.status == "running"'
	kill -9 $daemon
	launch_vm1
	qchain qmp block-job-set-speed device=vm1 speed=0 > /dev/null
	wait $waiting || status=$?
	[ $status = 0 ] || { echo "# status $status"; cat "$scratch/err"; return 1; }
	[ "$(layers_of disk1)" = a.qcow2 ]
	qchain snapshot vm1 d.qcow2
	fill 3 4M 2M
	qchain stream vm1 --speed 64K --wait 2> "$scratch/err" &
	waiting=$!
	wait_for 10 job_is '.status == "running"'
	kill -9 $daemon
	launch_vm1
	qchain qmp block-job-cancel device=vm1 > /dev/null
	wait $waiting || status=$?
	[ $status = 3 ]
	grep -Fx "qchain: vm1: the job was cancelled" "$scratch/err"
	ends_with d.qcow2 a.qcow2
}

terminal() {
	start_chain
	TERM=xterm script -qec "qchain stream vm1 --wait --base a.qcow2 --speed 4M" /dev/null \
		> "$scratch/terminal"
	grep -q "running .*\[#*-*\] .* left" "$scratch/terminal"
	tail -n 1 "$scratch/terminal" | grep "completed .* 100%"
	ends_with c.qcow2 a.qcow2
}

# The base is on a disk that fails in one place.
errors() {
	local waiting status=0

	start_vm1
	dd if=a.qcow2 of=/dev/mapper/bad-base bs=64k oflag=direct conv=fsync status=none
	qemu-img create -q -f qcow2 -b /dev/mapper/bad-base -F qcow2 b.qcow2 16M
	execute blockdev-add "{\"driver\": \"qcow2\", \"node-name\": \"node-X\",
		\"file\": {\"driver\": \"file\", \"filename\": \"$dir/b.qcow2\"}}" | is '. == {}'
	execute block-export-add '{"type": "dm", "id": "x", "name": "qcx", "node-name": "node-X",
		"writable": true}' | is '. == {}'
	fail_at bad-base $((4 << 20)) 65536 error
	exits 1 "qchain: x: the job failed: Input/output error; the chain has the layers that it had" \
		timeout 30 qchain stream x --wait
	qchain stream x --wait --on-error stop 2> "$scratch/err" &
	waiting=$!
	wait_for 10 grep -Fq "qchain qmp job-resume id=x" "$scratch/err"
	qchain jobs | grep "^x  stream  paused .*%  I/O error, "
	fail_at bad-base
	qchain qmp job-resume id=x > /dev/null
	wait $waiting || status=$?
	[ $status = 0 ]
	[ "$(layers_of qcx)" = b.qcow2 ]
	quit_daemon
	clean b.qcow2
}

plan 15
modprobe dm-flakey || skip_all "there is no dm-flakey"
bad_disk bad-base 32
try_daemon "snapshot" snapshots
try_daemon "tree of an export" trees
try_daemon "tree of all devices, with and without a daemon" devices
try_daemon "attach through the daemon" attached
try_daemon "attach: every option means the same, or is refused" options
try_daemon "attach that fails half-way" half_way
try_daemon "attach ended at any moment" ended
try_daemon "attach without a daemon, or with one that does not answer" without
try_daemon "jobs: once, as lines, as JSON, on a terminal" shown
try_daemon "a job that ends at once is waited for" at_once
try_daemon "commit, in one and in two steps" commits
try_daemon "interrupted, cancelled, and a daemon that is killed" interrupted
try_daemon "a daemon that is killed, and the next one" next_daemon
try_daemon "a bar on a terminal" terminal
try_daemon "errors below" errors
tail -n 20 "$scratch/daemon.log" | sed 's/^/# /'
