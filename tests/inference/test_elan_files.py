"""Captions in ELAN's form, opened again by its own library and by the reader of corpora."""

from __future__ import annotations

import pytest

from slt.corpora.eaf import read_eaf
from slt.inference.elan import write_elan
from slt.inference.onnx import Hypothesis
from slt.inference.subtitles import Caption

pympi = pytest.importorskip("pympi", reason='pympi-ling is absent: pip install "slt[media]"')

SAID = (Hypothesis("¿Dónde está la niña?", -0.25, ()), Hypothesis("¿Dónde?", -0.5, ()), Hypothesis("La niña", -1.5, ()))
CAPTIONS = [Caption(0.0, 2.5, SAID), Caption(2.5, 4.0, SAID[1:2], signer=2), Caption(4000.0004, 4001, ())]


def test_elan_s_library_opens_captions_scores_and_alternatives(tmp_path):
    write_elan(CAPTIONS, tmp_path / "a.eaf", tmp_path / "a.mp4")
    eaf = pympi.Eaf(str(tmp_path / "a.eaf"))
    assert set(eaf.get_tier_names()) == {"captions", "scores", "signers", "alternatives"}
    assert sorted(eaf.get_annotation_data_for_tier("captions")) == [
        (0, 2500, "¿Dónde está la niña?"), (2500, 4000, "¿Dónde?"), (4000000, 4001000, "…")]  # fmt: skip
    assert [each[2] for each in sorted(eaf.get_ref_annotation_data_for_tier("scores"))] == ["-0.2500", "-0.5000"]
    assert [each[:3] for each in eaf.get_ref_annotation_data_for_tier("signers")] == [(2500, 4000, "signer 2")]
    assert [media["RELATIVE_MEDIA_URL"] for media in eaf.media_descriptors] == ["./a.mp4"]
    assert str(tmp_path) not in (tmp_path / "a.eaf").read_text(encoding="utf-8")


def test_the_reader_of_corpora_reads_them_with_alternatives_in_their_order(tmp_path):
    write_elan(CAPTIONS, tmp_path / "a.eaf", None)
    tiers = {name: spans for (name, _), spans in read_eaf(tmp_path / "a.eaf").items()}
    assert [span.value for span in tiers["captions"]] == [one.text for one in CAPTIONS]
    assert [(span.start, span.value) for span in tiers["scores"]] == [(0.0, "-0.2500"), (2.5, "-0.5000")]
    assert [span.value for span in tiers["alternatives"]] == ["¿Dónde? (-0.50)", "La niña (-1.50)"]
