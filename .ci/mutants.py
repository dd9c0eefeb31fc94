"""Mutation tests: .ci/mutants [GROUP ...] [--seconds N] [--again]

Changes the code in one place at a time (cosmic-ray's operators, and statements removed), runs the tests nearest to it, and
lists what no test noticed. .ci/mutants.toml names the modules, the tests, and how many mutants are drawn. Each mutant runs
in a process forked from one that has imported the libraries. Results are appended to a file, so that a run can go on.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import coverage
import pytest
from cosmic_ray.mutating import mutate_code
from hypothesis import Phase, settings
from mutations import OPERATORS, ROOT, Mutant, mutants_of, statement

LIBRARIES = (
    *("torch", "torch_geometric.data", "torch_geometric.loader", "safetensors.torch", "pyarrow.parquet", "pyarrow.fs"),
    *("pandas", "scipy.sparse", "sklearn.metrics", "boto3", "msgspec", "tenacity", "tyro", "pathspec", "optuna"),
    *("networkx", "rich.console", "prometheus_client"),
)
MEMORY = 8 << 30


class Baseline:
    """Measures the tests without a change: how long each takes, and which of them reach each line of the modules.

    What a fixture of several tests reaches counts for all tests of the file, and what an import reaches ("") for all tests.
    """

    def __init__(self, modules: list[Path], timings: Path) -> None:
        self.modules, self.timings, self.seconds = modules, timings, defaultdict[str, float](float)
        self.test = ""
        self.coverage = coverage.Coverage(data_file=None, include=[str(module) for module in modules])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what needs servers that are not there."""
        items[:] = [
            item
            for item in items
            if not {"rclone", "local_ray"} & set(getattr(item, "fixturenames", ())) and "[rclone" not in item.name
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Another test comes."""
        self.test = item.nodeid
        self.coverage.switch_context(self.test)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """A fixture comes."""
        if fixturedef.scope != "function":
            self.coverage.switch_context(self.test.partition("::")[0])
        result = yield
        self.coverage.switch_context(self.test)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how long it took."""
        self.seconds[report.nodeid] += report.duration

    def save(self) -> None:
        """Write the seconds by test, and the tests by module and line."""
        self.coverage.stop()
        data = self.coverage.get_data()
        reached = {str(path): data.contexts_by_lineno(str(path)) for path in self.modules}
        self.timings.write_text(json.dumps({"seconds": self.seconds, "reached": reached}))


class Chosen:
    """Runs tests that reach a line, ``most`` seconds of them: those of the module's own file first, then the quickest."""

    def __init__(self, baseline: dict[str, Any], most: float, module: Path, line: int) -> None:
        seconds, self.files = baseline["seconds"], defaultdict[str, float](float)
        lines = statement(module.read_text(), line)
        found = [name for at, names in baseline["reached"][str(module)].items() if int(at) in lines for name in names]
        reaching = [name for name in seconds if {"", name, name.partition("::")[0]} & set(found)]
        reaching.sort(key=lambda name: (module.stem not in name.partition("::")[0], seconds[name]))
        spent = list(accumulate(seconds[name] for name in reaching))
        self.tests = {name for name, total in zip(reaching, spent, strict=True) if total <= most}
        for name in self.tests:
            self.files[name.partition("::")[0]] += seconds[name]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose and sort."""
        items[:] = [item for item in items if item.nodeid in self.tests]
        items.sort(key=lambda item: self.files[item.nodeid.partition("::")[0]])


@dataclass(frozen=True)
class Bench:
    """Where mutants run. tree: a copy of the checkout."""

    tree: Path
    scratch: Path

    def run(self, tests: list[str], plugin: Baseline | Chosen, limit: float) -> str:
        """Run the tests in a forked process: "survived" if they pass, else "killed" or "timeout"."""
        pid = os.fork()
        if not pid:
            code = 70
            try:
                code = self._child(tests, plugin)
            finally:
                os._exit(code)
        until, status = time.monotonic() + limit, 0
        while time.monotonic() < until:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # what the tests started
                return "survived" if status == 0 else "killed"
            time.sleep(0.02)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "timeout"

    def _child(self, tests: list[str], plugin: Baseline | Chosen) -> int:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        log = os.open(self.scratch / "last.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Failures are not made smaller, which takes long, and the same examples are drawn each time.
        settings.register_profile("mutants", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutants")
        words = [
            "-x",
            "-q",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
        ]
        words += ["-m", "not slow and not ray", f"--basetemp={self.scratch / 'tmp' / 'pytest'}", *tests]
        if isinstance(plugin, Chosen):
            sys.dont_write_bytecode = True
            return int(pytest.main(words, plugins=[plugin]))
        plugin.coverage.start()
        code = int(pytest.main(words, plugins=[plugin]))
        plugin.save()
        return code


def copy_tree(tree: Path) -> None:
    """Copy what git knows of the checkout, and new files."""
    shutil.rmtree(tree, ignore_errors=True)
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, names.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def one(bench: Bench, mutant: Mutant, baseline: dict[str, Any], most: float) -> dict[str, Any]:
    """Make the change, run the tests that reach it, and take it back."""
    path = bench.tree / mutant.module
    source, chosen = path.read_text(), Chosen(baseline, most, path, mutant.line)
    changed = mutate_code(source, OPERATORS[mutant.operator](), mutant.occurrence)
    diff = [line for line in difflib.ndiff(source.splitlines(), changed.splitlines()) if line[0] in "+-"]
    start, outcome = time.monotonic(), "survived"
    if chosen.tests:
        try:
            path.write_text(changed)
            outcome = bench.run(sorted(chosen.files), chosen, 30 + 5 * sum(chosen.files.values()))
        finally:
            shutil.copy2(ROOT / mutant.module, path)
    seconds = round(time.monotonic() - start, 1)
    return asdict(mutant) | {"outcome": outcome, "tests": len(chosen.tests), "seconds": seconds, "diff": diff}


def run_group(name: str, config: dict[str, Any], bench: Bench, results: Path, again: bool, until: float) -> None:
    """Draw the mutants of a group, and run those without a result."""
    group, seed = config["groups"][name], config["seed"]
    modules = sorted({path for pattern in group["modules"] for path in ROOT.glob(pattern)})
    found = [mutant for module in modules for mutant in mutants_of(module, seed)]
    found.sort(key=lambda mutant: hashlib.sha256(f"{seed} {mutant}".encode()).digest())
    known = {mutant: line for mutant, line in read(results).items() if line["group"] == name}
    left = [mutant for mutant in found if mutant not in known][: max(0, group["sample"] - len(known))]
    left += [mutant for mutant, line in known.items() if again and line["outcome"] == "survived"]
    print(f"{name}: {len(found)} places, {len(known)} results, {len(left)} mutants to run", flush=True)
    if not left:
        return
    timings = bench.scratch / f"{name}.json"
    plugin = Baseline([bench.tree / module.relative_to(ROOT) for module in modules], timings)
    sources = (*bench.tree.rglob("*.py"), ROOT / ".ci" / "mutants.toml")
    newest = max(path.stat().st_mtime for path in sources)
    old = timings.exists() and timings.stat().st_mtime > newest
    if not old and bench.run(group["tests"], plugin, 1200) != "survived":
        sys.exit(f"{name}: the tests fail without a change; see {bench.scratch / 'last.log'}")
    baseline = json.loads(timings.read_text())
    for mutant in left:
        if time.monotonic() > until:
            return
        told = one(bench, mutant, baseline, config["most"])
        with results.open("a") as file:
            file.write(json.dumps(told | {"group": name}) + "\n")
        print(
            f"{told['outcome']:9}{told['seconds']:6.1f} s  {mutant.module}:{mutant.line} {mutant.operator}", flush=True
        )


def read(results: Path) -> dict[Mutant, dict[str, Any]]:
    """The newest result of each mutant of the present code."""
    lines = map(json.loads, results.read_text().splitlines()) if results.exists() else ()
    fields = Mutant.__dataclass_fields__
    found = {Mutant(**{name: line[name] for name in fields}): line for line in lines}
    digests = {m.module: hashlib.sha256((ROOT / m.module).read_bytes()).hexdigest()[:8] for m in found}
    return {mutant: line for mutant, line in found.items() if digests[mutant.module] == mutant.digest}


def report(results: Path) -> None:
    """Print the share killed of each module, and the survivors."""
    by_module = defaultdict[str, list[dict[str, Any]]](list)
    for line in read(results).values():
        by_module[line["module"]].append(line)
    for module, lines in sorted(by_module.items()):
        killed = sum(line["outcome"] != "survived" for line in lines)
        print(f"{module:48}{killed:4} of {len(lines):3} killed")
    lines = [line for found in by_module.values() for line in found]
    killed = sum(line["outcome"] != "survived" for line in lines)
    print(f"all: {killed} of {len(lines)} killed ({killed / max(1, len(lines)):.1%})")
    for line in lines:
        if line["outcome"] == "survived":
            print(f"\n{line['module']}:{line['line']} {line['operator']}", *line["diff"], sep="\n  ")


def main() -> None:
    """Run what is left, then report."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many seconds")
    parser.add_argument("--again", action="store_true", help="run the survivors again")
    parser.add_argument("--report", action="store_true", help="only report")
    options = parser.parse_args()
    config, scratch = tomllib.loads((ROOT / ".ci" / "mutants.toml").read_text()), options.scratch
    results, tree = scratch / "results.jsonl", scratch / "tree"
    if not options.report:
        until = time.monotonic() + options.seconds
        copy_tree(tree)
        for name in LIBRARIES:
            importlib.import_module(name)
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        os.environ |= {"PYTHONPATH": str(tree)}
        servers: Any = importlib.import_module("tests.helpers.servers")
        with servers.running_moto() as moto:
            servers.running_moto = lambda: contextlib.nullcontext(moto)  # one server for all
            for name in options.groups or config["groups"]:
                run_group(name, config, Bench(tree, scratch), results, options.again, until)
    report(results)


if __name__ == "__main__":
    main()
