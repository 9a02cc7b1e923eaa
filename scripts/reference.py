#!/usr/bin/env python3
"""The forward pass of Phi-3 and Llama in float64, as plainly as numpy can.

    scripts/reference.py -m MODEL --tokens 1,2,3 -o OUT.safetensors
    scripts/reference.py -m MODEL --tokens 1,2,3 --compare LOGITS.safetensors

It reads the GGUF by itself (gguf_file.py), dequantises the weights, and
computes the logits of all tokens at once, without a cache. It shares no code
with src/, so that it can judge it. The output holds one tensor, `logits`
(T, V), float32.
"""

import argparse
import json
import math
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gguf_file  # noqa: E402


# ---- safetensors ---------------------------------------------------------


def write_safetensors(path, name, array):
    """One float32 tensor: header length (8 bytes), JSON header, data."""
    data = np.ascontiguousarray(array, dtype="<f4").tobytes()
    header = json.dumps({name: {"dtype": "F32", "shape": list(array.shape),
                                "data_offsets": [0, len(data)]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header + data)


def read_safetensors(path, name):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        entry = json.loads(f.read(size))[name]
        body = f.read()
    if entry["dtype"] != "F32":
        raise ValueError("%s is %s, not F32" % (name, entry["dtype"]))
    start, end = entry["data_offsets"]
    return np.frombuffer(body[start:end], "<f4").reshape(entry["shape"])


# ---- the model -----------------------------------------------------------


class Reference:
    """A model file and its float64 forward pass.

    context is the configured context length (None: the model's own); it
    decides between the long and the short RoPE factors.
    """

    def __init__(self, path, context=None):
        self.file = file = gguf_file.read(path)
        self.arch = file.metadata["general.architecture"]
        if self.arch not in ("phi3", "llama"):
            raise ValueError("architecture %s" % self.arch)
        of = file.of_arch
        self.layers = of("block_count")
        self.hidden = of("embedding_length")
        self.heads = of("attention.head_count")
        self.kv_heads = of("attention.head_count_kv", self.heads)
        self.head_dim = of("attention.key_length", self.hidden // self.heads)
        self.rope_dim = of("rope.dimension_count", self.head_dim)
        self.epsilon = of("attention.layer_norm_rms_epsilon")
        self.freq_base = of("rope.freq_base", 10000.0)
        self.window = of("attention.sliding_window", 0)
        self.neox = self.arch == "phi3"
        self.longest = of("context_length")
        self.original = of("rope.scaling.original_context_length",
                           self.longest)
        self.context = context or self.longest
        self.attn_factor = of("rope.scaling.attn_factor")
        self.cache = {}

    def weight(self, name):
        if name not in self.cache:
            self.cache[name] = self.file[name + ".weight"].astype(np.float64)
        return self.cache[name]

    def rope_factors(self):
        """(divisors of the rotation rates, factor on cosine and sine)."""
        if "rope_factors_long.weight" not in self.file:
            return np.ones(self.rope_dim // 2), self.attn_factor or 1.0
        kind = "long" if self.context > self.original else "short"
        factor = self.attn_factor
        if factor is None:
            scale = self.longest / self.original
            factor = 1.0 if scale <= 1 else math.sqrt(
                1 + math.log(scale) / math.log(self.original))
        return self.weight("rope_factors_" + kind), factor

    def rotate(self, x):
        """RoPE on x (T, heads, D), whose row t is at position t."""
        divisors, factor = self.rope_factors()
        half = self.rope_dim // 2
        rate = self.freq_base ** (-2.0 * np.arange(half) / self.rope_dim)
        angle = np.outer(np.arange(len(x)), rate / divisors)[:, None, :]
        cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
        if self.neox:
            first = np.arange(half)
            second = first + half
        else:
            first = 2 * np.arange(half)
            second = first + 1
        a, b = x[..., first], x[..., second]
        out = x.copy()
        out[..., first] = a * cos - b * sin
        out[..., second] = a * sin + b * cos
        return out

    def norm(self, x, name):
        size = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        return x / size * self.weight(name)

    def visible(self, count):
        """(T, T): whether query i sees key j."""
        i = np.arange(count)
        distance = i[:, None] - i[None, :]
        seen = distance >= 0
        return seen & (distance < self.window) if self.window else seen

    def kv_head(self, head):
        return head // (self.heads // self.kv_heads)

    def split_qkv(self, x, block):
        queries = self.heads * self.head_dim
        keys = self.kv_heads * self.head_dim
        if self.arch == "phi3":
            rows = x @ self.weight(block + "attn_qkv").T
            return np.split(rows, [queries, queries + keys], axis=-1)
        return [x @ self.weight(block + "attn_" + part).T for part in "qkv"]

    def attention(self, x, block):
        count = len(x)
        q, k, v = (part.reshape(count, -1, self.head_dim)
                   for part in self.split_qkv(x, block))
        q, k = self.rotate(q), self.rotate(k)
        seen = self.visible(count)
        out = np.empty_like(q)
        for head in range(self.heads):
            kv = self.kv_head(head)
            scores = q[:, head] @ k[:, kv].T / math.sqrt(self.head_dim)
            scores = np.where(seen, scores, -np.inf)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            out[:, head] = weights @ v[:, kv]
        return out.reshape(count, -1) @ self.weight(block + "attn_output").T

    def split_gate(self, x, block):
        if self.arch == "phi3":
            rows = x @ self.weight(block + "ffn_up").T
            return np.split(rows, 2, axis=-1)
        return (x @ self.weight(block + "ffn_gate").T,
                x @ self.weight(block + "ffn_up").T)

    def feed_forward(self, x, block):
        gate, up = self.split_gate(x, block)
        with np.errstate(over="ignore"):  # exp(-gate) = inf gives gate 0
            gated = gate / (1 + np.exp(-gate)) * up
        return gated @ self.weight(block + "ffn_down").T

    def logits(self, tokens):
        """Float64 logits (T, V) of a list of token ids."""
        x = self.weight("token_embd")[np.asarray(tokens)]
        for i in range(self.layers):
            block = "blk.%d." % i
            x = x + self.attention(self.norm(x, block + "attn_norm"), block)
            x = x + self.feed_forward(self.norm(x, block + "ffn_norm"), block)
        tied = "output.weight" not in self.file
        output = self.weight("token_embd" if tied else "output")
        return self.norm(x, "output_norm") @ output.T


# ---- comparing -----------------------------------------------------------


def worst_difference(got, want):
    """(worst absolute difference, its index); NaN where either has a NaN."""
    if got.shape != want.shape:
        raise ValueError("shapes differ: %s and %s" % (got.shape, want.shape))
    if got.size == 0:
        raise ValueError("nothing to compare")
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.astype(np.float64) - want)
    difference[~np.isfinite(got)] = np.nan
    bad = np.isnan(difference)
    at = int(np.argmax(bad if bad.any() else difference))
    index = np.unravel_index(at, got.shape)
    return float(difference[index]), tuple(int(i) for i in index)


def agrees(worst, tolerance):
    return worst <= tolerance  # false for NaN


def parse_tokens(text):
    return [int(word) for word in text.replace(",", " ").split()]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--tokens", help="ids, comma separated")
    given.add_argument("--tokens-file", help="ids separated by commas or space")
    parser.add_argument("--ctx", type=int, help="configured context length")
    parser.add_argument("-o", "--output")
    parser.add_argument("--compare", metavar="FILE",
                        help="compare with tensor `logits` of FILE")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    args = parser.parse_args(argv)
    if args.tokens_file:
        with open(args.tokens_file) as f:
            tokens = parse_tokens(f.read())
    else:
        tokens = parse_tokens(args.tokens)
    logits = Reference(args.model, args.ctx).logits(tokens)
    if args.output:
        write_safetensors(args.output, "logits", logits)
    if args.compare:
        got = read_safetensors(args.compare, "logits")
        worst, index = worst_difference(got, logits)
        print("worst absolute difference %.3g at (token, id) %s of %s" % (
            worst, index, logits.shape))
        return 0 if agrees(worst, args.tolerance) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
