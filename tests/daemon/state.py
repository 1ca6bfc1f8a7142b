#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a daemon makes of the state that one before it left. Prints TAP.

import fcntl
import os
import subprocess
import threading

from daemon import Place, must, run_tests, same


def names(p):
    return sorted(node['node-name'] for node in p.ask('query-named-block-nodes')['return'])


def waits():
    """a daemon waits for what is left of one that was killed while it had an image edited"""
    with Place() as p:
        p.kill()
        with open(p.state + '.lock', 'r+', encoding='ascii') as lock:
            must(lock.read().strip().isdigit(), 'the lock does not say whose it is')
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Longer than it waits for one that is alive.
            timer = threading.Timer(7, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
            timer.start()
            p.start()
            must(not timer.is_alive(), 'it did not wait')
        with open(p.state + '.lock', 'r+', encoding='ascii') as lock:
            same(int(lock.read()), p.daemon.process.pid)
        # While that one is there, nobody else starts.
        ended = subprocess.run(p.daemon.process.args, env={**os.environ, 'QCHAIN_STATE': p.state},
                               cwd=p.path, capture_output=True, text=True, check=False)
        same(ended.returncode, 1)
        must('another qchaind runs with it' in ended.stderr, ended.stderr)


def unused():
    """a node that only a step used, whose end was not saved, is not kept"""
    with Place() as p:
        p.run('qemu-img create -q -f qcow2 a.qcow2 1M; qemu-img create -q -f qcow2 b.qcow2 1M')
        for name, options in (('a', {'read-only': True}), ('b', {'backing': 'a'})):
            same(p.ask('blockdev-add', {'driver': 'qcow2', 'node-name': name, **options, 'file': {
                'driver': 'file', 'node-name': f'{name}-file',
                'filename': f'{name}.qcow2'}}), {'return': {}})
        p.kill()
        with p.graph() as saved:
            for node in saved['nodes']:
                if node['name'] == 'b':
                    node['owned'] = False
        p.start()
        same(names(p), ['a', 'a-file'])
        # Nothing has it as its backing file.
        same(p.ask('blockdev-del', {'node-name': 'a'}), {'return': {}})
        same(names(p), [])


run_tests([waits, unused])
