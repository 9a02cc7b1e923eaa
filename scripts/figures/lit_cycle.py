"""The two sides of the source, and the commands that go between them."""
from draw import Figure

f = Figure(640, 300, "tangle writes the files from the book, stitch carries "
           "edits in the files back to the book, weave turns the book into "
           "pages, and check compares the two sides")

f.box(20, 40, 190, 120, fill="c")
f.text(115, 62, "book/NN-title.md")
f.text(115, 86, "why: prose", kind="small")
f.box(30, 96, 170, 22, "<<Walk the table>>=", kind="mono")
f.box(30, 126, 170, 22, "<<Read one block>>=", kind="mono")

f.box(430, 40, 190, 120, fill="a")
f.text(525, 62, "src/  tests/")
f.text(525, 86, "what: files that compile", kind="small")
f.box(440, 96, 170, 22, "/* Walk the table. */", kind="mono")
f.box(440, 126, 170, 22, "/* Read one block. */", kind="mono")

f.arrow(210, 75, 428, 75, bend=-6)
f.text(319, 52, "lit tangle")
f.arrow(430, 132, 212, 132, bend=-6)
f.text(319, 162, "lit stitch")
f.text(319, 107, "lit check: are they equal?", kind="small")

f.arrow(115, 160, 115, 222)
f.text(124, 195, "lit weave, lit book", anchor="start")
f.box(20, 225, 190, 50, "pages for a screen,\na book for paper", fill="e")

f.arrow(525, 160, 525, 222)
f.text(516, 195, "make", anchor="end")
f.box(430, 225, 190, 50, "build/folio\nand its tests", fill="e")
f.save("lit-cycle")
