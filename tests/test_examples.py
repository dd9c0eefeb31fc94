"""The examples run from start to end, and the notebooks have the contents of the scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
SAID = {
    "cluster": "largest relative difference of a loss",
    "database": "orders.(rows)",
    "molecules": "report.html",
    "own_parts": "finished",
    "papers": "control",
    "proteins": "ood",
    "quickstart": "ROC-AUC",
    "recommender": "auxts_all",
}
"""What each prints when it is through."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_notebook_is_that_of_the_script(script: Path) -> None:
    """``make notebooks`` writes them; no outputs are kept."""
    made, kept = jupytext.read(script), nbformat.read(script.with_suffix(".ipynb"), 4)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ]
    assert not any(cell.get("outputs") for cell in kept.cells)
    assert kept.metadata.kernelspec.name == "python3"


def test_every_example_is_listed() -> None:
    assert set(SAID) == {path.stem for path in SCRIPTS} == {path.stem for path in EXAMPLES.glob("*.ipynb")}
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"({name}.py)" in listed for name in SAID)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example(script: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment | {"DISTGNN_EXAMPLES": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert SAID[script.stem] in done.stdout
    assert (tmp_path / script.stem).is_dir()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter, in this process
def test_progress_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress of the pre-training is one line that changes; that of comparisons is a few lines of plain text below the cell."""
    monkeypatch.setenv("DISTGNN_EXAMPLES", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    notebook = nbformat.read(EXAMPLES / "molecules.ipynb", 4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    lines = [output["data"]["text/plain"] for output in outputs if output.output_type == "display_data"]
    assert sum("step 60/60" in line for line in lines) == 1
    assert "report.html" in text
    assert text.count("\n") < 120
    assert not set(text) & {"\x1b", "\r", "\b"}
    assert any("text/html" in output.get("data", {}) for output in outputs)
