"""Interleaved rounds, and what they come to: medians of ratios between neighbours in one run."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from typing import Any

Blocks = dict[str, list[dict[str, Any]]]


def interleave(names: list[str], rounds: int, block: Callable[[str], dict[str, Any]]) -> Blocks:
    """One block of each side per round. Each round begins with another side, every second goes backwards."""
    blocks: Blocks = {name: [] for name in names}
    for turn in range(rounds):
        at = turn % len(names)
        order = names[at:] + names[:at]
        for name in order if turn % 2 else reversed(order):
            blocks[name].append(block(name))
    return blocks


def ratios(blocks: Blocks, value: Callable[[dict[str, Any]], float], over: str) -> dict[str, dict[str, float]]:
    """For each side: the median of its rounds' values over those of ``over``, and their range."""
    found = {}
    for name, group in blocks.items():
        pairs = [value(one) / value(other) for one, other in zip(group, blocks[over], strict=True)]
        found[name] = {"median": statistics.median(pairs), "least": min(pairs), "most": max(pairs)}
    return found


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def per_call(group: list[dict[str, Any]], calls: int) -> dict[str, dict[str, float]]:
    """By part of a side: the median over blocks of CPU milliseconds and wakes per call."""
    parts = group[0]["used"]
    return {
        part: {
            "cpu_ms": statistics.median(block["used"][part]["cpu_s"] / calls * 1e3 for block in group),
            "wakes": statistics.median(block["used"][part]["wakes"] / calls for block in group),
        }
        for part in parts
    }


def told(name: str, found: dict[str, float], over: str) -> str:
    return f"  {name:8} {found['median']:6.2f} x {over} ({found['least']:.2f} to {found['most']:.2f})"


def told_used(parts: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{part} {used['cpu_ms']:.3f} ms ({used['wakes']:.1f} wakes)" for part, used in parts.items())


def conclude(figures: dict[str, Any], path: str) -> None:
    """Keep the raw figures, which have ``load_before``, and say what else the machine did."""
    figures["load_after"] = os.getloadavg()
    with open(path, "w") as file:
        json.dump(figures, file)
    loads = [f"{figures[key][0]:.1f}" for key in ("load_before", "load_after")]
    print(f"\nload average {loads[0]} before, {loads[1]} after; raw figures: {path}")
