"""The commands that are killed: small, with many writes, each in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import distgnn
from distgnn.checkpoint.push_pull import push
from distgnn.storage.folder import open_folder

Words = tuple[str, ...]
_ENCODER = ("--encoder.layers", "1", "--encoder.width", "8")
_TRAIN = (
    *("--train.max-steps", "6", "--train.graphs-per-stream", "4", "--train.streams", "2", "--train.log-seconds", "0"),
    *("--train.checkpoint-every", "2", "--train.checkpoint-minutes", "0", "--train.validate-every", "3"),
    *("--train.keep", "2", "--train.device", "cpu"),
)


@dataclass(frozen=True)
class Scene:
    """A command and the folder that it writes to.

    Attributes:
        name: Its name in the table.
        place: The folder of its outputs, which is judged.
        words: The command line.
        share: Share of the kills.
        before: A command line that is run first, undisturbed.
        resumed: Path of a run below ``place`` that is resumed once it has a config.
        pairs: Whether two of them are started at once, too.
        complete: What the command says if it is run again when all is done; "" if it just succeeds.
    """

    name: str
    place: str
    words: Words
    share: int = 1
    before: Words = ()
    resumed: str = ""
    pairs: bool = False
    complete: str = ""

    def next_words(self) -> Words:
        """Return the command line to run now: the same again, or the one that resumes."""
        run = open_folder(self.place).sub(self.resumed) if self.resumed else None
        if run is not None and run.size("config.json") is not None:
            return "pretrain", "--resume", run.uri
        return self.words

    def clear(self) -> None:
        """Delete the folder of outputs."""
        folder = open_folder(self.place)
        for name in folder.files():
            folder.delete(name)
        for path in sorted(Path(folder.path).rglob("*"), reverse=True) if folder.local else ():
            path.rmdir()


def build_given(work: Path, bucket: str) -> None:
    """Build what the commands read: a corpus, a run, and a checkpoint at both kinds of places."""
    corpus = work / "corpus"
    distgnn.build_corpus("motifs", graphs=60, out=corpus, unit_rows=16, shard_rows=32)
    train = {"graphs_per_stream": 4, "streams": 2, "checkpoint_every": 2, "log_seconds": 0, "max_steps": 4}
    run = distgnn.pretrain(corpus=corpus, out=work, name="run", encoder={"layers": 1, "width": 8}, train=train)
    push(run.checkpoint, str(work / "checkpoint"))
    push(run.checkpoint, f"{bucket}/given/checkpoint")


def scenes(work: Path, bucket: str) -> list[Scene]:
    """Return all scenes; ``work`` holds what :func:`build_given` built, with a folder for each scene."""
    corpus, checkpoint, remote = str(work / "corpus"), str(work / "checkpoint"), f"{bucket}/given/checkpoint"

    def local(name: str) -> str:
        return str(work / "scenes" / name)

    def build(place: str, *more: str) -> Words:
        sizes = ("--graphs", "160", "--unit-rows", "8", "--shard-rows", "16")
        return ("corpus", "build", "motifs", *sizes, "--out", f"{place}/corpus", *more)

    def pretrain(place: str, *more: str) -> Words:
        return ("pretrain", "--corpus", corpus, "--out", place, "--name", "run", *_ENCODER, *_TRAIN, *more)

    def tuned(place: str) -> Words:
        few = ("--seeds", "2", "--epochs", "2", "--device", "cpu", "--save-models")
        return ("finetune", "--corpus", corpus, "--checkpoint", checkpoint, "--out", f"{place}/out", *few)

    def joint(place: str) -> Words:
        few = ("--seeds", "1", "--epochs", "2", "--device", "cpu", "--methods", "none", "auxts_one", "--batch", "24")
        tasks = ("--corpus.auxiliary", "edgepred", "--schemes", "scratch", "pretrained", "--pretrain-epochs", "1")
        encoder = ("--corpus.encoder.layers", "1", "--corpus.encoder.width", "8")
        return ("transfer", "--data", corpus, "--out", f"{place}/out", *few, *tasks, *encoder)

    old = (
        "corpus",
        "build",
        "motifs",
        "--graphs",
        "90",
        "--unit-rows",
        "8",
        "--shard-rows",
        "16",
        "--seed",
        "3",
        "--out",
    )
    exists, s3 = "a corpus already exists", f"{bucket}/scenes"
    return [
        Scene("corpus build", local("build"), build(local("build")), 6, pairs=True, complete=exists),
        Scene(
            "corpus build --overwrite", local("again"), build(local("again"), "--overwrite"), 5,
            (*old, f"{local('again')}/corpus"),
        ),
        Scene("corpus build to S3", f"{s3}/build", build(f"{s3}/build"), 2, pairs=True, complete=exists),
        Scene("pretrain", local("pretrain"), pretrain(local("pretrain")), 5, resumed="run", pairs=True),
        Scene("pretrain --init", local("init"), pretrain(local("init"), "--init", checkpoint), 2, resumed="run"),
        Scene("pretrain to S3", f"{s3}/pretrain", pretrain(f"{s3}/pretrain"), 1, resumed="run", pairs=True),
        Scene("finetune", local("finetune"), tuned(local("finetune")), 4, pairs=True),
        Scene("transfer", local("transfer"), joint(local("transfer")), 2, pairs=True),
        Scene("push", local("push"), ("push", str(work / "run"), f"{local('push')}/copy"), 4, pairs=True),
        Scene("push to S3", f"{s3}/push", ("push", str(work / "run"), f"{s3}/push/copy"), 2, pairs=True),
        Scene("pull from S3", local("pull"), ("pull", remote, f"{local('pull')}/copy"), 3, pairs=True),
        Scene("pull to the cache", local("cache"), ("pull", remote), 3, pairs=True),
    ]  # fmt: skip
