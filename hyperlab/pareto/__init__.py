"""Accuracy against cost: what a network costs, which points are best, which one to take, and how to take it along."""

from hyperlab.metrics.operations import macs, operations
from hyperlab.pareto.cost import Cost, cost
from hyperlab.pareto.export import export, load
from hyperlab.pareto.front import excluded, front, hypervolume
from hyperlab.pareto.intervals import over_cases, over_seeds, spread, told_of_cases
from hyperlab.pareto.latency import latency
from hyperlab.pareto.select import Selection, select

__all__ = [
    "Cost",
    "Selection",
    "cost",
    "excluded",
    "export",
    "front",
    "hypervolume",
    "latency",
    "load",
    "macs",
    "operations",
    "over_cases",
    "over_seeds",
    "select",
    "spread",
    "told_of_cases",
]
