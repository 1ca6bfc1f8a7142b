#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The real qchaind and real clients, with the commands of the monitor only: needs no module. Prints TAP.

import contextlib
import json
import os
import random
import select
import socket
import stat
import subprocess
import tempfile
import threading
import time

from daemon import (QCHAIN, QCHAIND, Client, Daemon, connect, environment, must, run_tests,
                    same, wait_for)

MIB = 1 << 20
MEMORY = 64 * MIB       # what the daemon may need in addition, whatever clients do
CLIENTS = 256           # as MONITOR_CLIENTS
VERSION = {'execute': 'query-version'}


def responsive(daemon):
    with daemon.client() as c:
        must('return' in c.call('query-version'), 'no answer')


def greeting():
    """greeting, negotiation, and the first commands"""
    with Daemon() as d, d.client(negotiate=False) as c:
        hello = c.receive()['QMP']
        same(hello['version']['qemu'], {'major': 7, 'minor': 2, 'micro': 0})
        same(hello['capabilities'], ['oob'])
        same(c.call('query-version')['error']['class'], 'CommandNotFound')
        same(c.call('qmp_capabilities', enable=['oob']), {'return': {}})
        same(c.call('query-version'), {'return': hello['version']})
        names = [command['name'] for command in c.call('query-commands')['return']]
        schema = c.call('query-qmp-schema')['return']
        same(names, [info['name'] for info in schema if info['meta-type'] == 'command'])


def pipelining():
    """10000 commands at once are answered in order"""
    with Daemon() as d, d.client() as c:
        process = os.fork()
        if not process:
            for i in range(10000):
                c.send({**VERSION, 'id': i})
            os._exit(0)
        for i in range(10000):
            same(c.receive()['id'], i)
        same(os.waitpid(process, 0)[1], 0)


def many_clients():
    """100 clients in turns"""
    with Daemon() as d:
        clients = [d.client() for _ in range(100)]
        for turn in range(20):
            for i, c in enumerate(clients):
                c.send({**VERSION, 'id': [turn, i]})
            for i, c in enumerate(clients):
                same(c.receive()['id'], [turn, i])
        for c in clients:
            c.close()


def too_many_clients():
    """more clients than there is room for wait for it, without costing time"""
    with Daemon() as d:
        clients = [d.client() for _ in range(CLIENTS)]
        late = d.client(negotiate=False)
        late.socket.settimeout(0.3)
        try:
            late.socket.recv(1)
            must(False, 'one client too many was served')
        except TimeoutError:
            pass
        before = d.cpu()
        time.sleep(1)
        must(d.cpu() - before < 0.2, 'the daemon is busy while a client waits')
        clients.pop().close()
        late.socket.settimeout(60)
        late.file = late.socket.makefile('rb')
        must('QMP' in late.receive(), 'no greeting')
        for c in clients + [late]:
            c.close()


def slow_reader():
    """a client that does not read keeps nobody waiting, and no memory or time"""
    with Daemon() as d:
        before = d.memory()
        stuck = [d.client() for _ in range(20)]
        for c in stuck:
            c.socket.setblocking(False)
            try:
                while c.socket.send(b'{"execute":"query-qmp-schema"}' * 100):
                    pass
            except BlockingIOError:
                pass
        for _ in range(10):
            responsive(d)
        must(d.memory() - before < MEMORY, f'{d.memory() - before} bytes')
        cpu = d.cpu()
        time.sleep(1)
        must(d.cpu() - cpu < 0.2, 'the daemon is busy while nobody reads')
        # One that reads in the end gets everything that it asked for in whole.
        c = stuck[0]
        c.socket.settimeout(60)
        for _ in range(5):
            must('return' in c.receive(), 'no answer')
        for c in stuck:
            c.close()
        responsive(d)


def garbage():
    """10 MiB of anything, then a command"""
    rng = random.Random(1)
    with Daemon() as d:
        before = d.memory()
        with d.client() as c:
            process = os.fork()
            if not process:
                for _ in range(160):
                    c.send(rng.randbytes(65536))
                c.send(b'\xff\n{"execute":"query-version","id":"sync"}')
                os._exit(0)
            errors = 0
            while c.receive().get('id') != 'sync':
                errors += 1
            must(errors > 1000, f'{errors} errors')
            same(os.waitpid(process, 0)[1], 0)
        must(d.memory() - before < MEMORY, f'{d.memory() - before} bytes')
        responsive(d)


def large_requests():
    """requests that are too long, deep or many are refused once, and their rest is skipped"""
    with Daemon() as d, d.client() as c:
        before = d.memory()
        for request in (b'{"execute":"%s"}' % (b'x' * 10 * MIB),
                        b'[' * 2 * MIB + b']' * 2 * MIB,
                        b'[' + b'{},' * MIB + b'{}]',
                        b'{"id":[' + b'{"a":[[[]]]},' * MIB + b'0]}'):
            process = os.fork()
            if not process:
                c.send(request + b'{"execute":"query-version","id":1}')
                os._exit(0)
            must('limit exceeded' in c.receive()['error']['desc'], 'no such error')
            same(c.receive()['id'], 1)
            same(os.waitpid(process, 0)[1], 0)
        must(d.memory() - before < MEMORY, f'{d.memory() - before} bytes')


def leaving():
    """clients that leave in the middle, and one that only stops asking"""
    with Daemon() as d:
        for data in (b'', b'{"execute":', b'{"execute":"query-qmp-schema"}' * 1000):
            for _ in range(50):
                c = d.client()
                c.socket.setblocking(False)
                try:
                    c.socket.send(data)
                except BlockingIOError:
                    pass
                c.close()
        with d.client() as c:
            c.send(b'{"execute":"query-qmp-schema"}' * 200)
            c.socket.shutdown(socket.SHUT_WR)
            for _ in range(200):
                must('return' in c.receive(), 'no answer')
            same(c.receive(), None)
        responsive(d)
        wait_for(lambda: len(os.listdir(f'/proc/{d.process.pid}/fd')) < 20, 'closed descriptors')


def ends():
    """signals and quit: status 0, no file left, clients see the end"""
    for signal in ('TERM', 'INT', 'HUP'):
        with Daemon() as d, d.client() as c:
            subprocess.run(['kill', f'-{signal}', str(d.process.pid)], check=True)
            same(d.ended(), 0)
            same(c.receive(), None)
            must(not os.path.exists(d.path), 'the socket is left')
    with Daemon() as d, d.client() as other, d.client() as c:
        c.send(b'{"execute":"quit","id":1}{"execute":"query-version"}')
        same(c.receive(), {'return': {}, 'id': 1})
        same(c.receive(), None)
        same(other.receive(), None)
        same(d.ended(), 0)
    with Daemon() as d, d.client() as c:
        # A client that does not read delays the end by a second at most.
        c.socket.setblocking(False)
        try:
            while c.socket.send(b'{"execute":"query-qmp-schema"}' * 100):
                pass
        except BlockingIOError:
            pass
        start = time.monotonic()
        d.process.terminate()
        same(d.ended(), 0)
        must(time.monotonic() - start < 5, 'a slow end')


def as_user(user, groups, function):
    """Run function in a process of that user; its result is whether it succeeded."""
    process = os.fork()
    if not process:
        try:
            os.setgroups(groups)
            os.setgid(user)
            os.setuid(user)
            function()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(process, 0)[1] == 0


def permissions():
    """only the daemon's user, root and an allowed group may come"""
    if os.getuid():
        return 'needs root'
    with open('/etc/group', encoding='utf-8') as groups:
        name, _, group, _ = groups.read().splitlines()[-1].split(':')
    group = int(group)
    with Daemon() as d:
        same(stat.S_IMODE(os.stat(d.path).st_mode), 0o600)
        must(not as_user(12345, [], lambda: responsive(d)), 'a stranger was let in')
        # Also when the file's mode is no obstacle.
        os.chmod(d.path, 0o666)
        must(not as_user(12345, [group], lambda: responsive(d)), 'a stranger was let in')
        must('was refused' in d.read_log(), 'nothing in the log')
        responsive(d)
    with Daemon(f'chardev=m,allowed-group={name}') as d:
        # It listens before it lets the group in, but answers afterwards.
        responsive(d)
        info = os.stat(d.path)
        same((stat.S_IMODE(info.st_mode), info.st_gid), (0o660, group))
        must(as_user(12345, [group], lambda: responsive(d)), 'a member was refused')
        os.chmod(d.path, 0o666)
        must(not as_user(12345, [12345], lambda: responsive(d)), 'a stranger was let in')
    return None


def start(*options, **popen):
    """Run to the end: status and stderr."""
    done = subprocess.run([QCHAIND, *options], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, text=True, check=False, env=environment(), **popen)
    return done.returncode, done.stderr


def socket_files():
    """a dead daemon's socket is replaced, a living one's and other files are not"""
    with Daemon() as d:
        chardev = f'socket,id=m,path={d.path}'
        status, error = start('--chardev', chardev)
        same(status, 1)
        must('Address already in use' in error, error)
        responsive(d)
        d.process.kill()
        d.process.wait()
        must(os.path.exists(d.path), 'the socket is gone')
        with subprocess.Popen([QCHAIND, '--chardev', chardev, '--monitor', 'm'],
                              env=environment()) as second:
            wait_for(lambda: answers(d.path), 'an answer')
            # Something else at its place is not unlinked.
            os.unlink(d.path)
            with open(d.path, 'w', encoding='ascii') as f:
                f.write('precious')
            second.terminate()
            same(second.wait(60), 0)
        with open(d.path, encoding='ascii') as f:
            same(f.read(), 'precious')
        same(start('--chardev', chardev)[0], 1)
        with open(d.path, encoding='ascii') as f:
            same(f.read(), 'precious')


def answers(path):
    try:
        with Client(connect(path)) as c:
            return 'return' in c.call('query-version')
    except OSError:
        return False


def passed_sockets():
    """sockets that are passed in, by number and by the service manager's name"""
    with Daemon() as d:
        path = os.path.join(d.directory.name, 'passed')
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen()
            fd = s.fileno()
            with subprocess.Popen([QCHAIND, '--chardev', f'socket,id=a,fd={fd},server=on',
                                   '--monitor', 'a'],
                                  pass_fds=[fd], env=environment()) as second:
                must(answers(path), 'no answer')
                second.terminate()
                same(second.wait(60), 0)
            must(os.path.exists(path), 'a passed socket was unlinked')
            # As systemd does it.
            script = ('exec 3<&"$1"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=qmp '
                      'exec "$2" --chardev socket,id=a,fd=qmp --monitor a')
            with subprocess.Popen(['bash', '-c', script, 'bash', str(fd), QCHAIND],
                                  pass_fds=[fd], env=environment()) as second:
                must(answers(path), 'no answer')
                second.terminate()
                same(second.wait(60), 0)
            fd = os.open('/dev/null', os.O_RDWR)
            status, error = start('--chardev', f'socket,id=a,fd={fd}', pass_fds=[fd])
            os.close(fd)
            same(status, 1)
            must('is not a socket' in error, error)
        same(start('--chardev', 'socket,id=a,fd=none')[0], 1)


def notification():
    """the service manager is told of the beginning and the end"""
    with Daemon() as d:
        path = os.path.join(d.directory.name, 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(60)
            chardev = f'socket,id=m,path={path}.qmp'
            with subprocess.Popen([QCHAIND, '--chardev', chardev, '--monitor', 'm'],
                                  env=environment(NOTIFY_SOCKET=path)) as second:
                same(s.recv(100), b'READY=1')
                must(answers(f'{path}.qmp'), 'not ready')
                second.terminate()
                same(second.wait(60), 0)
                same(s.recv(100), b'STOPPING=1')


def background():
    """--daemonize and --pidfile"""
    with Daemon() as d:
        path = os.path.join(d.directory.name, 's')
        pidfile = os.path.join(d.directory.name, 'pid')
        options = ['--chardev', f'socket,id=m,path={path}', '--monitor', 'm', '--daemonize',
                   '--pidfile', pidfile]
        same(start(*options), (0, ''))
        must(answers(path), 'not ready')
        with open(pidfile, encoding='ascii') as f:
            pid = int(f.read())
        same(os.readlink(f'/proc/{pid}/cwd'), '/')
        other = [o.replace(path, path + '2') for o in options]
        status, error = start(*other)
        same(status, 1)
        must('another process has it locked' in error, error)
        must(not os.path.exists(path + '2'), 'the socket of the second is left')
        os.kill(pid, 15)
        wait_for(lambda: not os.path.exists(f'/proc/{pid}/exe'), 'the end')
        must(not os.path.exists(pidfile) and not os.path.exists(path), 'files are left')
        same(start('--daemonize', '--chardev', 'socket,id=m,path=/nonexistent/s')[0], 1)


def options():
    """wrong options: one line each, with its status"""
    with Daemon() as d:
        path = os.path.join(d.directory.name, 's')
        for status, text, *args in (
                (2, 'unknown', '--foo'), (2, 'needs an argument', '--pidfile'),
                (2, 'unexpected argument', 'x'), (2, 'no such log level', '--log-level', 'x'),
                (1, 'does not accept value', '--chardev', 'x'),
                (1, "Parameter 'id' is missing", '--chardev', f'socket,path={path}'),
                (1, 'One of', '--chardev', 'socket,id=m'),
                (1, 'One of', '--chardev', f'socket,id=m,path={path},fd=3'),
                (1, 'server=on', '--chardev', f'socket,id=m,path={path},server=off'),
                (1, 'wait=off', '--chardev', f'socket,id=m,path={path},wait=on'),
                (1, "Parameter 'bar' is unexpected", '--chardev', f'socket,id=m,path={path},bar=1'),
                (1, 'is too long', '--chardev', 'socket,id=m,path=/' + 'x' * 200),
                (1, 'already exists', '--chardev', f'socket,id=m,path={path}',
                 '--chardev', f'socket,id=m,path={path}2'),
                (1, 'not found', '--monitor', 'm'),
                (1, 'is in use', '--chardev', f'socket,id=m,path={path}', '--monitor', 'm',
                 '--monitor', 'm'),
                (1, 'mode=control', '--monitor', 'm,mode=readline'),
                (1, 'no group', '--chardev', f'socket,id=m,path={path}',
                 '--monitor', 'm,allowed-group=no-such-group'),
                (1, 'cannot create PID file', '--pidfile', '/nonexistent/pid')):
            got, error = start(*args)
            must(got == status and text in error and error.count('\n') == 1,
                 f'{args}: {got}, {error!r}')
            must(not os.path.exists(path), f'{args}: a socket is left')
    for option, text in ('--help', 'Usage: qchaind'), ('--version', 'qchaind '):
        done = subprocess.run([QCHAIND, option], capture_output=True, text=True, check=True)
        must(done.stdout.startswith(text), done.stdout)


def command_line():
    """qchain qmp: one command, a script, errors"""
    with Daemon() as d:
        def qmp(*args, **popen):
            return subprocess.run([QCHAIN, 'qmp', *args], capture_output=True, text=True, timeout=60,
                                  check=False, env={**os.environ, 'QCHAIN_SOCKET': d.path}, **popen)

        done = qmp('query-version')
        must(done.returncode == 0 and '"major": 7' in done.stdout, done)
        done = qmp('--socket', '/nonexistent/s', 'query-version')
        same((done.returncode, done.stderr), (1, 'qchain: /nonexistent/s: no daemon listens here; '
                                              "start qchaind, or give its --socket\n"))
        done = qmp('-v', 'nonsense', 'a.b=1', 'a.c=["x"]', 'd=on', 'e="5"', 'f=-2.5')
        same(done.stderr, 'qchain: nonsense: The command nonsense has not been found\n')
        same(''.join(done.stdout.split()), '{"execute":"nonsense","arguments":{"a":{"b":1,"c":["x"]}'
             ',"d":"on","e":"5","f":-2.5}}')
        done = qmp('quit', 'keep=5')
        same((done.returncode, done.stderr),
             (1, "qchain: quit: Invalid parameter type for 'keep', expected: boolean\n"))
        done = qmp(input='query-version\n\nnonsense a={"b": [1, 2]}\nquit\n')
        must(done.returncode == 1 and done.stdout.count('major') == 1, done)
        with subprocess.Popen([QCHAIN, 'events', '--socket', d.path]) as events:
            done = qmp(input='quit keep=true\n')
            same(done.returncode, 0)
            same(d.ended(), 0)
            same(events.wait(60), 1)


def dropped_connections():
    """qchain detach does without a daemon that drops the connection, attach does not"""
    def run(path, *args):
        return subprocess.run([QCHAIN, *args], capture_output=True, text=True, timeout=60,
                              check=False, env={**os.environ, 'QCHAIN_SOCKET': path})

    def close_accepted(server):
        server.accept()[0].close()

    def close_waiting(server):
        select.select([server], [], [])
        server.close()

    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', 'image', '1M'], cwd=directory,
                       check=True)
        image = os.path.join(directory, 'image')
        for i, drop in enumerate([close_accepted, close_waiting]):
            for command in (('detach', 'qchain-no-such'), ('attach', image, '--name', 'n'),
                            ('detach', '--socket', None, 'qchain-no-such')):
                path = os.path.join(directory, f's{i}-{len(command)}-{command[0]}')
                with socket.socket(socket.AF_UNIX) as server:
                    server.bind(path)
                    server.listen()
                    thread = threading.Thread(target=drop, args=[server])
                    thread.start()
                    done = run(path, *(path if word is None else word for word in command))
                    thread.join()
                same(done.returncode, 1)
                must((len(command) == 2) == ('daemon' not in done.stderr), done.stderr)


class Told:
    """Takes the place of a daemon, for one client: answers by command; None is the end."""

    def __init__(self, answers):
        self.answers = {'qmp_capabilities': {}, **answers}
        self.directory = tempfile.TemporaryDirectory(prefix='qchaind-test.')
        self.path = os.path.join(self.directory.name, 'qmp.sock')
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join()
        self.server.close()
        self.directory.cleanup()

    def serve(self):
        # Who has enough of an answer need not read all of it.
        with contextlib.suppress(ConnectionError):
            self.serve_client()

    def serve_client(self):
        with self.server.accept()[0] as client, client.makefile('rwb') as file:
            file.write(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
            file.flush()
            text, decoder = '', json.JSONDecoder()
            while True:
                more = client.recv(65536)
                text += more.decode()
                if not more:
                    return
                answer = self.answers.get(decoder.raw_decode(text)[0]['execute'])
                text = ''
                if answer is None:
                    return
                answer = answer if isinstance(answer, str) else json.dumps(answer)
                file.write(b'{"return": ' + answer.encode() + b'}\r\n')
                file.flush()


def images(count):
    """What query-block says of a chain of so many."""
    one = '{"filename": "/none", "format": "qcow2", "virtual-size": 512, "backing-image": '
    chain = one * (count - 1) + one.rsplit(',', 1)[0] + '}' * count
    return f'[{{"device": "v", "inserted": {{"node-name": "top", "image": {chain}}}}}]'


def trees():
    """qchain tree draws chains of thousands, and goes on without a daemon that does not answer"""
    rest = {'query-named-block-nodes': [], 'query-block-exports': [{'id': 'v', 'name': 'qchain-v'}],
            'query-block-jobs': [], 'query-jobs': []}

    def tree(count, *options, **answers):
        with Told({**rest, 'query-block': images(count), **answers}) as told:
            options = [told.path if option is None else option for option in options]
            return subprocess.run([QCHAIN, 'tree', *options, 'v'], capture_output=True, text=True,
                                  timeout=60, check=False,
                                  env={**os.environ, 'QCHAIN_SOCKET': told.path})

    for count in 3, 1020, 8000:
        done = tree(count)
        same((done.returncode, done.stderr, done.stdout.count('\n')), (0, '', count + 1))
    for count, answers, cause in ((20000, {}, 'nesting depth limit exceeded'),
                                  (3, {'query-jobs': None}, 'closed the connection')):
        done = tree(count, **answers)
        # There is no such device without the daemon.
        same(done.returncode, 1)
        lines = done.stderr.splitlines()
        same(len(lines), 2)
        must(cause in lines[0] and lines[0].endswith('; drawn without the daemon'), lines)
        must('daemon' not in lines[1], lines)
        done = tree(count, '--socket', None, **answers)
        must(done.returncode == 1 and done.stderr.count('\n') == 1 and cause in done.stderr, done)


run_tests([greeting, pipelining, many_clients, too_many_clients, slow_reader, garbage,
           large_requests, leaving, ends, permissions, socket_files, passed_sockets, notification,
           background, options, command_line, dropped_connections,
           trees])
