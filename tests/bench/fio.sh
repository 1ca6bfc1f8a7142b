# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154	# variables are set by whoever sources this
#
# Runs fio over the candidates of a comparison. Sourced, with lib.sh. Set before: out, size.
#
#	no_candidates		starts a comparison
#	candidate NAME		enters the device (or file) $shown under that name
#	drop_candidates PATTERN	forgets those whose names match
#	fio_warm_up FIGURE	each candidate once, shortly; what is done once per image is done
#	fio_report FIGURE FIRST LAST OPTIONS
#				measures all candidates in rounds FIRST to LAST; fio's report in JSON
#				goes to $out, a job's name in it is SETTING/FIGURE/CANDIDATE/ROUND
#	say WORDS		progress, with the VM's clock

cpus=$(nproc)

say() {
	printf '%s %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$*"
}

no_candidates() {
	order=()
	unset device
	declare -gA device=()
}

# What fio needs to know for each figure.
figure_options() {
	case $1 in
	read-4k-1)	echo rw=randread bs=4k iodepth=1 numjobs=1 ;;
	write-4k-1)	echo rw=randwrite bs=4k iodepth=1 numjobs=1 ;;
	read-4k-16)	echo rw=randread bs=4k iodepth=16 numjobs="$cpus" ;;
	write-4k-16)	echo rw=randwrite bs=4k iodepth=16 numjobs="$cpus" ;;
	read-64k)	echo rw=read bs=64k iodepth=16 numjobs="$cpus" \
				size=$((100 / cpus))% offset_increment=$((100 / cpus))% ;;
	read-1m)	echo rw=read bs=1m iodepth=16 numjobs="$cpus" \
				size=$((100 / cpus))% offset_increment=$((100 / cpus))% ;;
	first-4k)	echo rw=randwrite bs=4k iodepth=16 numjobs=1 io_size=$((size / 16)) ;;
	first-64k)	echo rw=write bs=64k iodepth=16 numjobs=1 ;;
	esac
}

fio_globals() {
	printf '%s\n' '[global]' ioengine=io_uring direct=1 thread=1 group_reporting=1 \
		gtod_reduce=1 norandommap=1 randrepeat=1 randseed=42 allow_file_create=0 \
		disk_util=0 size="$size" "$@"
}

fio_jobs() { # FIGURE ROUND
	local candidate

	for candidate in "${order[@]}"; do
		# shellcheck disable=SC2046	# one option a line
		printf '%s\n' "[$setting/$1/$candidate/$2]" stonewall \
			"filename=${device[$candidate]}" $(figure_options "$1")
	done
}

fio_warm_up() {
	local job=/run/bench-warm-up.fio

	{
		fio_globals number_ios=300
		fio_jobs "$1" 0
	} > $job
	fio --output=/run/bench-warm-up.log $job || fail "fio fails: $(cat /run/bench-warm-up.log)"
}

# A stonewalled job per candidate and round: A B C A B C..., all in one fio, so that what
# disturbs the machine disturbs all candidates.
fio_report() { # FIGURE FIRST-ROUND LAST-ROUND EXTRA-OPTIONS
	local figure=$1 first=$2 last=$3 job=/run/bench.fio round
	local report=$out/$setting-$figure-$first.json

	{
		fio_globals "$4"
		for ((round = first; round <= last; round++)); do
			fio_jobs "$figure" "$round"
		done
	} > $job
	fio --output-format=json --output="$report" $job || fail "fio fails: $(tail -n 5 "$report")"
	say "$setting: $figure"
}

candidate() { # NAME: its device is $shown
	order+=("$1")
	device[$1]=$shown
}

drop_candidates() {
	local name left=()

	for name in "${order[@]}"; do
		# shellcheck disable=SC2053	# a pattern
		[[ $name == $1 ]] || left+=("$name")
	done
	order=("${left[@]}")
}
