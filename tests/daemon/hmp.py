#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The monitor for people, and the commands of before the jobs, without any device: what is refused, and
# how, by the daemon and by qchain. Prints TAP.

import os
import re
import shutil
import subprocess
import tempfile

from daemon import QCHAIN, Daemon, must, run_tests, same

QEMU = 'qemu-system-x86_64'

# Lines that QEMU answers with the same text.
LINES = '''
info block x
info block -v x
info block -n x
info block nothing
info block -x
info block x y
info block "x
info block "x"
info block "\\q"
info block-jobs
info block-jobs x
info status
info status foo
info nothing
info nothing foo
nothing
nothing foo
# foo
"info" block
block_stream
block_stream nothing
block_stream nothing 5 a.qcow2 foo
block_job_set_speed
block_job_set_speed x
block_job_set_speed x foo
block_job_set_speed x -1
block_job_set_speed x "5"
block_job_set_speed x 5foo
block_job_set_speed x 5 foo
block_job_set_speed x 5
block_job_set_speed x 0x10
block_job_set_speed x 1.5G
block_job_set_speed x 8E
block_job_set_speed "a\\"b\\\\c" 5
block_job_set_speed a"b"c 5
block_job_cancel
block_job_cancel x
block_job_cancel -f x
block_job_cancel -x x
block_job_cancel -fx x
block_job_cancel --f x
block_job_pause x
block_job_pause 'x'
block_job_resume x
block_job_complete x
block_job_complete x y
block_set_io_throttle
block_set_io_throttle x
block_set_io_throttle x 0 0 0 0 0
block_set_io_throttle x 0 0 0 0 0 0
block_set_io_throttle x 0 0 0 0 0 0 0
block_set_io_throttle x 0 0 0 0 0 5x
block_set_io_throttle x 0 0 0 0 0 x
block_set_io_throttle x 0 0 0 0 0 "5"
block_set_io_throttle x 0 0 0 0 0 99999999999999999999
block_set_io_throttle x - 0x5 010 18446744073709551615 0 0 0
block_set_io_throttle nothing 0 0 0 0 0 0
snapshot_blkdev
snapshot_blkdev -n
snapshot_blkdev -n -n x
snapshot_blkdev x
snapshot_blkdev nothing c.qcow2
snapshot_blkdev x c.qcow2 qcow2 y
snapshot_blkdev -n x nothing.qcow2
snapshot_blkdev x c.qcow2 nothing
snapshot_blkdev x nothing/c.qcow2
snapshot_blkdev_internal
snapshot_blkdev_internal x
snapshot_blkdev_internal nothing a
snapshot_blkdev_internal x ""
snapshot_blkdev_internal x a b
snapshot_blkdev_internal x "a b"
snapshot_blkdev_internal x "a b"
snapshot_delete_blkdev_internal
snapshot_delete_blkdev_internal x
snapshot_delete_blkdev_internal nothing a
snapshot_delete_blkdev_internal x a
snapshot_delete_blkdev_internal x "a b" 2
snapshot_delete_blkdev_internal x "a b" 1 2
snapshot_delete_blkdev_internal x "a b" 1
commit
commit nothing
commit ""
commit "all"x
stop foo
s foo
cont foo
quit foo
help nothing
help info nothing
help nothing info
'''.strip('\n').split('\n') + ['', '   ', 'info\tstatus', '  info   status  ',
                               'info status\ninfo block', 'info status\n']


def hmp(client, line):
    answer = client.call('human-monitor-command', **{'command-line': line})
    must('return' in answer, f'{line!r}: {answer}')
    return answer['return']


def comparable(text):
    # QEMU writes these two to its standard error.
    text = re.sub(r"^(unterminated string|unsupported escape code: '.*')\r\n", '', text)
    # It has a line before a block that is not the first of all, also where that one is not asked for.
    return re.sub(r'#block\d+', '#block', text).lstrip('\r\n')


def images(directory):
    for name, options in (('a', []), ('b', ['-b', 'a.qcow2', '-F', 'qcow2'])):
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', *options, f'{name}.qcow2',
                        '64M'], cwd=directory, check=True)


def add_node(client, name='x', file='b.qcow2'):
    same(client.call('blockdev-add', **{
        'driver': 'qcow2', 'node-name': name,
        'file': {'driver': 'file', 'filename': file}}), {'return': {}})


def qemu(cwd):
    """The same monitor of QEMU's."""
    return Daemon('none', '-mon', 'chardev=m,mode=control', '-machine', 'none', '-display', 'none',
                  '-nodefaults', program=QEMU, cwd=cwd, stdout=subprocess.DEVNULL)


def like_qemu():
    """what does not need a device is answered as QEMU's monitor answers it"""
    if not shutil.which(QEMU):
        return f'there is no {QEMU}'
    with tempfile.TemporaryDirectory() as directory:
        answers = []
        for start in (Daemon, qemu):
            images(directory)
            with start(cwd=directory) as d, d.client() as c:
                add_node(c)
                answers.append([(line, comparable(hmp(c, line))) for line in LINES])
                same(c.call('human-monitor-command',
                            **{'command-line': 'info status', 'cpu-index': 0})['error'],
                     {'class': 'GenericError',
                      'desc': "Parameter 'cpu-index' expects a CPU number"})
        for got, wanted in zip(*answers):
            must(got == wanted, f'{got[0]!r}: {got[1]!r}, QEMU says {wanted[1]!r}')
    return None


def refusals():
    """block_stream, query-block-stream and change without a device to act on"""
    with tempfile.TemporaryDirectory() as directory, Daemon(cwd=directory) as d, d.client() as c:
        images(directory)
        add_node(c)
        gone = {'class': 'DeviceNotFound', 'desc': "Device 'x' not found"}
        same(c.call('query-block-stream'), {'return': []})
        for arguments in ({}, {'all': True}, {'stop': True}, {'all': True, 'stop': True}):
            same(c.call('block_stream', device='x', **arguments)['error'], gone)
        for arguments in ({}, {'notify': False}, {'arg': 'qcow2'}):
            same(c.call('change', device='x', target='c.qcow2', **arguments)['error'], gone)
        same(c.call('change', device='vnc', target='password', arg='foobar1')['error']['desc'],
             "Device 'vnc' not found")
        same(c.call('block_stream', all=True)['error']['desc'], "Parameter 'device' is missing")
        same(c.call('block_stream', device='x', all=1)['error']['desc'],
             "Invalid parameter type for 'all', expected: boolean")
        same(c.call('change', device='x')['error']['desc'], "Parameter 'target' is missing")
        same(hmp(c, 'change -n x c.qcow2'), "Error: Device 'x' not found\r\n")
        # The base of the older text, without a speed before it.
        for base in ('', ' a.qcow2', ' 5M a.qcow2'):
            same(hmp(c, f'block_stream x{base}'), "Error: Node 'x' is not used by any export; "
                 "use block-export-add first\r\n")


def qchain(daemon, *words, **options):
    result = subprocess.run([QCHAIN, 'hmp', '--socket', daemon.path, *words], text=True,
                            capture_output=True, timeout=60, check=False, **options)
    return result.returncode, result.stdout, result.stderr


def command_line():
    """qchain hmp: one command, lines, and what of them is a failure"""
    with tempfile.TemporaryDirectory() as directory, Daemon(cwd=directory) as d, d.client() as c:
        images(directory)
        os.rename(os.path.join(directory, 'b.qcow2'), os.path.join(directory, 'b c"d.qcow2'))
        add_node(c, file='b c"d.qcow2')
        status = 'VM status: running\n'
        same(qchain(d, 'info', 'status'), (0, status, ''))
        same(qchain(d, 'info status'), (0, status, ''))
        code, text, error = qchain(d, 'info', 'block', '-v', 'x')
        same((code, error), (0, ''))
        must(text.startswith('x: b c"d.qcow2 (qcow2)\n'), text)
        must('\nimage: a.qcow2\n' in text and '\r' not in text, text)
        same(qchain(d, 'block_job_cancel', '-f', 'a b"\\'),
             (1, '', 'Error: Block job \'a b"\\\' not found\n'))
        same(qchain(d, 'nothing'), (1, '', "unknown command: 'nothing'\n"))
        same(qchain(d, 'stop', 'x')[0], 1)
        same(qchain(d, 'commit', 'x'), (1, '', "Device 'x' not found\n"))
        same(qchain(d, 'change', 'x', '')[0], 1)
        same(qchain(d, input='info status\n\ninfo block-jobs\n'),
             (0, status + 'No active jobs\n', ''))
        same(qchain(d, input='info status\ncommit x\ninfo status\n'),
             (1, status, "Device 'x' not found\n"))
        same(qchain(d, 'q'), (0, '', ''))
        same(d.ended(), 0)
        same(qchain(d, 'q')[0], 1)


run_tests([like_qemu, refusals, command_line])
