# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of qchaind on the host share: the daemon, clients, and TAP."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
PROGRAMS = os.environ.get('QCHAIN_PROGRAMS', os.path.join(TOP, 'build/userspace'))
QCHAIND = os.path.join(PROGRAMS, 'qchaind')
QCHAIN = os.path.join(PROGRAMS, 'qchain')
LIMIT = 60          # seconds until something that does not come is a failure


class Failed(Exception):
    pass


def must(condition, what):
    if not condition:
        raise Failed(what)


def same(got, wanted):
    must(got == wanted, f'got {got!r}, wanted {wanted!r}')


def wait_for(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        must(time.monotonic() < end, f'{what}: did not come to be')
        time.sleep(0.02)


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(LIMIT)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


STATES = tempfile.TemporaryDirectory(prefix='qchaind-state.')
states = itertools.count()


def environment(**more):
    """For a daemon: a state of its own, not that of the machine's."""
    state = os.path.join(STATES.name, f'{next(states)}.json')
    return {**os.environ, 'QCHAIN_STATE': state, **more}


class Daemon:
    """qchaind in a directory of its own, with a monitor on qmp.sock."""

    def __init__(self, *options, program=QCHAIND, state=None, **popen):
        self.directory = tempfile.TemporaryDirectory(prefix='qchaind-test.')
        os.chmod(self.directory.name, 0o755)
        self.path = os.path.join(self.directory.name, 'qmp.sock')
        self.log = os.path.join(self.directory.name, 'log')
        chardev = f'socket,id=m,path={self.path},server=on,wait=off'
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                [program, '--chardev', chardev, '--monitor', *(options or ['chardev=m'])],
                stdin=subprocess.DEVNULL, stderr=log,
                env={**os.environ, 'QCHAIN_STATE': state} if state else environment(), **popen)
        # QEMU now and then closes one that comes right after one that has ended.
        self.first = None
        wait_for(lambda: self.connect() or self.process.poll() is not None, 'the socket')
        must(self.process.poll() is None, self.read_log())
        if program == QCHAIND:
            self.first.close()
            self.first = None

    def connect(self):
        try:
            self.first = connect(self.path)
        except OSError:
            pass
        return self.first

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def read_log(self):
        with open(self.log, encoding='utf-8') as log:
            return log.read()

    def client(self, **options):
        connection, self.first = self.first, None
        return Client(connection or connect(self.path), **options)

    def ended(self):
        return self.process.wait(LIMIT)

    def memory(self):
        """Resident, in bytes."""
        with open(f'/proc/{self.process.pid}/statm', encoding='ascii') as statm:
            return int(statm.read().split()[1]) * os.sysconf('SC_PAGESIZE')

    def cpu(self):
        """Seconds."""
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as stat:
            fields = stat.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Place:
    """A daemon in a directory with the files that a command makes, and a client of it."""

    files = ''

    def __init__(self, program=None):
        self.directory = tempfile.TemporaryDirectory(prefix='qchaind-place.')
        self.path = self.directory.name
        self.run(self.files)
        self.program = {'program': program} if program else {}
        self.state = os.path.join(self.path, 'state.json')
        self.start()

    def start(self, *options):
        self.daemon = Daemon('chardev=m', *options, state=self.state, cwd=self.path,
                             **self.program)
        self.client = self.daemon.client()

    def kill(self):
        self.client.close()
        self.daemon.__exit__()

    @contextlib.contextmanager
    def graph(self):
        """That in the state file, to be changed while there is no daemon."""
        with open(self.state, 'r+', encoding='utf-8') as file:
            state = json.load(file)
            yield state['graph']
            file.seek(0)
            json.dump(state, file)
            file.truncate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.directory.cleanup()

    def run(self, command):
        return subprocess.run(command, shell=True, cwd=self.path, check=True,
                              capture_output=True, text=True).stdout

    def ask(self, command, arguments=None):
        self.client.send({'execute': command, 'arguments': arguments or {}})
        return self.client.receive()

    def step(self, step):
        """What comes of a command of the shell, or of one of QMP with its arguments."""
        return self.run(step) if isinstance(step, str) else self.ask(*step)

    @staticmethod
    def by_schema(answer, theirs):
        """
        QEMU's answer, with the class that its documentation has for it: where that says
        DeviceNotFound many of its commands have GenericError, with the same text.
        """
        error = answer.get('error', {}) if isinstance(answer, dict) else {}
        if error.get('class') != 'DeviceNotFound' or 'error' not in theirs:
            return theirs
        return {**theirs, 'error': {**theirs['error'], 'class': 'DeviceNotFound'}}

    @classmethod
    def next_to_qemu(cls, steps, program='qemu-storage-daemon'):
        """Each step has to have the same outcome as in QEMU; why that cannot be seen, if so."""
        if not shutil.which(program):
            return f'there is no {program}'
        with cls() as ours, cls(program) as theirs:
            for step in steps:
                got = ours.step(step)
                wanted = cls.by_schema(got, theirs.step(step))
                must(got == wanted, f'{step}:\n{got}\nQEMU: {wanted}')
        return None


class Client:
    def __init__(self, connection, negotiate=True):
        self.socket = connection
        self.file = self.socket.makefile('rb')
        if negotiate:
            must('QMP' in self.receive(), 'no greeting')
            same(self.call('qmp_capabilities'), {'return': {}})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else json.dumps(data).encode())

    def receive(self):
        """The next message, None at the end."""
        line = self.file.readline()
        if not line:
            return None
        must(line.endswith(b'\r\n'), f'no CRLF: {line!r}')
        return json.loads(line.decode('ascii'))

    def call(self, command, **arguments):
        self.send({'execute': command, 'arguments': arguments} if arguments else
                  {'execute': command})
        return self.receive()


def run_tests(tests):
    """Run functions, each of which is one result; their doc strings say what it is."""
    status = 0
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    print(f'1..{len(tests)}')
    for number, test in enumerate(tests, 1):
        result, directive = 'ok', ''
        try:
            reason = test()
            if reason:
                directive = f' # SKIP {reason}'
        except Exception:       # whatever it is, the other tests go on
            for line in traceback.format_exc().splitlines():
                print(f'# {line}')
            result, status = 'not ok', 1
        print(f'{result} {number} {test.__doc__}{directive}', flush=True)
    sys.exit(status)
