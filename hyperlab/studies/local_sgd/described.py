"""What the report has to know of a local SGD study: of its task, and what every cell sends, with predicted seconds."""

from typing import Any

from hyperlab import local_sgd, trees
from hyperlab.studies.local_sgd.arms import find


def of(study: Any) -> dict[str, Any]:
    """The contents of `task.json`."""
    task, config = study.task, study.config
    compute, cells = study.compute_seconds(), {}
    for cell in study.cells():
        sent = study.traffic(cell)
        cells[cell.name] = {
            "steps": sent.steps,
            "rounds": sent.rounds + sent.synchronous_steps,
            "group_rounds": sent.group_rounds,
            "bytes_sent": sent.bytes_sent,
            "bytes_per_step": sent.bytes_per_step,
            "peak_bytes": sent.peak_bytes,
            "share": sent.share if sent.synchronous_bytes else None,
            "step_seconds": {name: _step_seconds(compute, link, sent) for name, link in links(config).items()},
            "local_batch": config.batch_size,
            "global_batch": config.batch_size * cell.replicas,
            "examples": config.batch_size * cell.replicas * sent.steps,
        }
    return {
        **task.described(),
        "parameters": trees.count(study.programs(1).shapes),
        "compute_seconds": compute,
        "links": {name: list(link) for name, link in links(config).items()},
        "cells": cells,
        "predicted": _predicted(study, compute),
    }


def _predicted(study: Any, compute: float) -> list[dict[str, Any]]:
    """Seconds of a step of what sends less than 32 bits a number, for 2 to 1024 replicas; of the rest reports know."""
    largest, rows = max(study.config.replicas), []
    for cell in study.cells():
        sent_as = find(cell.arm).compression
        if sent_as is None or cell.replicas != largest:
            continue
        for count in local_sgd.cost_model.REPLICAS:
            for name, link in links(study.config).items():
                seconds = _step_seconds(compute, link, study.traffic(cell, count))
                rows.append({"replicas": count, "link": name, "period": cell.period, "seconds": seconds})
                rows[-1] |= {"arm": cell.arm, "sent_as": sent_as}
    return rows


def _step_seconds(compute: float, link: local_sgd.Link, sent: local_sgd.Traffic) -> float:
    return local_sgd.cost_model.run_seconds(compute, link, sent) / sent.steps


def links(config: Any) -> dict[str, local_sgd.Link]:
    """The links that seconds are predicted for, by name."""
    found = {name: local_sgd.ARCHETYPES[name] for name in config.cost.links}
    if config.cost.gigabits > 0:
        found["given"] = local_sgd.cost_model.gigabits(config.cost.gigabits, config.cost.latency)
    return found
