"""The command and the Python interface, with a network that names colours, on images of every kind."""

import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from engine import predict
from engine.common.errors import EngineError
from engine.inference.predictor import BATCH
from engine.storage import checkpoint
from loaders.device.executor import DevicePolicy, keys_of
from loaders.policy.policy import parse
from loaders.sources.image_file import square_rgb
from tests.engine.colours import COLOURS, colours_run
from tests.engine.image_files import png, stored

RGB = {name: tuple(round(255 * share) for share in shares) for name, shares in COLOURS.items()}


def plain_image(colour, size=(20, 20), mode="RGB"):
    return Image.new("RGB", size, RGB[colour]).convert(mode)


def wide(middle, sides):
    image = Image.new("RGB", (90, 20), RGB[sides])
    image.paste(RGB[middle], (30, 0, 60, 20))
    return image


def turned(colour, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(wide(colour, "white"), "JPEG", exif=exif, quality=95, subsampling=0)


def moving(kind, first, *others, **options):
    return stored(plain_image(first), kind, save_all=True, append_images=[plain_image(other) for other in others],
                  **options)


def see_through(colour):
    image = plain_image(colour).convert("RGBA")
    image.putalpha(0)
    return image


SIXTEEN_BITS = Image.fromarray(np.full((20, 20), 32768, np.uint16))
FLOATING = Image.fromarray(np.full((20, 20), 0.5, np.float32))
NOISE = stored(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")

# name -> (content, its class or a part of its error)
AWKWARD = {
    "plain.png": (stored(plain_image("red")), "red"),
    "palette.png": (stored(plain_image("green", mode="P")), "green"),
    "alpha.png": (stored(see_through("red")), "white"),
    "grey_alpha.png": (stored(see_through("black").convert("LA")), "white"),
    "bilevel.png": (stored(plain_image("black", mode="1")), "black"),
    "sixteen_bits.png": (stored(SIXTEEN_BITS), "grey"),
    "floating.tif": (stored(FLOATING, "TIFF"), "grey"),
    "cmyk.jpg": (stored(plain_image("blue", mode="CMYK"), "JPEG"), "blue"),
    "grey.jpg": (stored(plain_image("grey", mode="L"), "JPEG"), "grey"),
    "animated.gif": (moving("GIF", "red", "green", "blue"), "red"),
    "animated.webp": (moving("WEBP", "blue", "green", lossless=True), "blue"),
    "pages.tiff": (moving("TIFF", "green", "red"), "green"),
    "turned.jpg": (turned("red", 6), "red"),
    "wide.bmp": (stored(wide("blue", "red"), "BMP"), "blue"),
    "icon.ico": (stored(plain_image("white", (64, 64)), "ICO"), "white"),
    "one_pixel.gif": (stored(plain_image("green", (1, 1)), "GIF"), "green"),
    "one_row.ppm": (stored(plain_image("blue", (3000, 1)), "PPM"), "blue"),
    "LOUD.JPEG": (stored(plain_image("black"), "JPEG"), "black"),
    "really_a_gif.png": (stored(plain_image("red"), "GIF"), "red"),
    "line\nbreak \x1b[31m.png": (stored(plain_image("green")), "green"),
    "text.png": (b"this is not an image\n", "is not an image"),
    "empty.png": (b"", "is empty"),
    "cut.jpg": (NOISE[:len(NOISE) // 2], "is damaged or truncated"),
    "cut.png": (stored(Image.open(io.BytesIO(NOISE)))[:3000], "is damaged or truncated"),
    "bomb.png": (png(60_000, 60_000), "has more pixels"),
    "large.png": (png(8_200, 8_000), "has 8200 x 8000 pixels"),
    "wrong_sum.png": (stored(plain_image("red")).replace(b"IDATx", b"IDATy"), "is damaged or truncated"),
}
SKIPPED = {"notes.txt": b"hello", "data.csv": b"1,2", "page.eps": b"%!PS",
               ".hidden.png": stored(plain_image("red")), ".thumbnails/small.png": stored(plain_image("red"))}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return colours_run(tmp_path_factory.mktemp("runs") / "colours")


@pytest.fixture(scope="module")
def predictor(run):
    return predict.load(run, device="cpu")


@pytest.fixture
def folder(tmp_path):
    for name, content in {**SKIPPED, **{name: content for name, (content, _) in AWKWARD.items()}}.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "images"


def test_a_folder_of_awkward_files_gets_the_expected_predictions(run, folder, capsys):
    assert predict.main([str(run), str(folder), "--json", "--top", "2", "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    entries = {os.path.relpath(entry["image"], folder): entry for entry in json.loads(shown.out)}
    assert list(entries) == sorted(AWKWARD)
    for name, (_, expected) in AWKWARD.items():
        if expected in COLOURS:
            first, second = entries[name]["top"]
            assert first["class"] == expected and first["probability"] > 0.8 > second["probability"] > 0, name
        else:
            assert expected in entries[name]["error"] and name in entries[name]["error"]
    errors = shown.err.splitlines()
    assert len(errors) == sum(expected not in COLOURS for _, expected in AWKWARD.values())
    assert all(line.startswith("error: ") and line.isprintable() for line in errors)


def test_lines_come_in_the_order_given(run, folder, capsys):
    images = [str(folder / name) for name in ("wide.bmp", "text.png", "line\nbreak \x1b[31m.png")]
    assert predict.main([str(run), *images, "--top", "1", "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert [line.split("/")[-1] for line in lines[::2]] == ["wide.bmp", "line?break ?[31m.png"]
    assert [line.split()[1] for line in lines[1::2]] == ["blue", "green"] and "%" in lines[1]
    assert "\x1b" not in shown.out and shown.err.count("\n") == 1


def test_status_is_0_if_all_files_are_read_and_named_files_need_no_suffix(run, tmp_path, capsys):
    (tmp_path / ".photo").write_bytes(stored(plain_image("blue"), "JPEG"))
    assert predict.main([str(run), str(tmp_path / ".photo"), "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and len(shown.out.splitlines()) == 1 + 5


def test_folders_are_walked_in_order_and_empty_ones_are_reported(run, tmp_path, capsys):
    for name in ("b/2.png", "b/1.png", "a/deep/3.png"):
        path = tmp_path / "all" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored(plain_image("red")))
    (tmp_path / "none").mkdir()
    assert predict.main([str(run), str(tmp_path / "none"), str(tmp_path / "all"), "--json", "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    entries = json.loads(shown.out)
    assert [entry["image"].rpartition("all/")[2] for entry in entries[1:]] == ["a/deep/3.png", "b/1.png", "b/2.png"]
    assert entries[0]["image"] == str(tmp_path / "none")
    assert "no images in it" in entries[0]["error"] and shown.err.count("\n") == 1


def test_a_pipe_is_refused_without_waiting_for_it(run, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    assert predict.main([str(run), str(tmp_path / "pipe.png"), "--device", "cpu"]) == 1
    assert "not a regular file" in capsys.readouterr().err


def test_show_draws_the_pixels_that_the_network_sees(run, folder, capsys, monkeypatch):
    with pytest.raises(EngineError, match="--show needs a terminal with colours"):
        predict.main([str(run), str(folder / "wide.bmp"), "--show"])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert predict.main([str(run), str(folder / "wide.bmp"), "--show", "--device", "cpu"]) == 0
    drawn = capsys.readouterr().out
    assert "38;2;0;0;255" in drawn and drawn.count("▀") == 16 * 8 and "blue" in drawn


@pytest.mark.parametrize("words, message", [
    (["--top", "0"], "--top=0 must be 1 or more"), (["--top", "x"], "invalid int value"),
    (["--json", "--show"], "keep one"), (["--tpo", "3"], "did you mean --top"),
    (["--device", "gpu"], "invalid choice")])
def test_mistakes_on_the_command_line_are_one_line(run, words, message):
    with pytest.raises(EngineError, match=message) as caught:
        predict.main([str(run), "a.png", *words])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_a_checkpoint_is_one_line_and_no_image_is_read(tmp_path, capsys):
    (tmp_path / "other.pt").write_bytes(b"x" * 100)
    for wrong in (tmp_path / "gone", tmp_path, tmp_path / "other.pt"):
        with pytest.raises(EngineError) as caught:
            predict.main([str(wrong), "gone.png"])
        assert str(wrong) in str(caught.value) and "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt2", "model.onnx"])
def test_an_exported_file_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(EngineError, match=f"{name} is an exported file, not a checkpoint .* give a run folder"):
        predict.load(tmp_path / name, device="cpu")


@pytest.mark.parametrize("names, message", [
    (["red", "green"], "is of another model: head.3.weight is"), ([], "names no classes"), (None, "names no classes"),
    ([1, 2, 3, 4, 5, 6], "names no classes")])
def test_missing_classes_or_a_wrong_number_of_them_are_one_line(tmp_path, names, message):
    path = colours_run(tmp_path / "run") / "checkpoints" / "last.pt"
    checkpoint.save(path, checkpoint.load(path) | {"class_names": names})
    with pytest.raises(EngineError, match=message) as caught:
        predict.load(path, device="cpu")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_python_takes_paths_bytes_pillow_arrays_and_lists(predictor, tmp_path):
    image = plain_image("green", (50, 30))
    image.save(tmp_path / "a.png")
    kinds = [str(tmp_path / "a.png"), tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), image, np.asarray(image)]
    for kind in kinds:
        assert predictor(kind).label == "green" and predictor(kind).confidence > 0.99
    predictions = predictor(kinds)
    assert [prediction.label for prediction in predictions] == ["green"] * len(kinds) and predictor([]) == []
    prediction = predictions[0]
    assert prediction.probabilities.shape == (6,) and prediction.probabilities.sum() == pytest.approx(1)
    assert [name for name, _ in prediction.top(100)][0] == "green" and len(prediction.top(100)) == 6
    with pytest.raises(EngineError, match="image 2: is a int"):
        predictor([image, 3])


def test_a_batch_gives_the_predictions_of_single_images(predictor):
    images = list(np.random.default_rng(0).integers(0, 256, (BATCH + 3, 16, 16, 3), dtype=np.uint8))
    predictions = predictor(images)
    assert len(predictions) == BATCH + 3
    for place in (0, BATCH - 1, BATCH, BATCH + 2):
        assert np.array_equal(predictions[place].seen_hwc, images[place])
        assert predictions[place].probabilities == pytest.approx(predictor(images[place]).probabilities, abs=1e-6)


def test_a_prediction_is_the_softmax_of_the_logits(predictor):
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    trained = predictor.trained
    with torch.no_grad():
        logits = trained.model(torch.from_numpy(image)[None].permute(0, 3, 1, 2) / 255)
    assert predictor(image).probabilities == pytest.approx(logits.softmax(1)[0].numpy(), abs=1e-6)


def test_networks_of_class_folders_get_stretched_images(tmp_path):
    folders = colours_run(tmp_path / "run", **{"data.name": "folder", "data.root": str(tmp_path)})
    content = stored(wide("blue", "red"))
    prediction = predict.load(folders, device="cpu")(content)
    assert np.array_equal(prediction.seen_hwc, square_rgb(content, "a.png", 16))


def test_networks_that_enlarge_get_the_pixels_of_their_evaluation(tmp_path):
    enlarging = colours_run(tmp_path / "run", **{"augment.policy": "flip(), resize(px=24)"})
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    policy = DevicePolicy(parse("resize(px=24)", 16, 16), mean_rgb=(1, 2, 3), device="cpu")
    expected = policy(torch.from_numpy(images), torch.arange(2), keys_of(5, 7, "cpu")).numpy()
    predictions = predict.load(enlarging, device="cpu")(list(images))
    assert np.array_equal([prediction.seen_hwc for prediction in predictions], expected)


def test_a_diverged_network_gives_no_prediction(tmp_path, capsys):
    run = colours_run(tmp_path / "run")
    path = run / "checkpoints" / "last.pt"
    content = checkpoint.load(path)
    content["model"]["head.3.bias"].fill_(float("nan"))
    checkpoint.save(path, content)
    plain_image("red").save(tmp_path / "a.png")
    assert predict.main([str(run), str(tmp_path / "a.png"), "--json", "--top", "1", "--device", "cpu"]) == 1
    assert "no prediction: not finite" in json.loads(capsys.readouterr().out)[0]["error"]
    assert predict.main([str(run), str(tmp_path / "a.png"), "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert not shown.out and "a.png: no prediction: not finite" in shown.err and shown.err.count("\n") == 1
