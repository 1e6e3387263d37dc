"""Advice can be followed: every key, option, command, file and extra that our words name exists."""

import ast
import contextlib
import dataclasses
import importlib
import pathlib
import re
import shlex
import socket

import pytest

from keras_apps import (
    claims,
    cluster_picture,
    command_line,
    diagnose,
    random_features,
    study,
    sweep,
    train,
    watch,
)
from keras_apps.experiments import optimizer_comparison, trajectory
from keras_apps.reporting.comparison_report import Material, run_your_own
from keras_apps.reporting.comparison_results import Results
from keras_apps.running import changes, configurations
from keras_apps.sources import tfds
from tf_gradvar.pages import Code

REPOSITORY = pathlib.Path(__file__).parents[2]
APPS = {
    "train": train,
    "study": study,
    "sweep": sweep,
    "cluster_picture": cluster_picture,
    "random_features": random_features,
}
OWN_OPTIONS = {"claims": claims, "diagnose": diagnose, "watch": watch}
README = REPOSITORY / "README.md"
MAKEFILE = REPOSITORY / "Makefile"
WORDS = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        *(README, MAKEFILE, REPOSITORY / "colab" / "quickstart.ipynb"),
        *REPOSITORY.glob("keras_apps/**/*.py"),
        *REPOSITORY.glob("tf_gradvar/**/*.py"),
    )
}


def follow(command):
    """Load what a command line of an app asks for, up to where it would begin."""
    words = shlex.split(command, comments=True)
    assert words[:2] == ["python", "-m"], command
    name = words[2].removeprefix("keras_apps.")
    if name in OWN_OPTIONS:
        return OWN_OPTIONS[name].parser().parse_args(words[3:])
    app = APPS[name].APP
    parsed = app._parser().parse_args(words[3:])
    if parsed.list:
        return None
    loaded = app._load(parsed.config, parsed.set)
    app.check(loaded, parsed)
    return loaded


def commands(text):
    """The command lines of the apps in a text that stand for themselves, without names to fill."""
    # `federated` takes no configuration.
    text = re.sub(r"\\\n\s*", "", text)  # lines that go on
    found = re.findall(r"python -m keras_apps\.(?!federated\b)[^`\n\"]*", text)
    return [words.strip() for words in found if not re.search(r"\b(APP|NAME)\b|[{}]", words)]


def refused(arguments, capsys):
    """What the app says when it refuses these words, as the user's fault or the machine's."""
    with contextlib.suppress(SystemExit):
        assert train.main(arguments) == command_line.FAILED
    return capsys.readouterr().err


ALL_COMMANDS = sorted(
    {(path, command) for path, text in WORDS.items() for command in commands(text)}
)


@pytest.mark.parametrize(("path", "command"), ALL_COMMANDS)
def test_commands_in_words_of_ours(path, command):
    follow(command)


def test_commands_are_found():
    places = {path for path, _ in ALL_COMMANDS}
    assert {"README.md", "Makefile", "keras_apps/train.py", "keras_apps/study.py"} <= places
    for name in configurations.names():
        assert f"keras_apps/configs/{name}.py" in places


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_way_out_without_a_network(name, monkeypatch, capsys):
    def no_network(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(tfds, "_tfds_split", no_network)
    error = refused(["--config", "digits_classes", "--set", f"problem.source={name}"], capsys)
    (change,) = re.findall(r"`--set (\S+=\S+)`", error)
    loaded = configurations.load("digits_classes", [f"problem.source={name}", change])
    assert loaded.config.problem.source in {"mnist5k", "digits"}


def test_the_app_that_takes_a_configuration(capsys):
    error = refused(["--config", "mnist5k_mlp:quick"], capsys)
    (command,) = re.findall(r"Use `(.*?)`", error)
    assert follow(command).name == "mnist5k_mlp:quick"
    for name, app in APPS.items():
        assert app.APP.name == f"keras_apps.{name}"


@pytest.mark.parametrize(
    ("change", "pattern", "value"),
    [
        ("problem=digits", r"Use `(\S+)\.FIELD=value`", ".source=mnist5k"),
        ("problem.model_arguments=3", r"Use `(\S+)\.FIELD=value`", ".l2=0.1"),
        ("optimizers.Adam=3", r"for example `(\S+)`", "=Other"),
    ],
)
def test_the_field_that_can_be_changed(change, pattern, value):
    with pytest.raises(ValueError, match="`") as raised:
        configurations.load("digits_classes", [change])
    (key,) = re.findall(pattern, str(raised.value))
    configurations.load("digits_classes", [f"{key}{value}"])


def test_the_changes_that_the_docstring_shows():
    shown = re.findall(r"^    (\S+=\S+)   ", changes.__doc__, re.MULTILINE)
    assert len(shown) == 5
    for change in shown:
        configurations.load("digits_classes", [change])


def test_close_names_are_names_that_exist():
    with pytest.raises(ValueError, match="Did you mean") as raised:
        configurations.load("digits_classes", ["problem.sorce=digits"])
    (key,) = re.findall(r"Did you mean '(\w+)'", str(raised.value))
    configurations.load("digits_classes", [f"problem.{key}=digits"])


@pytest.mark.parametrize("module", [optimizer_comparison, trajectory])
def test_rules_name_fields(module):
    fields = {
        field.name
        for owner in (optimizer_comparison, trajectory)
        for kind in vars(owner).values()
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
    }
    checks = [
        node
        for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and re.search("check|rules", node.name)
    ]
    said = {
        name
        for check in checks
        for node in ast.walk(ast.Module(body=check.body[1:], type_ignores=[]))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"`(\w+)[`=]", node.value)
    }
    assert len(said) >= 4
    assert said - {"Classification"} <= fields


@pytest.mark.parametrize("name", configurations.names())
def test_a_smoke_test_names_the_experiment(name):
    loaded = configurations.load(f"{name}:quick")
    notice, command = loaded.conclusions(["It pays."])
    assert "nothing follows" in notice
    again = follow(command)
    assert again.config == configurations.load(name).config
    assert again.conclusions(["It pays."]) == ["It pays."]


def test_the_page_names_commands_for_what_was_run(tmp_path):
    loaded = configurations.load("mnist5k_classes:quick", ["seeds=3,4", "title=A new <one>"])
    material = Material(loaded, Results.of([], loaded.config), [], "", tmp_path)
    (section,) = run_your_own(material)
    texts = [part.text for part in section.parts if isinstance(part, Code)]
    again, other, listed = commands("\n".join(texts))
    assert follow(again).config == loaded.config
    assert follow(other).config == dataclasses.replace(loaded.config, seeds=(7,))
    assert follow(listed) is None


def test_modules_that_are_run():
    for path, text in WORDS.items():
        for module in re.findall(r"python -m ((?:benchmarks|tests|keras_apps)\.\w+)", text):
            if module != "keras_apps.APP":
                place = REPOSITORY / f"{module.replace('.', '/')}.py"
                assert place.exists(), f"{path} names {module}"


def test_targets_that_are_made():
    targets = set(re.findall(r"^(\w+):", MAKEFILE.read_text("utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make (\w+)", README.read_text("utf-8"), re.MULTILINE)
    assert named
    assert set(named) <= targets


def test_extras_that_are_installed():
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    known = set(re.findall(r'^        "([\w-]+)": ', setup, re.MULTILINE))
    assert "apps" in known
    for path, text in WORDS.items():
        for extras in re.findall(r"(?:'\.|tf_gradvar)\[([\w$(),-]+)\]", text):
            named = {extra for extra in extras.split(",") if not extra.startswith("$")}
            assert named <= known, f"{path} names {named - known}"


def test_files_and_names_in_the_readme():
    text = README.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    notebooks = re.findall(r"`(\S+\.ipynb)`", text)
    assert min(map(len, (links, notebooks))) > 0
    for path in (*links, *notebooks):
        assert (REPOSITORY / path).exists(), path
    for name in re.findall(r"`(tf_gradvar(?:\.\w+)+)", text):
        if not (REPOSITORY / name).exists():
            resolve(name)


def test_files_in_contributing():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`(\w+(?:/\w+)+(?:\.\w+)?)`", text)
    assert len(paths) > 10
    for path in paths:
        assert (REPOSITORY / path).exists() or (REPOSITORY / "tf_gradvar" / path).exists(), path
    for name in re.findall(r"`((?:\w+\.)+\w+)(?:\(|`)", text):
        room = name.partition(".")[0]
        if (REPOSITORY / "tf_gradvar" / room).is_dir():
            resolve(f"tf_gradvar.{name}")


def resolve(name):
    """The object of a dotted name."""
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ImportError:
        return getattr(resolve(module), attribute)
