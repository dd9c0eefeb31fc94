"""Options that no named method, and no task on the data, reads."""

from __future__ import annotations

from typing import Any

import pytest

from distgnn import register
from distgnn.auxiliary.data_source import CorpusDataSource, NetworkDataSource
from distgnn.auxiliary.jobs import RunJob, rehearse
from distgnn.auxiliary.network_tasks.build import unread_options
from distgnn.auxiliary.unread_options import unread_weighting
from distgnn.auxiliary.weighting import Weighting, build_weighting
from distgnn.config import NetworkTaskConfig, TransferConfig, WeightingConfig
from distgnn.network.network import Network
from distgnn.network.store import save_network
from distgnn.register import Entry
from distgnn.storage.folder import open_folder
from tests.helpers.networks import films, paged, papers
from tests.helpers.transfers import config, task, write, write_network


def unread(methods: tuple[str, ...], similarities: bool = False, **options: Any) -> set[str]:
    settings = TransferConfig("x", methods=methods, similarities=similarities, weighting=WeightingConfig(**options))
    return set(unread_weighting(settings))


@pytest.mark.parametrize(
    ("methods", "options", "read"),
    [
        ("auxts_all", {"folds": 5}, False),
        ("auxts_all", {"folds": 5, "judge": "folds"}, True),
        ("auxts_all", {"heldout": 0.2, "judge": "validation"}, False),
        ("auxts_all", {"heldout": 0.2}, True),
        ("selar", {"horizon": 5}, False),
        ("selar auxts_one", {"horizon": 5}, True),
        ("selar", {"start": 0.1}, False),
        ("frozen", {"start": 0.1}, True),
        ("auxts_all", {"proximal": 0.5, "horizon": 5}, False),
        ("auxts_all", {"proximal": 0.5}, True),
        ("auxts_all", {"proximal": 0.5, "moments": "joint"}, False),
        ("selar", {"moments": "joint"}, False),
        ("fixed", {"moments": "joint"}, True),
        ("fixed", {"judge": "folds"}, False),
        ("fixed", {"judge": "validation"}, True),
        ("fixed cosine", {"hidden": 8}, False),
        ("fixed uncertainty", {"lr": 0.1}, True),
        ("fixed", {"lr": 0.1}, False),
        ("fixed", {"alpha": 0.1}, False),
        ("fixed", {"clip_norm": 1.0}, True),
        ("fixed", {"library_reads": "matrix"}, False),
        ("fixed", {"similarity": "layer"}, False),
        ("cosine", {"similarity": "layer"}, True),
    ],
)
def test_weighting_options(methods: str, options: dict[str, Any], read: bool) -> None:
    """The first option; the others are read."""
    assert unread(tuple(methods.split()), **options) == (set() if read else {f"weighting.{next(iter(options))}"})


def test_recorded_similarities() -> None:
    assert unread(("fixed",), similarities=True, similarity="layer") == set()


@pytest.mark.parametrize("granularity", ["auto", "task", "sample"])
@pytest.mark.parametrize(
    "method", ["none", "fixed", "cosine", "uncertainty", "frozen", "selar", "auxts_one", "auxts_all"]
)
def test_rows_of_class_and_instance(method: str, granularity: Any) -> None:
    options = WeightingConfig(method=method, granularity=granularity)
    built = build_weighting(options, ("target", "first", "second"), 0)
    assert built.per_sample == type(built).weights_samples(options)


def test_method_that_does_not_say_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Entry("silent", Weighting, None)
    monkeypatch.setattr(register.weighting, "get", lambda *_: silent)
    assert unread(("none",), hidden=8, folds=5) == set()


@pytest.mark.parametrize(
    ("network", "options", "read"),
    [
        (papers(), {"fractions": (0.5, 0.3, 0.2)}, False),
        (papers(), {"split_seed": 1}, False),
        (films(), {"fractions": (0.5, 0.3, 0.2)}, True),
        (papers(), {"official_split": 40}, False),
        (papers(), {"loss": "bpr"}, False),
        (films(), {"loss": "bpr", "auxiliary": ("edge_generation",)}, True),
        (films(), {"paths": "all", "auxiliary": ("edge_generation",)}, False),
        (films(), {"paths": "all", "auxiliary": ("item film.actor entity",)}, True),
        (papers(), {"hidden": 9}, False),
        (papers(), {"removed": 0.1}, True),
        (papers(), {"removed": 0.1, "auxiliary": ("attribute_generation",)}, False),
        (papers(), {"negatives": 9, "auxiliary": ("random_walks",)}, True),
        (papers(), {"negatives": 9, "auxiliary": ("attribute_generation",)}, False),
        (papers(), {"heads": 2}, False),
        (papers(), {"heads": 2, "encoder": "gat"}, True),
    ],
)
def test_network_options(network: Network, options: dict[str, Any], read: bool) -> None:
    settings = NetworkTaskConfig(**options)
    assert set(unread_options(network, settings, [settings.encoder])) == (set() if read else {next(iter(options))})


@pytest.mark.filterwarnings("ignore:weighting.judge")  # the data are small
def test_warning_before_training(tmp_path: Any) -> None:
    """Both kinds of data; one line with what would read the options."""
    uri = write_network(str(tmp_path / "n"))
    weighting = WeightingConfig(folds=5, lr=1.0)
    settings = TransferConfig(
        uri, methods=("auxts_all",), weighting=weighting, epochs=9, network=NetworkTaskConfig(messages="keep")
    )
    said = r"without effect: network.messages \(needs target=link\), weighting.folds \(needs a method with .* judge=folds\);"
    with pytest.warns(UserWarning, match=said):
        rehearse(RunJob(NetworkDataSource.read(settings), open_folder(str(tmp_path))), 0)
    corpus = write(str(tmp_path / "c"))
    settings = config(corpus, "out", methods=("fixed",), weighting=WeightingConfig(), corpus=task(aux_batch=7))
    with pytest.warns(UserWarning, match=r"^without effect: corpus.aux_batch \(needs corpus.aux_corpus"):
        rehearse(RunJob(CorpusDataSource.read(settings, ()), open_folder(str(tmp_path))), 0)


@pytest.mark.filterwarnings("ignore:weighting.judge")  # the data are small
def test_meta_paths_that_cannot_be_tasks_are_named_before_training(tmp_path: Any) -> None:
    save_network(paged(), str(tmp_path / "n"))
    settings = TransferConfig(
        str(tmp_path / "n"), methods=("fixed",), network=NetworkTaskConfig(auxiliary=("symmetric_paths",))
    )
    with pytest.warns(
        UserWarning, match="^symmetric_paths leaves out a meta-path: path 'paper has page has.* no two nodes"
    ):
        rehearse(RunJob(NetworkDataSource.read(settings), open_folder(str(tmp_path))), 0)
