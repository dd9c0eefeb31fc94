"""Capacity of a cluster for trials: resources, and refused requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distgnn.errors import RequestError
from distgnn.search.capacity import Capacity, NodeResources, capacity_of
from tests.helpers.sweeping import tuning

NODES = [NodeResources(4, 0), NodeResources(8, 2)]


class TestCapacity:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, Capacity(1.0, 0.0, 12)),
            ({"cpus_per_trial": 0.5}, Capacity(0.5, 0.0, 24)),
            ({"cpus_per_trial": 3.0}, Capacity(3.0, 0.0, 3)),
            ({"gpus_per_trial": 1.0}, Capacity(1.0, 1.0, 2)),
            ({"gpus_per_trial": 0.5}, Capacity(1.0, 0.5, 4)),
            ({"gpus_per_trial": 0.4}, Capacity(1.0, 0.4, 4)),
            ({"concurrency": 5}, Capacity(1.0, 0.0, 5)),
            ({"workers_per_trial": 2}, Capacity(0.1, 0.0, 5)),
            ({"workers_per_trial": 3, "cpus_per_trial": 2.0}, Capacity(0.1, 0.0, 1)),
            ({"workers_per_trial": 2, "gpus_per_trial": 1.0}, Capacity(0.1, 0.0, 1)),
        ],
    )
    def test_arithmetic(self, corpus: str, options: dict[str, Any], expected: Capacity) -> None:
        assert capacity_of(tuning(corpus, "out", **options), NODES) == expected

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"cpus_per_trial": 9.0}, "fits no node; the largest of the Ray cluster's 2 has 8 CPUs and 2 GPUs"),
            ({"gpus_per_trial": 3.0}, "gpus_per_trial=3: a trial fits no node"),
            ({"concurrency": 13}, "12 CPUs and 2 GPUs, enough for 12"),
            (
                {"workers_per_trial": 3, "cpus_per_trial": 4.0},
                r"3 x cpus_per_trial=4 .* = 12.1 CPUs and 0 GPUs, but .* 12 and 2",
            ),
            ({"workers_per_trial": 2, "gpus_per_trial": 0.5}, "whole GPUs, one each; give 1 or 0"),
        ],
    )
    def test_refusals(self, corpus: str, options: dict[str, Any], message: str) -> None:
        with pytest.raises(RequestError, match=message):
            capacity_of(tuning(corpus, "out", **options), NODES)

    def test_trials_do_not_leave_gpus_idle(self, corpus: str) -> None:
        config = tuning(corpus, "out")
        config = replace(config, finetune=replace(config.finetune, device="auto"))
        with pytest.raises(RequestError, match=r"gpus_per_trial=0: the trials would train on CPUs, but .* has 2 GPUs"):
            capacity_of(config, NODES)
        assert capacity_of(config, NODES[:1]) == Capacity(1.0, 0.0, 4)

    def test_a_gpu_must_be_reserved(self, corpus: str) -> None:
        config = tuning(corpus, "out")
        with pytest.raises(RequestError, match="trials get no GPU"):
            capacity_of(replace(config, finetune=replace(config.finetune, device="cuda")), NODES)
