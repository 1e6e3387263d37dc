"""Models that were measured wrong once, or crashed, each with what was wrong."""

from tests.hunt.optimizer_runs import Move, Run
from tests.hunt.problem import Output, Problem, Source, Step

_HEAD = (Step("Flatten"), Step("Dense", {"units": 2}))
_DENSE = Step("Dense", {"units": 4, "activation": "tanh"})
_SEQUENCE = (Source((4, 3)),)

CASES = {
    # Norms 55.6, 76.1, 18.4, 88.5 for 90.0, 63.0, 6.6, 86.5: positions were taken for examples.
    "transposed batch axis": Problem(
        sources=_SEQUENCE,
        body=(Step("transpose"), _DENSE, Step("transpose")),
        outputs=(Output(_HEAD),),
        batch=4,
    ),
    # The same with a batch of another length: a crash in AddN.
    "transposed batch axis, B != T": Problem(
        sources=_SEQUENCE,
        body=(Step("transpose"), _DENSE, Step("transpose")),
        outputs=(Output(_HEAD),),
        batch=5,
    ),
    "merged batch axis": Problem(
        sources=_SEQUENCE,
        body=(Step("flat"), _DENSE, Step("unflat", {"shape": (4, 4)})),
        outputs=(Output(_HEAD),),
    ),
    # Examples interact: each number changed with the batch that it was measured in.
    "minus the batch's mean": Problem(
        sources=_SEQUENCE, body=(_DENSE, Step("centre")), outputs=(Output(_HEAD),)
    ),
    "times a sum over the batch": Problem(
        sources=_SEQUENCE, body=(_DENSE, Step("total")), outputs=(Output(_HEAD),)
    ),
    "contrastive loss": Problem(sources=_SEQUENCE, outputs=(Output(_HEAD, loss="contrast"),)),
    # Not noticed: the example that was compared had no weight, and so no loss anywhere.
    "contrastive loss, an example without weight": Problem(
        kind="sequential",
        sources=(Source(shape=(1, 3), kind="int32", stem=(Step("Dense", {"units": 3}),)),),
        body=(Step("penalty"),),
        outputs=(Output((Step("Dense", {"units": 3}),), loss="contrast", sample_weight="BT"),),
        batch=2,
        seed=807,
    ),
    # Two calls of the model differ.
    "noise in inference": Problem(
        sources=_SEQUENCE, body=(_DENSE, Step("noise")), outputs=(Output(_HEAD),)
    ),
    # Divided by T, where Keras divides by the positions of a known class.
    "ignore_class": Problem(
        sources=_SEQUENCE,
        outputs=(
            Output(
                (Step("Dense", {"units": 3}),),
                loss="sparse",
                arguments={"from_logits": True, "ignore_class": 0},
            ),
        ),
    ),
    # The weight of an example alone cancels.
    "mean_with_sample_weight": Problem(
        sources=_SEQUENCE,
        outputs=(
            Output(_HEAD, arguments={"reduction": "mean_with_sample_weight"}, sample_weight="B"),
        ),
    ),
    # Not a fault: Keras takes the last axis off both, and the weights belong to what is left.
    "weights of positions, labels without the last axis": Problem(
        sources=(Source((2, 2, 2)),),
        outputs=(Output((Step("Dense", {"units": 1}),), labels="squeezed", sample_weight="BT"),),
        batch=2,
    ),
    # Refused, where `fit` wants weights of this shape.
    "sample weights [B, 1] of losses [B, T]": Problem(
        sources=_SEQUENCE,
        outputs=(Output((Step("Dense", {"units": 3}),), sample_weight="B1"),),
    ),
    # TypeError: 'y' of 'Mul' has type float32 that does not match type int32.
    "int32 into Dense": Problem(
        sources=(Source((3, 4), "int32", stem=(_DENSE,)),), outputs=(Output(_HEAD),)
    ),
    "uint8 into Dense": Problem(
        sources=(Source((4,), "uint8", stem=(_DENSE,)),), outputs=(Output(_HEAD[1:]),)
    ),
    # Keras adds a bias [4, 1] to [B, 4, 4] along the LAST axis (`bias_add`, because the lengths
    # agree); the rule summed over it. Norms and gradients of the bias were wrong by 2.
    "bias of an inner axis as long as the last": Problem(
        kind="sequential",
        sources=(Source((3, 4)),),
        body=(
            Step(
                "EinsumDense",
                {"equation": "abc,bd->adc", "output_shape": (4, 4), "bias_axes": "d"},
            ),
        ),
        outputs=(Output((Step("Flatten"), Step("Dense", {"units": 2}))),),
    ),
    # The check that examples do not interact allowed for 1e4 rounding errors, in half precision
    # more than the largest value: measured, and wrong by a factor of 4.
    "interaction in half precision": Problem(
        sources=(Source((2, 3)),),
        body=(Step("Dense", {"units": 4, "activation": "tanh"}), Step("total")),
        outputs=(
            Output(
                (Step("Flatten"), Step("Dense", {"units": 4, "activation": "softmax"})),
                loss="sparse",
            ),
        ),
        policy="float16",
        seed=13,
    ),
    # A mask [B, T] of losses [B, T, C] lies along T here, and along C in Keras (T = C = 2; `fit`
    # fails for other lengths): measured otherwise than trained, by .63.
    "mask of a loss that reduces nothing": Problem(
        sources=(
            Source(
                (2,),
                "ids",
                3,
                stem=(
                    Step(
                        "lora",
                        {"rank": 1},
                        (Step("Embedding", {"input_dim": 3, "output_dim": 2, "mask_zero": True}),),
                    ),
                ),
            ),
        ),
        body=(Step("Dense", {"units": 2}),),
        outputs=(
            Output((Step("Dense", {"units": 2}),), factor=0.25),
            Output((Step("Dense", {"units": 2}),), loss="everywhere", factor=0.25),
        ),
        batch=2,
        chunk_size=1,
    ),
    # Where functions run without compiling, TensorFlow has no gradient of a grouped convolution
    # in float64 on a CPU, and `fit` fails, too: a crash of the hunt, which compiles here.
    "grouped convolution in float64": Problem(
        sources=(Source((5, 5, 2)),),
        body=(
            Step("SeparableConv2D", {"filters": 4, "kernel_size": 2}),
            Step("Conv2D", {"filters": 4, "kernel_size": 2, "groups": 2}),
        ),
        outputs=(Output(_HEAD),),
        policy="float64",
        call="eager",
    ),
}

# A problem, the cluster of each example, and the number of groups (None: only the ids are known).
BUFFERS = {
    # TensorFlow cannot vectorise the gradient of a bias [3, 1] of outputs [B, 3, 4]: a crash.
    "vectorized bias of an inner axis": (
        Problem(
            kind="sequential",
            sources=(Source((5, 4)),),
            body=(
                Step(
                    "EinsumDense",
                    {"equation": "abc,bd->adc", "output_shape": (3, 4), "bias_axes": "d"},
                ),
            ),
            outputs=(Output(_HEAD),),
            batch=4,
        ),
        (0, 0, 1, 1),
        2,
    ),
    # A cluster's gradient came from a pass in which the other examples weighed nothing, but still
    # mixed with it: buffers were silently wrong by half.
    "unknown groups of a contrastive loss": (
        Problem(
            sources=(Source((4,)),),
            outputs=(Output((Step("Dense", {"units": 3}),), loss="contrast"),),
        ),
        (0, 1, 0),
        None,
    ),
    "unknown groups of a model that mixes": (
        Problem(
            sources=(Source((4,)),),
            body=(Step("centre"),),
            outputs=(Output((Step("Dense", {"units": 3, "activation": "tanh"}),)),),
        ),
        (0, 1, 0),
        None,
    ),
}

RUNS = {
    # Shifted by a decay that it never gets, because nothing decays without a gradient.
    "decay of a variable without a gradient": Run(
        name="IGT",
        shapes=((), ()),
        num_clusters=1,
        moves=(Move(clusters=(0,)), Move(clusters=(0,), broken=(0,))),
        momentum=0.0,
        nu=0.0,
        tail_fraction=1.0,
        decay=0.1,
        without=(1,),
    ),
    # The buffers are still 0: nothing but the decay moves the weights.
    "decay while all groups are left out": Run(
        name="DiscoverIGT",
        shapes=((2,),),
        num_clusters=2,
        moves=(Move(clusters=(0,), broken=(0,)), Move(clusters=(1,)), Move(clusters=(0,))),
        decay=0.1,
    ),
}
