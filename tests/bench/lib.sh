# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154	# variables are set by whoever sources this
#
# Images, and the devices that show them, for measurements in the test VM. Sourced.
#
# A *setting* says where images lie: "device" directly on memory disks (brd), "ext4" and "xfs"
# in files of that file system on one memory disk. A *place* is what an image lies in: the
# path of a memory disk or of a file. Set before:
#	size		bytes of an image, the same for all
#
#	load_modules		the module under test and what else is measured
#	setting_begin SETTING [N]	memory disks, the file system, with room for N (12) full images
#				and many empty ones; sets $setting
#	setting_end		all of it is gone, the memory too
#	place NAME		$place: an empty place; the same one for the same NAME
#	fill_raw PLACE		makes it a raw image, every block written
#	fill_qcow2 PLACE	makes it a qcow2 image, every cluster allocated
#	empty_qcow2 PLACE	makes it a qcow2 image without data
#	warm PLACE		writes every page of a memory disk once, so that it has them all
#	chain_overlays N	$overlays: N places with empty overlays
#	show_* ...		$shown: the device (or file) that shows an image
#	hide_*			the opposite

fail() {
	echo "bench: $*" >&2
	exit 1
}

load_modules() {
	modprobe -a dm_mod dm_thin_pool loop || fail "modules are missing"
	if [ ! -e "$QCHAIN_KO" ] || ! insmod "$QCHAIN_KO"; then
		fail "cannot load $QCHAIN_KO; make module KVER=$(uname -r)"
	fi
}

place_counter=0
declare -A places
overlays=()

# One memory disk each for the images, and overlays have their own, small part of the numbers.
MEMORY_DISKS=560
FIRST_OVERLAY=60

setting_begin() {
	setting=$1
	place_counter=0
	places=()
	overlays=()
	# Pages are allocated when they are written, so the size costs nothing.
	modprobe brd rd_nr=$MEMORY_DISKS rd_size=$((16 << 20)) max_part=0 || fail "no brd"
	[ "$setting" != device ] || return
	# All pages are there before, as on the disks of the devices.
	local mib=$((${2:-12} * (size >> 20) + 512))
	warm /dev/ram0 $((mib << 20))
	case $setting in
	ext4) mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/ram0 ${mib}M ;;
	xfs) mkfs.xfs -q -f -K -d size=${mib}m /dev/ram0 ;;
	*) fail "unknown setting $setting" ;;
	esac || fail "cannot make a file system $setting"
	place_counter=1
	mkdir -p /mnt/bench
	mount -t "$setting" /dev/ram0 /mnt/bench || fail "cannot mount $setting"
}

setting_end() {
	[ "$setting" = device ] || umount /mnt/bench || fail "cannot unmount"
	rmmod brd || fail "a memory disk is still in use"
}

memory_disk() {
	[ "$place_counter" -lt $FIRST_OVERLAY ] || fail "out of memory disks"
	place=/dev/ram$((place_counter++))
}

place() {
	if [ "$setting" != device ]; then
		place=/mnt/bench/$1
		[ -e "$place" ] || : > "$place"
	elif [ -n "${places[$1]:-}" ]; then
		place=${places[$1]}
	else
		memory_disk
		places[$1]=$place
	fi
}

# A device even where images lie in files.
device_place() {
	if [ -n "${places[$1]:-}" ]; then
		place=${places[$1]}
	else
		memory_disk
		places[$1]=$place
	fi
}

# What full images are filled with. Not compressible, no zeroes: nothing is optimised away.
pattern=/dev/shm/bench-pattern
make_pattern() {
	[ -e $pattern ] || openssl enc -aes-128-ctr -K 00 -iv 00 -nosalt -in /dev/zero 2> /dev/null |
		head -c "$size" > $pattern
	[ "$(stat -c %s $pattern)" = "$size" ] || fail "cannot make a pattern of $size bytes"
}

fill_raw() {
	make_pattern
	dd if=$pattern of="$1" bs=1M oflag=direct status=none || fail "cannot fill $1"
}

fill_qcow2() {
	make_pattern
	qemu-img convert -q -t none -f raw -O qcow2 $pattern "$1" || fail "cannot fill $1"
}

empty_image=/dev/shm/bench-empty.qcow2
empty_qcow2() {
	[ -e $empty_image ] || qemu-img create -q -f qcow2 $empty_image "$size" ||
		fail "cannot make an empty image"
	if [ "$setting" != device ]; then
		rm -f "$1"
	fi
	cat $empty_image > "$1" || fail "cannot make $1"
	sync "$1"
}

warm() {
	dd if=/dev/zero of="$1" bs=1M count=$((${2:-size} >> 20)) oflag=direct status=none ||
		fail "cannot write $1"
}

# The module does not follow backing file names, so copies of one empty image do.
chain_overlays() {
	local i

	overlays=()
	for ((i = 0; i < $1; i++)); do
		if [ "$setting" = device ]; then
			overlays+=("/dev/ram$((FIRST_OVERLAY + i))")
		else
			overlays+=("/mnt/bench/overlay-$i")
		fi
	done
	[ -e $empty_image ] || qemu-img create -q -f qcow2 $empty_image "$size"
	tee "${overlays[@]}" < $empty_image > /dev/null || fail "cannot make the overlays"
	sync
}

dm_create() {
	dmsetup create "$1" --table "$2" || fail "cannot make the device $1"
	shown=/dev/mapper/$1
}

dm_remove() {
	dmsetup remove "$1" || fail "cannot remove the device $1"
}

sectors() {
	echo $((size / 512))
}

show_linear() { # NAME PLACE
	dm_create "$1" "0 $(sectors) linear $2 0"
}

# NAME METADATA-PLACE DATA-PLACE [FEATURES]; 64 KiB blocks
show_thin() {
	local pool_sectors=$(((size + (size >> 2)) / 512))

	dd if=/dev/zero of="$2" bs=64k count=1 oflag=direct status=none
	dm_create "$1-meta" "0 $((64 << 11)) linear $2 0"
	dm_create "$1-pool" "0 $pool_sectors thin-pool /dev/mapper/$1-meta $3 128 0 ${4:-}"
	dmsetup message "$1-pool" 0 "create_thin 0" || fail "cannot make a thin device"
	dm_create "$1" "0 $(sectors) thin /dev/mapper/$1-pool 0"
}

hide_thin() {
	dm_remove "$1"
	dm_remove "$1-pool"
	dm_remove "$1-meta"
}

# The same, metadata and data in new files NAME-* beside the images, behind loop devices.
show_thin_files() { # NAME
	local part bytes=$((size + (size >> 2)))

	thin_loops=()
	for part in meta data; do
		rm -f "/mnt/bench/$1-$part"
		truncate -s "$bytes" "/mnt/bench/$1-$part"
		show_loop "/mnt/bench/$1-$part" "$bytes"
		thin_loops+=("$shown")
	done
	show_thin "$1" "${thin_loops[@]}"
}

hide_thin_files() { # NAME
	hide_thin "$1"
	losetup -d "${thin_loops[0]}"
	losetup -d "${thin_loops[1]}"
}

show_loop() { # PLACE [BYTES]
	shown=$(losetup --find --show --direct-io=on --sizelimit "${2:-$size}" "$1") ||
		fail "no loop device for $1"
	[ "$(cat "/sys/block/${shown#/dev/}/loop/dio")" = 1 ] || fail "$shown: no direct I/O"
}

show_qchain() { # NAME TOP [LOWER]...
	local name=$1 layer table

	shift
	table="0 $(sectors) qchain $#"
	for layer; do
		table+=" qcow2 $layer -"
	done
	dm_create "$name" "$table"
}

# The two routes of QEMU run with direct I/O and io_uring, their best.
wait_for_size() { # DEVICE
	local tries

	for ((tries = 0; tries < 200; tries++)); do
		[ "$(blockdev --getsize64 "$1" 2> /dev/null)" != "$size" ] || return 0
		sleep 0.05
	done
	fail "$1 does not come up"
}

show_nbd() { # N PLACE
	modprobe nbd nbds_max=4 max_part=0
	shown=/dev/nbd$1
	qemu-nbd --fork --pid-file="/run/bench-nbd$1.pid" -c "$shown" -f qcow2 --cache=none \
		--aio=io_uring "$2" || fail "qemu-nbd fails"
	wait_for_size "$shown"
}

hide_nbd() { # N
	local pid

	pid=$(cat "/run/bench-nbd$1.pid")
	qemu-nbd -d "/dev/nbd$1" > /dev/null || fail "qemu-nbd -d fails"
	while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
}

# vduse_attach N: $shown is the device of the vduse-blk export "vduseN" of a daemon.
vduse_attach() {
	local known tries

	known=" $(cd /sys/block && echo vd*) "
	vdpa dev add name "vduse$1" mgmtdev vduse || fail "vdpa dev add fails"
	for ((tries = 0; tries < 200; tries++)); do
		for shown in /sys/block/vd*; do
			shown=${shown##*/}
			[ -e "/sys/block/$shown" ] || continue
			case $known in
			*" $shown "*) continue ;;
			esac
			shown=/dev/$shown
			wait_for_size "$shown"
			return
		done
		sleep 0.05
	done
	fail "the vduse device does not come up"
}

load_vduse() {
	modprobe -a vduse virtio_vdpa virtio_blk || fail "no vduse"
}

# vduse_options N NODE: the export of a node, with an iothread; $vduse_options for the daemon.
vduse_options() {
	vduse_options=(--object "iothread,id=io0" --export
		"type=vduse-blk,id=vduse$1,name=vduse$1,node-name=$2,writable=on,num-queues=$(nproc),iothread=io0")
}

show_vduse() { # N TOP [LOWER]...
	local n=$1 i driver backing='' read_only nodes=()

	shift
	load_vduse
	for ((i = $#; i > 0; i--)); do
		driver=file
		[ ! -b "${!i}" ] || driver=host_device
		read_only=off
		[ $i = 1 ] || read_only=on
		nodes+=(--blockdev
			"driver=$driver,filename=${!i},node-name=file$i,cache.direct=on,aio=io_uring,read-only=$read_only"
			--blockdev "driver=qcow2,file=file$i,node-name=image$i,read-only=$read_only$backing")
		backing=,backing=image$i
	done
	vduse_options "$n" image1
	qemu-storage-daemon --daemonize --pidfile "/run/bench-qsd$n.pid" "${nodes[@]}" \
		"${vduse_options[@]}" || fail "qemu-storage-daemon fails"
	vduse_attach "$n"
}

hide_vduse() { # N
	local pid

	pid=$(cat "/run/bench-qsd$1.pid")
	vdpa dev del "vduse$1" || fail "vdpa dev del fails"
	kill "$pid"
	while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
}
