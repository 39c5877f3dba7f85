#!/usr/bin/env python3
"""What disclosure rules and the ledger cost: requests per second of the gateway under the same
contract without them, with the rules, and with the rules and an embedded ledger, measured in turn
within each round. Needs root; see compare.py, whose parts this uses.

    benches/disclosure.py [--rounds 5] [--requests 10000] [--json FILE]
"""

import json
import statistics
import sys

import compare
import parts
from parts import PEERS, ROOT

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


def gateway(lab, number, variant, bins):
    policy = policy_of(variant, lab.scratch / variant)
    ledger = ["--ledger", "{state}/ledger"] if variant == "ledger" else []
    return parts.Gateway(lab, variant, policy, bins, 16000 + 100 * number, ledger)


def main():
    parser = parts.parser(__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    args = parser.parse_args()
    parts.build(args.bin)
    cells = [cell for cell in compare.CELLS if cell[2]]
    results = {}
    with parts.scratch_folder(args.keep) as scratch, parts.Lab(scratch) as lab:
        for name, where in (("peer", parts.HOME), ("app", parts.POD)):
            lab.nginx(f"nginx-{name}", where, PEERS / f"nginx-{name}.conf")
        gateways = {v: gateway(lab, i, v, args.bin) for i, v in enumerate(VARIANTS)}
        current = None
        for number in range(args.rounds + 1):
            for cell in cells:
                figures = {}
                for variant in VARIANTS:
                    if current:
                        current.init("remove")
                    current = gateways[variant]
                    current.init("apply")
                    figures[variant] = compare.ab(cell, args.requests, variant)
                # The first round warms up.
                if number > 0:
                    results.setdefault(compare.label(cell), []).append(figures)
                print(f"round {number}: {compare.label(cell)}", file=sys.stderr)
    print("| cell | without | rules | rules and ledger | rules / without | with ledger / without |")
    print("|---|---|---|---|---|---|")
    for cell, rounds in results.items():
        middle = [statistics.median(r[v]["rps"] for r in rounds) for v in VARIANTS]
        ratios = " | ".join(parts.ratio(rounds, v, "plain") for v in VARIANTS[1:])
        print(f"| {cell} | {' | '.join(f'{m:,.0f}' for m in middle)} | {ratios} |")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
