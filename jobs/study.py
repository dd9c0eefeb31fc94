"""Run a study: pre-train the methods of a file, evaluate them with few labels on many sets, and write one report.

OMP_NUM_THREADS=1 python jobs/study.py docs/results/core.toml --out runs/core --workers 2
  (--sets bace bbbp, --methods l2p joint: only these for now)

The file names everything that is compared (docs/results/core.toml explains its fields), so it can be committed before the
runs. Repeating the command continues after an interruption or a kill at any point: built corpora, finished pre-training runs
and finished trainings are kept, a stopped run is resumed.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distgnn.api.few_labels import FewLabelResults
from distgnn.api.finetune import finetune
from distgnn.checkpoint.format import load_state
from distgnn.cli import guarded
from distgnn.cli import main as distgnn
from distgnn.commands.output import Output
from distgnn.config import FewLabelConfig, PretrainConfig, to_json
from distgnn.config.base import check, from_json
from distgnn.corpus import manifest
from distgnn.errors import RequestError, WorkError
from distgnn.options import parse, split_globals
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.pretraining.parallel_runs import pretrain_cells, run_folder
from distgnn.report import study as report
from distgnn.report.png import png
from distgnn.report.study import Study
from distgnn.storage.environment import write_environment
from distgnn.storage.folder import Folder, open_folder

SECONDS = "@cpu"
"""End of the names of methods that are pre-trained for equal CPU seconds."""
Options = dict[str, Any]


@dataclass(frozen=True)
class StudyFile:
    """Contents of a study file.

    Attributes:
        title: Title of the report.
        seeds: Pre-training seeds 0..seeds-1 of every method.
        methods: Options of ``distgnn pretrain`` of each method, on top of ``pretrain`` and of its domain.
        domains: The unlabelled corpora: options of ``distgnn pretrain``, and in "build" the words of ``distgnn corpus
            build`` that make the corpus.
        sets: The labelled corpora: options of ``distgnn finetune`` on top of ``evaluate``, "domain" and "build".
        pretrain: Options of ``distgnn pretrain`` of all methods.
        evaluate: Options of ``distgnn finetune`` on all sets.
        comparisons: Pairs of methods, besides every method with "none".
        equal_cpu_to: Train every other method also for the CPU seconds of this one, as METHOD@cpu; empty = no.
    """

    title: str
    seeds: int
    methods: dict[str, Options]
    domains: dict[str, Options]
    sets: dict[str, Options]
    pretrain: Options = field(default_factory=dict)
    evaluate: Options = field(default_factory=dict)
    comparisons: tuple[tuple[str, ...], ...] = ()
    equal_cpu_to: str = ""

    def __post_init__(self) -> None:
        check(self.seeds >= 1, f"seeds must be at least 1, found {self.seeds}")
        for name, given in self.sets.items():
            check(given.get("domain") in self.domains, f"sets.{name}.domain must be one of {', '.join(self.domains)}")
        for pair in self.comparisons:
            check(len(pair) == 2, f"comparisons: expected pairs of methods, found {' '.join(pair)}")
            unknown = [name for name in pair if name.removesuffix(SECONDS) not in self.methods]
            check(not unknown, f"comparisons: {unknown[:1]} is not a method")
        known = not self.equal_cpu_to or self.equal_cpu_to in self.methods
        check(known, f"equal_cpu_to={self.equal_cpu_to} is not a method")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the methods, those of equal CPU seconds last."""
        other = [name for name in self.methods if name != self.equal_cpu_to] if self.equal_cpu_to else []
        return (*self.methods, *(name + SECONDS for name in other))


@dataclass(frozen=True)
class StudyConfig:
    """Run the study of a file.

    Example: python jobs/study.py --file docs/results/core.toml --out runs/core
    """

    file: str
    """The study file (TOML)."""
    out: str = "runs/study"
    """Output folder: corpora/, runs/, sets/ with the tables of every set, study.md, study.json and pictures/."""
    workers: int = 1
    """Number of parallel processes."""
    sets: tuple[str, ...] = ()
    """Names of the sets to evaluate now; empty = all."""
    methods: tuple[str, ...] = ()
    """Names of the methods to pre-train and evaluate now, such as l2p or edgepred@cpu; empty = all."""


def read_study(path: str) -> StudyFile:
    """Read a study file. Environment variables in its texts (${DISTGNN_DATA}) are filled in.

    Raises:
        RequestError: The file cannot be read, or a field is wrong.
    """
    try:
        values = tomllib.loads(Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"{path}: cannot be read ({error}); give a study file in TOML") from error
    return from_json(StudyFile, _filled_in(values), path)


def _filled_in(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled_in(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled_in(item) for item in value]
    return os.path.expandvars(value) if isinstance(value, str) else value


def merged(*options: Options) -> Options:
    """Merge nested options; later ones win."""
    found: Options = {}
    for given in options:
        for name, value in given.items():
            both = isinstance(value, dict) and isinstance(found.get(name), dict)
            found[name] = merged(found[name], value) if both else value
    return found


@dataclass(frozen=True)
class Campaign:
    """A study and its output folder."""

    study: StudyFile
    config: StudyConfig

    @property
    def folder(self) -> Folder:
        """The output folder."""
        return open_folder(self.config.out)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods to train now."""
        return self.config.methods or self.study.names

    def corpus(self, name: str, given: Options) -> str:
        """Return the corpus of a domain or a set; it is built first if it is missing and there is a recipe."""
        built = self.folder.sub("corpora").sub(name)
        uri = given.get("corpus", built.uri)
        if open_folder(uri).size(manifest.NAME) is None and given.get("build"):
            code = distgnn(["corpus", "build", *shlex.split(given["build"]), "--out", uri])
            if code:
                raise WorkError(f"the corpus of {name} could not be built (exit code {code})")
        return uri

    def cell(self, domain: str, method: str, seed: int) -> PretrainConfig:
        """Return the config of one pre-training run.

        With equal CPU seconds, the run of the same seed that sets the budget must be finished.
        """
        plain, given = method.removesuffix(SECONDS), self.study.domains[domain]
        own = {name: value for name, value in given.items() if name != "build"}
        options = merged(self.study.pretrain, own, self.study.methods[plain])
        options |= {
            "corpus": self.corpus(domain, given),
            "out": self.folder.sub("runs").uri,
            "name": f"{domain}-{method}-{seed}",
        }
        options = merged(options, {"train": {"seed": seed}})
        if method != plain:
            budget = load_state(run_folder(self.cell(domain, self.study.equal_cpu_to, seed)).uri).metrics["cost"]
            options = merged(
                options, {"train": {"max_steps": 0, "epochs": 1_000_000, "max_cpu_seconds": budget["cpu_seconds"]}}
            )
        return from_json(PretrainConfig, options, f"methods.{method}")

    def pretrain(self, domains: list[str]) -> dict[str, str]:
        """Pre-train what is missing, seed by seed; returns the reasons of rejected runs, by name."""
        refused: dict[str, str] = {}
        waves = (
            [name for name in self.methods if not name.endswith(SECONDS)],
            [name for name in self.methods if name.endswith(SECONDS)],
        )
        for methods in waves:
            cells = [
                self.cell(domain, method, seed)
                for seed in range(self.study.seeds)
                for domain in domains
                for method in methods
            ]
            reasons = pretrain_cells(cells, self.config.workers) if cells else {}
            self._check_refused(reasons)
            refused |= reasons
        return refused

    def _check_refused(self, reasons: dict[str, str]) -> None:
        """Raise WorkError if a run was not rejected or diverged, but is trained by a process that outlived its study."""
        for name, reason in reasons.items():
            run = self.folder.sub("runs").sub(name)
            if run.size(PROGRESS) is not None and read_progress(run)["status"] != "failed":
                raise WorkError(
                    f"pre-training {name}: {reason}; wait for that process to end and start the study again"
                )

    def evaluate(self, name: str, refused: dict[str, str]) -> FewLabelResults:
        """Evaluate all methods of its domain on a set."""
        given = self.study.sets[name]
        own = {field: value for field, value in given.items() if field not in ("domain", "build")}
        runs = {
            method: [f"{given['domain']}-{method}-{seed}" for seed in range(self.study.seeds)]
            for method in self.methods
        }
        there = {method: names for method, names in runs.items() if not set(names) & set(refused)}
        uris = [f"{method}={self.folder.sub('runs').sub(run).uri}" for method, names in there.items() for run in names]
        options = merged(self.study.evaluate, own, {"corpus": self.corpus(name, given), "checkpoint": uris})
        options |= {"out": self.folder.sub("sets").sub(name).uri, "workers": self.config.workers}
        results = finetune(from_json(FewLabelConfig, options, f"sets.{name}"))
        if not isinstance(results, FewLabelResults):
            raise RequestError(f"sets.{name}: give train_labels or updates in evaluate")
        return results

    def run(self) -> Study:
        """Run everything that is missing; the report is written after each set."""
        names = self.config.sets or tuple(self.study.sets)
        domains = list(dict.fromkeys(self.study.sets[name]["domain"] for name in names))
        refused = self.pretrain(domains)
        asked = ((one, other) for one, other in self.study.comparisons if {one, other} <= set(self.methods))
        pairs = (*report.against_control(self.methods), *asked)
        study = Study(self.study.title, {}, pairs, refused)
        for name in names:
            found = self.evaluate(name, refused)
            study = replace(study, sets=study.sets | {name: found.comparison})
            self.write(study)
        return study

    def digests(self, sets: Iterable[str]) -> dict[str, str]:
        """Return the digests of the corpora of ``sets`` and of their domains, by URI."""
        given = [(name, self.study.sets[name]) for name in sets]
        domains = dict.fromkeys(options["domain"] for _, options in given)
        given += [(name, self.study.domains[name]) for name in domains]
        uris = [self.corpus(name, options) for name, options in given]
        return {uri: manifest.read_manifest(open_folder(uri)).digest() for uri in uris}

    def write(self, study: Study) -> None:
        """Write study.md, study.json and pictures/."""
        self.folder.write("study.md", report.markdown(study).encode())
        write_environment(self.folder, f"study --file {self.config.file}", self.digests(study.sets))
        value = {"study": to_json(self.study), "sets": list(study.sets), "records": report.records(study)}
        self.folder.write("study.json", (json.dumps(value | {"refused": study.refused}, indent=1) + "\n").encode())
        for size, updates in study.cells:
            self.folder.write(
                f"pictures/{size}-labels-{updates}-updates.png", png(report.figure(study, (size, updates)))
            )


def main(words: list[str]) -> int:
    """Parse the command line and run the study; returns the exit code."""
    options, rest = split_globals(["--file", *words] if words and not words[0].startswith("-") else words)
    config = parse(StudyConfig, "jobs/study.py", rest, options)
    study = read_study(config.file)
    unknown = [name for name in config.sets if name not in study.sets]
    check(not unknown, f"sets: {unknown[:1]} is not in {config.file}; it has {', '.join(study.sets)}")
    unknown = [name for name in config.methods if name not in study.names]
    check(not unknown, f"methods: {unknown[:1]} is not in {config.file}; it has {', '.join(study.names)}")
    campaign = Campaign(study, config)
    found = campaign.run()
    text = f"{report.markdown(found)}\nwritten to {campaign.folder.uri}"
    Output(options.json).emit({"records": report.records(found), "refused": found.refused}, text)
    return 0


if __name__ == "__main__":
    # Background jobs of a shell ignore SIGINT by default; clusters send SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(guarded(lambda: main(sys.argv[1:])))
