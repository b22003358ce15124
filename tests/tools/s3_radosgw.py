"""Ceph's S3 server on 127.0.0.1, with a cluster of its own in memory, for as long as standard input is open.

Prints `{"port": ..., "access_key": ..., "secret_key": ...}` when it answers. It needs the programs of Debian's packages radosgw, ceph-mon,
ceph-mgr and ceph-osd, and ends them all.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

ACCESS_KEY, SECRET_KEY = "AKIDRADOSGW", "for-tests-on-this-machine-only"
PATIENCE = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    def __init__(self, home):
        self.home, self.running = home, []

    def begin(self):
        home = self.home
        self.port, monitor, fsid = free_port(), free_port(), str(uuid.uuid4())
        self.conf = f"{home}/ceph.conf"
        with open(self.conf, "w") as conf:
            conf.write(
                f"""[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor}]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {home}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {home}
admin socket = {home}/$name.asok
log file = {home}/$name.log
crash dir = {home}
mon data = {home}/mon
mgr data = {home}/mgr
osd data = {home}/osd
rgw data = {home}/rgw
osd objectstore = memstore
memstore device bytes = 1073741824
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
mgr initial modules =
rgw frontends = beast endpoint=127.0.0.1:{self.port}
rgw enable usage log = false
"""
            )
        for directory in ("mon", "mgr", "osd", "rgw"):
            os.mkdir(f"{home}/{directory}")
        self.keys()
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", f"{home}/monmap", bare=True)
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{home}/monmap", "--keyring", f"{home}/keyring")
        self.start("ceph-mon", "-i", "a")
        self.wait("the monitor", lambda: self.try_run("ceph", "--connect-timeout", "5", "mon", "stat"))
        self.start("ceph-mgr", "-i", "x")
        volume = str(uuid.uuid4())
        self.run("ceph", "osd", "new", volume, "0")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", volume)
        self.start("ceph-osd", "-i", "0")
        self.start("radosgw", "-n", "client.rgw")
        self.wait("the gateway", self.answers)
        made = ("user", "create", "--uid", "test", "--display-name", "test", "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
        self.run("radosgw-admin", *made)

    def keys(self):
        caps = {
            "mon.": ["mon", "allow *"],
            "client.admin": ["mon", "allow *", "osd", "allow *", "mgr", "allow *"],
            "mgr.x": ["mon", "allow profile mgr", "osd", "allow *"],
            "osd.0": ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"],
            "client.rgw": ["mon", "allow rw", "osd", "allow rwx", "mgr", "allow rw"],
        }
        for number, (name, allowed) in enumerate(caps.items()):
            pairs = [part for at in range(0, len(allowed), 2) for part in ("--cap", allowed[at], allowed[at + 1])]
            make = ["--create-keyring"] if number == 0 else []
            self.run("ceph-authtool", *make, f"{self.home}/keyring", "--gen-key", "-n", name, *pairs, bare=True)

    def command(self, program, *arguments, bare=False):
        return [program, *([] if bare else ["-c", self.conf]), *arguments]

    def run(self, program, *arguments, bare=False):
        done = subprocess.run(self.command(program, *arguments, bare=bare), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{program} {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def try_run(self, program, *arguments):
        return subprocess.run(self.command(program, *arguments), stdin=subprocess.DEVNULL, capture_output=True).returncode == 0

    def start(self, program, *arguments):
        command = self.command(program, "-f", *arguments)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.running.append(subprocess.Popen(command, **quiet))

    def wait(self, what, done):
        until = time.monotonic() + PATIENCE
        while not done():
            ended = [process.args[0] for process in self.running if process.poll() is not None]
            if ended or time.monotonic() > until:
                sys.exit(f"{what} does not answer; ended: {ended}")
            time.sleep(0.1)

    def answers(self):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).read()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def end(self):
        for process in reversed(self.running):
            process.kill()
        for process in self.running:
            process.wait()


def main():
    home = tempfile.mkdtemp(prefix="radosgw-")
    cluster = Cluster(home)
    try:
        cluster.begin()
        print(json.dumps({"port": cluster.port, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}), flush=True)
        sys.stdin.buffer.read()
    finally:
        cluster.end()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
