"""A picture has the same pixels in every mode of Pillow's, on white paper; or it is refused by its name."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin
from raw_pictures import grey_tiff, png

from harness.core.dataset import BadImage
from harness.core.errors import UserError
from harness.datasets.pictures import as_rgb, open_rgb

ROOT = Path(__file__).parents[2]

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
"""Every grey level once."""

NONE, FULL = np.zeros_like(RAMP), np.full_like(RAMP, 255)

WIDE = RAMP.astype(np.uint16) * 257
"""The same of 16 bits: 65535 = 257 · 255."""


def bands(mode, *channels):
    """A picture of some channels, each 16 x 16."""
    return Image.merge(mode, [Image.fromarray(channel) for channel in channels])


def lab():
    """The ramp in Lab, by the profiles of littleCMS."""
    srgb, target = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(bands("RGB", RAMP, RAMP, RAMP), srgb, target, outputMode="LAB")


def big_endian():
    return Image.frombytes("I;16B", (16, 16), WIDE.astype(">u2").tobytes())


def little_endian():
    return Image.frombytes("I;16L", (16, 16), WIDE.astype("<u2").tobytes())


def palette_with_alpha():
    picture = Image.fromarray(INK[0]).convert("P")
    picture.putalpha(Image.fromarray(INK[1]))
    return picture


INK = (NONE, 255 - RAMP)
"""Black ink on transparent paper: the ramp, once the paper is white."""

MODES = {
    "1": ("png", lambda: Image.fromarray(RAMP > 127)),
    "L": ("png", lambda: Image.fromarray(RAMP)),
    "P": ("png", lambda: Image.fromarray(RAMP).convert("P")),
    "RGB": ("png", lambda: bands("RGB", RAMP, RAMP, RAMP)),
    "RGBX": (None, lambda: bands("RGBX", RAMP, RAMP, RAMP, NONE)),
    "CMYK": ("tiff", lambda: bands("CMYK", NONE, NONE, NONE, 255 - RAMP)),
    "YCbCr": ("tiff", lambda: bands("YCbCr", RAMP, FULL // 2 + 1, FULL // 2 + 1)),
    "LAB": ("tiff", lab),
    "HSV": (None, lambda: bands("HSV", NONE, NONE, RAMP)),
    "LA": ("png", lambda: bands("LA", *INK)),
    "La": (None, lambda: bands("LA", *INK).convert("La")),
    "PA": ("tiff", palette_with_alpha),
    "RGBA": ("png", lambda: bands("RGBA", NONE, NONE, *INK)),
    "RGBa": (None, lambda: bands("RGBA", NONE, NONE, *INK).convert("RGBa")),
    "I": ("ppm", lambda: Image.fromarray(WIDE.astype(np.int32))),
    "I;16": ("png", lambda: Image.fromarray(WIDE)),
    "I;16B": ("tiff", big_endian),
    "I;16L": (None, little_endian),
    "I;16N": (None, lambda: Image.frombytes("I;16N", (16, 16), WIDE.tobytes())),
    "F": ("tiff", lambda: Image.fromarray(RAMP.astype(np.float32) / 255)),
}
"""The ramp in each mode, and the format of a file that opens in this mode; None where no format does."""


def test_every_mode_of_pillows_is_tried_and_in_the_documentation():
    assert set(MODES) == set(Image.MODES)
    page = (ROOT / "docs" / "methods-and-datasets.md").read_text(encoding="utf-8")
    (rows,) = re.findall(r"\n\| mode \|[^\n]*\n\| ---[^\n]*\n(.*?)\n\n", page, re.S)
    documented = [mode for row in rows.split("\n") for mode in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert sorted(documented) == sorted(Image.MODES)


@pytest.mark.parametrize("mode", Image.MODES)
def test_a_ramp_is_the_same_ramp_in_every_mode(mode, tmp_path):
    kind, draw = MODES[mode]
    picture = draw()
    assert picture.mode == mode
    if kind:
        file = tmp_path / f"ramp.{kind}"
        picture.save(file)
        assert Image.open(file).mode == mode, "the file must open in this mode"
        read = open_rgb(file)
    else:
        read = as_rgb(picture)
    assert read.mode == "RGB"
    expected = np.where(RAMP > 127, 255, 0) if mode == "1" else RAMP
    error = np.abs(np.asarray(read).astype(int) - expected[..., None])
    allowed = 2 if mode == "LAB" else 0  # Lab of 8 bits has fewer greys
    assert error.max() <= allowed


def extra_sample(content, kind):
    """A TIFF file with another meaning of its last channel: 1 for premultiplied alpha, 2 for alpha."""
    tag = struct.pack("<HHI", 338, 3, 1)
    assert content.count(tag) == 1
    place = content.index(tag) + len(tag)
    return content[:place] + struct.pack("<H", kind) + content[place + 2 :]


@pytest.mark.parametrize("mode, opened", [("LA", "La"), ("RGBA", "RGBA")])
def test_premultiplied_alpha_of_tiff_is_on_white(mode, opened, tmp_path):
    file = tmp_path / "premultiplied.tiff"
    MODES[mode][1]().save(file)
    file.write_bytes(extra_sample(file.read_bytes(), 1))
    assert Image.open(file).mode == opened
    assert np.array_equal(np.asarray(open_rgb(file))[..., 0], RAMP)


def test_a_new_mode_is_refused(monkeypatch):
    picture = Image.new("L", (2, 2))
    monkeypatch.setattr(picture, "_mode", "L;128")
    with pytest.raises(ValueError, match="mode L;128 does not say which value is white"):
        as_rgb(picture)


@given(st.binary(min_size=48, max_size=48))
def test_opaque_pictures_are_what_they_were(content):
    picture = Image.frombytes("RGB", (4, 4), content)
    assert as_rgb(picture).tobytes() == content
    picture.putalpha(255)
    assert picture.mode == "RGBA" and as_rgb(picture).tobytes() == content
    grey = Image.frombytes("L", (4, 4), content[:16])
    assert as_rgb(grey).tobytes() == grey.convert("RGB").tobytes()
    palette = Image.frombytes("RGB", (4, 4), content).quantize(8)
    assert as_rgb(palette).tobytes() == palette.convert("RGB").tobytes()


@given(st.binary(min_size=64, max_size=64))
def test_what_is_half_transparent_mixes_with_white(content):
    pixels = np.frombuffer(content, np.uint8).reshape(4, 4, 4)
    mixed = np.asarray(as_rgb(Image.frombytes("RGBA", (4, 4), content))).astype(float)
    alpha = pixels[..., 3:] / 255
    assert np.abs(mixed - (pixels[..., :3] * alpha + 255 * (1 - alpha))).max() <= 1


@given(st.integers(0, 65535))
def test_sixteen_bits_are_rounded_to_the_nearest_of_eight(value):
    read = np.asarray(as_rgb(Image.fromarray(np.array([[value]], np.uint16)))).ravel()
    assert len(set(read.tolist())) == 1 and abs(read[0] - value * 255 / 65535) <= 0.5 + 1e-9


def saved(mode, transparency):
    """A way to save the ramp in a mode, one of whose values is transparent."""
    return lambda file: MODES[mode][1]().save(file, transparency=transparency)


def written(content):
    return lambda file: file.write_bytes(content)


TRANSPARENT_VALUE = {
    "grey": (saved("L", 3), 3),
    "palette": (saved("P", 3), 3),
    "palette with an alpha for each colour": (saved("P", bytes([255, 255, 255, 0, *[255] * 252])), 3),
    "colour": (saved("RGB", (3, 3, 3)), 3),
    "16 bits": (saved("I;16", 3 * 257), 3),
}


@pytest.mark.parametrize("way", TRANSPARENT_VALUE)
def test_a_transparent_value_is_white(way, tmp_path):
    save, value = TRANSPARENT_VALUE[way]
    save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "a.png"))[..., 0], np.where(value == RAMP, 255, RAMP))


SMALL = {
    "1 bit": (png(1, 0, 2, [bytes([0b01000000])], struct.pack(">H", 0)), [255, 255]),
    "2 bits": (png(2, 0, 4, [bytes([0b00011011])], struct.pack(">H", 2)), [0, 85, 255, 255]),
    "4 bits": (png(4, 0, 4, [bytes([0x07, 0x38])], struct.pack(">H", 7)), [0, 255, 51, 136]),
    "12 bits": (grey_tiff(2, bytes([0xFF, 0xF4, 0x00]), 12), [255, 64]),
    "16 bits, white is zero": (grey_tiff(3, struct.pack("<3H", 0, 257, 65535), 16, white_is_zero=True), [255, 254, 0]),
    "floats, white is zero": (grey_tiff(2, struct.pack("<2f", 0, 0.8), 32, 3, white_is_zero=True), [255, 51]),
    "8 bits, white is zero": (grey_tiff(2, bytes([0, 200]), 8, white_is_zero=True), [255, 55]),
}


@pytest.mark.parametrize("kind", SMALL)
def test_the_range_is_that_of_the_file(kind, tmp_path):
    content, expected = SMALL[kind]
    (tmp_path / "a.png").write_bytes(content)
    assert np.asarray(open_rgb(tmp_path / "a.png"))[0, :, 0].tolist() == expected


REFUSED = {
    "integers of 32 bits": (grey_tiff(2, struct.pack("<2I", 0, 200), 32), "mode I does not say which value is white"),
    "signed integers": (grey_tiff(2, struct.pack("<2h", -5, 200), 16, 2), "mode I does not say which value is white"),
    "floats above 1": (grey_tiff(2, struct.pack("<2f", 0, 255), 32, 3), r"floats must lie in \[0, 1\], not 0 … 255"),
    "floats below 0": (grey_tiff(2, struct.pack("<2f", -0.5, 1), 32, 3), r"floats must lie in \[0, 1\], not -0.5 … 1"),
    "no number": (grey_tiff(2, struct.pack("<2f", 0, np.nan), 32, 3), r"floats must lie in \[0, 1\], not nan"),
    "a transparent colour of 16 bits": (
        png(16, 2, 2, [struct.pack(">6H", 0, 0, 0, 300, 0, 0)], struct.pack(">3H", 300, 0, 0)),
        "a transparent colour of 16 bits",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_known_is_refused_with_the_file_s_name(kind, tmp_path):
    content, reason = REFUSED[kind]
    (tmp_path / "odd.tif").write_bytes(content)
    with pytest.raises(BadImage, match=reason) as told:
        open_rgb(tmp_path / "odd.tif")
    assert isinstance(told.value, UserError) and str(tmp_path / "odd.tif") in str(told.value)


def test_older_versions_of_pillow_open_16_bits_in_mode_i(tmp_path, monkeypatch):
    MODES["I;16"][1]().save(tmp_path / "a.png")
    monkeypatch.setitem(PngImagePlugin._MODES, (16, 0), ("I", "I;16B"))
    assert Image.open(tmp_path / "a.png").mode == "I"
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "a.png"))[..., 0], RAMP)


def test_pictures_are_read_as_they_are_stored(tmp_path):
    picture, exif = Image.fromarray(RAMP[:8]), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter for viewing
    picture.save(tmp_path / "a.png", exif=exif)
    assert open_rgb(tmp_path / "a.png").size == (16, 8)
