"""What would spoil an evaluation days later is refused before training, all of it in one message."""

import json
from urllib.error import URLError

import pytest
import torch
from commandline import bare

import harness
from harness.core.errors import UserError
from harness.datasets.digits import Digits
from harness.launch.preflight import missing, ready_to_judge
from harness.runs import build


def planned(*overrides):
    (run,) = harness.plan("method=at", *overrides)
    return run


def refusals(*overrides):
    """The lines of the message that refuses a run; none if it is not refused."""
    try:
        ready_to_judge([planned(*overrides)])
    except UserError as error:
        return str(error).splitlines()
    return []


def entry(name, **fields):
    return f"+protocol.metrics.{name}={json.dumps(fields).replace(chr(34), '')}"


AGAIN = {
    "accuracy": (entry("again", metric="accuracy", split="train"), "clean_accuracy"),
    "robustness": (
        entry("again", metric="robustness", split="test", norm="L2", eps=0.5, targets=3, chunk=9, seed=1),
        "robust_accuracy/l2_0.5",
    ),
    "fidelity": (entry("again", metric="fidelity", features="digits", kid_subset=90, seed=7), "kid_digits"),
    "calibration": (entry("again", metric="calibration", split="test", bins=3), "ece"),
    "ood": (
        "+protocol.metrics.again={metric: ood, split: test, sets: {other: {name: noise}}, scores: [msp], count: 5, "
        "chunk: 5, seed: 0}",
        "ood_auroc",
    ),
    "counterfactuals": (
        "+protocol.metrics.again={metric: counterfactuals, split: train, radii: [1, 9], steps: 5, features: null, "
        "chunk: 420, seed: 3}",
        "counterfactual_reached/l2_1",
    ),
}


@pytest.mark.parametrize("metric", AGAIN)
def test_two_entries_that_give_one_score_are_both_named_with_its_key(metric):
    override, key = AGAIN[metric]
    (line,) = refusals(override)
    assert line.startswith(f"protocol.metrics.{metric} and protocol.metrics.again both give ")
    assert key in line and line.endswith("~protocol.metrics.again.")


def test_every_shipped_protocol_gives_each_score_once(monkeypatch):
    monkeypatch.setattr("harness.launch.preflight._check", lambda run: None)
    from harness.evaluation import evaluator

    of_imagenet = ("imagenet256", "adm", "dat-paper-imagenet", "robustbench-imagenet")
    for name in (*of_imagenet, "cifar", "acceptance", "dat-paper", "quick", "digits"):
        data = "imagenet256" if name in of_imagenet else "digits" if name == "digits" else "cifar10"
        run = planned(f"data={data}", f"protocol={name}")
        keys = [key for metric in evaluator.metrics(run.config.protocol).values() for key in metric.keys(run.data)]
        assert keys and len(keys) == len(set(keys)), name


TOO_FEW = {
    "protocol.samples.count=64": ["protocol.metrics.fidelity", "protocol.samples.count=64", "At least 65"],
    "protocol.metrics.fidelity.kid_subset=1001": ["protocol.metrics.fidelity", "kid_subset=1001", "1000 samples"],
    "protocol.metrics.fidelity.splits=501": ["protocol.metrics.fidelity", "splits=501", "1000"],
    "protocol.metrics.calibration.bins=361": ["protocol.metrics.calibration", "bins=361", "360 images"],
    "protocol.metrics.counterfactuals.count=90": ["protocol.metrics.counterfactuals", "At least 65", "features=null"],
    "protocol.selection.count=60": ["protocol.selection.count=60", "At least 65"],
}


@pytest.mark.parametrize("override", TOO_FEW)
def test_too_few_images_are_told_with_the_setting(override):
    added = "+" * ("splits" in override or "counterfactuals.count" in override)
    (line,) = [line for line in refusals(added + override) if TOO_FEW[override][0] in line]
    for part in TOO_FEW[override]:
        assert part in line


def test_a_split_without_images_is_told_by_each_metric_that_uses_it(monkeypatch):
    splits = [f"protocol.metrics.{name}.split=validation" for name in AGAIN if name != "fidelity"]
    run = planned("~protocol.selection", *splits)
    length = Digits.length
    monkeypatch.setattr(Digits, "length", lambda data, split: 0 if split == "validation" else length(data, split))
    with pytest.raises(UserError) as caught:
        ready_to_judge([run])
    for name in set(AGAIN) - {"fidelity"}:
        assert f"protocol.metrics.{name}: " in str(caught.value)
    assert str(caught.value).count("the validation split has 0 images") == 5


def test_too_few_images_to_compare_samples_with_are_told():
    lines = refusals(
        "data.validation=1080",
        "data.test=657",
        "method.robust.training.batch=8",
        "~protocol.selection",
        "~protocol.metrics.counterfactuals",
    )
    (line,) = lines
    assert "protocol.metrics.fidelity: images of the train split=60" in line


def test_all_that_is_wrong_is_told_at_once():
    lines = refusals(
        "protocol.metrics.fidelity.kid_subset=1001",
        "protocol.metrics.calibration.bins=361",
        "protocol.selection.count=60",
        AGAIN["accuracy"][0],
    )
    assert len(lines) == 4 and len(set(lines)) == 4
    for part in ("kid_subset=1001", "bins=361", "selection.count=60", "both give clean_accuracy"):
        assert any(part in line for line in lines)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache of weights, and a network that does not answer; returns the urls that were asked for."""
    asked = []

    def away(url, *_, **__):
        asked.append(url)
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.download_url_to_file", away)
    return asked


INCEPTION = ("protocol.metrics.fidelity.features=inception", "protocol.samples.count=2100")


def test_weights_that_cannot_be_fetched_stop_a_run_before_it_trains(type_, no_network, tmp_path):
    arguments = bare("standard", steps=2, keep=("fidelity",))
    status, _, err = type_(*arguments, *INCEPTION)
    assert status == 2 and "protocol.metrics.fidelity" in err and "extractors.inception=PATH" in err
    assert no_network and not list(tmp_path.glob("runs/**/*.safetensors"))


def test_a_plan_shows_missing_weights_and_fetches_nothing(type_, no_network, tmp_path):
    status, out, err = type_("plan", "method=standard", *INCEPTION)
    assert status == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("Missing: ")]
    for part in ("weights of the extractor 'inception'", str(tmp_path / "torch"), "https://", "extractors.inception="):
        assert part in line
    assert "Estimated remaining cost" in out and no_network == [] and list(tmp_path.iterdir()) == []
    status, out, _ = type_("plan", "method=standard", *INCEPTION, "extractors.inception=nowhere.pth")
    assert status == 0 and f"Missing: the weights of the extractor 'inception', at {tmp_path / 'nowhere.pth'}." in out


def test_weights_that_are_here_are_not_missing(no_network, tmp_path):
    path = tmp_path / "weights.pth"
    path.touch()
    assert missing([planned()]) == []
    assert missing([planned(*INCEPTION, f"extractors.inception={path}")]) == []
    both = (*INCEPTION, "protocol.selection.features=dinov2")
    assert [line.split("'")[1] for line in missing([planned(*both)])] == ["inception", "dinov2"]


def test_a_missing_reference_file_is_shown_with_where_it_belongs(tmp_path):
    (line,) = missing(
        [planned("+protocol.metrics.fidelity.statistics=x.npz", f"+protocol.metrics.fidelity.root={tmp_path}")]
    )
    assert line.startswith(f"reference file at {tmp_path / 'x.npz'}. Put it there")


@pytest.mark.parametrize("content", [b"not a zip file", b"PK\x03\x04 and then it was cut"])
def test_a_damaged_reference_file_is_told_once(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    given = ("+protocol.metrics.fidelity.statistics=x.npz", f"+protocol.metrics.fidelity.root={tmp_path}")
    (line,) = refusals(*given)
    assert line.startswith("protocol.metrics.fidelity: ") and "x.npz does not hold statistics" in line


class Wide(torch.nn.Module):
    """Gives a feature map instead of logits."""

    def forward(self, x):
        return x


def test_a_net_that_does_not_take_the_images_is_told_with_those_that_do(type_, tmp_path):
    status, _, err = type_("plan", "model=convnext_large", "model.mean=[0]", "model.std=[1]")
    assert status == 2
    for part in (
        "The net convnext_cvst",
        "1x8x8",
        "data=digits",
        "Kernel size",
        "Nets that accept them: model=digits, model=dm_wrn, model=preactresnet18, model=small, model=wrn.",
    ):
        assert part in err
    status, _, err = type_("bench", "method=at", "model=timm", "rounds=1")
    assert status == 2 and "need 1 values, one for each channel" in err and "model=digits" in err
    status, _, err = type_("check", "method=at", "model=timm")
    assert status == 2 and "model=digits" in err
    assert list(tmp_path.iterdir()) == []


def test_nets_are_tried_without_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no answer is kept that other nets gave
    devices = set()
    monkeypatch.setattr(build, "_net", lambda part, data: devices.add(torch.empty(0).device.type) or Wide())
    with pytest.raises(UserError, match=r"gives \(1, 1, 8, 8\) instead of logits, \(1, 10\)"):
        planned()
    assert devices == {"meta"}


def test_the_nets_that_are_named_do_take_the_images(tmp_path):
    """Each shipped net is built with weights, and passes an image of 32x32, exactly if it is named."""
    (run,) = harness.plan("method=at")
    photographs = type(run.data)()
    object.__setattr__(photographs, "side", 32)
    kind = type("Photographs", (type(run.data),), {"shape": (3, 32, 32)})
    run.__dict__["data"] = kind()
    run.config.model.update(mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(UserError, match="The net digits does not accept images of 3x32x32") as caught:
        build.check_net(run)
    named = str(caught.value).partition("Nets that accept them: ")[2]
    for name in ("digits", "small", "resnet50", "timm", "convnext_small"):
        part = build.shipped_models()[name]
        net = build._net({k: v for k, v in part.items() if k not in ("mean", "std")}, run.data)
        try:
            accepted = net.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 10)
        except RuntimeError:
            accepted = False
        assert (f"model={name}" in named.rstrip(".").split(", ")) is accepted, name


def test_trying_a_net_draws_no_random_number():
    before = torch.get_rng_state()
    with pytest.raises(UserError):
        planned("model=timm")
    assert torch.equal(torch.get_rng_state(), before)
