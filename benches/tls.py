#!/usr/bin/env python3
"""Compares Lazaret, which ends TLS from the pod, inspects everything and speaks TLS to the peer, with
a direct connection and with Envoy and HAProxy, which do the same two legs and inspect nothing.

All keys are P-256, all handshakes TLS 1.3 with X25519, all records AES-128-GCM. Envoy and HAProxy
show a static certificate, Lazaret one that it mints. Each verifies the peer's authority and name and
keeps connections to it, so that a new connection of a client is one handshake, on the pod's side.
Needs root and what `scripts/setup.sh bench` installs; rounds are as in compare.py.

    benches/tls.py [--rounds 5] [--seconds 3] [--only CELL] [--json FILE]
"""

import json
import os
import re
import shutil
import statistics
import sys

import parts
from parts import (
    APP_UID, ENVOY_UID, HOME, HOME_IP, LAZARET_UID, NETWORK, PEERS, POD, POD_IP, ROOT, inside, ratio, sh,
)

TLS = PEERS / "tls"
NAME = "collector.example"
# The collector speaks HTTP/1.1 on one port and HTTP/2 on the other, so that both legs speak the same.
PORTS = {"h1": 443, "h2": 8443}
CONTESTANTS = ("direct", "envoy", "haproxy", "lazaret")
HTTP = "Content-Type: application/json"


class Cell:
    def __init__(self, label, measure, version, clients, streams=1):
        self.label, self.measure, self.version = label, measure, version
        self.clients, self.streams = clients, streams
        self.url = f"https://{NAME}:{PORTS[version]}/"


def handshakes(cell, client, seconds):
    """`ab` never resumes: each request is a connection with a full handshake."""
    percentiles = client.folder / "ab.csv"
    out = client.run(
        "ab", "-q", "-t", str(seconds), "-n", "1000000", "-c", str(cell.clients), "-p", "payload.json",
        "-T", "application/json", "-f", "TLS1.3", "-e", str(percentiles), cell.url,
    )
    failed = "Non-2xx" in out or number(out, r"Failed requests:\s+(\d+)") > 0
    served = dict(line.split(",") for line in percentiles.read_text().splitlines()[1:])
    return not failed and {
        "rps": number(out, r"Requests per second:\s+([\d.]+)"),
        "p50_ms": float(served["50"]),
        "p99_ms": float(served["99"]),
    }, out


def resumptions(cell, client, seconds):
    """`wrk` keeps the session of a connection for the one that follows it."""
    out = client.run(
        "wrk", "-t", "1", "-c", str(cell.clients), "-d", f"{seconds}s", "-s", "post.lua", cell.url
    )
    failed = "Non-2xx" in out or "Socket errors" in out
    return not failed and {
        "rps": number(out, r"Requests/sec:\s+([\d.]+)"),
        "p50_ms": number(out, r"p50_us (\d+)") / 1000,
        "p99_ms": number(out, r"p99_us (\d+)") / 1000,
    }, out


def requests(cell, client, seconds):
    """`h2load` opens its connections before it measures."""
    log = client.folder / "h2load.log"
    log.unlink(missing_ok=True)
    out = client.run(
        "h2load", "-t", "1", "-c", str(cell.clients), "-m", str(cell.streams), "-D", str(seconds),
        "--warm-up-time", "1", "-d", "payload.json", "-H", HTTP, "--log-file", str(log),
        *(["--h1"] if cell.version == "h1" else []), cell.url,
    )
    spoken = {"h1": "http/1.1", "h2": "h2"}[cell.version]
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    # It does not know the status of an answer whose head came before it measured.
    straddling = sum(status == "0" for _, status, _ in rows)
    good = rows and all(status in ("0", "200") for _, status, _ in rows)
    good = good and straddling <= cell.clients * cell.streams
    good = good and "0 failed, 0 errored" in out and f"Application protocol: {spoken}\n" in out
    took = sorted(int(micros) for _, _, micros in rows)
    return good and {
        "rps": number(out, r"([\d.]+) req/s"),
        "p50_ms": took[len(took) // 2] / 1000,
        "p99_ms": took[len(took) * 99 // 100] / 1000,
    }, out


CELLS = [
    Cell("new connection, full handshake, c=10", handshakes, "h1", 10),
    Cell("new connection, full handshake, c=100", handshakes, "h1", 100),
    Cell("new connection, resumed, c=10", resumptions, "h1", 10),
    Cell("new connection, resumed, c=100", resumptions, "h1", 100),
    Cell("HTTP/1.1 keep-alive, c=10", requests, "h1", 10),
    Cell("HTTP/1.1 keep-alive, c=100", requests, "h1", 100),
    Cell("HTTP/2, c=10, one stream each", requests, "h2", 10),
    Cell("HTTP/2, c=10, ten streams each", requests, "h2", 10, 10),
]


def number(text, pattern):
    found = re.search(pattern, text)
    return float(found.group(1)) if found else 0.0


def acknowledge_at_once():
    """ab does not set TCP_NODELAY: its request waits for the acknowledgement of its Finished, which
    comes 40 ms late from a server that has sent its tickets before. That is not what is measured."""
    flag = ("quickack", "1")
    sh("ip", "-n", POD, "route", "change", "local", POD_IP, "dev", "eth0", "table", "local", *flag)
    for namespace, own in ((POD, POD_IP), (HOME, HOME_IP)):
        sh("ip", "-n", namespace, "route", "change", NETWORK, "dev", "eth0", "src", own, *flag)


def redirect(h1, h2):
    return f"""
table inet peer {{
  chain out {{ type nat hook output priority -100;
    meta skuid {ENVOY_UID} return
    tcp dport {PORTS["h1"]} redirect to :{h1}
    tcp dport {PORTS["h2"]} redirect to :{h2}
  }}
}}
"""


class Client:
    """Programs in the pod that speak TLS, all of them with the same offer."""

    def __init__(self, scratch):
        self.folder = scratch / "client"
        self.environment = {**os.environ, "OPENSSL_CONF": str(scratch / "client.cnf")}

    def run(self, *command, **options):
        command = inside(POD, APP_UID, *command)
        return sh(*command, env=self.environment, cwd=self.folder, **options)

    def check(self, name, authority):
        """Whether the contestant does at all what is to be measured."""
        for version, flag, spoken in (("h1", "--http1.1", "1.1"), ("h2", "--http2", "2")):
            out = self.run(
                "curl", "-sS", "--cacert", str(authority), "--tlsv1.3", flag, "-H", HTTP,
                "-d", "@payload.json", "-o", "/dev/null", "-w", "%{http_code} %{http_version}",
                f"https://{NAME}:{PORTS[version]}/",
            )
            if out != f"200 {spoken}":
                raise SystemExit(f"tls: {name}: {version} answers `{out}`")
        body = (TLS.parent / "payload.json").read_text()
        message = (
            f"POST / HTTP/1.1\r\nHost: {NAME}\r\n{HTTP}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        )
        session = self.folder / f"{name}.session"
        for flag, expected in (("-sess_out", "New, TLSv1.3"), ("-sess_in", "Reused, TLSv1.3")):
            out = self.run(
                "openssl", "s_client", "-connect", f"{NAME}:{PORTS['h1']}", "-servername", NAME,
                "-CAfile", str(authority), "-verify_return_error", "-ign_eof", flag, str(session),
                input=message,
            )
            if expected not in out or " 200 OK" not in out:
                raise SystemExit(f"tls: {name}: expected `{expected}`:\n{out}")


class Contestants:
    def __init__(self, lab, bins, names):
        scratch = lab.scratch
        published = lab.folder_of(LAZARET_UID, "published", 0o755) / "ca.pem"
        self.authorities = {
            "direct": scratch / "peer-ca.pem",
            "envoy": scratch / "pod-ca.pem",
            "haproxy": scratch / "pod-ca.pem",
            "lazaret": published,
        }
        self.children, gateway = {}, None
        if "envoy" in names:
            self.children["envoy"] = lab.envoy(scratch / "envoy.yaml")
            parts.wait_for(lambda: parts.listens(15003))
        if "haproxy" in names:
            self.children["haproxy"] = lab.haproxy(scratch / "haproxy.cfg")
            parts.wait_for(lambda: parts.listens(15013))
        if "lazaret" in names:
            flags = ["--ca-publish", str(published)]
            policy = scratch / "policy.yaml"
            gateway = parts.Gateway(lab, "lazaret", policy, bins, flags=flags)
            self.children["lazaret"] = gateway.child
        rules = {"envoy": redirect(15001, 15003), "haproxy": redirect(15011, 15013)}
        self.in_charge = parts.InCharge(lab, gateway, rules)


def prepare(scratch):
    """Configurations and keys, in one folder, since they name each other by relative paths."""
    schemas = [ROOT / "schemas" / f"{name}.schema.json" for name in ("cohort-summary", "common")]
    for file in (*TLS.iterdir(), *schemas):
        shutil.copy(file, scratch)
    client = scratch / "client"
    client.mkdir()
    shutil.copy(PEERS / "payload.json", client)
    shutil.copy(TLS / "post.lua", client)
    shutil.chown(client, int(APP_UID), int(APP_UID))
    for side in ("peer", "pod"):
        certificate(scratch, f"{side}-ca", "ca")
        certificate(scratch, side, "leaf", "-CA", f"{side}-ca.pem", "-CAkey", f"{side}-ca.key")
    pair = "".join((scratch / f"pod.{end}").read_text() for end in ("pem", "key"))
    for name, text in (("pod.key", None), ("pod-pair.pem", pair)):
        if text:
            (scratch / name).touch(0o600)
            (scratch / name).write_text(text)
        shutil.chown(scratch / name, int(ENVOY_UID), int(ENVOY_UID))


def certificate(scratch, name, extensions, *issuer):
    sh(
        "openssl", "req", "-x509", "-config", "pki.cnf", "-extensions", extensions, "-days", "2",
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", f"{name}.key", "-out", f"{name}.pem", *issuer, cwd=scratch,
    )


def table(results, names):
    carriers = [name for name in names if name != "direct"]
    against = [name for name in ("envoy", "haproxy") if {name, "lazaret"} <= set(names)]
    titles = {"envoy": "Envoy", "haproxy": "HAProxy", "lazaret": "Lazaret", "direct": "direct"}
    lines = [
        "| cell | "
        + " | ".join(titles[n] for n in names)
        + "".join(f" | Lazaret / {titles[n]}" for n in against)
        + f" | p50, p99 ms {'; '.join(titles[n] for n in carriers)} |",
        "|---" * (len(names) + len(against) + 2) + "|",
    ]
    for cell, rounds in results.items():
        middle = lambda name, key: statistics.median(r[name][key] for r in rounds)
        times = (f"{middle(n, 'p50_ms'):.2f}, {middle(n, 'p99_ms'):.2f}" for n in carriers)
        columns = [
            cell,
            *(f"{middle(n, 'rps'):,.0f}" for n in names),
            *(ratio(rounds, "lazaret", n) for n in against),
            "; ".join(times),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def main():
    parser = parts.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="how long each is measured in a round")
    parser.add_argument("--only", help="only cells whose label has this text")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    args = parser.parse_args()
    names = [name for name in CONTESTANTS if name in args.contestants]
    parts.build(args.bin)
    cells = [c for c in CELLS if not args.only or args.only in c.label]
    results, busy = {}, []
    with parts.scratch_folder(args.keep) as scratch, parts.Lab(scratch) as lab:
        prepare(scratch)
        lab.resolve(NAME, HOME_IP)
        acknowledge_at_once()
        lab.nginx("nginx", HOME, scratch / "nginx.conf")
        parts.wait_for(lambda: parts.listens(PORTS["h2"], HOME))
        contestants, client = Contestants(lab, args.bin, names), Client(scratch)
        for name in names:
            contestants.in_charge.put(name)
            client.check(name, contestants.authorities[name])
        memory = {"before": parts.memory_kib(contestants.children)}
        for turn in range(args.rounds + 1):
            busy.append(parts.busy_percent())
            for cell in cells:
                figures = {}
                for name in names:
                    contestants.in_charge.put(name)
                    figures[name], out = cell.measure(cell, client, args.seconds)
                    if not figures[name] or not figures[name]["rps"]:
                        raise SystemExit(f"tls: {name}, {cell.label}: requests failed:\n{out}")
                # The first round warms up.
                if turn > 0:
                    results.setdefault(cell.label, []).append(figures)
                print(f"round {turn}: {cell.label}", file=sys.stderr)
        memory["after"] = parts.memory_kib(contestants.children)
    print(table(results, names))
    print(f"\nmemory, KiB (VmRSS): {json.dumps(memory)}")
    print(f"processors that others kept busy between the rounds, %: {', '.join(f'{b:.0f}' for b in busy)}")
    if args.json:
        figures = {"results": results, "memory_kib": memory, "busy_percent": busy}
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
