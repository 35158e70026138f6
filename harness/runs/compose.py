"""The command line → composed configs. Only this file knows Hydra."""

import os
import re
import shlex
import sys
import tempfile
from typing import TYPE_CHECKING, cast

from harness.core.errors import UserError, near
from harness.core.registry import configs, names
from harness.runs.run import IDENTITY, PLACES, Config

if TYPE_CHECKING:
    from omegaconf import DictConfig, Node

WHERE = re.compile(r"runs|reports|init|extractors\.\w+|(\w+\.)+root")
"""The keys that say where files are."""

QUOTING = "Overrides are key=value; a value with brackets, braces, commas or spaces is quoted twice: 'key=\"a, b\"'."


def compose(
    arguments: list[str], verb: str = "run", typed: list[str] | None = None, parts: Config | None = None
) -> list[Config]:
    """The configs that Hydra composes from the command line, one for each run of a sweep; each notes the command.

    typed: the arguments of the command, where some of them are not Hydra's. parts: what takes the place of parts of
    the config before what refers to them is resolved.
    Hydra's own flags (--cfg job, --info all, -sc …) do what they say and leave. UserError where the
    arguments fit no config.
    """
    import hydra
    from hydra._internal.hydra import Hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException, OverrideParseException
    from hydra.plugins.sweeper import Sweeper
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _refuse(arguments)
    collected: list[tuple[DictConfig, list[str]]] = []

    def collect(cfg: "DictConfig") -> None:
        said = cast(list[str], OmegaConf.to_container(HydraConfig.get().overrides.task))  # as typed, not resolved
        collected.append((cfg, [override for override in said if _changes(override)]))

    before = sys.argv, Hydra.get_mode, Sweeper.validate_batch_is_legal
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, not as text from Hydra
    with tempfile.TemporaryDirectory() as scratch:
        _resolve(scratch)
        sys.argv = [sys.argv[0], *arguments]
        try:
            # Hydra composes once more to be told by configs what -m tells here, and each run of a sweep once more to
            # find mistakes before the first begins; here all are composed before one begins
            Hydra.get_mode = lambda self, config_name, overrides: None
            Sweeper.validate_batch_is_legal = lambda self, batch: None
            hydra.main(version_base="1.3", config_path=str(configs("")), config_name="config")(collect)()
            resolved: list[tuple[Config, list[str]]] = []
            for cfg, changes in collected:
                whole = OmegaConf.create({**cast(Config, OmegaConf.to_container(cfg)), **(parts or {})})
                resolved.append((cast(Config, OmegaConf.to_container(whole, resolve=True)), changes))
        except OverrideParseException as error:
            raise UserError(f"{error.override}: {error.message.splitlines()[0]}. {QUOTING}") from None
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_explain(str(error))) from None
        finally:
            sys.argv, Hydra.get_mode, Sweeper.validate_batch_is_legal = before
    if not resolved and not {"-m", "--multirun"} & set(arguments):
        sys.exit(0)  # one of Hydra's own flags, which has been answered
    command = _command(verb, typed or arguments)
    return [{**config, "overrides": changes, "command": command} for config, changes in resolved]


def _resolve(scratch: str) -> None:
    """Tell OmegaConf what configs may say in ${…}."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("scratch", lambda: scratch, replace=True)
    # For studies, which scale what a recipe sets: ${times:0.25,${study.step}}
    OmegaConf.register_new_resolver("times", lambda a, b: float(a) * float(b), replace=True)
    # For radii that the field counts in 255ths of a pixel: ${of_255:8}
    OmegaConf.register_new_resolver("of_255", lambda n: n / 255, replace=True)
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def _refuse(arguments: list[str]) -> None:
    """UserError for what would have Hydra do more than compose: its own settings name code that it runs."""
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if re.match(r"hydra([./@:]|$)", key):
            launchers = "|".join(names("launcher"))
            raise UserError(f"{argument}: Hydra only composes here. Say where runs go with launcher={launchers}.")


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


def _command(verb: str, arguments: list[str]) -> str:
    return shlex.join(["python", "-m", "harness", *([] if verb == "run" else [verb]), *arguments])


def _explain(message: str) -> str:
    """Hydra's message, with near names and without its search paths."""
    if found := re.match(r"UserError raised while resolving interpolation: (.+)", message):
        return found[1]
    if found := re.search(r"Could not find '(\w+)/([^']+)'", message):
        group, name = found.groups()
        return f"There is no {group} called '{name}'. {near(name, names(group))}"
    if found := re.search(r"Could not override '([^']+)'", message):
        key = found[1]
        return f"There is no key '{key}'. {_near_key(key)}"
    if found := re.search(r"Interpolation key '([^']+)' not found\s+full_key: (\S+)", message):
        missing, key = found.groups()
        group = key.partition(".")[0]
        return f"{key} is {missing}, which this config lacks. Give {key}=…, or choose another {group}= or data=."
    return message


def _near_key(key: str) -> str:
    """The nearest keys of the defaults, with what to type to see all."""
    keys = _flat(compose([])[0])
    close = near(key, keys).partition("There are")[0]
    return f"{close}python -m harness --cfg job shows all keys; those of a method need method=… before it."


def _flat(config: Config, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in config.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _flat(value, f"{prefix}{key}.")
    return keys
