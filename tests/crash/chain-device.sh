# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Jobs of qchaind in a chain whose images lie one behind another on qclog, so that one log orders
# the writes to all of them, those of the module and those of the daemon.  Sourced by record, after
# workloads.sh.

JOB_SPEED=1500000	# bytes a second: a job takes seconds

# From here on these, by names, are what the disk may be read from.  In the log it stands as a mark.
tops_are() {
	dmsetup message qclog 0 mark "$1"
}

# The daemon with the layers, in the current directory; the last one is the device qctest.
start_chain() {
	local name below='' at=0 options nodes=()

	for name in $layers; do
		dmsetup create "qcslice-$name" \
			--table "0 $(slice_sectors) linear /dev/mapper/qclog $at"
		at=$((at + $(slice_sectors)))
		ln -s "/dev/mapper/qcslice-$name" "$name"
		options=driver=qcow2,node-name=node-$name,discard=unmap
		options+=,file.driver=host_device,file.filename=$name${below:+,backing=node-$below}
		[ "$name" = "${layers##* }" ] || options+=,read-only=on
		nodes+=(--blockdev "$options")
		below=$name
	done
	start_daemon "${nodes[@]}" \
		--export "type=dm,id=qctest,name=qctest,writable=on,node-name=node-$name"
}

job_is() {
	execute query-jobs | gojq -e "$1" > /dev/null
}

# The name of the top image.
top_now() {
	execute query-block | gojq -r '.[0].inserted."node-name" | ltrimstr("node-")'
}

# A job to its end; the commit of the top layer is completed after a while.
one_job() {
	local command=$1 arguments=$2 top base

	top=$(top_now)
	execute "$command" "${arguments%\}}, \"job-id\": \"j\", \"auto-dismiss\": false,
		\"speed\": $JOB_SPEED}" | is '. == {}'
	wait_for 120 job_is '.[0].status | . == "ready" or . == "concluded"'
	if job_is '.[0].status == "ready"'; then
		base=$(gojq -r '."base-node" | ltrimstr("node-")' <<< "$arguments")
		sleep 1
		tops_are "$top,$base"
		execute job-complete '{"id": "j"}' | is '. == {}'
		wait_for 60 job_is '.[0].status == "concluded"'
		tops_are "$base"
	fi
	job_is '.[0] | has("error") | not'
	execute job-dismiss '{"id": "j"}' | is '. == {}'
}

# record_chain DIRECTORY: the workload, while the jobs of $steps run one after another.
record_chain() {
	local command arguments load

	cd "$1"
	start_chain
	# shellcheck disable=SC2086	# words
	workload --journal "$scratch/journal" --log qclog --seed "$seed" --ops "$ops" \
		--cluster "$cluster" --stop "$1/stop" $options /dev/mapper/qctest &
	load=$!
	while read -r command arguments; do
		case $command in
		block-*) one_job "$command" "$arguments" ;;
		*) execute "$command" "$arguments" | is '. == {}' ;;
		esac
	done <<< "$steps"
	sleep 1		# of writes to what has become of it
	touch "$1/stop"
	wait "$load"
	quit_daemon
	# shellcheck disable=SC2086	# words
	dmsetup remove $(printf 'qcslice-%s ' $layers)
	cd "$scratch"
}
