"""slt/models/temporal/visual_head.py and slt/models/heads.py: the published head, whole and of parts.

Shape letters: B clips, T frames, F features, D width of a head, C channels inside, G classes.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.models import LinearProjector, VisualHeadTemporal
from slt.models.heads import PartHead, agreed, sign_scores

WIDTHS = {"left": 2, "face": 3, "right": 2, "body": 4}


def part_head(*parts: str, dropout: float = 0.0) -> PartHead:
    torch.manual_seed(0)
    temporal = VisualHeadTemporal(embed_dim=6, hidden=5, kernel_size=3, dropout=dropout)
    made = PartHead(stream="pose", widths=WIDTHS, parts=parts, temporal=temporal, num_classes=4)
    with torch.no_grad():
        for tensor in [*made.parameters(), *(x for name, x in made.named_buffers() if "running" in name)]:
            tensor.copy_(torch.rand_like(tensor) + 0.1 if tensor.dim() == 1 else torch.randn_like(tensor) * 0.5)
    return made.eval()


def plain_head(head: Any, x: Tensor, training: bool) -> Tensor:
    """What the authors compute of one clip (T, F) -> (T, G), frame by frame; of a batch statistics are the clip's."""
    temporal = head.temporal
    rows = x @ head.enter.weight.T + head.enter.bias
    norm = temporal.norm_in
    mean, var = (rows.mean(0), rows.var(0, unbiased=False)) if training else (norm.running_mean, norm.running_var)
    rows = ((rows - mean) / (var + 1e-5).sqrt() * norm.weight + norm.bias).clamp(min=0)
    length, width = rows.shape
    for t in range(length):
        for i in range(width):
            angle = t / 10000 ** (2 * (i // 2) / width)
            rows[t, i] += math.cos(angle) if i % 2 else math.sin(angle)

    def layer_norm(norm: Any, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (width,), norm.weight, norm.bias, 1e-6)

    def over_time(conv: Any, x: Tensor) -> Tensor:
        beyond = torch.zeros(1, x.shape[1])
        x = torch.cat([beyond, x, beyond])
        return torch.stack([sum(conv.weight[:, :, k] @ x[t + k] for k in range(3)) + conv.bias for t in range(length)])

    inner = over_time(temporal.conv1, layer_norm(temporal.norm, rows)).clamp(min=0)
    rows = layer_norm(temporal.norm_out, over_time(temporal.conv2, inner) + rows)
    return rows @ head.leave.weight.T + head.leave.bias


@pytest.mark.parametrize("training", [False, True])
def test_a_head_is_the_authors_on_the_features_of_its_parts(training):
    head, features = part_head("right", "face").train(training), torch.randn(1, 7, 11)
    wanted = plain_head(head, torch.cat([features[0, :, 5:7], features[0, :, 2:5]], 1), training)
    out = head(features, torch.ones(1, 7, dtype=torch.bool))
    torch.testing.assert_close(out[0], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("features", "weights"), [(256, 6_985_790), (512, 7_116_862), (1024, 7_379_006)])
def test_heads_have_the_published_number_of_weights(features, weights):
    """Of 1,086 classes: the body's, left's and right's, and that of all, whose ends are the projector and a head."""
    temporal = VisualHeadTemporal(embed_dim=512, hidden=2048, kernel_size=3, dropout=0.1)
    if features == 1024:
        projector = LinearProjector(num_features=1024, embed_dim=512, dropout=0.0)
        made = nn.ModuleList([projector, temporal, nn.Linear(512, 1086)])
    else:
        made = nn.ModuleList(
            [PartHead(stream="pose", widths={"a": features}, parts=["a"], temporal=temporal, num_classes=1086)]
        )
    assert sum(x.numel() for x in made.parameters()) == weights


@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing(training):
    head, features = part_head("body").train(training), torch.randn(2, 6, 11)
    there = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    before = head(features, there)
    features[1, 4:] = 1e4
    torch.testing.assert_close(head(features, there)[there], before[there])
    if not training:
        alone = head(features[1:, :4], there[1:, :4])
        torch.testing.assert_close(before[1, :4], alone[0], atol=1e-6, rtol=1e-5)


def test_what_heads_agree_on_is_the_mean_of_their_probabilities():
    scores = [torch.randn(1, 3, 4) for _ in range(3)]
    mean = torch.stack([x.softmax(2) for x in scores]).mean(0)
    torch.testing.assert_close(agreed(scores).exp(), mean)
    assert agreed(scores[:1]) is scores[0]


def test_every_head_of_signs_is_asked_and_no_other():
    memory, there, features = torch.randn(1, 5, 6), torch.ones(1, 5, dtype=torch.bool), {"pose": torch.randn(1, 5, 11)}
    heads = nn.ModuleDict({"gloss": nn.Linear(6, 4), "left": part_head("left", "face"), "other": nn.Linear(6, 9)})
    scores = sign_scores(heads, memory, there, features)
    assert {name: x.shape[2] for name, x in scores.items()} == {"gloss": 4, "left": 4}
    assert sign_scores(nn.ModuleDict({"other": nn.Linear(6, 9)}), memory, there, features) == {}


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel_size=4: expected an odd number"):
        VisualHeadTemporal(embed_dim=6, hidden=5, kernel_size=4, dropout=0.1)
