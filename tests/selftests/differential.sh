#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Random chains made by QEMU's tools: every cluster size, version and depth, in files and on
# devices, against qemu-img's reading of them and against a model under random I/O.
#
# QCHAIN_SEED=N repeats a run; QCHAIN_ONLY=N runs combination N alone; QCHAIN_LONG=1 does more; the
# short form has each cluster size at each depth, with one of the versions.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"

long=${QCHAIN_LONG:-0}
settings=("tmpfs" "ext4" "xfs" "disk disk-2" "loop4k loop4k-2" "ext4 disk xfs loop4k")

# combination N: sets cluster, version, depth, setting and the chain's own seed.
combination() {
	local clusters=(512 4096 65536 2097152) depths=(1 2 8)

	cluster=${clusters[$1 % 4]}
	version=$((2 + $1 / 4 % 2))
	depth=${depths[$1 / 8]}
	setting=${settings[($1 + seed) % ${#settings[@]}]}
	# More than two layers on disks only would need as many disks.
	if [ $depth = 8 ] && [[ $setting = *' '* ]]; then
		setting="tmpfs ext4 disk xfs tmpfs loop4k ext4 disk-2"
	fi
	chain_seed=$((seed * 100 + $1))
}

# In its own process, while the previous combination is tested.
prepare() {
	local places=() options=() size=8388608 word

	for word in $setting; do
		place "$word"
		[ -b "$place" ] || place=$place/$1
		places+=("$place")
	done
	place tmpfs
	mkdir -p "$place/$1"
	places+=("$place/$1")
	for word in "${places[@]}"; do
		[ -b "$word" ] || mkdir -p "$word"
	done

	case $cluster in
	512) size=4194304 ;;
	2097152) size=$((depth == 8 ? 16777216 : 33554432)) ;;
	esac
	ops=$((depth == 8 ? 14 : depth == 2 ? 30 : 60))
	[ $cluster = 2097152 ] && ops=$((ops / 4))
	[ $((chain_seed % 2)) = 0 ] && options+=(--mixed-sizes)
	[ $((chain_seed % 3)) = 0 ] && options+=(--mixed-clusters)
	[ $((chain_seed % 5)) = 0 ] && [ $depth -gt 1 ] && options+=(--raw-base)
	[[ $setting = *4k* ]] && options+=(--align 4096)
	mkchain --seed $chain_seed --cluster $cluster --version $version --depth $depth \
		--size $size --ops $ops "${options[@]}" "${places[@]}" \
		> "$scratch/$1.chain" || return
	. "$scratch/$1.chain"
	flatten "$TOP" "$scratch/$1.model"
}

# Two combinations must not share a disk: then the next one is prepared only afterwards.
disks_free() {
	! [[ $1 =~ disk|loop && $2 =~ disk|loop ]]
}

combine() {
	local n=$1 name=c$1 zeroes=() rounds=1 round

	. "$scratch/$name.chain"
	[ "$version" = 3 ] && zeroes=(--discard-zeroes "$cluster")
	[ "$long" = 1 ] && rounds=4
	for ((round = 0; round < rounds; round++)); do
		exercise "$TABLE" "$TOP" "$scratch/$name.model" --seed $((chain_seed + round)) \
			--cluster "$cluster" "${zeroes[@]}" --threads 6 \
			--ops $((cluster == 2097152 ? 20 : 60 * (1 + 9 * long))) --max-io 2097152
	done
}

list=$(seq 0 23)
[ -z "${QCHAIN_SHORT:-}" ] || list="0 2 5 7 9 11 12 14 16 18 21 23"
[ -z "${QCHAIN_ONLY:-}" ] || list=$QCHAIN_ONLY
echo "# seed $seed"
# shellcheck disable=SC2086	# words
plan $(wc -w <<< "$list")
for name in tmpfs ext4 xfs disk disk-2 loop4k loop4k-2; do
	place $name
done

pending=
all=" $(echo $list) "
for n in $list; do
	combination "$n"
	this_setting=$setting
	if [ "$pending" != "$n" ]; then
		prepare "c$n" > "$scratch/c$n.log" 2>&1
	else
		wait $preparing
	fi
	prepared=$?

	next=${all#* "$n" } pending=
	next=${next%% *}
	if [ -n "$next" ]; then
		combination "$next"
		if disks_free "$this_setting" "$setting"; then
			prepare "c$next" > "$scratch/c$next.log" 2>&1 &
			preparing=$! pending=$next
		fi
	fi

	combination "$n"
	description="cluster $cluster, version $version, depth $depth, on $setting"
	if [ $prepared != 0 ]; then
		sed 's/^/# /' "$scratch/c$n.log"
		not_ok "$description"
	else
		try "$description" combine "$n"
	fi
	rm -rf "$scratch/c$n".* "$scratch"/*/"c$n"
done
