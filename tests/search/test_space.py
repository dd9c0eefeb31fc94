"""Search spaces: syntax, refused spaces, and proposals as pure functions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgnn.config import FinetuneConfig, PretrainConfig, TransferConfig, TuneConfig, from_json, to_json
from distgnn.errors import RequestError
from distgnn.search.domains import Choice, Range, format_domain
from distgnn.search.presets import PRESETS
from distgnn.search.proposals import explore, sample_params
from distgnn.search.records import Rung, TrialRecord
from distgnn.search.space import Params, apply, defaults, grid, present_params, read_space, texts
from distgnn.search.sweep import planned_trials, rungs_of, searcher_of
from tests.helpers.sweeping import proposer

PRETRAIN = TuneConfig(pretrain=PretrainConfig("a"), finetune=FinetuneConfig("b"))
FINETUNE = TuneConfig(finetune=FinetuneConfig("b", checkpoint=("c",)))
TRANSFER = TuneConfig(transfer=TransferConfig("d", methods=("auxts_all",), schemes=("scratch",)))
KINDS = {"adaptation": PRETRAIN, "encoder": PRETRAIN, "finetune": FINETUNE, "fig3b": PRETRAIN, "aux-ts": TRANSFER}


def spaced(*space: str, config: TuneConfig = PRETRAIN) -> TuneConfig:
    return replace(config, space=space)


class TestLanguage:
    @pytest.mark.parametrize(
        ("text", "field", "domain"),
        [
            ("l2p.node_steps=0..3", "pretrain.l2p.node_steps", Range("int", 0, 3)),
            ("pretrain.l2p.support = 2..20/2", "pretrain.l2p.support", Range("int", 2, 20, 2)),
            ("l2p.node_lr=log(1e-4,1e-1)", "pretrain.l2p.node_lr", Range("float", 1e-4, 0.1, log=True)),
            ("train.warmup_steps=log(1,100)", "pretrain.train.warmup_steps", Range("int", 1, 100, log=True)),
            ("dropout=0.0..0.5/0.1", "finetune.dropout", Range("float", 0.0, 0.5, 0.1)),
            ("l2p.order={1,2}", "pretrain.l2p.order", Choice((1, 2))),
            ("encoder.omega={true,false}", "pretrain.encoder.omega", Choice((True, False))),
            ("finetune.batch={16,32}", "finetune.batch", Choice((16, 32))),
            ("structure.properties={degree,degree+clustering}", "pretrain.structure.properties", None),
        ],
    )
    def test_reads(self, text: str, field: str, domain: Range | Choice | None) -> None:
        space = read_space(spaced(text))
        assert list(space) == [field]
        assert space[field] == (domain or Choice(("degree", "degree+clustering")))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("l2p.nope=1..2", "no field 'l2p.nope' in pretrain or finetune"),
            ("pretrain.l2p=1..2", "no field"),
            ("l2p.node_steps=3..1", "empty range, 3 is above 1"),
            ("l2p.support={}", "empty choice"),
            ("l2p.support={2,2}", "twice"),
            ("l2p.support={a}", "'a' is not a value of this field"),
            ("l2p.support=1.5..2", "'1.5' is not a value"),
            ("l2p.node_lr=nan..1", "'nan' is not a value"),
            ("l2p.node_lr=log(0,1)", "numbers above 0"),
            ("l2p.support=2..8/0", "step must be above 0"),
            ("l2p.support=2-8", r"not lo\.\.hi"),
            ("l2p.order=1..2", r"takes a choice such as \{1,2\}"),
            ("encoder.norm={ghost,nope}", "'nope' is none of ghost"),
            ("l2p.node_steps=0..9", "9 is rejected .*must be 0, 1, 2 or 3"),
            ("train.max_steps=1..2", "the same in all trials"),
            ("finetune.split.seed=1..2", "the same in all trials"),
            ("transfer.lr=0.1..1", "do not transfer"),
            ("nothing", "no predefined space has this name"),
        ],
    )
    def test_refuses(self, text: str, message: str) -> None:
        with pytest.raises(RequestError, match=message) as error:
            read_space(spaced(text))
        assert text.partition("=")[0].split(".")[-1].strip() in str(error.value)

    def test_nothing_to_search(self) -> None:
        with pytest.raises(RequestError, match="nothing to search"):
            read_space(PRETRAIN)

    def test_later_domains_override_earlier_ones(self) -> None:
        space = read_space(spaced("l2p.node_steps={1}", "fig3b"))
        assert space == {
            "pretrain.l2p.node_steps": Choice((1,)),
            "pretrain.l2p.graph_steps": Range("int", 0, 3),
        }

    @pytest.mark.parametrize("name", list(PRESETS))
    def test_presets(self, name: str) -> None:
        config = spaced(name, config=KINDS[name])
        space = read_space(config)
        assert len(space) == len(PRESETS[name])
        assert [f"{field}={text}" for field, text in texts(space).items()] == [
            _canonical(text) for text in PRESETS[name]
        ]
        for at in range(20):
            apply(config, sample_params(space, at))
        assert set(defaults(config, space)) == set(space)

    def test_apply_changes_those_fields_only(self) -> None:
        params = {"pretrain.l2p.node_steps": 3, "pretrain.structure.properties": "degree", "finetune.lr": 0.5}
        changed = apply(PRETRAIN, params)
        assert changed.pretrain.structure.properties == ("degree",)
        assert defaults(changed, dict.fromkeys(params)) == params  # pyright: ignore[reportArgumentType]
        back = apply(changed, defaults(PRETRAIN, dict.fromkeys(params)))  # pyright: ignore[reportArgumentType]
        assert back == PRETRAIN
        assert from_json(TuneConfig, to_json(changed)) == changed


def test_fields_have_the_names_of_earlier_versions_too() -> None:
    assert read_space(spaced("encoder.jump={last,sum}")) == read_space(spaced("encoder.jumping_knowledge={last,sum}"))
    yes_no = read_space(spaced("weighting.normalise={yes,no}", config=TRANSFER))
    assert yes_no == {"transfer.weighting.normalise": Choice((True, False))}
    old: Params = {"pretrain.encoder.jump": "sum", "transfer.weighting.normalise": "no", "finetune.lr": 0.5}
    assert present_params(old) == {
        "pretrain.encoder.jumping_knowledge": "sum",
        "transfer.weighting.normalise": False,
        "finetune.lr": 0.5,
    }
    assert present_params({"finetune.use_center": "auto"}) == {"finetune.use_center": "auto"}


def test_the_automatic_choice_is_a_value() -> None:
    space = read_space(spaced("use_center={true,false}", config=FINETUNE))
    assert defaults(FINETUNE, space) == {"finetune.use_center": "auto"}
    assert apply(FINETUNE, {"finetune.use_center": "auto"}) == FINETUNE
    assert apply(FINETUNE, {"finetune.use_center": False}).finetune.use_center is False


def _canonical(text: str) -> str:
    field, _, domain = text.partition("=")
    if domain.startswith("log("):
        low, high = (float(part) for part in domain[4:-1].split(","))
        return f"{field}=log({low:g},{high:g})"
    return f"{field}={domain.replace('0.0..', '0..')}"


class TestConfig:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "nothing to score trials on"),
            ({"pretrain": PretrainConfig("a")}, "nothing to score"),
            ({"finetune": FinetuneConfig("b")}, "the one checkpoint"),
            ({"transfer": TransferConfig("d")}, r"transfer\.methods must name one"),
            ({"reduction_factor": 1}, "reduction_factor must be at least 2"),
            ({"objectives": ("seconds",)}, "objectives must be"),
            ({"cpus_per_trial": 0.0}, "cpus_per_trial must be positive"),
            ({"max_steps": 5, "grace_period": 6}, "grace_period=6 exceeds max_steps=5"),
            ({"finetune": FinetuneConfig("b", checkpoint=("c",)), "scheduler": "pbt"}, "pbt clones pre-trainings"),
            ({"finetune": FinetuneConfig("b", checkpoint=("c",)), "workers_per_trial": 2}, "trials that pre-train"),
        ],
    )
    def test_refuses(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(RequestError, match=message):
            TuneConfig(**options)  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, (90,)),
            ({"scheduler": "asha"}, (10, 30, 90)),
            ({"scheduler": "median", "grace_period": 20, "reduction_factor": 2}, (20, 40, 80, 90)),
            ({"scheduler": "pbt", "grace_period": 34}, (34, 68, 90)),
        ],
    )
    def test_rungs(self, options: dict[str, object], expected: tuple[int, ...]) -> None:
        assert rungs_of(replace(PRETRAIN, **options), 90) == expected  # pyright: ignore[reportArgumentType]

    def test_no_rung_before_the_end(self) -> None:
        with pytest.raises(RequestError, match="1 steps have no rung before their end"):
            rungs_of(replace(PRETRAIN, scheduler="asha"), 1)

    def test_grids(self) -> None:
        config = spaced("fig3b")
        assert searcher_of(config) == "grid"
        assert planned_trials(config, read_space(config)) == 16
        with pytest.raises(RequestError, match="trials=3: the grid has 16 points"):
            planned_trials(replace(config, trials=3), read_space(config))
        with pytest.raises(RequestError, match="a grid needs a finite number of values"):
            grid(read_space(spaced("l2p.node_lr=0.1..1")))


def record(number: int, params: dict, score: float) -> TrialRecord:
    return TrialRecord(number, params, "finished", rungs=(Rung(9, score, 1.0),))


class TestProposals:
    SPACE = read_space(spaced("l2p.node_lr=log(1e-4,1e-1)", "l2p.support=2..20/2", "l2p.order={1,2}"))

    @given(st.integers(0, 2**63), st.integers(0, 50))
    def test_random_is_a_function_of_seed_and_number(self, seed: int, number: int) -> None:
        random = proposer(self.SPACE, "random", seed, "max")
        params = random.propose(number, [])
        assert params == random.propose(number, [record(0, params, 1.0)])
        assert all(domain.contains(params[field]) for field, domain in self.SPACE.items())
        moved = explore(self.SPACE, params, seed % 97, number)
        assert moved == explore(self.SPACE, params, seed % 97, number)
        assert all(domain.contains(moved[field]) for field, domain in self.SPACE.items())

    def test_random_search_is_uniform(self) -> None:
        values = [sample_params(self.SPACE, at)["pretrain.l2p.node_lr"] for at in range(400)]
        below = sum(float(value) < math.sqrt(1e-4 * 1e-1) for value in values)
        assert 160 < below < 240
        assert {sample_params(self.SPACE, at)["pretrain.l2p.support"] for at in range(400)} == set(range(2, 21, 2))

    def test_grid_is_every_point_once(self) -> None:
        space = read_space(spaced("l2p.node_steps=0..2", "l2p.order={1,2}"))
        points = [tuple(proposer(space, "grid", 0, "max").propose(n, []).values()) for n in range(6)]
        assert points == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]

    @pytest.mark.parametrize("state", ["running", "finished", "stopped", "failed"])
    def test_tpe_knows_every_state(self, state: str) -> None:
        tpe = proposer(self.SPACE, "tpe", 0, "max", n_startup_trials=1)
        known = [record(0, tpe.propose(0, []), 1.0), replace(record(1, sample_params(self.SPACE, 5), 2.0), state=state)]
        params = tpe.propose(2, known)
        assert params == tpe.propose(2, known[::-1])
        assert all(domain.contains(params[field]) for field, domain in self.SPACE.items())

    def test_tpe_finds_a_planted_optimum_sooner_than_random(self) -> None:
        """Medians over seeds of the trials until a score within 5 % of the best."""
        space = read_space(spaced("l2p.node_lr=log(1e-4,1e-1)", "l2p.graph_lr=log(1e-4,1e-1)"))
        needed = {name: sorted(trials_needed(space, name, seed) for seed in range(5)) for name in ("tpe", "random")}
        assert needed["tpe"][2] < needed["random"][2]

    def test_tpe_repeats_no_configuration_while_there_is_another(self) -> None:
        space = read_space(spaced("l2p.node_steps=0..2", "l2p.order={1,2}"))
        tpe, known = proposer(space, "tpe", 0, "max", n_startup_trials=2), []
        for number in range(7):
            known.append(record(number, tpe.propose(number, known), float(number)))
        params = [tuple(one.params.values()) for one in known]
        assert len(set(params[:6])) == 6
        assert params[6] in params[:6]

    def test_two_objectives(self) -> None:
        both = proposer(self.SPACE, "tpe", 0, "max", n_startup_trials=1, seconds=True)
        known = [replace(record(n, sample_params(self.SPACE, n), float(n)), seconds=float(n)) for n in range(4)]
        assert both.propose(4, known) != proposer(self.SPACE, "tpe", 0, "max", n_startup_trials=1).propose(4, known)


def trials_needed(space: dict, searcher: str, seed: int) -> int:
    proposals, known = proposer(space, searcher, seed, "max", n_startup_trials=6), []
    for number in range(60):
        params = proposals.propose(number, known)
        far = sum((math.log10(float(value)) + 2) ** 2 for value in params.values())
        if far < 0.05:
            return number
        known.append(record(number, params, -far))
    return 60


def test_formatted_domains_can_be_parsed() -> None:
    assert format_domain(Choice((True, False))) == "{true,false}"
