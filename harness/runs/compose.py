"""Compose configs from a command line. Only this file uses Hydra, through its public API.

Hydra composes the config groups that the command line chooses (method=at, data=digits, …). This file then sets the
values (seed=1, method.joint.training.lr=1e-3, …), converted to the type that the config has at that key.
"""

import argparse
import os
import re
import shlex
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast, get_args, get_type_hints

import yaml

from harness.core import providers
from harness.core.errors import UserError, first_line, near, quoted, short, typed
from harness.core.reading import YAML
from harness.core.registry import build, names
from harness.core.settings import flatten
from harness.runs.config import AUTO, NOTED, Config, Part, config_of
from harness.runs.run import IDENTITY, PLACES

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig, Node

    from harness.core.dataset import Dataset  # imports torch

WHERE = re.compile(r"runs|reports|init|extractors\.\w+|(data|outliers|protocol)\.(\w+\.)*root")
"""Keys that hold paths of files."""

QUOTING = "Overrides are key=value; a value with brackets, braces, commas or spaces is quoted twice: 'key=\"a, b\"'."

LONGEST_KEY = 500
"""The most characters of an override's key."""

MOST_RUNS = 10_000
"""The most runs of one command."""

MANY_RUNS = f"The sweep has more than {MOST_RUNS:,} runs: give fewer values to its keys."

TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""Accepted spellings of a bool on the command line."""

OURS = re.compile(r"UserError raised while resolving interpolation: (.+)")
"""OmegaConf's message of an error that a resolver of ours raised."""

OCTAL = re.compile(r"[-+]?0[0-9_]+")
"""A yaml number with a leading zero, which yaml reads as octal."""


@dataclass
class Target:
    """The key whose value is being resolved; used: whether the environment gave something to it."""

    key: str
    used: bool = False


_target: ContextVar[Target | None] = ContextVar("_target", default=None)
"""What is being resolved; None while a config is still composed."""


class Flags(argparse.ArgumentParser):
    """Parser of the flags among overrides; an unknown flag raises UserError instead of exiting."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - argparse's own
        super().__init__(add_help=False, allow_abbrev=False, **given)
        self.add_argument("-m", "--multirun", action="store_true")
        self.add_argument("--config-dir", "-cd")
        self.add_argument("words", nargs="*")

    def error(self, message: str) -> NoReturn:
        """Raise UserError with argparse's message and the list of flags."""
        raise UserError(f"{message[:1].upper()}{message[1:]}. The flags are {', '.join(self.flags())}.")

    def flags(self) -> list[str]:
        """The flags in their long forms, sorted."""
        return sorted({max(action.option_strings, key=len) for action in self._actions if action.option_strings})

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse arguments with flags at any position; UserError for an unknown flag."""
        for word in arguments:
            if word.encode(errors="ignore").decode() != word:
                raise UserError(f"{short(word)} is not text in Unicode: type it again.")
        given, unknown = self.parse_known_intermixed_args(list(arguments))
        if unknown:
            raise UserError(f"There is no flag {unknown[0]}. The flags are {', '.join(self.flags())}.")
        # Parts beside the configs of a folder are found from now on.
        if given.config_dir:
            given.config_dir = Path(given.config_dir).absolute()
            if not given.config_dir.is_dir():
                raise UserError(f"--config-dir={given.config_dir}: there is no such folder.")
            providers.use(given.config_dir)
        return given


def compose(
    arguments: Sequence[str], verb: str = "run", whole: Sequence[str] | None = None, parts: Part | None = None
) -> list[Config]:
    """Compose the configs of a command line, one for each run of a sweep; each config records the command.

    arguments: overrides, -m and --config-dir. whole: all arguments of the command, if it has others besides these.
    parts: replacements for parts of the config, set before interpolations are resolved. UserError if the arguments do
    not fit the config.
    """
    import hydra
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException

    # Parse the flags, and find the folders of configs.
    given = Flags().read(arguments)
    _refuse_hydra_settings(given.words)
    _register_resolvers()
    every = providers.providers(given.config_dir)
    places = [provider.configs for provider in every if provider.configs.is_dir()]

    @cache
    def composed(*choices: str) -> "DictConfig":
        """Compose the chosen config groups; cached, as runs of a sweep often share their choices."""
        search = [f"hydra.searchpath=[{','.join(quoted(f'file://{place}') for place in places[1:])}]"]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                config = hydra.compose("config", [*choices, *search], return_hydra_config=True)
        except HydraException:
            raise
        except (ValueError, OSError) as error:  # a name that cannot be one of a file, or null where one is needed
            raise UserError(f"{short(' '.join(choices))}: {short(first_line(error))}") from None
        _check_spelling(config, places)
        return config

    try:
        with hydra.initialize_config_dir(str(places[0]), version_base="1.3"):
            overrides = _parse(given.words)
            # Compose without the swept keys first: an experiment file may itself define a sweep.
            fixed = [override for override in overrides if not override.is_sweep_override()]
            hydra_config = composed(*_choices(fixed, places)).hydra
            swept = given.multirun or hydra_config.mode == RunMode.MULTIRUN

            if swept:
                params = _parse([f"{key}={value}" for key, value in (hydra_config.sweeper.params or {}).items()])
                runs = _grid([*params, *overrides])
            else:
                runs = [given.words]
                for override in overrides:
                    if override.is_sweep_override():
                        raise UserError(f"{override.input_line}: several values are a sweep, which needs -m. {QUOTING}")

            # Compose one config for each run.
            command = _command(verb, whole if whole is not None else arguments)
            found: list[Config] = []
            for words in runs:
                overrides = _parse(words)
                chosen = composed(*_choices(overrides, places))
                content = _set_values(chosen, _values(overrides, places), parts or {})
                if not _has_recipe(chosen, places):
                    _bound_training(content, words)
                config, changes = config_of(content), [word for word in words if _changes(word)]
                # Given samples are called by their file, whose place is no part of a run.
                changes += [f"source={Path(config.method['source']).name}"] if config.method.get("source") else []
                # A budget changes the recipe wherever it comes from, as from the file of an experiment.
                changes += [f"budget={config.budget:.12g}"] if config.budget != 1 else []
                found.append(_with_facts(replace(config, overrides=changes, command=command)))
            return found
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(str(error))) from None
    except RecursionError:
        raise UserError("The overrides are nested too deeply to be read.") from None


def _with_facts(config: Config) -> Config:
    """The config with what its data decide: the mean and std of pixels where it says auto, and a digest of own files.

    Those of published datasets are in `customary`, so that most configs are composed without looking at any file.
    """
    model, auto = config.model, [key for key in ("mean", "std") if config.model.get(key) == AUTO]
    known = {key: config.customary[key] for key in auto if config.customary.get(key) is not None}
    if "digest" not in config.data | config.method and not config.data.get("extra") and len(known) == len(auto):
        return replace(config, model=model | known)

    data: Dataset = build("data", config.data)
    if len(known) < len(auto):
        known = dict(zip(("mean", "std"), data.standardisation(), strict=True)) | known
    method, labelled = config.method, False
    if source := method.get("source"):
        method = method | {"digest": build("outliers", build("method", method).outliers, data=data).content}
        labelled = _has_labels(Path(source))
    pinned = data.pinned(config.data["name"])
    if data.extra:
        pinned["extra"] = config.data["extra"] | {"digest": data.extra.digest or data.extra.content}
    return replace(
        config,
        method=method,
        labelled=labelled,
        model=model | {key: known[key] for key in auto},
        data=config.data | pinned,
    )


def _has_labels(source: Path) -> bool:
    """Whether given samples, which were read just before, say their classes: by an array, or by a folder for each."""
    if source.is_dir():
        from harness.datasets.pictures import listed  # slow to import, and few runs are of given samples

        return bool(listed(source)[0])
    with zipfile.ZipFile(source) as file:
        return "arr_1.npy" in file.namelist()


def show(arguments: Sequence[str]) -> str:
    """The composed configs of a command line as yaml documents, one for each run; `--cfg job` prints them."""
    return "---\n".join(
        yaml.safe_dump(config.mapping(), sort_keys=False, allow_unicode=True) for config in compose(arguments)
    )


def _parse(words: Sequence[str]) -> list["Override"]:
    """Parse overrides; UserError, with the value in quotes where it may be a text, for one that cannot be parsed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, overrides = OverridesParser.create(), []
    for word in words:
        key, equals, value = word.partition("=")
        if key.lstrip("+~") in NOTED:
            raise UserError(f"{word}: a run notes this itself. Set only init=PATH, or samples=PATH.")
        if len(key) > LONGEST_KEY:
            raise UserError(f"The key is too long, with {len(key):,} letters: {short(key)}")
        try:
            overrides.append(parser.parse_override(word))
        except (HydraException, ValueError) as error:  # the latter for a number of thousands of digits
            reason = first_line(error).partition(". See ")[0]
            is_text = equals and len(value) <= LONGEST_KEY and re.fullmatch(r"[+~]*[\w.]+", key)
            hint = f"Overrides are key=value; as a text, this value is {typed(key, value)}" if is_text else QUOTING
            raise UserError(f"{short(word)[1:-1]}: {short(reason)[1:-1]}. {hint}") from None
    return overrides


def _grid(overrides: Iterable["Override"]) -> list[list[str]]:
    """All combinations of swept values, each a list of overrides; the last override of a key wins."""
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(f"{override.input_line}: a sweep needs a list of values, a,b,c, or range(…).")
        swept = override.is_sweep_override()
        try:
            texts = _swept_values(override) if swept else [override.get_value_element_as_str()]
        except (ValueError, OverflowError) as error:  # such as a range whose step is 0
            raise UserError(f"{override.input_line}: {error}.") from None
        values[key] = [key if override.is_delete() and not value else f"{key}={value}" for value in texts]
    if prod(map(len, values.values())) > MOST_RUNS:
        raise UserError(MANY_RUNS)
    return [list(words) for words in product(*values.values())]


def _swept_values(override: "Override") -> list[str]:
    """The values of a swept key; of too many, one more than the most."""
    from hydra.core.override_parser.types import RangeSweep

    # Count the numbers of a range first: to shuffle them, Hydra would make all of them.
    value = override.value()
    if isinstance(value, RangeSweep) and len(list(islice(value.range(), MOST_RUNS + 1))) > MOST_RUNS:
        raise UserError(MANY_RUNS)
    return list(islice(override.sweep_string_iterator(), MOST_RUNS + 1))


def _choices(overrides: Iterable["Override"], places: Sequence[Path]) -> list[str]:
    """The overrides that choose a member of a config group, such as data=digits; UserError for what is no name."""
    choices = [override for override in overrides if _is_choice(override, places)]
    for override in choices:
        group, value = override.key_or_group, override.value()
        if not (override.is_delete() or override.is_sweep_override() or isinstance(value, str | None)):
            raise UserError(f"{override.input_line}: {group} is chosen by its name. {near(str(value), names(group))}")
        if "oc.env:" in str(value):
            raise UserError(f"{override.input_line}: {group} cannot come from the environment: type its name.")
    return [str(override.input_line) for override in choices]


def _values(overrides: Iterable["Override"], places: Sequence[Path]) -> list["Override"]:
    """The overrides that set a value."""
    return [override for override in overrides if not _is_choice(override, places)]


def _is_choice(override: "Override", places: Sequence[Path]) -> bool:
    is_group = any((place / override.key_or_group).is_dir() for place in places)
    return (
        is_group
        and override.key_or_group not in ("", ".")
        and "." not in override.key_or_group
        and not isinstance(override.value(), dict)
    )


def _set_values(chosen: "DictConfig", overrides: Iterable["Override"], parts: Part) -> Part:
    """Apply value overrides and `parts` to a composed config, then resolve its interpolations."""
    from omegaconf import OmegaConf, open_dict

    config = OmegaConf.create({key: node for key, node in chosen.items_ex(resolve=False) if key != "hydra"})
    plain = config.copy()
    for override in overrides:
        key, value = override.key_or_group, override.value()
        before = OmegaConf.select(config, key, throw_on_missing=False)
        path, _, last = key.rpartition(".")

        if override.is_delete():
            if before is None:
                raise UserError(f"{override.input_line}: there is no {key}. {_near_key(key, plain)}")
            if path and not OmegaConf.is_dict(OmegaConf.select(config, path)):
                raise UserError(f"{override.input_line}: give the whole list, {path}=[…]")
            with open_dict(config):
                del (OmegaConf.select(config, path) if path else config)[last]
            continue

        # Check that a plain key exists, and that +key does not.
        parent_exists = path == "" or OmegaConf.is_dict(OmegaConf.select(config, path, throw_on_missing=False))
        present = parent_exists and last in (OmegaConf.select(config, path) if path else config)
        if override.is_add() and present and not isinstance(value, dict | list):
            raise UserError(f"{override.input_line}: {key} exists already; leave out the +.")
        if not (override.is_add() or override.is_force_add() or present):
            raise UserError(f"There is no key '{key}'. {_near_key(key, plain)}")

        # Convert the value to the type of the one that it replaces.
        like = OmegaConf.to_container(before, resolve=True) if OmegaConf.is_config(before) else before
        text = override.get_value_string()
        OmegaConf.update(config, key, _respell(value, like, text, key), merge=True, force_add=True)

    whole = OmegaConf.create({**cast(Part, OmegaConf.to_container(config)), **parts})
    return _resolve(whole)


def _resolve(config: Any, path: str = "") -> Any:  # noqa: ANN401 - whatever yaml holds
    """A config, or a part of it at a path, as plain values: interpolations are resolved one key at a time."""
    from omegaconf import OmegaConf

    if OmegaConf.is_dict(config):
        return {key: _resolve_key(config, key, f"{path}.{key}".removeprefix(".")) for key in config}
    if OmegaConf.is_list(config):
        return [_resolve_key(config, at, f"{path}[{at}]") for at in range(len(config))]
    return config


def _resolve_key(config: Any, key: Any, path: str) -> Any:  # noqa: ANN401 - whatever yaml holds
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if OmegaConf.is_missing(config, key):
        return "???"
    target = Target(path)
    token = _target.set(target)
    try:
        value = config[key]
    except OmegaConfBaseException as error:
        if not target.used or OURS.match(str(error)):
            raise
        raise UserError(
            f"{path} cannot be resolved with the value of the environment, which is not shown. Type the value itself."
        ) from None
    finally:
        _target.reset(token)
    return _resolve(value, path)


def _has_recipe(chosen: "DictConfig", places: Sequence[Path]) -> bool:
    """Whether there is a recipe for the chosen method and dataset."""
    return any((place / "recipe" / f"{chosen.hydra.runtime.choices.recipe}.yaml").is_file() for place in places)


def _bound_training(content: Part, words: Iterable[str]) -> None:
    """Bound the stages of a method without a recipe by what fits the data, customary.images, and say so in the notes.

    Epochs of methods are those of their papers, mostly for CIFAR. Stages whose epochs the command sets are left alone.
    """
    most, set_keys = content["customary"].get("images"), {word.lstrip("+~").partition("=")[0] for word in words}
    if most is None:
        return
    for name, part in content["method"].items():
        if isinstance(part, dict) and "training" in part and f"method.{name}.training.epochs" not in set_keys:
            part["training"]["most_images"] = most
    content["notes"] = {"recipe": f"none for this dataset: no stage sees more than {most:,} images", **content["notes"]}


def _respell(value: Any, like: Any, text: str, key: str) -> Any:  # noqa: ANN401 - whatever yaml holds
    """Convert a value to the type of the config value that it replaces, so that equal values give one fingerprint.

    like: the present value; None if there is none. text: the value as typed.
    """
    if isinstance(value, dict):
        known = like if isinstance(like, dict) else {}
        return {name: _respell(part, known.get(name), str(part), f"{key}.{name}") for name, part in value.items()}
    if isinstance(value, list):
        known = like if isinstance(like, list) and like else [None]
        return [_respell(part, known[min(at, len(known) - 1)], str(part), key) for at, part in enumerate(value)]

    # Keep null and interpolations as they are.
    if value is None or (isinstance(value, str) and "${" in value):
        return value

    # Convert to the present value's type: bool, number or string.
    if isinstance(like, bool):
        words = _words(key)
        if str(value).lower() not in TRUTHS and value not in words:
            raise UserError(f"{key}={text}: {', '.join(['true', *words])} or false is expected here.")
        return TRUTHS.get(str(value).lower(), value)
    if isinstance(like, int | float):
        number = None if isinstance(value, bool) else _number(value)
        if number is not None:
            return float(number) if isinstance(like, float) else _whole(number)
        if isinstance(value, str):  # the class of this part of the config says what it expects
            return value
        raise UserError(f"{key}={text}: a number is expected here, such as {like}.")
    if isinstance(like, str):
        return value if isinstance(value, str) else text
    return _whole(value) if isinstance(value, float) else value


def _words(key: str) -> list[str]:
    """The words that a field of Config takes beside true and false; of other keys none."""
    kinds = get_args(get_type_hints(Config).get(key))
    return [word for kind in kinds for word in get_args(kind) if isinstance(word, str)]


def _number(value: object) -> int | float | None:
    """A number, parsed if it is a string; None if it is no number."""
    if isinstance(value, int | float):
        return value
    try:
        return float(str(value)) if re.search(r"[.einf]", str(value)) else int(str(value))
    except ValueError:
        return None


def _whole(number: float) -> int | float:
    """The number, as an int if it is integral."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _check_spelling(chosen: "DictConfig", places: Sequence[Path]) -> None:
    """Raise UserError if a chosen yaml file has a number that yaml reads as octal."""
    for group, name in chosen.hydra.runtime.choices.items():
        for path in (place / group / f"{name}.yaml" for place in places):
            if group.startswith("hydra") or not path.is_file():
                continue
            for event in yaml.parse(path.read_text(encoding="utf-8"), YAML):
                if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and OCTAL.fullmatch(event.value):
                    raise UserError(
                        f"{path}, line {event.start_mark.line + 1}: {event.value} is octal in yaml, as it begins with "
                        "0. Leave out the zero, or put quotes around it if it is a text."
                    )


def _register_resolvers() -> None:
    """Register the resolvers that configs may use in ${…}."""
    from omegaconf import OmegaConf

    # For studies, which scale a value of a recipe: ${times:0.25,${study.step}}
    OmegaConf.register_new_resolver("times", lambda a, b: float(a) * float(b), replace=True)
    # For radii given in 255ths of the pixel range: ${of_255:8}
    OmegaConf.register_new_resolver("of_255", lambda n: n / 255, replace=True)
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def _refuse_hydra_settings(words: Iterable[str]) -> None:
    """Raise UserError for overrides of Hydra's own settings, which can name code that Hydra runs."""
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if re.match(r"hydra([./@:]|$)", key):
            launchers = "|".join(names("launcher"))
            raise UserError(
                f"{word}: Hydra only composes configs here. Choose where runs execute with launcher={launchers}."
            )


def _environment(variable: str, *default: str | None, _node_: "Node") -> str | None:
    """An environment variable, for keys that hold paths; UserError for other keys, as the value may be a secret.

    Configs are written to config.yaml and shown by MLflow. What counts is the key that gets the value, by whatever
    interpolations: notes.x=${runs} is refused if `runs` comes from the environment. No message has the value.
    """
    target = _target.get()
    key = target.key if target else str(_node_._get_full_key(None))
    if not WHERE.fullmatch(key):
        raise UserError(
            f"{key} cannot be taken from the environment (${{oc.env:{variable}}}): everybody could read it in "
            "config.yaml and in MLflow. Type the value itself; only paths of files may come from the environment. "
            "MLflow reads its own secrets there: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD."
        )
    if target is None:
        return ""  # only the type of a value that an override replaces is looked at
    if variable not in os.environ and not default:
        raise UserError(f"{key} needs the environment variable {variable}, which is not set: set it, or give {key}=…")
    target.used = True
    return os.environ.get(variable, *default)


def _changes(override: str) -> bool:
    """Whether an override changes a value of the recipe for its method and data."""
    key, _, value = override.lstrip("+~").partition("=")
    if key == "ablation":
        return value != "none"
    group, _, field = key.partition(".")
    kinds = (*IDENTITY, "init", "weights", "precision", "walk_precision")
    return group in kinds and key not in ("method", "data", "protocol", "seed", "budget") and field not in PLACES


def _command(verb: str, arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "harness", *([] if verb == "run" else [verb]), *arguments])


def _explain(message: str) -> str:
    """Rewrite an error message of Hydra or OmegaConf: add similar names, and leave out search paths."""
    if match := OURS.match(message):
        return match[1]
    if match := re.search(r"Could not find '(\w+)/([^']+)'", message):
        group, name = match.groups()
        value = providers.entry(group, name)
        why = f"Its class {value} is installed, but its package has no configs/{group}/{name}.yaml. " if value else ""
        return f"There is no {group} called '{name}'. {why}{near(name, names(group))}"
    if match := re.search(r"Interpolation key '([^']+)' not found\s+full_key: (\S+)", message):
        missing, key = match.groups()
        group = key.partition(".")[0]
        return f"{key} is {missing}, which this config lacks. Give {key}=…, or choose another {group}= or data=."
    return message


def _near_key(key: str, config: "DictConfig") -> str:
    """A sentence with the most similar keys of a config, and the command that shows all keys."""
    from omegaconf import OmegaConf

    keys = [key for key, _ in flatten(cast(Part, OmegaConf.to_container(config)))]
    close = near(key, keys).partition("There are")[0]
    return f"{close}python -m harness --cfg job shows all keys; add method=… to see those of a method."
