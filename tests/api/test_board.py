"""The page that follows runs: what it says, what it refuses, and how it changes in a browser while a run goes on."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import distgnn as dg
from distgnn.api.board import serve_board
from distgnn.cli import main
from distgnn.report import board
from distgnn.report.board import Board
from distgnn.storage.folder import open_folder
from tests.helpers.browser import needs_chromium, opened, opened_with_axe
from tests.helpers.sweeps import planted, view
from tests.helpers.sweeps import write as write_sweep
from tests.helpers.training import start_command

NASTY = "<img src=x onerror=console.error(1)>"


def progress(folder: Path, step: int, status: str = "running", **more: Any) -> None:
    """Write what a run has written at a step: progress.json and a row of its history for each step."""
    (folder / "history").mkdir(parents=True, exist_ok=True)
    rows = [{"step": number, "loss": 1 / number, "adaptation_gain": number / 8} for number in range(1, step + 1)]
    (folder / "history" / f"{0:09d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shot: dict[str, Any] = {
        "run": folder.name,
        "status": status,
        "step": step,
        "total": 40,
        "metrics": {"loss": 1 / step, "adaptation_gain": step / 8, "graphs_per_s": 1234.4},
        "validation": {"loss": 2 / step},
        "seconds_left": 100.0 - step,
        "updated": time.time(),
    }
    (folder / "progress.json").write_text(json.dumps(shot | more))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_sweep(tmp_path_factory.mktemp("board") / "sweep", view(planted()))


@pytest.fixture
def runs(tmp_path: Path, sweep: str) -> Path:
    place = tmp_path / "runs"
    progress(place / "going", 4)
    progress(place / "over", 40, "finished")
    progress(place / NASTY, 2, "failed", error=NASTY)
    shutil.copytree(sweep, place / "sweep")
    (place / "broken").mkdir()
    (place / "broken" / "progress.json").write_text("{")
    (place / "unrelated").mkdir()
    return place


def get(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    link = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=20)
    link.request(method, path, headers=headers)
    answer = link.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    link.close()
    return found


@pytest.fixture
def url(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(board, "_FRESH_SECONDS", 0.0)
    with serve_board(str(runs)) as found:
        yield found


def test_state(runs: Path) -> None:
    state = Board(open_folder(str(runs))).state()
    rows = {row["name"]: row for row in state["rows"]}
    assert set(rows) == {"going", "over", NASTY, "sweep", "broken"}
    assert rows["going"] | {"age": 0, "updated": 0} == {
        "name": "going",
        "kind": "run",
        "status": "running",
        "step": 4,
        "total": 40,
        "loss": 0.25,
        "validation loss": 0.5,
        "gain": 0.5,
        "graphs/s": 1234.4,
        "left": 96.0,
        "age": 0,
        "updated": 0,
    }
    assert rows["over"]["status"] == "finished"
    assert rows["over"]["left"] is None
    assert rows["broken"]["status"] == "damaged"
    assert "best roc_auc" in rows["sweep"]["status"]
    assert [chart["title"] for chart in state["charts"]] == ["Loss", "Gain of adaptation"]
    points = [row for row in state["charts"][0]["spec"]["data"]["values"] if row["line"] == "going"]
    assert points == [{"x": step, "y": 1 / step, "line": "going"} for step in range(1, 5)]


def test_one_run_and_an_empty_folder(runs: Path, tmp_path: Path) -> None:
    assert [row["name"] for row in Board(open_folder(str(runs / "over"))).state()["rows"]] == ["over"]
    assert Board(open_folder(str(tmp_path / "none"))).state()["rows"] == []


def test_a_page_of_runs_on_s3(s3: Any) -> None:
    folder = open_folder(f"{s3}/board")
    shot = {
        "run": "a",
        "status": "running",
        "step": 3,
        "total": 9,
        "metrics": {},
        "validation": {},
        "seconds_left": 1.0,
    }
    folder.write("a/progress.json", json.dumps(shot).encode())
    (row,) = Board(folder).state()["rows"]
    assert (row["name"], row["step"]) == ("a", 3)


def test_the_answer_follows_the_files(runs: Path, url: str) -> None:
    def steps() -> dict[str, Any]:
        return {row["name"]: row.get("step") for row in json.loads(get(url, "/state.json")[2])["rows"]}

    assert steps()["going"] == 4
    progress(runs / "going", 9)
    progress(runs / "new", 1)
    assert steps()["going"] == 9
    assert steps()["new"] == 1
    (runs / "going" / "history" / f"{0:09d}.jsonl").write_text("[")
    progress_file = runs / "going" / "progress.json"
    progress_file.write_text(progress_file.read_text().replace('"step": 9', '"step": 10'))
    assert steps()["going"] == 10


def test_readers_share_one_state(runs: Path) -> None:
    shared = Board(open_folder(str(runs)))
    assert shared.state() is shared.state()


def test_what_is_answered(url: str) -> None:
    for path, media in [
        ("/", "text/html; charset=utf-8"),
        ("/board.js", "text/javascript; charset=utf-8"),
        ("/board.css", "text/css; charset=utf-8"),
        ("/vega.min.js", "text/javascript; charset=utf-8"),
        ("/state.json", "application/json"),
    ]:
        status, headers, body = get(url, path)
        assert (status, headers["Content-Type"]) == (200, media)
        assert len(body) == int(headers["Content-Length"]) > 100
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/progress.json", "/../pyproject.toml", "/runs/going/progress.json", "/page.html"])
def test_no_other_path_is_answered(url: str, path: str) -> None:
    assert get(url, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_only_get_is_answered(url: str, method: str) -> None:
    status, headers, _ = get(url, "/state.json", method)
    assert status in (405, 501)
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("", 403),
        ("[", 403),
        ("127.0.0.1", 200),
        ("LOCALHOST:99", 200),
        ("[::1]:80", 200),
    ],
)
def test_the_host_header_is_checked(url: str, host: str, status: int) -> None:
    """A site that points its own name at this machine is refused."""
    assert get(url, "/state.json", Host=host)[0] == status


def test_it_listens_on_this_machine_only(url: str) -> None:
    assert url.startswith("http://127.0.0.1:")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(dg.RequestError, match="cannot serve at"), serve_board("runs", port=taken.getsockname()[1]):
            pass


def test_a_wrong_address_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", str(tmp_path), "--host", "no such host"]) == 2
    assert main(["board", str(tmp_path), "--port", "70000"]) == 2
    assert main(["board", "ftp://x"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_command_runs_until_it_is_interrupted(runs: Path) -> None:
    process = start_command("board", str(runs), "--port", "0", "--json")
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    assert get(url, "/")[0] == 200
    process.send_signal(2)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


@needs_chromium
def test_a_browser_shows_how_a_run_goes_on(
    runs: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is that of step 4; the run goes on after it, and the page follows without being loaded again."""
    asked, state, lock = list[int](), Board.state, threading.Lock()

    def counted(self: Board) -> dict[str, Any]:
        with lock:
            found = state(self)
            asked.append(next(row["step"] for row in found["rows"] if row["name"] == "going"))
            progress(runs / "going", 4 + 3 * len(asked))
            return found

    monkeypatch.setattr(Board, "state", counted)
    dom = opened(url, tmp_path / "profile")
    assert asked[0] == 4
    assert len(asked) > 2
    last = asked[-1]
    assert last > 4
    table = dom[dom.index("<tbody>") : dom.index("</tbody>")]
    going = next(row for row in table.split("</tr>") if ">going<" in row)
    assert any(f">{step} of 40<" in going for step in asked[-2:])
    assert ">1,234<" in going
    assert ">running<" in going
    assert "&lt;img src=x onerror" in table
    assert "<img" not in table
    assert dom.count("<canvas") == 2
    style = f"<style>{get(url, '/board.css')[2].decode()}</style>"
    still = re.sub("<link[^>]*css[^>]*>", style, re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL))
    assert opened_with_axe(still, tmp_path)[1] == {}
