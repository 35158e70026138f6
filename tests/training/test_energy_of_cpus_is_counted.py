"""CPU energy is counted where Linux lets us read its counters, which begin again at 0, and is None elsewhere."""

import pytest
import torch
from pages import COST, STAGE

from harness.core.distributed import ALONE, World
from harness.training import meter
from harness.training.meter import Meter

CPU = torch.device("cpu")
RANGE = 1_000_000_000


@pytest.fixture
def counters(monkeypatch, tmp_path):
    """A function that sets the counters of a machine with a package, its memory, its cores and the whole platform."""
    monkeypatch.setattr(meter, "POWERCAP", tmp_path)

    def count(package: int, memory: int) -> None:
        values = {"0": ("package-0", package), "0:0": ("core", 7), "0:1": ("dram", memory), "1": ("psys", 9)}
        for zone, (name, value) in values.items():
            folder = tmp_path / f"intel-rapl:{zone}"
            folder.mkdir(exist_ok=True)
            for file, text in (("name", name), ("energy_uj", value), ("max_energy_range_uj", RANGE)):
                (folder / file).write_text(f"{text}\n")

    count(0, 0)
    return count


def test_packages_and_their_memory_count_and_nothing_twice(counters):
    counters(5_000_000, 1_000_000)
    counted = Meter(CPU, ALONE)
    counters(9_000_000, 1_500_000)
    assert counted.cpu_joules() == pytest.approx(4.5)
    assert counted.joules() is None, "there is no GPU"


def test_a_counter_that_begins_again_is_read_in_time(counters, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    counters(RANGE - 1_000_000, 0)
    counted = Meter(CPU, ALONE)
    for minute, value in enumerate((2_000_000, RANGE - 5_000_000, 3_000_000), 1):
        counters(value, 0)
        counted.note()  # too early: nothing is read
        now[0] = 61.0 * minute
        counted.note()
    assert counted.cpu_joules() == pytest.approx(3 + 993 + 8), "in joules, after the first, second and third minute"


def test_energy_before_an_interruption_is_added(counters):
    counted = Meter(CPU, ALONE, {"seconds": 7.0, "joules": None, "cpu_joules": 5.0})
    counters(3_000_000, 0)
    assert counted.cpu_joules() == 8


@pytest.mark.parametrize("before", [{"seconds": 7.0, "joules": 1.0}, {"seconds": 7.0, "cpu_joules": None}])
def test_it_is_unknown_where_it_was_once(counters, before):
    assert Meter(CPU, ALONE, before).cpu_joules() is None


def test_one_process_of_a_machine_counts_it(counters):
    alone = World(rank=1, size=1, local=1)
    counted = Meter(CPU, alone)
    counters(3_000_000, 0)
    assert counted.cpu_joules() == 0


@pytest.mark.parametrize("damage", ["missing", "unreadable", "text"])
def test_what_cannot_be_read_is_unknown_and_no_error(counters, tmp_path, monkeypatch, damage):
    file = tmp_path / "intel-rapl:0" / "energy_uj"
    file.unlink()
    if damage == "unreadable":
        file.mkdir()  # as root reads any file
    if damage == "text":
        file.write_bytes(b"\xff\n")
    counted = Meter(CPU, ALONE)
    counted.note()
    assert counted.cpu_joules() is None
    monkeypatch.setattr(meter, "POWERCAP", tmp_path / "nowhere")
    assert Meter(CPU, ALONE).cpu_joules() is None


def test_a_record_has_the_energy_of_all_its_stages_or_none_and_older_ones_have_none():
    stages = [STAGE.model_copy(update={"cpu_joules": joules}) for joules in (1.8e6, 3.6e6)]
    assert COST.model_copy(update={"stages": stages}).cpu_kwh == 1.5
    assert COST.model_copy(update={"stages": [*stages, STAGE]}).cpu_kwh is None
    older = COST.model_dump_json(exclude={"stages": {"__all__": {"cpu_joules"}}})
    assert type(COST).model_validate_json(older) == COST
