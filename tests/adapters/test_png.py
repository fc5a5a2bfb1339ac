"""The mask PNG codec against Pillow, over filters, depths, palettes and every kind of damage."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def reference_png(rows: np.ndarray, filters: list[int], bits: int, colour: int, width: int, pieces: int = 1) -> bytes:
    """Written as the standard says: rows of bytes uint8 [H, bytes], one filter per row, one byte per pixel."""
    raw, above = bytearray(), [0] * rows.shape[1]
    for row, kind in zip(rows.tolist(), filters, strict=True):
        raw.append(kind)
        for x, value in enumerate(row):
            a, b, c = row[x - 1] if x else 0, above[x], above[x - 1] if x else 0
            raw.append((value - [0, a, b, (a + b) // 2, paeth(a, b, c)][kind]) & 255)
        above = row
    packed = zlib.compress(bytes(raw))
    out = [png.SIGNATURE, chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0))]
    if colour == 3:
        out.append(chunk(b"PLTE", bytes(range(256)) * 3))
    step = -(-len(packed) // pieces)
    out += [chunk(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step)]
    return b"".join([*out, chunk(b"tEXt", b"Software\0test"), chunk(b"IEND", b"")])


def by_pillow(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


def saved(image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def same(data: bytes) -> png.Png:
    """Decodes, and compares with Pillow."""
    picture, expected = png.decode(data, "x.png"), by_pillow(data)
    assert picture.values.dtype == np.uint8 and picture.values.flags.c_contiguous
    np.testing.assert_array_equal(picture.values, expected)
    return picture


sides = st.integers(1, 19)
few_values = st.sampled_from([[0, 255], [0, 1], [0, 38], [0, 1, 2, 255], list(range(256))])


@st.composite
def pictures(draw) -> np.ndarray:
    """Noise, or images like masks: repeated rows with few edges."""
    height, width, values = draw(sides), draw(sides), draw(few_values)
    if draw(st.booleans()):
        return draw(arrays(np.uint8, (height, width), elements=st.sampled_from(values)))
    rows = []
    for _ in range(height):
        if rows and draw(st.booleans()):
            rows.append(rows[-1])
        else:
            edges = sorted(draw(st.lists(st.integers(0, width), max_size=3)))
            inside = sum((np.arange(width) >= e).astype(int) for e in edges) if edges else np.zeros(width, int)
            rows.append(np.array(values, np.uint8)[inside % len(values)])
    return np.stack(rows)


@settings(max_examples=300, deadline=None)
@given(pictures(), st.data(), st.sampled_from([0, 3]), st.integers(1, 3))
def test_every_filter(picture, data, colour, pieces):
    kinds = data.draw(st.sampled_from([[0], [1], [2], [3], [4], [0, 1, 2, 4], [2, 4], [0, 1, 2, 3, 4]]))
    filters = data.draw(st.lists(st.sampled_from(kinds), min_size=len(picture), max_size=len(picture)))
    encoded = reference_png(picture, filters, 8, colour, picture.shape[1], pieces)
    np.testing.assert_array_equal(by_pillow(encoded), picture)
    assert same(encoded).palette == (colour == 3)


@settings(max_examples=150, deadline=None)
@given(pictures(), st.data(), st.sampled_from([1, 2, 4]), st.sampled_from([0, 3]))
def test_every_depth(picture, data, bits, colour):
    bytes_a_row = picture.shape[1]
    width = bytes_a_row * 8 // bits - data.draw(st.integers(0, 8 // bits - 1))
    filters = data.draw(st.lists(st.integers(0, 4), min_size=len(picture), max_size=len(picture)))
    decoded = same(reference_png(picture, filters, bits, colour, width))
    assert decoded.bits == bits and decoded.palette == (colour == 3)


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_what_pillow_writes(picture):
    mask = picture > 0
    winners_way = Image.fromarray(mask.astype(np.float32) * 255).convert("L")
    palette = Image.frombytes("P", picture.shape[::-1], picture.tobytes())
    palette.putpalette(png.DAVIS_PALETTE)
    for image, is_palette, bits in [
        (winners_way, False, 8),
        (Image.fromarray(picture), False, 8),
        (palette, True, 8),
        (Image.fromarray(mask), False, 1),
    ]:
        decoded = same(saved(image, **({"bits": 8} if is_palette else {})))
        assert (decoded.palette, decoded.bits) == (is_palette, bits)
    for bits in (1, 2, 4):
        small = Image.frombytes("P", picture.shape[::-1], (picture % 2**bits).tobytes())
        small.putpalette(png.DAVIS_PALETTE[: 3 * 2**bits])
        assert same(saved(small, bits=bits)).bits == bits


@settings(max_examples=100, deadline=None)
@given(pictures())
def test_round_trip(picture):
    mask = picture > 0
    for given_mask in (mask, mask.view(np.uint8)):
        np.testing.assert_array_equal(by_pillow(png.encode(given_mask)), mask * np.uint8(255))
        np.testing.assert_array_equal(png.decode(png.encode(given_mask), "x").values, mask * np.uint8(255))
    indices = Image.open(io.BytesIO(png.encode_indices(picture)))
    assert indices.mode == "P" and bytes(indices.getpalette()) == png.DAVIS_PALETTE
    np.testing.assert_array_equal(np.array(indices), picture)


def test_davis_palette():
    palette = np.frombuffer(png.DAVIS_PALETTE, np.uint8).reshape(256, 3)
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[[8, 255]].tolist() == [[64, 0, 0], [224, 224, 192]]


def blob(height=73, width=131) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) / 25) ** 2 + ((x - width / 2 + 9 * np.sin(y / 5)) / 40) ** 2 < 1


@pytest.mark.parametrize("value", [255, 1, 38])
def test_adaptive_filters_are_undone_without_pillow(value, monkeypatch):
    data = saved(Image.fromarray(blob() * np.uint8(value)))
    filters = set(png._inflate(png._image_data(data, ""), png.header(data, ""), "")[:, 0].tolist())
    assert {png.NONE, png.UP, png.PAETH} & filters and len(filters) >= 3, "the test needs a picture of several filters"
    expected = by_pillow(data)
    monkeypatch.setattr(png, "_pillow", None)
    np.testing.assert_array_equal(png.decode(data, "x").values, expected)


def test_interlaced_and_16_bit_go_to_pillow():
    small = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)  # one pixel: Adam7 has one pass of it
    data = png.SIGNATURE + chunk(b"IHDR", small) + chunk(b"IDAT", zlib.compress(b"\0\7")) + chunk(b"IEND", b"")
    assert same(data).values.tolist() == [[7]]
    deep = np.array([[0, 3], [255, 1]], np.uint16)
    assert same(saved(Image.fromarray(deep))).values.tolist() == deep.tolist()
    with pytest.raises(InputError, match=r"deep.png: 16-bit values up to 65535"):
        png.decode(saved(Image.fromarray(deep * np.uint16(257))), "deep.png")


@pytest.mark.parametrize(
    "mode, words", [("RGB", "RGB colour"), ("RGBA", "colour with alpha"), ("LA", "grey with alpha")]
)
def test_colour_pictures_are_refused(mode, words):
    with pytest.raises(InputError, match=rf"m\.png: .*{words}.*single-channel grey .* palette"):
        png.decode(saved(Image.new(mode, (3, 2))), "m.png")


GOOD = saved(Image.fromarray(blob() * np.uint8(255)))
ONE_BIT = saved(Image.fromarray(blob()))


@pytest.mark.parametrize(
    "data",
    {
        "empty": b"",
        "text": b"<html>404</html>",
        "jpeg": b"\xff\xd8\xff\xe0" + GOOD,
        "header cut": GOOD[:20],
        "before the picture": GOOD[:33],
        "half": GOOD[: len(GOOD) // 2],
        "no end": GOOD[:-12],
        "last byte": GOOD[:-1],
        "garbage": GOOD + b"\0",
        "picture bit": GOOD[:100] + bytes([GOOD[100] ^ 4]) + GOOD[101:],
        "header bit": GOOD[:19] + b"\1" + GOOD[20:],
        "no rows": png.SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 0, 8, 0, 0, 0, 0)) + GOOD[33:],
        "huge": png.SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31, 2**31, 8, 0, 0, 0, 0)) + GOOD[33:],
        "other size": png.SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 131, 72, 8, 0, 0, 0, 0)) + GOOD[33:],
        "depth": png.SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 131, 73, 3, 0, 0, 0, 0)) + GOOD[33:],
        "colour": png.SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 131, 73, 8, 5, 0, 0, 0)) + GOOD[33:],
        "filter": reference_png(np.zeros((1, 1), np.uint8), [0], 8, 0, 1)[:33]
        + chunk(b"IDAT", zlib.compress(b"\5\0"))
        + chunk(b"IEND", b""),
        "not zlib": reference_png(np.zeros((1, 1), np.uint8), [0], 8, 0, 1)[:33]
        + chunk(b"IDAT", b"abcdef")
        + chunk(b"IEND", b""),
        "more rows": reference_png(np.zeros((1, 1), np.uint8), [0], 8, 0, 1)[:33]
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b""),
        "after the stream": reference_png(np.zeros((1, 1), np.uint8), [0], 8, 0, 1)[:33]
        + chunk(b"IDAT", zlib.compress(b"\0\0") + b"more")
        + chunk(b"IEND", b""),
    }.items(),
    ids=lambda item: item[0],
)
def test_damage_is_named(data, tmp_path):
    path = tmp_path / "00005.png"
    path.write_bytes(data[1])
    with pytest.raises(InputError, match=r"00005\.png: ") as caught:
        png.read(path)
    assert len(caught.value.problems) == 1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_raises_input_error(data):
    broken = bytearray(data.draw(st.sampled_from([GOOD, ONE_BIT])))
    at = data.draw(st.integers(0, len(broken) - 1))
    if data.draw(st.booleans()):
        broken[at] ^= data.draw(st.integers(1, 255))
    else:
        del broken[at:]
    with pytest.raises(InputError):
        png.decode(bytes(broken), "x.png")


def test_size_and_missing_file(tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(GOOD[:33])
    assert png.size(path) == (73, 131)
    for read in (png.read, png.size):
        with pytest.raises(InputError, match=r"none\.png: cannot be read: No such file"):
            read(tmp_path / "none.png")


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.float32), np.full((2, 2), 255, np.uint8), np.zeros(4, bool)])
def test_encode_takes_masks_only(mask):
    with pytest.raises(ValueError, match="expected a mask"):
        png.encode(mask)


def test_real_files(shared):
    files = sorted((shared / "data").rglob("*.png"))[::25]
    read = 0
    for file in files:
        with Image.open(file) as image:
            if image.mode not in ("L", "P", "1"):
                with pytest.raises(InputError, match="colour"):
                    png.read(file)
                continue
            expected = np.array(image)
        picture = png.read(file)
        np.testing.assert_array_equal(picture.values, expected)
        assert png.size(file) == expected.shape
        read += 1
    assert read >= 20
