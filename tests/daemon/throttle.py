#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# block_set_io_throttle without a device to limit, next to QEMU's. Prints TAP.

import shutil

from daemon import Daemon, must, run_tests, same

QEMU = 'qemu-system-x86_64'
NONE = {'bps': 0, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, 'iops_rd': 0, 'iops_wr': 0}

BOTH = [
    {},
    {'device': 'x'},
    {'device': 'x', **NONE, 'iops_wr': '5'},
    {'device': 'x', **NONE, 'bps': 1.5},
    {'device': 'x', **NONE, 'bps': None},
    {'device': 'x', **NONE, 'bps_rd': 1 << 64},
    {'device': 'x', **NONE, 'bps_rd_max': True},
    {'device': 'x', **NONE, 'iops_size': '5'},
    {'device': 'x', **NONE, 'group': 5},
    {'device': 'x', **NONE, 'rbps': 5},
    {'device': 5, **NONE},
    {'device': 'x', **NONE},
    {'device': 'x', **NONE, 'bps': -1, 'group': '..'},
    {'id': 'x', **NONE},
    {'device': 'x', 'id': 'x', **NONE},
    NONE,
]


def qemu():
    return Daemon('none', '-mon', 'chardev=m,mode=control', '-machine', 'none', '-display', 'none',
                  '-nodefaults', program=QEMU)


def like_qemu():
    """what is wrong without a device is told as QEMU tells it"""
    if not shutil.which(QEMU):
        return f'there is no {QEMU}'
    with Daemon() as ours, qemu() as theirs, ours.client() as us, theirs.client() as them:
        for arguments in BOTH:
            got = us.call('block_set_io_throttle', **arguments)
            wanted = them.call('block_set_io_throttle', **arguments)
            must('error' in wanted, f'{arguments}: QEMU does it')
            same(got, wanted)
    return None


def members(client):
    """Of the arguments: names, types, whether they may be missing, and what is said of them."""
    types = {t['name']: t for t in client.call('query-qmp-schema')['return']}
    arguments = types[types['block_set_io_throttle']['arg-type']]
    return sorted((m['name'], types[m['type']]['json-type'], 'default' in m, m.get('features'))
                  for m in arguments['members'])


def schema():
    """it takes the arguments that QEMU takes"""
    if not shutil.which(QEMU):
        return f'there is no {QEMU}'
    with Daemon() as ours, qemu() as theirs, ours.client() as us, theirs.client() as them:
        same(members(us), members(them))
    return None


run_tests([like_qemu, schema])
