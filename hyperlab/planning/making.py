"""A plan, from a study's config to numbers: its programs are noted, compiled, and weighed against the machine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from hyperlab.planning import bound, waste
from hyperlab.planning.compiled import compiled, devices_of
from hyperlab.planning.machines import Machine
from hyperlab.planning.programs import flops, heaviest, noted
from hyperlab.train import engine
from hyperlab.train.capture import TRAINING, Capture, Noted

FAR = 64  # times the given batch: what lies beyond is not looked for
UNKNOWN = 2**40  # memory of a device of which it is not known: examples are on the device, and every program fits
Tell = Callable[[str], None]


class Making:
    """One plan in work.

    Args:
      config: of the study that it names.
      machine: which.
      cells: whose programs alone are looked at, by key; none: of all.
      tell: is told what is compiled, before and after.
      folder: where results of the compiler are kept; None: nowhere.
      versions: that they are of.
    """

    def __init__(
        self,
        config: Any,
        machine: Machine,
        cells: Sequence[str] = (),
        tell: Tell = lambda said: None,
        folder: Path | None = None,
        versions: Mapping[str, str] | None = None,
    ):
        self.config, self.machine, self.cells, self.tell = ml_collections.ConfigDict(config), machine, cells, tell
        self.folder, self.versions = folder, dict(versions or {})
        self.devices, self.precision = devices_of(machine), engine.of(config).precision

    def make(self) -> dict[str, Any]:
        """The plan, as `course.plan` returns it."""
        self.tell("reading the study's programs")
        capture = self._noted(self.config, self.cells)
        operations = {id(program): flops(program) for program in capture.programs}
        chosen = heaviest(capture.programs, lambda program: operations[id(program)] or 0)
        found = {id(program): self._compiled(program) for program in chosen}
        rows = [self._row(program, operations[id(program)], found[id(program)]) for program in chosen]
        seconds_of = self._seconds_of(capture, operations, found)
        step = next(program for program in chosen if program.kind == TRAINING)
        mesh = capture.mesh
        return {
            "study": self.config.study,
            "machine": self.machine.name,
            "devices": self.machine.devices,
            "memory": self.machine.of.memory,
            "source": self.machine.of.source,
            "mesh": mesh,
            "precision": self.precision,
            "batch_size": self.config.get("batch_size"),
            "programs": rows,
            "others": len(capture.programs) - len(chosen),
            "fits": not any(row["fits"] is False or row["error"] for row in rows),
            "largest_batch": self._largest_batch(step, found[id(step)], mesh.get("data", 1)),
            "steps": capture.planned,
            "seconds": max(seconds_of.values()),
            "hours": bound.hours(capture.planned, capture.planned_of, seconds_of),
            "waste": waste.sentences(step, found[id(step)], self.machine, mesh, self.precision),
            "versions": self.versions,
        }

    def _noted(self, config: Any, cells: Sequence[str]) -> Capture:
        kind, memory = self.machine.of.kind, self.machine.of.memory or UNKNOWN
        return noted(config, kind, self.devices, memory, cells)

    def _compiled(self, program: Noted, batch: int | None = None) -> dict[str, Any]:
        what = f"{program.kind}: {program.name} of {program.cell}" + (f" at batch {batch}" if batch else "")
        self.tell(f"compiling {what}")
        result = compiled(program, self.machine, self.folder, **self.versions)
        self.tell(f"{what}: " + ("known" if result["cached"] else f"{result['seconds']:.0f} s"))
        return result

    def _fits(self, result: Mapping[str, Any]) -> bool | None:
        """The compiler's own word; where it has none, whether the memory of a device holds what is needed."""
        memory, needed = self.machine.of.memory, result.get("needed")
        if result["fits"] is not None or not memory or needed is None:
            return result["fits"]
        return needed <= memory

    def _row(self, program: Noted, operations: int | None, result: dict[str, Any]) -> dict[str, Any]:
        least = self._bound(operations, result)
        known = {"kind": program.kind, "name": program.name, "cell": program.cell, "flops": operations}
        weighed = {"fits": self._fits(result), "seconds_bound": least.seconds, "bound_by": least.by}
        return {**known, **result, **weighed}

    def _bound(self, operations: int | None, result: Mapping[str, Any]) -> bound.Bound:
        return bound.bound(self.machine.of, self.machine.devices, self.precision, operations, result)

    def _seconds_of(self, capture: Capture, operations: Mapping[int, int | None], found: Mapping[int, Any]) -> dict:
        """The least seconds of a step of each cell; of what is not compiled, the products alone are known."""
        seconds = dict.fromkeys(capture.steps, 0.0)
        for program in capture.programs:
            if program.kind == TRAINING:
                least = self._bound(operations[id(program)], found.get(id(program), {}))
                seconds[program.cell] += least.seconds * program.calls / capture.steps[program.cell]
        return seconds

    # -- the batch that fits -----------------------------------------------------------------------------------

    def _largest_batch(self, step: Noted, result: Mapping[str, Any], parts: int) -> dict[str, Any] | None:
        """The largest batch of the training step: on a line through two, compiled once more where the given one fails.

        What a device needs grows no faster than the batch: one that is small enough tells that `FAR` times as many fit,
        and `more`. None where memory or batch are not known.
        """
        batch, memory = self.config.get("batch_size"), self.machine.of.memory
        if not (batch and memory) or result["error"] and result["fits"] is None:
            return None
        if self._fits(result) and result["needed"] * FAR <= memory:
            return {"batch": FAR * batch, "confirmed": False, "more": True}
        sizes = {batch: result["needed"]} if self._fits(result) else {}
        trial = batch
        while len(sizes) < 2:
            trial = trial // 2 // parts * parts
            if not trial:
                if not sizes:
                    return {"batch": 0, "confirmed": True}
                trial = 2 * max(sizes)
            other = self._at(step, trial)
            if "arguments" in other:
                sizes[trial] = other["needed"]
            elif trial > batch:
                return {"batch": max(sizes), "confirmed": False}
        largest = bound.largest_batch(sizes, memory, parts)
        if self._fits(result):
            return {"batch": min(max(largest, batch), FAR * batch), "confirmed": False, "more": largest > FAR * batch}
        largest = min(largest, batch - parts)
        confirmed = largest in sizes or self._fits(self._at(step, largest)) is not False
        return {"batch": largest, "confirmed": True} if confirmed else {"batch": min(sizes), "confirmed": True}

    def _at(self, step: Noted, batch: int) -> dict[str, Any]:
        """What the compiler says of a step at another batch."""
        config = ml_collections.ConfigDict(self.config)
        config.batch_size = batch
        capture = self._noted(config, [step.cell])
        alike = [program for program in capture.programs if (program.kind, program.name) == (step.kind, step.name)]
        return self._compiled(heaviest(alike, lambda program: flops(program) or 0)[0], batch)
