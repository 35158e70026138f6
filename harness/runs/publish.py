"""What of a run is for others: its config and record without this machine's places, and how its net is chosen again."""

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from harness.core.settings import flatten
from harness.runs.build import shipped_models
from harness.runs.compose import WHERE, compose
from harness.runs.config import Config, Part
from harness.runs.fetch import is_address
from harness.runs.record import Record
from harness.runs.reopen import FROZEN, data_group
from harness.runs.run import Run, placeless

NUMBERS = (*FROZEN, "init_digest", "precision", "walk_precision")
"""The keys of a config that its numbers come from; the others say where and how it ran."""

PLACE = re.compile(rf"{WHERE.pattern}|tracking|launcher(\..+)?|--config-dir")
"""Keys of a command line that say where something was."""


def config_for_others(run: Run) -> Part:
    """The run's frozen config without paths and addresses of machines; an `init` of this machine is only its name."""
    content = {key: value for key, value in run.config.mapping().items() if key in NUMBERS}
    content = placeless(content) | {"init_digest": run.init, "overrides": without_places(run.config.overrides)}
    if content["init"] and not is_address(content["init"]):
        content["init"] = Path(content["init"]).name
    return content


def record_for_others(record: Record) -> Record:
    """The record, its command without the words that say where something was."""
    try:
        command = shlex.join(without_places(shlex.split(record.origin.command)))
    except ValueError:  # it was changed by hand
        command = ""
    origin = record.origin.model_copy(update={"command": command})
    return record.model_copy(update={"origin": origin, "overrides": without_places(record.overrides)})


def without_places(words: Iterable[str]) -> list[str]:
    """The words of a command without those that say where something was; an address of initial weights stays."""
    kept: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        place = PLACE.fullmatch(key.lstrip("+~")) if equals else "/" in word
        if not place or (key == "init" and is_address(value.strip("'\""))):
            kept.append(word)
    return kept


def net_overrides(config: Config) -> list[str]:
    """The overrides that choose the data and the net of a config, for weights of that net."""
    # Begin from the member of configs/model that is most like the net.
    name, own = config.model["name"], set(map(str, flatten(config.model)))
    members = {member: part for member, part in shipped_models().items() if part["name"] == name}
    closest = max(members, key=lambda member: len(own & set(map(str, flatten(members[member])))), default="timm")
    words = [f"data={data_group(config.data['name'])}", f"model={closest}"]

    # Add what differs.
    base = compose(["method=pretrained", *words])[0]
    for part in ("data", "model"):
        known = dict(flatten(getattr(base, part)))
        for key, value in flatten(placeless(getattr(config, part))):
            if key not in known or known[key] != value:
                plus = "" if key in known else "+"
                words.append(f"{plus}{part}.{key}={json.dumps(value, ensure_ascii=False)}")
    return words
