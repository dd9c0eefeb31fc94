"""distgnn submit without a cluster: uploaded files, refused requests, and following a job."""

from __future__ import annotations

import json
import os
import sys
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
from distgnn.commands import submit
from distgnn.commands.submit import PACKAGE, runtime_env, split_argv
from distgnn.commands.upload import upload_of
from distgnn.config import SubmitConfig
from distgnn.errors import RequestError, WorkError
from distgnn.scale import submit as scale

ROOT = Path(__file__).resolve().parents[2]
GOOD = ["pretrain", "--corpus", "s3://b/c", "--out", "s3://b/runs"]


class FakeClient:
    """A cluster with one job. logs: what each connection to its log gives; an exception breaks the connection."""

    def __init__(self, logs: list[list[Any]], status: JobStatus = JobStatus.SUCCEEDED, code: int | None = 0) -> None:
        self.logs, self.status, self.code = logs, status, code
        self.message: str | None = None
        self.submitted: dict[str, Any] = {}

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


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The cluster that distgnn submit connects to."""
    fake = FakeClient([["done\n"]])
    monkeypatch.setattr(scale, "connect", lambda _: fake)
    monkeypatch.setattr(scale, "_POLL_SECONDS", 0.0)
    return fake


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["submit", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    return err


class TestWords:
    def test_options_come_first_then_the_command(self) -> None:
        own, job = split_argv(["--address", "http://h:1", "--env", "A=1", "--no-wait", "--env=B", *GOOD, "--no-wait"])
        assert own == ["--address=http://h:1", "--no-wait", "--env", "A=1", "B"]
        assert job == [*GOOD, "--no-wait"]
        assert split_argv(["--reserve", "a=1", "--reserve=b=2", "doctor"])[0] == ["--reserve", "a=1", "b=2"]

    def test_both_spellings_and_a_value_like_a_command(self) -> None:
        assert split_argv(["--working-dir", "pretrain", "doctor"]) == (["--working-dir=pretrain"], ["doctor"])
        assert split_argv(["--working_dir=x", "--json", "--", "ls"]) == (["--working_dir=x", "--json"], ["--", "ls"])
        with pytest.raises(RequestError, match="--address: a value is missing"):
            split_argv(["--address"])

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ("", "which command? for example: distgnn submit pretrain"),
            ("--", "which command?"),
            ("frobnicate --x 1", "'frobnicate' is not a command of distgnn; put -- before any other command"),
            ("pretrain --out s3://b", "--corpus"),
            ("-- pretrain --out s3://b", "--corpus"),
            ("pretrain --corpus s3://b --out s3://b --workers 99", "raise train.streams"),
            ("pretrain --corpus s3://b", "out=runs: the job runs in a copy of the working folder, which Ray deletes"),
            ("pretrain --resume runs/x", "run=runs/x: the job runs in a copy"),
            ("corpus build motifs --out data/x", "out=data/x: the job runs in a copy"),
            ("corpus build frobnicate", "kind='frobnicate' is unknown"),
            ("--working-dir /nowhere pretrain --corpus s3://b --out s3://b", "working_dir=/nowhere: not a folder"),
            ("--working-dir / pretrain --corpus s3://b --out s3://b", "working_dir=/: is or contains your home folder"),
            ("--env 1=2 pretrain --corpus s3://b --out s3://b", "env: '1' is not a name"),
            ("--reserve driver pretrain --corpus s3://b --out s3://b", "reserve: 'driver' is not NAME=AMOUNT"),
            ("--env DISTGNN_ABSENT pretrain --corpus s3://b --out s3://b", "env: DISTGNN_ABSENT is not set here"),
            ("--frobnicate pretrain", "--frobnicate"),
            ("--address 127.0.0.1:1 doctor", "address=127.0.0.1:1: no Ray answers there"),
        ],
    )
    def test_wrong_requests_are_one_line(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, says: str
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # submitting sets it; monkeypatch restores it
        assert says in complaint(capsys, *words.split())

    def test_every_command_can_be_submitted(self, client: FakeClient, tmp_path: Path) -> None:
        evaluate = ["evaluate", "--model", "s3://m", "--corpus", "s3://c", "--out", "s3://o"]
        build = ["corpus", "build", "motifs", "--out", f"{tmp_path}/x"]
        tune = [
            "tune",
            "--space",
            "adaptation",
            "--pretrain.corpus",
            "s3://c",
            "--finetune.corpus",
            "s3://d",
            "--out",
            "s3://o",
        ]
        for words in (GOOD, evaluate, build, tune, ["doctor"]):
            client.logs = [["x"]]
            assert main(["submit", *words]) == 0
            assert client.submitted["entrypoint"] == " ".join(["python", "-m", "distgnn.cli", *words])
        client.logs = [["x"]]
        assert main(["submit", "--", *GOOD]) == 0
        assert client.submitted["entrypoint"].startswith("python -m distgnn.cli pretrain")

    def test_other_commands_follow_two_dashes(self, client: FakeClient) -> None:
        assert main(["submit", "--", "python", "jobs/bench.py", "--config", "a b"]) == 0
        assert client.submitted["entrypoint"] == "python jobs/bench.py --config 'a b'"

    def test_help_of_a_command_is_shown_here(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["submit", "pretrain", "--help"])
        assert stop.value.code == 0
        assert "--corpus" in capsys.readouterr().out


CODE = ("mine.py", "sub/other.py", "idle.py", "environment.txt")
SECRET = (
    ".env", ".env.local", "prod.env", ".netrc", "server.pem", "tls.key", "sub/id_rsa", "credentials.json", ".pypirc",
    ".npmrc", ".git-credentials", "my-service-account.json", "kubeconfig.yaml", "x.tfstate", "ID_ED25519", "sub/Server.PEM",
)  # fmt: skip
SECRET_FOLDERS = (".aws/config", ".ssh/known_hosts", ".ray/auth_token", ".kube/config", ".docker/config.json")
SECRET_TEXT = {
    "gcp.json": '{"type": "service_account", "project_id": "p"}',
    "sub/deploy": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA",
    "aws.ini": "[default]\naws_secret_access_key = x",
}
BULK = (".git/HEAD", ".venv/bin/python", "sub/__pycache__/other.pyc", "x.egg-info/PKG-INFO", "data/big")


def filled(folder: Path) -> Path:
    """A working folder with code, secrets, and what is never needed."""
    for name in (*CODE, *SECRET, *SECRET_FOLDERS, *BULK):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    for name, text in SECRET_TEXT.items():
        (folder / name).write_text(text)
    (folder / "link.txt").symlink_to(folder / ".aws" / "config")
    (folder / "code.py").symlink_to("mine.py")
    (folder / ".gitignore").write_text("data/\n!.env\n")
    (folder / "sub" / ".rayignore").write_text("*.bin\n")
    (folder / "sub" / "x.bin").write_text("x")
    return folder


class TestUpload:
    def test_code_is_uploaded_without_secrets_and_what_git_ignores(self, tmp_path: Path) -> None:
        made = runtime_env(filled(tmp_path / "wd"), {})
        create_package(made["working_dir"], tmp_path / "p.zip", include_gitignore=True, excludes=made["excludes"])
        packed = zipfile.ZipFile(tmp_path / "p.zip").infolist()
        found = {item.filename: item.file_size for item in packed if not item.is_dir()}
        assert sorted(found) == sorted([".gitignore", "sub/.rayignore", "code.py", *CODE])
        assert dict(upload_of(tmp_path / "wd").files) == found  # what is listed is what travels

    def test_excluded_secrets_are_listed(
        self, client: FakeClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = filled(tmp_path / "wd")
        folders = [".aws", ".ssh", ".ray", ".kube", ".docker"]
        assert upload_of(folder).secrets == sorted([*SECRET, *folders, *SECRET_TEXT, "link.txt"])
        assert main(["submit", "--working-dir", str(folder), *GOOD]) == 0
        assert "left out of the upload: .aws, .docker, .env" in capsys.readouterr().err
        assert client.submitted["runtime_env"]["working_dir"] == str(folder)

    def test_a_dry_run_lists_the_upload(
        self, client: FakeClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "mine.py").write_text("import os\n")
        (tmp_path / ".env").write_text("SECRET=1")
        words = ["submit", "--working-dir", str(tmp_path), "--dry-run"]
        assert main([*words, "--json", *GOOD]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["files"]["mine.py"] == 10
        assert shown["files"]["distgnn/__init__.py"] > 0
        assert (shown["left_out"], client.submitted) == ([".env"], {})
        assert main([*words, *GOOD]) == 0
        out = capsys.readouterr().out.splitlines()
        assert out[0].split() == ["10", "mine.py"]
        assert "left out  .env" in "\n".join(out)
        assert len(out) == 4
        assert "the package distgnn (" in out[1]
        assert out[-1].endswith(f"bytes in {len(shown['files'])} files; nothing was uploaded")

    def test_a_home_folder_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "me"))
        (tmp_path / "me" / "code").mkdir(parents=True)
        for folder in (tmp_path, tmp_path / "me"):
            with pytest.raises(RequestError, match="is or contains your home folder"):
                submit.working_dir(SubmitConfig(working_dir=str(folder)))
        assert submit.working_dir(SubmitConfig(working_dir="~/code")) == tmp_path / "me" / "code"

    def test_distgnn_is_uploaded_with_another_folder(self, tmp_path: Path) -> None:
        assert runtime_env(tmp_path, {})["py_modules"] == [str(PACKAGE)]
        alone = runtime_env(None, {})
        assert (alone["py_modules"], "working_dir" in alone) == ([str(PACKAGE)], False)
        (tmp_path / "distgnn").mkdir()
        (tmp_path / "distgnn" / "__init__.py").write_text("")
        assert "py_modules" not in runtime_env(tmp_path, {})

    def test_an_installed_distgnn(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert submit.working_dir(SubmitConfig()) == ROOT
        monkeypatch.setattr(submit, "PACKAGE", tmp_path / "site-packages" / "distgnn")
        assert submit.working_dir(SubmitConfig()) is None

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
        assert "Ray stores AWS_SECRET_ACCESS_KEY with the job and in its logs" in err
        assert "hidden-value" not in out + err

    def test_the_driver_reserves_what_is_asked_for(self, client: FakeClient) -> None:
        assert main(["submit", *GOOD]) == 0
        assert client.submitted["entrypoint_resources"] is None
        client.logs = [["x"]]
        assert main(["submit", "--reserve", "driver=1", *GOOD]) == 0
        assert client.submitted["entrypoint_resources"] == {"driver": 1.0}

    def test_modules_of_the_current_folder_must_be_uploaded(
        self, client: FakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "module_of_a_job.py").write_text("")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [*sys.path])
        words = [*GOOD, "--imports", "module_of_a_job"]
        wanted = f"--imports module_of_a_job: {tmp_path}/module_of_a_job.py is not uploaded; give submit --working-dir {tmp_path}"
        assert wanted in complaint(capsys, *words)
        assert client.submitted == {}
        assert main(["submit", "--working-dir", ".", *words]) == 0
        assert client.submitted["runtime_env"]["working_dir"] == str(tmp_path)
        sys.modules.pop("module_of_a_job")

    def test_a_config_file_must_be_uploaded(
        self, client: FakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "run.json").write_text('{"corpus": "s3://b/c", "out": "s3://b/runs"}')
        monkeypatch.chdir(tmp_path / "sub")
        words = ["--working-dir", str(tmp_path), "pretrain", "--config"]
        for name in ("run.json", str(tmp_path / "sub" / "run.json")):
            assert f"--config {name}: is not uploaded" in complaint(capsys, *words, name)
        monkeypatch.chdir(tmp_path)
        assert main(["submit", *words, "sub/run.json"]) == 0
        assert client.submitted["entrypoint"].endswith("pretrain --config sub/run.json")


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
    def test_the_exit_code_is_that_of_the_job(
        self, client: FakeClient, status: JobStatus, code: int | None, expected: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client.status, client.code = status, code
        assert main(["submit", "--json", *GOOD]) == expected
        out = capsys.readouterr().out.splitlines()
        assert out[0] == "done"
        assert json.loads(out[1])["exit_code"] == expected

    def test_a_job_that_could_not_start_reports_the_reason(
        self, client: FakeClient, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client.status, client.code, client.message = JobStatus.FAILED, None, "no\nspace"
        assert main(["submit", *GOOD]) == 1
        assert "job job-1 could not be run: no space" in capsys.readouterr().err

    def test_a_lost_connection_is_restored_and_nothing_is_shown_twice(
        self, client: FakeClient, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = [["one\ntw", OSError("reset")], [RuntimeError("closed")]]
        client.logs = [*broken, ["one\n", "two\nthr"], ["one\ntwo\nthree\n"]]
        assert main(["submit", *GOOD]) == 0
        assert capsys.readouterr().out == "one\ntwo\nthree\njob job-1 succeeded\n"

    def test_an_unreachable_cluster_is_an_error(self, client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scale, "_TIMEOUT_SECONDS", 0.0)
        client.logs = [[OSError("gone")], ["x"]]
        with pytest.raises(WorkError, match=r"job job-1: the cluster does not answer \(gone\); it may still run"):
            scale.follow(client, "job-1")  # pyright: ignore[reportArgumentType]

    def test_ctrl_c_leaves_the_job_running(self, client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
        client.logs = [["one\n", KeyboardInterrupt()]]
        assert main(["submit", *GOOD]) == 130
        assert "ray job stop job-1 ends it" in capsys.readouterr().err

    def test_no_wait(self, client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["submit", "--no-wait", *GOOD]) == 0
        assert capsys.readouterr().out == "job-1\n"
        assert client.logs == [["done\n"]]


class TestConnecting:
    @pytest.fixture(autouse=True)
    def _no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (AuthenticationError("Authentication required: x"), "requires a token; set RAY_AUTH_MODE=token"),
            (AuthenticationError("Authentication failed: x"), "rejects the token; set"),
            (RuntimeError("The Ray jobs CLI & SDK require the ray[default] installation"), r"install 'ray\[default\]'"),
            (ConnectionError("Failed to connect"), "no Ray dashboard answers .Failed to connect.; give --address"),
        ],
    )
    def test_errors_are_one_line(self, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
        def refuse() -> None:
            raise error

        monkeypatch.setattr(scale, "JobSubmissionClient", refuse)
        with pytest.raises(RequestError, match=says):
            scale.connect("")

    def test_the_given_address_takes_precedence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:1")
        monkeypatch.setattr(scale, "check_address", lambda address, _: seen.append(address))
        monkeypatch.setattr(scale, "JobSubmissionClient", lambda: os.environ["RAY_API_SERVER_ADDRESS"])
        seen: list[str] = []
        assert scale.connect("http://here:1") == "http://here:1"
        assert seen == ["http://here:1"]


def test_the_overview_lists_submit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "distgnn submit COMMAND" in capsys.readouterr().out
    assert cli.main(["frobnicate"]) == 2
    assert "submit" in capsys.readouterr().err
