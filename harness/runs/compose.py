"""The command line → composed configs. Only this file knows Hydra, and that by its public API alone.

Hydra composes what the choices of a command line name (method=at, data=digits, …); the values that it gives beside
them (seed=1, method.joint.training.lr=1e-3, …) are then put in their places here, in the spelling of the place.
"""

import argparse
import os
import re
import shlex
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import yaml

from harness.core.errors import UserError, near
from harness.core.registry import configs, names
from harness.runs.config import Config, Part, config_of
from harness.runs.run import IDENTITY, PLACES, YAML

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig, Node

WHERE = re.compile(r"runs|reports|init|extractors\.\w+|(\w+\.)+root")
"""The keys that say where files are."""

QUOTING = "Overrides are key=value; a value with brackets, braces, commas or spaces is quoted twice: 'key=\"a, b\"'."

TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""What a person types where a bool stands."""

OCTAL = re.compile(r"[-+]?0[0-9_]+")
"""A number of yaml that begins with a zero, which yaml reads as octal."""


class Flags(argparse.ArgumentParser):
    """Parses the flags beside overrides; an unknown one is a UserError, not an exit."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - argparse's own
        super().__init__(add_help=False, allow_abbrev=False, **given)
        self.add_argument("-m", "--multirun", action="store_true")
        self.add_argument("--config-dir", "-cd")
        self.add_argument("words", nargs="*")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with a flag."""
        raise UserError(f"{message[:1].upper()}{message[1:]}. The flags are {', '.join(self.flags())}.")

    def flags(self) -> list[str]:
        """All flags, without their short forms."""
        return sorted({max(action.option_strings, key=len) for action in self._actions if action.option_strings})

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The arguments, flags anywhere among them; UserError for a flag that there is none of."""
        given, unknown = self.parse_known_intermixed_args(list(arguments))
        if unknown:
            raise UserError(f"There is no flag {unknown[0]}. The flags are {', '.join(self.flags())}.")
        return given


def compose(
    arguments: Sequence[str], verb: str = "run", typed: Sequence[str] | None = None, parts: Part | None = None
) -> list[Config]:
    """The configs that a command line means, one for each run of a sweep; each notes the command.

    arguments: overrides, -m and --config-dir. typed: the arguments of the command, where it has others too. parts: what
    takes the place of parts of the config before what refers to them is resolved. UserError where they fit no config.
    """
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException, OverrideParseException
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException

    given = Flags().read(arguments)
    _refuse(given.words)
    _resolve()
    places = [configs(""), *([Path(given.config_dir).absolute()] if given.config_dir else [])]
    for place in places:
        if not place.is_dir():
            raise UserError(f"--config-dir={given.config_dir}: there is no such folder.")
    parser = OverridesParser.create()

    @cache
    def composed(*choices: str) -> "DictConfig":
        """What Hydra composes of some choices; once for all runs that agree in them."""
        search = [f"hydra.searchpath=[{','.join(f'file://{place}' for place in places[1:])}]"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = hydra.compose("config", [*choices, *search], return_hydra_config=True)
        _check_spelling(found, places)
        return found

    try:
        with hydra.initialize_config_dir(str(places[0]), version_base="1.3"):
            overrides = parser.parse_overrides(given.words)
            # What is swept over is not known yet, but an experiment may say that it is a sweep, and over what.
            fixed = [override for override in overrides if not override.is_sweep_override()]
            study = composed(*_choices(fixed, places)).hydra
            swept = given.multirun or study.mode == RunMode.MULTIRUN
            if swept:
                params = parser.parse_overrides(
                    [f"{key}={value}" for key, value in (study.sweeper.params or {}).items()]
                )
                runs = _grid([*params, *overrides])
            else:
                runs = [given.words]
                for override in overrides:
                    if override.is_sweep_override():
                        raise UserError(f"{override.input_line}: several values are a sweep, which -m does. {QUOTING}")
            command = _command(verb, typed if typed is not None else arguments)
            found: list[Config] = []
            for words in runs:
                overrides = parser.parse_overrides(words)
                config = _with_values(composed(*_choices(overrides, places)), _values(overrides, places), parts or {})
                changes = [word for word in words if _changes(word)]
                found.append(replace(config_of(config), overrides=changes, command=command))
            return found
    except OverrideParseException as error:
        raise UserError(f"{error.override}: {error.message.splitlines()[0]}. {QUOTING}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(str(error))) from None


def show(arguments: Sequence[str]) -> str:
    """The composed config of a command line as yaml, as `--cfg job` shows it; of a sweep, those of all its runs."""
    return "---\n".join(
        yaml.safe_dump(config.mapping(), sort_keys=False, allow_unicode=True) for config in compose(arguments)
    )


def _grid(overrides: Iterable["Override"]) -> list[list[str]]:
    """Every combination of swept values, each as a list of overrides; of one key the last override counts."""
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(f"{override.input_line}: a sweep is over listed values, a,b,c, or range(…).")
        swept = override.is_sweep_override()
        found = list(override.sweep_string_iterator()) if swept else [override.get_value_element_as_str()]
        values[key] = [key if override.is_delete() and not value else f"{key}={value}" for value in found]
    return [list(words) for words in product(*values.values())]


def _choices(overrides: Iterable["Override"], places: Sequence[Path]) -> list[str]:
    """The overrides that choose a member of a config group."""
    return [str(override.input_line) for override in overrides if _is_choice(override, places)]


def _values(overrides: Iterable["Override"], places: Sequence[Path]) -> list["Override"]:
    """The overrides that give a value."""
    return [override for override in overrides if not _is_choice(override, places)]


def _is_choice(override: "Override", places: Sequence[Path]) -> bool:
    is_group = any((place / override.key_or_group).is_dir() for place in places)
    return is_group and "." not in override.key_or_group and not isinstance(override.value(), dict)


def _with_values(chosen: "DictConfig", overrides: Iterable["Override"], parts: Part) -> Part:
    """A composed config with values in their places, each spelled as its place has it, and all that refers to them."""
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
            with open_dict(config):
                del (OmegaConf.select(config, path) if path else config)[last]
            continue
        there = path == "" or OmegaConf.is_dict(OmegaConf.select(config, path, throw_on_missing=False))
        present = there and last in (OmegaConf.select(config, path) if path else config)
        if override.is_add() and present and not isinstance(value, dict | list):
            raise UserError(f"{override.input_line}: {key} is there already; leave out the +.")
        if not (override.is_add() or override.is_force_add() or present):
            raise UserError(f"There is no key '{key}'. {_near_key(key, plain)}")
        like = OmegaConf.to_container(before, resolve=True) if OmegaConf.is_config(before) else before
        text = override.get_value_string()
        OmegaConf.update(config, key, _respell(value, like, text, key), merge=True, force_add=True)
    whole = OmegaConf.create({**cast(Part, OmegaConf.to_container(config)), **parts})
    return cast(Part, OmegaConf.to_container(whole, resolve=True))


def _respell(value: Any, like: Any, text: str, key: str) -> Any:  # noqa: ANN401 - whatever yaml holds
    """A value as the config spells what stands at its place: one value has one spelling, and so one name.

    like: what stands there; None where nothing does. text: the value as typed.
    """
    if isinstance(value, dict):
        known = like if isinstance(like, dict) else {}
        return {name: _respell(part, known.get(name), str(part), f"{key}.{name}") for name, part in value.items()}
    if isinstance(value, list):
        known = like if isinstance(like, list) and like else [None]
        return [_respell(part, known[min(at, len(known) - 1)], str(part), key) for at, part in enumerate(value)]
    if value is None or (isinstance(value, str) and "${" in value):
        return value
    if isinstance(like, bool):
        if str(value).lower() in TRUTHS:
            return TRUTHS[str(value).lower()]
        raise UserError(f"{key}={text}: true or false is expected here.")
    if isinstance(like, int | float):
        number = _number(value)
        if number is None or isinstance(value, bool):
            return value if isinstance(value, str) else _refuse_number(key, text, like)
        return float(number) if isinstance(like, float) else _whole(number)
    if isinstance(like, str):
        return value if isinstance(value, str) else text
    return _whole(value) if isinstance(value, float) else value


def _number(value: object) -> int | float | None:
    """A number, also of a text that is one; None of anything else."""
    if isinstance(value, int | float):
        return value
    try:
        return float(str(value)) if re.search(r"[.einf]", str(value)) else int(str(value))
    except ValueError:
        return None


def _whole(number: float) -> int | float:
    """An integral number as an int."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _refuse_number(key: str, text: str, like: object) -> NoReturn:
    raise UserError(f"{key}={text}: a number is expected here, such as {like}.")


def _check_spelling(chosen: "DictConfig", places: Sequence[Path]) -> None:
    """UserError for a number in a chosen yaml file that yaml reads as octal."""
    for group, name in chosen.hydra.runtime.choices.items():
        for path in (place / group / f"{name}.yaml" for place in places):
            if group.startswith("hydra") or not path.is_file():
                continue
            for event in yaml.parse(path.read_text(encoding="utf-8"), YAML):
                if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and OCTAL.fullmatch(event.value):
                    raise UserError(
                        f"{path}, line {event.start_mark.line + 1}: {event.value} is octal in yaml, for it begins with "
                        "0. Leave out the zero, or put quotes around it where it is a text."
                    )


def _resolve() -> None:
    """Tell OmegaConf what configs may say in ${…}."""
    from omegaconf import OmegaConf

    # For studies, which scale what a recipe sets: ${times:0.25,${study.step}}
    OmegaConf.register_new_resolver("times", lambda a, b: float(a) * float(b), replace=True)
    # For radii that the field counts in 255ths of a pixel: ${of_255:8}
    OmegaConf.register_new_resolver("of_255", lambda n: n / 255, replace=True)
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def _refuse(words: Iterable[str]) -> None:
    """UserError for what would have Hydra do more than compose: its own settings name code that it runs."""
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if re.match(r"hydra([./@:]|$)", key):
            launchers = "|".join(names("launcher"))
            raise UserError(f"{word}: Hydra only composes here. Say where runs go with launcher={launchers}.")


def _environment(variable: str, *default: str | None, _node_: "Node") -> str | None:
    """A variable of the environment, for what says where files are; UserError elsewhere, where it might be a secret.

    A config is kept in config.yaml and shown by MLflow.
    """
    key = str(_node_._get_full_key(None))
    if not WHERE.fullmatch(key):
        raise UserError(
            f"{key} cannot be taken from the environment (${{oc.env:{variable}}}): it would stand in config.yaml and "
            "in MLflow for all to read. Write the value itself; only places of files may come from the environment. "
            "MLflow reads its own secrets there: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD."
        )
    if variable not in os.environ and not default:
        raise UserError(f"{key} is to be {variable} of the environment, where there is none: set it, or give {key}=…")
    return os.environ.get(variable, *default)


def _changes(override: str) -> bool:
    """Whether an override changes what the recipe of its method and data says."""
    key = override.lstrip("+~").partition("=")[0]
    group, _, field = key.partition(".")
    kinds = (*IDENTITY, "init", "precision", "walk_precision")
    return group in kinds and key not in ("method", "data", "protocol", "seed") and field not in PLACES


def _command(verb: str, arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "harness", *([] if verb == "run" else [verb]), *arguments])


def _explain(message: str) -> str:
    """Hydra's message, with near names and without its search paths."""
    if found := re.match(r"UserError raised while resolving interpolation: (.+)", message):
        return found[1]
    if found := re.search(r"Could not find '(\w+)/([^']+)'", message):
        group, name = found.groups()
        return f"There is no {group} called '{name}'. {near(name, names(group))}"
    if found := re.search(r"Interpolation key '([^']+)' not found\s+full_key: (\S+)", message):
        missing, key = found.groups()
        group = key.partition(".")[0]
        return f"{key} is {missing}, which this config lacks. Give {key}=…, or choose another {group}= or data=."
    return message


def _near_key(key: str, config: "DictConfig") -> str:
    """The nearest keys of a config, with what to type to see all."""
    from omegaconf import OmegaConf

    keys = _flat(cast(Part, OmegaConf.to_container(config)))
    close = near(key, keys).partition("There are")[0]
    return f"{close}python -m harness --cfg job shows all keys; those of a method need method=… before it."


def _flat(part: Part, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in part.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _flat(value, f"{prefix}{key}.")
    return keys
