#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Memory that the module does not get, and requests that fail now and then, wherever it asks: the
# kernel's fault injection, on the debug kernel. Each allocation of each ioctl fails in turn
# (nth_alloc.c); under random I/O they fail as chance has it. What fails gives an error to whom it
# concerns, and afterwards everything goes on.
#
# QCHAIN_LONG=1 does ten times as many operations, on more kinds of layers; the short form lets the
# first few allocations of an ioctl fail, and each twentieth of the others.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/faulty.sh"

debugfs=/sys/kernel/debug
# More than ever fail: what is left of them tells how many did.
many=1000000000
ops=30 step=20
calls=(disk) places=(ext4)
[ -z "${QCHAIN_LONG:-}" ] || { ops=300 step=1 calls=(ext4 disk) places=(disk ext4 xfs tmpfs); }

# Only allocations with the module's text among the callers fail; user space's never.
set_up() {
	local attr=$debugfs/$1 start size

	start=$(($(cat /sys/module/dm_qchain/sections/.text)))
	size=$(size -A "$QCHAIN_KO" | awk '$1 == ".text" { print $2 }')
	printf %u $start > "$attr/require-start"
	printf %u $((start + size)) > "$attr/require-end"
	echo 32 > "$attr/stacktrace-depth"
	echo 0 > "$attr/verbose"
	[ ! -e "$attr/ignore-gfp-wait" ] || echo 0 > "$attr/ignore-gfp-wait"
	[ ! -e "$attr/min-order" ] || echo 0 > "$attr/min-order"
}

# probability KIND PERCENT: prints the command.
probability() {
	echo "echo $2 > $debugfs/$1/probability"
}

# In a qcow2 header: none of the bits dirty and corrupt.
unmarked() {
	[ $(($(od -An -tu1 -j 79 -N 1 "$1") & 3)) = 0 ]
}

# Random I/O, with $hurt and $heal to be run; what it says is in $scratch/last, too.
load() {
	random_io --seed "$seed" --model "$model" --out "$model.new" --timeout 400 --ops $ops \
		--cluster "$CLUSTER" --max-io 262144 --threads 3 \
		--may-fail read --may-fail write --may-fail flush \
		--hurt "dmsetup message qctest 0 drop_caches; $hurt" --heal "$heal" \
		/dev/mapper/qctest | tee "$scratch/last"
	return "${PIPESTATUS[0]}"
}

# The top layer when it is detached, and what its snapshot holds.
consistent() {
	detach qctest
	unmarked "$TOP"
	sound "$TOP"
	qemu-img convert -f qcow2 -O raw -l before "$TOP" "$scratch/before"
	cmp "$model" "$scratch/before"
}

# On the chain of chain().
shaken() {
	attach qctest "$TABLE"
	load
	mode_is rw || { dmsetup status qctest; return 1; }
	consistent
	content "$TOP" "$model.new"
}

# The same with flushes, after one of which nothing is written any more, and what is not committed is
# not served. The last one fails for certain.
flushes_shaken() {
	local status=0

	heal="$(probability fail_make_request 100); ! sync -d /dev/mapper/qctest; $heal"
	attach qctest "$TABLE"
	load || status=$?
	unread_at_worst $status
	mode_is flush-failed
	consistent
	attach qctest "$TABLE"
	mode_is rw
	random_io --seed "$seed" --model <(cat /dev/mapper/qctest) --ops $ops --cluster "$CLUSTER" \
		--threads 3 /dev/mapper/qctest
	consistent
}

# chain_on PLACE: with the top layer there, and a snapshot in it that shares its tables and clusters.
chain_on() {
	local base

	fresh_dir tmpfs
	base=$dir
	place "$1"
	if [ -d "$place" ]; then
		fresh_dir "$1"
	else
		dir=$place
	fi
	chain --cluster 4096 --depth 2 --size 4194304 "$base" "$dir"
	qemu-img snapshot -c before "$TOP"
}

# shaken_by KIND PERCENT PLACE [FUNCTION]
shaken_by() {
	local failed

	chain_on "$3"
	hurt=$(probability "$1" "$2")
	heal=$(probability "$1" 0)
	echo $many > "$debugfs/$1/times"
	"${4:-shaken}"
	failed=$((many - $(cat "$debugfs/$1/times")))
	echo "# $1: $failed times"
	[ $failed -gt 0 ]
}

# requests_fail BYTES FUNCTION: only such as have that much data.
requests_fail() {
	place disk
	echo 1 > "/sys/class/block/${place#/dev/}/make-it-fail"
	echo "$1" > $debugfs/fail_make_request/space
	shaken_by fail_make_request 10 disk "$2"
}

every_call() {
	chain_on "$1"
	echo -1 > $debugfs/failslab/times
	echo -1 > $debugfs/fail_page_alloc/times
	nth_alloc $((BYTES / 512)) "${TABLE#* * * } 2 writable 1" $step $((1 + seed % step))
	sound "$TOP"
}

mountpoint -q $debugfs || mount -t debugfs none $debugfs
[ -e $debugfs/failslab/require-start ] ||
	skip_all "the kernel cannot fail chosen allocations (tools/vm --kernel debug can)"

echo "# seed $seed"
plan $((2 + ${#calls[@]} + 2 * ${#places[@]}))
for kind in failslab fail_page_alloc; do
	set_up $kind
done
echo 0 > $debugfs/fail_make_request/verbose

for p in "${calls[@]}"; do
	place "$p"
	try "allocations of every ioctl fail, on $p" every_call "$p"
done
for p in "${places[@]}"; do
	place "$p"
	try "small allocations fail under random I/O, on $p" shaken_by failslab 10 "$p"
	try "pages are not got under random I/O, on $p" shaken_by fail_page_alloc 10 "$p"
done
place disk
try "requests fail under random I/O" requests_fail 1 shaken
try "requests and flushes fail under random I/O" requests_fail 0 flushes_shaken
