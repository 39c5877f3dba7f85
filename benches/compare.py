#!/usr/bin/env python3
"""Compares Lazaret, inspecting everything, with a direct connection and with Envoy and HAProxy,
inspecting nothing: `ab` through real namespaces, the same cores, the same client and server.

Needs root and what `scripts/setup.sh bench` installs. The four are measured in turn within each
round, so that a machine that gets slower does so for all of them; what counts is the ratio within
a round, and of these the median. Nothing is sent anywhere but to namespaces that this makes.

    benches/compare.py [--rounds 5] [--requests 10000] [--only CELL] [--json FILE]
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / "benches" / "peers"
POD, HOME = f"lzb-pod-{os.getpid()}", f"lzb-home-{os.getpid()}"
POD_IP, HOME_IP = "10.77.0.2", "10.77.0.1"
APP_UID, ENVOY_UID, LAZARET_UID = "2000", "1337", "1338"
# Lazaret's own defaults are taken by Envoy, whose configuration is given.
LAZARET_PORTS = {"outbound": 16001, "inbound": 16006, "admin": 16020}
CELLS = [
    (direction, concurrency, keep_alive)
    for direction in ("out", "in")
    for concurrency in (10, 100)
    for keep_alive in (False, True)
]


def sh(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def inside(namespace, uid, *command):
    return [
        "ip", "netns", "exec", namespace,
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command,
    ]


def redirect(outbound, inbound, uid):
    """The rules that the peers are used with."""
    return f"""
table inet peer {{
  chain out {{ type nat hook output priority -100;
    meta skuid {uid} return
    tcp dport 8080 redirect to :{outbound}
  }}
  chain in {{ type nat hook prerouting priority -100;
    iif lo return
    tcp dport 8000 redirect to :{inbound}
  }}
}}
"""


class Lab:
    def __init__(self, scratch):
        self.scratch = scratch
        self.children = []

    def __enter__(self):
        for namespace in (POD, HOME):
            sh("ip", "netns", "add", namespace)
            sh("ip", "-n", namespace, "link", "set", "lo", "up")
        sh("ip", "-n", POD, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", HOME)
        for namespace, address in ((POD, POD_IP), (HOME, HOME_IP)):
            sh("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            sh("ip", "-n", namespace, "link", "set", "eth0", "up")
        return self

    def __exit__(self, *_):
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for namespace in (POD, HOME):
            subprocess.run(["ip", "netns", "del", namespace], check=False)

    def start(self, name, namespace, uid, *command):
        log = open(self.scratch / f"{name}.log", "w")
        child = subprocess.Popen(inside(namespace, uid, *command), stdout=log, stderr=log)
        self.children.append(child)
        return child

    def nft(self, text):
        sh("ip", "netns", "exec", POD, "nft", "-f", "-", input=text)


class Contestants:
    """What carries the traffic, and how to put each in charge."""

    def __init__(self, lab, lazaret, init):
        self.lab, self.init = lab, init
        scratch = lab.scratch
        self.policy = str(PEERS / "policy.yaml")
        started = time.monotonic()
        self.lazaret = lab.start(
            "lazaret", POD, LAZARET_UID, str(lazaret), "run", "--policy", self.policy,
            "--outbound", f"127.0.0.1:{LAZARET_PORTS['outbound']}",
            "--inbound", f"0.0.0.0:{LAZARET_PORTS['inbound']}",
            "--admin", f"127.0.0.1:{LAZARET_PORTS['admin']}",
            "--audit", str(scratch / "audit" / "audit.jsonl"),
        )
        wait_for(lambda: http_ok(LAZARET_PORTS["admin"]))
        self.ready_seconds = time.monotonic() - started
        binary = sh(
            str(ROOT / ".tools/venv/bin/python"), "-c",
            "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')",
        ).strip()
        self.envoy = lab.start(
            "envoy", POD, ENVOY_UID, binary, "-c", str(PEERS / "envoy.yaml"),
            "--concurrency", "2", "--log-level", "warning", "--base-id", str(os.getpid() % 60000),
        )
        self.haproxy = lab.start("haproxy", POD, ENVOY_UID, "haproxy", "-f", str(PEERS / "haproxy.cfg"))
        wait_for(lambda: listens(15001) and listens(15011))
        self.current = None

    def put_in_charge(self, name):
        if name == self.current:
            return
        self.lab.nft("table inet peer {}\ndelete table inet peer\n")
        sh("ip", "netns", "exec", POD, str(self.init), "remove", *self.init_flags())
        if name == "lazaret":
            sh("ip", "netns", "exec", POD, str(self.init), "apply", *self.init_flags())
        elif name == "envoy":
            self.lab.nft(redirect(15001, 15006, ENVOY_UID))
        elif name == "haproxy":
            self.lab.nft(redirect(15011, 15016, ENVOY_UID))
        self.current = name

    def init_flags(self):
        return [
            "--policy", self.policy, "--uid", LAZARET_UID, "--gid", LAZARET_UID,
            "--outbound-port", str(LAZARET_PORTS["outbound"]),
            "--inbound-port", str(LAZARET_PORTS["inbound"]),
            "--admin-port", str(LAZARET_PORTS["admin"]),
        ]

    def memory_kib(self):
        return {
            name: resident(child.pid)
            for name, child in
            (("lazaret", self.lazaret), ("envoy", self.envoy), ("haproxy", self.haproxy))
        }


def resident(pid):
    """VmRSS of a process and of those that it started, in KiB."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    own = int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
    return own + sum(resident(int(child)) for child in children)


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("compare: a part did not start; see its log")
        time.sleep(0.005)


def listens(port):
    out = sh("ip", "netns", "exec", POD, "ss", "-Hltn", f"sport = :{port}")
    return bool(out.strip())


def http_ok(port):
    done = subprocess.run(
        inside(POD, LAZARET_UID, "curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}/readyz"),
        check=False,
    )
    return done.returncode == 0


def ab(cell, requests, name):
    direction, concurrency, keep_alive = cell
    flags = ["-q", "-n", str(requests), "-c", str(concurrency)] + (["-k"] if keep_alive else [])
    if direction == "out":
        payload = ["-p", str(PEERS / "payload.json"), "-T", "application/json"]
        command = inside(POD, APP_UID, "ab", *flags, *payload, f"http://{HOME_IP}:8080/")
    else:
        command = inside(HOME, APP_UID, "ab", *flags, f"http://{POD_IP}:8000/")
    out = sh(*command)
    number = lambda pattern: float(re.search(pattern, out).group(1))
    if "Non-2xx" in out or number(r"Failed requests:\s+(\d+)") > 0:
        raise SystemExit(f"compare: {name}, {cell}: requests failed:\n{out}")
    return {
        "rps": number(r"Requests per second:\s+([\d.]+)"),
        "p50_ms": number(r"\s50%\s+(\d+)"),
        "p99_ms": number(r"\s99%\s+(\d+)"),
    }


def label(cell):
    direction, concurrency, keep_alive = cell
    return f"{direction}, c={concurrency}{', keep-alive' if keep_alive else ''}"


def table(results):
    lines = [
        "| cell | direct | Envoy | HAProxy | Lazaret | Lazaret / Envoy | Lazaret / HAProxy |"
        " p99 ms Lazaret, Envoy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell, rounds in results.items():
        middle = lambda name, key="rps": statistics.median(r[name][key] for r in rounds)

        def ratio(name):
            all_ratios = sorted(r["lazaret"]["rps"] / r[name]["rps"] for r in rounds)
            return f"**{statistics.median(all_ratios):.2f}** ({all_ratios[0]:.2f}–{all_ratios[-1]:.2f})"

        figures = " | ".join(f"{middle(n):,.0f}" for n in ("direct", "envoy", "haproxy", "lazaret"))
        lines.append(
            f"| {cell} | {figures} | {ratio('envoy')} | {ratio('haproxy')} |"
            f" {middle('lazaret', 'p99_ms'):.0f}, {middle('envoy', 'p99_ms'):.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--only", help="only cells whose label has this text")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    parser.add_argument("--keep", action="store_true", help="keep the logs of all parts")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target" / "release")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("compare: network namespaces need root")
    if args.bin == ROOT / "target" / "release":
        subprocess.run(["cargo", "build", "--release", "--workspace", "--bins"], check=True, cwd=ROOT)
    cells = [c for c in CELLS if not args.only or args.only in label(c)]
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lazaret-bench-"))
    # nginx's configurations name this folder.
    pathlib.Path("/tmp/lazaret-bench").mkdir(exist_ok=True)
    os.chmod(scratch, 0o755)
    (scratch / "audit").mkdir()
    shutil.chown(scratch / "audit", int(LAZARET_UID), int(LAZARET_UID))
    results, init_seconds = {}, []
    with Lab(scratch) as lab:
        lab.start("nginx-peer", HOME, "0", "nginx", "-g", "daemon off;", "-c", str(PEERS / "nginx-peer.conf"))
        lab.start("nginx-app", POD, "0", "nginx", "-g", "daemon off;", "-c", str(PEERS / "nginx-app.conf"))
        contestants = Contestants(lab, args.bin / "lazaret", args.bin / "lazaret-init")
        memory = {"before": contestants.memory_kib()}
        for number in range(args.rounds + 1):
            for cell in cells:
                figures = {}
                for name in ("direct", "envoy", "haproxy", "lazaret"):
                    started = time.monotonic()
                    contestants.put_in_charge(name)
                    if name == "lazaret":
                        init_seconds.append(time.monotonic() - started)
                    figures[name] = ab(cell, args.requests, name)
                # The first round warms up.
                if number > 0:
                    results.setdefault(label(cell), []).append(figures)
                print(f"round {number}: {label(cell)}", file=sys.stderr)
        memory["after"] = contestants.memory_kib()
    print(table(results))
    print(f"\nmemory, KiB (VmRSS): {json.dumps(memory)}")
    print(f"lazaret-init remove + apply + proof, s: median {statistics.median(init_seconds):.3f}")
    print(f"lazaret, start to ready, s: {contestants.ready_seconds:.3f}")
    if args.json:
        args.json.write_text(json.dumps({"results": results, "memory_kib": memory}, indent=1))
    if not args.keep:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
