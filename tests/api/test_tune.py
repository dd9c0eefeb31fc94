"""Arguments of ``distgnn.tune``."""

from __future__ import annotations

import distgnn as dg
from distgnn.api.tune import tune_config

FINETUNE = dg.TuneConfig(trials=3, finetune=dg.FinetuneConfig("data/bace", checkpoint=("runs/zinc",)))


def test_space_as_a_dictionary() -> None:
    space = {"finetune.lr": "log(1e-4,1e-2)", "finetune.batch": [8, 16], "finetune.augment": (True, False)}
    found = tune_config(FINETUNE, {"space": space})
    assert found.space == ("finetune.lr=log(1e-4,1e-2)", "finetune.batch={8,16}", "finetune.augment={true,false}")
    assert found.trials == 3
    assert tune_config(found, {}) == found
