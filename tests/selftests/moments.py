#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes that tell of which moment a copy is.

moments.py write STOP OFFSET DEVICE...  write numbers to pages from OFFSET on, one after the other, on
                                        the devices in turns, until there is a file STOP
moments.py check OFFSET IMAGE...        fails unless the raw images show the devices as they were at
                                        one moment: with all numbers up to one, and none that is later

A number is written when the one before it is there, a thousand a second at most: there is more to
do on the machine.
"""
import mmap
import os
import sys
import time

PAGE = 4096
PAGES = 512         # on each device


def place(number, count):
    """The device, and the page on it."""
    return number % count, number // count * 7919 % PAGES


def write(stop, offset, paths):
    fds = [os.open(path, os.O_WRONLY | os.O_DIRECT) for path in paths]
    page = mmap.mmap(-1, PAGE)
    number = 0
    while not os.path.exists(stop):
        number += 1
        device, at = place(number, len(fds))
        page[0:8] = number.to_bytes(8, 'little')
        os.pwrite(fds[device], page, offset + at * PAGE)
        time.sleep(0.001)
    print('# counted to', number)


def numbers(path, offset):
    with open(path, 'rb') as image:
        image.seek(offset)
        data = image.read(PAGES * PAGE)
    return [int.from_bytes(data[at:at + 8], 'little') for at in range(0, PAGES * PAGE, PAGE)]


def check(offset, paths):
    found = [numbers(path, offset) for path in paths]
    last = max(max(image) for image in found)
    wanted = [[0] * PAGES for _ in paths]
    for number in range(1, last + 1):
        device, at = place(number, len(paths))
        wanted[device][at] = number
    wrong = [(device, at, found[device][at], wanted[device][at]) for device in range(len(paths))
             for at in range(PAGES) if found[device][at] != wanted[device][at]]
    print('# the moment of', last)
    for one in wrong[:5]:
        print('# device %d, page %d: %d, not %d' % one)
    sys.exit(1 if wrong else 0)


if sys.argv[1] == 'write':
    write(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
else:
    check(int(sys.argv[2]), sys.argv[3:])
