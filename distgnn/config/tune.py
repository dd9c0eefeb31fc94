"""Config of ``distgnn tune``: search space, searcher, scheduler and trials. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import OpenConfig, check
from distgnn.config.fields import SEED, Options, hyper, registered, runtime, setting, writes
from distgnn.config.finetune import PLAIN, FinetuneConfig
from distgnn.config.pretrain import PretrainConfig
from distgnn.config.transfer import AUTO, CONTROL, TransferConfig

Kind = Literal["pretrain", "finetune", "transfer"]


@dataclass(frozen=True)
class TuneConfig(OpenConfig):
    """Search hyper-parameters with Ray Tune by validation scores; test data is evaluated once at the end.

    Example: distgnn tune --space adaptation --pretrain.corpus data/molecules --finetune.corpus data/bace --trials 16

    A trial is a pre-training and a fine-tuning (--pretrain.corpus and --finetune.corpus), a fine-tuning of one
    checkpoint (--finetune.corpus and --finetune.checkpoint), or a training with auxiliary tasks (--transfer.data).
    """

    out: str = writes("runs/sweep")
    """URI of the folder of the sweep; continue an existing sweep with --resume."""
    space: tuple[str, ...] = setting(())
    """Predefined spaces (adaptation, aux-ts, encoder, finetune, fig3b), and fields with their domains, which extend or
    override them: FIELD=lo..hi, FIELD=lo..hi/step, FIELD=log(lo,hi), FIELD={a,b,c}; such as l2p.node_lr=log(1e-4,1e-1).
    """
    trials: int = runtime(0, most=1 << 20)
    """Number of trials; 0 = 16, or every point of a grid."""
    searcher: str = setting("auto", names="searcher", also=("auto",))
    """Search algorithm: tpe = Optuna's tree-structured Parzen estimator, random, grid = every point; auto = tpe, but
    grid for fig3b.
    """
    scheduler: Literal["none", "asha", "median", "pbt"] = setting("none")
    """Trial scheduler: asha = asynchronous successive halving, median = median stopping rule, pbt = population based
    training (poor trials copy the weights of good ones and perturb their parameters). All decide at rungs.
    """
    seed: int = setting(0, most=SEED)
    """Seed of the search algorithm (the seeds of trials are in their configs)."""
    max_steps: int = setting(0, aliases=("steps",), most=1 << 48)
    """Length of a full trial: pre-training steps, epochs of transfer, or seeds of fine-tuning; 0 = as in their configs."""
    grace_period: int = setting(0, aliases=("grace",), most=1 << 48)
    """The first rung; 0 = max_steps / reduction_factor^2. The next rungs follow at grace_period x reduction_factor, x
    reduction_factor^2 ...; with pbt there is one every grace_period (0 = max_steps / 5).
    """
    reduction_factor: int = setting(3, aliases=("eta",))
    """About one in reduction_factor trials continues after a rung."""
    n_startup_trials: int = setting(8, aliases=("startup",), most=1 << 20)
    """Random trials before tpe uses its model."""
    objectives: tuple[str, ...] = setting(("score",))
    """score, or score and seconds (tpe then searches their Pareto front); the winner always has the best score."""
    retries: int = runtime(1)
    """Maximum number of retries of a failed trial, which continues from its last checkpoint. Trials that diverged or
    have incompatible parameters are not retried.
    """
    concurrency: int = runtime(0, most=65_536)
    """Maximum number of concurrent trials; 0 = as many as fit on the cluster."""
    cpus_per_trial: float = runtime(1.0)
    """CPUs that Ray reserves for a trial, or for each of its workers; may be fractional."""
    gpus_per_trial: float = runtime(0.0)
    """GPUs that Ray reserves for a trial, or for each of its workers; may be fractional."""
    workers_per_trial: int = setting(1, most=65_536)
    """Data-parallel processes per pre-training trial; more than 1 uses Ray Train."""
    final_seeds: int = runtime(3, most=100_000)
    """Seeds 0..final_seeds-1 of the final evaluation of winner and default configuration on validation and test data; 0
    = skip it.
    """
    loggers: tuple[str, ...] = runtime((), names="logger")
    """Experiment loggers besides Prometheus: tensorboard, wandb, mlflow, csv; all but csv need pip install
    'distgnn[NAME]'.
    """
    pretrain: PretrainConfig = hyper(factory=lambda: PretrainConfig(corpus=""))
    finetune: FinetuneConfig = hyper(factory=lambda: FinetuneConfig(corpus=""))
    transfer: TransferConfig = hyper(factory=lambda: TransferConfig(data=""))

    options: Options = registered("searcher", "logger")
    """Options of registered searchers and experiment loggers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("trials", "max_steps", "grace_period", "retries", "concurrency", "gpus_per_trial", "final_seeds"):
            check(getattr(self, name) >= 0, f"{name} must not be negative, found {getattr(self, name)}")
        for name in ("n_startup_trials", "workers_per_trial"):
            check(getattr(self, name) >= 1, f"{name} must be at least 1, found {getattr(self, name)}")
        check(self.cpus_per_trial > 0, f"cpus_per_trial must be positive, found {self.cpus_per_trial}")
        check(self.reduction_factor >= 2, f"reduction_factor must be at least 2, found {self.reduction_factor}")
        good = self.objectives in (("score",), ("score", "seconds"))
        check(good, f"objectives must be score, or score seconds; found {' '.join(self.objectives)}")
        exceeds = 0 < self.max_steps < self.grace_period
        check(not exceeds, f"grace_period={self.grace_period} exceeds max_steps={self.max_steps}")
        budget = self.pretrain.train.max_cpu_seconds
        check(not budget, f"pretrain.train.max_cpu_seconds={budget:g}: trials are compared by steps; give max_steps")
        self._check_groups()

    def _check_groups(self) -> None:
        given = {"pretrain.corpus": self.pretrain.corpus, "finetune.corpus": self.finetune.corpus}
        both = [name for name, value in given.items() if value and self.transfer.data]
        check(not both, f"{both[:1]} and transfer.data are both given; give one of them")
        if self.kind == "transfer":
            self._check_transfer()
            return
        check(
            bool(self.finetune.corpus),
            "nothing to score trials on: give finetune.corpus (with pretrain.corpus or finetune.checkpoint), or"
            " transfer.data",
        )
        if self.kind == "pretrain":
            check(
                not self.finetune.checkpoint,
                "pretrain.corpus and finetune.checkpoint: trials make their own checkpoints",
            )
            sized = self.pretrain.train.graphs_per_stream > 0
            check(sized, "pretrain.train.graphs_per_stream must be at least 1: all trials need the same steps")
            check(self.pretrain.objective != "none", "pretrain.objective=none trains nothing; choose another objective")
        else:
            check(
                len(self.finetune.checkpoint) == 1,
                "finetune.checkpoint must name the one checkpoint of all trials (or pretrain.corpus what they pre-train on)",
            )
        for name in ("pretrain", "finetune"):
            check(not getattr(self, name).loggers, f"{name}.loggers: trials log nothing themselves; use loggers")
        for name in ("workers", "min_workers"):
            usual = getattr(PretrainConfig(corpus=""), name)
            check(getattr(self.pretrain, name) == usual, f"pretrain.{name}: use workers_per_trial")
        check(self.finetune.workers == 1, "finetune.workers: use concurrency")
        check(self.finetune.readout == (PLAIN,), "finetune.readout: trials read out plainly; leave it out")
        check(
            self.workers_per_trial == 1 or self.kind == "pretrain",
            "workers_per_trial above 1 is for trials that pre-train (pretrain.corpus)",
        )
        check(
            self.workers_per_trial <= self.pretrain.train.streams,
            f"workers_per_trial={self.workers_per_trial} exceeds pretrain.train.streams={self.pretrain.train.streams}",
        )
        check(
            self.scheduler != "pbt" or self.kind == "pretrain",
            "scheduler=pbt clones pre-trainings: give pretrain.corpus",
        )

    def _check_transfer(self) -> None:
        config = self.transfer
        methods = [method for method in config.methods if method != CONTROL]
        for name, found in (("methods", methods), ("schemes", config.schemes)):
            check(
                len(found) == 1,
                f"transfer.{name} must name one (what a trial trains), found {' '.join(found) or 'none'}",
            )
        check(
            AUTO not in config.schemes, "transfer.schemes: a trial trains scratch or pretrained; auto chooses of both"
        )
        check(len(config.encoders) < 2, "transfer.encoders must not name more than one")
        check(len(config.checkpoint) < 2, "transfer.checkpoint must not name more than one")
        check(config.workers == config.ranks == 1, "transfer.workers and transfer.ranks: use concurrency")
        check(not config.loggers, "transfer.loggers: trials log nothing themselves; use loggers")
        check(self.workers_per_trial == 1, "workers_per_trial above 1 is for trials that pre-train")
        check(self.scheduler != "pbt", "scheduler=pbt clones pre-trainings: give pretrain.corpus and finetune.corpus")

    @property
    def kind(self) -> Kind:
        """The kind of trials."""
        if self.transfer.data:
            return "transfer"
        return "pretrain" if self.pretrain.corpus else "finetune"

    @property
    def axis(self) -> str:
        """The unit of a trial's length."""
        return {"pretrain": "steps", "finetune": "seeds", "transfer": "epochs"}[self.kind]

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that trials request: auto, cpu or cuda."""
        own = {"pretrain": (self.pretrain.train.device, self.finetune.device), "finetune": (self.finetune.device,)}
        return own.get(self.kind, (self.transfer.device,))

    @property
    def imports(self) -> tuple[str, ...]:
        """Python modules to import first."""
        return getattr(self, self.kind).imports
