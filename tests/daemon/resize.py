#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# block_resize of nodes that are no devices, next to qemu-storage-daemon's. Prints TAP.

import os

from daemon import Place, must, run_tests, same

MIB = 1 << 20
FILES = '''
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 7 0 1M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 1M
qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1M
qemu-img snapshot -c s v2.qcow2
qemu-img create -q -f qcow2 large.qcow2 4M
qemu-io -f qcow2 -c 'write -q -P 7 0 4M' large.qcow2
qemu-img convert -c -O qcow2 large.qcow2 packed.qcow2
qemu-img snapshot -c s large.qcow2
qemu-img create -q -f qcow2 marked.qcow2 4M
qemu-img bitmap --add marked.qcow2 b
truncate -s 1M raw.img
'''

# Steps in this order: a command with its arguments, or a shell command whose output is compared.
BOTH = [
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'base', 'read-only': True, 'file': {
        'driver': 'file', 'node-name': 'base-file', 'filename': 'base.qcow2'}}),
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'top', 'backing': 'base', 'file': {
        'driver': 'file', 'node-name': 'top-file', 'filename': 'top.qcow2'}}),
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'small', 'file': {
        'driver': 'file', 'filename': 'small.qcow2'}}),
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'v2', 'file': {
        'driver': 'file', 'filename': 'v2.qcow2'}}),
    ('blockdev-add', {'driver': 'file', 'node-name': 'raw-file', 'filename': 'raw.img'}),
    ('block_resize', {'size': MIB}),
    ('block_resize', {'device': 'x', 'size': MIB}),
    ('block_resize', {'node-name': 'x', 'size': MIB}),
    ('block_resize', {'node-name': 'top'}),
    ('block_resize', {'node-name': 'top', 'size': -1}),
    ('block_resize', {'node-name': 'top', 'size': 2 * MIB + 1}),
    ('block_resize', {'node-name': 'top', 'size': (1 << 63) - 1}),
    ('block_resize', {'node-name': 'top-file', 'size': 9 * MIB}),
    ('block_resize', {'node-name': 'v2', 'size': 2 * MIB}),
    ('block_resize', {'node-name': 'top', 'size': MIB}),
    ('block_resize', {'node-name': 'top', 'size': 3 * MIB}),
    ('block_resize', {'device': 'x', 'node-name': 'top', 'size': 4 * MIB}),
    ('block_resize', {'node-name': 'small', 'size': 200 * MIB}),
    ('block_resize', {'node-name': 'raw-file', 'size': 2 * MIB + 5}),
    'stat -c %s raw.img',
    ('blockdev-add', {'driver': 'raw', 'node-name': 'raw', 'file': 'raw-file'}),
    ('block_resize', {'node-name': 'raw', 'size': 3 * MIB + 5}),
    'stat -c %s raw.img',
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'ro', 'read-only': True, 'file': {
        'driver': 'file', 'filename': 'v2.qcow2', 'locking': 'off'}}),
    ('block_resize', {'node-name': 'ro', 'size': 9 * MIB}),
    # Smaller, also where a snapshot has all of it.
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'large', 'file': {
        'driver': 'file', 'filename': 'large.qcow2'}}),
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'packed', 'file': {
        'driver': 'file', 'filename': 'packed.qcow2'}}),
    ('blockdev-add', {'driver': 'qcow2', 'node-name': 'marked', 'file': {
        'driver': 'file', 'filename': 'marked.qcow2'}}),
    ('block_resize', {'node-name': 'large', 'size': 2 * MIB}),
    ('block_resize', {'node-name': 'large', 'size': MIB - 512}),
    ('block_resize', {'node-name': 'large', 'size': MIB - 513}),
    ('block_resize', {'node-name': 'packed', 'size': MIB}),
    ('block_resize', {'node-name': 'packed', 'size': 2 * MIB}),
    ('block_resize', {'node-name': 'marked', 'size': MIB}),
    ('block_resize', {'node-name': 'v2', 'size': MIB // 2}),
    ('block_resize', {'node-name': 'top', 'size': 2 * MIB}),
    ('block_resize', {'node-name': 'small', 'size': 0}),
    ('block_resize', {'node-name': 'small', 'size': MIB}),
    ('block_resize', {'node-name': 'raw', 'size': 5}),
    'stat -c %s raw.img',
    ('blockdev-del', {'node-name': 'large'}),
    ('blockdev-del', {'node-name': 'packed'}),
    ('blockdev-del', {'node-name': 'marked'}),
    'qemu-img check -q large.qcow2 && qemu-img check -q packed.qcow2',
    "qemu-io -c 'read -P 7 0 1048064' large.qcow2 | grep -v ops",
    "qemu-io -c 'read -P 7 0 1M' -c 'read -P 0 1M 1M' packed.qcow2 | grep -v ops",
    "qemu-img info large.qcow2 | grep virtual",
    "qemu-img snapshot -a s large.qcow2 && qemu-img info large.qcow2 | grep virtual",
    "qemu-io -c 'read -P 7 0 4M' large.qcow2 | grep -v ops",
    "qemu-img info marked.qcow2 | grep virtual",
    ('blockdev-del', {'node-name': 'top'}),
    ('blockdev-del', {'node-name': 'base'}),
    ('blockdev-del', {'node-name': 'small'}),
    ('blockdev-del', {'node-name': 'v2'}),
    "qemu-img info top.qcow2 | grep virtual",
    "qemu-img info small.qcow2 | grep virtual",
    'qemu-img check top.qcow2 | grep -v Image && qemu-img check -q small.qcow2',
    "qemu-io -f qcow2 -c 'read -P 7 0 1M' -c 'read -P 0 1M 1M' top.qcow2 | grep -v ops",
]


class Images(Place):
    """A daemon where FILES are."""

    files = FILES


def like_qemu():
    """images become larger or smaller, or not, as QEMU's do"""
    return Images.next_to_qemu(BOTH)


def unlike_qemu():
    """what differs: nothing shows what was below it, or behind its end"""
    with Images() as p:
        for step in BOTH[:5]:
            same(p.step(step), {'return': {}})
        for arguments, text in [
                ({'node-name': 'base', 'size': 9 * MIB}, "Device 'base' is in use"),
                ({'node-name': 'v2', 'size': 512}, "Can't resize a v2 image which has snapshots")]:
            same(p.ask('block_resize', arguments)['error']['desc'], text)
        for name in ['large', 'packed']:
            same(p.ask('blockdev-add', {'driver': 'qcow2', 'node-name': name, 'file': {
                'driver': 'file', 'filename': f'{name}.qcow2'}}), {'return': {}})
        must('compressed cluster; give it a size that is a multiple of the cluster size' in p.ask(
            'block_resize', {'node-name': 'packed', 'size': MIB + 512})['error']['desc'], 'no reason')
        for size in [MIB + 512, 4 * MIB]:
            same(p.ask('block_resize', {'node-name': 'large', 'size': size}), {'return': {}})
        same(p.ask('blockdev-del', {'node-name': 'large'}), {'return': {}})
        must('failed' not in p.run("qemu-io -c 'read -P 7 0 1049088' -c 'read -P 0 1049088 64k' "
                                   "large.qcow2"), 'the old data shows')
        must('cluster' in p.ask('block_resize', {'node-name': 'small', 'size': 1 << 50})['error'][
            'desc'], 'no reason')
        same(os.stat(os.path.join(p.path, 'raw.img')).st_size, MIB)


run_tests([like_qemu, unlike_qemu])
