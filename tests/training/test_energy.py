"""The energy of a training: measured by the processor's counters, or not told at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from slt.files import read_json
from slt.training.energy import metered


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    """The counter of a processor, and one of a part of it that is in it already."""
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        (tmp_path / "powercap" / name).mkdir(parents=True)
        for key, value in (("energy_uj", 5_000_000), ("max_energy_range_uj", 9_000_000), ("name", "package-0\n")):
            (tmp_path / "powercap" / name / key).write_text(str(value))
    return tmp_path / "powercap" / "intel-rapl:0"


def test_what_two_sittings_took_is_added_also_over_the_end_of_the_counter(zone: Path, tmp_path: Path) -> None:
    for now in (7_000_000, 1_000_000):  # 2 J, then 3 J: from 7 to 9, where it begins again, and on to 1
        with metered(tmp_path, counters=zone.parent):
            (zone / "energy_uj").write_text(str(now))
    assert read_json(tmp_path / "energy.json") == {"joules": {"package-0": 5.0}}


def test_nothing_is_told_where_the_counters_cannot_be_read(tmp_path: Path) -> None:
    with metered(tmp_path, counters=tmp_path / "nothing"):
        pass
    assert not (tmp_path / "energy.json").exists()
