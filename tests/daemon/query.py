#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is told of nodes that are no devices, next to qemu-storage-daemon's. Prints TAP.

from daemon import Place, run_tests

FILES = '''
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
truncate -s 1M r.raw
'''


def qcow2(name, **options):
    return ('blockdev-add', {'driver': 'qcow2', 'node-name': name, **options, 'file': {
        'driver': 'file', 'node-name': f'{name}-file', 'filename': f'{name}.qcow2'}})


# As in internal.py.
BOTH = [
    qcow2('a', **{'read-only': True}),
    qcow2('b', backing='a'),
    ('blockdev-add', {'driver': 'raw', 'node-name': 'r', 'file': {
        'driver': 'file', 'node-name': 'r-file', 'filename': 'r.raw'}}),
    ('query-blockstats', {}),
    ('query-blockstats', {'query-nodes': False}),
    ('query-blockstats', {'query-nodes': True}),
    ('query-blockstats', {'query-nodes': 1}),
]


def comparable(value):
    """Without what a driver counts for itself."""
    if isinstance(value, list):
        return [comparable(element) for element in value]
    if isinstance(value, dict):
        return {key: comparable(member) for key, member in value.items()
                if key != 'driver-specific'}
    return value


class Images(Place):
    """A daemon where FILES are."""

    files = FILES

    def step(self, step):
        return comparable(super().step(step))


def like_qemu():
    """statistics of nodes have the form that they have in QEMU"""
    return Images.next_to_qemu(BOTH)


run_tests([like_qemu])
