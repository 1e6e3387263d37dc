"""Runs that are begun on one device, broken off in the middle, and continued by a command."""

from keras_apps.running import configurations, preparing
from keras_apps.running.devices import Devices
from keras_apps.running.training_run import TrainingRun
from keras_apps.running.workdir import Workdir
from tests.keras_apps.displays import Request, Shown
from tf_gradvar.records import RecordFile

COMPARED = "digits_classes:quick"
# At given learning rates, one group for each of two devices.
CHANGES = (
    "groups_per_batch=2",
    "optimizers.Momentum.learning_rates.2=0.02",
    "optimizers.Discover.learning_rates.2=0.1",
    "steps_per_execution=5",
)


def words(workdir, *others):
    """The command line after the program's name."""
    changes = [word for change in CHANGES for word in ("--set", change)]
    return ["--config", COMPARED, *changes, "--workdir", str(workdir), *others]


def train_runs(folder, changes, stop_at=None):
    """Train on one device, with no report; the first run alone up to a step if there is one."""
    experiment = configurations.load(COMPARED, [*CHANGES, *changes]).config
    workdir = Workdir(folder, configurations.to_json(experiment))
    workdir.note_devices(Devices().facts)
    problem = preparing.prepare(experiment, Devices())
    request = Request(stop_at)
    shared = (experiment, problem, workdir, Shown(request), request)
    for run in experiment.runs({}):
        assert TrainingRun(run, *shared).train() == (stop_at is None)
        if stop_at is not None:
            break
    workdir.close()


def measured(folder):
    """What was measured, by run and step, without how long it took."""
    return {
        (record["run"], record["step"]): {
            name: value
            for name, value in record.items()
            if isinstance(value, float) and name != "steps_per_second"
        }
        for record in RecordFile(folder / "records.jsonl").read()
        if record["kind"] == "evaluation"
    }


def places(folder):
    """What finished runs were trained on."""
    records = RecordFile(folder / "records.jsonl").read()
    return [
        (record["backend"], record["strategy"], record["replicas"])
        for record in records
        if record["kind"] == "finished"
    ]
