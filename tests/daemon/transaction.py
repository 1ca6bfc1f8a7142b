#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Transactions over nodes that are no devices, next to qemu-storage-daemon's. Prints TAP.

from daemon import Place, run_tests, same

FILES = '''
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f qcow2 b.qcow2 1M
'''
SYNC = ('blockdev-snapshot-sync', {'node-name': 'a', 'snapshot-file': 'x.qcow2',
                                   'snapshot-node-name': 'x'})
SNAPSHOT = ('blockdev-snapshot', {'node': 'a', 'overlay': 'b'})
INTERNAL = ('blockdev-snapshot-internal-sync', {'device': 'a', 'name': 's'})
ABORT = ('abort', {})


def qcow2(name, **options):
    return ('blockdev-add', {'driver': 'qcow2', 'node-name': name, **options, 'file': {
        'driver': 'file', 'node-name': f'{name}-file', 'filename': f'{name}.qcow2'}})


def transaction(*actions, mode=None):
    arguments = {'actions': [{'type': type, 'data': data} for type, data in actions]}
    if mode is not None:
        arguments['properties'] = {'completion-mode': mode} if mode else {}
    return ('transaction', arguments)


def nothing(type):
    return (type, {key: 'nothing' for key in {
        'blockdev-snapshot-sync': ['node-name', 'snapshot-file', 'snapshot-node-name'],
        'blockdev-snapshot': ['node', 'overlay'],
        'blockdev-snapshot-internal-sync': ['device', 'name']}[type]})


# As in internal.py.
BOTH = [
    qcow2('a'),
    qcow2('b', backing=None),
    transaction(mode='grouped'),
    transaction(mode='nonsense'),
    transaction(ABORT, mode='grouped'),
    *(transaction(action, mode='grouped') for action in (SYNC, SNAPSHOT, INTERNAL)),
    *(transaction(nothing(type), mode='grouped') for type, _ in (SYNC, SNAPSHOT, INTERNAL)),
    transaction(ABORT, SYNC, mode='grouped'),
    transaction(SYNC, ABORT, mode='grouped'),
    'ls *.qcow2; qemu-img snapshot -U -l a.qcow2',
    transaction(SYNC, ABORT, mode='individual'),
    'rm -f x.qcow2',            # QEMU leaves it
    'ls *.qcow2; qemu-img snapshot -U -l a.qcow2',
    transaction(INTERNAL, mode='individual'),
    transaction(SNAPSHOT, mode=''),
    'ls *.qcow2; qemu-img snapshot -U -l a.qcow2 | sed 1,2d | cut -c 1-20',
]


class Images(Place):
    """A daemon where FILES are."""

    files = FILES


def like_qemu():
    """a transaction is carried out, or refused, as by QEMU"""
    return Images.next_to_qemu(BOTH)


def nothing_left():
    """a completion mode that is refused leaves nothing behind"""
    with Images() as p:
        same(p.step(qcow2('a')), {'return': {}})
        same(p.ask(*transaction(SYNC, mode='grouped'))['error']['desc'],
             "Action 'blockdev-snapshot-sync' does not support Transaction property "
             'completion-mode = grouped')
        same(p.run('ls *.qcow2'), 'a.qcow2\nb.qcow2\n')


run_tests([like_qemu, nothing_left])
