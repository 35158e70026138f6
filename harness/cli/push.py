"""Push a run's weights, config, record and model card to a folder or a Hugging Face hub, for others to load."""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.errors import UserError, printable
from harness.core.files import atomic_write, sha256, write_text
from harness.core.settings import settings
from harness.core.tensors import load_tensors
from harness.reports.card import card
from harness.runs import fetch, record
from harness.runs.build import last_stage, require_trained
from harness.runs.publish import config_for_others, record_for_others
from harness.runs.run import Run, find, load

WORDS = ("RUN",)
EXAMPLE = "atjem-digits-s0-c1a31312 to=published licence=cc-by-4.0"


@settings
class Arguments:
    """to: a new folder, or hub:OWNER/NAME. licence: the licence of the weights, as hubs name it, such as cc-by-4.0."""

    to: str
    licence: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]{1,60}", self.licence):
            raise ValueError("licence must be a name such as cc-by-4.0, mit, apache-2.0 or other")
        if fetch.is_address(self.to) and not re.fullmatch(r"hub:\w[\w.-]*/\w[\w.-]*", self.to):
            raise ValueError("to must be a folder or hub:OWNER/NAME")


def run(request: Request) -> None:
    """Write the folder, or a commit of the hub's repository, and print how it is loaded."""
    arguments = request.arguments
    run = load(find(request.words[0], Path(request.config.runs)))
    if arguments.to.startswith("hub:"):
        address = _to_hub(run, arguments.to.removeprefix("hub:"), arguments.licence)
    else:
        folder = Path(arguments.to)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UserError(f"to={folder} exists already. Name a new folder.")
        write(run, folder, arguments.licence, "hub:OWNER/NAME@COMMIT")
        address = str(folder / fetch.FILE)
    console.print(f"Pushed. Load it with init={address}; README.md explains how.", markup=False, soft_wrap=True)


def write(run: Run, folder: Path, licence: str, address: str) -> None:
    """Write a run's weights, config, record and card into a folder; UserError if it is not done."""
    # Check that there is a result, and that the weights are those that it is of.
    if run.state != "done":
        raise UserError(
            f"{run.name} is {run.state}, so it has no scores for a card. To finish it: {run.config.command}"
        )
    stage = last_stage(run)
    if stage is None:
        raise UserError(f"{run.name} trained nothing: its weights are those of init={run.config.init}.")
    require_trained(run, [stage])
    source = stage.folder / "weights.safetensors"
    load_tensors(source, torch.device("cpu"), stage.weights)
    result = record_for_others(record.read(run.folder / "record.json"))

    # Make all texts before anything is written.
    text = card(run, result, licence, sha256(source), address)
    config = yaml.safe_dump(config_for_others(run), sort_keys=False, allow_unicode=True)
    with atomic_write(folder / fetch.FILE) as temporary:
        shutil.copyfile(source, temporary)
    write_text(folder / "config.yaml", config)
    record.write(folder / "record.json", result)
    write_text(folder / "README.md", text)


def _to_hub(run: Run, repo: str, licence: str) -> str:
    """Commit the files to a repository, which is private if it is new; return the address of the weights."""
    from huggingface_hub import HfApi

    with TemporaryDirectory() as folder:
        write(run, Path(folder), licence, f"hub:{repo}@COMMIT")
        try:
            hub = HfApi()
            hub.create_repo(repo, private=True, exist_ok=True)
            commit = hub.upload_folder(repo_id=repo, folder_path=folder, commit_message=f"Add {run.name}").oid
        except Exception as error:  # the client raises many kinds
            raise UserError(
                f"to=hub:{repo}: the hub refused it ({printable(str(error))}). Log in with hf auth login, or write "
                "a folder instead: to=FOLDER."
            ) from None
    return f"hub:{repo}@{commit}"
