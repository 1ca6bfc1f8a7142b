#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Internal snapshots of nodes that are no devices, next to qemu-storage-daemon's. Prints TAP.

from daemon import Place, must, run_tests, same

FILES = '''
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 7 0 1M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-img snapshot -c before top.qcow2
qemu-img create -q -f qcow2 -o refcount_bits=1 one.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 7 0 1M' one.qcow2
qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 over.qcow2
qemu-img create -q -f qcow2 ro.qcow2 1M
qemu-img snapshot -c old ro.qcow2
truncate -s 1M raw.img
'''
SYNC = 'blockdev-snapshot-internal-sync'
DELETE = 'blockdev-snapshot-delete-internal-sync'


def qcow2(name, **options):
    return ('blockdev-add', {'driver': 'qcow2', 'node-name': name, **options, 'file': {
        'driver': 'file', 'node-name': f'{name}-file', 'filename': f'{name}.qcow2'}})


def transaction(*actions):
    return ('transaction', {'actions': [{'type': type, 'data': data} for type, data in actions]})


def take(device, name):
    return (SYNC, {'device': device, 'name': name})


def drop(device, **which):
    return (DELETE, {'device': device, **which})


# Steps in this order: a command with its arguments, or a shell command whose output is compared.
BOTH = [
    qcow2('base', **{'read-only': True}),
    qcow2('top', backing='base'),
    qcow2('one'),
    qcow2('ro', **{'read-only': True}),
    ('blockdev-add', {'driver': 'file', 'node-name': 'raw-file', 'filename': 'raw.img'}),
    ('blockdev-add', {'driver': 'raw', 'node-name': 'raw', 'file': 'raw-file'}),
    (SYNC, {}),
    (SYNC, {'device': 'top'}),
    (SYNC, {'device': 'top', 'name': 5}),
    take('nothing', 'a'),
    take('base', 'a'),
    take('top-file', 'a'),
    take('raw', 'a'),
    take('ro', 'a'),
    take('ro', ''),
    take('top', ''),
    take('top', 'before'),
    take('top', 'a'),
    take('top', 'a'),
    take('top', '1'),
    take('one', 'a'),
    (DELETE, {}),
    drop('nothing'),
    drop('nothing', name='a'),
    drop('base'),
    drop('base', name='a'),
    drop('top-file', name='a'),
    drop('raw'),
    drop('raw', name='a'),
    drop('ro'),
    drop('ro', name='a'),
    drop('ro', id='1', name='a'),
    drop('top'),
    drop('top', id='a'),
    drop('top', id='2', name='before'),
    drop('top', id=''),
    drop('top', id='1', name='before'),
    take('top', 'b'),
    drop('top', name='1'),
    transaction(take('top', 'c'), take('top', 'd')),
    transaction(take('top', 'e'), take('one', 'e')),
    transaction(take('top', 'e'), take('top', 'e')),
    transaction(take('top', 'e'), ('abort', {})),
    transaction(take('top', 'e'), take('top', 'c')),
    transaction(('blockdev-snapshot-sync', {
        'node-name': 'top', 'snapshot-file': 'over.qcow2', 'snapshot-node-name': 'over',
        'mode': 'existing'}), take('top', 'e')),
    ('query-named-block-nodes', {'flat': True}),
    drop('ro', name='old'),     # QEMU does not list it any more, but it is still there
    ('blockdev-del', {'node-name': 'top'}),
    ('blockdev-del', {'node-name': 'one'}),
    ('blockdev-del', {'node-name': 'ro'}),
    'qemu-img snapshot -l top.qcow2 | sed 1,2d | cut -c 1-20',
    'qemu-img snapshot -l one.qcow2; qemu-img snapshot -l ro.qcow2 | cut -c 1-20',
    'qemu-img check -q top.qcow2',
    "qemu-io -f qcow2 -c 'read -P 7 0 1M' top.qcow2 | grep -v ops",
]


def comparable(answer):
    """Without the clocks: QEMU's has a time of the machine."""
    if not isinstance(answer, dict):
        return answer
    found = answer.get('return')
    if isinstance(found, list):
        return {node['node-name']: [(s['id'], s['name']) for s in node['image'].get('snapshots', [])]
                for node in found}
    if isinstance(found, dict):
        return {key: value for key, value in found.items()
                if not key.startswith(('date', 'vm-clock', 'icount'))}
    return answer


class Images(Place):
    """A daemon where FILES are."""

    files = FILES

    def step(self, step):
        return comparable(super().step(step))


def like_qemu():
    """internal snapshots are made and deleted, or not, as QEMU does it"""
    return Images.next_to_qemu(BOTH)


def told():
    """what there is to tell of a snapshot, to programs and people; none that fails leaks"""
    with Images() as p:
        same(p.step(qcow2('one')), {})
        same(p.ask(*take('one', 'a'))['error']['desc'],
             "Failed to create snapshot 'a' on device 'one': Invalid argument")
        p.run('qemu-img check -U -q one.qcow2')
        same(p.step(qcow2('top')), {})
        same(p.step(take('top', 'x' * 255)), {})
        same(p.ask(*take('top', 'y' * 256))['error']['desc'], 'Name is too long')
        same(p.ask('human-monitor-command', {'command-line': 'snapshot_blkdev_internal top z'}),
             {'return': ''})
        for line, said in [
                ('snapshot_blkdev_internal top z',
                 "Error: Snapshot with name 'z' already exists on device 'top'\r\n"),
                ('snapshot_delete_blkdev_internal top z 2',
                 "Error: Snapshot with id '2' and name 'z' does not exist on device 'top'\r\n"),
                ('snapshot_delete_blkdev_internal top before', '')]:
            same(p.ask('human-monitor-command', {'command-line': line}), {'return': said})
        # As qemu-img has them, between lines that the other does not have.
        text = p.ask('human-monitor-command', {'command-line': 'info block -v top'})['return']
        wanted = p.run('qemu-img snapshot -U -l top.qcow2').replace('\n', '\r\n')
        must(wanted in text, f'{text!r}\nwithout {wanted!r}')
        (node,) = [n for n in p.ask('query-named-block-nodes')['return']
                   if n['node-name'] == 'top']
        (_, z) = node['image']['snapshots']
        same(sorted(z), ['date-nsec', 'date-sec', 'id', 'name', 'vm-clock-nsec', 'vm-clock-sec',
                         'vm-state-size'])
        same(p.ask(*drop('top', name='z'))['return'], z)


run_tests([like_qemu, told])
