#!/usr/bin/env python3
"""Train golden/folio-tiny.gguf, the bundled model, from the book's own prose.

    scripts/train_tiny.py && make golden

That one command collects the sentences of the book's chapters on blocks and of
scripts/tiny_corpus.md (a model of this size learns about fifteen thousand words
by heart; of the whole book it learns only the tone), trains a SentencePiece vocabulary on them
(golden/folio-tiny.model), trains a small Phi-3-shaped transformer, writes the
weights as the file stores them, and writes the tokenizer's goldens for the new
vocabulary; `make golden` then pins the new model's words. It needs Debian's
python3-torch and python3-sentencepiece; building and testing Folio need
neither. The same seed and text on the same machine give the same file.
"""

import argparse
import io
import math
import os
import random
import re
import sys
import time

import numpy as np
import sentencepiece

# Threads that spin while they wait would starve whatever else runs here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gguf_file  # noqa: E402
import reference  # noqa: E402
import tokenizer_goldens  # noqa: E402
from spm_encode import ADDED, Encoder, special_ids  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PIECES = 1024  # the SentencePiece vocabulary; special tokens follow it
IDS = special_ids(PIECES)
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FEED = 192, 6, 6, 2, 32, 512
CONTEXT, WINDOW, EPSILON, FREQ_BASE = 1024, 192, 1e-5, 10000.0
LENGTH = 256  # tokens a training row: longer than the window, so it is learnt

TEXTS = ("book/07-blocks.md", "book/08-paged-attention.md",
         "scripts/tiny_corpus.md")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}")


# ---- the text ------------------------------------------------------------


def clean(markdown):
    """The sentences of a Markdown text, paragraph by paragraph."""
    text = re.sub(r"<!--.*?-->", "", markdown, flags=re.S)
    text = re.sub(r"^(```|~~~).*?^\1[^\n]*$", "\n", text, flags=re.S | re.M)
    text = re.sub(r"\$\$.*?\$\$", "\n\n", text, flags=re.S)
    paragraphs = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+\.)\s)", text):
        lines = [line.strip() for line in block.strip().splitlines()]
        if not lines or lines[0].startswith(("#", "|", "![", "<", "---")):
            continue
        body = re.sub(r"^([-*+>]|\d+\.)\s+", "", " ".join(lines))
        body = re.sub(r"!?\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])", r"\1", body)
        body = re.sub(r"[*`]|\b_|_\b", "", body).replace("\\", "")
        kept = [s for s in sentences(body) if reads_as_prose(s)]
        if kept:
            paragraphs.append(" ".join(kept))
    return paragraphs


def sentences(paragraph):
    return re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", paragraph)


def reads_as_prose(sentence):
    """Whole sentences, mostly words: formulas and listings are left out."""
    letters = sum(c.isalpha() or c in " ,." for c in sentence)
    return (sentence.endswith((".", "?", "!")) and "$" not in sentence
            and len(sentence) >= 20 and letters >= 0.88 * len(sentence))


def read_corpus(paths):
    """Documents (lists of paragraphs) and question-answer pairs."""
    documents, pairs = [], []
    for path in paths:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        found = re.findall(r"^Q: (.*)\nA: ((?:.+\n?)+)", text, flags=re.M)
        pairs += [(q, " ".join(a.split())) for q, a in found]
        text = re.sub(r"^Q: .*\n(?:.+\n?)+", "", text, flags=re.M)
        documents.append(clean(text))
    return documents, pairs


VERBS = ("is|are|holds?|maps?|keeps?|gives?|reads?|writes?|takes?|means?|has|"
         "stores?|counts?|names?|tells?|says?|returns?|stands?|turns?|makes?")


def pairs_from_prose(documents, written):
    """Questions made from paragraphs that open by saying what a thing is.

    A question has one answer: a written one, or the first that is found.
    """
    answers = dict(written)
    for paragraph in (p for d in documents for p in d):
        parts = sentences(paragraph)
        match = re.match(r"(A|An|The) ([a-z][a-z -]{2,28}?) (%s) " % VERBS,
                         parts[0])
        if not match or len(parts[0]) > 240:
            continue
        thing = "%s %s" % (match.group(1).lower(), match.group(2))
        answer = " ".join(parts[:2])
        answers.setdefault("What is %s?" % thing, answer)
        answers.setdefault("Tell me about %s." % thing, answer)
    return list(answers.items())[len(dict(written)):]


# ---- the vocabulary ------------------------------------------------------


def train_pieces(documents, pairs):
    """A byte-pair SentencePiece model with byte fallback, as Llama's is."""
    lines = [s for d in documents for p in d for s in sentences(p)]
    lines += [text for pair in pairs for text in pair]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type="bpe",
        vocab_size=PIECES, byte_fallback=True, character_coverage=1.0,
        add_dummy_prefix=True, remove_extra_whitespaces=False,
        normalization_rule_name="identity", split_digits=True,
        allow_whitespace_only_pieces=True, unk_id=0, bos_id=1, eos_id=2,
        pad_id=-1, num_threads=1, minloglevel=2)
    return out.getvalue()


# ---- the model -----------------------------------------------------------


def rope(x, cos, sin):
    """Rotate pairs (i, i + D/2) of x (N, T, heads, D)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * weight


class Transformer:
    """A Phi-3-shaped transformer; its parameters bear the file's names."""

    def __init__(self, vocabulary, seed):
        torch.manual_seed(seed)
        query = HEADS * HEAD_DIM
        fused = query + 2 * KV_HEADS * HEAD_DIM
        deep = 0.05 / math.sqrt(2 * LAYERS)
        w = {"token_embd.weight": torch.randn(vocabulary, HIDDEN) * 0.05}
        for i in range(LAYERS):
            b = "blk.%d." % i
            w[b + "attn_norm.weight"] = torch.ones(HIDDEN)
            w[b + "attn_qkv.weight"] = torch.randn(fused, HIDDEN) * 0.05
            w[b + "attn_output.weight"] = torch.randn(HIDDEN, query) * deep
            w[b + "ffn_norm.weight"] = torch.ones(HIDDEN)
            w[b + "ffn_up.weight"] = torch.randn(2 * FEED, HIDDEN) * 0.05
            w[b + "ffn_down.weight"] = torch.randn(HIDDEN, FEED) * deep
        w["output_norm.weight"] = torch.ones(HIDDEN)
        self.weights = {k: v.requires_grad_() for k, v in w.items()}
        rate = FREQ_BASE ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angle = torch.outer(torch.arange(CONTEXT), rate)[:, None]
        self.cos, self.sin = angle.cos(), angle.sin()  # (CONTEXT, 1, D / 2)
        i = torch.arange(CONTEXT)
        distance = i[:, None] - i[None, :]
        hidden = (distance < 0) | (distance >= WINDOW)
        self.mask = torch.where(hidden, -math.inf, 0.0)

    def forward(self, tokens):
        """Logits (N, T, V) of tokens (N, T)."""
        w, (n, t) = self.weights, tokens.shape
        cos, sin, mask = self.cos[:t], self.sin[:t], self.mask[:t, :t]
        group, width = HEADS // KV_HEADS, HEADS * HEAD_DIM
        both = HEADS + KV_HEADS
        x = F.embedding(tokens, w["token_embd.weight"])
        for i in range(LAYERS):
            b = "blk.%d." % i
            h = norm(x, w[b + "attn_norm.weight"])
            qkv = (h @ w[b + "attn_qkv.weight"].t()).view(n, t, -1, HEAD_DIM)
            qk, v = qkv.split([both, KV_HEADS], dim=2)
            q, k = rope(qk, cos, sin).split([HEADS, KV_HEADS], dim=2)
            # Query heads of one kv head side by side: (N, K, group * T, D).
            q = (q / math.sqrt(HEAD_DIM)).permute(0, 2, 1, 3)
            q = q.reshape(n, KV_HEADS, group * t, HEAD_DIM)
            scores = (q @ k.permute(0, 2, 3, 1)).view(n, HEADS, t, t)
            p = F.softmax(scores + mask, dim=-1)
            o = p.view(n, KV_HEADS, group * t, t) @ v.transpose(1, 2)
            o = o.view(n, HEADS, t, HEAD_DIM).transpose(1, 2)
            x = x + o.reshape(n, t, width) @ w[b + "attn_output.weight"].t()
            h = norm(x, w[b + "ffn_norm.weight"])
            gate, up = (h @ w[b + "ffn_up.weight"].t()).chunk(2, dim=-1)
            x = x + (F.silu(gate) * up) @ w[b + "ffn_down.weight"].t()
        return norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].t()

    def store(self, name):
        """The type in which the file stores a parameter."""
        return "f32" if self.weights[name].dim() == 1 else "q8_0"

    def round(self):
        """Replace each weight by what the file will hold."""
        for name, w in self.weights.items():
            values = gguf_file.rounded(w.detach().numpy(), self.store(name))
            w.data.copy_(torch.from_numpy(np.array(values)))


# ---- training ------------------------------------------------------------


class Batches:
    """Rows of LENGTH + 1 tokens drawn from prose and from dialogues."""

    def __init__(self, encoder, documents, written, made, seed):
        self.encoder, self.written, self.made = encoder, written, made
        self.draw = random.Random(seed)
        self.starts = []  # every sentence, with what follows it
        for d in documents:
            text = "\n".join(d)
            at = 0
            for paragraph in d:
                for s in sentences(paragraph):
                    at = text.index(s, at)
                    self.starts.append((text, at))

    def prose(self):
        text, at = self.draw.choice(self.starts)
        ids = self.encoder.encode(text[at:at + 6 * LENGTH], bos=True)
        if at + 6 * LENGTH >= len(text):
            ids.append(IDS["<|endoftext|>"])
        return ids

    def dialogue(self):
        text = ""
        for _ in range(self.draw.randint(1, 3)):
            pairs = self.written if self.draw.random() < 0.5 else self.made
            text += ("<|user|>\n%s<|end|>\n<|assistant|>\n%s<|end|>\n"
                     % self.draw.choice(pairs or self.written))
        return self.encoder.encode(text, bos=True)

    def batch(self, rows):
        out = []
        for _ in range(rows):
            ids = []
            while len(ids) < LENGTH + 1:
                talk = self.written and self.draw.random() < 0.25
                ids += self.dialogue() if talk else self.prose()
            out.append(ids[:LENGTH + 1])
        return torch.tensor(out)


def loss_of(model, rows):
    logits = model.forward(rows[:, :-1])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]),
                           rows[:, 1:].reshape(-1))


def train(model, batches, held, steps, rows, peak):
    matrices = [w for w in model.weights.values() if w.dim() == 2]
    vectors = [w for w in model.weights.values() if w.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1},
         {"params": vectors, "weight_decay": 0.0}], lr=peak, betas=(0.9, 0.95))
    start, mean = time.time(), None
    for step in range(1, steps + 1):
        rate = peak * min(step / 50, 1.0) * (1 - 0.95 * step / steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(model, batches.batch(rows))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.weights.values(), 1.0)
        optimiser.step()
        value = loss.item()
        mean = value if mean is None else 0.95 * mean + 0.05 * value
        if step % 50 == 0 or step == steps:
            with torch.no_grad():
                unseen = loss_of(model, held).item()
            print("step %5d/%d  loss %.3f  held-out %.3f  %4.0f s" % (
                step, steps, mean, unseen, time.time() - start), flush=True)
    return mean


# ---- the file ------------------------------------------------------------


def write_model(path, model, processor):
    pieces = [processor.id_to_piece(i) for i in range(PIECES)] + ADDED
    scores = [processor.get_score(i) for i in range(PIECES)]
    kinds = [UNKNOWN if processor.is_unknown(i) else
             CONTROL if processor.is_control(i) else
             BYTE if processor.is_byte(i) else NORMAL for i in range(PIECES)]
    p = "phi3."
    metadata = {
        "general.architecture": ("string", "phi3"),
        "general.name": ("string", "folio-tiny"),
        "general.license": ("string", "mit"),
        "general.file_type": ("uint32", 7),  # mostly Q8_0
        "general.quantization_version": ("uint32", 2),
        p + "vocab_size": ("uint32", len(pieces)),
        p + "context_length": ("uint32", CONTEXT),
        p + "rope.scaling.original_context_length": ("uint32", CONTEXT),
        p + "embedding_length": ("uint32", HIDDEN),
        p + "feed_forward_length": ("uint32", FEED),
        p + "block_count": ("uint32", LAYERS),
        p + "attention.head_count": ("uint32", HEADS),
        p + "attention.head_count_kv": ("uint32", KV_HEADS),
        p + "attention.layer_norm_rms_epsilon": ("float32", EPSILON),
        p + "attention.sliding_window": ("uint32", WINDOW),
        p + "rope.dimension_count": ("uint32", HEAD_DIM),
        p + "rope.freq_base": ("float32", FREQ_BASE),
        "tokenizer.ggml.model": ("string", "llama"),
        "tokenizer.ggml.pre": ("string", "default"),
        "tokenizer.ggml.tokens": ("[string]", pieces),
        "tokenizer.ggml.scores": ("[float32]",
                                  scores + [-1000.0] * len(ADDED)),
        "tokenizer.ggml.token_type": ("[int32]",
                                      kinds + [CONTROL] * len(ADDED)),
        "tokenizer.ggml.bos_token_id": ("uint32", 1),
        "tokenizer.ggml.eos_token_id": ("uint32", IDS["<|endoftext|>"]),
        "tokenizer.ggml.eot_token_id": ("uint32", IDS["<|end|>"]),
        "tokenizer.ggml.unknown_token_id": ("uint32", 0),
        "tokenizer.ggml.add_bos_token": ("bool", True),
        "tokenizer.ggml.add_eos_token": ("bool", False),
        "tokenizer.ggml.add_space_prefix": ("bool", True),
        "tokenizer.chat_template": ("string", CHAT_TEMPLATE),
    }
    tensors = {name: (w.detach().numpy(), model.store(name))
               for name, w in model.weights.items()}
    gguf_file.write(path, metadata, tensors)


# ---- the result ----------------------------------------------------------


def generate(model, ids, count):
    """Greedy tokens by the reference, and the narrowest choice among them."""
    ids, first, narrowest = list(ids), len(ids), math.inf
    while len(ids) < first + count:
        logits = model.logits(ids)[-1]
        second, best = np.sort(logits)[-2:]
        narrowest = min(narrowest, best - second)
        ids.append(int(logits.argmax()))
        if ids[-1] in (IDS["<|endoftext|>"], IDS["<|end|>"]):
            break
    return ids[first:], narrowest


def show(path, encoder):
    """Let the file just written speak, read and run by the reference."""
    model = reference.Reference(path)
    processor = encoder.processor
    for prompt in ("A block table", "A block table maps", "The KV cache",
                   "<|user|>\nWhat is a block table?<|end|>\n<|assistant|>\n",
                   "<|user|>\nWhat is attention?<|end|>\n<|assistant|>\n"):
        ids, narrowest = generate(model, encoder.encode(prompt, bos=True), 64)
        text = processor.decode([i for i in ids if i < PIECES])
        print("\n> %s\n%s\n(%d tokens; best and second at least %.3f apart)"
              % (prompt.strip(), text, len(ids), narrowest))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", nargs="+",
                        help="Markdown to learn from (default: the book's "
                        "chapters on blocks and scripts/tiny_corpus.md)")
    parser.add_argument("--steps", type=int, default=360)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output",
                        default=os.path.join(ROOT, "golden/folio-tiny.gguf"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    paths = args.text or [os.path.join(ROOT, name) for name in TEXTS]
    documents, written = read_corpus(paths)
    made = pairs_from_prose(documents, written)
    # Some of each chapter is held out, nothing of the text written for this
    # model alone, which is the last.
    held = [p for d in documents[:-1] for p in d[12::25]]
    documents = [[p for i, p in enumerate(d) if i % 25 != 12]
                 for d in documents[:-1]] + documents[-1:]
    words = sum(len(p.split()) for d in documents for p in d)
    print("%d texts, %d words, %d + %d questions; %d paragraphs held out" % (
        len(documents), words, len(written), len(made), len(held)))

    spm = train_pieces(documents, written + made)
    stem = os.path.splitext(args.output)[0]
    with open(stem + ".model", "wb") as f:
        f.write(spm)
    processor = sentencepiece.SentencePieceProcessor(model_proto=spm)
    encoder = Encoder(processor, IDS)
    batches = Batches(encoder, documents, written, made, args.seed)
    unseen = Batches(encoder, [[p] for p in held], [], [], args.seed)
    held_rows = unseen.batch(4)

    model = Transformer(PIECES + len(ADDED), args.seed)
    print("%d parameters, %d steps of %d x %d tokens" % (
        sum(w.numel() for w in model.weights.values()), args.steps, args.rows,
        LENGTH))
    loss = train(model, batches, held_rows, args.steps, args.rows, args.rate)
    model.round()
    with torch.no_grad():
        print("loss %.3f, held-out %.3f once rounded to the file's types" % (
            loss, loss_of(model, held_rows).item()))
    write_model(args.output, model, processor)
    print("%s: %d bytes" % (args.output, os.path.getsize(args.output)))
    tokenizer_goldens.write(stem + ".model", os.path.join(
        os.path.dirname(args.output), "tokenizer.json"))
    show(args.output, encoder)


if __name__ == "__main__":
    main()
