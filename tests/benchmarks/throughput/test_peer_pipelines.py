"""A policy in other libraries' operations: the transforms, what is left out, and pixels that involve no draw."""

import numpy as np
import pytest
import torch
from torchvision import transforms
from torchvision.transforms import v2

from benchmarks.throughput.peer_pipelines import author_transform, ffcv_pipeline, of_torchvision, tensor_transform
from loaders.feeds.ffcv_fixes import import_ffcv
from loaders.policy.named_policies import POLICIES
from loaders.policy.policy import parse

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
RGB = [128, 102, 76]


def image_hwc(side_px=32):
    return np.random.default_rng(0).integers(1, 256, (side_px, side_px, 3), dtype=np.uint8)


def normalised(image):
    mean, std = (np.array(each, np.float32) for each in (MEAN, STD))
    return ((image.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)


def names(policy, library):
    kept, covers, left_out = of_torchvision(parse(policy, 32, 32), library, {"mean": 0, "zero": 0})
    return [type(each).__name__ for each in kept], [type(each).__name__ for each in covers], left_out


@pytest.mark.parametrize("library", [transforms, v2])
def test_the_named_policies_in_torchvisions_operations(library):
    assert names("baseline", library) == (["RandomCrop", "RandomHorizontalFlip"], [], [])
    assert names("cnn4", library) == (["RandomCrop", "RandomHorizontalFlip", "ColorJitter"], ["RandomErasing"], [])
    kept, covers, left_out = names("resnet34", library)
    assert (kept, covers) == (["RandomCrop", "RandomHorizontalFlip", "RandomApply"], [])
    assert len(left_out) == 1 and left_out[0].startswith("one_of(0.3, coarse_dropout(")
    kept, covers, left_out = names("resnet50", library)
    assert kept == ["Resize", "ColorJitter", "RandomGrayscale", "RandomHorizontalFlip", "RandomAffine", "RandomAffine",
                    "RandomPerspective", "GaussianBlur"]
    assert (covers, left_out) == (["RandomErasing"], [])
    assert names("airbench", library) == (["RandomCrop", "RandomHorizontalFlip"], [], [])


def test_ranges_equal_the_policys():
    kept, covers, _ = of_torchvision(parse("cnn4", 32, 32), transforms, {"mean": 0, "zero": 0})
    crop, flip, jitter, (erase,) = *kept, covers
    assert (crop.size, crop.padding, crop.padding_mode, flip.p) == ((32, 32), 4, "constant", 0.5)
    assert jitter.brightness == pytest.approx((0.8, 1.2)) and jitter.hue == pytest.approx((-0.05, 0.05))
    assert (erase.p, erase.scale, erase.value) == (0.25, (0.02, 0.15), 0)
    (apply,), _, _ = of_torchvision(parse("maybe(.25, affine(rotate_deg=15, translate=(0, .1), scale=(.85, 1.15)))",
                                          32, 32), transforms, {})
    affine, = apply.transforms
    assert apply.p == 0.25 and affine.degrees == [-15.0, 15.0] and affine.translate == (0.1, 0.1)
    assert affine.scale == (0.85, 1.15)
    (crop,), _, _ = of_torchvision(parse("crop(pad_px=2, fill=reflect)", 32, 32), v2, {})
    assert crop.padding_mode == "reflect"


@pytest.mark.parametrize("policy", ["noise(sigma=.1)", "cutout(hole_px=8, fill=noise)", "crop(pad_px=2, fill=mean)",
                                    "maybe(.5, flip(), noise(sigma=.1))", "maybe(.5, cutout(hole_px=8))"])
def test_operations_that_torchvision_lacks_are_left_out_and_named(policy):
    for library in (transforms, v2):
        assert names(policy, library) == ([], [], [parse(policy, 32, 32).text])


@pytest.mark.parametrize("policy", POLICIES)
def test_images_have_the_shape_and_range_of_the_policy(policy):
    parsed, image = parse(policy, 32, 32), image_hwc()
    side_px = parsed.output_px
    torch.manual_seed(0)
    made = author_transform(parsed, MEAN, STD)[0](image)
    assert made.shape == (3, side_px, side_px) and made.dtype == torch.float32
    low = torch.tensor([-m / s for m, s in zip(MEAN, STD, strict=True)]).view(3, 1, 1) - 1e-6
    high = torch.tensor([(1 - m) / s for m, s in zip(MEAN, STD, strict=True)]).view(3, 1, 1) + 1e-6
    assert (made >= low).all() and (made <= high).all()
    made = tensor_transform(parsed, MEAN)[0](torch.from_numpy(image).permute(2, 0, 1))
    assert made.shape == (3, side_px, side_px) and made.dtype == torch.uint8


def test_without_a_draw_pixels_are_exact():
    image = image_hwc()
    chw = torch.from_numpy(image).permute(2, 0, 1)
    for policy, expected in (("none", image), ("flip(p=1)", image[:, ::-1])):
        parsed = parse(policy, 32, 32)
        np.testing.assert_allclose(author_transform(parsed, MEAN, STD)[0](image), normalised(expected), atol=1e-5)
        np.testing.assert_array_equal(tensor_transform(parsed, MEAN)[0](chw), expected.transpose(2, 0, 1))


def test_the_mean_is_painted_as_zero_after_normalising_and_as_the_mean_colour_before():
    parsed, image = parse("cutout(hole_px=8, fill=mean)", 32, 32), image_hwc()
    made = author_transform(parsed, MEAN, STD)[0](image)
    assert (made == 0).all(0).sum() == 64
    made = tensor_transform(parsed, MEAN)[0](torch.from_numpy(image).permute(2, 0, 1))
    assert (made == torch.tensor(RGB).view(3, 1, 1)).all(0).sum() >= 64
    parsed = parse("cutout(hole_px=8, fill=zero)", 32, 32)
    made = author_transform(parsed, MEAN, STD)[0](image)
    black = torch.tensor([-m / s for m, s in zip(MEAN, STD, strict=True)]).view(3, 1, 1)
    assert (made == black).all(0).sum() == 64


def test_a_hole_has_the_size_of_the_images_that_it_is_cut_into():
    parsed = parse("resize(px=64), cutout(hole_px=16, fill=mean)", 32, 32)
    made = author_transform(parsed, MEAN, STD)[0](image_hwc())
    assert made.shape == (3, 64, 64) and (made == 0).all(0).sum() == 256


def test_the_named_policies_in_ffcvs_operations():
    # It leaves torch's threads as they are.
    import_ffcv()

    def found(policy, device="cpu"):
        made, left_out = ffcv_pipeline(parse(policy, 32, 32), MEAN, STD, torch.device(device))
        return [type(each).__name__ for each in made], left_out

    end = ["NormalizeImage", "ToTensor", "ToTorchImage"]
    assert found("baseline") == (["SimpleRGBImageDecoder", "RandomTranslate", "RandomHorizontalFlip", *end], [])
    assert found("baseline", "cuda")[0][3:] == ["ToTensor", "ToDevice", "ToTorchImage"]
    assert found("airbench") == (["SimpleRGBImageDecoder", "RandomTranslate", "RandomHorizontalFlip", *end], [])
    made, left_out = found("cnn4")
    assert made == ["SimpleRGBImageDecoder", "RandomTranslate", "RandomHorizontalFlip", *end]
    assert [text.partition("(")[0] for text in left_out] == ["jitter", "erase"]
    assert found("cutout(hole_px=8)") == (["SimpleRGBImageDecoder", "Cutout", *end], [])
    assert found("cutout(hole_px=8, fill=noise)")[1] == ["cutout(hole_px=8, fill=noise)"]
    made, left_out = found("resnet50")
    assert made == ["RandomResizedCropRGBImageDecoder", "RandomHorizontalFlip", *end] and len(left_out) == 7
