"""Problems that are known to fail and are being mended: not run by the tests.

After mending one, move its entry to `cases.py`.
`python -m tests.hunt.known_faults` says which of them are right by now.
"""

from tests.hunt.problem import Output, Problem, Source, Step

KNOWN = {
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
}


def main():
    """Print what becomes of each."""
    from tests.hunt.checking import FaultError, UnusableError, check

    for name, problem in KNOWN.items():
        try:
            outcome = check(problem)
        except (FaultError, UnusableError) as error:
            outcome = f"FAULT: {str(error).splitlines()[0]}"
        print(f"{name}: {outcome}", flush=True)


if __name__ == "__main__":
    main()
