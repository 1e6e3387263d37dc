"""One run of a few steps on small digits."""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment


def config():
    return Experiment(
        title="A few steps",
        problem=Classification(source="digits", model_arguments={"hidden_units": [4]}),
        optimizers=(
            OptimizerChoice("Discover", arguments={"alpha": 0.1}, learning_rates={"1": 0.1}),
        ),
        group_size=4,
        seeds=(0,),
        steps=8,
        evaluate_every=2,
        checkpoint_every=4,
        steps_per_execution=2,
    )
