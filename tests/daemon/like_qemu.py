#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# qchaind and qemu-storage-daemon get the same bytes, right and wrong, and must answer the same. Prints TAP.
#
#	like_qemu.py [COUNT [SEED]]

import json
import random
import re
import shutil
import sys

from daemon import Daemon, must, run_tests

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1000000)
QEMU = 'qemu-storage-daemon'

TOKENS = [b'{', b'}', b'[', b']', b':', b',', b' ', b'\n', b'\t', b'"', b'\\', b'@', b'$', b'.',
          b'-', b'z', b'0', b'1', b'-5', b'1.5', b'1e5', b'true', b'null', b'foo', b'\x01', b'\xff',
          b'"execute"', b'"exec-oob"', b'"arguments"', b'"id"', b'"a"', b"'x'", b'"query-version"',
          b'"qmp_capabilities"', b'"enable"', b'["oob"]', b'{}', b'"\\q"', b'"\\u00e9"',
          b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\xc3\xa9"', b'"\xc3"',
          b'{"execute":"query-version"}', b'{"execute":"qmp_capabilities"}']
VALUES = ['query-version', 'qmp_capabilities', 'none', 5, None, True, {}, [1], {'enable': ['oob']},
          {'enable': ['x']}, {'enable': 5}, {'q': 1}]


def random_input(rng):
    kind = rng.random()
    if kind < 0.5:
        return b''.join(rng.choice(TOKENS) for _ in range(rng.randrange(1, 12)))
    if kind < 0.7:
        return rng.randbytes(rng.randrange(1, 30))
    keys = ['execute', 'exec-oob', 'arguments', 'id', 'foo']
    request = {rng.choice(keys): rng.choice(VALUES) for _ in range(rng.randrange(4))}
    data = bytearray(json.dumps(request).encode())
    if rng.random() < 0.5:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def skipped(data):
    """Where the two differ on purpose."""
    # QEMU reads 0e5 as two values, and takes numbers that are not finite and U+0000.
    return re.search(rb'0[eE]|[eE]\+?\d\d\d|\xc0', data)


def comparable(message):
    if 'return' in message:
        return ['return']
    error = message['error']
    # Which of several wrong members is named depends on their order in memory.
    if error['desc'].startswith('QMP input member'):
        return [error['class'], 'QMP input member', message.get('id')]
    # An element of an array has no name there.
    desc = error['desc'].replace("Parameter 'null'", "Parameter 'enable[0]'")
    # How many replacements a broken character gets is a matter of taste.
    desc = desc.replace('\ufffd', '')
    return [error['class'], desc, message.get('id')]


def ask(client, data, number):
    client.send(data + b'\xff\n{"execute":"none","id":"last %d"}\n' % number)
    answers = []
    while True:
        message = client.receive()
        must(message is not None, f'the connection has ended after {data!r}')
        if message.get('id') == f'last {number}':
            return answers
        answers.append(comparable(message))


def like_qemu():
    """random input, right and wrong, is answered as QEMU answers it"""
    if not shutil.which(QEMU):
        return f'there is no {QEMU}'
    rng = random.Random(SEED)
    print(f'# seed {SEED}')
    with Daemon() as ours, Daemon(program=QEMU) as theirs:
        with ours.client() as a, theirs.client() as b:
            for number in range(COUNT):
                data = random_input(rng)
                if skipped(data):
                    continue
                got, wanted = ask(a, data, number), ask(b, data, number)
                must(got == wanted, f'{data!r}: got {got}, QEMU says {wanted}')
    return None


run_tests([like_qemu])
