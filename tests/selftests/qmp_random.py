#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A random sequence of commands to qchaind, some of which must be refused.

qmp_random.py --seed N --steps N --pid FILE --launch COMMAND [--kill PERCENT]
              [--hurt COMMAND --heal COMMAND] SOCKET DEVICE=DIRECTORY...

FILE has the process ID of the daemon, which is there already. It is killed before PERCENT of the
commands are answered, and started again with COMMAND. --hurt and --heal make something below fail,
and let it go on; errors of jobs are expected in between.

Each DEVICE is an export of the same name as its device. New images are made in DIRECTORY.

What is judged: every command is answered, jobs go from one status to the next as they may, events
fit to what becomes of them, a stopped device stands still, the kernel has the daemon's chain.
At the end all jobs are brought to their end. Prints what it does; exit status 1 when
something was not as it has to be.
"""
import argparse
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time

PATIENCE = 60  # seconds for an answer, or for a job's end
MIB = 1 << 20
MAX_DEPTH = 6
MAX_FILES = 9  # new images of each device

# Where a job may go from each status.
NEXT = {
    None: {"created"},
    "created": {"running", "paused", "aborting"},
    "running": {"paused", "ready", "waiting", "aborting"},
    "paused": {"running", "aborting"},
    "ready": {"standby", "waiting", "aborting"},
    "standby": {"ready", "aborting"},
    "waiting": {"pending", "aborting"},
    "pending": {"aborting", "concluded"},
    "aborting": {"concluded"},
    "concluded": {"null"},
    "null": {"created"},
}
FOUND = "found"  # a job that a new daemon has found: its first status may be any
CLASSES = {"GenericError", "DeviceNotActive", "DeviceNotFound", "CommandNotFound"}


class Failure(Exception):
    pass


def say(text):
    print("# " + text, flush=True)


class Client:
    """One connection."""

    def __init__(self, path, on_event):
        self.on_event = on_event
        self.lines = b""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.receive()
        self.execute("qmp_capabilities")

    def receive(self):
        while b"\n" not in self.lines:
            if not select.select([self.sock], [], [], PATIENCE)[0]:
                raise Failure("no answer within %d seconds" % PATIENCE)
            data = self.sock.recv(65536)
            if not data:
                raise Failure("the daemon is gone")
            self.lines += data
        line, self.lines = self.lines.split(b"\n", 1)
        return json.loads(line)

    def send(self, command, arguments):
        request = {"execute": command, "arguments": arguments}
        self.sock.sendall(json.dumps(request).encode() + b"\n")

    def answer(self):
        while True:
            message = self.receive()
            if "event" not in message:
                return message
            self.on_event(message)

    def execute(self, command, arguments=None):
        self.send(command, arguments or {})
        return self.answer()

    def drain(self):
        """Events that have come."""
        while b"\n" in self.lines or select.select([self.sock], [], [], 0)[0]:
            self.on_event(self.receive())


class Job:
    """What was told of a job."""

    def __init__(self, status=None):
        self.status = status
        self.ended = False
        self.error_action = None


class Schedule:
    def __init__(self, args):
        self.args = args
        self.rng = random.Random(args.seed)
        self.devices = dict(device.split("=") for device in args.devices)
        self.files = dict.fromkeys(self.devices, 0)
        self.jobs = {}
        self.number = 0
        self.stopped = False
        self.hurt = False
        self.faults = False  # there was one, so jobs may fail
        self.overlays = []  # nodes that wait to be a snapshot
        self.spares = []  # nodes of images beside the devices' chains
        self.counts = {"ok": 0, "refused": 0, "killed": 0, "jobs": 0}
        self.connect()
        self.used = {device: self.size(device) for device in self.devices}

    # --- the daemon ---

    def pid(self):
        with open(self.args.pid, encoding="ascii") as file:
            return int(file.read())

    def gone(self):
        return not os.path.exists("/proc/%d" % self.pid())

    def connect(self):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.client = Client(self.args.socket, self.on_event)
                return
            except OSError:
                if time.monotonic() > end or self.gone():
                    raise Failure("the daemon does not start") from None
                time.sleep(0.05)

    def kill(self):
        self.counts["killed"] += 1
        self.faults = True  # a job that it had not started yet has failed
        os.kill(self.pid(), signal.SIGKILL)
        self.client.sock.close()
        while not self.gone():
            time.sleep(0.01)
        say("killed")
        self.jobs = {}
        subprocess.run(["bash", "-c", self.args.launch], check=True)
        self.connect()
        self.stopped = not self.must("query-status")["running"]
        self.agree()

    # --- events ---

    def on_event(self, event):
        name, data = event["event"], event.get("data", {})
        job_id = data.get("id", data.get("device"))
        job = self.jobs.setdefault(job_id, Job(FOUND if self.counts["killed"] else None))
        if name == "JOB_STATUS_CHANGE":
            if job.status != FOUND and data["status"] not in NEXT[job.status]:
                raise Failure("job %s went from %s to %s" % (job_id, job.status, data["status"]))
            if data["status"] == "created":
                self.jobs[job_id] = job = Job()
                self.counts["jobs"] += 1
            if data["status"] == "concluded" and not job.ended and job_id != "create":
                raise Failure("job %s has concluded without its event" % job_id)
            job.status = data["status"]
        elif name == "BLOCK_JOB_ERROR":
            say("event %s %s" % (name, json.dumps(data)))
            if not self.faults:
                raise Failure("an error, but nothing has failed")
            job.error_action = data["action"]
        elif name in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"):
            self.job_ended(name, data, job)

    def job_ended(self, name, data, job):
        if job.ended:
            raise Failure("job %s has ended twice" % data["device"])
        job.ended = True
        if "error" in data:
            say("job %s: %s" % (data["device"], data["error"]))
            if not self.faults:
                raise Failure("the job has failed")
        elif name == "BLOCK_JOB_COMPLETED" and job.error_action in ("report", "ignore"):
            raise Failure("job %s had an error, and none at its end" % data["device"])

    # --- commands ---

    def do(self, command, arguments=None):
        """The answer; it may be a refusal."""
        arguments = arguments or {}
        if self.rng.random() * 100 < self.args.kill:
            say("%s %s, not waited for" % (command, json.dumps(arguments)))
            self.client.send(command, arguments)
            time.sleep(self.rng.choice([0, 0.01, 0.05, 0.1, 0.2, 0.4]))
            self.kill()
            return None
        answer = self.client.execute(command, arguments)
        if "error" in answer:
            error = answer["error"]
            say("%s %s: %s" % (command, json.dumps(arguments), error["desc"]))
            if error["class"] not in CLASSES or not error["desc"]:
                raise Failure("strange error: %s" % error)
            self.counts["refused"] += 1
            return None
        self.counts["ok"] += 1
        say("%s %s" % (command, json.dumps(arguments)))
        return answer["return"]

    def must(self, command, arguments=None):
        answer = self.client.execute(command, arguments)
        if "error" in answer:
            raise Failure("%s: %s" % (command, answer["error"]["desc"]))
        return answer["return"]

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def device(self):
        return self.rng.choice(sorted(self.devices))

    def chain(self, device):
        """Names of nodes and files, top first."""
        nodes = {}
        for node in self.must("query-named-block-nodes"):
            if node["drv"] in ("qcow2", "raw"):
                nodes[node["file"]] = node["node-name"]
        for block in self.must("query-block"):
            if block["device"] == device:
                image, chain = block["inserted"]["image"], []
                while image:
                    chain.append((nodes[image["filename"]], image["filename"]))
                    image = image.get("backing-image")
                return chain
        raise Failure("device %s is gone" % device)

    def new_file(self, device):
        self.files[device] += 1
        return "%s/s%d.qcow2" % (self.devices[device], self.files[device])

    def may_grow(self, device):
        return self.files[device] < MAX_FILES and len(self.chain(device)) < MAX_DEPTH

    def new_node(self):
        self.number += 1
        return "node%d" % self.number

    # --- one step each ---

    def snapshot_arguments(self, device):
        arguments = {"device": device, "snapshot-file": self.new_file(device)}
        if self.chance(50):
            arguments = {"node-name": self.rng.choice(self.chain(device)[:2])[0],
                         "snapshot-file": arguments["snapshot-file"],
                         "snapshot-node-name": self.new_node()}
        if self.chance(10):  # an image in use
            arguments["snapshot-file"] = self.rng.choice(self.chain(device))[1]
        return arguments

    def snapshot_sync(self):
        device = self.device()
        if self.may_grow(device):
            self.do("blockdev-snapshot-sync", self.snapshot_arguments(device))

    def transaction(self):
        if all(self.may_grow(device) for device in self.devices):
            actions = [{"type": "blockdev-snapshot-sync", "data": self.snapshot_arguments(device)}
                       for device in sorted(self.devices)]
            if self.chance(20):
                actions.append({"type": "abort", "data": {}})
            self.do("transaction", {"actions": actions})

    def snapshot_node(self):
        device = self.device()
        if not self.may_grow(device):
            return
        name, path = self.new_node(), self.new_file(device)
        size = self.size(device)
        if self.chance(10):
            size -= 65536
        top, below = self.chain(device)[0]
        # The command leaves the header as it is.
        with open(below, "rb") as file:
            form = "qcow2" if file.read(4) == b"QFI\xfb" else "raw"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", below,
                        "-F", form, path, str(size)], check=True)
        self.do("blockdev-add", {"driver": "qcow2", "node-name": name, "backing": None,
                                 "file": {"driver": "file", "filename": path}})
        self.do("blockdev-snapshot", {"node": top, "overlay": name})
        self.overlays.append(name)

    def blockdev_del(self):
        if self.overlays:
            self.do("blockdev-del", {"node-name": self.rng.choice(self.overlays)})

    def job_arguments(self):
        arguments = {"job-id": "j%d" % self.rng.randrange(3)}
        if self.chance(60):
            arguments["speed"] = self.rng.choice([0, 1, 65536, 1 * MIB, 4 * MIB])
        if self.chance(60):
            arguments["on-error"] = self.rng.choice(["report", "ignore", "stop", "enospc"])
        if self.chance(20):
            arguments["auto-finalize"] = False
        if self.chance(20):
            arguments["auto-dismiss"] = False
        return arguments

    def stream(self):
        device = self.device()
        chain = self.chain(device)
        top = self.rng.randrange(len(chain))
        arguments = self.job_arguments()
        arguments["device"] = device if not top and self.chance(50) else chain[top][0]
        below = self.rng.randrange(len(chain))  # may be above it
        how = self.rng.randrange(5)
        if how == 0:
            arguments["base"] = chain[below][1]
        elif how == 1:
            arguments["base-node"] = chain[below][0]
        elif how == 2:
            arguments["bottom"] = chain[below][0]
        self.do("block-stream", arguments)

    def commit(self):
        device = self.device()
        chain = self.chain(device)
        arguments = self.job_arguments()
        arguments["device"] = device if self.chance(70) else chain[0][0]
        top, base = self.rng.randrange(len(chain)), self.rng.randrange(len(chain))
        how = self.rng.randrange(4)
        if how == 0:
            arguments["top"] = chain[top][1]
        elif how < 3:
            arguments["top-node"] = chain[top][0]
        how = self.rng.randrange(3)
        if how == 0:
            arguments["base"] = chain[base][1]
        elif how == 1:
            arguments["base-node"] = chain[base][0]
        self.do("block-commit", arguments)

    def steer(self):
        jobs = self.must("query-jobs")
        if not jobs and self.chance(80):
            self.rng.choice([self.stream, self.commit])()
            return
        job = self.rng.choice(jobs)["id"] if jobs else "nothing"
        verb = self.rng.choice(["pause", "resume", "cancel", "complete", "finalize", "dismiss",
                                "set-speed", "complete", "finalize", "dismiss", "set-speed"])
        if verb == "set-speed":
            speed = self.rng.choice([0, 0, 1, 65536, 2 * MIB])
            self.do("block-job-set-speed", {"device": job, "speed": speed})
        elif self.chance(50):
            self.do("job-" + verb, {"id": job})
        elif verb in ("finalize", "dismiss"):
            self.do("block-job-" + verb, {"id": job})
        elif verb == "cancel" and self.chance(70):
            self.do("block-job-cancel", {"device": job, "force": self.chance(50)})
        else:
            self.do("block-job-" + verb, {"device": job})

    def query(self):
        for name in ("query-jobs", "query-block-jobs", "query-block", "query-blockstats",
                     "query-named-block-nodes", "query-block-exports"):
            self.must(name)
        self.client.drain()
        for job in self.must("query-block-jobs"):
            told = self.jobs.get(job["device"])
            if (told and told.error_action == "stop" and job["status"] == "paused" and
                    told.status == "paused" and job["io-status"] == "ok"):
                raise Failure("job %s waits after an error, with io-status ok" % job["device"])

    def size(self, device):
        with open("/dev/mapper/" + device, "rb") as file:
            return file.seek(0, 2)

    def resize(self):
        device = self.device()
        # Never so small that what the I/O uses is cut off.
        size = self.size(device) + self.rng.choice([65536, MIB, -65536])
        if self.used[device] <= size <= 24 * MIB:
            self.do("block_resize", {"device": device, "size": size})

    def change_backing(self):
        device = self.device()
        chain = self.chain(device)
        at = self.rng.randrange(len(chain))
        if at + 1 < len(chain):
            name = chain[at + 1][1]
            if self.chance(50):
                name = os.path.relpath(name, self.devices[device])
                if os.path.dirname(chain[at][1]) != self.devices[device]:
                    return
            self.do("change-backing-file", {"device": device, "image-node-name": chain[at][0],
                                            "backing-file": name})

    def snapshot_internal(self):
        device, name = self.device(), "i%d" % self.rng.randrange(3)
        if self.chance(60):
            self.do("blockdev-snapshot-internal-sync", {"device": device, "name": name})
        else:
            self.do("blockdev-snapshot-delete-internal-sync", {"device": device, "name": name})

    def create(self):
        """An image of its own, which is added, exported and given up again."""
        device = self.device()
        if not self.may_grow(device):
            return
        name, path = self.new_node(), self.new_file(device)
        size = self.rng.choice([MIB, 8 * MIB])
        self.do("blockdev-create", {"job-id": "create", "options": {
            "driver": "file", "filename": path, "size": 0}})
        self.finish_create()
        self.do("blockdev-add", {"driver": "file", "node-name": name + "-file",
                                 "filename": path})
        self.do("blockdev-create", {"job-id": "create", "options": {
            "driver": "qcow2", "file": name + "-file", "size": size}})
        self.finish_create()
        self.do("blockdev-add", {"driver": "qcow2", "node-name": name, "file": name + "-file"})
        self.do("block-export-add", {"type": "dm", "id": "other", "name": "qcother",
                                     "node-name": name, "writable": self.chance(50)})
        self.spares += [name, name + "-file"]

    def finish_create(self):
        """It waits to be dismissed, when it has been started."""
        end = time.monotonic() + PATIENCE
        while True:
            status = [job["status"] for job in self.must("query-jobs") if job["id"] == "create"]
            if not status:
                return
            if status == ["concluded"]:
                self.do("job-dismiss", {"id": "create"})
            elif time.monotonic() > end:
                raise Failure("blockdev-create does not end")
            time.sleep(0.01)

    def give_up(self):
        self.do("block-export-del", {"id": "other"})
        if self.spares:
            self.do("blockdev-del", {"node-name": self.rng.choice(self.spares)})

    def reopen(self):
        chain = self.chain(self.device())
        at = self.rng.randrange(len(chain))
        options = {"driver": "qcow2", "node-name": chain[at][0],
                   "read-only": self.chance(50),
                   "file": {"driver": "file", "filename": chain[at][1]}}
        if at + 1 < len(chain):
            options["backing"] = chain[at + 1][0]
        self.do("blockdev-reopen", {"options": [options]})

    def throttle(self):
        iops = self.rng.choice([0, 0, 500, 2000])
        self.do("block_set_io_throttle", {"device": self.device(), "bps": 0, "bps_rd": 0,
                                          "bps_wr": 0, "iops": iops, "iops_rd": 0, "iops_wr": 0})

    def by_people(self):
        device = self.device()
        self.do("human-monitor-command", {"command-line": self.rng.choice([
            "info block", "info block-jobs", "info version", "block_stream " + device,
            "commit " + device])})

    def stop(self):
        if self.do("stop") is not None:
            self.stopped = True

    def cont(self):
        if self.do("cont") is not None:
            self.stopped = False

    def stop_or_cont(self):
        if self.stopped or self.chance(70):
            self.cont()
        else:
            self.stop()

    def fault(self):
        command = self.args.heal if self.hurt else self.args.hurt
        # The table of the disk can be changed only while nothing waits in it.
        if command and not self.stopped:
            self.hurt = not self.hurt
            self.faults = True
            say("hurt" if self.hurt else "healed")
            subprocess.run(["bash", "-c", command], check=True)

    def wait(self):
        time.sleep(self.rng.choice([0, 0.05, 0.2, 0.5]))

    # --- what must hold ---

    def agree(self):
        """The daemon's chains, and what the kernel has."""
        for device in sorted(self.devices):
            jobs = self.must("query-jobs")
            known = [os.path.realpath(path) for _, path in self.chain(device)]
            table = subprocess.run(["dmsetup", "table", device], stdout=subprocess.PIPE,
                                   check=True, text=True).stdout
            live = [os.path.realpath(word) for word in table.split() if word.startswith("/")]
            info = self.info(device)
            if info != ("Suspended" if self.stopped else "Active"):
                raise Failure("device %s is %s" % (device, info))
            if self.stopped or jobs:
                continue  # it has its table with cont; or a job may have ended between the two
            if known != live:
                raise Failure("device %s has %s, not %s" % (device, live, known))

    def info(self, device):
        command = ["dmsetup", "info", "-c", "--noheadings", "-o", "suspended", device]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True,
                              text=True).stdout.strip()

    def end_jobs(self):
        self.args.kill = 0
        if self.stopped:
            self.cont()
        if self.hurt:
            self.fault()
        end = time.monotonic() + PATIENCE
        verbs = {"paused": "resume", "standby": "resume", "ready": "complete",
                 "pending": "finalize", "concluded": "dismiss"}
        while True:
            jobs = self.must("query-jobs")
            if not jobs:
                return
            if time.monotonic() > end:
                raise Failure("these jobs do not end: %s" % jobs)
            for job in jobs:
                if job["status"] == "ready" and self.chance(30):
                    self.do("job-cancel", {"id": job["id"]})
                elif job["status"] in verbs:
                    self.do("job-" + verbs[job["status"]], {"id": job["id"]})
                elif job["status"] == "running":
                    self.client.execute("block-job-set-speed", {"device": job["id"], "speed": 0})
            time.sleep(0.1)

    def run(self):
        steps = ([self.snapshot_sync] * 6 + [self.stream] * 6 + [self.commit] * 6 +
                 [self.steer] * 12 + [self.query] * 2 + [self.resize] * 2 +
                 [self.change_backing] * 2 + [self.wait] * 6 + [self.snapshot_node] * 1 +
                 [self.blockdev_del] * 1 + [self.stop_or_cont] * 2 +
                 [self.snapshot_internal] * 2 + [self.create] * 1 + [self.give_up] * 1 +
                 [self.reopen] * 1 + [self.throttle] * 1 + [self.by_people] * 1)
        if len(self.devices) > 1:
            steps += [self.transaction] * 2
        if self.args.hurt:
            steps += [self.fault] * 3
        for step in range(self.args.steps):
            # What a step does depends on what there is; the next one shall not depend on that.
            self.rng = random.Random(self.args.seed << 16 | step)
            self.rng.choice(steps)()
            self.client.drain()
            if self.stopped:
                self.agree()
        if self.chance(25) and not self.stopped and not self.hurt:
            say("the end, with what goes on")
        else:
            self.end_jobs()
        self.agree()
        say(", ".join("%d %s" % (count, what) for what, count in self.counts.items()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pid", required=True)
    parser.add_argument("--launch", required=True)
    parser.add_argument("--kill", type=float, default=0)
    parser.add_argument("--hurt")
    parser.add_argument("--heal")
    parser.add_argument("socket")
    parser.add_argument("devices", nargs="+")
    try:
        Schedule(parser.parse_args()).run()
    except Failure as failure:
        print("# qmp_random: %s" % failure, flush=True)
        sys.exit(1)


main()
