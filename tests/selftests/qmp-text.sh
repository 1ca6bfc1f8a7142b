#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Each case of block-stream and block-commit of live-block-operations.rst by its own JSON, with fio
# writing and verifying on the device meanwhile.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chain.sh"
. "$(dirname "$0")/qmp-lib.sh"
. "$(dirname "$0")/qmp-chain.sh"
. "$(dirname "$0")/qmp-cases.sh"

echo "# seed $seed"
plan 8
place tmpfs
place ext4
every_case ""
tail -n 20 "$scratch/daemon.log" | sed 's/^/# /'
