"""RTMW in MediaPipe's place: small networks of the published form stand for the published ones, which are large."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason='onnxruntime is absent: pip install "slt[export]"')
onnx = pytest.importorskip("onnx", reason='onnx is absent: pip install "slt[export]"')

from bench.landmarker_stub import write_film  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402

from slt import extract  # noqa: E402
from slt.config.checks import CONF  # noqa: E402
from slt.extraction.onnx_models import find_model  # noqa: E402
from slt.extraction.regions import Extractor  # noqa: E402
from slt.extraction.rtmw import DEVIATION, MEAN, RtmwLandmarker, cut_view, decode_simcc  # noqa: E402
from slt.extraction.signers import Signer  # noqa: E402
from slt.files import sha256  # noqa: E402
from slt.streams.arrays import read_pose  # noqa: E402
from slt.streams.pose import Landmarks  # noqa: E402
from slt.streams.skeleton import find_skeleton  # noqa: E402

WIDTH, HEIGHT = 36, 48  # of the small network's input; 288 and 384 of the published ones
POINTS = 133
KEYS = {"model_size": [WIDTH, HEIGHT], "detector": None, "detector_size": [32, 32], "person_confidence": 0.3,
        "point_confidence": 0.3, "face_confidence": 0.5, "margin": 1.25, "follow_margin": 1.25, "detect_interval": 1.0,
        "device": "cpu", "threads": 1}  # fmt: skip


def save(path: Path, nodes: list, outputs: list, constants: dict, size: tuple[int, int]) -> Path:
    helper, made = onnx.helper, onnx.numpy_helper
    picture = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", 3, size[1], size[0]])
    held = [made.from_array(np.asarray(value), name) for name, value in constants.items()]
    shapes = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs]
    graph = helper.make_graph(nodes, "small", [picture], shapes, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def spotting(path: Path) -> Path:
    """All points of this network lie where its input is brightest; its scores are how bright that is."""
    node = onnx.helper.make_node
    nodes, constants = [], {"channel": np.array([1]), "points": np.array([1, POINTS, 1])}
    for name, axis, size in (("simcc_x", 2, WIDTH), ("simcc_y", 3, HEIGHT)):
        constants |= {f"{name}_axes": np.array([axis]), f"{name}_scales": np.array([1, 1, 2], np.float32)}
        nodes += [
            node("ReduceMean", ["input", "channel"], [f"{name}_grey"], keepdims=1),
            node("ReduceMax", [f"{name}_grey", f"{name}_axes"], [f"{name}_row"], keepdims=0),
            node("Resize", [f"{name}_row", "", f"{name}_scales"], [f"{name}_bins"], mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
            node("Tile", [f"{name}_bins", "points"], [name]),
        ]  # fmt: skip
        assert size * 2 > 0
    outputs = [("simcc_x", ["batch", POINTS, 2 * WIDTH]), ("simcc_y", ["batch", POINTS, 2 * HEIGHT])]
    return save(path, nodes, outputs, constants, (WIDTH, HEIGHT))


def fixed(path: Path, **outputs: np.ndarray) -> Path:
    """A network that finds the same in every picture."""
    node = onnx.helper.make_node
    constants = {f"{name}_held": value.astype(np.float32) for name, value in outputs.items()}
    constants |= {"nothing": np.array(0, np.float32)}
    nodes = [node("ReduceMean", ["input"], ["grey"], keepdims=0), node("Mul", ["grey", "nothing"], ["zero"])]
    nodes += [node("Add", [f"{name}_held", "zero"], [name]) for name in outputs]
    return save(path, nodes, [(name, value.shape) for name, value in outputs.items()], constants, (WIDTH, HEIGHT))


def rows(places: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of bins of points (133, 2), in pixels of the input, with scores (133,)."""
    x, y = np.zeros((1, POINTS, 2 * WIDTH)), np.zeros((1, POINTS, 2 * HEIGHT))
    for n, (place, score) in enumerate(zip(places, scores, strict=True)):
        x[0, n, int(2 * place[0])], y[0, n, int(2 * place[1])] = score, score
    return {"simcc_x": x, "simcc_y": y}


def person() -> np.ndarray:
    """Somebody in the pixels of the input, (133, 2): the face above, the left hand on the right."""
    skeleton = find_skeleton("coco_wholebody_133")
    places = np.full((POINTS, 2), (18.0, 41))
    at = {"NOSE": (18, 9), "LEFT_EYE": (20, 7), "RIGHT_EYE": (16, 7), "LEFT_EAR": (22, 8), "RIGHT_EAR": (14, 8),
          "LEFT_SHOULDER": (24, 18), "RIGHT_SHOULDER": (12, 18), "LEFT_WRIST": (28, 30), "RIGHT_WRIST": (8, 30),
          "FACE_36": (15, 7), "FACE_39": (17, 7), "FACE_42": (19, 7), "FACE_45": (21, 7), "FACE_48": (17, 12),
          "FACE_54": (19, 12)}  # fmt: skip
    for name, place in at.items():
        places[skeleton.points.index(name)] = place
    for part, middle in (("left_hand", (28, 32)), ("right_hand", (8, 32))):
        turn = np.arange(21)
        places[[*skeleton.parts[part]]] = np.column_stack([np.cos(turn), np.sin(turn)]) * 3 + middle
    return places


def landmarker(model: Path, **keys) -> RtmwLandmarker:
    return RtmwLandmarker(**KEYS | {"model": str(model)} | keys)


def by_hand(picture: np.ndarray, box: tuple, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """What mmpose and rtmlib compute of a box, spelled out: the network's input, and where its pixel (0, 0) came from.

    The box grows by the margin, then to the input's shape; each pixel of the input takes the four around its source.
    """
    x0, y0, x1, y1 = box
    wide, high = (x1 - x0) * margin, (y1 - y0) * margin
    if wide / high > WIDTH / HEIGHT:
        high = wide * HEIGHT / WIDTH
    else:
        wide = high * WIDTH / HEIGHT
    left, top, step = (x0 + x1) / 2 - wide / 2, (y0 + y1) / 2 - high / 2, wide / WIDTH
    seen = np.zeros((HEIGHT, WIDTH, 3))
    for v in range(HEIGHT):
        for u in range(WIDTH):
            x, y = left + u * step, top + v * step
            for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
                column, row = int(np.floor(x)) + a, int(np.floor(y)) + b
                if 0 <= column < picture.shape[1] and 0 <= row < picture.shape[0]:
                    share = (1 - abs(x - column)) * (1 - abs(y - row))
                    seen[v, u] += share * picture[row, column]
    return seen, np.array([left, top, wide, high])


@pytest.mark.parametrize("box", [(20.0, 10.0, 50.0, 70.0), (-10.0, 30.0, 70.0, 60.0)])
def test_the_view_of_a_box_is_that_of_mmpose(box):
    picture = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
    crop, view = cut_view(picture, box, (WIDTH, HEIGHT), 1.25)
    expected, where = by_hand(picture, box, 1.25)
    np.testing.assert_allclose(view, where, atol=1e-9)
    assert np.abs(crop - expected).max() < 8  # OpenCV takes places in 32nds of a pixel
    assert np.abs(crop - expected).mean() < 1.5


def test_points_lie_at_the_highest_bins_with_the_lower_of_their_two_scores():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(POINTS, 2 * WIDTH)), rng.normal(size=(POINTS, 2 * HEIGHT))
    view = np.array([-5.0, 7.0, 72.0, 96.0])
    found = decode_simcc(x, y, view)
    for n in range(POINTS):
        across = max(range(2 * WIDTH), key=lambda k: x[n, k]) / 2.0  # the split ratio of the codec: two bins a pixel
        down = max(range(2 * HEIGHT), key=lambda k: y[n, k]) / 2.0
        at = (across / WIDTH * view[2] + view[0], down / HEIGHT * view[3] + view[1])
        np.testing.assert_allclose(found[n], (*at, min(x[n].max(), y[n].max())))


def test_a_point_comes_back_to_where_it_is_in_the_picture(tmp_path):
    found_by = landmarker(spotting(tmp_path / "spot.onnx"))
    picture = np.zeros((96, 120, 3), np.uint8)
    picture[30:33, 80:83] = 255
    found = found_by.find(0.0, picture)
    x, y, confidence = found.whole[0]
    assert found.whole.shape == (POINTS, 3)
    assert abs(x * 120 - 81) <= 120 * 1.25 / WIDTH
    assert abs(y * 96 - 31) <= 120 * 1.25 / WIDTH
    brightest = float(((255 - MEAN) / DEVIATION).mean())
    assert confidence == min(brightest, 1.0)


def test_the_box_follows_the_points_and_a_clip_begins_anew(tmp_path):
    places, scores = person(), np.ones(POINTS)
    found_by = landmarker(fixed(tmp_path / "model.onnx", **rows(places, scores)))
    picture = np.zeros((96, 120, 3), np.uint8)
    first, second = (found_by.find(t, picture).whole for t in (0.0, 0.04))
    there = first[first[:, 2] > 0, :2] * (120, 96)
    middle, reach = (there.min(0) + there.max(0)) / 2, 1.25 / 2 * np.ptp(there, axis=0)
    _, view = cut_view(picture, (*(middle - reach), *(middle + reach)), (WIDTH, HEIGHT), 1.25)
    expected = view[:2] + np.floor(2 * places) / 2 / (WIDTH, HEIGHT) * view[2:]
    np.testing.assert_allclose(second[:, :2] * (120, 96), expected, atol=1e-4)
    assert np.abs(second - first).max() > 0.1
    found_by.start(None)
    np.testing.assert_array_equal(found_by.find(0.0, picture).whole, first)


def test_where_nobody_is_found_there_is_no_point_and_the_next_look_is_at_everything(tmp_path):
    found_by = landmarker(fixed(tmp_path / "model.onnx", **rows(person(), np.full(POINTS, 0.2))))
    picture = np.zeros((96, 120, 3), np.uint8)
    found = found_by.find(0.0, picture)
    assert not found.whole[:, 2].any()
    assert not found.points[:, 2].any()
    assert not found.face
    assert found_by.people(picture) == []


def test_crops_of_face_and_hands_are_cut_around_their_points(tmp_path):
    found_by = landmarker(fixed(tmp_path / "model.onnx", **rows(person(), np.ones(POINTS))))
    keys = {"crop_size": 8, "face_margin": 1.0, "hand_margin": 1.0, "smooth_centre": 0.0, "smooth_size": 0.0}
    keys |= {"follow_visibility": 0.5, "follow_seconds": 1.0, "signer": "auto", "min_certainty": 0.6}
    extractor = Extractor(found_by, **keys)
    picture = np.zeros((96, 72, 3), np.uint8)
    (frame,) = extractor.stream([(0.0, picture)], fps=25, signer=Signer(None, 1.0, 1, unsure=False))
    skeleton = find_skeleton("coco_wholebody_133")
    assert frame.pose.shape == (POINTS, 3)
    # Before a camera a model that was trained on these points reads them as it does from files.
    reader = Landmarks(folder="pose", points="coco_wholebody_133", normalise="shoulders", jitter=0, noise=0)
    assert reader.from_regions("pose", [frame], np.array([0])).seen.all()
    assert all(frame.marks.values())
    for stream in ("left_hand", "right_hand"):
        hand = frame.pose[[*skeleton.parts[stream]], :2] * (72, 96)
        np.testing.assert_allclose(frame.boxes[stream][:2], (hand.min(0) + hand.max(0)) / 2, atol=1e-4)
    assert frame.boxes["left_hand"][0] > frame.boxes["face"][0] > frame.boxes["right_hand"][0]
    assert frame.boxes["face"][1] < frame.boxes["left_hand"][1]


def test_the_fingerprint_tells_the_weights_and_the_parameters_apart(tmp_path):
    one = fixed(tmp_path / "one.onnx", **rows(person(), np.ones(POINTS)))
    other = fixed(tmp_path / "other.onnx", **rows(person(), np.full(POINTS, 0.9)))
    (tmp_path / "moved").mkdir()
    moved = Path(tmp_path / "moved" / "same.onnx")
    moved.write_bytes(one.read_bytes())
    keys = {"crop_size": 8, "face_margin": 1.0, "hand_margin": 1.0, "smooth_centre": 0.0, "smooth_size": 0.0}
    keys |= {"follow_visibility": 0.5, "follow_seconds": 1.0, "signer": "auto", "min_certainty": 0.6}
    print_of = lambda model, **more: Extractor(landmarker(model, **more), **keys).fingerprint  # noqa: E731
    assert Extractor(landmarker(one), **keys).name == "slt-rtmw"
    assert print_of(one) == print_of(moved) == print_of(one, threads=2)
    assert len({print_of(one), print_of(other), print_of(one, margin=1.5), print_of(one, detect_interval=2.0)}) == 4


def people(path: Path, boxes: list) -> Path:
    """A detector that finds the same people, boxes in pixels of its input and scores, (N, 5), in every picture."""
    return fixed(path, dets=np.array([boxes], np.float32), labels=np.zeros((1, len(boxes))))


def test_people_are_found_by_the_detector_and_the_signer_by_the_box(tmp_path):
    # Two in a picture of 72 x 96, of which the detector sees half a pixel for each; a third it is not sure of.
    detector = people(tmp_path / "people.onnx", [[0, 0, 15, 40, 0.9], [20, 10, 34, 46, 0.8], [0, 0, 9, 9, 0.2]])
    found_by = landmarker(fixed(tmp_path / "model.onnx", **rows(person(), np.ones(POINTS))),
                          detector=str(detector), detector_size=[WIDTH, HEIGHT], follow_margin=1.0)  # fmt: skip
    picture = np.zeros((96, 72, 3), np.uint8)
    assert [round(float(one[:, 0].mean()), 1) for one in found_by.people(picture)] == [0.2, 0.7]
    at = {}
    for box in (None, (38.0, 15.0, 70.0, 95.0)):
        found_by.start(box)
        at[box] = float(found_by.find(0.0, picture).points[:, 0].mean())
    assert at[None] < 0.4 < 0.5 < at[38.0, 15.0, 70.0, 95.0]


def test_weights_come_from_a_path_a_zip_or_a_server_once(tmp_path, monkeypatch):
    model = fixed(tmp_path / "end2end.onnx", **rows(person(), np.ones(POINTS)))
    archive = tmp_path / "rtmw-x_2023.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(model, "20231122/rtmw/end2end.onnx")
        file.writestr("20231122/rtmw/pipeline.json", "{}")
    found = partial(find_model, cache=tmp_path / "cache", key="landmarker.model")
    assert found(str(model)) == model
    assert found(str(archive)).read_bytes() == model.read_bytes()
    asked = []

    def server(address, timeout):
        asked.append(address)
        return archive.open("rb")

    monkeypatch.setattr("slt.extraction.onnx_models.urlopen", server)
    for _ in range(2):
        fetched = found("https://example.org/sdk/rtmw-x_2023.zip")
        assert fetched.name == "rtmw-x_2023.onnx"
        assert fetched.read_bytes() == model.read_bytes()
    assert len(asked) == 1
    assert not (tmp_path / "cache" / "rtmw-x_2023.zip").exists()


def test_weights_that_are_not_there_or_not_such_are_refused_by_key(tmp_path, monkeypatch):
    def unreachable(address, timeout):
        raise OSError("no route")

    monkeypatch.setattr("slt.extraction.onnx_models.urlopen", unreachable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"landmarker\.model=https://.*no route.*put the \.onnx.*as rtmw\.onnx"):
        landmarker("https://example.org/rtmw.zip")
    with pytest.raises(FileNotFoundError, match=r"landmarker\.model=gone\.onnx"):
        landmarker("gone.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match=r"landmarker\.model=.*text\.onnx: not a network"):
        landmarker(tmp_path / "text.onnx")
    model = fixed(tmp_path / "model.onnx", **rows(person(), np.ones(POINTS)))
    with pytest.raises(ValueError, match=r"its input is \['batch', 3, 48, 36\].*landmarker\.model_size"):
        landmarker(model, model_size=[288, 384])
    body = fixed(tmp_path / "body.onnx", simcc_x=np.zeros((1, 17, 72)), simcc_y=np.zeros((1, 17, 96)))
    with pytest.raises(ValueError, match=r"133 points expected.*COCO-WholeBody"):
        landmarker(body).find(0.0, np.zeros((96, 72, 3), np.uint8))


def run(tmp_path: Path, *overrides: str) -> extract.Outcome:
    with initialize_config_dir(str(CONF), version_base=None):
        keys = [f"source={tmp_path / 'films'}", "captions.format=none", "split.by=all_train", "extractor.crop_size=16"]
        return extract.run(compose("extract", [*keys, *overrides]))


def test_films_become_a_corpus_of_133_points_that_says_who_found_them(tmp_path):
    pytest.importorskip("av", reason='PyAV is absent: pip install "slt[media]"')
    (tmp_path / "films").mkdir()
    write_film(tmp_path / "films" / "a.mp4", size=(48, 64))
    model = fixed(tmp_path / "model.onnx", **rows(person(), np.ones(POINTS)))
    own = ["extractor=rtmw", f"landmarker.model={model}", "landmarker.detector=null",
           f"landmarker.model_size=[{WIDTH},{HEIGHT}]", "landmarker.follow_margin=1.0",
           f"out={tmp_path / 'out'}"]  # fmt: skip
    assert run(tmp_path, *own).finished == 1
    record = json.loads((tmp_path / "out" / "metadata.jsonl").read_text(encoding="utf-8"))
    assert record["extractor"] == "slt-rtmw"
    assert record["parameters"]["landmarks"]["models"] == {"model": sha256(model)}
    pose = read_pose(tmp_path / "out" / "pose" / "a.npz")
    assert (pose.points.shape, pose.skeleton) == ((6, POINTS, 3), "coco_wholebody_133")
    reader = Landmarks(folder="pose", points="unisign", normalise="shoulders", jitter=0, noise=0)
    assert reader.read(tmp_path / "out", "a", np.arange(6)).array.shape == (6, 69, 3)
    assert record["seen"] == {"face": 1.0, "left_hand": 1.0, "right_hand": 1.0}
    body = ["landmarker._target_=bench.landmarker_stub.StubLandmarker", f"out={tmp_path / 'out'}"]
    with pytest.raises(ValueError, match=r"an extraction of other making \(extractor: slt-rtmw there, slt-stub now"):
        run(tmp_path, *body)
    with pytest.raises(ValueError, match=r"points=body: the extractor finds coco_wholebody_133.*set it to wholebody"):
        run(tmp_path, *own, "points=body", f"out={tmp_path / 'other'}")
