#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Each case of block-stream and block-commit on chains whose layers differ: in their cluster size,
# with compressed clusters in them, and over a raw base.  In the short form each case has one of both.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
. "$(dirname "$0")/qmp-chain.sh"
. "$(dirname "$0")/qmp-cases.sh"

echo "# seed $seed"
place tmpfs
place ext4
kinds=("qcow2 cluster_size=65536" "qcow2 cluster_size=4096 -c" "qcow2 cluster_size=2M"
	"qcow2 cluster_size=512")
short_cases=[1357]
every_case "mixed clusters: "
kinds=("raw" "qcow2 cluster_size=1M -c" "qcow2 cluster_size=1024,compat=0.10"
	"qcow2 cluster_size=65536,refcount_bits=1 -c")
short_cases=[2468]
every_case "a raw base: "
tail -n 20 "$scratch/daemon.log" | sed 's/^/# /'
