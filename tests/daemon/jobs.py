#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What block-stream and block-commit refuse of nodes that are no devices, next to
# qemu-storage-daemon's. Prints TAP.

from daemon import Place, run_tests, same

FILES = '''
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2
'''


def qcow2(name, **options):
    return ('blockdev-add', {'driver': 'qcow2', 'node-name': name, **options, 'file': {
        'driver': 'file', 'node-name': f'{name}-file', 'filename': f'{name}.qcow2'}})


def stream(**arguments):
    return ('block-stream', {'device': 'c', 'job-id': 'j', **arguments})


def commit(**arguments):
    return ('block-commit', {'device': 'c', 'job-id': 'j', **arguments})


def refused(job):
    """Names for the filter: those of nodes, and what is no name."""
    for name in ['a', 'c', 'c-file', '', '9', '#x', 'a b', 'x' * 32]:
        yield job(**{'filter-node-name': name})
    yield job(**{'filter-node-name': 5})


SYNC = {'snapshot-file': 'x.qcow2', 'snapshot-node-name': 'x'}
NOT_FOUND = [
    ('block-stream', {'device': 'x'}),
    ('block_resize', {'device': 'x', 'size': 512}),
    ('block_resize', {'node-name': 'x', 'size': 512}),
    ('blockdev-snapshot-sync', {'device': 'x', **SYNC}),
    ('blockdev-snapshot-sync', {'node-name': 'x', **SYNC}),
    ('change-backing-file', {'device': 'x', 'image-node-name': 'c', 'backing-file': 'a.qcow2'}),
]

# As in internal.py.
BOTH = [
    qcow2('a', **{'read-only': True}),
    qcow2('b', backing='a', **{'read-only': True}),
    qcow2('c', backing='b'),
    *refused(stream),
    *refused(commit),
    *NOT_FOUND,
    *(commit(**{'top-node': 'b', 'filter-node-name': name}) for name in ['b', '-']),
]


class Images(Place):
    """A daemon where FILES are."""

    files = FILES

    def ask(self, command, arguments=None):
        """What a job says that has not come to be is left out."""
        answer = super().ask(command, arguments)
        while 'event' in answer:
            answer = self.client.receive()
        return answer


def like_qemu():
    """what is refused, is refused as by QEMU"""
    return Images.next_to_qemu(BOTH)


def classes():
    """what is not found has the class that the schema has for it"""
    with Images() as p:
        for command, arguments in NOT_FOUND:
            wanted = {'class': 'DeviceNotFound', 'desc': "Cannot find device='{}' nor node-name='{}'"
                      .format(arguments.get('device', ''), arguments.get('node-name') or (
                          'x' if command in ('block-stream', 'change-backing-file') else ''))}
            same(p.ask(command, arguments)['error'], wanted)
        for command in ['block-commit', 'block-stream']:
            same(p.ask(command, {'device': 'x'})['error']['class'], 'DeviceNotFound')
        for command, arguments in [
                ('blockdev-snapshot', {'node': 'x', 'overlay': 'y'}),
                ('blockdev-snapshot-internal-sync', {'device': 'x', 'name': 's'}),
                ('blockdev-snapshot-delete-internal-sync', {'device': 'x', 'name': 's'})]:
            same(p.ask(command, arguments)['error']['class'], 'GenericError')


run_tests([like_qemu, classes])
