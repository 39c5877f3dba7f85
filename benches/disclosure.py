#!/usr/bin/env python3
"""What disclosure rules and the ledger cost: requests per second of the gateway under the same
contract without them, with the rules, and with the rules and an embedded ledger, measured in turn
within each round. Needs root; see compare.py, whose parts this uses.

    benches/disclosure.py [--rounds 5] [--requests 10000] [--json FILE]
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import compare
from compare import CELLS, PEERS, ROOT

VARIANTS = ("plain", "rules", "ledger")
RELEASE = {
    "cell": ["/cohort", "/region", "/rows/*/age_band", "/rows/*/sex"],
    "value": "/rows/*/n",
    "stats": ["/rows/*/mean_hba1c"],
    "horizon": "P400D",
    "differencing": {"min": 10},
    "repeat": "identical",
}


def without_rules(value):
    if isinstance(value, dict):
        return {k: without_rules(v) for k, v in value.items() if not k.startswith("sdc")}
    if isinstance(value, list):
        return [without_rules(v) for v in value]
    return value


def policy_of(variant, folder):
    """The benchmark's policy in a folder of its own, with the schemas of the variant."""
    folder.mkdir()
    for name in ("cohort-summary.schema.json", "common.schema.json"):
        schema = json.loads((ROOT / "schemas" / name).read_text())
        if variant == "plain":
            schema = without_rules(schema)
            schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        if variant == "ledger" and name.startswith("cohort"):
            schema["sdcRelease"] = RELEASE
        (folder / name).write_text(json.dumps(schema))
    text = (PEERS / "policy.yaml").read_text().replace("../../schemas/", "")
    (folder / "policy.yaml").write_text(text)
    return folder / "policy.yaml"


class Gateway:
    def __init__(self, lab, number, variant, bins):
        self.lab, self.bins = lab, bins
        folder = lab.scratch / variant
        self.policy = str(policy_of(variant, folder))
        state = lab.scratch / f"{variant}-state"
        state.mkdir(mode=0o700)
        shutil.chown(state, int(compare.LAZARET_UID), int(compare.LAZARET_UID))
        base = 16000 + 100 * number
        self.ports = {"outbound": base + 1, "inbound": base + 6, "admin": base + 20}
        ledger = ["--ledger", str(state / "ledger")] if variant == "ledger" else []
        lab.start(
            variant, compare.POD, compare.LAZARET_UID, str(bins / "lazaret"), "run",
            "--policy", self.policy, "--audit", str(state / "audit.jsonl"),
            "--outbound", f"127.0.0.1:{self.ports['outbound']}",
            "--inbound", f"0.0.0.0:{self.ports['inbound']}",
            "--admin", f"127.0.0.1:{self.ports['admin']}", *ledger,
        )
        compare.wait_for(lambda: compare.http_ok(self.ports["admin"]))

    def init(self, verb):
        flags = [f"--{name}-port={port}" for name, port in self.ports.items()]
        compare.sh(
            "ip", "netns", "exec", compare.POD, str(self.bins / "lazaret-init"), verb,
            "--policy", self.policy, "--uid", compare.LAZARET_UID, "--gid", compare.LAZARET_UID,
            *flags,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("disclosure: network namespaces need root")
    subprocess.run(["cargo", "build", "--release", "--workspace", "--bins"], check=True, cwd=ROOT)
    bins = ROOT / "target" / "release"
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lazaret-bench-"))
    pathlib.Path("/tmp/lazaret-bench").mkdir(exist_ok=True)
    os.chmod(scratch, 0o755)
    cells = [cell for cell in CELLS if cell[2]]
    results = {}
    with compare.Lab(scratch) as lab:
        for name, where in (("peer", compare.HOME), ("app", compare.POD)):
            conf = str(PEERS / f"nginx-{name}.conf")
            lab.start(f"nginx-{name}", where, "0", "nginx", "-g", "daemon off;", "-c", conf)
        gateways = {v: Gateway(lab, i, v, bins) for i, v in enumerate(VARIANTS)}
        current = None
        for number in range(args.rounds + 1):
            for cell in cells:
                figures = {}
                for variant, gateway in gateways.items():
                    if current:
                        current.init("remove")
                    gateway.init("apply")
                    current = gateway
                    figures[variant] = compare.ab(cell, args.requests, variant)
                # The first round warms up.
                if number > 0:
                    results.setdefault(compare.label(cell), []).append(figures)
                print(f"round {number}: {compare.label(cell)}", file=sys.stderr)
    print("| cell | without | rules | rules and ledger | rules / without | with ledger / without |")
    print("|---|---|---|---|---|---|")
    for cell, rounds in results.items():
        middle = [statistics.median(r[v]["rps"] for r in rounds) for v in VARIANTS]
        ratios = []
        for variant in VARIANTS[1:]:
            each = sorted(r[variant]["rps"] / r["plain"]["rps"] for r in rounds)
            ratios.append(f"{statistics.median(each):.2f} ({each[0]:.2f}–{each[-1]:.2f})")
        print(f"| {cell} | {' | '.join(f'{m:,.0f}' for m in middle)} | {' | '.join(ratios)} |")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
