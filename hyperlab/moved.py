"""Names that this version moved: for one release the old ones still work, with a FutureWarning that names the new."""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

# an old package, where its modules are now, and those: `old=new` where the name changed; "" is the package itself
_ROOMS = """
stability studies.stability: "" arms schema trial=programs units=study tasks
stability.tasks studies.stability.tasks: classification dice registration rescaling task
rescaling studies.rescaling: "" arms cases costs deploy networks schema trial=programs units=study
compression studies.pruning: "" masking methods=arms schema trial=programs units=study
compression .: tasks
compression.tasks tasks: classification generated hypernetwork image_folder task
compression.tasks tasks: in_context in_context_scales scale_space
replicas studies.local_sgd: "" arms outer processes schedules schema spawn trial=programs units=study watch
reliability studies.uncertainty: "" arms costs floors=baselines judging=scoring material=data schema
reliability studies.uncertainty: networks=sources.base training=study trial=programs units=study
reliability inference: outputs predict saved
few_shot studies.in_context: "" arms schema units=study
few_shot in_context: floors=baselines material=benchmark networks targets trial=programs
few_shot studies.stochastic: annotated candidates families judging=scoring
few_shot studies.stochastic: stochastic_arms=arms stochastic_schema=schema stochastic_units=study
few_shot studies: training=episodic
registration studies.registration: arms schema selection=tuning units=study
registration registration: trial=model
train studies: search study=base tuning
report studies: again in_context=in_context.page local_sgd=local_sgd.page pruning=pruning.page
report studies: pruning_survey=pruning_survey.page registration=registration.page rescaling=rescaling.page
report studies: stability=stability.page stochastic=stochastic.page uncertainty=uncertainty.page
report studies.in_context: in_context_figures=figures in_context_results=results
report studies.local_sgd: local_sgd_figures=figures local_sgd_results=results
report studies.pruning: pruning_checklist=rules pruning_figures=figures pruning_front=front pruning_record=record
report studies.pruning: pruning_recorded=recorded pruning_results=results pruning_suite=suite
report studies.pruning: pruning_suite_figures=suite_figures rank_changes
report studies.pruning_survey: pruning_dominance=dominance pruning_survey_figures=figures pruning_survey_results=results
report studies.registration: registration_figures=figures registration_results=results
report studies.rescaling: rescaling_cases=case_tables rescaling_figures=figures rescaling_results=results
report studies.stability: stability_figures=figures stability_results=results
report studies.stochastic: stochastic_figures=figures stochastic_results=results
report studies.uncertainty: uncertainty_figures=figures uncertainty_results=results uncertainty_sources=side_by_side
report .: results=results.page results_figures=results.figures sweep=sweep.page
report report: page_parts=style
metrics metrics: kept=sparsity
"""


def _modules() -> dict[str, str]:
    found = {}
    for line in _ROOMS.strip().splitlines():
        rooms, _, names = line.partition(":")
        places = [room.strip(".") for room in rooms.split()]
        for name in names.split():
            pair = [part.strip('"') for part in (name.split("=") * 2)[:2]]
            old, new = (".".join(filter(None, ["hyperlab", *both])) for both in zip(places, pair, strict=True))
            found[old] = new
    return found


MODULES = _modules()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hands out a module of today for an old name; `python -m` of an old name runs it, too."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in MODULES:
            return None
        warnings.warn(f"{fullname} is {MODULES[fullname]} now", FutureWarning, stacklevel=2)
        package = any(name.startswith(f"{fullname}.") for name in MODULES)
        return importlib.util.spec_from_loader(fullname, self, is_package=package)

    def create_module(self, spec):
        if spec.submodule_search_locations is not None:
            return None  # an empty package: its modules are spread over several of today
        module = importlib.import_module(MODULES[spec.name])
        spec.loader_state = module.__spec__  # importlib puts the old name's in its place before `exec_module`
        return module

    def exec_module(self, module):
        if module.__name__ in MODULES:
            module.__getattr__ = partial(getattr, importlib.import_module(MODULES[module.__name__]))
        else:
            module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname):  # what `python -m` asks for
        spec: Any = importlib.util.find_spec(MODULES[fullname])
        return spec.loader.get_code(MODULES[fullname])


def install() -> None:
    """Makes the imports of `MODULES` work; `hyperlab` itself calls it."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())  # before the search by path, which finds a second copy of a submodule


def names(module: str, renamed: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module some of whose names are elsewhere or called otherwise now.

    Args:
      module: `__name__`.
      renamed: `"package.module.name"` of today by the old name.

    >>> lookup = names("hyperlab.errors", {"Failure": "hyperlab.errors.HyperlabError"})
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     lookup("Failure").__name__
    'HyperlabError'
    """

    def lookup(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is {renamed[name]} now", FutureWarning, stacklevel=2)
        place, _, new = renamed[name].rpartition(".")
        return getattr(importlib.import_module(place), new)

    return lookup
