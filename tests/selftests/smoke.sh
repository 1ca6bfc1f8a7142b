#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The module can be loaded, names its target, and can be unloaded and loaded again.

. "$(dirname "$0")/lib.sh"

plan 3
check "the target is registered" sh -c 'dmsetup targets | grep -q "^qchain "'
check "the module is unloaded" unload_module
check "the module is loaded again" load_module
