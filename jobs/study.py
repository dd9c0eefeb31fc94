"""Run a study: pre-train the methods of a file, evaluate them with few labels on many sets, and write one report.

OMP_NUM_THREADS=1 python jobs/study.py docs/results/core.toml --out runs/core --workers 2
  (--sets bace bbbp, --methods l2p joint: only these for now)

The file names everything that is compared (docs/results/core.toml explains its fields), so it can be committed before the
runs. All corpora are built, and every set is checked, before anything is trained; a set that fails later is listed, and the
study goes on with the others (exit code 2 at the end). Repeating the command continues after an interruption or a kill at any
point: built corpora, finished pre-training runs and finished trainings are kept, a stopped run is resumed.
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
from itertools import product
from pathlib import Path
from typing import Any, cast

from distgnn.api.few_labels import FewLabelResults
from distgnn.api.finetune import finetune
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.checkpoint.cost import pretraining_cost
from distgnn.checkpoint.format import resolve
from distgnn.cli import guarded
from distgnn.cli import main as distgnn
from distgnn.commands.output import Output
from distgnn.config import FewLabelConfig, PretrainConfig, to_json
from distgnn.config.base import check, from_json
from distgnn.corpus import manifest
from distgnn.errors import RequestError, WorkError
from distgnn.finetuning.few_label_jobs import Method
from distgnn.finetuning.few_labels import plan_evaluation
from distgnn.options import parse, split_globals
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.pretraining.parallel_runs import pretrain_cells
from distgnn.report import study as report
from distgnn.report.png import png
from distgnn.report.study import Study
from distgnn.storage.environment import write_environment
from distgnn.storage.folder import Folder, open_folder
from distgnn.terminal import stderr_console

SECONDS = "@cpu"
"""End of the names of methods that are pre-trained for equal CPU seconds."""
Options = dict[str, Any]


@dataclass(frozen=True)
class StudyFile:
    """Contents of a study file.

    Attributes:
        title: Title of the report.
        seeds: Pre-training seeds 0..seeds-1 of every method.
        methods: Options of ``distgnn pretrain`` of each method, on top of ``pretrain`` and of its domain. ``init`` is the
            name of the method that it starts from, with the same seed.
        domains: The unlabelled corpora: options of ``distgnn pretrain``, and in "build" the words of ``distgnn corpus
            build`` that make the corpus.
        sets: The labelled corpora: options of ``distgnn finetune`` on top of ``evaluate``, "domain" and "build".
        pretrain: Options of ``distgnn pretrain`` of all methods.
        evaluate: Options of ``distgnn finetune`` on all sets.
        comparisons: Pairs of methods, besides every method with "none".
        equal_cpu_to: Train every other method also for the CPU seconds of this one, as METHOD@cpu; empty = no. The CPU seconds
            of a method are those of its run and of the runs that it starts from.
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
        for name in self.methods:
            self.starts(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the methods, those of equal CPU seconds last."""
        other = [name for name in self.methods if name != self.equal_cpu_to] if self.equal_cpu_to else []
        return (*self.methods, *(name + SECONDS for name in other))

    def starts(self, method: str) -> tuple[str, ...]:
        """Return the methods that ``method`` starts from: the one that its ``init`` names, that one's, and so on.

        Raises:
            RequestError: One does not exist, or they lead back to a method among them.
        """
        chain = [method.removesuffix(SECONDS)]
        while init := self.methods[chain[-1]].get("init"):
            where = f"methods.{chain[-1]}.init={init}"
            check(init in self.methods, f"{where} is not a method; there are {', '.join(self.methods)}")
            check(init not in chain, f"{where} makes a cycle ({' from '.join([*chain, init])}); start one from nothing")
            chain.append(init)
        return tuple(chain[1:])


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


def _run_name(domain: str, method: str, seed: int) -> str:
    return f"{domain}-{method}-{seed}"


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

    def options(self, domain: str, method: str, seed: int) -> Options:
        """Return the options of one pre-training run, without its start and its budget of CPU seconds."""
        given = self.study.domains[domain]
        own = {name: value for name, value in given.items() if name != "build"}
        chosen = merged(self.study.pretrain, own, self.study.methods[method.removesuffix(SECONDS)])
        chosen |= {
            "corpus": self.corpus(domain, given),
            "out": self.folder.sub("runs").uri,
            "name": _run_name(domain, method, seed),
            "init": "",
        }
        return merged(chosen, {"train": {"seed": seed}})

    def cell(self, domain: str, method: str, seed: int) -> PretrainConfig:
        """Return the config of one pre-training run.

        The run of the same seed that it starts from, and with equal CPU seconds the one that sets the budget, must be
        finished.

        Raises:
            RequestError: Such a run has no checkpoint, or what a run starts from took all CPU seconds.
        """
        options = self.options(domain, method, seed)
        start = next((self.run_uri(domain, name, seed) for name in self.study.starts(method)), "")
        if start:
            options["init"] = resolve(start).uri
        if method.endswith(SECONDS):
            spent = pretraining_cost(start)["cpu_seconds"] if start else 0.0
            budget = pretraining_cost(self.run_uri(domain, self.study.equal_cpu_to, seed))["cpu_seconds"]
            check(spent < budget, f"{start}, which it starts from, took {spent:.1f} of {budget:.1f} CPU seconds")
            budgets = {"max_steps": 0, "epochs": 1_000_000, "max_cpu_seconds": budget - spent}
            options = merged(options, {"train": budgets})
        return from_json(PretrainConfig, options, f"methods.{method}")

    def run_uri(self, domain: str, method: str, seed: int) -> str:
        """Return the URI of the folder of a pre-training run."""
        return self.folder.sub("runs").sub(_run_name(domain, method, seed)).uri

    def waves(self) -> list[list[str]]:
        """Return the methods to pre-train, with those that they start from, in groups; a group needs only earlier ones."""
        needed = dict.fromkeys(name for method in self.methods for name in (*self.study.starts(method), method))
        stages: dict[tuple[bool, int], list[str]] = {}
        for name in needed:
            stages.setdefault((name.endswith(SECONDS), len(self.study.starts(name))), []).append(name)
        return [stages[stage] for stage in sorted(stages)]

    def pretrain(self, domains: list[str]) -> dict[str, str]:
        """Pre-train what is missing, seed by seed; returns the reasons of rejected runs, by name."""
        refused: dict[str, str] = {}
        for methods in self.waves():
            cells, reasons = [], dict[str, str]()
            for seed, domain, method in product(range(self.study.seeds), domains, methods):
                start = next((_run_name(domain, name, seed) for name in self.study.starts(method)), "")
                if start in refused:
                    reasons[_run_name(domain, method, seed)] = f"{start}, which it starts from, was refused"
                    continue
                try:
                    cells.append(self.cell(domain, method, seed))
                except RequestError as error:
                    reasons[_run_name(domain, method, seed)] = str(error)
            reasons |= pretrain_cells(cells, self.config.workers) if cells else {}
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

    def evaluation(self, name: str, checkpoints: list[str]) -> FewLabelConfig:
        """Return the config of the evaluation of ``checkpoints`` (METHOD=URI) on a set."""
        given = self.study.sets[name]
        own = {field: value for field, value in given.items() if field not in ("domain", "build")}
        options = merged(self.study.evaluate, own, {"corpus": self.corpus(name, given), "checkpoint": checkpoints})
        options |= {"out": self.folder.sub("sets").sub(name).uri, "workers": self.config.workers}
        config = from_json(FewLabelConfig, options, f"sets.{name}")
        check(config.few_labels, f"sets.{name}: give train_labels or updates in evaluate")
        return config

    def check_methods(self, domains: Iterable[str]) -> None:
        """Raise RequestError if the options of a method are wrong, or its encoder is not that of the method it starts from."""
        for domain, method in product(domains, [name for wave in self.waves() for name in wave]):
            config = from_json(PretrainConfig, self.options(domain, method, 0), f"methods.{method}")
            for start in self.study.starts(method)[:1]:
                other = from_json(PretrainConfig, self.options(domain, start, 0), f"methods.{start}").encoder
                check(config.encoder == other, f"methods.{method}.encoder differs from that of {start}, its start")

    def check_sets(self, names: Iterable[str]) -> None:
        """Build every corpus, and check that every set has the labels, the draws and the features of its domain.

        Raises:
            RequestError: Some sets have not; all of them are named.
            WorkError: A corpus could not be built.
        """
        impossible = []
        for name in names:
            domain = self.study.sets[name]["domain"]
            schema = manifest.read_manifest(open_folder(self.corpus(domain, self.study.domains[domain]))).schema
            config = self.evaluation(name, [])
            method = Method(domain, (InitialEncoder(domain, config.encoder, schema=schema),))
            try:
                plan_evaluation(config, [method], open_folder(config.out).sub("jobs"), "cpu")
            except RequestError as error:
                impossible.append(f"sets.{name}: {error}")
        check(not impossible, f"{'; '.join(impossible)} (nothing was trained; change the file, or name others in sets)")

    def evaluate(self, name: str, refused: dict[str, str]) -> FewLabelResults:
        """Evaluate all methods of its domain on a set."""
        domain = self.study.sets[name]["domain"]
        runs = {method: [(domain, method, seed) for seed in range(self.study.seeds)] for method in self.methods}
        there = {method: own for method, own in runs.items() if not {_run_name(*run) for run in own} & set(refused)}
        uris = [f"{method}={self.run_uri(*run)}" for method, own in there.items() for run in own]
        return cast(FewLabelResults, finetune(self.evaluation(name, uris)))

    def run(self) -> Study:
        """Check every set, then run everything that is missing; the report is written after each set."""
        names = self.config.sets or tuple(self.study.sets)
        domains = list(dict.fromkeys(self.study.sets[name]["domain"] for name in names))
        self.check_methods(domains)
        self.check_sets(names)
        refused = self.pretrain(domains)
        asked = ((one, other) for one, other in self.study.comparisons if {one, other} <= set(self.methods))
        pairs = (*report.against_control(self.methods), *asked)
        study = Study(self.study.title, {}, pairs, refused)
        for name in names:
            try:
                found = self.evaluate(name, refused)
                study = replace(study, sets=study.sets | {name: found.comparison})
            except (RequestError, WorkError) as error:
                study = replace(study, failed=study.failed | {name: str(error)})
                stderr_console().print(f"set {name} failed: {error}", soft_wrap=True, markup=False)
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
        value |= {"refused": study.refused, "failed": study.failed}
        self.folder.write("study.json", (json.dumps(value, indent=1) + "\n").encode())
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
    value = {"records": report.records(found), "refused": found.refused, "failed": found.failed}
    Output(options.json).emit(value, text)
    failed = "; ".join(f"{name} ({reason})" for name, reason in found.failed.items())
    check(not failed, f"these sets could not be evaluated: {failed}")
    return 0


if __name__ == "__main__":
    # Background jobs of a shell ignore SIGINT by default; clusters send SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(guarded(lambda: main(sys.argv[1:])))
