"""slt/models/backbones/stgcn.py: Uni-Sign's pose encoder, by its authors' sums, weights and number of them.

Shape letters: B clips, T frames, K landmarks, V points of a part, C channels, F backbone width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slt.models import SkeletonGraph
from slt.models.batch_norm import BatchNorm
from slt.streams.skeleton import find_skeleton

TOY = {
    "name": "toy",
    "centre": ["LEFT_SHOULDER", "RIGHT_SHOULDER"],
    "parts": {
        "body": ["NOSE", "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_WRIST", "RIGHT_WRIST"],
        "left_hand": ["LEFT_PALM", "LEFT_THUMB", "LEFT_TIP"],
        "right_hand": ["RIGHT_PALM", "RIGHT_THUMB", "RIGHT_TIP"],
    },
    "edges": {
        "body": {"arms": [[3, 1, 0, 2, 4]]},
        "left_hand": {"fingers": [[0, 1], [0, 2]]},
        "right_hand": {"fingers": [[0, 1], [0, 2]]},
    },
}
ROOTS = {"left_hand": "LEFT_WRIST", "right_hand": "RIGHT_WRIST", "face": "NOSE"}
PUBLISHED = {"widths": [64, 128, 256], "depth": 3, "kernel_size": 5, "projected": 768}


def network(**changed: Any) -> SkeletonGraph:
    """A small one, none of whose weights or statistics is as it starts."""
    torch.manual_seed(0)
    options = {"points": TOY, "widths": [4, 6], "depth": 2, "kernel_size": 3, "projected": 5, "roots": ROOTS,
               "shared": {"left_hand": "right_hand"}, "weights": None}  # fmt: skip
    made = SkeletonGraph(**(options | changed))
    if made.num_points < 20:
        with torch.no_grad():
            for tensor in [*made.parameters(), *(x for name, x in made.named_buffers() if "running" in name)]:
                tensor.copy_(torch.rand_like(tensor) + 0.1 if tensor.dim() == 1 else torch.randn_like(tensor) * 0.5)
    return made.eval()


def clips() -> tuple[Tensor, Tensor]:
    """Landmarks (2, 5, 11, 3) and frames seen: of clip 1 the last two are not there, of clip 0 one in between."""
    torch.manual_seed(1)
    x = torch.randn(2, 5, 11, 3)
    x[..., 2] = torch.rand(2, 5, 11) + 0.3
    return x, torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 0, 0]]).bool()


def normed(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


def plain_block(block: Any, frames: list[list[Tensor]]) -> list[list[Tensor]]:
    """One layer, point by point: frames[t][v] is what is known of a point, (C,)."""
    length, points = len(frames), len(frames[0])
    half = len(block.conv.bias) // 2
    inner = [[torch.zeros(half) for _ in range(points)] for _ in range(length)]
    for t in range(length):
        sent = [block.conv.weight[:, :, 0, 0] @ x + block.conv.bias for x in frames[t]]
        for to in range(points):
            for hop in (0, 1):
                for come in range(points):
                    inner[t][to] = inner[t][to] + sent[come][hop * half : (hop + 1) * half] * block.graph[hop, come, to]
            inner[t][to] = normed(block.norm, inner[t][to]).clamp(min=0)
    if block.over_time is not None:
        reach = block.over_time.kernel_size[0] // 2
        weight = block.over_time.weight[..., 0]
        moved = [[block.over_time.bias.clone() for _ in range(points)] for _ in range(length)]
        for t in range(length):
            for offset in range(-reach, reach + 1):
                for v in range(points):
                    if 0 <= t + offset < length:
                        moved[t][v] = moved[t][v] + weight[:, :, offset + reach] @ inner[t + offset][v]
        inner = [[normed(block.norm_time, x) for x in row] for row in moved]
    out = []
    for row, old in zip(inner, frames, strict=True):
        around = old
        if block.shortcut is not None:
            turned = [block.shortcut.weight[:, :, 0, 0] @ x + block.shortcut.bias for x in old]
            around = [normed(block.norm_shortcut, x) for x in turned]
        out.append([(x + y).clamp(min=0) for x, y in zip(row, around, strict=True)])
    return out


def plain(made: Any, clip: Tensor) -> Tensor:
    """One clip (T, K, 3), all of it seen, as the authors compute it -> (T, F)."""
    features, body = [], []
    for part, places, joint in (
        ("body", range(5), None),
        ("right_hand", range(5, 8), 3),
        ("right_hand", range(8, 11), 4),
    ):
        frames = [[made.enter[part].weight @ frame[v] + made.enter[part].bias for v in places] for frame in clip]
        for block in made.spatial[part]:
            frames = plain_block(block, frames)
        if joint is None:
            body = frames
        else:
            frames = [[x + arm[joint] for x in row] for row, arm in zip(frames, body, strict=True)]
        for block in made.temporal[part]:
            frames = plain_block(block, frames)
        features.append(torch.stack([sum(row, torch.zeros(())) / len(row) for row in frames]))
    return made.project(torch.cat(features, dim=1) + made.part_bias)


def test_it_gives_what_its_authors_sums_give_point_by_point():
    made, (x, _) = network(), clips()
    with torch.no_grad():
        came = made(x[:1], torch.ones(1, 5, dtype=torch.bool))[0]
        torch.testing.assert_close(came, plain(made, x[0]), atol=1e-4, rtol=1e-4)
    assert came.std() > 0.1


def test_a_graph_starts_from_who_is_joined_to_whom():
    made = SkeletonGraph(points=TOY, widths=[4], depth=1, kernel_size=3, projected=None, roots=ROOTS, shared={},
                         weights=None)  # fmt: skip
    alone, near = made.spatial["right_hand"][0].graph.detach()
    third = 1 / 3
    torch.testing.assert_close(alone, torch.diag(torch.tensor([third, 0.5, 0.5])))
    torch.testing.assert_close(near, torch.tensor([[0, 0.5, 0.5], [third, 0, 0], [third, 0, 0]]))
    assert {*made.owner.values()} == {"body", "left_hand", "right_hand"}
    assert made.num_features == 3 * 4


@pytest.mark.parametrize("points", ["mediapipe_75", "upper_body"])
def test_the_skeleton_says_how_many_parts_there_are(points):
    made = network(points=points, projected=None, widths=[4], depth=1)
    skeleton = find_skeleton(points)
    parts = [part for part, places in skeleton.parts.items() if places]
    out = made(torch.rand(1, 3, len(skeleton), 3), torch.ones(1, 3, dtype=torch.bool))
    assert out.shape == (1, 3, 4 * len(parts))


def test_what_was_not_seen_changes_nothing_and_comes_out_as_zeros():
    made, (x, seen) = network(), clips()
    with torch.no_grad():
        features, garbage = made(x, seen), x.clone()
        garbage[~seen] = torch.nan
        assert torch.equal(made(garbage, seen), features)
        assert (features[~seen] == 0).all()
        garbage = x.clone()
        garbage[0, 0, 2, :2], x[0, 0, 2], garbage[0, 0, 2, 2] = torch.nan, 0, 0  # a point that was not seen
        assert torch.equal(made(garbage, seen), made(x, seen))
        assert (made(torch.zeros_like(x), ~seen & seen) == 0).all()


def test_a_clip_gives_the_same_features_alone_and_padded():
    made, (x, seen) = network(), clips()
    with torch.no_grad():
        torch.testing.assert_close(made(x[1:, :3], seen[1:, :3])[0], made(x, seen)[1, :3], atol=1e-5, rtol=1e-5)


def test_batch_statistics_are_those_of_the_frames_that_there_are():
    torch.manual_seed(2)
    x, present = torch.randn(2, 3, 5, 4) * 3 + 1, clips()[1][:, None, :, None]
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    there = x.permute(0, 2, 3, 1)[present[:, 0, :, 0]]  # (frames, V, C)
    came = ours(torch.where(present, x, 99.0), present).permute(0, 2, 3, 1)[present[:, 0, :, 0]]
    torch.testing.assert_close(came, theirs(there.permute(0, 2, 1)[..., None]).squeeze(3).permute(0, 2, 1))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_an_update_asks_a_gpu_for_no_number():
    made, (x, seen) = network().train().to("meta"), clips()  # tensors that have none to give
    made(x.to("meta"), seen.to("meta")).sum().backward()


def test_a_hand_hears_of_its_wrist_and_teaches_it_nothing():
    made, (x, seen) = network(projected=None), clips()
    left = made(x, seen)[..., 6:12]
    left.sum().backward()
    assert all((weight.grad == 0).all() for weight in made.spatial["body"].parameters())
    assert (made.spatial["right_hand"][0].conv.weight.grad != 0).any()
    x[:, :, 3] += 1
    assert (made(x, seen)[..., 6:12] != left)[seen].any()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"roots": {"left_hand": "LEFT_ELBOW"}}, "roots.left_hand=LEFT_ELBOW: expected a point of body"),
        ({"shared": {"left_hand": "body"}}, "shared.left_hand=body: expected a part"),
        ({"shared": {"left_hand": "face"}}, "shared.left_hand=face: expected a part"),
        ({"kernel_size": 4}, "kernel_size=4: expected an odd number"),
    ],
)
def test_what_the_skeleton_has_not_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        network(**changed)


def test_another_number_of_points_is_refused():
    with pytest.raises(ValueError, match="pose has 7 points a frame, the backbone was made for 11"):
        network()(torch.zeros(2, 5, 7, 3), clips()[1])


# Published weights


def published_state() -> dict[str, Tensor]:
    """Weights with the names and shapes of a pose-only checkpoint, and some of the language model's."""
    torch.manual_seed(3)
    state: dict[str, Tensor] = {}

    def block(name: str, width: int, out: int, points: int, frames: int) -> None:
        def linear(where: str, *shape: int) -> None:
            state[f"{name}.{where}.weight"], state[f"{name}.{where}.bias"] = torch.randn(shape), torch.randn(shape[0])

        def norm(where: str) -> None:
            for key in ("weight", "bias", "running_mean", "running_var"):
                state[f"{name}.{where}.{key}"] = torch.rand(out)
            state[f"{name}.{where}.num_batches_tracked"] = torch.tensor(7)

        state[f"{name}.gcn.A"] = torch.rand(2, points, points)
        linear("gcn.conv", 2 * out, width, 1, 1)
        norm("gcn.bn")
        if frames > 1:
            linear("tcn.0", out, out, frames, 1)
            norm("tcn.1")
        if width != out:
            linear("residual.0", out, width, 1, 1)
            norm("residual.1")

    for part, points in (("body", 9), ("right", 21), ("face_all", 18)):
        state[f"proj_linear.{part}.weight"], state[f"proj_linear.{part}.bias"] = torch.randn(64, 3), torch.randn(64)
        for layer, (width, out) in enumerate([(64, 64), (64, 128), (128, 256)]):
            block(f"gcn_modules.{part}.layer{layer}_0", width, out, points, 1)
        for layer in range(3):
            block(f"fusion_gcn_modules.{part}.layer0_{layer}", 256, 256, points, 5)
    state |= {key.replace(".right.", ".left."): x for key, x in state.items() if ".right." in key}
    state |= {"part_para": torch.randn(1024), "pose_proj.weight": torch.randn(768, 1024)}
    return state | {"pose_proj.bias": torch.randn(768), "mt5_model.shared.weight": torch.randn(2, 2)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unisign") / "best_checkpoint.pth"
    torch.save({"model": published_state()}, path)
    return path


def test_the_front_end_has_the_published_number_of_weights_and_takes_the_published_ones(checkpoint):
    made: Any = network(points="unisign", **PUBLISHED, weights=str(checkpoint))
    assert sum(x.numel() for x in made.parameters()) == 5_346_088
    theirs = published_state()
    ours = {key: x for key, x in theirs.items() if ".left." not in key and "mt5" not in key}
    assert len(made.state_dict()) == len(ours)
    assert sorted(float(x.sum()) for x in made.state_dict().values()) == sorted(float(x.sum()) for x in ours.values())
    same = {
        "enter.right_hand.weight": "proj_linear.right.weight",
        "spatial.body.1.shortcut.weight": "gcn_modules.body.layer1_0.residual.0.weight",
        "spatial.body.1.norm_shortcut.running_var": "gcn_modules.body.layer1_0.residual.1.running_var",
        "temporal.face.2.graph": "fusion_gcn_modules.face_all.layer0_2.gcn.A",
        "temporal.face.2.norm.bias": "fusion_gcn_modules.face_all.layer0_2.gcn.bn.bias",
        "temporal.right_hand.0.norm_time.weight": "fusion_gcn_modules.right.layer0_0.tcn.1.weight",
        "part_bias": "part_para",
    }  # fmt: skip
    assert all(torch.equal(made.state_dict()[mine], theirs[key]) for mine, key in same.items())
    assert list(made.parts) == ["body", "left_hand", "right_hand", "face"]  # the order of `part_para`


def test_nothing_of_the_recipe_but_its_front_end_stands_before_the_language_model(compose, tokenizer):
    from slt.config.build import build_translator

    small = "{d_model:768,d_kv:2,num_heads:1,d_ff:2,num_layers:1}"
    cfg = compose("experiments=unisign_pose", "dataset.root=x", "decoder.pretrained=null", f"++decoder.config={small}")
    translator = build_translator(cfg, tokenizer, {"pose": [69, 3]})
    before = [x.numel() for name, x in translator.named_parameters() if not name.startswith("decoder.model.")]
    assert sum(before) == 5_346_088


def test_the_published_graphs_are_what_it_starts_from():
    """Uni-Sign's own lists of bones, point by point in the order in which it takes them."""
    hand = [(a, a + 1) if a % 4 else (0, a + 1) for a in range(20)]
    lips, jaw = [(a, a + 1) for a in range(9, 16)], [(a, a + 1) for a in range(8)]
    bones = {
        "body": [(0, 1), (0, 2), (0, 3), (0, 4), (3, 5), (5, 7), (4, 6), (6, 8)],
        "right_hand": hand,
        "face": [*jaw, *lips, (16, 9), *((17, a) for a in range(17))],
    }  # fmt: skip
    made: Any = network(points="unisign", widths=[4], depth=1)
    for part, joined in bones.items():
        count = made.parts[part]
        near = torch.eye(count)
        for a, b in joined:
            near[a, b] = near[b, a] = 1
        plain = near / near.sum(0)
        torch.testing.assert_close(made.spatial[part][0].graph.sum(0), plain)
        torch.testing.assert_close(made.spatial[part][0].graph[0], torch.diag(plain.diagonal()))
    assert made.root == {"left_hand": 7, "right_hand": 8, "face": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part_para": None}, r"Missing key.*part_bias"),
        ({"rgb_proj.weight": torch.zeros(2)}, r"Unexpected key.*rgb_proj"),
        ({"part_para": torch.zeros(512)}, r"size mismatch for part_bias"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, change, message):
    state = {key: x for key, x in (published_state() | change).items() if x is not None}
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"(?s)weights=.*other\.pth.*" + message):
        network(points="unisign", **PUBLISHED, weights=str(tmp_path / "other.pth"))


def test_a_missing_or_malicious_file_of_weights_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights=nowhere\.pth: no such file"):
        network(weights="nowhere.pth")
    torch.save({"model": Path("/")}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match=r"code\.pth: expected a pose-only checkpoint"):
        network(weights=str(tmp_path / "code.pth"))
