# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What every shell test needs: TAP results, the module, disks, and an end that leaves nothing
# behind. Sourcing it loads the module (afresh when it was loaded) and sets
#	scratch		an empty directory on a tmpfs of the test's own
# The results are complete when the script ends; it need not call anything for that.
#
#	plan N				optional; N results must follow
#	ok DESCRIPTION			a result
#	not_ok DESCRIPTION [LINE]...	a failure, with lines that explain it
#	check DESCRIPTION COMMAND...	ok when the command succeeds, else its output is shown
#	check_fails DESCRIPTION COMMAND...	ok when it fails
#	skip DESCRIPTION REASON		a result that this machine cannot give
#	skip_all REASON			ends a test that this machine cannot run
#	at_exit COMMAND...		run at the end, before disks and devices are removed
#	load_module [PARAMETER=VALUE]..., unload_module
#	new_disk MIB [BLOCK_SIZE]	$disk: a new memory disk, with discard

KSFT_SKIP=4

results=0
failures=0
planned=
times=()
timed=$SECONDS
hooks=()
null_disks=()

plan() {
	planned=$1
	echo "1..$1"
}

# One more result, and how long it took.
count_result() {
	results=$((results + 1))
	times+=("$((SECONDS - timed)) for $results")
	timed=$SECONDS
}

ok() {
	count_result
	echo "ok $results $1"
}

not_ok() {
	count_result
	failures=$((failures + 1))
	echo "not ok $results $1"
	shift
	[ $# -eq 0 ] || printf '# %s\n' "$@"
}

skip() {
	count_result
	echo "ok $results $1 # SKIP $2"
}

skip_all() {
	echo "1..0 # SKIP $1"
	planned=0
	exit $KSFT_SKIP
}

check() {
	local description=$1 output

	shift
	if output=$("$@" 2>&1); then
		ok "$description"
	else
		not_ok "$description" "failed: $*"
		[ -z "$output" ] || sed 's/^/#   /' <<< "$output"
	fi
}

check_fails() {
	local description=$1 output

	shift
	if output=$("$@" 2>&1); then
		not_ok "$description" "succeeded, but must not: $*"
		[ -z "$output" ] || sed 's/^/#   /' <<< "$output"
	else
		ok "$description"
	fi
}

at_exit() {
	hooks+=("$(printf '%q ' "$@")")
}

load_module() {
	local module

	if [ -z "${QCHAIN_KO:-}" ]; then
		modprobe dm-qchain "$@"
		return
	fi
	for module in dm_mod $(modinfo -F depends "$QCHAIN_KO" | tr ',' ' '); do
		modprobe "$module" || return
	done
	insmod "$QCHAIN_KO" "$@"
}

unload_module() {
	[ ! -d /sys/module/dm_qchain ] || rmmod dm_qchain
}

new_disk() {
	local name=qctest${#null_disks[@]} dir

	modprobe null_blk nr_devices=0 || return
	dir=/sys/kernel/config/nullb/$name
	mkdir "$dir" || return
	null_disks+=("$name")
	echo "$1" > "$dir/size"
	echo "${2:-512}" > "$dir/blocksize"
	echo 1 > "$dir/memory_backed"
	echo 1 > "$dir/discard"
	# No cache_size: null_blk's own write cache can spin for ever when it is full.
	echo 1 > "$dir/power" || return
	# By default the device has the name of its index, from 6.x on that of its directory.
	disk=/dev/$name
	[ -b "$disk" ] || disk=/dev/nullb$(cat "$dir/index")
	# When it gets no memory in the middle of several merged bios, null_blk goes on with the next
	# bio, at the sector where it stopped, and reports what became of that: as if all were well.
	echo 2 > "/sys/block/${disk#/dev/}/queue/nomerges"
}

# The shell's own words where they do: these run often, and to start a program takes time in the VM.
dm_names() {
	local name number

	dmsetup ls 2> /dev/null | while read -r name number; do
		[[ $number != \(* ]] || echo "$name"
	done
}

loop_names() {
	losetup --noheadings --list --output NAME
}

# What was not there when the test began: $1 lists what is there, $2 is what was.
new_since() {
	local name

	"$1" | while read -r name; do
		[[ $'\n'$2$'\n' = *$'\n'$name$'\n'* ]] || echo "$name"
	done
}

# Mounts, devices and loops lie upon each other in any order, so take off what is on top until
# nothing can be taken off any more.
tear_down() {
	local round target name

	for round in 1 2 3 4 5 6; do
		findmnt -rno TARGET | grep "^$scratch/" | sort -r |
			while read -r target; do umount "$target" 2> /dev/null; done
		for name in $(new_since dm_names "$dm_before"); do
			dmsetup remove "$name" 2> /dev/null
		done
		for name in $(new_since loop_names "$loops_before"); do
			losetup -d "$name" 2> /dev/null
		done
		[ -n "$(new_since dm_names "$dm_before")" ] ||
			[ -n "$(new_since loop_names "$loops_before")" ] ||
			findmnt -rno TARGET | grep -q "^$scratch/" || break
		# A loop device goes when its last user has closed it.
		[ "$round" = 1 ] || sleep 0.2
	done
}

finish() {
	local status=$? hook name left

	trap - EXIT
	for hook in "${hooks[@]}"; do
		eval "$hook"
	done
	# shellcheck disable=SC2046	# one word for each
	kill $(jobs -p) 2> /dev/null
	wait
	tear_down
	for name in "${null_disks[@]}"; do
		echo 0 > "/sys/kernel/config/nullb/$name/power"
		rmdir "/sys/kernel/config/nullb/$name"
	done
	cd / && umount "$scratch" && rmdir "$scratch"

	[ "$status" != $KSFT_SKIP ] || [ "$planned" != 0 ] || { unload_module; exit $KSFT_SKIP; }
	left=$(new_since dm_names "$dm_before")
	if [ -n "$left" ]; then
		echo "# devices that cannot be removed:" $left
		failures=$((failures + 1))
	elif ! unload_module; then
		echo "# the module cannot be unloaded"
		failures=$((failures + 1))
	fi
	[ -n "$planned" ] || plan $results
	[ -z "${left_out:-}" ] || echo "# $left_out variants are not in the short form"
	if [ "$planned" != $results ]; then
		echo "# $planned results planned, $results given"
		failures=$((failures + 1))
	fi
	[ "$status" = 0 ] || echo "# the script ended with status $status"
	echo "# $SECONDS seconds$(printf '%s\n' "${times[@]}" | sort -rn | head -n 6 |
		awk '$1 > 4 { printf ", %s", $0 }')"
	[ "$status" != 0 ] || [ $failures = 0 ] || status=1
	exit "$status"
}

dm_before=$(dm_names)
loops_before=$(loop_names)
scratch=$(mktemp -d /tmp/qchain-test.XXXXXX)
mount -t tmpfs -o size=75% scratch "$scratch"
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

unload_module
if ! load_module; then
	echo "Bail out! cannot load the module ${QCHAIN_KO:-dm-qchain}"
	exit 1
fi
