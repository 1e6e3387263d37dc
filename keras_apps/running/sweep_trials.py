"""Trials of a sweep: an Optuna study that lasts, and a process of `keras_apps.train` for each.

The folder of a sweep holds, beside what it reports,

    sweep.json      what is varied and how; another sweep is refused
    trials.log      the study, for Optuna and its dashboard
    trials/0000/    the workdir of a trial, with its report; and output.txt, what it printed
"""

from __future__ import annotations

import json
import math
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keras_apps import requirements
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.sweep import Point, Sweep, Varied, assignments
from keras_apps.running import configurations
from keras_apps.running.configurations import Loaded
from keras_apps.running.processes import environment_of
from keras_apps.running.progress import Display
from keras_apps.running.stopping import INTERRUPTED, Interruption
from keras_apps.running.workdir import WorkdirError, differences, read_object, replace_text
from tf_gradvar.records import RecordFile

OUTPUT = "output.txt"
PAUSE = 0.1  # seconds from one look at a process to the next


class Trial(NamedTuple):
    """A finished trial.

    Attributes:
        number: Its folder in `trials/`.
        point: What was set.
        experiment: The configuration with it.
        records: What its runs measured.
    """

    number: str
    point: Point
    experiment: Experiment
    records: list[dict[str, Any]]


class StoppedError(Exception):
    """A trial was stopped on request, and goes on with the same command."""


class Trials:
    """The trials of a sweep in a folder.

    Args:
        sweep: What is varied.
        loaded: The configuration.
        folder: The workdir of the sweep.
        value_of: Finished trial -> the value by which it is compared.

    Raises:
        WorkdirError: The folder holds another sweep.
        ImportError: Optuna is not installed.
    """

    def __init__(
        self, sweep: Sweep, loaded: Loaded, folder: Path, value_of: Callable[[Trial], float]
    ):
        self._sweep, self._loaded, self._folder = sweep, loaded, folder
        self._value_of = value_of
        self._check_same()
        self._optuna = requirements.imported("optuna", "optuna", "`keras_apps.sweep`")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._study = self._open_study()
        self._lock = threading.Lock()

    def run(self, processes: int, display: Display, interruption: Interruption) -> bool:
        """Run what is not finished, several trials at once.

        Returns:
            Whether all are finished; False after an interruption.

        Raises:
            WorkdirError: A trial failed; the others that were running are stopped.
        """
        if not self.left:
            return True
        self._take_up()
        environment = environment_of(processes)

        def objective(trial: Any) -> float:
            try:
                return self._trained(trial, display, interruption, environment)
            except BaseException:
                self._study.stop()  # the others go on to a checkpoint, no new one is begun
                raise

        try:
            self._study.optimize(objective, n_trials=self.left, n_jobs=processes)
        except StoppedError:
            return False
        return not interruption.requested

    @property
    def left(self) -> int:
        """How many trials are not finished."""
        return max(0, self._sweep.trials - len(self._finished()))

    def finished(self) -> list[Trial]:
        """Return the finished trials in the order of their folders."""
        return [
            self._trial(number, self._point(trial.params))
            for number, trial in sorted(self._finished().items())
        ]

    def _check_same(self) -> None:
        path, asked = self._folder / "sweep.json", self._sweep.to_json()
        if not path.exists():
            replace_text(path, json.dumps(asked, indent=2) + "\n")
            return
        # A longer search goes on from a shorter one.
        found = [name for name in differences(read_object(path), asked) if name != "trials"]
        if found:
            raise WorkdirError(
                f"The workdir {self._folder} holds another sweep; these differ: "
                f"{', '.join(found)}. Choose another `--workdir`, or delete this one."
            )

    def _open_study(self) -> Any:
        storages = self._optuna.storages
        backend = storages.journal.JournalFileBackend(str(self._folder / "trials.log"))
        return self._optuna.create_study(
            storage=storages.JournalStorage(backend),
            study_name="sweep",
            direction="maximize" if self._sweep.largest_is_best else "minimize",
            load_if_exists=True,
        )

    def _take_up(self) -> None:
        """Put what was begun and not finished first, then the combinations of a grid."""
        state = self._optuna.trial.TrialState
        study = self._study
        for trial in study.get_trials(states=[state.RUNNING]):  # its process was killed
            study.tell(trial.number, state=state.FAIL)
        known = {*self._finished(), *map(_folder_of, study.get_trials(states=[state.WAITING]))}
        for trial in study.get_trials(states=[state.FAIL]):
            folder = _folder_of(trial)
            if folder not in known and trial.params:
                study.enqueue_trial(trial.params, user_attrs={"folder": folder})
                known.add(folder)
        if self._sweep.search == "grid":
            for point in self._sweep.grid():
                study.enqueue_trial(point, skip_if_exists=True)
        # A sampler that starts anew would draw what it drew before.
        seed = self._sweep.seed + len(study.get_trials())
        samplers = self._optuna.samplers
        kind = samplers.TPESampler if self._sweep.search == "tpe" else samplers.RandomSampler
        study.sampler = kind(seed=seed)

    def _finished(self) -> dict[str, Any]:
        complete = [self._optuna.trial.TrialState.COMPLETE]
        return {_folder_of(trial): trial for trial in self._study.get_trials(states=complete)}

    def _trained(
        self, trial: Any, display: Display, interruption: Interruption, environment: dict[str, str]
    ) -> float:
        if interruption.requested:
            raise StoppedError
        number = _folder_of(trial)
        params = {one.key: _suggested(trial, one) for one in self._sweep.over}
        point = self._point(params)
        words = [word for text in assignments(point) for word in ("--set", text)]
        folder = self._folder / "trials" / number
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "keras_apps.train", *shlex.split(self._loaded.words)]
        command += [*words, "--workdir", str(folder)]
        with open(folder / OUTPUT, "a", encoding="utf-8") as output:
            status = _run(command, output, environment, interruption)
        if status == INTERRUPTED:
            interruption.requested = True  # also if the trial alone was asked to stop
            raise StoppedError
        text = ", ".join(assignments(point))
        if status:
            raise WorkdirError(
                f"Trial {number} ({text}) ended with the status {status}: "
                f"{_last_line(folder / OUTPUT)} All that it printed is in {folder / OUTPUT}; the "
                "same command tries it again."
            )
        value = self._value_of(self._trial(number, point))
        if not math.isfinite(value):
            value = self._sweep.worst
        with self._lock:
            display.finish_run(f"trial {number}, {text}", f"{self._sweep.choose} {value:.4g}")
        return value

    def _point(self, params: Mapping[str, Any]) -> Point:
        return {
            one.key: one.shown(params[one.key]) if one.is_range else params[one.key]
            for one in self._sweep.over
        }

    def _trial(self, number: str, point: Point) -> Trial:
        changes = (*self._loaded.changes, *assignments(point))
        experiment = configurations.load(self._loaded.name, changes).config
        records = RecordFile(self._folder / "trials" / number / "records.jsonl").read()
        return Trial(number, point, experiment, records)


def _folder_of(trial: Any) -> str:
    """Return the name of a trial's folder: its own, or that of the one that it goes on with."""
    folder: str = trial.user_attrs.get("folder", f"{trial.number:04d}")
    return folder


def _suggested(trial: Any, varied: Varied) -> Any:
    if not varied.is_range:
        return trial.suggest_categorical(varied.key, varied.values)
    log = varied.scale == "log"
    if varied.is_whole:
        return trial.suggest_int(varied.key, int(varied.low), int(varied.high), log=log)
    return trial.suggest_float(varied.key, varied.low, varied.high, log=log)


def _run(
    command: list[str], output: Any, environment: dict[str, str], interruption: Interruption
) -> int:
    """Run a process to its end; on request it stops at its next checkpoint. Returns its status."""
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # Ctrl-C comes from here, once
    )
    asked = False
    try:
        while process.poll() is None:
            if interruption.requested and not asked:
                process.send_signal(signal.SIGINT)
                asked = True
            time.sleep(PAUSE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "nothing was printed.")
