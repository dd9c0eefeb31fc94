"""Ray Tune's schedulers, which have the ledger note rungs and decisions, and know what earlier sessions of the sweep saw."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from distgnn.graph.keyed import key
from distgnn.graph.purposes import SearchDraw
from distgnn.search.records import Rung, TrialRecord
from distgnn.search.trial_store import Ledger

NUMBER, SCORE, FIDELITY, SECONDS = "number", "score", "fidelity", "seconds"


def number_of(trial: Any) -> int:
    """The number of a Tune trial in its sweep."""
    return int(trial.config[NUMBER])


class _Recording:
    """Mixed into a scheduler: every rung goes to the ledger, and rungs of trials that go on are told again, unjudged."""

    ledger: Ledger
    seen: set[tuple[int, int]]
    """Rungs it knows (number, fidelity), so that those of a trial that failed and comes again do not count twice."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)  # pyright: ignore[reportAttributeAccessIssue]
        self.recall(tune_controller, trial, self.ledger.records[number_of(trial)])

    def recall(self, tune_controller: Any, trial: Any, record: TrialRecord) -> None:
        """Let the scheduler see the rungs of ``record`` as those of ``trial``; what it would decide is not done."""
        for rung in self.unseen(record):
            super().on_trial_result(tune_controller, trial, told(rung))  # pyright: ignore[reportAttributeAccessIssue]

    def unseen(self, record: TrialRecord) -> list[Rung]:
        """The rungs of ``record`` that it does not know; from now on it does."""
        found = [rung for rung in record.rungs if (record.number, rung.fidelity) not in self.seen]
        self.seen |= {(record.number, rung.fidelity) for rung in found}
        return found

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The decision, which is written down in one with the rung: a kill can come between no two of them."""
        decision = super().on_trial_result(tune_controller, trial, result)  # pyright: ignore[reportAttributeAccessIssue]
        rung = Rung(result[FIDELITY], result[SCORE], result[SECONDS])
        self.ledger.reached(number_of(trial), rung, stop=decision == TrialScheduler.STOP)
        self.seen.add((number_of(trial), rung.fidelity))
        return decision


class _Whole(_Recording, FIFOScheduler):
    """Every trial to its end."""


class _Halving(_Recording, AsyncHyperBandScheduler):
    """ASHA (Li et al., MLSys 2020)."""


class _Median(_Recording, MedianStoppingRule):
    """The median rule of Vizier (Golovin et al., KDD 2017), section 3.2.1."""

    def recall(self, tune_controller: Any, trial: Any, record: TrialRecord) -> None:  # noqa: ARG002
        """See above; the rule itself is not asked, since it would never let go of a trial it has judged bad."""
        if found := self.unseen(record):
            self._results[trial] = [told(rung) for rung in found]


class _Population(_Recording, PopulationBasedTraining):
    """PBT (Jaderberg et al., 2017): Ray's quantiles and turns; what is cloned, and how it is changed, is the ledger's."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002
        # Ray refuses PBT beside any searcher, since a searcher would not know of changed parameters; ours reads the ledger
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)

    def recall(self, tune_controller: Any, trial: Any, record: TrialRecord) -> None:  # noqa: ARG002
        """See above; a population goes on from the last rung of each."""
        if record.rungs:
            state = self._trial_state[trial]
            self._save_trial_state(state, record.reached, told(record.rungs[-1]), trial)
            state.last_perturbation_time = record.reached

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The rung is written down before a clone that follows from it; nothing is ever stopped."""
        self.ledger.reached(number_of(trial), Rung(result[FIDELITY], result[SCORE], result[SECONDS]))
        return PopulationBasedTraining.on_trial_result(self, tune_controller, trial, result)

    def _checkpoint_or_exploit(
        self, trial: Any, tune_controller: Any, upper_quantile: list[Any], lower_quantile: list[Any]
    ) -> None:
        """Have a trial of the lower quantile go on from one of the upper's.

        Takes the place of Ray's own, which copies a checkpoint of Ray Tune's: ours lie in the trials' folders already, and the
        trial that is started again reads in its record what to clone.
        """
        if trial not in lower_quantile:
            return
        number, seed = number_of(trial), self.ledger.sweep.config.seed
        turn = key(seed, SearchDraw.CLONE_SOURCE, number, len(self.ledger.records[number].clones))
        source = upper_quantile[turn % len(upper_quantile)]
        own, other = self._trial_state[trial], self._trial_state[source]
        self.ledger.cloned(number, number_of(source), int(other.last_train_time))
        own.last_perturbation_time = own.last_train_time = other.last_train_time
        self._num_perturbations += 1
        tune_controller.pause_trial(trial, should_checkpoint=False)


def told(rung: Rung) -> dict[str, Any]:
    """What a trial reports at ``rung``."""
    return {FIDELITY: rung.fidelity, SCORE: rung.score, SECONDS: rung.seconds}


def scheduler_of(ledger: Ledger) -> TrialScheduler:
    """That of the ledger's sweep, told of the trials that have ended."""
    sweep, config = ledger.sweep, ledger.sweep.config
    axis: dict[str, Any] = {"time_attr": FIDELITY, "metric": SCORE, "mode": sweep.mode}
    first, last = sweep.rungs[0], sweep.budget
    made: Any
    if config.scheduler == "asha":
        made = _Halving(max_t=last, grace_period=first, reduction_factor=config.eta, **axis)
    elif config.scheduler == "median":
        made = _Median(grace_period=first, **axis)
    elif config.scheduler == "pbt":
        made = _Population(perturbation_interval=first, custom_explore_fn=_never, log_config=False, **axis)
    else:
        made = _Whole()
    made.ledger, made.seen = ledger, set()
    if config.scheduler in ("asha", "median"):
        for record in ledger.trials():
            if record.ended is not None:
                _recall_ended(made, record)
    return made


def _recall_ended(scheduler: Any, record: TrialRecord) -> None:
    """Tell of a trial that is no Tune trial of this session; what stands for it has an id of its own."""
    scheduler.on_trial_add(None, _Ended(f"ended-{record.number}", ((NUMBER, record.number),)))


@dataclass(frozen=True)
class _Ended:
    """What schedulers look at of a trial."""

    trial_id: str
    items: tuple[tuple[str, int], ...]

    @property
    def config(self) -> dict[str, int]:
        """As a Tune trial has it."""
        return dict(self.items)


def _never(config: dict[str, Any]) -> dict[str, Any]:
    """Ray wants some exploration; the ledger's is used."""
    return config
