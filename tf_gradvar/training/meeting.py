"""Meeting of the workers before TensorFlow joins them, which would wait in silence and for ever.

Each worker listens at its own port until it has reached all the others. Whoever has reached them
all closes its port and starts TensorFlow, which listens there from then on, so that slower workers
still find it.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable

from tf_gradvar.training.tf_config import Workers, split_address

FIRST_REPORT = 2.0  # seconds
NEXT_REPORT = 15.0
_PAUSE = 0.25
_CONNECTING = 2.0


def meet(workers: Workers, timeout: float, report: Callable[[str], None] | None = None) -> None:
    """Wait until all other workers can be reached.

    Args:
        workers: The workers, of which this process is one.
        timeout: Seconds after which to give up.
        report: Gets a line about those that are missing, 2 seconds after the start and then every
            15. Defaults to printing it to stderr.

    Raises:
        TimeoutError: If a worker was not reached in time.
        OSError: If the port of this worker is taken.

    Cost: four attempts to connect to each missing worker a second.
    """
    report = report or _print
    missing = workers.others()
    start = time.monotonic()
    next_report = FIRST_REPORT
    with _listening(workers.own_port):
        while True:
            missing = {i: a for i, a in missing.items() if not _can_be_reached(a)}
            waited = time.monotonic() - start
            if not missing:
                return
            if waited >= timeout:
                raise TimeoutError(_gave_up(workers, missing, timeout))
            if waited >= next_report:
                next_report = waited + NEXT_REPORT
                report(f"{_waiting(workers, missing)} ({waited:.0f} s of at most {timeout:g} s)")
            time.sleep(min(_PAUSE, timeout - waited))


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _waiting(workers: Workers, missing: dict[int, str]) -> str:
    return ", ".join(
        f"waiting for worker {i} of {len(workers.addresses)} at {a}" for i, a in missing.items()
    )


def _gave_up(workers: Workers, missing: dict[int, str], timeout: float) -> str:
    return (
        f"Worker {workers.index} gave up {_waiting(workers, missing)} (workers count from 0) after "
        f"{timeout:g} s. Start one process for each address in `TF_CONFIG`, let them reach each "
        "other's ports, or pass a longer `timeout`."
    )


def _listening(port: int) -> socket.socket:
    """Return an open port, on IPv6 and IPv4 where the machine has both."""
    options = {"reuse_port": False, "backlog": 128}
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, **options)  # type: ignore[arg-type]
    except OSError as error:
        raise OSError(
            error.errno,
            f"The port {port}, which `TF_CONFIG` gives to this worker, cannot be opened "
            f"({error.strerror}). Stop the process that uses it, or choose another port in "
            "`TF_CONFIG` on every worker.",
        ) from error


def _can_be_reached(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), timeout=_CONNECTING).close()
    except OSError:
        return False
    return True
