"""Pre-training in the current process, without Ray."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from distgnn.corpus.stream import threaded_units
from distgnn.distributed import ProcessGroup, choose_device
from distgnn.errors import RequestError, WorkError, explain
from distgnn.monitor.prometheus import serve_metrics
from distgnn.pretraining.console import Display, Screen
from distgnn.pretraining.history import Snapshot, write_failure
from distgnn.pretraining.loop import Hooks, Status, train
from distgnn.pretraining.metrics import SnapshotMetrics, log_run
from distgnn.pretraining.run import Start


@contextmanager
def stop_signals(display: Screen) -> Iterator[threading.Event]:
    """Context manager that yields an event set by SIGINT (Ctrl-C) or SIGTERM. A second signal interrupts immediately.

    The previous signal handlers are restored on exit.
    """
    stopping = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        stopping.set()
        signal.signal(number, signal.default_int_handler)
        display.say("stopping after this step, with a checkpoint (Ctrl-C again: at once, without one)")

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def pretrain_here(start: Start) -> Status:
    """Train a run in this process until it is finished or stopped by a signal. Failures are recorded in the run folder."""
    run = start.run
    with (
        serve_metrics(run.config.metrics, run.name) as sink,
        log_run(run) as logs,
        Display() as display,
        stop_signals(display) as stopping,
    ):
        gauges = SnapshotMetrics(sink)

        def show(snapshot: Snapshot) -> None:
            display.show(snapshot)
            gauges(snapshot)
            logs(snapshot)

        try:
            group = ProcessGroup.single_process(choose_device(run.config.train.device))
            hooks = Hooks(threaded_units, stopping.is_set, show, sink)
            logs.group.status = train(run, start.reader, group, hooks, start.state)
            return logs.group.status
        except (RequestError, WorkError) as error:
            write_failure(run.folder, run.name, error)
            raise
        except (MemoryError, RuntimeError, OSError) as error:
            line = explain(error)
            if line is None:
                raise
            failure = WorkError(line)
            write_failure(run.folder, run.name, failure)
            raise failure from error
