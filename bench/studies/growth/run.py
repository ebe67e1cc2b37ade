#!/usr/bin/env python3
"""Runs the study of how overlays grow: every size with every overlay, then one table and the plots.

    python3 bench/studies/growth/run.py

Needs Python 3.9 and nothing beside, and the tools that build Skep. What has been run is not run again, so a study
that was interrupted goes on where it was. Large groups take long: a hundred thousand nodes some ten minutes and 3 GB
each, so they are run with `--sizes 10,100,1000,10000,100000` only.
"""

import argparse
import csv
import math
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]

# Each overlay, and the entries of the scenario that make it.
OVERLAYS = {
    "drt as specified": ["overlay.kind=drt", "overlay.as_specified=true"],
    "drt of Skep": ["overlay.kind=drt"],
    "drt, buckets of 1": ["overlay.kind=drt", "overlay.bucket_size=1"],
    "drt, buckets of 3": ["overlay.kind=drt", "overlay.bucket_size=3"],
    "HyParView": ["overlay.kind=hyparview"],
    "GossipSub": ["overlay.kind=gossipsub"],
}

# What is drawn: the scenario it is of, the number, and what it is.
PLOTS = [
    ("growth", "delivery_ratio", "share of messages that arrive"),
    ("growth", "degree_mean", "links of a node, mean"),
    ("growth", "degree_p99", "links of a node, 99th percentile"),
    ("growth", "degree_max", "links of a node, most"),
    ("growth", "hops_mean", "hops of a message, mean"),
    ("growth", "redundancy", "times told beyond the first"),
    ("growth", "mobile_wake_ups_per_message", "phones woken by a message"),
    ("healing", "heal_s", "seconds until all survivors reach each other"),
    ("healing", "largest_share", "share of survivors in the largest part"),
    ("healing", "delivery_ratio", "share of messages that arrive after the crash"),
]

# Runs of a mesh with a heartbeat in every node take a hundred times as long as others.
LARGEST = {"GossipSub": 1000}

COLOURS = ["#1b6ca8", "#c0392b", "#27864a", "#8e44ad", "#b9770e", "#555555"]


def fewer_seeds(size, seeds):
    """Large groups vary little and take long."""
    return min(seeds, 3) if size >= 10_000 else seeds


def sweep(sim, out, scenario, overlay, size, seeds):
    """Runs one point; its means with their intervals."""
    folder = out / "runs" / scenario / overlay.replace(" ", "-").replace(",", "") / str(size)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sim, "sweep", HERE / f"{scenario}.toml", "--vary", f"nodes={size}"]
    for entry in OVERLAYS[overlay]:
        command += ["--vary", entry]
    command += ["--seeds", f"1..{fewer_seeds(size, seeds)}", "--out", folder]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    with open(folder / "summary.csv", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                "scenario": scenario, "overlay": overlay, "nodes": size, "number": row["number"],
                "runs": row["runs"], "mean": row["mean"], "interval_95": row["interval_95"],
            }


def ticks(top):
    """Four or so round numbers up to the top."""
    step = 10 ** math.floor(math.log10(top / 2))
    while top / step > 6:
        step *= 2 if top / step <= 12 else 2.5 if top / step <= 15 else 5
    count = math.ceil(top / step)
    return [step * number for number in range(count + 1)]


def plot(rows, scenario, number, title):
    """A picture of one number by the count of nodes, as SVG."""
    rows = [row for row in rows if (row["scenario"], row["number"]) == (scenario, number)]
    if not rows:
        return None
    sizes = sorted({row["nodes"] for row in rows})
    top = max(float(row["mean"]) + float(row["interval_95"] or 0) for row in rows) or 1.0
    marks = ticks(top)
    left, right, upper, lower = 60, 470, 40, 300
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])

    def across(size):
        return left + (right - left) * ((math.log10(size) - low) / (high - low) if high > low else 0.5)

    def down(value):
        return lower - (lower - upper) * value / marks[-1]

    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="640" height="340" font-family="sans-serif" font-size="12">',
             '<rect width="640" height="340" fill="white"/>',
             f'<text x="{left}" y="22" font-size="15">{title}</text>']
    for mark in marks:
        parts.append(f'<line x1="{left}" x2="{right}" y1="{down(mark):.1f}" y2="{down(mark):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{down(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>')
    for size in sizes:
        parts.append(f'<text x="{across(size):.1f}" y="{lower + 18}" text-anchor="middle">{size:,}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{lower + 35}" text-anchor="middle">nodes</text>')
    for place, overlay in enumerate(OVERLAYS):
        colour = COLOURS[place]
        line = sorted((row["nodes"], float(row["mean"]), float(row["interval_95"] or 0))
                      for row in rows if row["overlay"] == overlay)
        if not line:
            continue
        points = " ".join(f"{across(size):.1f},{down(mean):.1f}" for size, mean, _ in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for size, mean, interval in line:
            x, ends = across(size), (down(max(mean - interval, 0)), down(mean + interval))
            parts.append(f'<circle cx="{x:.1f}" cy="{down(mean):.1f}" r="3" fill="{colour}"/>')
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" stroke="{colour}"/>')
        parts.append(f'<rect x="{right + 20}" y="{upper + 20 * place}" width="12" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{right + 38}" y="{upper + 6 + 20 * place}">{overlay}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def table(rows):
    """The numbers that are drawn, as Markdown."""
    lines = []
    sizes = sorted({row["nodes"] for row in rows})
    found = {(row["scenario"], row["number"], row["overlay"], row["nodes"]): row for row in rows}
    for scenario, number, title in PLOTS:
        lines += [f"{title[0].upper()}{title[1:]} (`{number}` of `{scenario}.toml`):", "",
                  "| Overlay | " + " | ".join(f"{size:,}" for size in sizes) + " |",
                  "|---|" + "---|" * len(sizes)]
        for overlay in OVERLAYS:
            cells = []
            for size in sizes:
                row = found.get((scenario, number, overlay, size))
                wide = float(row["interval_95"] or 0) if row else 0.0
                value = f"{float(row['mean']):.3g}" if row else "-"
                cells.append(f"{value} ± {wide:.2g}" if wide else value)
            lines.append(f"| {overlay} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100,1000,10000", help="counts of nodes")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each, three at most from 10,000 nodes on")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "studies" / "growth")
    parser.add_argument("--sim", type=pathlib.Path, help="a skep-sim that is built already")
    options = parser.parse_args()
    sim = options.sim
    if sim is None:
        subprocess.run(["cargo", "build", "--release", "-p", "skep-sim"], cwd=ROOT, check=True)
        sim = ROOT / "target" / "release" / "skep-sim"
    rows = []
    for size in sorted(int(size) for size in options.sizes.split(",")):
        for scenario in ("growth", "healing"):
            for overlay in (it for it in OVERLAYS if size <= LARGEST.get(it, size)):
                print(f"{size:>7} nodes, {scenario}, {overlay}", file=sys.stderr, flush=True)
                rows += sweep(sim, options.out, scenario, overlay, size, options.seeds)
    with open(options.out / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (options.out / "results.md").write_text(table(rows))
    (options.out / "plots").mkdir(exist_ok=True)
    for scenario, number, title in PLOTS:
        picture = plot(rows, scenario, number, title)
        if picture:
            (options.out / "plots" / f"{scenario}-{number}.svg").write_text(picture)
    print(options.out / "results.md")


if __name__ == "__main__":
    main()
