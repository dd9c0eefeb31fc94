"""Config of ``distgnn finetune`` with few-label evaluation. A field's docstring is its help text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from distgnn.config.base import check, to_json
from distgnn.config.fields import changed, hyper, reads, setting
from distgnn.config.finetune import BATCH, EPOCHS, SEEDS, FinetuneConfig, SplitConfig
from distgnn.config.pretrain import EncoderConfig
from distgnn.errors import RequestError

FEW_BATCH, DRAWS = 16, 10
_NAMED = re.compile(r"([\w.@+-]+)=(.+)")


@dataclass(frozen=True)
class FewLabelConfig(FinetuneConfig):
    """Fine-tune checkpoints on a labelled corpus and compare them with the same encoder without pre-training.

    Any of --train-labels, --updates and --draws turns on few-label evaluation: every draw splits the corpus anew into
    graphs to learn from and graphs to test on, without validation data. Its defaults are batch 16, 10 draws, all labels,
    and at most 400 test graphs. Several pre-training seeds of a method are given as --checkpoint NAME=RUN,RUN.

    Example: distgnn finetune --corpus data/bbbp --checkpoint runs/molecules --seeds 5
    """

    checkpoint: tuple[str, ...] = reads((), results=False)
    """Checkpoints (or run folders) to compare; the control 'none' is always added. NAME=RUN gives a method a name;
    NAME=RUN,RUN,RUN (or the same NAME again) are pre-training seeds of one method, for few-label evaluation.
    """
    batch: int = hyper(0, most=1 << 24)
    """Graphs per step; 0 = 32, with few-label evaluation 16."""
    train_labels: tuple[int | Literal["all"], ...] = setting((), results=False)
    """Few-label evaluation: numbers of graphs to learn from; all = all but the test graphs. Fewer are a subset of more."""
    updates: tuple[int, ...] = setting((), results=False)
    """Few-label evaluation: optimiser updates after which one training is tested; empty = after all epochs."""
    draws: int = setting(0, results=False, most=100_000)
    """Few-label evaluation: number of draws; 0 = 10."""
    draw_by: Literal["random", "stratified", "scaffold"] = setting("random")
    """Few-label evaluation: how a draw chooses graphs. stratified = with the classes' shares (one label); scaffold = whole
    random groups to the test graphs, so that no group is in both. split.seed is the key of the draws.
    """
    test_graphs: int = setting(400)
    """Few-label evaluation: test graphs of a draw, at most half of the labelled graphs."""
    norm_graphs: int = setting(512)
    """Few-label evaluation: graphs that set the running statistics of the control's normalisation, from all graphs of the
    corpus, with a label or without, that are not test graphs; 0 = leave the statistics at mean 0 and variance 1.
    """
    budget: Literal["any", "graphs", "seconds"] = setting("any", results=False)
    """Few-label evaluation: refuse checkpoints whose pre-training differs by more than 10 % in graphs, or in CPU seconds;
    any = compare all, with a warning about pairs that differ in both.
    """

    least_batch = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("updates", "train_labels"):
            values = getattr(self, name)
            check(len(set(values)) == len(values), f"{name} must name each once, found {' '.join(map(str, values))}")
            few = [value for value in values if isinstance(value, int) and value < 1]
            check(not few, f"{name} must be at least 1, found {' '.join(map(str, few))}")
        for name in ("draws", "test_graphs", "norm_graphs"):
            check(getattr(self, name) >= 0, f"{name} must not be negative, found {getattr(self, name)}")
        if self.few_labels:
            self._check_few_labels()
        else:
            few = ("draw_by", "test_graphs", "norm_graphs", "budget")
            named = [name for name in few if getattr(self, name) != _DEFAULTS[name]]
            check(
                not named,
                f"{' and '.join(named)}: option of few-label evaluation; give train_labels, updates or draws, too",
            )

    def _check_few_labels(self) -> None:
        """Refuse options that have no meaning with draws."""
        split = replace(self.split, seed=0)
        check(
            split == SplitConfig(),
            "split: few-label evaluation draws its own splits; give draw_by, and split.seed only",
        )
        check(self.seeds == SEEDS, f"seeds={self.seeds}: few-label evaluation repeats over draws; give draws")
        for name in ("patience", "max_labels", "save_models", "save_predictions"):
            check(not getattr(self, name), f"{name}: has no meaning in few-label evaluation; leave it out")
        check(self.test_graphs >= 2, f"test_graphs must be at least 2, found {self.test_graphs}")

    def refuse_unused(self, encoders: Mapping[str, EncoderConfig]) -> None:
        """Raise RequestError if an option is given that another one makes meaningless.

        Configs that earlier versions saved may hold such options, so this is no part of validation.

        Args:
            encoders: The encoders of the checkpoints, by name.
        """
        timed = not (self.updates and self.epochs != EPOCHS)
        check(timed, f"epochs={self.epochs}: has no meaning with updates, which end the training; leave one out")
        for name, encoder in encoders.items() if self.encoder != EncoderConfig() else ():
            for field, (given, used) in changed(to_json(self.encoder), to_json(encoder)).items():
                raise RequestError(
                    f"encoder.{field}={given}: the checkpoint {name} has encoder.{field}={used}, which is used; leave it out"
                )

    @property
    def few_labels(self) -> bool:
        """Whether few-label evaluation is asked for."""
        return bool(self.train_labels or self.updates or self.draws)

    def settled(self) -> FewLabelConfig:
        """Return the config with the defaults of few-label evaluation filled in, sizes and counts in ascending order."""
        sizes = sorted(set(self.train_labels or ("all",)), key=lambda size: (size == "all", size))
        return replace(
            self,
            batch=self.batch or FEW_BATCH,
            draws=self.draws or DRAWS,
            train_labels=tuple(sizes),
            updates=tuple(sorted(self.updates)),
        )

    def plain(self) -> FinetuneConfig:
        """Return the config without few-label evaluation."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in FinetuneConfig.__dataclass_fields__}
        fields["batch"] = self.batch or BATCH
        return FinetuneConfig(**fields)


_DEFAULTS = {name: item.default for name, item in FewLabelConfig.__dataclass_fields__.items()}


def checkpoint_groups(given: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the methods named by ``FinetuneConfig.checkpoint``: (name, URIs of its pre-training seeds), in order.

    ``NAME=URI,URI`` names a method; a repeated name adds to it. A URI alone is a method with an empty name, called after
    its run. A path whose first part has "=" in it is written as ``./a=b``.

    Raises:
        RequestError: A checkpoint is named twice, or a URI is empty.
    """
    groups: dict[tuple[str, int], tuple[str, ...]] = {}
    for place, text in enumerate(given):
        match = _NAMED.fullmatch(text)
        name, uris = (match[1], tuple(match[2].split(","))) if match else ("", (text,))
        if not all(uris):
            raise RequestError(f"checkpoint {text!r}: a checkpoint is empty; give NAME=RUN,RUN")
        at = (name, -1 if name else place)
        groups[at] = (*groups.get(at, ()), *uris)
    for (name, _), uris in groups.items():
        twice = [uri for uri in uris if uris.count(uri) > 1]
        if twice:
            raise RequestError(f"checkpoint {name}={twice[0]}: is given twice; give each pre-training seed once")
    return [(name, uris) for (name, _), uris in groups.items()]
