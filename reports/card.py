"""The model card of published weights, made from the record of their run."""

import json
from collections import defaultdict
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.evaluation.score import Score, group_warnings
from harness.reports.columns import in_hours
from harness.reports.compare import show_value
from harness.reports.titles import cite, reference, title
from harness.runs.fetch import known
from harness.runs.publish import net_overrides
from harness.runs.record import Record
from harness.runs.run import Run

TEMPLATES = Path(__file__).parent / "templates"

LICENCES = {
    "cifar": "none is stated; Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    "digits": "CC BY 4.0; Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
    "fashion_mnist": "MIT; Xiao et al., Fashion-MNIST, 2017",
    "fields": "none is needed, as they are drawn at random",
    "imagenet": "research and education without commerce, by its terms of access; Russakovsky et al., 2015",
    "kmnist": "CC BY-SA 4.0; Clanuwat et al., Deep Learning for Classical Japanese Literature, 2018",
    "noise": "none is needed, as it is drawn at random",
    "patches": "as the data, whose training images they are made of",
    "svhn": "use without commerce; Netzer et al., 2011",
    "tinyimages": "none is stated, and its authors withdrew it in 2020",
}
"""What is known of the licences of data and outliers, by the name without the digits at its end."""

UNKNOWN = "not known to the harness; say it here before you publish"


def card(run: Run, record: Record, licence: str, sha256: str, address: str) -> str:
    """Return the card as Markdown; its head is the metadata that a hub reads.

    licence: of the weights. sha256: of their file. address: what `harness.load` takes.
    """
    tables: dict[str, list[Score]] = defaultdict(list)
    for score in sorted(record.scores.values(), key=lambda score: score.table):
        tables[score.table].append(score)
    entry, outliers = known(run.config.init or ""), run.config.outliers["name"]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": show_value, "duration": lambda seconds: in_hours(seconds / 3600)}
    return environment.get_template("card.md").render(
        record=record,
        name=run.name,
        method=title(record.method),
        licence=licence,
        sha256=sha256,
        address=address,
        overrides=[json.dumps(word, ensure_ascii=False) for word in net_overrides(run.config)],
        tables=tables,
        warnings=group_warnings((s.title, warning) for s in record.scores.values() for warning in s.warnings),
        outliers=outliers if any("outliers" in stage.streams for stage in run.method.stages.values()) else "none",
        begun=f", {entry.citation}" if entry else "",
        data_licence=_licence(record.data),
        outliers_licence=_licence(outliers),
        init_licence=entry.licence if entry else "",
        citation=reference(cite(record.method)),
    )


def _licence(name: str) -> str:
    return LICENCES.get(name.rstrip("0123456789"), UNKNOWN)
