#!/usr/bin/env python3
"""Compares primary suppression with ACRO (pip install acro; AI-SDC, version 1.0).

`cells.json` lists cells of a table of sums by what each contributor adds, and which of ACRO's three
rules object to them: `threshold` (fewer than 10 people; zero people too), `nk` (the two largest are 90 %
of the sum or more), `p` (what is left beside the two largest is less than 10 % of the largest). The
verdicts are checked against ACRO and against the same rules in exact fractions, as the gateway has
them in `sdcMinCount` and `sdcDominance`. Not part of `cargo test`: it needs Python and pandas.
"""

import json
import logging
import pathlib
import sys
from fractions import Fraction

import acro
import pandas as pd

logging.disable(logging.CRITICAL)

CHECKS = {"MinimumThresholdCheck": "threshold", "NKCheck": "nk", "PPercentCheck": "p"}


def exact(values):
    """The three rules in fractions."""
    values = sorted(map(Fraction, values), reverse=True)
    total, top = sum(values), values[:2]
    found = set()
    if len(values) < 10:
        found.add("threshold")
    if total > 0 and sum(top) / total >= Fraction(9, 10):
        found.add("nk")
    if values[0] > 0 and (total - sum(top)) / values[0] < Fraction(1, 10):
        found.add("p")
    return found


def of_acro(cells):
    """What ACRO says of each cell of one table."""
    rows = [
        (f"{number:03}", "all", value)
        for number, cell in enumerate(cells)
        for value in cell["values"]
    ]
    frame = pd.DataFrame(rows, columns=["row", "column", "value"])
    session = acro.ACRO(suppress=False)
    session.crosstab(frame.row, frame.column, values=frame.value, aggfunc="sum")
    outcome = list(session.results.results.values())[-1].outcome
    texts = outcome.iloc[:, 0]
    return [
        {ours for check, ours in CHECKS.items() if check in texts[f"{number:03}"]}
        for number in range(len(cells))
    ]


def main():
    path = pathlib.Path(__file__).with_name("cells.json")
    cells = json.loads(path.read_text(encoding="utf-8"))
    wrong = 0
    for cell, theirs in zip(cells, of_acro(cells), strict=True):
        ours = set(cell["found"])
        # ACRO 1.0.2 means to pass a cell whose largest value is 0, and does not.
        known = set(cell.get("acro", ours))
        both = (("ACRO", known, theirs), ("exact fractions", ours, exact(cell["values"])))
        for who, expected, found in both:
            if found != expected:
                wrong += 1
                print(f"{cell['case']}: {who} finds {sorted(found)}, not {sorted(expected)}")
    print(f"{len(cells)} cells, {wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
