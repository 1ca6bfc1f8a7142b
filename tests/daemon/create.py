#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# blockdev-create, next to qemu-storage-daemon's: events, errors, and what there is afterwards. Prints
# TAP.

import json
import os
import time

from daemon import LIMIT, Place, must, run_tests, same, wait_for

MIB = 1 << 20
LARGE = 1024 * MIB      # takes longer to write than it takes to stop that
GOOD = ['created', 'running', 'waiting', 'pending', 'concluded']
BAD = ['created', 'running', 'aborting', 'concluded']


def to_file(name, size=MIB, **more):
    return {'driver': 'file', 'filename': name, 'size': size, **more}


def qcow2(file='F', size=MIB, **more):
    return {'driver': 'qcow2', 'file': file, 'size': size,
            **{name.replace('_', '-'): value for name, value in more.items()}}


# In this order, in one directory. With F, a node of a file that is there, and R, which is read-only.
BOTH = [
    to_file('new.img'),
    to_file('new.img', 4096),
    to_file('odd.img', 1000),
    to_file('empty.img', 0),
    to_file('falloc.img', preallocation='falloc'),
    to_file('full.img', 9 * MIB + 1000, preallocation='full'),
    to_file('full0.img', 0, preallocation='full'),
    to_file('none.img', preallocation='metadata'),
    to_file('/none/none.img'),
    to_file('.'),
    to_file(''),
    to_file('held.qcow2'),
    {'driver': 'raw'},
    {'driver': 'raw', 'file': 'F'},
    {'driver': 'host_device'},
    {'driver': 'host_device', 'filename': 'x'},
    {'driver': 'nonsense'},
    {},
    to_file('new.img', -1.5),
    qcow2(),
    qcow2(size=3 * MIB + 512, cluster_size=512),
    qcow2(size=0),
    qcow2(version='v2'),
    qcow2(version='v3', lazy_refcounts=True, refcount_bits=1, cluster_size=2 * MIB),
    qcow2(refcount_bits=64, compression_type='zstd', size=1 << 40),
    qcow2(backing_file='nowhere', backing_fmt='raw'),
    qcow2(backing_file='new.img', backing_fmt='qcow2'),
    qcow2(preallocation='metadata', cluster_size=4096),
    qcow2(preallocation='metadata', size=40 * MIB),
    qcow2({'driver': 'file', 'filename': 'new.img'}),
    qcow2({'driver': 'file', 'filename': 'not there'}),
    qcow2('nobody'),
    qcow2('R'),
    qcow2('H'),
    qcow2({'driver': 'file', 'filename': 'held.qcow2'}),
    qcow2(size=MIB + 1),
    qcow2(size=(1 << 64) - 512),
    qcow2(cluster_size=1000),
    qcow2(cluster_size=256),
    qcow2(cluster_size=0),
    qcow2(cluster_size=4 * MIB),
    qcow2(refcount_bits=0),
    qcow2(refcount_bits=-8),
    qcow2(refcount_bits=3),
    qcow2(refcount_bits=128),
    qcow2(version='v1'),
    qcow2(version='v2', refcount_bits=8),
    qcow2(version='v2', lazy_refcounts=True),
    qcow2(version='v2', compression_type='zstd'),
    qcow2(compression_type='lzma'),
    qcow2(backing_fmt='qcow2'),
    qcow2(backing_file='new.img', backing_fmt='raw', preallocation='metadata'),
    qcow2(backing_file=''),
]


class Images(Place):
    """Nodes on files, and what is said about jobs."""

    files = ('qemu-img create -q -f qcow2 held.qcow2 3M; seq 100000 > f.img; '
             'cp f.img r.img')

    def __init__(self, program=None):
        super().__init__(program)
        self.does('blockdev-add', {'driver': 'qcow2', 'node-name': 'Q', 'file': {
            'driver': 'file', 'node-name': 'H', 'filename': 'held.qcow2'}})
        self.does('blockdev-add', {'driver': 'file', 'node-name': 'F', 'filename': 'f.img'})
        self.does('blockdev-add', {'driver': 'file', 'node-name': 'R', 'filename': 'r.img',
                                   'read-only': True})

    def start(self):
        super().start()
        self.events = []

    def there(self, name):
        return os.path.exists(os.path.join(self.path, name))

    def receive(self):
        message = self.client.receive()
        must(message is not None, 'the connection has ended')
        if 'event' in message:
            same(message['event'], 'JOB_STATUS_CHANGE')
            self.events.append(message['data']['status'])
            return None
        return message

    def ask(self, command, arguments=None):
        self.client.send({'execute': command, 'arguments': arguments or {}})
        answer = None
        while not answer:
            answer = self.receive()
        return answer

    def does(self, command, arguments=None):
        answer = self.ask(command, arguments)
        must('return' in answer, answer)
        return answer['return']

    def until(self, status):
        end = time.monotonic() + LIMIT
        while status not in self.events:
            must(time.monotonic() < end, f'{self.events} without {status}')
            must(not self.receive(), 'an answer without a question')

    def create(self, options, job='j'):
        """The answer that refuses it, or what query-jobs says at the end."""
        self.events.clear()
        answer = self.ask('blockdev-create', {'job-id': job, 'options': options})
        if 'error' in answer:
            return answer
        self.until('concluded')
        return self.does('query-jobs')

    def step(self, options, job='j'):
        """How it went, and what there is then."""
        answer = self.create(options, job)
        if 'error' in answer:
            return answer
        events = self.events[:]
        same(self.does('query-block-jobs'), [])
        self.does('job-dismiss', {'id': job})
        must(self.events[-1] == 'null', self.events)
        same(self.does('query-jobs'), [])
        return answer, events, None if 'error' in answer[0] else self.look(options)

    def look(self, options):
        file = options.get('filename') or options['file']
        file = 'f.img' if file == 'F' else file if isinstance(file, str) else file['filename']
        if options['driver'] == 'file':
            size = os.stat(os.path.join(self.path, file))
            full = options.get('preallocation', 'off') != 'off'
            return size.st_size, full and size.st_blocks * 512 >= size.st_size
        # Without its backing file, which need not be there.
        image = json.dumps({'driver': 'qcow2', 'backing': None,
                            'file': {'driver': 'file', 'filename': file}})
        check = json.loads(self.run(f"qemu-img check --output=json 'json:{image}'"))
        info = json.loads(self.run(f'qemu-img info --output=json -f qcow2 {file}'))
        for key in ['actual-size', 'filename', 'full-backing-filename', 'dirty-flag']:
            info.pop(key, None)
        return info, check.get('allocated-clusters')


def like_qemu():
    """images are made, or not, as QEMU does it"""
    return Images.next_to_qemu(BOTH)


def job_ids():
    """a job stays until it is dismissed, and only job-* commands know it"""
    with Images() as p:
        same(p.ask('blockdev-create', {'job-id': '1', 'options': to_file('a')})['error']['desc'],
             "Invalid job ID '1'")
        same(p.create(to_file('a'))[0], {
            'id': 'j', 'type': 'create', 'status': 'concluded', 'current-progress': 1,
            'total-progress': 1})
        same(p.events, GOOD)
        same(p.create(to_file('b'))['error']['desc'], "Job ID 'j' already in use")
        must(not p.there('b'), 'a refused file was made')
        for verb in ['pause', 'cancel', 'finalize', 'complete']:
            same(p.ask(f'job-{verb}', {'id': 'j'})['error']['desc'],
                 f"Job 'j' in state 'concluded' cannot accept command verb '{verb}'")
        same(p.ask('block-job-dismiss', {'id': 'j'})['error'],
             {'class': 'DeviceNotActive', 'desc': "Block job 'j' not found"})
        p.does('job-dismiss', {'id': 'j'})


def failures():
    """what cannot be made is refused by name, and nothing is left or harmed"""
    with Images() as p:
        before = p.run('md5sum f.img; ls')
        for options, text in [
                (qcow2(preallocation='full'), 'Unsupported preallocation mode: full'),
                (qcow2(preallocation='falloc'), 'Unsupported preallocation mode: falloc'),
                (qcow2(backing_file='x'), "Backing file cannot be used without 'backing-fmt'"),
                (qcow2(backing_file='x', backing_fmt='host_device'),
                 "Backing format must be 'qcow2' or 'raw', not 'host_device'"),
                (qcow2('Q'),
                 "The file of a format node must be of driver 'file' or 'host_device'"),
                (to_file('big.img', 1 << 63), 'Could not resize file: Invalid argument'),
                (to_file('big.img', (1 << 63) - 1), 'Could not resize file: File too large'),
                (to_file('/dev/null'), "'file' driver requires '/dev/null' to be a regular file")]:
            same(p.create(options)[0]['error'], text)
            same(p.events, BAD)
            p.does('job-dismiss', {'id': 'j'})
        must('cluster size' in p.create(qcow2(size=1 << 60))[0]['error'], 'no reason')
        p.does('job-dismiss', {'id': 'j'})
        for more in ['extended-l2', 'data-file-raw']:
            same(p.create({**qcow2(), more: True})['error']['desc'],
                 f"Parameter 'options.{more}' is unexpected")
        same(p.run('md5sum f.img; ls'), before)
        same(p.does('query-jobs'), [])


def begin_full(p, size=LARGE):
    """A job that writes for some time."""
    p.events.clear()
    p.does('blockdev-create', {'job-id': 'j',
                               'options': to_file('full.img', size, preallocation='full')})
    wait_for(lambda: p.there('full.img'), 'the file')


def steered():
    """the daemon answers while a file is filled; the job is paused, resumed, cancelled"""
    with Images() as p:
        begin_full(p)
        same(p.does('query-jobs')[0]['status'], 'running')
        p.does('job-pause', {'id': 'j'})
        p.until('paused')
        path = os.path.join(p.path, 'full.img')
        blocks = os.stat(path).st_blocks
        must(blocks * 512 < LARGE, 'it was done already')
        for _ in range(20):
            same(p.does('query-jobs')[0], {'id': 'j', 'type': 'create', 'status': 'paused',
                                           'current-progress': 0, 'total-progress': 1})
        same(os.stat(path).st_blocks, blocks)
        same(p.ask('job-pause', {'id': 'j'})['error']['desc'], 'Job is already paused')
        same(p.ask('job-complete', {'id': 'j'})['error']['desc'],
             "Job 'j' in state 'paused' cannot accept command verb 'complete'")
        p.does('job-resume', {'id': 'j'})
        p.does('job-cancel', {'id': 'j'})
        p.until('concluded')
        same(p.events, ['created', 'running', 'paused', 'running', 'aborting', 'concluded'])
        same(p.does('query-jobs')[0]['error'], 'Operation canceled')
        must(not p.there('full.img'), 'what was cancelled is there')


def full_disk():
    """a full file system fails the job, and the file is gone"""
    with Images() as p:
        p.run('mkdir small && mount -t tmpfs -o size=12M none small')
        try:
            for mode, text in [('falloc', 'Could not preallocate new data'),
                               ('full', 'Could not write zeros for preallocation')]:
                info = p.create(to_file('small/x', 40 * MIB, preallocation=mode))[0]
                same(info['error'], f'{text}: No space left on device')
                p.does('job-dismiss', {'id': 'j'})
                must(not p.there('small/x'), 'it was left')
        finally:
            p.run('umount small')


def next_daemon():
    """a job that is over is there for the next daemon, one that is not has failed"""
    with Images() as p:
        p.create(to_file('a.img'), 'good')
        p.create(to_file('/none/a.img'), 'bad')
        begin_full(p)
        p.kill()
        p.start()
        same([(i['id'], i['status'], i.get('error')) for i in p.does('query-jobs')],
             [('good', 'concluded', None),
              ('bad', 'concluded', "Could not create '/none/a.img': No such file or directory"),
              ('j', 'concluded', 'The daemon ended before the job did')])
        # One that had not to wait for anybody, and was killed there, goes.
        p.kill()
        with p.graph() as saved:
            saved['jobs'][1]['auto-dismiss'] = True
        p.start()
        same([i['id'] for i in p.does('query-jobs')], ['good', 'j'])
        with p.graph() as saved:
            same([i['id'] for i in saved['jobs']], ['good', 'j'])
        for job in ['good', 'j']:
            p.does('job-dismiss', {'id': job})
        # When it ends in order, it takes its unfinished work away.
        os.unlink(os.path.join(p.path, 'full.img'))
        begin_full(p)
        p.client.send({'execute': 'quit'})
        same(p.daemon.ended(), 0)
        must(not p.there('full.img'), 'it was left')


run_tests([like_qemu, job_ids, failures, steered, full_disk, next_daemon])
