"""The losses of self-distillation against cases worked out by hand, and masks by their numbers."""

from __future__ import annotations

import math

import pytest
import torch

from slt.pretraining.losses import (
    Centring,
    SinkhornKnopp,
    block_masks,
    contrastive_loss,
    dino_loss,
    ibot_loss,
    koleo_loss,
    other_moments,
)


def test_dino_compares_every_view_with_every_other_whole_one():
    # One crop, two prototypes, two whole views and a part; temperature 1.
    student = torch.tensor([[[0.0, 0.0]], [[math.log(3), 0.0]], [[0.0, math.log(7)]]])
    teacher = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    # Student's logs: view 0 (-log 2, -log 2), view 1 (log 3/4, log 1/4), part (log 1/8, log 7/8).
    pairs = [
        -math.log(3 / 4),  # teacher 0, student 1
        -math.log(1 / 8),  # teacher 0, part
        math.log(2),  # teacher 1, student 0
        -(math.log(1 / 8) + math.log(7 / 8)) / 2,  # teacher 1, part
    ]
    assert dino_loss(student, teacher, 1.0).item() == pytest.approx(sum(pairs) / 4, rel=1e-6)


def test_dino_sharpens_by_the_student_s_temperature():
    student = torch.tensor([[[0.0, 0.1]], [[0.0, 0.1]]])
    teacher = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])
    assert dino_loss(student, teacher, 0.1).item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


def test_ibot_counts_each_picture_alike_however_much_is_masked():
    # Picture 0: one masked patch at log 2. Picture 1: two, at log 2 and at -log 3/4.
    student = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(3), 0.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    weights = torch.tensor([1.0, 0.5, 0.5]) / 2
    wanted = (math.log(2) + (math.log(2) - math.log(3 / 4)) / 2) / 2
    assert ibot_loss(student, teacher, 1.0, weights).item() == pytest.approx(wanted, rel=1e-6)
    assert ibot_loss(student[:0], teacher[:0], 1.0, weights[:0]).item() == 0


def test_contrast_is_the_cross_entropy_of_the_other_view_among_all_others():
    # Two crops, two views: crop 0 lies at (1, 0) in both, crop 1 at (0, 1) in both; cosines are 1 and 0.
    features = torch.tensor([[[2.0, 0], [0, 3]], [[1, 0], [0, 1]]])
    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 2))
    assert contrastive_loss(features, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_contrast_takes_the_mean_over_more_views_and_is_the_log_of_the_others_where_all_are_alike():
    alike = torch.ones(3, 4, 5)
    assert contrastive_loss(alike, 0.1).item() == pytest.approx(math.log(11), abs=1e-5)
    turned = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]]])  # the third view is the other crop
    e, total = math.exp(2), math.exp(2) * 2 + 3
    # A view of the first two: cosine 1 with one positive and one negative, 0 with the rest; of the third, 0 with both.
    first, third = -(math.log(e / total) + math.log(1 / total)) / 2, -math.log(1 / total)
    assert contrastive_loss(turned, 0.5).item() == pytest.approx((2 * first + third) / 3, abs=1e-5)


def test_contrast_with_other_moments_of_the_clip_leaves_the_rest_out():
    clip, time = torch.tensor([0, 0, 0, 1]), torch.tensor([0.0, 0.1, 0.5, 0.5])
    others = other_moments(clip, time, 0.15)
    assert others.int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    # All alike: the first two choose among three, the third among five, and the last has its other view alone.
    expected = (2 * math.log(3) + math.log(5) + 0) / 4
    assert contrastive_loss(torch.ones(2, 4, 3), 0.1, others).item() == pytest.approx(expected, abs=1e-5)


def test_koleo_is_minus_the_log_of_the_distance_to_the_nearest():
    # On the unit circle at 0, 60 and 180 degrees: nearest at distance 1, 1 and sqrt(3).
    angles = torch.tensor([0.0, math.pi / 3, math.pi])
    points = 5 * torch.stack([angles.cos(), angles.sin()], dim=1)
    assert koleo_loss(points).item() == pytest.approx(-math.log(3) / 2 / 3, abs=1e-5)


def test_koleo_pushes_the_nearest_apart():
    points = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]], requires_grad=True)
    koleo_loss(points).backward()
    assert points.grad[1, 1] < 0  # downhill is away from the first point
    assert points.grad[0, 1] > 0
    assert koleo_loss(points[:1]).item() == 0


def test_centring_takes_the_centre_off_and_then_moves_it():
    centring = Centring(num_prototypes=2, momentum=0.9)
    scores = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    first = centring(scores, 1.0)
    assert first[0, 0].item() == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-6)
    assert centring.centre.tolist() == pytest.approx([0.2, 0.0])
    second = centring(scores, 1.0)
    assert second[0, 0].item() == pytest.approx(1 / (1 + math.exp(-1.8)), rel=1e-6)


def test_centre_is_part_of_the_checkpoint():
    assert [*Centring(num_prototypes=3, momentum=0.9).state_dict()] == ["centre"]


def test_sinkhorn_uses_all_prototypes_alike_and_keeps_rows_whole():
    balance = SinkhornKnopp(num_prototypes=4, iterations=30)
    shares = balance(torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) + torch.tensor([3.0, 0, 0, 0]), 1.0)
    assert torch.allclose(shares.sum(dim=1), torch.ones(64), atol=1e-5)
    assert torch.allclose(shares.sum(dim=0), torch.full((4,), 16.0), atol=0.05)


def test_sinkhorn_of_one_iteration_is_a_row_and_a_column_by_hand():
    scores = torch.tensor([[math.log(1.0), math.log(1.0)], [math.log(3.0), math.log(1.0)]])
    # Columns: 1/4, 3/4 and 1/2, 1/2. Rows of these: (1/4, 1/2) and (3/4, 1/2), each over its sum.
    shares = SinkhornKnopp(num_prototypes=2, iterations=1)(scores, 1.0)
    assert shares.flatten().tolist() == pytest.approx([1 / 3, 2 / 3, 3 / 5, 2 / 5], rel=1e-5)


def test_sinkhorn_is_finite_at_the_sharpest_temperatures():
    assert SinkhornKnopp(num_prototypes=3, iterations=3)(torch.tensor([[1.0, -1.0, 0.9]] * 5), 0.001).isfinite().all()


def test_masks_cover_their_share_of_as_many_pictures_as_asked():
    draw = torch.Generator().manual_seed(0)
    masks = block_masks(400, 7, share=(0.1, 0.5), probability=0.5, generator=draw)
    covered = masks.float().mean(dim=1)
    assert masks.shape == (400, 49)
    assert 0.4 < (covered > 0).float().mean() < 0.6
    some = covered[covered > 0]
    assert some.min() >= 5 / 49 - 1e-6
    assert some.max() <= 25 / 49
    assert 0.25 < some.mean() < 0.35


def test_masks_are_blocks_and_not_scattered():
    masks = block_masks(200, 10, share=(0.3, 0.3), probability=1.0, generator=torch.Generator().manual_seed(1))
    assert (masks.sum(dim=1) == 30).all()
    grid = masks.view(200, 10, 10).float()
    beside = (grid[:, :, 1:] * grid[:, :, :-1]).sum() / grid[:, :, :-1].sum()
    assert beside > 0.5  # 0.3 where they are scattered
