"""The names a C file defines at its top level, found by reading its tokens.

This is no C parser. It knows braces, parentheses, comments, strings and the
forms that Folio's sources use: functions, types, enumerators, variables,
macros.
"""

import re

TOKEN = re.compile(r"""
      (?P<comment>/\*.*?(?:\*/|\Z)|//[^\n]*)
    | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<directive>^[ \t]*\#(?:\\\n|/\*.*?\*/|[^\n])*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
    | (?P<mark>[{}()\[\];,=])
    """, re.X | re.S | re.M)

KEYWORDS = frozenset("""
    auto break case const continue default do else enum extern for goto if
    inline register restrict return sizeof static struct switch typedef union
    volatile while _Alignas _Alignof _Atomic _Generic _Noreturn _Static_assert
    _Thread_local alignas alignof static_assert __global__ __device__ __host__
    __shared__ __launch_bounds__ __restrict__""".split())
TYPES = frozenset("""
    void char short int long float double signed unsigned bool _Bool size_t
    ssize_t ptrdiff_t int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t
    uint64_t intptr_t uintptr_t FILE va_list""".split())


class Name:
    """One definition or declaration: what it is and the row, from 0, where."""

    def __init__(self, text, kind, row, is_static, is_whole):
        self.text, self.kind, self.row = text, kind, row
        self.is_static = is_static      # known in its own file alone
        self.is_whole = is_whole        # a definition, not a declaration


def code_tokens(text):
    """The tokens that are no comment and no string: (word, row, kind)."""
    row, at = 0, 0
    for match in TOKEN.finditer(text):
        row += text.count("\n", at, match.start())
        at = match.start()
        if match.lastgroup not in ("comment", "string"):
            yield match[0], row, match.lastgroup


def top_level_names(text):
    """The Names of a C file's text."""
    names, held, tokens = [], [], list(code_tokens(text))
    k = 0
    while k < len(tokens):
        word, row, kind = tokens[k]
        if kind == "directive":
            match = re.match(r"\s*#\s*define\s+(\w+)", word)
            if match and not re.fullmatch(r"\w+_H", match[1]):
                names.append(Name(match[1], "macro", row, False, True))
        elif word == "{":
            end = matching_brace(tokens, k)
            if is_function(held):
                names += declared(held, True)
                held = []
            elif held and held[0][0] == "extern":
                held, end = [], k
            else:
                if any(w == "enum" for w, _ in held):
                    names += enumerators(tokens[k + 1:end])
                held.append(("{}", row))
            k = end
        elif word == ";":
            names += declared(held, False)
            held = []
        elif kind in ("name", "mark") and word != "}":
            held.append((word, row))
        k += 1
    return names


def matching_brace(tokens, k):
    depth = 0
    for end in range(k, len(tokens)):
        word = tokens[end][0]
        depth += (word == "{") - (word == "}")
        if depth == 0:
            return end
    return len(tokens) - 1


def is_function(held):
    words = [word for word, _ in held]
    return "(" in words and "=" not in words


def enumerators(tokens):
    names, ready = [], True
    for word, row, kind in tokens:
        if ready and kind == "name":
            names.append(Name(word, "constant", row, False, True))
            ready = False
        if word == ",":
            ready = True
    return names


def without_attributes(held):
    kept, depth, inside = [], 0, False
    for word, row in held:
        inside = inside or word == "__attribute__"
        if not inside:
            kept.append((word, row))
        depth += (word == "(") - (word == ")") if inside else 0
        inside = inside and (depth > 0 or word == "__attribute__")
    return kept


def declared(held, has_body):
    """The Names of one declaration: its tokens up to the body or the ;."""
    held = without_attributes(held)
    words = [word for word, _ in held]
    if not words or words[0] in ("_Static_assert", "static_assert"):
        return []
    is_static, found = "static" in words, []

    def note(k, kind, is_whole):
        if re.fullmatch(r"[A-Za-z_]\w*", words[k]) and (
                words[k] not in KEYWORDS | TYPES):
            found.append(Name(words[k], kind, held[k][1], is_static, is_whole))

    for tag in ("struct", "union", "enum"):
        if tag in words and "(" not in words and "{}" in words:
            k = words.index(tag)
            if k + 1 < len(words):
                note(k + 1, "type", True)
    if words[0] == "typedef":
        pointers = [k for k in range(2, len(words)) if words[k - 1] == "("
                    and words[k - 2] not in KEYWORDS]
        is_pointer = ")" in words and pointers and words[
            min(pointers[0] + 1, len(words) - 1)] == ")"
        note(pointers[0] if is_pointer else len(words) - 1, "type", True)
    elif "(" in words and "=" not in words[:words.index("(")]:
        note(words.index("(") - 1, "function", has_body)
    elif not ("{}" in words and "=" not in words and words[-1] == "{}"):
        stops = [k for k, word in enumerate(words) if word in ("=", "[")]
        k = (stops[0] if stops else len(words)) - 1
        if k > 0 and words[k - 1] not in ("struct", "union", "enum"):
            note(k, "variable", words[0] != "extern")
    return list({(name.text, name.kind): name for name in found}.values())
