#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A QMP client for tests.

qmp_client.py SOCKET JSON...   send each request; print what is returned, one line each.
                               An error is printed as CLASS: DESCRIPTION and ends it with status 1,
                               a lost connection with status 2.
qmp_client.py SOCKET --events  print {"connected": true}, then events until the connection ends.
qmp_client.py SOCKET --serve   send each line of the standard input, and print what is returned
                               or the error, with "+ " or "- " before it. Where the connection is
                               lost that is "- lost", and the next line gets a new one.
"""
import json
import socket
import sys
import time


def connect(path):
    for _ in range(100):
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            return sock.makefile("rw")
        except OSError:
            time.sleep(0.1)
    sys.exit(2)


def receive(stream):
    line = stream.readline()
    if not line:
        sys.exit(2)
    return json.loads(line)


def execute(stream, request):
    stream.write(request + "\n")
    stream.flush()
    while True:
        answer = receive(stream)
        if "event" not in answer:
            return answer


def negotiate(path):
    stream = connect(path)
    receive(stream)
    execute(stream, '{"execute": "qmp_capabilities"}')
    return stream


def error_text(answer):
    return answer["error"]["class"] + ": " + answer["error"]["desc"]


def serve(path):
    stream = None
    for request in sys.stdin:
        try:
            stream = stream or negotiate(path)
            answer = execute(stream, request.strip())
            if "error" in answer:
                print("- " + error_text(answer), flush=True)
            else:
                print("+ " + json.dumps(answer["return"]), flush=True)
        except (OSError, SystemExit):
            stream = None
            print("- lost", flush=True)


def main():
    if sys.argv[2] == "--serve":
        serve(sys.argv[1])
        return
    stream = negotiate(sys.argv[1])
    if sys.argv[2] == "--events":
        print(json.dumps({"connected": True}), flush=True)
        while True:
            print(json.dumps(receive(stream)), flush=True)
    for request in sys.argv[2:]:
        try:
            answer = execute(stream, request)
        except OSError:
            sys.exit(2)
        if "error" in answer:
            print(error_text(answer))
            sys.exit(1)
        print(json.dumps(answer["return"]))


main()
