"""What reads the command line of an app, described by the words of its module."""

from __future__ import annotations

import argparse


def argument_parser(name: str, text: str | None) -> argparse.ArgumentParser:
    """Return a parser without arguments, whose help shows all of a module's docstring.

    Args:
        name: What stands after "python -m".
        text: The docstring: a line, an empty one, and what follows the arguments in the help.
    """
    description, _, commands = (text or "").partition("\n\n")
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        epilog=commands,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
