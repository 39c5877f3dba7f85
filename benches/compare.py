#!/usr/bin/env python3
"""Compares Lazaret, inspecting everything, with a direct connection and with Envoy and HAProxy,
inspecting nothing: `ab` through real namespaces, the same cores, the same client and server.

Needs root and what `scripts/setup.sh bench` installs. The four are measured in turn within each
round, so that a machine that gets slower does so for all of them; what counts is the ratio within
a round, and of these the median. Nothing is sent anywhere but to namespaces that this makes.

    benches/compare.py [--rounds 5] [--requests 10000] [--only CELL] [--json FILE]
"""

import json
import re
import statistics
import sys
import time

import parts
from parts import APP_UID, ENVOY_UID, HOME, HOME_IP, PEERS, POD, POD_IP, inside, ratio, sh

CELLS = [
    (direction, concurrency, keep_alive)
    for direction in ("out", "in")
    for concurrency in (10, 100)
    for keep_alive in (False, True)
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


class Contestants:
    """What carries the traffic."""

    def __init__(self, lab, bins):
        self.gateway = parts.Gateway(lab, "lazaret", PEERS / "policy.yaml", bins)
        envoy, haproxy = lab.envoy(PEERS / "envoy.yaml"), lab.haproxy(PEERS / "haproxy.cfg")
        parts.wait_for(lambda: parts.listens(15001) and parts.listens(15011))
        self.children = {"lazaret": self.gateway.child, "envoy": envoy, "haproxy": haproxy}
        rules = {
            "envoy": redirect(15001, 15006, ENVOY_UID),
            "haproxy": redirect(15011, 15016, ENVOY_UID),
        }
        self.in_charge = parts.InCharge(lab, self.gateway, rules)


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
        ratios = " | ".join(ratio(rounds, "lazaret", name) for name in ("envoy", "haproxy"))
        figures = " | ".join(f"{middle(n):,.0f}" for n in ("direct", "envoy", "haproxy", "lazaret"))
        lines.append(
            f"| {cell} | {figures} | {ratios} |"
            f" {middle('lazaret', 'p99_ms'):.0f}, {middle('envoy', 'p99_ms'):.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = parts.parser(__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--only", help="only cells whose label has this text")
    args = parser.parse_args()
    parts.build(args.bin)
    cells = [c for c in CELLS if not args.only or args.only in label(c)]
    results, init_seconds = {}, []
    with parts.scratch_folder(args.keep) as scratch, parts.Lab(scratch) as lab:
        for name, where in (("peer", HOME), ("app", POD)):
            lab.nginx(f"nginx-{name}", where, PEERS / f"nginx-{name}.conf")
        contestants = Contestants(lab, args.bin)
        memory = {"before": parts.memory_kib(contestants.children)}
        for number in range(args.rounds + 1):
            for cell in cells:
                figures = {}
                for name in ("direct", "envoy", "haproxy", "lazaret"):
                    started = time.monotonic()
                    contestants.in_charge.put(name)
                    if name == "lazaret":
                        init_seconds.append(time.monotonic() - started)
                    figures[name] = ab(cell, args.requests, name)
                # The first round warms up.
                if number > 0:
                    results.setdefault(label(cell), []).append(figures)
                print(f"round {number}: {label(cell)}", file=sys.stderr)
        memory["after"] = parts.memory_kib(contestants.children)
    print(table(results))
    print(f"\nmemory, KiB (VmRSS): {json.dumps(memory)}")
    print(f"lazaret-init remove + apply + proof, s: median {statistics.median(init_seconds):.3f}")
    print(f"lazaret, start to ready, s: {contestants.gateway.ready_seconds:.3f}")
    if args.json:
        args.json.write_text(json.dumps({"results": results, "memory_kib": memory}, indent=1))


if __name__ == "__main__":
    main()
