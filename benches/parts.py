"""What the benchmarks share: two network namespaces, a pod and what it talks to, the parts that run
in them, and who of these the pod's connections are redirected to. Nothing is sent anywhere else."""

import argparse
import contextlib
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
RELEASE = ROOT / "target" / "release"
POD, HOME = f"lzb-pod-{os.getpid()}", f"lzb-home-{os.getpid()}"
POD_IP, HOME_IP, NETWORK = "10.77.0.2", "10.77.0.1", "10.77.0.0/24"
APP_UID, ENVOY_UID, LAZARET_UID = "2000", "1337", "1338"


def sh(*command, **options):
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` failed: {done.stderr}")
    return done.stdout


def inside(namespace, uid, *command):
    return [
        "ip", "netns", "exec", namespace,
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command,
    ]


class Lab:
    def __init__(self, scratch):
        self.scratch = scratch
        self.children = []
        self.folders = []

    def __enter__(self):
        # What is ended by a signal cleans up as well.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        for namespace in (POD, HOME):
            sh("ip", "netns", "add", namespace)
            sh("ip", "-n", namespace, "link", "set", "lo", "up")
        sh("ip", "-n", POD, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", HOME)
        for namespace, address in ((POD, POD_IP), (HOME, HOME_IP)):
            sh("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            sh("ip", "-n", namespace, "link", "set", "eth0", "up")

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
        for folder in self.folders:
            shutil.rmtree(folder)
            # Others may have theirs beside it.
            with contextlib.suppress(OSError):
                folder.parent.rmdir()

    def resolve(self, name, address):
        """Gives `name` an address in the pod; see ip-netns(8)."""
        folder = pathlib.Path("/etc/netns") / POD
        folder.mkdir(parents=True)
        self.folders.append(folder)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")

    def start(self, name, namespace, uid, *command):
        log = open(self.scratch / f"{name}.log", "w")
        child = subprocess.Popen(
            inside(namespace, uid, *command), stdout=log, stderr=log, cwd=self.scratch
        )
        self.children.append(child)
        return child

    def nginx(self, name, namespace, config):
        return self.start(name, namespace, "0", "nginx", "-g", "daemon off;", "-p", ".", "-c", str(config))

    def envoy(self, config):
        program = sh(
            str(ROOT / ".tools/venv/bin/python"), "-c",
            "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')",
        ).strip()
        return self.start(
            "envoy", POD, ENVOY_UID, program, "-c", str(config),
            "--concurrency", "2", "--log-level", "warning", "--base-id", str(os.getpid() % 60000),
        )

    def haproxy(self, config):
        return self.start("haproxy", POD, ENVOY_UID, "haproxy", "-f", str(config))

    def folder_of(self, uid, name, mode=0o700):
        """A folder of its own for what one part writes."""
        folder = self.scratch / name
        folder.mkdir(mode=mode)
        shutil.chown(folder, int(uid), int(uid))
        return folder

    def nft(self, text):
        sh("ip", "netns", "exec", POD, "nft", "-f", "-", input=text)


class Gateway:
    """Lazaret in the pod, with ports from `base` on, and what redirects to it."""

    def __init__(self, lab, name, policy, bins, base=16000, flags=()):
        self.init_program = str(bins / "lazaret-init")
        self.ports = {"outbound": base + 1, "inbound": base + 6, "admin": base + 20}
        self.policy = str(policy)
        self.state = lab.folder_of(LAZARET_UID, f"{name}-state")
        started = time.monotonic()
        self.child = lab.start(
            name, POD, LAZARET_UID, str(bins / "lazaret"), "run", "--policy", self.policy,
            "--outbound", f"127.0.0.1:{self.ports['outbound']}",
            "--inbound", f"0.0.0.0:{self.ports['inbound']}",
            "--admin", f"127.0.0.1:{self.ports['admin']}",
            "--audit", str(self.state / "audit.jsonl"),
            *(flag.format(state=self.state) for flag in flags),
        )
        wait_for(lambda: is_ready(self.ports["admin"]))
        self.ready_seconds = time.monotonic() - started

    def init(self, verb):
        flags = [f"--{name}-port={port}" for name, port in self.ports.items()]
        sh(
            "ip", "netns", "exec", POD, self.init_program, verb, "--policy", self.policy,
            "--uid", LAZARET_UID, "--gid", LAZARET_UID, *flags,
        )


class InCharge:
    """Whom the pod's connections are redirected to: the gateway, a peer by its rules, or nobody."""

    def __init__(self, lab, gateway, rules):
        self.lab, self.gateway, self.rules = lab, gateway, rules
        self.current = None

    def put(self, name):
        if name == self.current:
            return
        self.lab.nft("table inet peer {}\ndelete table inet peer\n")
        if self.gateway:
            self.gateway.init("remove")
        if name == "lazaret":
            self.gateway.init("apply")
        elif name in self.rules:
            self.lab.nft(self.rules[name])
        self.current = name


def memory_kib(children):
    return {name: resident(child.pid) for name, child in children.items()}


def resident(pid):
    """VmRSS of a process and of those that it started, in KiB."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    own = int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
    return own + sum(resident(int(child)) for child in children)


def busy_percent(seconds=1):
    """How busy the processors are while nothing is measured: how much to trust the figures."""
    first = processor_ticks()
    time.sleep(seconds)
    idle, total = (after - before for before, after in zip(first, processor_ticks()))
    return 100 * (1 - idle / total)


def processor_ticks():
    """Idle ticks and all of them; see proc_stat(5)."""
    ticks = [int(t) for t in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("a part did not start; --keep keeps its log")
        time.sleep(0.005)


def listens(port, namespace=POD):
    out = sh("ip", "netns", "exec", namespace, "ss", "-Hltn", f"sport = :{port}")
    return bool(out.strip())


def is_ready(port):
    done = subprocess.run(
        inside(POD, LAZARET_UID, "curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}/readyz"),
        check=False,
    )
    return done.returncode == 0


def ratio(rounds, name, to, key="rps"):
    """The median of the ratios within the rounds, and the smallest and the largest."""
    each = sorted(r[name][key] / r[to][key] for r in rounds)
    return f"**{statistics.median(each):.2f}** ({each[0]:.2f}–{each[-1]:.2f})"


def parser(doc):
    made = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--json", type=pathlib.Path, help="write all figures here")
    made.add_argument("--keep", action="store_true", help="keep the logs of all parts")
    made.add_argument("--bin", type=lambda path: pathlib.Path(path).resolve(), default=RELEASE)
    return made


def build(bins):
    if os.geteuid() != 0:
        raise SystemExit("network namespaces need root")
    if bins == RELEASE:
        subprocess.run(["cargo", "build", "--release", "--workspace", "--bins"], check=True, cwd=ROOT)


@contextlib.contextmanager
def scratch_folder(keep):
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lazaret-bench-"))
    os.chmod(scratch, 0o755)
    # Some of nginx's configurations name this folder.
    pathlib.Path("/tmp/lazaret-bench").mkdir(exist_ok=True)
    try:
        yield scratch
    finally:
        if keep:
            print(f"the logs are in {scratch}")
        else:
            shutil.rmtree(scratch)
