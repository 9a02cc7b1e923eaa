"""GGUF version 3 files: a writer and a reader in numpy.

This is the Python side's own reading of the format (the GGUF specification of
the ggml project); it shares nothing with src/model/gguf.c, so that each can
judge the other.

    write("m.gguf", {"general.architecture": ("string", "phi3")},
          {"token_embd.weight": (array, "q8_0")})
    model = read("m.gguf")
    model.metadata["general.architecture"], model["token_embd.weight"]

Shapes are row-major, as numpy has them; the file lists dimensions fastest
first, and that reversal happens here and nowhere else.
"""

import struct

import numpy as np

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
BLOCK = 32  # values in one Q8_0 or Q4_0 block

# Scalar metadata types: name -> (number in the file, numpy type).
SCALARS = {
    "uint8": (0, "<u1"), "int8": (1, "<i1"),
    "uint16": (2, "<u2"), "int16": (3, "<i2"),
    "uint32": (4, "<u4"), "int32": (5, "<i4"),
    "float32": (6, "<f4"), "bool": (7, "?"),
    "uint64": (10, "<u8"), "int64": (11, "<i8"), "float64": (12, "<f8"),
}
STRING, ARRAY = 8, 9
SCALAR_NAMES = {number: name for name, (number, _) in SCALARS.items()}

# Tensor types: name -> (number in the file, values a block, bytes a block).
TYPES = {
    "f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, BLOCK, 18),
    "q8_0": (8, BLOCK, 34), "bf16": (30, 1, 2),
}
TYPE_NAMES = {number: name for name, (number, _, _) in TYPES.items()}


class FormatError(Exception):
    """The bytes are not a GGUF file this module can read."""


# ---- values to stored bytes and back ------------------------------------


def to_bf16(x):
    """Round float32 to bfloat16, ties to even; NaN stays a quiet NaN."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    bits = x.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(x), quiet, rounded).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_q8_0(x):
    """Blocks of 32: an f16 scale of max|x| / 127, then 32 int8."""
    x = np.asarray(x, dtype=np.float32).reshape(-1, BLOCK)
    scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale),
                        where=scale != 0)
    y = x * inverse
    out = np.empty((len(x), 34), dtype=np.uint8)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    away = np.copysign(np.floor(np.abs(y) + np.float32(0.5)), y)
    out[:, 2:] = away.astype(np.int8).view(np.uint8)
    return out


def from_q8_0(raw):
    raw = raw.reshape(-1, 34)
    scale = raw[:, :2].copy().view("<f2").astype(np.float32)
    return scale * raw[:, 2:].view(np.int8).astype(np.float32)


def to_q4_0(x):
    """Blocks of 32: an f16 scale, then 16 bytes of two nibbles each.

    The scale maps the value of largest magnitude, sign and all, to -8.
    """
    x = np.asarray(x, dtype=np.float32).reshape(-1, BLOCK)
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    scale = extreme / np.float32(-8)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale),
                        where=scale != 0)
    q = np.floor(x * inverse + np.float32(8.5)).clip(0, 15).astype(np.uint8)
    out = np.empty((len(x), 18), dtype=np.uint8)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    out[:, 2:] = q[:, :16] | (q[:, 16:] << 4)
    return out


def from_q4_0(raw):
    raw = raw.reshape(-1, 18)
    scale = raw[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1)
    return scale * (nibbles.astype(np.float32) - 8)


ENCODERS = {
    "f32": lambda x: np.asarray(x, dtype="<f4"),
    "f16": lambda x: np.asarray(x, dtype="<f2"),
    "bf16": to_bf16, "q8_0": to_q8_0, "q4_0": to_q4_0,
}
DECODERS = {
    "f32": lambda raw: raw.view("<f4"),
    "f16": lambda raw: raw.view("<f2").astype(np.float32),
    "bf16": lambda raw: from_bf16(raw.view("<u2")),
    "q8_0": from_q8_0, "q4_0": from_q4_0,
}


def encode(array, kind):
    """The bytes that store `array` in tensor type `kind`."""
    array = np.asarray(array)
    if array.shape[-1] % TYPES[kind][1]:
        raise ValueError("rows of %d values do not fill %s blocks"
                         % (array.shape[-1], kind))
    return np.ascontiguousarray(ENCODERS[kind](array)).tobytes()


def decode(raw, kind, shape):
    """The float32 values that the bytes `raw` of type `kind` stand for."""
    raw = np.ascontiguousarray(raw)
    return DECODERS[kind](raw).reshape(shape)


def rounded(array, kind):
    """`array` as it will be read back after storage in `kind`."""
    raw = np.frombuffer(encode(array, kind), dtype=np.uint8)
    return decode(raw, kind, np.shape(array))


# ---- writing -------------------------------------------------------------


def pack_string(text):
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def pack_value(kind, value):
    """A metadata value with its type; kind "[x]" is an array of x."""
    if kind == "string":
        return struct.pack("<I", STRING) + pack_string(value)
    if not kind.startswith("["):
        number, dtype = SCALARS[kind]
        return struct.pack("<I", number) + np.array(value, dtype).tobytes()
    inner = kind[1:-1]
    head = struct.pack("<I", ARRAY)
    if inner == "string":
        body = b"".join(pack_string(v) for v in value)
        return head + struct.pack("<IQ", STRING, len(value)) + body
    number, dtype = SCALARS[inner]
    body = np.array(value, dtype).tobytes()
    return head + struct.pack("<IQ", number, len(value)) + body


def write(path, metadata, tensors):
    """Write a GGUF v3 file.

    metadata: key -> (kind, value). tensors: name -> (array, tensor type), in
    the order in which they shall stand in the file.
    """
    alignment = metadata.get("general.alignment", (0, DEFAULT_ALIGNMENT))[1]
    head = MAGIC + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, (kind, value) in metadata.items():
        head += pack_string(key) + pack_value(kind, value)
    infos, offset = b"", 0
    for name, (array, kind) in tensors.items():
        number, values, size = TYPES[kind]
        shape = np.shape(array)
        infos += pack_string(name) + struct.pack("<I", len(shape))
        infos += struct.pack("<%dQ" % len(shape), *reversed(shape))
        infos += struct.pack("<IQ", number, offset)
        bytes_used = int(np.prod(shape)) // values * size
        offset += -(-bytes_used // alignment) * alignment
    with open(path, "wb") as f:
        f.write(head + infos)
        for array, kind in tensors.values():
            f.write(b"\0" * (-f.tell() % alignment))
            f.write(encode(array, kind))
        f.write(b"\0" * (-f.tell() % alignment))


# ---- reading -------------------------------------------------------------


class Reader:
    """A cursor over the file's bytes that refuses to run past their end."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if size > len(self.data) - self.at:
            raise FormatError("%d bytes wanted at %d, %d left"
                              % (size, self.at, len(self.data) - self.at))
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, dtype):
        return self.take(np.dtype(dtype).itemsize).view(dtype)[0].item()

    def string(self):
        data = self.take(self.number("<u8")).tobytes()
        return data.decode("utf-8", "surrogateescape")

    def value(self, number):
        if number == STRING:
            return self.string()
        if number in SCALAR_NAMES:
            return self.number(SCALARS[SCALAR_NAMES[number]][1])
        if number != ARRAY:
            raise FormatError("unknown metadata type %d" % number)
        inner, count = self.number("<u4"), self.number("<u8")
        if inner in SCALAR_NAMES:
            dtype = np.dtype(SCALARS[SCALAR_NAMES[inner]][1])
            return self.take(count * dtype.itemsize).view(dtype).tolist()
        return [self.value(inner) for _ in range(count)]


class Model:
    """A file's metadata (plain Python values) and its tensors."""

    def __init__(self, metadata, tensors):
        self.metadata = metadata
        self.tensors = tensors  # name -> (type, shape, bytes)

    def __contains__(self, name):
        return name in self.tensors

    def __getitem__(self, name):
        kind, shape, raw = self.tensors[name]
        return decode(raw, kind, shape)

    def of_arch(self, key, default=None):
        """Metadata under the architecture's own prefix, as phi3.KEY."""
        arch = self.metadata["general.architecture"]
        return self.metadata.get(arch + "." + key, default)


def read(path):
    reader = Reader(np.memmap(path, dtype=np.uint8, mode="r"))
    if reader.take(4).tobytes() != MAGIC:
        raise FormatError("no GGUF magic")
    version = reader.number("<u4")
    if version not in (2, 3):
        raise FormatError("GGUF version %d" % version)
    tensor_count, pair_count = reader.number("<u8"), reader.number("<u8")
    metadata = {}
    for _ in range(pair_count):
        key = reader.string()
        metadata[key] = reader.value(reader.number("<u4"))
    infos = []
    for _ in range(tensor_count):
        name = reader.string()
        dims = [reader.number("<u8") for _ in range(reader.number("<u4"))]
        kind = TYPE_NAMES.get(reader.number("<u4"))
        infos.append((name, tuple(reversed(dims)), kind, reader.number("<u8")))
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    start = -(-reader.at // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in infos:
        if kind is None:
            raise FormatError("tensor %s has a type not read here" % name)
        _, values, size = TYPES[kind]
        reader.at = start + offset
        raw = reader.take(int(np.prod(shape)) // values * size)
        tensors[name] = (kind, shape, raw)
    return Model(metadata, tensors)
