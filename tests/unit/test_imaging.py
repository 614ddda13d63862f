"""From a photograph to the network's input, pixel by pixel."""

import dataclasses
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from qat8 import datafile, imaging
from qat8.errors import DataError
from qat8.imaging import IMAGENET, SYMMETRIC, Preprocessing
from qat8.older_python import zip_strict

# 24 is 28 less the border that 256 has around 224, in small.
SMALL = dataclasses.replace(IMAGENET, crop=28)


@pytest.fixture
def save(tmp_path):
    """Saves a Pillow image without loss, in any mode."""

    def write(image: Image.Image, name: str = "image.png", **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("size", "resized"),
    [((512, 256), (512, 256)), ((500, 375), (341, 256)), ((375, 500), (256, 341)), ((100, 100), (256, 256)),
     ((333, 250), (341, 256)), ((1, 1), (256, 256)), ((2, 1), (512, 256))],
)  # fmt: skip
def test_the_shorter_side_becomes_256_whatever_the_shape(save, size, resized):
    image = imaging.decode(save(Image.new("RGB", size)), IMAGENET)
    assert (image.mode, image.size) == ("RGB", resized)


def test_the_border_around_the_crop_grows_with_the_crop():
    sides = {crop: dataclasses.replace(IMAGENET, crop=crop).resize for crop in (1, 28, 224, 299, 448)}
    assert sides == {1: 1, 28: 32, 224: 256, 299: 342, 448: 512}


def test_the_crop_is_the_middle_and_the_planes_are_rgb(save):
    # Already of the right size, so that no filter changes a pixel.
    pixels = np.random.default_rng(0).integers(0, 256, (256, 301, 3), np.uint8)
    cropped = imaging.preprocess(save(Image.fromarray(pixels)), IMAGENET)
    assert (cropped.dtype, cropped.shape, cropped.flags.c_contiguous) == (np.uint8, (3, 224, 224), True)
    assert np.array_equal(cropped, pixels[16:240, 38:262].transpose(2, 0, 1))


@pytest.mark.parametrize("filter_", imaging.FILTERS)
def test_the_filter_is_the_one_that_is_named(save, filter_):
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    image = Image.fromarray(pixels)
    spec = dataclasses.replace(SMALL, filter=filter_)
    expected = np.asarray(image.resize((43, 32), imaging.FILTERS[filter_]))[2:30, 7:35]
    assert np.array_equal(imaging.preprocess(save(image), spec), expected.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("spec", "black", "colour", "white"),
    [
        # (value / 255 - mean) / std by hand, for the values 0, 51 = 255 / 5 and 255.
        (SYMMETRIC, (-1, -1, -1), (-0.6, -0.6, -0.6), (1, 1, 1)),
        (IMAGENET, (-2.1179039, -2.0357143, -1.8044444), (-1.2445415, -1.1428571, -0.9155556),
         (2.2489083, 2.4285714, 2.64)),
    ],
)  # fmt: skip
def test_normalised_values_are_those_of_the_formula(save, spec, black, colour, white):
    for value, expected in ((0, black), (51, colour), (255, white)):
        planes = imaging.preprocess(save(Image.new("RGB", (30, 30), (value,) * 3)), spec)
        result = datafile.normalise(planes, spec.mean, spec.std)
        assert result.dtype == np.float32
        assert result[:, 0, 0] == pytest.approx(expected, abs=1e-6)
        assert (result == result[:, :1, :1]).all()


def planes(path) -> list[int]:
    """The three values of an image of one colour."""
    result = imaging.preprocess(path, SMALL)
    assert (result == result[:, :1, :1]).all()
    return result[:, 0, 0].tolist()


def test_grey_palette_and_bilevel_images_become_rgb(save):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert planes(save(Image.new("L", (8, 8), 77))) == [77, 77, 77]
    assert planes(save(palette)) == [10, 20, 30]
    assert planes(save(Image.new("1", (8, 8), 1))) == [255, 255, 255]


def test_an_alpha_channel_is_dropped_not_blended(save):
    assert planes(save(Image.new("RGBA", (8, 8), (10, 20, 30, 0)))) == [10, 20, 30]
    assert planes(save(Image.new("LA", (8, 8), (77, 3)))) == [77, 77, 77]


def test_a_cmyk_jpeg_as_imagenet_has_some_becomes_rgb(save):
    cyan = planes(save(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "a.jpg", quality=100))
    assert cyan == pytest.approx([0, 255, 255], abs=3)


def test_an_image_of_one_pixel_fills_the_crop(save):
    assert planes(save(Image.new("RGB", (1, 1), (1, 2, 3)))) == [1, 2, 3]


def test_exif_rotation_is_ignored_as_in_the_tutorial(save, photograph, tmp_path):
    plain = photograph(tmp_path / "plain.jpg", 60, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = photograph(tmp_path / "turned.jpg", 60, 40, exif=exif)
    assert Image.open(turned).getexif()[0x0112] == 6
    assert imaging.decode(turned, SMALL).size == (48, 32)
    assert np.array_equal(imaging.preprocess(turned, SMALL), imaging.preprocess(plain, SMALL))


# What the crop cuts off is not computed, and nobody sees it in the pixels.

SIDES = [(512, 512), (500, 375), (375, 500), (333, 250), (276, 600), (600, 276), (100, 100), (255, 257), (257, 256),
         (1, 1), (3, 1), (1024, 768), (333, 1000), (1000, 333), (260, 900)]  # fmt: skip


@pytest.mark.parametrize("filter_", imaging.FILTERS)
@pytest.mark.parametrize("crop", [224, 28, 299, 301])
def test_only_what_the_crop_needs_is_computed_and_the_pixels_are_those_of_the_whole_image(save, filter_, crop):
    spec = dataclasses.replace(IMAGENET, crop=crop, filter=filter_)
    random = np.random.default_rng(4)  # noise: an output pixel that lies elsewhere by a thousandth comes out otherwise
    for width, height in SIDES:
        path = save(Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)), compress_level=0)
        whole = imaging.centre_crop(imaging.decode(path, spec), crop)
        assert np.array_equal(imaging.preprocess(path, spec), whole), (width, height)


def test_an_eighth_of_the_work_is_left_out_for_photographs_of_usual_shapes():
    for size, resized, wanted in (
        ((500, 375), (341, 256), (341, 224)), ((375, 500), (256, 341), (224, 341)),
        ((512, 512), (256, 256), (224, 224)),
    ):  # fmt: skip
        found, (left, top, right, bottom) = imaging._needed(size, resized, IMAGENET)
        assert found == wanted
        assert [right - left, bottom - top] == [s * w / r for s, w, r in zip_strict(size, wanted, resized)]
    # 342 is no power of two: all of it, or other pixels would come out.
    spec = dataclasses.replace(IMAGENET, crop=299)
    assert imaging._needed((500, 400), (428, 342), spec) == ((428, 342), (0, 0, 500, 400))


# What is no image.


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_jpeg_is_an_error_that_names_it_and_not_half_a_grey_picture(photograph, tmp_path, share):
    path = photograph(tmp_path / "half.jpg", 200, 200)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"half\.jpg: not a readable image"):
        imaging.preprocess(path, SMALL)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(100), b"\xff\xd8\xff\xe0"])
def test_what_is_not_an_image_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "page.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"page\.jpg: not a readable image"):
        imaging.preprocess(tmp_path / "page.jpg", SMALL)


def test_a_missing_image_is_an_error_that_names_it_and_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"none\.jpg: no such image.*--on-missing=skip"):
        imaging.preprocess(tmp_path / "none.jpg", SMALL)


def test_more_pixels_than_pillows_limit_are_an_error(save, monkeypatch):
    path = save(Image.new("RGB", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # an error from twice as many on
    with pytest.raises(DataError, match=r"image\.png: not a readable image \(.*decompression bomb"):
        imaging.preprocess(path, SMALL)


def test_twenty_thousand_by_twenty_thousand_pixels_are_refused_before_they_are_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(20_000, 20_000))
    with pytest.raises(DataError, match=r"bomb\.png: not a readable image \(Image size \(400000000 pixels\).*bomb"):
        imaging.preprocess(path, SMALL)


def test_what_pillow_would_only_warn_of_is_refused_too(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10_000, 10_000))
    with pytest.raises(DataError, match=r"large\.png: not a readable image \(10000 x 10000 pixels, over the limit"):
        imaging.preprocess(path, SMALL)


def png_header(width: int, height: int) -> bytes:
    """What Pillow reads of a PNG file when it opens it: signature, IHDR, the start of IDAT."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT"


def test_a_sliver_is_an_error_before_it_takes_the_memory(save):
    # Its shorter side resized to 256 it would be 256 x 5,120,000 pixels: 4 GB.
    with pytest.raises(DataError, match=r"image\.png: 1 x 20000 pixels"):
        imaging.preprocess(save(Image.new("L", (1, 20000))), IMAGENET)


def test_a_link_out_of_the_tree_is_followed_as_the_user_laid_it(photograph, tmp_path):
    outside = photograph(tmp_path / "store/a.jpg", 60, 40)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.jpg").symlink_to(outside)
    assert np.array_equal(imaging.preprocess(tmp_path / "set/a.jpg", SMALL), imaging.preprocess(outside, SMALL))


def test_a_link_to_nothing_is_an_error_that_names_where_it_leads(tmp_path):
    (tmp_path / "a.jpg").symlink_to("/nowhere/a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: a link to /nowhere/a\.jpg, which is not there.*mend the link"):
        imaging.preprocess(tmp_path / "a.jpg", SMALL)


@pytest.mark.parametrize("name", ["mit Leerzeichen .jpg", "猫.jpg", "e\u0301te\u0301.jpg", "a\u2028b.jpg", "-rf *.jpg"])
def test_any_name_is_read(photograph, tmp_path, name):
    assert imaging.preprocess(photograph(tmp_path / name), SMALL).shape == (3, 28, 28)


def test_a_name_of_bytes_that_are_no_utf8_is_read(photograph, tmp_path):
    path = photograph(tmp_path / "a.jpg").rename(tmp_path / os.fsdecode(b"caf\xe9.jpg"))
    assert imaging.preprocess(path, SMALL).shape == (3, 28, 28)


# Draft mode.


def test_fast_gives_other_pixels_of_a_large_jpeg_never_fewer_and_says_so(photograph, tmp_path):
    fast = dataclasses.replace(SMALL, fast=True)
    large, small = photograph(tmp_path / "l.jpg", 400, 300, 3), photograph(tmp_path / "s.jpg", 60, 40)
    exact, quick = (imaging.preprocess(large, spec).astype(int) for spec in (SMALL, fast))
    assert exact.shape == quick.shape and 0 < abs(exact - quick).max() < 40
    assert np.array_equal(imaging.preprocess(small, SMALL), imaging.preprocess(small, fast))
    assert not imaging.same_pixels(SMALL.fingerprint(), fast.fingerprint())
    assert "decoding" not in SMALL.fingerprint() and fast.fingerprint()["decoding"] == "JPEG draft mode"


# Fingerprints.


def test_fingerprints_differ_by_what_changes_pixels_and_by_nothing_else():
    same = IMAGENET.fingerprint() | {"decoder": "Pillow 1.0"}
    assert imaging.same_pixels(IMAGENET.fingerprint(), same)
    assert not imaging.same_pixels(IMAGENET.fingerprint(), SYMMETRIC.fingerprint())
    for change in ({"crop": 192}, {"filter": "bilinear"}, {"mean": (0.5, 0.5, 0.5)}, {"std": (1.0, 1.0, 1.0)}):
        other = dataclasses.replace(IMAGENET, **change).fingerprint()
        assert not imaging.same_pixels(IMAGENET.fingerprint(), other), change


def test_the_tutorials_constants_are_the_defaults():
    spec = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert spec == IMAGENET and (spec.crop, spec.resize, spec.filter) == (224, 256, "lanczos")
