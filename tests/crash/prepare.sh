# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Images as they are before a workload begins.  Sourced by run, after workloads.sh.

snapshot_name=before

# Sectors of generation 0 of the disk in two of three pieces, zeroes in the third.
fill_source() {
	local file=$1 pieces=24 i piece=$((size * 2048 / 24))

	truncate -s "${size}M" "$file"
	for ((i = 0; i < pieces; i++)); do
		[ $((i % 3)) = 2 ] || fill "$file" "$seed" $((i * piece)) "$piece"
	done
}

# own_clusters IMAGE FIRST: one cluster in eight of the image gets content of its own, beginning
# with number FIRST: plain, compressed, zero, in turn.
own_clusters() {
	local image=$1 i command=() bytes=$((size << 20)) step=$((cluster * 8)) kind=0 at
	local piece sectors=$((cluster / 512))

	# Many small clusters would take long: then they are in larger pieces.
	[ $((bytes / step)) -le 64 ] || step=$((bytes / 64))
	rm -f piece.*
	for ((at = $2 * cluster; at + cluster <= bytes; at += step)); do
		piece=piece.$at
		case $kind in
		0) command+=(-c "write -s $piece $at $cluster") ;;
		1) command+=(-c "write -c -s $piece $at $cluster") ;;
		2) command+=(-c "write -z $at $cluster") piece= ;;
		esac
		[ -z "$piece" ] || fill "$piece" "$seed" $((at / 512)) "$sectors" 0
		kind=$(((kind + 1) % 3))
	done
	qemu-io -t unsafe -f qcow2 "${command[@]}" "$image" > /dev/null
	rm -f piece.*
}

# The disk with a file system that holds the image: the file "disk".
file_on_disk() {
	mkdir tree
	mv top.qcow2 tree/top.qcow2
	truncate -s "${disk_size}M" disk
	mkfs.ext4 -q -E lazy_itable_init=0,nodiscard -O ^has_journal,^resize_inode disk
	tune2fs -j -J size=4 disk > /dev/null
	debugfs -w -R "write tree/top.qcow2 top.qcow2" disk > /dev/null 2>&1
	rm -r tree
}

# The disk with the layers of a chain in pieces of the same size, each with data that tell them
# apart, and another disk's sectors behind each.
chain_on_disk() {
	local name below='' nr=0 seed=$seed slice

	slice=$(slice_sectors)
	fill disk $((seed + 1)) 0 $((disk_size * 2048))
	for name in $layers; do
		if [ -z "$below" ]; then
			fill_source source
			qemu-img convert -f raw -O qcow2 -o "$create_options" -c source "$name"
			rm source
		else
			"${create[@]}" -b "$below" -F qcow2 "$name"
			own_clusters "$name" "$nr"
			own_clusters "$name" $((nr + 2))
		fi
		dd if="$name" of=disk conv=notrunc bs=64K seek=$((nr * slice / 128)) status=none
		below=$name
		nr=$((nr + 1))
		seed=$((seed + 100))
	done
	# shellcheck disable=SC2086	# names are words
	rm $layers
}

# The disk with the image at its beginning, and another disk's sectors behind it.
image_on_disk() {
	fill disk $((seed + 1)) 0 $((disk_size * 2048))
	dd if=top.qcow2 of=disk conv=notrunc bs=64K status=none
	rm top.qcow2
}

# prepare: in the current directory makes "disk" and base.qcow2, as the variables of choose_workload say.
prepare() {
	local create create_options="cluster_size=$cluster,compat=0.10"

	[ "$version" != 3 ] ||
		create_options="cluster_size=$cluster,compat=1.1,refcount_bits=$refcount_bits"
	create=(qemu-img create -q -f qcow2 -o "$create_options")
	case $image in
	empty)
		"${create[@]}" top.qcow2 "${size}M"
		;;
	backed|mixed)
		fill_source source
		qemu-img convert -f raw -O qcow2 -c source base.qcow2
		"${create[@]}" -b base.qcow2 -F qcow2 top.qcow2
		if [ "$image" = mixed ]; then
			own_clusters top.qcow2 1
			own_clusters top.qcow2 2
			qemu-img snapshot -c $snapshot_name top.qcow2
			own_clusters top.qcow2 3
			own_clusters top.qcow2 4
		fi
		rm source
		;;
	filesystem)
		truncate -s "${size}M" source
		mkfs.ext4 -q -E lazy_itable_init=0,nodiscard -O ^resize_inode -J size=4 source
		qemu-img convert -f raw -O qcow2 source base.qcow2
		"${create[@]}" -b base.qcow2 -F qcow2 top.qcow2
		rm source
		;;
	chain)
		chain_on_disk
		return
		;;
	esac
	[ "$image" != mixed ] ||
		qemu-img convert -f qcow2 -O raw -l $snapshot_name top.qcow2 snapshot.raw
	if [ "$place" = file ]; then
		file_on_disk
	else
		image_on_disk
	fi
}
