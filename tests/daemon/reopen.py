#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# blockdev-reopen of nodes that are no devices, next to qemu-storage-daemon's. Prints TAP.


from daemon import Place, must, run_tests, same

FILES = '''
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 other.qcow2 1M
qemu-img create -q -f qcow2 -b none.qcow2 -F qcow2 -u lost.qcow2 1M
truncate -s 1M raw.img
'''
READ_ONLY = {'read-only': True}


def qcow2(name, file, **more):
    """A qcow2 node; its file is defined in it where it is no node's name."""
    if file.endswith('.qcow2'):
        file = {'driver': 'file', 'filename': file}
    return {'driver': 'qcow2', 'node-name': name, 'file': file, **more}


def raw(file):
    return {'driver': 'raw', 'node-name': 'raw', 'file': file}


def plain(name, filename, **more):
    return {'driver': 'file', 'node-name': name, 'filename': filename, **more}


def reopen(*options):
    return ('blockdev-reopen', {'options': list(options)})


MID = qcow2('mid', 'mid-file', backing='base', **READ_ONLY)
NODES = [('blockdev-add', options) for options in [
    qcow2('base', 'base.qcow2', **READ_ONLY),
    plain('mid-file', 'mid.qcow2'),
    MID,
    qcow2('top', 'top.qcow2', backing='mid'),
    qcow2('other', 'other.qcow2', **READ_ONLY),
    raw({'driver': 'file', 'filename': 'raw.img'}),
    plain('unlocked', 'raw.img', locking='off'),
    qcow2('lost', 'lost.qcow2', backing=None)]]

# Commands with their arguments; a shell command, whose output is compared; or all nodes.
BOTH = NODES + [
    ('blockdev-reopen', {}),
    ('blockdev-reopen', {'options': {}}),
    reopen({'driver': 'qcow2'}),
    reopen({'driver': 'qcow2', 'file': 'x'}),
    reopen(qcow2('x', 'x')),
    reopen(qcow2('top', 'top.qcow2', backing='mid'), {'driver': 'qcow2', 'file': 'x'}),
    # Options that are not given return to their defaults; only this one has none.
    reopen(qcow2('top', 'top.qcow2')),
    reopen(qcow2('lost', 'lost.qcow2')),
    reopen(qcow2('lost', 'lost.qcow2', backing=None)),
    reopen(qcow2('top', 'top.qcow2', backing='mid', discard='unmap')),
    'qemu-io -r -c "read 0 512" top.qcow2 2>&1 | grep lock',
    reopen(qcow2('top', 'top.qcow2', backing='mid', **READ_ONLY)),
    'qemu-io -r -c "read 0 512" top.qcow2 2>&1 | grep lock',
    'qemu-io -c "read 0 512" top.qcow2 2>&1 | grep lock',
    'nodes',
    reopen(qcow2('top', 'top.qcow2', backing='mid')),
    'qemu-io -r -c "read 0 512" top.qcow2 2>&1 | grep lock',
    # What cannot be changed.
    reopen(qcow2('top', 'mid.qcow2', backing='mid')),
    reopen({'driver': 'qcow2', 'node-name': 'base', 'read-only': True, 'file': {
        'driver': 'file', 'filename': 'base.qcow2', 'node-name': 'x'}}),
    reopen({'driver': 'raw', 'node-name': 'top', 'file': 'x'}),
    reopen({'driver': 'raw', 'node-name': 'top', 'file': {'driver': 'file', 'filename': 'x'}}),
    reopen(plain('top', 'top.qcow2')),
    reopen({'driver': 'host_device', 'node-name': 'unlocked', 'filename': 'raw.img',
            'locking': 'off'}),
    reopen(plain('unlocked', 'raw.img')),
    reopen(plain('unlocked', 'raw.img', locking='on')),
    reopen(plain('unlocked', 'x', locking='off')),
    reopen(plain('unlocked', 'raw.img', locking='off')),
    # Backing nodes.
    reopen(qcow2('top', 'top.qcow2', backing='top')),
    reopen(qcow2('mid', 'mid-file', backing='top', **READ_ONLY)),
    reopen(qcow2('top', 'top.qcow2', backing='nobody')),
    reopen(qcow2('top', 'top.qcow2', backing=qcow2('mid', 'mid.qcow2'))),
    reopen(qcow2('top', 'top.qcow2', backing=None)),
    reopen(qcow2('top', 'top.qcow2', backing=qcow2('x', 'mid.qcow2'))),
    reopen(qcow2('top', 'top.qcow2', backing='other')),
    reopen(qcow2('top', 'top.qcow2', backing='raw')),
    'nodes',
    # All or nothing.
    reopen(qcow2('top', 'top.qcow2', backing='other'), raw('nobody')),
    reopen(qcow2('top', 'top.qcow2', backing='other', **READ_ONLY),
           qcow2('mid', 'mid-file', backing='nobody', **READ_ONLY)),
    reopen(qcow2('top', 'top.qcow2', backing='mid', **READ_ONLY),
           plain('mid-file', 'mid.qcow2', **READ_ONLY), qcow2('mid', 'mid-file', backing='base')),
    'nodes',
    'qemu-io -r -c "read 0 512" top.qcow2 2>&1 | grep lock',
    reopen(qcow2('top', 'top.qcow2', backing='mid'), qcow2('other', 'other.qcow2', backing='base')),
    'nodes',
    'qemu-io -r -c "read 0 512" other.qcow2 2>&1 | grep lock',
    reopen(qcow2('other', 'other.qcow2', **READ_ONLY)),
    reopen(qcow2('other', 'other.qcow2', backing=None, **READ_ONLY)),
    'qemu-io -r -c "read 0 512" other.qcow2 2>&1 | grep lock',
    # A file and what is on it.
    reopen(plain('mid-file', 'mid.qcow2', **READ_ONLY)),
    reopen(qcow2('mid', 'mid-file', backing='base')),
    reopen(plain('mid-file', 'mid.qcow2'), qcow2('mid', 'mid-file', backing='base')),
    reopen(plain('mid-file', 'mid.qcow2', **READ_ONLY)),
    reopen(MID, plain('mid-file', 'mid.qcow2', **READ_ONLY)),
    'nodes',
    reopen(raw('unlocked')),
    reopen(raw({'driver': 'file', 'filename': 'raw.img'})),
    ('blockdev-del', {'node-name': 'unlocked'}),
    'nodes',
    ('blockdev-del', {'node-name': 'base'}),
    ('blockdev-del', {'node-name': 'top'}),
    ('blockdev-del', {'node-name': 'other'}),
    ('blockdev-del', {'node-name': 'mid'}),
    ('blockdev-del', {'node-name': 'base'}),
    ('blockdev-del', {'node-name': 'raw'}),
    ('blockdev-del', {'node-name': 'unlocked'}),
    ('blockdev-del', {'node-name': 'mid-file'}),
    ('blockdev-del', {'node-name': 'lost'}),
]


class Images(Place):
    """A daemon where FILES are."""

    files = FILES

    def nodes(self):
        """What there is, by names: read-only or not, cache and what it is backed by."""
        nodes = self.ask('query-named-block-nodes', {'flat': False})['return']
        return sorted((n['node-name'], n['ro'], n['cache']['direct'],
                       n['image'].get('backing-image', {}).get('filename'))
                      for n in nodes if n['node-name'][0] != '#')

    def step(self, step):
        if step == 'nodes':
            return self.nodes()
        return super().step(step + '; true' if isinstance(step, str) else step)


def like_qemu():
    """nodes are reopened, or not, as QEMU reopens them"""
    return Images.next_to_qemu(BOTH)


def unlike_qemu():
    """what differs: a file that is no such image is refused, and so is the same one twice"""
    with Images() as p:
        for step in NODES:
            same(p.step(step), {'return': {}})
        before = p.nodes()
        for step, text in [
                (reopen(qcow2('mid', 'unlocked', backing='base', **READ_ONLY)),
                 'Image is not in qcow2 format'),
                (reopen(qcow2('other', 'raw', backing=None)),
                 "The file of a format node must be of driver 'file' or 'host_device'")]:
            same(p.step(step)['error']['desc'], text)
            same(p.nodes(), before)
        same(p.ask('blockdev-add', {
            'driver': 'qcow2', 'node-name': 'again', 'read-only': True, 'backing': None,
            'file': {'driver': 'file', 'filename': 'top.qcow2', 'locking': 'off'}}), {'return': {}})
        same(p.step(reopen(qcow2('mid', 'mid-file', backing='again', **READ_ONLY)))[
            'error']['desc'], "Backing file 'top.qcow2' is above itself in the chain")
        same(p.ask('blockdev-reopen', {'options': []}), {'return': {}})
        same(p.nodes()[1:], before)


def direct():
    """cache.direct can be changed, and returns to its default"""
    with Images() as p:
        for step in NODES:
            same(p.step(step), {'return': {}})
        for cache, wanted in [({'cache': {'direct': True}}, True), ({}, False)]:
            same(p.step(reopen(qcow2('base', 'base.qcow2', **READ_ONLY, **cache))), {'return': {}})
            same([n[2] for n in p.nodes() if n[0] == 'base'], [wanted])


def next_daemon():
    """a daemon that is killed has left what was reopened in the state file"""
    with Images() as p:
        for step in NODES:
            same(p.step(step), {'return': {}})
        same(p.step(reopen(qcow2('top', 'top.qcow2', backing='other', **READ_ONLY),
                           MID, plain('mid-file', 'mid.qcow2', **READ_ONLY))), {'return': {}})
        before = p.nodes()
        p.kill()
        p.start()
        same(p.nodes(), before)
        same(p.step('qemu-io -r -c "read 0 512" top.qcow2 2>&1 | grep lock'), '')
        must('lock' in p.step('qemu-io -c "read 0 512" top.qcow2 2>&1 | grep lock'), 'no lock')
        same(p.step(reopen(qcow2('top', 'top.qcow2', backing='mid'))), {'return': {}})
        must('lock' in p.step('qemu-io -r -c "read 0 512" top.qcow2 2>&1 | grep lock'), 'no lock')


run_tests([like_qemu, unlike_qemu, direct, next_daemon])
