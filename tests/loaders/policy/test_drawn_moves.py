"""How moves and covers are drawn, measured on the pixels alone: ranges, axes, directions, probabilities, independence.

The image is two ramps, red along x and green along y: each pixel of the result tells where it was taken from.
"""

import numpy as np
import pytest

from tests.loaders.images import on_host
from tests.loaders.laws import check_equally_likely, check_probability, check_uniform, check_unrelated

# Odd: half of it is rounded down.
HEIGHT, WIDTH = 27, 33
SLOPE_X, SLOPE_Y = 7, 8
Y, X = np.mgrid[:HEIGHT, :WIDTH]
CENTRE = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])


def ramps() -> np.ndarray:
    """uint8 (HEIGHT, WIDTH, 3), nowhere zero: x and y in red and green, from 20 up."""
    return np.stack([20 + SLOPE_X * X, 20 + SLOPE_Y * Y, np.full_like(X, 255)], -1).astype(np.uint8)


def augmented(text: str, count: int, epoch: int = 0, seed: int = 21) -> np.ndarray:
    return on_host(text, np.repeat(ramps()[None], count, 0), range(count), seed=seed, epoch=epoch)


def sources(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pixels come from the inside of the image, and the x and y they come from."""
    u, v = (image[..., 0] - 20.0) / SLOPE_X, (image[..., 1] - 20.0) / SLOPE_Y
    inside = (image[..., 2] == 255) & (u > 0) & (u < WIDTH - 1) & (v > 0) & (v < HEIGHT - 1)
    return inside, u, v


def forward(image: np.ndarray) -> np.ndarray:
    """float (3, 3), up to a factor: the homography from source to result, by least squares."""
    inside, u, v = sources(image)
    x, y, u, v = (grid[inside] for grid in (X, Y, u, v))
    one, zero = np.ones_like(u), np.zeros_like(u)
    rows = np.concatenate([np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], 1),
                           np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], 1)])
    return np.linalg.inv(np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 3))


def through(matrix: np.ndarray, point) -> np.ndarray:
    x, y, w = matrix @ np.array([*point, 1.0])
    return np.array([x / w, y / w])


def affine_parts(image: np.ndarray) -> tuple[float, float, float, float, float]:
    """Degrees clockwise, shifts of the centre in px, scale and degrees of shear along x, read off the pixels."""
    inside, u, v = sources(image)
    given = np.stack([X[inside], Y[inside], np.ones(inside.sum())], 1)
    inverse = np.linalg.lstsq(given, np.stack([u[inside], v[inside]], 1), rcond=None)[0].T
    matrix = np.linalg.inv(np.vstack([inverse, [0, 0, 1]]))
    shift = through(matrix, CENTRE) - CENTRE
    angle, scale = np.arctan2(matrix[1, 0], matrix[0, 0]), np.hypot(matrix[0, 0], matrix[1, 0])
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ matrix[:2, :2] / scale
    return np.degrees(angle), *shift, scale, np.degrees(np.arctan(-back[0, 1]))


@pytest.mark.parametrize("text, ranges", [
    ("affine(rotate_deg=25, translate=.2, scale=(.8, 1.3), shear_deg=12)",
     [(-25, 25), (-.2 * WIDTH, .2 * WIDTH), (-.2 * HEIGHT, .2 * HEIGHT), (.8, 1.3), (-12, 12)]),
    ("affine(rotate_deg=(5, 40), translate=(0, .15), scale=(.7, .9), shear_deg=(-20, -5))",
     [(5, 40), (0, .15 * WIDTH), (0, .15 * HEIGHT), (.7, .9), (-20, -5)])])
def test_affine_draws_each_of_its_five_numbers_uniformly_and_apart(text, ranges):
    drawn = np.array([affine_parts(image) for image in augmented(text, 500)]).T
    for values, (low, high), slack in zip(drawn, ranges, (.3, .1, .1, .01, .5), strict=True):
        check_uniform(values, low, high, slack)
    check_unrelated(*drawn)


def test_crop_shifts_by_whole_pixels_each_way():
    drawn = np.array([affine_parts(image)[1:3] for image in augmented("crop(pad_px=3)", 1500)])
    assert np.abs(drawn - drawn.round()).max() < 0.05
    check_equally_likely(map(tuple, drawn.round().astype(int)), [(x, y) for x in range(-3, 4) for y in range(-3, 4)])


@pytest.mark.parametrize("distortion", [0.3, 0.5])
def test_perspective_moves_each_corner_inwards_by_torchvisions_uniform_integers(distortion):
    """torchvision: randint(0, int(distortion * (width // 2)) + 1), and the same of the height."""
    images = augmented(f"perspective(p=1, distortion={distortion})", 600)
    corners = [(0, 0), (WIDTH - 1, 0), (WIDTH - 1, HEIGHT - 1), (0, HEIGHT - 1)]
    # torchvision's corners are half a pixel right of and below the pixels' centres.
    moved = np.array([[np.abs(through(matrix, np.subtract(corner, 0.5)) + 0.5 - corner) for corner in corners]
                      for matrix in map(forward, images)])
    assert np.abs(moved - moved.round()).max() < 0.3
    whole = moved.round().astype(int)
    for k in range(4):
        check_equally_likely(whole[:, k, 0].tolist(), range(int(distortion * (WIDTH // 2)) + 1))
        check_equally_likely(whole[:, k, 1].tolist(), range(int(distortion * (HEIGHT // 2)) + 1))
    check_unrelated(*whole.reshape(len(whole), -1).T)


def mirrored(images: np.ndarray) -> np.ndarray:
    assert all(np.array_equal(image, ramps()) or np.array_equal(image, ramps()[:, ::-1]) for image in images)
    return images[:, 0, 0, 0] != 20


@pytest.mark.parametrize("text, p", [("flip()", 0.5), ("flip(p=.1)", 0.1), ("maybe(.4, flip(p=.5))", 0.2)])
def test_flip_mirrors_with_its_probability(text, p):
    check_probability(mirrored(augmented(text, 3000)), p)
    check_unrelated(*(mirrored(augmented(text, 3000, epoch)) for epoch in range(3)))


def test_an_alternating_flip_mirrors_every_other_epoch():
    even, odd, later = (mirrored(augmented("flip_alternate()", 2000, epoch)) for epoch in (4, 5, 6))
    check_probability(even, 0.5)
    assert (even != odd).all() and (even == later).all()
    check_unrelated(even, mirrored(augmented("flip_alternate()", 2000, 4, seed=22)))


def holes_of(images: np.ndarray) -> np.ndarray:
    """bool (N, HEIGHT, WIDTH): what is painted over."""
    return (images != ramps()).any(-1)


def boxes(covered: np.ndarray) -> np.ndarray:
    """int (N, 4): top, left, height, width of the one rectangle in each."""
    rows, columns = covered.any(2), covered.any(1)
    found = np.stack([rows.argmax(1), columns.argmax(1), rows.sum(1), columns.sum(1)], 1)
    assert (covered.sum((1, 2)) == found[:, 2] * found[:, 3]).all()
    return found


def test_cutout_lies_anywhere_inside():
    top, left, height, width = boxes(holes_of(augmented("cutout(hole_px=9)", 3000))).T
    assert set(height) == set(width) == {9}
    check_equally_likely(top.tolist(), range(HEIGHT - 9 + 1))
    check_equally_likely(left.tolist(), range(WIDTH - 9 + 1))
    check_unrelated(top, left)


def test_coarse_dropout_draws_sides_places_and_number():
    top, left, height, width = boxes(holes_of(augmented("coarse_dropout(hole_px=(3, 8))", 3000))).T
    check_equally_likely(height.tolist(), range(3, 9))
    check_equally_likely(width.tolist(), range(3, 9))
    for place, side, whole in ((top, height, HEIGHT), (left, width, WIDTH)):
        check_equally_likely(place[side == 5].tolist(), range(whole - 5 + 1))
    check_unrelated(height, width)
    check_unrelated(top / (HEIGHT - height), left / (WIDTH - width))
    # Holes of one pixel seldom meet.
    numbers = holes_of(augmented("coarse_dropout(hole_px=1, holes=(2, 5))", 2000)).sum((1, 2))
    assert (numbers < 2).sum() < 8
    check_equally_likely(numbers[numbers > 1].tolist(), range(2, 6))


def test_erase_draws_area_and_ratio_and_acts_with_its_probability():
    covered = holes_of(augmented("erase(p=.75, scale=(.1, .25), ratio=(.4, 1.6), fill=zero)", 3000))
    check_probability(covered.any((1, 2)), 0.75)
    top, left, height, width = boxes(covered[covered.any((1, 2))]).T
    check_uniform(height * width / (HEIGHT * WIDTH), 0.1, 0.25, slack=0.02)
    check_uniform(np.log(height / width), np.log(0.4), np.log(1.6), slack=0.15)
    check_uniform((top + np.random.default_rng(0).random(len(top))) / (HEIGHT - height + 1), 0, 1)
    check_uniform((left + np.random.default_rng(1).random(len(left))) / (WIDTH - width + 1), 0, 1)
