# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# The cases of block-stream and block-commit of live-block-operations.rst by their own JSON, over
# qmp-chain.sh.

# operation JSON LAYERS IMAGE...: job0, to its end.
operation() {
	local json=$1

	shift
	chain_of_four
	qmp "$json" | is '. == {}'
	wait_for 60 status_is job0 null
	story job0 "$completed"
	data_of BLOCK_JOB_COMPLETED | is '.device == "job0" and .len == .offset and
		.len == 41943040 and .speed == 0 and (has("error") | not)'
	execute query-block-jobs | is '. == []'
	no_jobs
	ends "$@"
}

# active JSON LAYERS IMAGE...: the same in two phases.
active() {
	local json=$1

	shift
	chain_of_four
	qmp "$json" | is '. == {}'
	wait_for 60 status_is job0 ready
	data_of BLOCK_JOB_READY | is '.type == "commit" and .device == "job0" and .len == .offset'
	qmp '{ "execute": "query-block-jobs", "arguments": {} }' | is 'length == 1 and
		(.[0] | .type == "commit" and .ready and .device == "job0" and (.paused | not) and
		.len == .offset and ."io-status" == "ok" and .speed == 0 and .status == "ready")'
	sleep 1
	qmp '{ "execute": "block-job-complete", "arguments": { "device": "job0" } }' | is '. == {}'
	wait_for 60 status_is job0 null
	story job0 "created running ready BLOCK_JOB_READY ${completed#created running }"
	no_jobs
	ends "$@"
}

# a_case N DESCRIPTION COMMAND...: a result, in the short form only when $short_cases matches N.
a_case() {
	fresh_dir ext4
	# shellcheck disable=SC2053	# a pattern
	if [[ $1 = $short_cases ]]; then
		try_daemon "${@:2}"
	else
		variant "${@:2}"
	fi
}

short_cases='*'

# every_case PREFIX: eight results, with PREFIX before each description.
every_case() {
	a_case 1 "$1block-stream, case 1: everything into the active layer" operation '{
        "execute": "block-stream",
        "arguments": {
            "device": "node-D",
            "job-id": "job0"
        }
    }' "d.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
	a_case 2 "$1block-stream, case 2: down to a base" operation '{ "execute": "block-stream",
		"arguments": { "device": "node-D", "base-node": "node-A", "job-id": "job0" } }' \
		"d.qcow2 a.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
	a_case 3 "$1block-stream, case 3: into an intermediate layer" operation '{ "execute": "block-stream",
		"arguments": { "device": "node-C", "base-node": "node-A", "job-id": "job0" } }' \
		"d.qcow2 c.qcow2 a.qcow2" a.qcow2 b.qcow2 c.qcow2 d.qcow2
	a_case 4 "$1block-commit, case 1: one layer into the base" operation '{
        "execute": "block-commit",
        "arguments": {
            "device": "node-D",
            "job-id": "job0",
            "top": "b.qcow2",
            "base": "a.qcow2"
        }
    }' "d.qcow2 c.qcow2 a.qcow2" a.qcow2 c.qcow2 d.qcow2
	a_case 5 "$1block-commit, case 2: two layers into the base" operation '{ "execute": "block-commit",
		"arguments": { "device": "node-D", "job-id": "job0", "top": "c.qcow2",
		"base": "a.qcow2" } }' "d.qcow2 a.qcow2" a.qcow2 d.qcow2
	a_case 6 "$1block-commit, case 3: all into the base" active '{
        "execute": "block-commit",
        "arguments": {
            "device": "node-D",
            "job-id": "job0",
            "top": "d.qcow2",
            "base": "a.qcow2"
        }
    }' "a.qcow2" a.qcow2
	a_case 7 "$1block-commit, case 4: between intermediate layers" operation '{ "execute": "block-commit",
		"arguments": { "device": "node-D", "job-id": "job0", "top": "c.qcow2",
		"base": "b.qcow2" } }' "d.qcow2 b.qcow2 a.qcow2" a.qcow2 b.qcow2 d.qcow2
	a_case 8 "$1block-commit, case 5: the active layer into an intermediate one" active '{
		"execute": "block-commit", "arguments": { "device": "node-D", "job-id": "job0",
		"top": "d.qcow2", "base": "b.qcow2" } }' "b.qcow2 a.qcow2" a.qcow2 b.qcow2
}
