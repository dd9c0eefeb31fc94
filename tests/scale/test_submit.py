"""distgnn submit without a cluster: what travels, what is refused before it does, and how a job is followed."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.packaging import create_package
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from distgnn import cli
from distgnn.cli import main
from distgnn.commands import job as jobs_of
from distgnn.commands import submit
from distgnn.commands.job import PACKAGE, is_here, split_words
from distgnn.config import SubmitConfig
from distgnn.errors import RequestError, WorkError
from distgnn.scale import submit as scale
from distgnn.scale.submit import Jobs, connect, environment

ROOT = Path(__file__).resolve().parents[2]
GOOD = ["pretrain", "--corpus", "s3://b/c", "--out", "s3://b/runs"]


class FakeClient:
    """A cluster with one job. logs: what each look at its output gives; an exception breaks the connection."""

    def __init__(self, logs: list[list[Any]], status: JobStatus = JobStatus.SUCCEEDED, code: int | None = 0) -> None:
        self.logs, self.status, self.code = logs, status, code
        self.message: str | None = None
        self.submitted: dict[str, Any] = {}
        self.stopped: list[str] = []

    def submit_job(self, **request: Any) -> str:
        self.submitted = request
        return "job-1"

    async def tail_job_logs(self, _: str) -> AsyncIterator[str]:
        for piece in self.logs.pop(0):
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def get_job_info(self, _: str) -> Any:
        return self

    def get_job_status(self, _: str) -> JobStatus:
        return JobStatus.RUNNING if self.logs else self.status

    @property
    def driver_exit_code(self) -> int | None:
        return self.code

    def stop_job(self, name: str) -> bool:
        self.stopped.append(name)
        return True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """distgnn submit talks to it."""
    fake = FakeClient([["done\n"]])
    monkeypatch.setattr(scale, "connect", lambda _: Jobs(fake, "here"))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(scale, "_POLL_SECONDS", 0.0)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return fake


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["submit", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    return err


class TestWords:
    def test_options_come_first_then_the_command(self) -> None:
        own, job = split_words(["--address", "http://h:1", "--env", "A=1", "--no-wait", "--env=B", *GOOD, "--no-wait"])
        assert own == ["--address=http://h:1", "--no-wait", "--env", "A=1", "B"]
        assert job == [*GOOD, "--no-wait"]

    def test_both_spellings_and_a_value_like_a_command(self) -> None:
        assert split_words(["--working-dir", "pretrain", "bench"]) == (["--working-dir=pretrain"], ["bench"])
        assert split_words(["--working_dir=x", "--json"]) == (["--working_dir=x", "--json"], [])
        with pytest.raises(RequestError, match="--follow: a value is missing"):
            split_words(["--follow"])

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ("", "which command? for example: distgnn submit pretrain"),
            ("frobnicate --x 1", "'frobnicate' is neither a command of distgnn nor a script jobs/frobnicate.py"),
            ("pretrain --out s3://b", "--corpus"),
            ("pretrain --corpus s3://b --out s3://b --workers 99", "raise train.streams"),
            ("pretrain --corpus s3://b", "out=runs: the job runs in a copy of the working folder, which Ray deletes"),
            ("pretrain --resume runs/x", "run=runs/x: the job runs in a copy"),
            ("corpus build motifs --out data/x", "out=data/x: the job runs in a copy"),
            ("corpus build frobnicate", "unknown kind 'frobnicate'"),
            ("--follow a --stop b", "follow and stop are both given"),
            ("--follow a pretrain", "--follow and --stop take no command"),
            ("--working-dir /nowhere pretrain --corpus s3://b --out s3://b", "working_dir=/nowhere: not a folder"),
            ("--env 1=2 pretrain --corpus s3://b --out s3://b", "env: '1' is not a name"),
            ("--env DISTGNN_ABSENT pretrain --corpus s3://b --out s3://b", "env: DISTGNN_ABSENT is not set here"),
            ("--frobnicate pretrain", "--frobnicate"),
            (
                "--address 127.0.0.1:1 pretrain --corpus s3://b --out s3://b",
                "address=127.0.0.1:1: no Ray answers there",
            ),
        ],
    )
    def test_wrong_requests_are_one_line(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, says: str
    ) -> None:
        monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # submitting sets it; monkeypatch takes it back
        assert says in complaint(capsys, *words.split())

    def test_every_command_can_be_submitted(self, client: FakeClient, tmp_path: Path) -> None:
        for words in (GOOD, ["evaluate", "--model", "s3://m", "--corpus", "s3://c", "--out", "s3://o"], ["doctor"]):
            client.logs = [["x"]]
            assert main(["submit", *words]) == 0
            assert client.submitted["entrypoint"] == " ".join(["python", "-m", "distgnn.cli", *words])
        client.logs = [["x"]]
        assert main(["submit", "corpus", "build", "motifs", "--out", str(tmp_path / "a b")]) == 0
        assert client.submitted["entrypoint"].endswith(f"build motifs --out '{tmp_path}/a b'")

    def test_scripts_of_the_working_folder(self, client: FakeClient) -> None:
        assert main(["submit", "bench", "tasks", "--json"]) == 0
        assert client.submitted["entrypoint"] == "python jobs/bench.py tasks --json"

    def test_help_of_a_command_is_shown_here(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["submit", "pretrain", "--help"])
        assert stop.value.code == 0
        assert "--corpus" in capsys.readouterr().out


class TestWhatTravels:
    def test_the_checkout_without_what_git_ignores(self, tmp_path: Path) -> None:
        made = environment(ROOT, PACKAGE, {})
        assert "py_modules" not in made
        create_package(made["working_dir"], tmp_path / "p.zip", include_gitignore=True, excludes=made["excludes"])
        names = zipfile.ZipFile(tmp_path / "p.zip").namelist()
        assert {"distgnn/cli.py", "jobs/pretrain.py", "pyproject.toml"} <= set(names)
        unwanted = (".venv", ".git/", "build/", "runs/", ".cache", ".pytest_cache", ".ruff_cache")
        assert not [name for name in names if name.startswith(unwanted) or "__pycache__" in name]
        assert (tmp_path / "p.zip").stat().st_size < 4 << 20

    def test_distgnn_itself_beside_another_folder(self, tmp_path: Path) -> None:
        assert environment(tmp_path, PACKAGE, {})["py_modules"] == [str(PACKAGE)]
        alone = environment(None, PACKAGE, {})
        assert (alone["py_modules"], "working_dir" in alone) == ([str(PACKAGE)], False)

    def test_where_distgnn_is_installed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert jobs_of.working_dir(SubmitConfig()) == ROOT
        monkeypatch.setattr(jobs_of, "PACKAGE", tmp_path / "site-packages" / "distgnn")
        assert jobs_of.working_dir(SubmitConfig()) is None
        assert jobs_of.working_dir(SubmitConfig(working_dir=str(tmp_path))) == tmp_path

    def test_only_the_named_environment(
        self, client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-1")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
        assert main(["submit", "--env", "AWS_REGION", "--env", "X=a=b", *GOOD]) == 0
        made = client.submitted["runtime_env"]["env_vars"]
        assert made == {"AWS_REGION": "eu-1", "X": "a=b", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
        client.logs = [["x"]]
        assert main(["submit", "--env", "AWS_SECRET_ACCESS_KEY", *GOOD]) == 0
        out, err = capsys.readouterr()
        assert "note: Ray keeps AWS_SECRET_ACCESS_KEY in the job's record and in its logs" in err
        assert "hidden-value" not in out + err

    def test_notes_about_places(self, client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["pretrain", "--corpus", "/data/c", "--out", "/data/runs"]
        assert main(["submit", *words]) == 0
        assert "note" not in capsys.readouterr().err
        client.logs = [["x"]]
        assert main(["submit", "--address", "http://head:8265", *words]) == 0
        err = capsys.readouterr().err
        assert "corpus=/data/c is a path on the nodes of the cluster, not on this machine" in err
        assert "out=/data/runs is a path" in err
        client.logs = [["x"]]
        assert main(["submit", "pretrain", "--corpus", "data/c", "--out", "s3://b"]) == 0
        assert "corpus=data/c is looked for in the copy of the working folder" in capsys.readouterr().err

    def test_a_config_file_must_travel(
        self, client: FakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "run.json").write_text('{"corpus": "s3://b/c", "out": "s3://b/runs"}')
        monkeypatch.chdir(tmp_path / "sub")
        words = ["--working-dir", str(tmp_path), "pretrain", "--config"]
        assert "--config run.json: does not travel with the job" in complaint(capsys, *words, "run.json")
        monkeypatch.chdir(tmp_path)
        assert main(["submit", *words, "sub/run.json"]) == 0
        assert client.submitted["entrypoint"].endswith("pretrain --config sub/run.json")
        capsys.readouterr()
        there = str(tmp_path / "sub" / "run.json")
        assert "does not travel" in complaint(capsys, "--address", "http://head:1", *words, there)

    @pytest.mark.parametrize(
        ("address", "here"),
        [
            ("", True),
            ("http://localhost:8265", True),
            ("127.0.0.1:6379", True),
            ("auto", True),
            ("http://h:1", False),
            ("h:6379", False),
        ],
    )
    def test_is_here(self, monkeypatch: pytest.MonkeyPatch, address: str, here: bool) -> None:
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            monkeypatch.delenv(name, raising=False)
        assert is_here(address) == here
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert is_here("") == here


class TestFollowing:
    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (JobStatus.SUCCEEDED, 0, 0),
            (JobStatus.FAILED, 2, 2),
            (JobStatus.FAILED, -9, 137),
            (JobStatus.STOPPED, None, 130),
        ],
    )
    def test_the_exit_code_is_the_jobs(
        self, client: FakeClient, status: JobStatus, code: int | None, expected: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client.status, client.code = status, code
        assert main(["submit", "--json", *GOOD]) == expected
        out = capsys.readouterr().out.splitlines()
        assert out[0] == "done"
        assert json.loads(out[1])["exit_code"] == expected

    def test_a_job_that_could_not_start_says_why(self, client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
        client.status, client.code, client.message = JobStatus.FAILED, None, "no\nspace"
        assert main(["submit", *GOOD]) == 1
        assert "job job-1 could not be run: no space" in capsys.readouterr().err

    def test_a_broken_connection_is_mended_and_nothing_is_shown_twice(
        self, client: FakeClient, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client.logs = [
            ["one\ntw", OSError("reset")],
            [RuntimeError("closed")],
            ["one\n", "two\nthr"],
            ["one\ntwo\nthree\n"],
        ]
        assert main(["submit", "--follow", "job-1"]) == 0
        assert capsys.readouterr().out == "one\ntwo\nthree\njob job-1 succeeded\n"

    def test_patience_ends(self, client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scale, "_PATIENCE_SECONDS", 0.0)
        client.logs = [[OSError("gone")], ["x"]]
        with pytest.raises(WorkError, match=r"job job-1: here does not answer \(gone\); it may go on; look again with"):
            Jobs(client, "here").follow("job-1")  # pyright: ignore[reportArgumentType]

    def test_ctrl_c_leaves_the_job_running(self, client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
        client.logs = [["one\n", KeyboardInterrupt()]]
        assert main(["submit", *GOOD]) == 130
        err = capsys.readouterr().err
        assert "distgnn submit --follow job-1" in err
        assert "distgnn submit --stop job-1" in err
        assert client.stopped == []

    def test_no_wait_and_stop(self, client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["submit", "--no-wait", *GOOD]) == 0
        assert capsys.readouterr().out == "job-1\n"
        assert main(["submit", "--stop", "job-1"]) == 0
        assert client.stopped == ["job-1"]


class TestConnecting:
    @pytest.fixture(autouse=True)
    def _no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (
                AuthenticationError("Authentication required: x"),
                "asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN",
            ),
            (AuthenticationError("Authentication failed: x"), "refuses the token; set"),
            (
                RuntimeError("The Ray jobs CLI & SDK require the ray[default] installation"),
                r"pip install 'ray\[default\]'",
            ),
            (ConnectionError("Failed to connect"), "no Ray dashboard answers .Failed to connect.; give --address"),
        ],
    )
    def test_what_goes_wrong_is_one_line(self, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
        def refuse() -> None:
            raise error

        monkeypatch.setattr(scale, "JobSubmissionClient", refuse)
        with pytest.raises(RequestError, match=says):
            connect("")

    def test_an_unknown_job(self) -> None:
        class Unknown(FakeClient):
            def get_job_info(self, name: str) -> Any:
                raise RuntimeError(f"Request failed with status code 404: Job {name} does not exist.")

        with pytest.raises(RequestError, match=r"Job x does not exist.* give the id"):
            Jobs(Unknown([]), "here").follow("x")  # pyright: ignore[reportArgumentType]

    def test_the_given_address_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:1")
        monkeypatch.setattr(scale, "check_address", lambda address, _: seen.append(address))
        monkeypatch.setattr(scale, "JobSubmissionClient", lambda: None)
        seen: list[str] = []
        assert connect("http://here:1").where == "http://here:1"
        assert seen == ["http://here:1"]

    def test_a_token_turns_token_mode_on(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        modes: list[str | None] = []
        monkeypatch.setenv("HOME", str(tmp_path))
        for name, value in (("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "x"), ("OTHER", "x")):
            for gone in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
                monkeypatch.delenv(gone, raising=False)
            monkeypatch.setenv(name, value)
            submit._use_token()
            modes.append(os.environ.get("RAY_AUTH_MODE"))
        assert modes == ["token", "token", None]
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("x")
        submit._use_token()
        modes.append(os.environ.get("RAY_AUTH_MODE"))
        assert modes[-1] == "token"
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        submit._use_token()
        modes.append(os.environ.get("RAY_AUTH_MODE"))
        assert modes[-1] == "disabled"


def test_the_overview_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "distgnn submit COMMAND" in capsys.readouterr().out
    assert cli.main(["frobnicate"]) == 2
    assert "submit" in capsys.readouterr().err
