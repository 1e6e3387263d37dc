"""Two optimizers with much state on small digits, to be killed and continued."""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment


def config():
    return Experiment(
        title="Killed and continued",
        problem=Classification(source="digits", model_arguments={"hidden_units": [16]}),
        optimizers=(
            OptimizerChoice(
                "DiscoverIGT",
                arguments={"alpha": 0.1},
                learning_rates={"2": 0.002},
                measures_variance=True,
            ),
            OptimizerChoice(
                "DiscoverAdam",
                rule="DiscoverOver",
                arguments={"over": "Adam"},
                learning_rates={"2": 0.002},
            ),
        ),
        groups_per_batch=(2,),
        group_size=4,
        seeds=(0,),
        steps=400,
        evaluate_every=20,
        checkpoint_every=60,
        steps_per_execution=5,
        variance_examples=5,
    )
