"""StudentTeacher: the teacher follows, hidden patches are hidden, sizes are refused before the first step."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from slt.models.backbones import ConvSmall, ViTLight
from slt.pretraining.losses import Centring
from slt.pretraining.networks import PrototypeHead, StudentTeacher
from slt.pretraining.objective import SelfDistillation
from slt.pretraining.views import Views

HEAD = partial(PrototypeHead, hidden=16, bottleneck=8, depth=2, batch_norm=False)
LOSS = {
    "dino_weight": 1.0, "ibot_weight": 1.0, "koleo_weight": 0.1, "contrast_weight": 0.0,
    "contrast_temperature": 0.1, "contrast_moments": None, "contrast_head": True, "student_temperature": 0.1,
    "teacher_temperature": [0.04, 0.07], "temperature_warmup": 10, "momentum": 0.9, "mask_share": [0.2, 0.5],
    "mask_probability": 1.0, "freeze_prototypes": 1, "max_steps": 20,
}  # fmt: skip


def vit(size: int = 24) -> ViTLight:
    return ViTLight(img_size=size, patch_size=8, embed_dim=16, depth=2, num_heads=2, weights=None, frozen=False)


def twins(backbone=None, *, patches: bool = True, tied: bool = False, drop_path: float = 0.0) -> StudentTeacher:
    torch.manual_seed(0)
    balance = partial(Centring, momentum=0.9)
    return StudentTeacher(backbone or vit(), head=HEAD, patches=patches, tied_heads=tied, drop_path=drop_path,
                          balance=balance, num_prototypes=6)  # fmt: skip


def views(count: int = 4, part: int = 16) -> Views:
    draw = torch.Generator().manual_seed(3)
    whole, parts = ((2, count, 3, 24, 24), (3, count, 3, part, part))
    drawn = (torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw) for shape in (whole, parts))
    return Views(*drawn, *moments(count))


def moments(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of crops of one clip, a second apart."""
    return torch.zeros(count, dtype=torch.long), torch.arange(float(count))


def test_teacher_begins_as_the_student_and_follows_it():
    model = twins()
    first = {name: value.clone() for name, value in model.teacher.state_dict().items()}
    model.update_teacher(0.5)
    assert all(torch.equal(value, first[name]) for name, value in model.teacher.state_dict().items())
    with torch.no_grad():
        model.student.mask_token.fill_(1.0)
    model.update_teacher(0.75)
    assert model.teacher.mask_token.tolist() == [0.25] * 16


def test_no_gradient_reaches_the_teacher_and_all_of_the_student_gets_one():
    model = twins()
    objective = SelfDistillation(**LOSS)
    objective.after_step(5)
    objective(model, views()).backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    without = [name for name, parameter in model.student.named_parameters() if parameter.grad is None]
    assert without == []


def test_prototypes_stand_still_at_first():
    model, objective = twins(), SelfDistillation(**LOSS)
    objective(model, views()).backward()
    assert [head.prototypes.grad for head in model.heads] == [None, None]


def test_a_hidden_patch_is_not_seen_and_an_open_one_is():
    model = twins().eval()
    crops = torch.randint(0, 256, (1, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    other = crops.clone()
    other[:, :, :8, :8] = 255 - other[:, :, :8, :8]  # the first patch of nine
    mask = torch.zeros(1, 9, dtype=torch.bool)
    mask[0, 0] = True
    for given, same in ((mask, True), (None, False)):
        assert torch.allclose(model.student(crops, given)[0], model.student(other, given)[0], atol=1e-6) == same


def test_the_place_of_a_mask_is_the_place_of_the_patch():
    model = twins().eval()
    crops = torch.full((1, 3, 24, 24), 100, dtype=torch.uint8)
    mask = torch.zeros(1, 9, dtype=torch.bool)
    mask[0, 5] = True  # second row, third column
    with torch.no_grad():
        model.student.mask_token.fill_(2.0)
    seen = {}
    block = model.student.backbone.network.blocks[0]
    block.register_forward_pre_hook(lambda module, given: seen.update(tokens=given[0]))
    model.student(crops, mask)
    changed = seen["tokens"].clone()
    model.student(crops, None)
    moved = (changed - seen["tokens"]).abs().sum(dim=2)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == [1 + 5]  # behind the class token


def test_whole_views_and_parts_of_another_side_go_through_one_vit():
    feature, patches = twins().student(views(part=16).parts.flatten(0, 1))
    assert (feature.shape, patches.shape) == ((12, 16), (12, 4, 16))


def test_heads_are_one_or_two():
    assert [len(twins(tied=tied).heads) for tied in (True, False)] == [1, 2]
    assert [len(twins(patches=False).heads)] == [1]


def test_teacher_drops_no_path_and_the_student_does():
    model = twins(drop_path=0.5)
    crops = views().whole[0]
    assert torch.equal(model.teacher(crops)[0], model.teacher(crops)[0])
    assert not torch.equal(model.student(crops)[0], model.student(crops)[0])


def test_a_network_without_patches_is_refused_where_patches_are_hidden():
    conv = ConvSmall(img_size=24, widths=[4, 4], patch_size=4, dropout=0.0, weights=None, frozen=False)
    with pytest.raises(ValueError, match=r"Sequential has no patch tokens.*backbone=vit_light.*objective=dino"):
        twins(conv)
    model = twins(conv, patches=False)
    with pytest.raises(ValueError, match=r"part_size=16: Sequential takes one size; set augment.part_size=24"):
        model.check_sizes(24, 16)
    model.check_sizes(24, 24)


def test_sides_that_are_no_multiple_of_the_patch_are_refused_by_key():
    with pytest.raises(ValueError, match=r"augment.part_size=18: no multiple of the backbone's patch of 8"):
        twins().check_sizes(24, 18)
    with pytest.raises(ValueError, match=r"augment.size=30"):
        twins().check_sizes(30, None)


def test_the_term_that_is_not_finite_is_named():
    model, objective = twins(), SelfDistillation(**LOSS)
    with torch.no_grad():
        model.student.patch_head.prototypes.fill_(float("nan"))
    assert objective.blame() == ""
    objective(model, views())
    assert objective.blame() == ", and its term ibot went first"


def test_schedules_go_from_their_first_to_their_last_value():
    objective = SelfDistillation(**LOSS)
    first = objective.temperature_now(), objective.momentum_now()
    objective.after_step(10)
    middle = objective.temperature_now(), objective.momentum_now()
    objective.after_step(20)
    assert first == pytest.approx((0.04, 0.9))
    assert middle == pytest.approx((0.07, 0.95))
    assert objective.momentum_now() == pytest.approx(1.0)


def test_report_names_what_one_watches():
    model, objective = twins(), SelfDistillation(**LOSS)
    objective(model, views())
    assert set(objective.report()) == {
        "train/loss_dino", "train/loss_ibot", "train/loss_koleo", "train/teacher_entropy", "train/feature_std",
        "train/temperature", "train/momentum",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dino_weight": 0.0, "ibot_weight": 0.0}, "one of dino, ibot and contrast weighs more than 0"),
        ({"student_temperature": 0.0}, "student_temperature=0.0: expected a number above 0"),
        ({"mask_share": [0.5, 0.2]}, "the smaller first"),
    ],
)
def test_values_out_of_range_are_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        SelfDistillation(**(LOSS | changed))


def test_batch_norm_takes_features_apart_that_are_alike():
    torch.manual_seed(0)
    alike = 5 + 0.01 * torch.randn(64, 32)  # as of convolutions with ReLU: one large mean, small differences
    spread = {}
    for batch_norm in (False, True):
        head = partial(HEAD, batch_norm=batch_norm)(num_features=32, num_prototypes=12)
        with torch.no_grad():
            unit = torch.nn.functional.normalize(head.eval().perceptron(alike), dim=-1)
        spread[batch_norm] = float(unit.std(dim=0).mean())
    assert spread[False] < 0.02 < 0.2 < spread[True]


def test_it_learns_to_tell_crops_apart():
    """Views of six crops, over and over: the student comes to agree with the teacher, and crops do not collapse."""
    torch.manual_seed(0)
    model = twins(patches=False)
    objective = SelfDistillation(**(LOSS | {"ibot_weight": 0.0, "max_steps": 200}))
    crops = torch.randint(0, 256, (6, 3, 24, 24), dtype=torch.uint8)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    noisy = lambda: (crops.float() + 20 * torch.randn(crops.shape)).clamp(0, 255).byte()  # noqa: E731
    none = torch.zeros(0, 6, 3, 16, 16, dtype=torch.uint8)
    for step in range(80):
        loss = objective(model, Views(torch.stack([noisy(), noisy()]), none, *moments(6)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(step + 1)
    with torch.no_grad():
        scores = [model.teacher.picture_head(model.teacher(noisy())[0]) for _ in range(2)]
    one, other = ((each - model.picture_balance.centre).argmax(dim=1) for each in scores)
    assert torch.equal(one, other)
    assert len(one.unique()) >= 3
    assert objective.report()["train/feature_std"] > 0.3


def test_told_from_other_moments_features_hold_what_changes_in_a_clip_and_not_whose_clip_it_is():
    """Three people of a grey each, the same three small signs: a square's place."""
    torch.manual_seed(0)
    conv = ConvSmall(img_size=24, widths=[16, 32], patch_size=4, dropout=0.0, weights=None, frozen=False)
    model = twins(conv, patches=False)
    changed = {"dino_weight": 0.0, "ibot_weight": 0.0, "koleo_weight": 0.0, "contrast_weight": 1.0}
    objective = SelfDistillation(**(LOSS | changed | {"contrast_moments": 0.5, "contrast_head": False}))
    clip, sign = torch.arange(3).repeat_interleave(3), torch.arange(3).repeat(3)
    crops = (60 + 60 * clip)[:, None, None, None].expand(-1, 3, 24, 24).float().clone()
    for crop, place in zip(crops, sign.tolist(), strict=True):
        crop[:, 8:16, 8 * place : 8 * place + 8] += 30
    none = torch.zeros(0, 9, 3, 16, 16, dtype=torch.uint8)
    noisy = lambda: (crops + 10 * torch.randn(crops.shape)).clamp(0, 255).byte()  # noqa: E731

    def by_sign() -> bool:
        with torch.no_grad():
            unit = torch.nn.functional.normalize(model.student(noisy())[0], dim=-1)
        alike = (unit @ unit.T).masked_fill(torch.eye(9, dtype=torch.bool), -1)
        return bool((sign[alike.topk(2).indices] == sign[:, None]).all())

    assert not by_sign()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for step in range(200):
        objective(model, Views(torch.stack([noisy(), noisy()]), none, clip, sign.float())).backward()
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(step + 1)
    assert by_sign()
