"""A record that does not follow its schema is refused; a record is written completely or not at all."""

import json

import pytest
import yaml
from pydantic import ValidationError
from recorded import some_record, some_score

from harness.core.errors import UserError
from harness.core.registry import configs
from harness.evaluation.score import Selection
from harness.runs import record


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record.write(tmp_path / "record.json", some_record())
    assert record.read(tmp_path / "record.json") == some_record()
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("change", [{"state": "finished"}, {"seed": "first"}, {"colour": "blue"}, {"scores": {"x": 1}}])
def test_what_is_not_in_the_schema_is_refused(tmp_path, change):
    with pytest.raises(ValidationError):
        some_record(**change)
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**json.loads(some_record().model_dump_json()), **change}))
    with pytest.raises(UserError, match=r"record\.json is not a readable record"):
        record.read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_is_a_number(value):
    with pytest.raises(ValidationError):
        some_score(value=value)


def test_the_result_leaves_out_what_depends_on_time_and_place():
    later = some_record(cost=None, origin=some_record().origin.model_copy(update={"created": "later", "threads": 8}))
    assert later.result() == some_record().result()
    assert some_record(outcomes={"clean": "111"}).result() != some_record().result()


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError):
        some_record().seed = 1


def on_disk(tmp_path, **changed):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**json.loads(some_record().model_dump_json()), **changed}))
    return path


def test_a_record_of_schema_1_is_read_as_one_of_today(tmp_path):
    older = json.loads(some_record().model_dump_json(exclude={"canaries"}))
    del older["protocol"]["label"], older["scores"]["clean_accuracy"]["table"]
    texts = {
        "epochs": "accuracies on validation and FD against train, seed 0",
        "steps": "the test split, and test again",
        "rate": "training time, contests and strain",
    }
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**older, "schema_version": 1, "selection": texts}))
    splits = {"epochs": ["validation", "train"], "steps": ["test"], "rate": []}
    chosen = {what: Selection.model_validate({"by": text, "split": splits[what]}) for what, text in texts.items()}
    assert record.read(path) == some_record(selection=chosen)


@pytest.mark.parametrize("version", [0, 3, "two", None])
def test_a_record_of_an_unknown_schema_is_named_with_what_to_do(tmp_path, version):
    with pytest.raises(UserError, match=rf"record\.json .*it has schema version {version}, .* 1 and 2\. Read it with"):
        record.read(on_disk(tmp_path, schema_version=version))


@pytest.mark.parametrize("how", ["FD on train", {"by": "FD"}, {"by": "FD", "split": ["tset"]}])
def test_a_selection_of_today_names_its_splits(how):
    with pytest.raises(ValidationError):
        some_record(selection={"steps": how})


def test_every_config_says_by_what_and_on_which_splits_it_was_chosen_and_none_on_the_test_split():
    files = [path for group in ("recipe", "study", "experiment") for path in configs(group).glob("*.yaml")]
    contents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    chosen = [how for content in contents for how in content.get("selection", {}).values()]
    assert len(chosen) > 30
    assert not any("test" in Selection.model_validate(how).split for how in chosen)
