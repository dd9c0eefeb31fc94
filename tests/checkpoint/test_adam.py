"""Adam: bit for bit that of torch, in a process that does not import torch._dynamo."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest
import torch
from torch import nn

from distgnn.checkpoint.adam import Adam


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torch(weight_decay: float) -> None:
    """Over steps with changing rates, in which one parameter has no gradient at first."""
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    mine = Adam(ours, 0.01, weight_decay)
    reference = torch.optim.Adam(theirs, lr=0.01, weight_decay=weight_decay)
    for step in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = None if step == 0 and one.dim() == 1 else torch.randn_like(one)
            other.grad = None if one.grad is None else one.grad.clone()
        for optimiser in (mine, reference):
            optimiser.param_groups[0]["lr"] = 0.01 / (step + 1)
            optimiser.step()
            optimiser.zero_grad()
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        assert not any(parameter.grad is not None for parameter in ours)
    for one, other in zip(ours, theirs, strict=True):
        kept = reference.state[other]
        assert all(torch.equal(value, kept[name]) for name, value in mine.state[one].items())
        assert set(mine.state[one]) == set(kept)


def test_training_and_resuming_do_not_import_dynamo(corpus: str) -> None:
    """Which takes 1.5 CPU seconds at each start of each worker; sympy takes 0.5."""
    train = (
        f"run = dg.pretrain(corpus={corpus!r}, out=sys.argv[1], name='r', encoder={{'width': 8, 'layers': 1}},"
        " train={'max_steps': 2, 'device': 'cpu'})\n"
        "assert run.status == 'finished'\n"
    )
    resume = "from distgnn.checkpoint.format import load_checkpoint\nload_checkpoint(sys.argv[1] + '/r')\n"
    check = "sys.exit(', '.join({'torch._dynamo', 'sympy'} & set(sys.modules)) or 0)"
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, "-c", f"import sys, torch, distgnn as dg\n{train}{resume}{check}", out]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
