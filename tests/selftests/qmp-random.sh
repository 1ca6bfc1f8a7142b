#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Random sequences of commands to qchaind (qmp_random.py) on one or two devices with random chains,
# under verified I/O: snapshots, jobs of all kinds and what steers them, larger images, names of
# backing files, new images and their exports, limits; many of them in each other's way.  In some a
# disk below fails and recovers, in others the daemon is killed again and again.  After each
# everything must have been kept.
#
# QCHAIN_LONG=1 does hundreds; QCHAIN_ONLY="N..." these alone; QCHAIN_KILLS=N has the daemon killed in
# each, before every third command is answered, and does as many as N kills take.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"
. "$(dirname "$0")/qmp-lib.sh"

kinds=(plain plain faulty killed)
rounds=8 steps=40 ops=150
if [[ $(uname -r) = *debug* ]]; then	# it takes several times as long there
	kinds=(faulty killed) rounds=4
fi
[ -z "${QCHAIN_SHORT:-}" ] || rounds=$((rounds / 2))
[ -z "${QCHAIN_LONG:-}" ] || rounds=240 steps=80 ops=300
kill=12
if [ -n "${QCHAIN_KILLS:-}" ]; then
	kinds=(killed) kill=33 rounds=$(((QCHAIN_KILLS + 6) / 7))
fi
size=$((8 * MIB))

# ---- images -----------------------------------------------------------------------------

# random_chain DEVICE: images in $dir/DEVICE, what they hold in $dir/DEVICE.model; $TOP.
random_chain() {
	local options=(--depth $((1 + RANDOM % 4)) --size "$size" --ops 12 --version mixed)
	local clusters=(4096 16384 65536 65536)

	[ $((RANDOM % 2)) = 0 ] || options+=(--mixed-clusters)
	[ $((RANDOM % 3)) != 0 ] || options+=(--mixed-sizes)
	if [ $((RANDOM % 4)) = 0 ]; then
		options+=(--raw-base)
		[ "${options[1]}" -gt 1 ] || options[1]=2
	fi
	mkdir "$dir/$1"
	seed=$RANDOM chain --cluster "${clusters[RANDOM % 4]}" "${options[@]}" "$dir/$1"
	mv "$model" "$dir/$1.model"
	keep_long_layers "$1"
}

# keep_long_layers DEVICE: what lower layers hold behind the end of the device, which has their size
# after a commit of its top into one of them.
keep_long_layers() {
	local image size

	size=$(stat -c %s "$dir/$1.model")
	for image in "$dir/$1"/*; do
		[ "$(virtual_size "$(format_of "$image")" "$image")" -le "$size" ] ||
			qemu-img convert -f "$(format_of "$image")" -O raw "$image" \
				"$dir/$1.$(basename "$image").long"
	done
}

# The base is on a disk that is going to fail in the middle.
chain_on_bad_disk() {
	local base=/dev/mapper/bad-base

	mkdir "$dir/$1"
	fail_at bad-base
	qemu-img create -q -f qcow2 $base $size
	qemu-io -f qcow2 -c "write -q -P 1 0 5M" -c "write -q -P 2 7M 1M" $base
	TOP=$dir/$1/top
	qemu-img create -q -f qcow2 -b $base -F qcow2 "$TOP.below" $size
	qemu-io -f qcow2 -c "write -q -P 3 2M 1M" "$TOP.below"
	qemu-img create -q -f qcow2 -b "$TOP.below" -F qcow2 "$TOP" $size
	flatten "$TOP" "$dir/$1.model"
}

# ---- a round ----------------------------------------------------------------------------

# Options of the daemon for a device with the image TOP.
device_options() {
	local file=file

	[ ! -b "$2" ] || file=host_device
	echo "--blockdev driver=qcow2,node-name=top-$1,file.driver=$file,file.filename=$2" \
		"--export type=dm,id=$1,name=$1,node-name=top-$1,writable=on"
}

# The I/O of a device, until the sequence has ended; errors may be seen where a disk fails.
start_io() {
	local options=(--watchers 1)

	[ "$2" != faulty ] || options=(--watchers 0 --may-fail read --may-fail write --may-fail fua
		--may-fail flush)
	random_io --seed "$seed" --model "$dir/$1.model" --out "$dir/$1.new" --timeout 300 \
		--threads 3 --ops $ops --max-io 262144 "${options[@]}" \
		--heal "while [ ! -e $dir/over ]; do sleep 0.1; done" "/dev/mapper/$1" \
		> "$dir/$1.io" 2>&1 &
	loads+=($!)
}

is_qcow2() {
	[ "$(header_u32 "$1" 0)" = $((0x514649fb)) ]
}

# behind_end IS MODEL LONG: what is behind the end of the model is zero, or what the layer had there
# that is the top one now.
behind_end() {
	python3 - "$@" <<-'END'
	import os, sys
	now, model, long = sys.argv[1:]
	end = os.path.getsize(model)
	with open(now, 'rb') as f:
	    f.seek(end)
	    tail = f.read()
	was = b''
	if os.path.exists(long):
	    with open(long, 'rb') as f:
	        f.seek(end)
	        was = f.read()
	for at in range(0, len(tail), 512):
	    sector = tail[at:at + 512]
	    if sector.strip(b'\0') and sector != was[at:at + len(sector)]:
	        sys.exit(f'# wrong content at {end + at}, behind the end')
	END
}

# What QEMU's tools say of all images, and of what each device has held.
judge() {
	local kind=$1 image device top

	for image in "$dir"/qcr*/* $([ "$kind" != faulty ] || echo /dev/mapper/bad-base); do
		is_qcow2 "$image" || continue
		if [ "$kind" = faulty ]; then sound "$image"; else clean "$image"; fi
		unlocked "$image"
	done
	while read -r device top; do
		qemu-img convert -f "$(format_of "$top")" -O raw "$top" "$dir/is"
		cmp -n "$(stat -c %s "$dir/$device.new")" "$dir/is" "$dir/$device.new"
		behind_end "$dir/is" "$dir/$device.new" "$dir/$device.$(basename "$top").long"
	done < "$dir/tops"
}

format_of() {
	if is_qcow2 "$1"; then echo qcow2; else echo raw; fi
}

# one_round KIND SEED
one_round() {
	local kind=$1 seed=$2 devices=(qcr0) directories=() device options='' fault=()
	local loads=() load status=0

	RANDOM=$seed
	fresh_dir "$([ $((RANDOM % 3)) = 0 ] && echo tmpfs || echo ext4)"
	cd "$dir"
	rm -f "$QCHAIN_STATE" "$scratch/pid"
	[ "$kind" = faulty ] || [ $((RANDOM % 2)) = 0 ] || devices+=(qcr1)
	for device in "${devices[@]}"; do
		if [ "$kind" = faulty ]; then chain_on_bad_disk "$device"; else random_chain "$device"; fi
		directories+=("$device=$dir/$device")
		options+=" $(device_options "$device" "$TOP")"
	done
	case $kind in
	faulty)
		fault=(--hurt "$(swap bad-base $((2 * MIB)) $((2 * MIB)) \
			"$(shuf -n 1 -e error error_reads error_writes --random-source=<(yes $RANDOM))")"
			--heal "$(swap bad-base)")
		;;
	killed)
		fault=(--kill $kill)
		;;
	esac
	# The daemon is started again by what kills it.
	echo "qchaind --chardev socket,id=m,path=$sock,server=on,wait=off --monitor chardev=m \
		$options > /dev/null 2>> $scratch/daemon.log & echo \$! > $scratch/pid" > launch
	bash launch
	daemon_ready
	for device in "${devices[@]}"; do
		start_io "$device" "$kind"
	done
	qmp_random.py --seed "$seed" --steps $steps --launch "bash $dir/launch" \
		--pid "$scratch/pid" "${fault[@]}" "$sock" \
		"${directories[@]}" > trace 2>&1 || status=$?
	touch over
	for load in "${loads[@]}"; do
		wait "$load" || status=$?
	done
	[ $status = 0 ] || { tail -n 40 trace; tail -n 12 -- *.io; return 1; }
	tail -n 1 trace
	ended_orderly
	judge "$kind"
}

ended_orderly() {
	daemon_ready	# or the client has yet to see that the one before was killed
	execute query-block | gojq -r '.[] | select(.device != "other") | .device + " " + .inserted.file' > tops
	[ -s tops ]
	end_daemon
	dmsetup ls --target qchain | fails grep qc
}

# try_round DESCRIPTION COMMAND...: what one that failed leaves is taken away.
try_round() {
	try "$@"
	touch "$dir/over"
	[ ! -s "$scratch/pid" ] || kill -9 "$(cat "$scratch/pid")" 2> /dev/null
	# shellcheck disable=SC2046	# one word for each
	kill $(pgrep -f "qmp_client.py|random_io") 2> /dev/null
	start_client
}

modprobe dm-flakey || skip_all "there is no dm-flakey"
at_exit cd /
place tmpfs
place ext4
bad_disk bad-base 64
echo "# seed $seed"
list=${QCHAIN_ONLY:-$(seq $rounds)}
# shellcheck disable=SC2086	# words
plan $(wc -w <<< "$list")
for n in $list; do
	kind=${kinds[n % ${#kinds[@]}]}
	try_round "sequence $n, $kind" one_round "$kind" $((seed + n))
done
