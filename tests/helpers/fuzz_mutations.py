"""Seeded mutations of files: bytes, JSON, headers of zips, arrays and tensors."""

import io
import json
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch

NESTED = "\0nested\0"  # placeholder for deeply nested lists, which json.dumps cannot write
HUGE = 10**400
VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    0.5,
    48.0,
    2**63 - 1,
    2**64,
    -(2**63),
    HUGE,
    1e300,
    float("nan"),
    float("inf"),
]
VALUES += ["", "0", "x", "a\0b", "../../x", "\ud800", "é" * 300, [], {}, [0] * 1000, [[]], [None], {"a": 1}, NESTED]
VALUES += [[9223372036854775807, 9223372036854775807, 3074], [True], ["0"], "P" * 2000]


def flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice([0, 1, 8, 33, rng.randrange(len(data) + 1), max(0, len(data) - rng.randrange(1, 40))])]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 2, 4, 100])) + data[at:]


def delete(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice([1, 2, 4, 100]) :]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    piece = rng.choice([b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", rng.randbytes(16)])
    return data[:at] + piece + data[at + len(piece) :]


def text(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        [b"", b"hello world\n", b"{}", b"[]", b"null", b"\x80\x02}q\x00.", b"PK\x05\x06" + b"\0" * 18, b"\0" * 300]
    )


BYTES = [flip, flip, flip, cut, cut, insert, delete, overwrite, text]


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Values of other types and sizes, and missing or duplicate keys, somewhere in the tree."""
    content = json.loads(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        places = [(c, k) for c in _containers(content) for k in (c if isinstance(c, dict) else range(len(c)))]
        if not places:
            break
        holder, key = rng.choice(places)
        what = rng.randrange(8)
        if what < 4:
            holder[key] = rng.choice(VALUES)
        elif what == 4:
            del holder[key]
        elif what == 5 and isinstance(holder, list):
            holder.insert(key, rng.choice([holder[key], *VALUES]))
        elif what == 5:
            holder[rng.choice(["x", "", "1", "scores", "a/b", "\ud800", "n" * 300])] = holder[key]
        elif what == 6:
            other, k = rng.choice(places)
            if k in other if isinstance(other, dict) else k < len(other):
                holder[key] = json.loads(json.dumps(other[k]))
        elif isinstance(holder, dict):
            holder[key + "\0twice"] = rng.choice(VALUES)
    if rng.random() < 0.05:
        content = rng.choice(VALUES)
    written = json.dumps(content).replace("\\u0000twice", "")
    return written.replace(json.dumps(NESTED), "[" * 100_000 + "]" * rng.choice([100_000, 0])).encode()


def _containers(content, depth: int = 0):
    if isinstance(content, (dict, list)) and depth < 20:
        yield content
        for value in content.values() if isinstance(content, dict) else content:
            yield from _containers(value, depth + 1)


FIELDS = {  # of the headers of a zip: (offset, bytes)
    b"PK\x03\x04": [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 1)],
    b"PK\x01\x02": [(6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4), (46, 1)],
    b"PK\x05\x06": [(8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}


def change_zip(data: bytes, rng: random.Random) -> bytes:
    """Changes a header field: version, flags, method, checksum, size, offset or name."""
    magic = rng.choice(list(FIELDS))
    places = [i for i in range(len(data) - 3) if data[i : i + 4] == magic]
    if not places:
        return flip(data, rng)
    offset, size = rng.choice(FIELDS[magic])
    at = rng.choice(places) + offset
    values = [0, 1, 8, 9, 12, 14, 99, 0x800, 0x801, 0xFF, 0xFFFF, 3_500_000_000, 0xFFFFFFFF, rng.randrange(1 << 32)]
    value = rng.choice(values) & ((1 << (8 * size)) - 1)
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


def repack_zip(data: bytes, rng: random.Random) -> bytes:
    """A duplicate, missing or renamed member, one with the encryption flag, or a name that is not UTF-8."""
    try:
        members = [
            (i.filename, zipfile.ZipFile(io.BytesIO(data)).read(i))
            for i in zipfile.ZipFile(io.BytesIO(data)).infolist()
        ]
    except Exception:
        return flip(data, rng)
    chosen = rng.randrange(len(members))
    name, content = members[chosen]
    what = rng.randrange(6)
    if what == 0:
        members.append((name, content))
    elif what == 1:
        members.pop(chosen)
    elif what == 2:
        members[chosen] = (rng.choice(["../" + name, name + "/x", "/" + name, "é" + name, name.upper()]), content)
    elif what == 3:
        members[chosen] = (name, rng.choice(BYTES)(content, rng))
    elif what == 4:
        members.append((rng.choice(["a/b", "__MACOSX/x", "x\x1b[31m.png", "n" * 300]), content))
    out, method = (
        io.BytesIO(),
        rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]),
    )
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    data = out.getvalue()
    if what == 5:
        at = data.index(b"PK\x01\x02")
        data = (
            data[: at + 8]
            + struct.pack("<H", rng.choice([1, 0x800]))
            + data[at + 10 : at + 46]
            + b"\xff"
            + data[at + 47 :]
        )
    return data


def change_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Another type or shape."""
    kinds = ["?", "u1", "i1", "<i8", ">i2", "<f2", ">f4", "<f8", "g", "c8", "U3", "S2", "M8[s]", "O", "u8", "f4,f4"]
    what = rng.randrange(6)
    if what < 3:
        kind = rng.choice(kinds)
        return array.astype(kind) if kind != "M8[s]" else array.astype("i8").astype(kind)
    if what == 3:
        changed = array.astype(np.float32)
        changed.flat[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf, 7, 1e30])
        return changed
    return [array[:1], array.T, array[None], array.reshape(-1), np.array(3), array[:0], array.tolist()][
        rng.randrange(7)
    ]


def change_npz(data: bytes, rng: random.Random) -> bytes:
    arrays = dict(np.load(io.BytesIO(data)))
    name = rng.choice(sorted(arrays))
    arrays[name] = change_array(arrays[name], rng)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def change_npy_header(data: bytes, rng: random.Random) -> bytes:
    """Changes the text of an array header; checksums stay correct."""
    out = io.BytesIO()
    archive = zipfile.ZipFile(io.BytesIO(data))
    chosen = rng.choice(archive.namelist())
    with zipfile.ZipFile(out, "w") as new:
        for name in archive.namelist():
            content = archive.read(name)
            if name == chosen:
                at = content.index(b"\n") if b"\n" in content else 80
                head = bytearray(content[:at])
                for _ in range(rng.choice([1, 2, 20])):
                    head[rng.randrange(len(head))] = rng.choice(
                        b"0123456789()[]{},:'<>=|fiuO \xff\n" + rng.randbytes(4)
                    )
                content = bytes(head) + content[at:]
            new.writestr(name, content)
    return out.getvalue()


class Odd(torch.Tensor):
    """A subclass of tensors."""


def change_tensor(tensor: torch.Tensor, rng: random.Random):
    """Another kind of tensor, or no tensor."""
    flat = tensor.detach().float()
    makers = [
        lambda: torch.nn.Parameter(flat),
        lambda: flat.clone().requires_grad_(),
        lambda: flat.to_sparse(),
        lambda: flat.to(torch.complex64),
        lambda: torch.quantize_per_tensor(flat, 0.1, 0, torch.quint8),
        lambda: flat.half(),
        lambda: flat.bfloat16(),
        lambda: flat.double(),
        lambda: flat.long(),
        lambda: flat > 0,
        lambda: flat.to(torch.float8_e4m3fn),
        lambda: torch.empty(flat.shape, device="meta"),
        lambda: torch.tensor(3.0),
        lambda: torch.zeros(0),
        lambda: torch.zeros(1).expand(10**12),
        lambda: torch.zeros(1).expand(flat.shape),
        lambda: flat[None],
        lambda: flat.flatten(),
        lambda: flat[:1],
        lambda: flat.as_subclass(Odd),
        lambda: flat * float("nan"),
        lambda: flat * float("inf"),
        lambda: flat.tolist(),
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: flat.numpy(),
        lambda: None,
        lambda: "x",
        lambda: {},
        lambda: HUGE,
    ]
    return rng.choice(makers)()


def change_pth(data: bytes, rng: random.Random) -> bytes:
    """Changes a value or a name in a file of torch.save."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    places = [(c, k) for c in _containers(content) for k in (c if isinstance(c, dict) else range(len(c)))]
    holder, key = rng.choice(places)
    value, what = holder[key], rng.randrange(6)
    if what < 3:
        holder[key] = change_tensor(value if isinstance(value, torch.Tensor) else torch.ones(3, 4), rng)
    elif what == 3:
        holder[key] = rng.choice(VALUES)
    elif what == 4 and isinstance(holder, dict):
        holder[rng.choice([0, None, (1, 2), "", "module.x", f"module.{key}", 2.5, True])] = value
    else:
        del holder[key]
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=rng.random() < 0.9)
    return out.getvalue()


def change_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Changes the header: names, types, shapes and offsets."""
    length = struct.unpack("<Q", data[:8])[0]
    head = change_json(data[8 : 8 + length], rng) if rng.random() < 0.7 else flip(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


def mutate(path: Path, mutations: list, rng: random.Random) -> str:
    """Changes a file; returns the name of the mutation."""
    before = path.read_bytes()
    for _ in range(20):
        chosen = rng.choice(mutations)
        try:
            after = chosen(before, rng)
        except (ValueError, TypeError, RuntimeError, OverflowError, NotImplementedError, AttributeError, KeyError):
            continue  # this mutation is impossible for this file
        if after != before:
            path.write_bytes(after)
            return chosen.__name__
    path.write_bytes(flip(before, rng))
    return "flip"
