#!/usr/bin/env python3
"""Write a random-weight Phi-3 or Llama model as a GGUF file.

    scripts/make_model.py --arch phi3 --kv-heads 2 --window 64 -o m.gguf
    scripts/make_model.py --like bench --type f16 -o bench.gguf

The weights are drawn from --seed. They are scaled so that attention scores
are peaked and logits spread by several units: a window off by one, a wrong
pairing in RoPE or a wrong kv head then moves logits by far more than a
rounding error can. The vocabulary is a small valid SentencePiece one, so that
any text can be tokenised for the model.
"""

import argparse
import itertools
import math
import os
import string
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gguf_file  # noqa: E402

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
PHI3_SPECIALS = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>",
                 "<|user|>"]
SCORE_STD = 2.5  # of a pre-softmax attention score
LOGIT_STD = 2.0

PRESETS = {
    "bench": dict(arch="phi3", layers=12, hidden=768, heads=12, kv_heads=12,
                  feed_forward=2048, vocab=32064, context=4096),
}


# ---- the vocabulary ------------------------------------------------------


def pieces(count):
    """`count` texts of which each is two earlier ones (or one letter) joined.

    Their order is their rank: an earlier piece has the better score.
    """
    syllables = [c + v for c in "tnsrhldcmfpgwbvk" for v in "eaoiu"]
    chains = itertools.chain(
        syllables, ("\u2581" + s for s in syllables),
        (a + b for a in syllables for b in syllables),
        ("\u2581" + a + b for a in syllables for b in syllables),
        (a + b + c for a in syllables for b in syllables for c in syllables))
    return list(itertools.islice(chains, count))


def vocabulary(arch, size):
    """Tokens, scores and types: controls, bytes, pieces, letters, specials.

    A vocabulary too small for all letters leaves the last ones to the bytes.
    """
    specials = PHI3_SPECIALS if arch == "phi3" else []
    room = size - 3 - 256 - len(specials)
    if room < 1:
        raise SystemExit("make_model: a vocabulary needs at least %d tokens"
                         % (size - room + 1))
    letters = "\u2581" + string.ascii_lowercase + string.digits + \
        string.ascii_uppercase + string.punctuation
    letters = list(letters[:room])
    room -= len(letters)
    joined = pieces(room)
    tokens = (["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
              + joined + letters + specials)
    scores = ([0.0] * 259 + [-float(i) for i in range(room + len(letters))]
              + [-1000.0] * len(specials))
    types = ([UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256
             + [NORMAL] * (room + len(letters)) + [CONTROL] * len(specials))
    return tokens, scores, types


# ---- the weights ---------------------------------------------------------


def weights(args, rng):
    """name -> (array, type), in the order in which the file lists them."""
    hidden, feed = args.hidden, args.feed_forward
    query, kv = args.heads * args.head_dim, args.kv_heads * args.head_dim
    sharp = math.sqrt(SCORE_STD)

    def matrix(rows, columns, gain):
        w = rng.standard_normal((rows, columns), dtype=np.float32)
        w *= np.float32(gain / math.sqrt(columns))
        return w, args.type

    def norm():
        return rng.uniform(0.8, 1.2, hidden).astype(np.float32), "f32"

    def factors(top):
        ramp = np.linspace(1, top, args.rope_dim // 2)
        jitter = rng.uniform(0.95, 1.05, len(ramp))
        return (ramp * jitter).astype(np.float32), "f32"

    w = {}
    embedding = LOGIT_STD if args.tied else math.sqrt(hidden)
    w["token_embd.weight"] = matrix(args.vocab, hidden, embedding)
    w["output_norm.weight"] = norm()
    if not args.tied:
        w["output.weight"] = matrix(args.vocab, hidden, LOGIT_STD)
    if args.longrope:
        w["rope_factors_long.weight"] = factors(12.0)
        w["rope_factors_short.weight"] = factors(1.8)
    for i in range(args.layers):
        b = "blk.%d." % i
        w[b + "attn_norm.weight"] = norm()
        q, k, v = (matrix(query, hidden, sharp), matrix(kv, hidden, sharp),
                   matrix(kv, hidden, 1.0))
        if args.arch == "phi3":
            fused = np.concatenate([q[0], k[0], v[0]])
            w[b + "attn_qkv.weight"] = (fused, args.type)
        else:
            w[b + "attn_q.weight"] = q
            w[b + "attn_k.weight"] = k
            w[b + "attn_v.weight"] = v
        w[b + "attn_output.weight"] = matrix(hidden, query, 1.0)
        w[b + "ffn_norm.weight"] = norm()
        if args.arch == "phi3":
            w[b + "ffn_up.weight"] = matrix(2 * feed, hidden, 1.5)
        else:
            w[b + "ffn_gate.weight"] = matrix(feed, hidden, 1.5)
            w[b + "ffn_up.weight"] = matrix(feed, hidden, 1.5)
        w[b + "ffn_down.weight"] = matrix(hidden, feed, 1.0)
    return w


# ---- the file ------------------------------------------------------------


def metadata(args):
    p = args.arch + "."
    m = {
        "general.architecture": ("string", args.arch),
        "general.name": ("string", "random-%s" % args.arch),
        p + "vocab_size": ("uint32", args.vocab),
        p + "context_length": ("uint32", args.context),
        p + "embedding_length": ("uint32", args.hidden),
        p + "feed_forward_length": ("uint32", args.feed_forward),
        p + "block_count": ("uint32", args.layers),
        p + "attention.head_count": ("uint32", args.heads),
        p + "attention.head_count_kv": ("uint32", args.kv_heads),
        p + "attention.layer_norm_rms_epsilon": ("float32", 1e-5),
        p + "rope.dimension_count": ("uint32", args.rope_dim),
    }
    if args.freq_base:
        m[p + "rope.freq_base"] = ("float32", args.freq_base)
    if args.head_dim * args.heads != args.hidden:
        m[p + "attention.key_length"] = ("uint32", args.head_dim)
        m[p + "attention.value_length"] = ("uint32", args.head_dim)
    if args.window:
        m[p + "attention.sliding_window"] = ("uint32", args.window)
    if args.longrope:
        m[p + "rope.scaling.original_context_length"] = ("uint32",
                                                         args.longrope)
        if args.attn_factor:
            m[p + "rope.scaling.attn_factor"] = ("float32", args.attn_factor)
    tokens, scores, types = vocabulary(args.arch, args.vocab)
    t = "tokenizer.ggml."
    eos = tokens.index(PHI3_SPECIALS[0]) if args.arch == "phi3" else 2
    m.update({
        t + "model": ("string", "llama"),
        t + "pre": ("string", "default"),
        t + "tokens": ("[string]", tokens),
        t + "scores": ("[float32]", scores),
        t + "token_type": ("[int32]", types),
        t + "bos_token_id": ("uint32", 1),
        t + "eos_token_id": ("uint32", eos),
        t + "unknown_token_id": ("uint32", 0),
        t + "add_bos_token": ("bool", True),
        t + "add_eos_token": ("bool", False),
        t + "add_space_prefix": ("bool", True),
    })
    return m


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--like", choices=sorted(PRESETS), help="start from a preset's shape")
    add("--arch", choices=["phi3", "llama"], default="phi3")
    add("--layers", type=int, default=2)
    add("--hidden", type=int, default=128)
    add("--heads", type=int, default=4)
    add("--kv-heads", type=int, help="default: as many as heads")
    add("--head-dim", type=int, help="default: hidden / heads")
    add("--feed-forward", type=int, default=256)
    add("--vocab", type=int, default=512)
    add("--context", type=int, default=2048)
    add("--window", type=int, default=0, help="sliding window; 0 for none")
    add("--longrope", type=int, nargs="?", const=512, default=0,
        metavar="ORIGINAL", help="long and short RoPE factors, with this "
        "original context length (512)")
    add("--attn-factor", type=float, help="longrope's factor as metadata; "
        "absent, it follows from the context lengths")
    add("--rope-dim", type=int, help="rotated dimensions a head (default all)")
    add("--freq-base", type=float, help="default: no key, which means 10000")
    add("--tied", action="store_true", help="no output matrix")
    add("--type", choices=sorted(gguf_file.TYPES), default="f32")
    add("--seed", type=int, default=1)
    add("-o", "--output", required=True)
    preset = parser.parse_known_args(argv)[0].like
    if preset:
        parser.set_defaults(**PRESETS[preset])
    args = parser.parse_args(argv)
    args.kv_heads = args.kv_heads or args.heads
    args.head_dim = args.head_dim or args.hidden // args.heads
    args.rope_dim = args.rope_dim or args.head_dim
    if args.heads % args.kv_heads:
        parser.error("heads must be a multiple of kv-heads")
    if args.rope_dim % 2 or args.rope_dim > args.head_dim:
        parser.error("rope-dim must be even and at most head-dim")
    return args


def main(argv=None):
    args = parse(argv)
    rng = np.random.default_rng(args.seed)
    folder = os.path.dirname(args.output)
    if folder:
        os.makedirs(folder, exist_ok=True)
    gguf_file.write(args.output, metadata(args), weights(args, rng))


if __name__ == "__main__":
    main()
