#!/usr/bin/env python3
"""Write golden/tokenizer.json: 1,000 texts and the ids they must get.

    scripts/tokenizer_goldens.py [--model golden/folio-tiny.model] [-o FILE]

The ids are the sentencepiece library's own output for the vocabulary of the
bundled model (golden/folio-tiny.model, the very vocabulary that
golden/folio-tiny.gguf holds). scripts/spm_encode.py composes them where the
GGUF conventions ask for more than the library knows; each case says so:

    "library"  the library's ids for the whole text, unchanged
    "special"  the text holds special tokens: it is split at them, as a Phi-3
               GGUF means it, and the library encodes each stretch between
    "bytes"    the text is not valid UTF-8: the library would replace each
               broken byte by U+FFFD; the ids hold that byte's own token
    "both"     both of these

The file is JSON. "cases" is a list of {"bytes": [...], "ids": [...], "by": one
of the above}. No BOS is in the ids, and special tokens are parsed. Without
special tokens, the ids decode to the text again once the prefix space is
dropped; that is checked here.
"""

import argparse
import json
import os
import random
import re
import sys

import sentencepiece

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
from spm_encode import ADDED, Encoder, special_ids  # noqa: E402

CASES = 1000

FOREIGN = [
    "\u4f60\u597d\uff0c\u4e16\u754c", "\u65e5\u672c\u8a9e\u306e\u6587",
    "\ud55c\uad6d\uc5b4", "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432",
    "\u03b1\u03b2\u03b3", "\u0645\u0631\u062d\u0628\u0627",
    "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "na\u00efve caf\u00e9",
    "\u00c4pfel und \u00d6l", "\u00df\u00e6\u00f8\u00e5",
    "\u20ac \u00a3 \u00a5", "\u201cquoted\u201d \u2014 dash\u2026",
    "\u2200x\u2208S: x\u2264y",
]
EMOJI = [
    "\U0001f600", "\U0001f680\U0001f680", "\u2764\ufe0f",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
    "\U0001f44d\U0001f3fd", "\u2705", "\U0001fae0",
]
COMBINING = [
    "e\u0301", "a\u0308\u0323", "n\u0303o", "Z\u0351\u036b\u0343a\u030a",
    "\u1112\u1161\u11ab", "\u0e01\u0e33", "\ufb01 \u2126 \u212b",
]
BROKEN = [
    b"\x80", b"\xbf", b"\xc0", b"\xc1\x81", b"\xc2", b"\xe2\x82",
    b"\xe2\x28\xa1", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xed\xbf\xbf",
    b"\xf0\x9f\x98", b"\xf0\x28\x8c\xbc", b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80", b"\xf8\x88", b"\xfe", b"\xff",
    b"\xff\xff\xff\xff", b"\xc3\x28", b"\xe2\x96", b"\xe2\x96\x81\x81",
]
LITERAL = [
    "\u2581", "\u2581\u2581a", "a\u2581b", " \u2581 ", "\ufffd", "a\ufffdb",
    "<0x0A>", "<0x41>", "<0xFF>", "<unk", "<|user", "|>", "<||>", "<|user |>",
    "<|USER|>", "<|end|", "< |end|>", "<<|", "\ufeffBOM", "\u200b", "\u00a0",
    "\u3000", "\u2028", "\x00", "a\x00b", "\x7f", "\r\n", "\x1b[0m", "\x85",
]


def words_of(path):
    with open(path, encoding="utf-8") as f:
        return re.findall(r"[^\n#]+", f.read())


def fixed():
    """The texts that must be there by name."""
    yield b""
    for byte in range(128):
        yield bytes([byte])
    for text in FOREIGN + EMOJI + COMBINING + LITERAL:
        yield text.encode()
        yield ("a" + text + "b").encode()
    for data in BROKEN:
        yield data
        yield b"block" + data + b"table"
        yield data + b" " + data
    for count in (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33):
        yield b" " * count
        yield b"\n" * count
        yield b"\t" * count
        yield b" " * count + b"block"
        yield b"block" + b" " * count + b"table"
    for unit, count in ((b"a", 300), (b"ab", 150), (b"the ", 80), (b"=", 120),
                        (b" ", 200), (b"\n", 100), (b"e", 257), (b"0", 64),
                        ("\u2581".encode(), 40), (b"\xff", 60),
                        ("\U0001f600".encode(), 20), (b"block", 40)):
        yield unit * count


def with_specials(draw, specials, lines):
    """Special tokens at every kind of place, with white space around them."""
    names = sorted(specials)
    for name in names:
        for around in ("%s", "%sA block", "A block%s", "A block %s table",
                       "%s A block", "%s\nA block", "%s \t\n A block",
                       " %s", "%s ", "%s\n", "\n%s\n", "%s%s", "%s %s",
                       "%s\n%s\n", "x%sy%sz"):
            yield (around.replace("%s", name)).encode()
    yield ("<|user|>\nWhat is a block table?<|end|>\n<|assistant|>\n").encode()
    yield ("<s><|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n"
           "<|assistant|>\nHello.<|end|>\n<|endoftext|>").encode()
    for data in BROKEN:
        yield b"<|user|>\n" + data + b" block<|end|>" + data
    for _ in range(60):
        parts = []
        for _ in range(draw.randint(1, 5)):
            parts.append(draw.choice(names))
            parts.append(draw.choice(["", " ", "\n", "  ", "\n\n", " \n"]))
            if draw.random() < 0.6:
                parts.append(span(draw, lines, 20))
        yield "".join(parts).encode()


def span(draw, lines, longest):
    """A stretch of prose that begins and ends anywhere, in words or between."""
    line = draw.choice(lines)
    start = draw.randrange(len(line))
    return line[start:start + draw.randint(1, longest)]


def mixed(draw, lines):
    """Prose, foreign letters, white space and broken bytes, joined."""
    parts = []
    for _ in range(draw.randint(1, 5)):
        kind = draw.random()
        if kind < 0.4:
            parts.append(span(draw, lines, 25).encode())
        elif kind < 0.6:
            parts.append(draw.choice(FOREIGN + EMOJI + COMBINING).encode())
        elif kind < 0.75:
            parts.append(draw.choice([" ", "  ", "\n", "\t", "\r\n", " \n "])
                         .encode())
        elif kind < 0.9:
            parts.append("".join(draw.choice(
                "abcdefgeaotinsrTHEAI .,;:!?-()[]{}<>|_=+*/0123456789")
                for _ in range(draw.randint(1, 12))).encode())
        else:
            parts.append(bytes(draw.randrange(256)
                               for _ in range(draw.randint(1, 5))))
    return b"".join(parts)


def texts(specials, lines):
    """CASES different byte strings, always the same ones."""
    draw = random.Random(20)
    seen = dict.fromkeys(list(fixed()))
    seen.update(dict.fromkeys(with_specials(draw, specials, lines)))
    while len(seen) < CASES * 3 // 4:
        seen[span(draw, lines, 90).encode()] = None
    while len(seen) < CASES:
        seen[mixed(draw, lines)] = None
    return list(seen)


def decode(processor, ids):
    """The bytes of ids, their prefix space dropped."""
    out = b"".join(
        bytes([int(processor.id_to_piece(i)[1:-1], 16)])
        if processor.is_byte(i) else
        processor.id_to_piece(i).replace("\u2581", " ").encode() for i in ids)
    return out[1:]


def describe(data, encoder):
    """One case: its bytes, its ids, and who says so."""
    text = data.decode("utf-8", "surrogateescape")
    special = encoder.pattern.search(text) is not None
    broken = re.search("[\udc80-\udcff]", text) is not None
    ids = encoder.encode(data)
    by = {(False, False): "library", (True, False): "special",
          (False, True): "bytes", (True, True): "both"}[special, broken]
    processor = encoder.processor
    if by == "library":
        assert ids == processor.encode(text), data
    if not special:
        spaced = data.replace("\u2581".encode(), b" ")
        assert decode(processor, ids) == spaced, data
    return {"bytes": list(data), "ids": ids, "by": by}


def write(model, output):
    """Write the cases of the vocabulary `model` to `output`."""
    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    specials = special_ids(processor.get_piece_size())
    encoder = Encoder(processor, specials)
    lines = words_of(ROOT + "/scripts/tiny_corpus.md")
    cases = [describe(data, encoder) for data in texts(specials, lines)]
    rows = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    with open(output, "w", encoding="ascii") as f:
        f.write('{"vocabulary":%d,"cases":[\n%s\n]}\n' % (
            processor.get_piece_size() + len(ADDED), rows))
    counts = ", ".join("%d %s" % (sum(c["by"] == by for c in cases), by)
                       for by in ("library", "special", "bytes", "both"))
    print("%s: %d cases (%s), %d bytes" % (output, len(cases), counts,
                                           os.path.getsize(output)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=ROOT + "/golden/folio-tiny.model")
    parser.add_argument("-o", "--output",
                        default=ROOT + "/golden/tokenizer.json")
    args = parser.parse_args()
    write(args.model, args.output)


if __name__ == "__main__":
    main()
