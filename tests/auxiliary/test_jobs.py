"""Trainings as jobs: continuation, shared initial weights, both kinds of data, and equal results on Ray."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distgnn
from distgnn.auxiliary import data_source, jobs
from distgnn.auxiliary.comparison import Comparison, Row, compare_methods
from distgnn.auxiliary.data_source import CorpusDataSource, InitialEncoder, NetworkDataSource, is_network
from distgnn.auxiliary.jobs import Job, RunJob, rehearse
from distgnn.auxiliary.network_tasks.random_walks import RandomWalksConfig
from distgnn.config import EncoderConfig, NetworkTaskConfig, TransferConfig, WeightingConfig
from distgnn.config.weighting import PUBLISHED
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError, RequestError, WorkError
from distgnn.graph.schema import Feature
from distgnn.models.encoder import build_encoder
from distgnn.network.store import save_network
from distgnn.report.auxiliary import terminal, transfer_summary
from distgnn.scale.pool import ordered_map
from distgnn.scale.train import auxiliary as scale_auxiliary
from distgnn.scale.train.auxiliary import ranked_map, run_jobs
from distgnn.scale.train.failures import forget_failure, raise_noted
from distgnn.storage.folder import open_folder
from tests.helpers.labelled import FEATURES
from tests.helpers.networks import films
from tests.helpers.training import CPU
from tests.helpers.transfers import config, task, write, write_network

BOTH = ("scratch", "pretrained")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(str(tmp_path_factory.mktemp("transfer") / "corpus"))


def run(
    settings: TransferConfig, mapper: Any = map, starts: Iterable[InitialEncoder] = ()
) -> tuple[Comparison[TransferConfig], list[str]]:
    """Return the comparison, and the titles of the jobs that ran."""
    job = RunJob(CorpusDataSource.read(settings, tuple(starts)), open_folder(settings.out).sub("jobs"))
    ran: list[str] = []
    return compare_methods(job, mapper, lambda _done, _all, title, _result: ran.append(title)), ran


def numbers(result: Comparison[Any]) -> list[Any]:
    return [
        (key, f.scores, f.validation, [c.tobytes() for c in f.curves.values()]) for key, f in result.results.items()
    ]


def same(one: Comparison[Any], other: Comparison[Any], tolerance: float = 0.0) -> None:
    assert list(one.results) == list(other.results)
    for actual, expected in zip(one.results.values(), other.results.values(), strict=True):
        assert actual.scores["test"] == pytest.approx(expected.scores["test"], abs=tolerance)
        for name, curve in actual.curves.items():
            np.testing.assert_allclose(curve, expected.curves[name], rtol=100 * tolerance, atol=tolerance)


class TestJobs:
    def test_a_continued_comparison_equals_an_uninterrupted_one(self, data: str, tmp_path: Path) -> None:
        settings = config(data, str(tmp_path / "one"), schemes=BOTH)

        def stopping(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
            yield from map(function, islice(jobs, 2))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(settings, stopping)
        with pytest.raises(KeyboardInterrupt):
            run(settings, stopping)
        continued, ran = run(settings)
        undisturbed, all_ran = run(replace(settings, out=str(tmp_path / "other")))
        assert len(all_ran) == 7
        assert ran == all_ran[-len(ran) :]
        assert 0 < len(ran) < 7
        assert numbers(continued) == numbers(undisturbed)

    def test_options_that_invalidate_the_cache(self, data: str, tmp_path: Path) -> None:
        settings = config(data, str(tmp_path / "out"), methods=("fixed",), epochs=1)
        assert run(settings)[1] == ["none, gin, scratch, seed 0", "fixed, gin, scratch, seed 0"]
        assert run(replace(settings, seeds=2))[1] == ["none, gin, scratch, seed 1", "fixed, gin, scratch, seed 1"]
        assert run(replace(settings, methods=("cosine",)))[1] == ["cosine, gin, scratch, seed 0"]
        weights = WeightingConfig(method="fixed", fixed=(1, 2, 3))
        assert run(replace(settings, weighting=weights))[1] == ["fixed, gin, scratch, seed 0"]
        assert run(replace(settings, pretrain_epochs=9))[1] == []
        for change in ({"lr": 0.1}, {"corpus": task(auxiliary=("infomax",))}, {"encoders": ("gcn",)}, {"epochs": 3}):
            assert len(run(replace(settings, **change))[1]) == 2, change
        for path in (tmp_path / "out" / "jobs").iterdir():
            path.write_bytes(path.read_bytes()[:20])
        assert len(run(settings)[1]) == 2

    def test_job_name_depends_on_options_of_named_tasks_only(self, tmp_path: Path) -> None:
        """New tasks and encoders with options change no key of a finished job."""
        uri = write_network(str(tmp_path / "n"))

        def name(moves: int, **options: Any) -> str:
            tasks = NetworkTaskConfig(options={"random_walks": RandomWalksConfig(moves=moves)}, **options)
            source = NetworkDataSource.read(config(uri, "out", network=tasks))
            return RunJob(source, open_folder("out")).name(Job(0, "scratch", 0, "none"))

        assert name(3) == name(4)
        assert name(3, auxiliary=("random_walks",)) != name(4, auxiliary=("random_walks",))

    @pytest.mark.parametrize(
        ("method", "options", "read"),
        [
            ("none", {"horizon": 5, "start": 1.0, "lr": 0.1, "hidden": 8, "heldout": 0.2}, False),
            ("none", {"judge": "validation"}, True),
            ("none", {"clip_norm": 1.0}, True),
            ("fixed", {"horizon": 5}, False),
            ("fixed", {"moments": "joint"}, True),
            ("uncertainty", {"lr": 0.1}, True),
            ("selar", {"horizon": 5, "start": 1.0}, False),
            ("selar", {"heldout": 0.2}, True),
            ("auxts_all", {"horizon": 5}, True),
            ("auxts_all", {"start": 1.0}, True),
            ("auxts_all", {"library_reads": "matrix"}, False),
            ("auxts_all", {"horizon": 5, "proximal": 0.5}, True),
        ],
    )
    def test_job_name_depends_on_options_that_the_method_reads(
        self, data: str, method: str, options: dict[str, Any], read: bool
    ) -> None:
        def name(**options: Any) -> str:
            source = CorpusDataSource.read(config(data, "out", weighting=WeightingConfig(**options)), ())
            return RunJob(source, open_folder("out")).name(Job(0, "scratch", 0, method))

        assert (name(**options) != name()) == read

    def test_job_name_depends_on_data(self, tmp_path: Path) -> None:
        places = {name: str(tmp_path / name) for name in ("corpus", "beside", "network")}

        def names() -> list[str]:
            graphs = config(
                places["corpus"], "out", corpus=task(auxiliary=("infomax@corpus",), aux_corpus=places["beside"])
            )
            sources = CorpusDataSource.read(graphs, ()), NetworkDataSource.read(config(places["network"], "out"))
            return [RunJob(source, open_folder("out")).name(Job(0, "scratch", 0, "none")) for source in sources]

        write(places["corpus"]), write(places["beside"]), write_network(places["network"])
        found = names()
        assert names() == found
        for name, changed in (("corpus", 0), ("beside", 0), ("network", 1)):
            shutil.rmtree(places[name])
            write_network(places[name], nodes=50) if name == "network" else write(places[name], graphs=50)
            before, found = found, names()
            assert [here != there for here, there in zip(before, found, strict=True)] == [changed == 0, changed == 1]

    def test_pretraining_is_shared_by_methods_and_counts(self, data: str, tmp_path: Path) -> None:
        settings = config(
            data, str(tmp_path / "out"), schemes=BOTH, methods=("fixed",), encoders=("gin", "gcn"), epochs=1
        )
        result, ran = run(settings)
        first = ["auxiliary tasks alone, gin, pretrained, seed 0", "auxiliary tasks alone, gcn, pretrained, seed 0"]
        assert ran[:2] == first
        assert len(ran) == 10
        assert [row.encoder for row in result.rows[:4]] == ["gin", "gin", "gcn", "gcn"]
        for encoder in ("gin", "gcn"):
            losses = [result.of(Row("none", encoder, scheme))[0].curves["losses"][0] for scheme in BOTH]
            assert losses[0][0] != losses[1][0]
            assert losses[1][1] != losses[0][1]
        assert len([title for title in run(replace(settings, pretrain_epochs=2))[1] if "scratch" in title]) == 0

    def test_methods_start_from_the_same_weights(self, data: str, tmp_path: Path) -> None:
        """Without dropout and ghost normalisation, which differ by fold, the first losses are equal."""
        plain = task(dropout=0.0, encoder=EncoderConfig(layers=1, width=4, norm="layer"))
        result, _ = run(config(data, str(tmp_path / "out"), schemes=BOTH, epochs=1, corpus=plain))
        for scheme in BOTH:
            first = [
                found.curves["losses"][0].tolist() for (row, _), found in result.results.items() if row.scheme == scheme
            ]
            np.testing.assert_allclose(first[1][0], first[0][0], rtol=1e-6)  # none computes the target only
            np.testing.assert_allclose(first[2], first[1], rtol=1e-6)

    def test_missing_pretrained_weights_are_an_error(self, data: str, tmp_path: Path) -> None:
        settings = config(data, str(tmp_path / "out"), schemes=BOTH)
        job = RunJob(CorpusDataSource.read(settings, ()), open_folder(settings.out))
        with pytest.raises(WorkError, match="weights pre-trained for none, gin, pretrained, seed 0 are gone"):
            job(Job(0, "pretrained", 0, "none"))

    def test_divergence_names_the_job(self, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def diverge(*_: Any) -> None:
            raise WorkError("step 0: nan")

        monkeypatch.setattr(jobs.Trainer, "run", diverge)
        with pytest.raises(WorkError, match="none, gin, scratch, seed 0: step 0: nan"):
            run(config(data, str(tmp_path / "out")))

    def test_global_random_state_is_unchanged(self, data: str, tmp_path: Path) -> None:
        state = torch.random.get_rng_state()
        run(config(data, str(tmp_path / "out"), epochs=1))
        assert torch.equal(torch.random.get_rng_state(), state)


def test_checkpoints_provide_initial_weights(data: str, tmp_path: Path) -> None:
    encoder = EncoderConfig(layers=1, width=6)
    start = InitialEncoder("mine", encoder, build_encoder(FEATURES, encoder, 9).state_dict(), FEATURES)
    plain = task(encoder=EncoderConfig())
    settings = config(
        data, str(tmp_path / "out"), checkpoint=("x",), schemes=BOTH, methods=("fixed",), epochs=1, corpus=plain
    )
    result, ran = run(settings, starts=[start])
    assert ran == [f"{method}, mine, {scheme}, seed 0" for scheme in BOTH for method in ("none", "fixed")]
    first = [result.of(Row("none", "mine", scheme))[0].curves["losses"][0, 0] for scheme in BOTH]
    assert first[0] != first[1]
    other = replace(start, weights=build_encoder(FEATURES, encoder, 10).state_dict())
    assert run(settings, starts=[other])[1] == [f"{method}, mine, pretrained, seed 0" for method in ("none", "fixed")]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_network(str(tmp_path_factory.mktemp("network") / "n"))


def on_network(uri: str, out: str, **options: Any) -> TransferConfig:
    tasks = NetworkTaskConfig(width=8, auxiliary=("attribute_generation",), aux_batch=8, fan_out=4)
    return config(
        uri, out, **({"network": tasks, "encoders": ("gcn", "gin"), "schemes": BOTH, "methods": ("fixed",)} | options)
    )


def test_comparison_on_a_network(network: str, tmp_path: Path) -> None:
    settings = on_network(network, str(tmp_path / "out"))
    source = NetworkDataSource.read(settings)
    result = compare_methods(RunJob(source, open_folder(settings.out)))
    assert {row.encoder for row in result.rows} == {"gcn", "gin"}
    assert len(result.results) == 8
    shapes = [len(source.problem(place, 0, ProcessGroup.single_process(CPU)).shared.state_dict()) for place in range(2)]
    assert shapes[0] != shapes[1]  # gcn and gin
    assert result.metric == "micro_f1"
    assert is_network(network)


class Recorded:
    """A RunJob whose jobs write empty files; job "bad" fails permanently."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran = open_folder(str(folder)), list[str]()

    def done(self, job: str) -> bool:
        return self.folder.size(job) is not None

    def __call__(self, job: str, _group: ProcessGroup) -> None:
        self.ran.append(job)
        if job == "bad":
            raise WorkError("bad: diverged")
        self.folder.write(job, b"")


def test_a_restarted_worker_group_continues_and_stops_at_permanent_errors(tmp_path: Path) -> None:
    jobs: Any = ["a", "b", "c"]
    group: Any = Recorded(tmp_path)
    group.folder.write("a", b"")
    run_jobs(group, jobs, ProcessGroup.single_process(CPU))
    assert group.ran == ["b", "c"]
    broken: Any = Recorded(tmp_path)
    with pytest.raises(WorkError, match="bad: diverged"):
        run_jobs(broken, ["bad", "d"], ProcessGroup.single_process(CPU))
    run_jobs(broken, ["bad", "d"], ProcessGroup.single_process(CPU))
    assert broken.ran == ["bad"]
    with pytest.raises(WorkError, match="bad: diverged"):
        raise_noted(broken.folder)
    forget_failure(broken.folder)
    run_jobs(broken, ["d"], ProcessGroup.single_process(CPU))
    assert broken.ran == ["bad", "d"]


def test_checkpoints_of_other_features_are_refused(data: str, tmp_path: Path) -> None:
    other = replace(FEATURES, node=(Feature("kind", "categorical", 4),))
    with pytest.raises(RequestError, match=r"mine cannot read .*: node features differ"):
        CorpusDataSource.read(config(data, str(tmp_path)), [InitialEncoder("mine", EncoderConfig(), {}, other)])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself
def test_workers_and_ranks_equal_one_process(data: str, tmp_path: Path) -> None:
    settings = config(
        data, str(tmp_path / "one"), corpus=task(streams=2), schemes=BOTH, methods=("auxts_one",), epochs=2
    )
    alone, _ = run(settings)
    side_by_side, _ = run(replace(settings, out=str(tmp_path / "two"), workers=2), ordered_map(2))
    assert numbers(side_by_side) == numbers(alone)
    ranked = replace(settings, out=str(tmp_path / "ranks"), ranks=2, max_failures=0)
    in_ranks, ran = run(ranked, ranked_map(ranked))
    same(in_ranks, alone, 1e-5)
    assert len(ran) == 5
    assert run(ranked, ranked_map(ranked))[1] == []
    with pytest.raises(RequestError, match="need 2 GPUs"):
        run(replace(ranked, device="cuda", lr=0.5), ranked_map(replace(ranked, device="cuda")))


def test_ranks_do_not_fall_back_to_cpus(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_auxiliary, "possible_resources", lambda: {"CPU": 8.0, "GPU": 1.0})
    settings = replace(config(data, "out"), ranks=2, device="auto")
    with pytest.raises(RequestError, match=r"device=auto: ranks=2 need 2 GPUs, .* has 1, .* or choose device=cpu"):
        scale_auxiliary._RankedMap(settings)._scaling()
    assert not scale_auxiliary._RankedMap(replace(settings, device="cpu"))._scaling().use_gpu
    monkeypatch.setattr(scale_auxiliary, "possible_resources", lambda: {"CPU": 0.0, "GPU": 0.0})
    with pytest.raises(RequestError, match=r"^ranks=2 need 0\.02 CPUs"):
        scale_auxiliary._RankedMap(settings)._scaling()


def test_auto_takes_the_same_training_for_all_seeds(data: str, tmp_path: Path) -> None:
    settings = config(data, str(tmp_path / "out"), schemes=("auto",), methods=("fixed",), seeds=2, epochs=1)
    result, ran = run(settings)
    assert len(ran) == 2 * 5
    assert [(row.scheme, row.method) for row in result.rows] == [
        (scheme, method) for scheme in ("scratch", "pretrained", "auto") for method in ("none", "fixed")
    ]
    for method in ("none", "fixed"):
        row = Row(method, "gin", "auto")
        tried = [Row(one, "gin", scheme) for scheme in BOTH for one in dict.fromkeys(("none", method))]
        beyond = [gain.beyond(settings.auto_margin) for gain in result.gains[row]]
        best = tried[int(np.argmax(beyond))]
        for seed in range(2):
            auto, every = result.results[row, seed], [result.results[one, seed] for one in tried]
            assert auto.scores == result.results[best, seed].scores
            assert auto.seconds == sum(found.seconds for found in every)
            assert auto.start_seconds == every[-1].start_seconds > every[0].start_seconds == 0
            assert auto.chosen == f"{best.method}, {best.scheme}"
            assert len(auto.influence) == 12  # a fifth of 60 graphs
    assert all(
        result.controls[Row(method, "gin", "auto")] == Row("none", "gin", "scratch") for method in ("none", "fixed")
    )
    text = terminal(result)
    assert "auto = chosen by validation" in text
    assert "better by more than 1 standard error(s)" in text
    assert f"- none, gin: {result.of(Row('none', 'gin', 'auto'))[0].chosen} (of none, pretrained " in text
    assert "There is one seed" not in text
    assert "There is one seed: the variance over seeds" in terminal(run(replace(settings, seeds=1))[0])
    choice = transfer_summary(result)["choices"][0]
    assert [gain["training"] for gain in choice["validation_gains"]] == ["none, scratch", "none, pretrained"]
    assert run(replace(settings, schemes=BOTH, auto_margin=0.0))[1] == []


def test_files_without_influences_are_trained_again_only_for_auto(data: str, tmp_path: Path) -> None:
    """Files of earlier versions."""
    settings = config(data, str(tmp_path / "out"), schemes=("scratch",), methods=("none",), epochs=1)
    run(settings)
    job = RunJob(CorpusDataSource.read(settings, ()), open_folder(settings.out).sub("jobs"))
    place = Job(0, "scratch", 0, "none")
    found = job.load(place)
    assert found is not None
    job.cache.save(job.name(place), replace(found, influence=found.influence[:0]))
    assert run(settings)[1] == []
    assert "gin, scratch, seed 0" in run(replace(settings, schemes=("auto",)))[1]


@pytest.mark.filterwarnings("ignore:weighting.judge")  # the data are small
def test_steps_that_cannot_move_the_weights_are_told(data: str, tmp_path: Path) -> None:
    """With the arithmetic; an epoch of one step is named. More steps, or a greater rate, are not warned of."""
    few = config(data, str(tmp_path / "few"), methods=("auxts_all",), weighting=WeightingConfig(hidden=8), epochs=1)
    for batch, count in ((18, "epochs=1 x 2 steps: 2"), (1000, r"epochs=1 x 1 steps \(an epoch is one step\): 1")):
        source = CorpusDataSource.read(replace(few, batch=batch), ())
        says = f"auxts_all: {count} updates of the weights with weighting.lr=0.001 move the output by about 0.0"
        with pytest.warns(UserWarning, match=says):
            rehearse(RunJob(source, open_folder(few.out)), 0)
    far = replace(few, weighting=WeightingConfig(hidden=8, horizon=10), epochs=40)
    with pytest.warns(UserWarning, match="epochs=40 x 2 steps, one update in 10: 8 updates of the weights .* horizon$"):
        rehearse(RunJob(CorpusDataSource.read(far, ()), open_folder(few.out)), 0)
    found, _ = run(replace(few, weighting=WeightingConfig(hidden=8, lr=5.0), methods=("none", "auxts_all")))
    assert len(found.results) == 2


def test_too_small_a_batch_is_refused_before_anything_is_trained(data: str, tmp_path: Path) -> None:
    for changes, says in (
        ({"batch": 5, "corpus": task(streams=2)}, "batch=5 is too small for 3 folds of corpus.streams=2 each"),
        ({"batch": 2}, "weighting.folds=3 needs at least 3 rows in a batch"),
    ):
        with pytest.raises(RequestError, match=says):
            run(config(data, str(tmp_path / "out"), methods=("auxts_one",), **changes))
    run(config(data, str(tmp_path / "whole"), methods=("fixed",), epochs=1, batch=2))


@pytest.mark.filterwarnings("ignore:weighting.judge")  # the data are small
@pytest.mark.parametrize("kind", ["corpus", "network"])
def test_a_judge_of_validation_rows_serves_every_method(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """All methods select on the same half; results are loaded again; it is another job than with held-out rows."""
    uri = data if kind == "corpus" else write_network(str(tmp_path / "n"))
    asked: list[int] = []
    for source in (CorpusDataSource, NetworkDataSource):
        made = source.problem

        def problem(self: Any, *words: Any, made: Any = made, **named: Any) -> Any:
            found = made(self, *words, **named)
            asked.append(found.judges)
            return found

        monkeypatch.setattr(source, "problem", problem)
    source = CorpusDataSource.read if kind == "corpus" else lambda settings, _: NetworkDataSource.read(settings)
    names = set()
    for judge in ("validation", "heldout"):
        weighting = WeightingConfig(hidden=8, judge=judge, lr=1.0)  # pyright: ignore[reportArgumentType]
        settings = config(uri, str(tmp_path / "out"), methods=("fixed", "auxts_all"), weighting=weighting)
        job = RunJob(source(settings, ()), open_folder(settings.out).sub("jobs"))
        found = compare_methods(job)
        ran: list[str] = []
        again = compare_methods(job, progress=lambda _done, _all, title, _found, ran=ran: ran.append(title))
        assert not ran
        same(found, again)
        assert (0 in asked) == (judge == "heldout")
        assert len(set(asked)) == 1
        asked.clear()
        names |= {job.name(Job(0, "scratch", 0, method)) for method in ("none", "auxts_all")}
    assert len(names) == 4


@pytest.mark.parametrize("kind", ["corpus", "network"])
def test_scales_of_losses(data: str, tmp_path: Path, kind: str) -> None:
    """The auxiliary losses are multiplied, the target's is not; a wrong number of factors is refused."""
    uri = data if kind == "corpus" else write_network(str(tmp_path / "n"))
    source = CorpusDataSource.read if kind == "corpus" else lambda settings, _: NetworkDataSource.read(settings)
    group = ProcessGroup.single_process(CPU)

    def losses(scales: tuple[float, ...]) -> tuple[list[float], list[float]]:
        problem = source(config(uri, "", loss_scales=scales), ()).problem(0, 0, group)
        target, others = problem.losses(problem.fetch([np.arange(4)], 0))
        sums = [[found.losses.detach().sum().item() for found in part] for part in (target, others)]
        return sums[0], sums[1]

    target, plain = losses(())
    factors = tuple(float(place + 2) for place in range(len(plain)))
    same_target, found = losses(factors)
    assert same_target == target
    np.testing.assert_allclose(found, np.multiply(plain, factors), rtol=1e-6)
    with pytest.raises(RequestError, match=r"loss_scales holds \d+ factors for \d+ auxiliary tasks"):
        losses((*factors, 1.0))


def test_models_without_an_encoder_are_trained_once_for_a_network_and_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the methods are; a damaged file is written again."""
    uri, made = str(tmp_path / "n"), list[int]()
    save_network(films(), uri)

    def references(links: Any) -> dict[str, dict[str, float]]:
        made.append(len(links.parts["train"]))
        return {"popularity": {"auc": 0.5 + len(made)}}

    monkeypatch.setattr(data_source, "link_references", references)
    tasks = NetworkTaskConfig(auxiliary=("edge_generation",))
    settings = config(uri, str(tmp_path / "out"), methods=("none",), network=tasks)

    def found(**changes: Any) -> float:
        source = NetworkDataSource.read(replace(settings, **changes))
        return RunJob(source, open_folder(settings.out)).references()["popularity"]["auc"]

    assert found() == found() == found(methods=("fixed",), epochs=9, network=replace(tasks, width=4)) == 1.5
    assert found(network=replace(tasks, split_seed=1)) == found(network=replace(tasks, split_seed=1)) == 2.5
    for path in (tmp_path / "out").iterdir():
        path.write_bytes(path.read_bytes()[:20])
    assert found() == 3.5
    assert found() == 3.5


@pytest.mark.parametrize("kind", ["corpus", "network"])
def test_a_training_that_diverges_is_named_and_the_others_are_compared(kind: str, data: str, tmp_path: Path) -> None:
    uri = data if kind == "corpus" else write_network(str(tmp_path / "network"))
    huge = WeightingConfig(hidden=8, **PUBLISHED | {"alpha": 1e30})  # pyright: ignore[reportArgumentType]
    options: dict[str, Any] = {"methods": ("fixed", "auxts_all"), "schemes": ("scratch", "auto"), "seeds": 2}
    settings = config(uri, str(tmp_path / "out"), weighting=huge, **options)
    found = distgnn.transfer(settings)
    compared = {(method, scheme) for method in ("none", "fixed") for scheme in (*BOTH, "auto")}
    assert {(row.method, row.scheme) for row in found.comparison.rows} == compared
    named = found.to_json()["diverged"]
    assert {(one["method"], one["scheme"], one["seed"]) for one in named} == {
        ("auxts_all", scheme, seed) for scheme in BOTH for seed in (0, 1)
    }
    assert all("after the look-ahead" in one["reason"] for one in named)
    for text in (str(found), found.folder.read("table.md").decode()):
        assert "Left out, since trainings of them diverged:\n\n- auxts_all" in text
    ran: list[str] = []
    source = CorpusDataSource.read(settings, ()) if kind == "corpus" else NetworkDataSource.read(settings)
    job = RunJob(source, found.folder.sub("jobs"), keep_diverged=True)
    again = compare_methods(job, progress=lambda _done, _all, title, _found: ran.append(title))
    assert (ran, again.diverged) == ([], found.comparison.diverged)
    with pytest.raises(DivergedError, match=r"auxts_all, .*after the look-ahead"):
        compare_methods(replace(job, keep_diverged=False))


def test_without_a_control_nothing_is_compared(data: str, tmp_path: Path) -> None:
    settings = config(data, str(tmp_path / "out"), methods=("fixed",), lr=1e30)
    with pytest.raises(DivergedError, match=r"none, .*scratch, seed 0: "):
        distgnn.transfer(settings)
