#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A virtual machine whose disk is the device: it mounts its root from there, writes, and powers
# off. With KVM it is this machine's; tests/boot/run starts one beside the test VM.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

kernel_image() {
	local image

	for image in "${QCHAIN_BZIMAGE:-}" "/boot/vmlinuz-$(uname -r)"; do
		[ -r "$image" ] && echo "$image" && return
	done
	return 1
}

# The initramfs loads what the disk and its file system need, and goes over to the root on it.
make_initramfs() {
	local root=$scratch/initramfs n=100 kind path module

	mkdir -p "$root"/{bin,dev,proc,modules,root}
	cp /bin/busybox "$root/bin/busybox"
	for module in virtio_pci virtio_blk ext4; do
		modprobe --show-depends $module
	done | awk '$1 == "insmod" && !seen[$0]++' > "$scratch/modules"
	while read -r kind path; do
		n=$((n + 1))
		case $path in
		*.xz) xz -dc "$path" > "$root/modules/$n.ko" ;;
		*) cp "$path" "$root/modules/$n.ko" ;;
		esac
	done < "$scratch/modules"
	cat > "$root/init" <<-'END'
		#!/bin/busybox sh
		b=/bin/busybox
		$b mount -t proc proc /proc
		$b mount -t devtmpfs dev /dev
		for m in /modules/*.ko; do $b insmod $m; done
		n=0
		until [ -b /dev/vda ] || [ $n -ge 200 ]; do n=$((n + 1)); $b usleep 50000; done
		$b mount -t ext4 /dev/vda /root && exec $b switch_root /root /sbin/init
		echo "no root" > /dev/console
		$b poweroff -f
	END
	chmod +x "$root/init"
	(cd "$root" && find . | cpio --quiet -o -H newc) > "$scratch/initramfs.cpio"
}

make_root() {
	local mnt=$scratch/mnt

	mkdir -p "$mnt"
	mkfs.ext4 -q -O ^has_journal /dev/mapper/qctest
	mount /dev/mapper/qctest "$mnt"
	mkdir -p "$mnt"/{bin,sbin,dev,proc}
	cp /bin/busybox "$mnt/bin/busybox"
	cat > "$mnt/sbin/init" <<-'END'
		#!/bin/busybox sh
		b=/bin/busybox
		$b mount -t proc proc /proc
		$b mount -t devtmpfs dev /dev
		$b dd if=/dev/urandom of=/data bs=64k count=16 2> /dev/null
		$b md5sum /data > /sum
		$b grep ' / ' /proc/mounts > /mounted
		echo booted > /marker
		$b sync
		$b mount -o remount,ro /
		$b poweroff -f
	END
	chmod +x "$mnt/sbin/init"
	umount "$mnt"
}

# Runs the machine to its end.
machine() {
	local console=$scratch/console log=$scratch/qemu.log options=(
		-nodefaults -no-user-config -no-reboot -display none -machine pc -smp 1 -m 256
		-kernel "$bzimage"
		-append "console=ttyS0 quiet panic=-1 rdinit=/init tsc=reliable no_timer_check"
		-device virtio-blk-pci,drive=d)

	if [ -n "${QCHAIN_BOOT:-}" ]; then
		beside
		console=$QCHAIN_BOOT/console log=$QCHAIN_BOOT/qemu.log
	else
		timeout 300 qemu-system-x86_64 "${options[@]}" -accel kvm \
			-initrd "$scratch/initramfs.cpio" -serial "file:$console" \
			-drive file=/dev/mapper/qctest,format=raw,if=none,id=d,cache=none,aio=native \
			2> "$log" || echo "status $?" >> "$log"
	fi
	grep -q '^status ' "$log" || return 0
	tail -n 5 "$log" "$console" | sed 's/^/# /'
	return 1
}

# One that its host starts when it may, with these options and this disk.
beside() {
	local port

	port=/dev/$(basename "$(dirname "$(grep -lx qchain.disk /sys/class/virtio-ports/*/name)")")
	cp "$scratch/initramfs.cpio" "$QCHAIN_BOOT/"
	declare -p options > "$QCHAIN_BOOT/ready.new"
	mv "$QCHAIN_BOOT/ready.new" "$QCHAIN_BOOT/ready"
	nbdkit --single file /dev/mapper/qctest 3<> "$port" <&3 >&3
	wait_for 60 [ -e "$QCHAIN_BOOT/over" ]
}

boot() {
	qemu-img create -q -f qcow2 "$dir/base" 64M
	attach qctest "$(table_of '' qcow2 "$dir/base")"
	make_root
	detach qctest
	clean "$dir/base"

	qemu-img create -q -f qcow2 -b "$dir/base" -F qcow2 "$dir/top"
	attach qctest "$(table_of '' qcow2 "$dir/top" qcow2 "$dir/base")"
	make_initramfs
	machine
	detach qctest
	clean "$dir/top"

	attach qctest "$(table_of read_only qcow2 "$dir/top" qcow2 "$dir/base")"
	mount -o ro,noload /dev/mapper/qctest "$scratch/mnt"
	[ "$(cat "$scratch/mnt/marker")" = booted ]
	grep -q ' / ext4 rw' "$scratch/mnt/mounted"
	# "SUM  /data", written by the guest.
	[ "$(md5sum < "$scratch/mnt/data" | cut -c -32)" = "$(cut -c -32 "$scratch/mnt/sum")" ]
	umount "$scratch/mnt"
	detach qctest
}

if [ -z "${QCHAIN_BOOT:-}" ]; then
	[ -w /dev/kvm ] || skip_all "there is no KVM; in a test VM: tests/boot/run"
	command -v qemu-system-x86_64 > /dev/null || skip_all "qemu-system-x86_64 is not installed"
fi
bzimage=$(kernel_image) || skip_all "the image of the running kernel is not in /boot"
plan 1
fresh_dir tmpfs
try "a virtual machine boots from the device" boot
