#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a daemon makes of the state that one before it left. Prints TAP.

import fcntl
import json
import os
import subprocess
import threading

from daemon import Place, must, run_tests, same, wait_for


def names(p):
    return sorted(node['node-name'] for node in p.ask('query-named-block-nodes')['return'])


def definition(name):
    return {'driver': 'qcow2', 'node-name': name, 'file': {
        'driver': 'file', 'node-name': f'{name}-file', 'filename': f'{name}.qcow2'}}


def make(p, *images):
    p.run(';'.join(f'qemu-img create -q -f qcow2 {name}.qcow2 1M' for name in images))


def waits():
    """a daemon waits for what is left of one that was killed while it had an image edited"""
    with Place() as p:
        p.kill()
        with open(p.state + '.lock', 'r+', encoding='ascii') as lock:
            must(lock.read().strip().isdigit(), 'the lock does not say whose it is')
            # Somebody else may have the number by then.
            lock.seek(0)
            lock.truncate()
            lock.write(f'{os.getpid()}\n')
            lock.flush()
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
        make(p, 'a', 'b')
        for name, options in (('a', {'read-only': True}), ('b', {'backing': 'a'})):
            same(p.ask('blockdev-add', {**definition(name), **options}), {'return': {}})
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


def options():
    """what an option has made, and a client has removed, is not made again"""
    with Place() as p:
        make(p, 'a', 'b')
        a, b = (('--blockdev', json.dumps(definition(name))) for name in 'ab')
        p.kill()
        p.start(*a)
        same(names(p), ['a', 'a-file'])
        same(p.ask('blockdev-del', {'node-name': 'a'}), {'return': {}})
        p.kill()
        # One that is new is made.
        p.start(*a, *b)
        same(names(p), ['b', 'b-file'])
        # Nor what has another name by now, or is gone.
        p.run('rm a.qcow2')
        p.kill()
        p.start(*a, *b)
        same(names(p), ['b', 'b-file'])


def written_later():
    """what cannot be undone, and cannot be written, is written as soon as it can"""
    with Place() as p:
        make(p, 'a', 'b')
        same(p.ask('blockdev-add', definition('a')), {'return': {}})
        os.mkdir(p.state + '.new')
        refused = p.ask('blockdev-add', definition('b'))
        must('nothing was changed' in refused['error']['desc'], refused)
        same(p.ask('blockdev-del', {'node-name': 'a'}), {'return': {}})
        os.rmdir(p.state + '.new')

        def written():
            with open(p.state, encoding='utf-8') as file:
                return not json.load(file)['graph']['nodes']

        wait_for(written, 'the state without the node')
        p.kill()
        p.start()
        same(names(p), [])


def written_last():
    """what could not be written is written at the latest when the daemon ends, and keeps devices"""
    with Place() as p:
        make(p, 'a')
        same(p.ask('blockdev-add', definition('a')), {'return': {}})
        os.mkdir(p.state + '.new')
        same(p.ask('blockdev-del', {'node-name': 'a'}), {'return': {}})
        os.rmdir(p.state + '.new')
        same(p.ask('quit', {'keep': True}), {'return': {}})
        p.daemon.ended()
        with p.graph() as saved:
            same(saved['nodes'], [])


run_tests([waits, unused, options, written_later, written_last])
