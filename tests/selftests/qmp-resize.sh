#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# block_resize of devices in use, larger and smaller, while fio writes and verifies; and a daemon that
# is killed in it.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
at_exit cd /
echo "# seed $seed"

resize() {
	execute block_resize "{\"device\": \"$1\", \"size\": $(($2 << 20))}"
}

# The device, the daemon and the image NAME.FORMAT agree on MIB, and I/O goes on.
is_mib() {
	[ "$(blockdev --getsize64 "/dev/mapper/$1")" = $(($3 << 20)) ]
	[ "$(qemu-img info -U --output=json -f "$2" "$1.$2" | gojq '."virtual-size"')" = $(($3 << 20)) ]
	execute query-block | gojq -e ".[] | select(.device == \"$1\") |
		.inserted.image.\"virtual-size\" == $(($3 << 20))" > /dev/null
	[ "$(dmsetup info -c --noheadings -o suspended,tables_loaded "$1")" = Active:Live ]
}

# Zeroes from MIB to the end at MIB, then 7s.
new_room() {
	qemu-io -f raw -c "read -P 0 $2M $(($3 - $2))M" -c "write -P 7 $2M 1M" \
		-c "read -P 7 $2M 1M" "/dev/mapper/$1" | fails grep -i "fail"
	blkdiscard -o $((($2 << 20) + 524288)) -l 65536 "/dev/mapper/$1"
}

devices=(
	--blockdev "driver=qcow2,node-name=node-o,file.driver=file,file.node-name=of,file.filename=o.qcow2"
	--export type=dm,id=o,node-name=node-o,name=o,writable=on
	--blockdev "driver=qcow2,node-name=node-s,file.driver=file,file.filename=s.qcow2"
	--export type=dm,id=s,node-name=node-s,name=s,writable=on
	--blockdev "driver=raw,node-name=node-r,file.driver=file,file.filename=r.raw"
	--export type=dm,id=r,node-name=node-r,name=r,writable=on
	--blockdev "driver=qcow2,node-name=node-x,file.driver=file,file.filename=x.qcow2"
	--export type=dm,id=x,node-name=node-x,name=x
)

fresh_dir ext4
cd "$dir" || exit
qemu-img create -q -f qcow2 base.qcow2 32M
qemu-io -c "write -q -P 165 28M 4M" base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 o.qcow2
qemu-img create -q -f qcow2 -o cluster_size=512 s.qcow2 2M
qemu-img create -q -f qcow2 x.qcow2 2M
truncate -s 8M r.raw
launch_again
daemon_ready
start_load o 24M

larger() {
	resize o 48 | is '. == {}'
	is_mib o qcow2 48
	new_room o 32 48
	resize o 48 | is '. == {}'
	resize o 10240 | is '. == {}'
	is_mib o qcow2 10240
	qemu-io -f raw -c "write -P 8 10239M 1M" /dev/mapper/o > /dev/null
	kill -0 "$load"
}
try "an overlay grows under load" larger

# 64 entries of an L1 table are a cluster, so that it has to go elsewhere.
longer_table() {
	qemu-io -f raw -c "write -P 9 0 2M" /dev/mapper/s > /dev/null
	resize s 20 | is '. == {}'
	is_mib s qcow2 20
	new_room s 2 20
	qemu-io -r -f raw -c "read -P 9 0 2M" /dev/mapper/s | fails grep -i fail
}
try "an image whose L1 table moves" longer_table

raw() {
	qemu-io -f raw -c "write -P 9 0 8M" /dev/mapper/r > /dev/null
	resize r 12 | is '. == {}'
	is_mib r raw 12
	new_room r 8 12
	qemu-io -r -f raw -c "read -P 9 0 8M" /dev/mapper/r | fails grep -i fail
}
try "a raw image" raw

# Where data is, in the middle of a cluster; what is cut off does not come back, also not from the
# page cache.
smaller() {
	local size=$(((40 << 20) + 512))

	qemu-io -f raw -c "write -P 6 36M 8M" /dev/mapper/o > /dev/null
	dd if=/dev/mapper/o of=/dev/null bs=1M skip=36 count=8 status=none
	execute block_resize "{\"device\": \"o\", \"size\": $size}" | is '. == {}'
	[ "$(blockdev --getsize64 /dev/mapper/o)" = $size ]
	fails dd if=/dev/zero of=/dev/mapper/o bs=1M seek=50 count=1 oflag=direct status=none
	resize o 10240 | is '. == {}'
	is_mib o qcow2 10240
	qemu-io -r -f raw -c "read -P 6 36M 4M" -c "read -P 6 40M 512" -c "read -P 0 $size 8M" \
		-c "read -P 0 10239M 1M" /dev/mapper/o | fails grep -i fail
	dd if=/dev/mapper/o bs=1M skip=41 count=3 status=none | cmp -n $((3 << 20)) - /dev/zero
	qemu-io -f raw -c "write -P 8 10239M 1M" /dev/mapper/o > /dev/null
	resize r 10 | is '. == {}'
	is_mib r raw 10
	resize r 12 | is '. == {}'
	qemu-io -r -f raw -c "read -P 9 0 8M" -c "read -P 0 10M 2M" /dev/mapper/r | fails grep -i fail
	kill -0 "$load"
}
try "smaller and larger again under load" smaller

# Its files survive where they lie before the new end; the device says no to the rest.
mounted() {
	local n

	qemu-img create -q -f qcow2 f.qcow2 64M
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-f", "file": {"driver": "file",
		"filename": "f.qcow2"}}' | is '. == {}'
	execute block-export-add '{"type": "dm", "id": "f", "name": "f", "node-name": "node-f",
		"writable": true}' | is '. == {}'
	mkfs.ext4 -q /dev/mapper/f 32M
	mkdir -p mounted
	mount /dev/mapper/f mounted
	for n in $(seq 8); do
		head -c 1M /dev/urandom > mounted/$n
		resize f $((n % 2 ? 48 : 64)) | is '. == {}'
	done
	sha256sum mounted/? > sums
	umount mounted
	e2fsck -fn /dev/mapper/f > /dev/null 2>&1
	mount -o ro /dev/mapper/f mounted
	sha256sum --quiet -c sums
	# The file system does not fit any more.
	resize f 8 | is '. == {}'
	fails dd if=/dev/mapper/f of=/dev/null bs=1M skip=9 count=1 iflag=direct status=none
	umount mounted
	execute block-export-del '{"id": "f"}' | is '. == {}'
	execute blockdev-del '{"node-name": "node-f"}' | is '. == {}'
	clean f.qcow2
}
try "a mounted file system" mounted

# The image below is longer, and does not show in what is new.
over_longer() {
	qemu-img create -q -f qcow2 below.qcow2 16M
	qemu-io -c "write -P 1 0 16M" below.qcow2 > /dev/null
	qemu-img create -q -f qcow2 -b below.qcow2 -F qcow2 h.qcow2
	execute blockdev-add '{"driver": "qcow2", "node-name": "node-h", "file": {"driver": "file",
		"filename": "h.qcow2"}}' | is '. == {}'
	execute block-export-add '{"type": "dm", "id": "h", "name": "h", "node-name": "node-h",
		"writable": true}' | is '. == {}'
	qemu-io -f raw -c "write -P 2 7M 2M" /dev/mapper/h > /dev/null
	resize h 8 | is '. == {}'
	resize h 12 | is '. == {}'
	resize h 24 | is '. == {}'
	new_room h 8 24
	qemu-io -r -f raw -c "read -P 1 0 7M" -c "read -P 2 7M 1M" /dev/mapper/h | fails grep -i fail
	execute block-export-del '{"id": "h"}' | is '. == {}'
	execute blockdev-del '{"node-name": "node-h"}' | is '. == {}'
	clean h.qcow2
	qemu-io -r -c "read -P 1 0 7M" h.qcow2 | fails grep -i fail
}
try "an image over a longer one" over_longer

refusals() {
	says "Device 'o' cannot have the size 0" block_resize '{"device": "o", "size": 0}'
	says "The new size must be a multiple of 512" block_resize '{"device": "o", "size": 10737418241}'
	says "Node 'node-x' is used by export 'x', which is read-only" block_resize \
		'{"device": "x", "size": 10737418240}'
	says_part "Permission conflict on node 'of': permissions 'resize' are both required by" \
		block_resize '{"node-name": "of", "size": 10737418240}'
	says_part "clusters" block_resize "{\"device\": \"s\", \"size\": $((1 << 50))}"
	# Found out when the kernel has let go of the image.
	says_part "no room for a longer L1 table" block_resize "{\"device\": \"s\", \"size\": $((8 << 30))}"
	is_mib s qcow2 20
	execute block-stream '{"device": "o", "job-id": "j", "speed": 1}' | is '. == {}'
	says "Device 'o' is in use" block_resize "{\"device\": \"o\", \"size\": $((20 << 30))}"
	execute job-cancel '{"id": "j"}' > /dev/null
	wait_for 20 no_jobs
	execute stop > /dev/null
	says "'r' is stopped; use cont first" block_resize '{"device": "r", "size": 20971520}'
	execute cont > /dev/null
	kill -0 "$load"
}
try "refusals leave everything as it was" refusals

# Growth whose own process was killed, too.
left_suspended() {
	kill_daemon
	dmsetup suspend s
	dmsetup message s 0 release 0
	fails qemu-img resize -q -f qcow2 s.qcow2 24M
	qemu-img resize -q --image-opts \
		driver=qcow2,file.driver=file,file.filename=s.qcow2,file.locking=off 24M
	fails dmsetup resume s
	launch_again
	daemon_ready
	is_mib s qcow2 24
	qemu-io -r -f raw -c "read -P 9 0 2M" /dev/mapper/s | fails grep -i fail
	fails qemu-io -f qcow2 -c "write 0 512" s.qcow2
	# What an earlier daemon has attached, too.
	resize s 28 | is '. == {}'
	is_mib s qcow2 28
	fails qemu-io -f qcow2 -c "write 0 512" s.qcow2
}
try "a device that was left suspended" left_suspended

killed() {
	local n mib rounds=$some_kills

	for n in $(seq "$rounds"); do
		# Larger and smaller in turn.
		mib=$((10240 + (n % 2 ? n : 8 - n)))
		request block_resize "{\"device\": \"o\", \"size\": $((mib << 20))}"
		sleep "0.$(printf '%03d' $((RANDOM % 250)))"
		kill_daemon
		launch_again
		answer > /dev/null || true
		daemon_ready
		mib=$(($(blockdev --getsize64 /dev/mapper/o) >> 20))
		echo "# round $n: $mib"
		is_mib o qcow2 "$mib"
		kill -0 "$load"
	done
}
try "a daemon that is killed meanwhile" killed

end_load
check "no byte was lost" test $? = 0

judged() {
	local image

	dd if=/dev/mapper/o of="$scratch/content" bs=1M count=40 iflag=direct status=none
	qemu-io -r -f raw -c "read -P 165 28M 4M" -c "read -P 7 32M 512k" -c "read -P 8 10239M 1M" \
		/dev/mapper/o | fails grep -i fail
	end_daemon
	for image in base o s x; do
		clean $image.qcow2
		unlocked $image.qcow2
	done
	qemu-img dd -f qcow2 -O raw bs=1M count=40 if=o.qcow2 "of=$scratch/o.raw" > /dev/null
	cmp -n $((40 << 20)) "$scratch/content" "$scratch/o.raw"
}
try "what QEMU's tools say of the images" judged

