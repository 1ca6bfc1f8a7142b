#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is told of nodes that are no devices, next to qemu-storage-daemon's. Prints TAP.

from daemon import Place, run_tests, same

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


def file(**options):
    return ('blockdev-add', {'driver': 'file', 'node-name': 'x', 'filename': 'r.raw', **options})


# What can be said of options that have one value only, or no effect.
GOOD = [{'aio': 'threads'}, {'aio': 'io_uring'}, {'aio': 'native', 'cache': {'direct': True}},
        {'detect-zeroes': 'off'}, {'force-share': False}, {'cache': {'no-flush': False}},
        {'cache': {'direct': False, 'no-flush': False}}]
BAD = [{'aio': 'native'}, {'aio': 'native', 'cache': {'no-flush': False}}, {'aio': 'x'},
       {'detect-zeroes': 'x'}, {'detect-zeroes': True}, {'force-share': True},
       {'force-share': 'off'}, {'cache': {'no-flush': 'off'}}]
OPTIONS = [step for options in GOOD for step in (
    file(**options), ('blockdev-del', {'node-name': 'x'}))] + [file(**o) for o in BAD] + [
        qcow2('b', **{'detect-zeroes': 'off', 'force-share': False, 'backing': None}),
        qcow2('a', **{'detect-zeroes': 'off', 'read-only': True}),
        ('blockdev-reopen', {'options': [{
            **qcow2('a')[1], 'read-only': True, 'detect-zeroes': 'off',
            'cache': {'direct': False, 'no-flush': False}}]})]


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


def options():
    """options that have one value here are taken with it, as by QEMU"""
    return Images.next_to_qemu(OPTIONS)


def refused():
    """other values are refused, and are not there after that"""
    with Images() as p:
        for options, said in [
                ({'cache': {'no-flush': True}},
                 'cache.no-flush=on is not supported: flushes are always done'),
                ({'detect-zeroes': 'on'}, 'detect-zeroes=on is not supported'),
                ({'detect-zeroes': 'unmap', 'discard': 'unmap'},
                 'detect-zeroes=unmap is not supported'),
                ({'force-share': True, 'read-only': True},
                 "force-share=on is not supported; for a file see 'locking'")]:
            same(p.step(file(**options))['error']['desc'], said)
        same(p.ask('query-named-block-nodes'), {'return': []})
        same(p.ask('block-export-add', {'type': 'dm', 'id': 'x', 'name': 'x', 'node-name': 'x',
                                        'writethrough': True})['error']['desc'],
             'writethrough=on is not supported')
        same(p.ask('block-export-add', {'type': 'dm', 'id': 'x', 'name': 'x', 'node-name': 'x',
                                        'writethrough': False})['error']['desc'],
             "Cannot find device='' nor node-name='x'")
        same(p.ask('block-export-del', {'id': 'x', 'mode': 'hard'})['error']['desc'],
             "Parameter 'mode' does not accept value 'hard'")


run_tests([like_qemu, options, refused])
