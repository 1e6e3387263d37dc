"""Problems that are known to fail and are being mended: not run by the tests.

After mending one, move its entry to `cases.py`.
`python -m tests.hunt.known_faults` says which of them are right by now.
"""

from tests.hunt.problem import Problem

KNOWN: dict[str, Problem] = {}


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
