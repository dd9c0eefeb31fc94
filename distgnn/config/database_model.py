"""Config of models of relational databases. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check, take_groups
from distgnn.config.few_labels import checkpoint_groups
from distgnn.config.fields import SEED, hyper, reads, runtime, setting, writes

_METHODS = ("constant", "forest", "linear", "pre-trained", "untrained")
"""Names that an evaluation of databases gives to methods of its own."""


@dataclass(frozen=True)
class DatabaseModelConfig:
    """Encoder for any schema."""

    kind: Literal["attention", "column-prior"] = hyper("attention", before="attention")
    """attention = columns attend to each other and to statistics of the context labels, and rows are embedded; column-prior =
    the weights of a column follow from its own description and the size of the task, as a baseline: a Gaussian process.
    """
    width: int = hyper(48, most=4096)
    """Size of column tokens."""
    heads: int = hyper(4, most=64)
    """Attention heads."""
    layers: int = hyper(2, most=64)
    """Layers of attention between columns."""
    name_width: int = hyper(12, most=1024)
    """Size of the projection of hashed names."""
    cell_width: int = hyper(8, most=1024)
    """Size of a cell in each head."""
    row_width: int = hyper(24, most=4096)
    """Size of the embedding of a row."""
    members: int = hyper(2, most=64, before=1)
    """Members that start from other weights, whose predictions are averaged; time and size grow with them."""
    inner_lr: float = hyper(0.1)
    """First inner learning rate; it is trained."""

    def __post_init__(self) -> None:
        for name in ("width", "heads", "layers", "name_width", "cell_width", "row_width", "members"):
            check(getattr(self, name) >= 1, f"model.{name} must be at least 1, found {getattr(self, name)}")
        check(
            self.width % self.heads == 0, f"model.width ({self.width}) must be a multiple of model.heads ({self.heads})"
        )
        check(self.inner_lr > 0, f"model.inner_lr must be positive, found {self.inner_lr}")


@dataclass(frozen=True)
class DatabaseTrainConfig:
    """Training on episodes."""

    steps: int = hyper(1000)
    """Training steps."""
    episodes: int = hyper(4, most=4096)
    """Episodes of one step, over all ranks."""
    lr: float = hyper(2e-3)
    """Learning rate of Adam; linear warm-up over 5 % of the steps, then cosine decay to 0."""
    adapted: float = hyper(0.05)
    """Share of episodes whose queries are predicted after an inner step of adaptation (second order); 0 = never."""
    clip_norm: float = hyper(1.0)
    """Largest norm of the gradient; 0 = no limit."""
    contexts: tuple[int, ...] = hyper((16, 32, 64, 128, 256))
    """Numbers of context rows to draw from."""
    queries: int = hyper(128, most=65_536)
    """Most query rows of an episode."""
    columns: int = hyper(112, most=65_536)
    """Most columns of evidence of an episode, drawn anew for each."""
    name_dropout: float = hyper(0.5)
    """Share of episodes in which names of tables and columns are hidden."""
    seed: int = hyper(0, most=SEED)
    """Seed of the weights, tasks and episodes."""

    def __post_init__(self) -> None:
        for name in ("steps", "episodes", "queries", "columns"):
            check(getattr(self, name) >= 1, f"train.{name} must be at least 1, found {getattr(self, name)}")
        for name in ("adapted", "name_dropout"):
            check(0 <= getattr(self, name) <= 1, f"train.{name} must lie in 0..1, found {getattr(self, name)}")
        check(
            self.lr > 0 and self.clip_norm >= 0,
            f"train.lr must be positive and clip_norm not negative, found {self.lr}",
        )
        good = bool(self.contexts) and all(size >= 2 for size in self.contexts)
        check(good, f"train.contexts must be numbers of rows >= 2, found {self.contexts}")


@dataclass(frozen=True)
class SampleConfig:
    """Sampling of sub-graphs."""

    newest: int = setting(32, most=65_536)
    """Newest children of each row that are kept."""
    random: int = setting(8, most=65_536)
    """Random ones of the older children."""

    def __post_init__(self) -> None:
        check(self.newest >= 1 and self.random >= 0, f"sample.newest must be at least 1, found {self.newest}")


@dataclass(frozen=True)
class DatabasePretrainConfig:
    """Pre-train a model over several relational databases, on their declared tasks and on automatic ones.

    Example: distgnn database pretrain --databases data/berka data/lahman --out runs/databases
    """

    databases: tuple[str, ...] = reads()
    """Databases: stores, or folders with a database.json."""
    out: str = writes("runs/databases")
    """URI of the run folder; a run there is continued."""
    automatic: int = setting(40, most=4096)
    """Most automatic tasks of each database: cells to fill in, and what happens next."""
    model: DatabaseModelConfig = hyper(factory=DatabaseModelConfig)
    train: DatabaseTrainConfig = hyper(factory=DatabaseTrainConfig)
    sample: SampleConfig = setting(factory=SampleConfig)
    checkpoint_every: int = runtime(250)
    """Steps between checkpoints."""
    synthetic: int = setting(24, most=100_000, before=0)
    """Synthetic databases with known truth to train on as well, with at most 12 automatic tasks each; 0 = none."""
    workers: int = runtime(1, most=65_536, before=1)
    """Number of training processes, which share the episodes of a step. 1 = in this process, without Ray; more use Ray Train."""
    max_failures: int = runtime(3, before=3)
    """Restarts of the workers after a failure, each from the last checkpoint; -1 = without limit. With Ray only."""

    def __post_init__(self) -> None:
        take_groups(self)
        check(bool(self.databases), "databases must name at least one database")
        check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        check(self.max_failures >= -1, f"max_failures must be at least -1, found {self.max_failures}")
        check(self.checkpoint_every >= 1, f"checkpoint_every must be at least 1, found {self.checkpoint_every}")


@dataclass(frozen=True)
class PredictConfig:
    """Predict a task on a database from context labels, without training, or after fine-tuning on all its labels.

    Example: distgnn predict --database data/northwind --task customer-reorder-60d --model runs/databases --context 256
    """

    database: str = reads()
    """The database: a store, or a folder with a database.json."""
    task: str = setting()
    """Name of a task of the database."""
    model: str = reads()
    """Checkpoint of a pre-trained model, or the run folder of ``distgnn database pretrain``."""
    context: int = setting(256)
    """Labelled training rows to predict from; 0 = rank by the descriptions of columns only."""
    adapt: int = setting(0, most=100)
    """Inner steps of adaptation on the context labels."""
    ensemble: bool = setting(True)
    """Average with a random forest and logistic (or ridge) regression on the same context and evidence, or, after fine-tuning,
    with gradient boosting on all training labels. Not done for several classes, and without context."""
    finetune: int = setting(0, most=1_000_000)
    """Steps of fine-tuning on all training labels of the task, with early stopping on its validation rows; up to 2,048 labels are
    then the context, and ``context`` is not read. For rows of the test split. 0 = none."""
    save: str = writes("")
    """URI of a new folder for the fine-tuned model, which ``model`` reads; empty = it is not kept."""
    split: Literal["train", "val", "test"] = setting("test")
    """Rows to predict."""
    explain: bool = setting(True)
    """Also write the table columns that matter most for each row, by hiding each in turn."""
    out: str = writes("runs/predict")
    """URI of the folder for predictions.parquet."""
    seed: int = setting(0, most=SEED)
    """Seed of the choice of context rows."""

    def __post_init__(self) -> None:
        check(self.context >= 0, f"context must not be negative, found {self.context}")
        check(self.adapt >= 0, f"adapt must not be negative, found {self.adapt}")
        check(self.finetune >= 0, f"finetune must not be negative, found {self.finetune}")
        check(not self.save or self.finetune > 0, "save keeps a fine-tuned model; give finetune")
        told = f"finetune reads the labels of train and val; predict rows of test, not {self.split}"
        check(not self.finetune or self.split == "test", told)


@dataclass(frozen=True)
class DatabaseEvaluateConfig:
    """Evaluate pre-trained models on the tasks of databases that they have not seen, beside baselines with as many labels.

    Each database is evaluated with the first of the models that was not trained on it.
    Example: distgnn database evaluate --databases data/berka data/lahman --models runs/without-berka runs/without-lahman
    """

    databases: tuple[str, ...] = reads()
    """Databases: stores, or folders with a database.json."""
    models: tuple[str, ...] = reads()
    """Checkpoints or run folders."""
    contexts: tuple[int, ...] = setting((0, 64, 256, 1024))
    """Numbers of context labels."""
    draws: int = setting(5, most=10_000)
    """Draws of context rows for each number of labels."""
    adapt: int = setting(1, most=100)
    """Inner steps of the adapted row; 0 = no such row."""
    finetune: int = setting(0, most=1_000_000)
    """Steps of fine-tuning on all training labels, beside gradient boosting on them; 0 = no rows with all labels."""
    baselines: bool = setting(True)
    """Also evaluate baselines on the same evidence."""
    untrained_seeds: int = setting(3, most=1000, before=1)
    """Untrained models of other random weights that are controls; the mean of their scores is one row. 0 = no such row."""
    split: Literal["val", "test"] = setting("test")
    """Rows to score; choose settings on val."""
    rows: int = setting(2000)
    """Most rows to score for each task."""
    others: tuple[str, ...] = setting(())
    """Other models to score on the same rows: NAME=RUN or NAME=RUN,RUN. Of each name the first that was not trained on the
    database is taken."""
    skip: tuple[str, ...] = setting(())
    """Tasks to leave out, ``database/task``, such as saturated ones."""
    out: str = writes("runs/database-evaluate")
    """URI of the folder for results.json, table.md and pictures."""

    def __post_init__(self) -> None:
        check(bool(self.databases) and bool(self.models), "databases and models must name at least one each")
        check(
            bool(self.contexts) and min(self.contexts) >= 0, f"contexts must be numbers of rows, found {self.contexts}"
        )
        check(self.draws >= 1 and self.rows >= 2, "draws must be at least 1 and rows at least 2")
        named = [name for name, _ in checkpoint_groups(self.others)]
        wrong = next((name for name in named if not name or name in _METHODS), None)
        told = f"others: {wrong!r} is the name of another method" if wrong else "others: a model has no name"
        check(wrong is None, f"{told}; give NAME=RUN, such as column-prior=RUN")
        check(self.untrained_seeds >= 0, f"untrained_seeds must not be negative, found {self.untrained_seeds}")
