"""A GGUF file from its first byte to its last, and one tensor's description."""
from draw import Figure

f = Figure(640, 270, "A GGUF file: head, metadata, tensor descriptions, then "
           "the tensor data, each tensor at a multiple of the alignment")
f.box(20, 40, 70, 50, "head\n24 bytes", "e", "small")
f.box(90, 40, 130, 50, "metadata\nkey, type, value ...", "b", "small")
f.box(220, 40, 130, 50, "descriptions\nname, dims, offset ...", "c", "small")
f.box(350, 40, 20, 50, "", "paper")
f.box(370, 40, 110, 50, "token_embd", "a", "small")
f.box(480, 40, 14, 50, "", "paper")
f.box(494, 40, 70, 50, "attn_norm", "a", "small")
f.box(564, 40, 14, 50, "", "paper")
f.text(599, 69, "...")
f.line(370, 30, 370, 40)
f.text(370, 24, "the data section begins here", "start", "small")
f.text(360, 106, "padding", kind="small")
f.text(488, 106, "padding", kind="small")
f.arrow(285, 92, 150, 140)
f.text(20, 136, "one description", "start", "small")
for x, width, words, fill in (
        (20, 120, "21 \"blk.0.at...\"\nname", "c"), (140, 70, "2\nrank", "e"),
        (210, 130, "192, 320\nfastest first", "b"),
        (340, 80, "8\ntype", "e"), (420, 120, "210,688\noffset", "a")):
    f.box(x, 145, width, 50, words, fill, "small")
f.text(20, 220, "The bytes of a tensor are not written down: they follow from "
       "its type and dimensions.", "start", "small")
f.text(20, 240, "Every length, count, dimension and offset is a number that "
       "the file may lie about.", "start", "small")
f.save("gguf-file")
