"""Text to token ids as a Phi-3 GGUF means it, on the sentencepiece library.

The library knows only the SentencePiece vocabulary. Three conventions come on
top of it, and this file is their one statement on the Python side:

1.  Special tokens (types control and user-defined, and <unk>) are found in the
    text before any merging, the earliest first and the longest of those that
    start together. The library encodes each stretch of text between them by
    itself, so each gets the prefix space that the library puts at the start
    of any text. An empty stretch gives no token.
2.  In Phi-3 a special token other than <unk>, <s> and <|endoftext|> also
    takes the white space that follows it.
3.  Any bytes are valid input. The library replaces a byte that belongs to no
    well-formed UTF-8 character by U+FFFD; here it becomes the byte token of
    that very byte, so that decoding gives the input back. The text around it
    is cut as the library cuts it.
"""

import re

SPACE = " \t\n\v\f\r"
KEEPS_SPACE = {"<unk>", "<s>", "<|endoftext|>"}
STAND_IN = "\ue000"  # a private character that no vocabulary here holds
STAND_IN_BYTES = [0xEE, 0x80, 0x80]
FIRST_BYTE_ID = 3  # <0x00>; <0x01> .. <0xFF> follow

# The bundled model's own special tokens, in id order. As in Phi-3 they follow
# the SentencePiece vocabulary.
ADDED = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]


def special_ids(pieces):
    """Text -> id of every special token after a vocabulary of `pieces`."""
    ids = {"<unk>": 0, "<s>": 1, "</s>": 2}
    ids.update((text, pieces + i) for i, text in enumerate(ADDED))
    return ids


class Encoder:
    """Encodes bytes with a SentencePiece processor and special tokens.

    specials: text -> id, <unk>, <s> and </s> included.
    """

    def __init__(self, processor, specials):
        self.processor = processor
        self.specials = specials
        longest_first = sorted(specials, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first)))

    def encode(self, data, bos=False):
        text = data if isinstance(data, str) else data.decode(
            "utf-8", "surrogateescape")
        ids, at = [self.specials["<s>"]] if bos else [], 0
        for match in self.pattern.finditer(text):
            ids += self.plain(text[at:max(at, match.start())])
            ids.append(self.specials[match.group()])
            at = match.end()
            if match.group() not in KEEPS_SPACE:
                while at < len(text) and text[at] in SPACE:
                    at += 1
        return ids + self.plain(text[at:])

    def plain(self, text):
        """Ids of text without special tokens; broken bytes are surrogates."""
        broken = [ord(c) - 0xDC00 for c in text if "\udc80" <= c <= "\udcff"]
        if not broken:
            return self.processor.encode(text) if text else []
        assert STAND_IN not in text
        ids = self.processor.encode(re.sub("[\udc80-\udcff]", STAND_IN, text))
        mark = [FIRST_BYTE_ID + b for b in STAND_IN_BYTES]
        out, at = [], 0
        while at < len(ids):
            if ids[at:at + 3] == mark:
                out.append(FIRST_BYTE_ID + broken.pop(0))
                at += 3
            else:
                out.append(ids[at])
                at += 1
        assert not broken
        return out
