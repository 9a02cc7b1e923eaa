"""The table from names to numbers: slots that point into the mapped file."""
from draw import Figure

f = Figure(640, 230, "A table of eight slots holds three names; two of them "
           "wanted the same slot, and the second took the next one")
f.text(20, 30, "slots", "start", "small")
names = ["", "phi3.con...", "", "", "general.a...", "tokenizer...", "", ""]
numbers = ["-1", "1", "-1", "-1", "0", "2", "-1", "-1"]
for i, (name, number) in enumerate(zip(names, numbers)):
    fill = "a" if name else "paper"
    f.box(20 + 75 * i, 40, 75, 30, name, fill, "small")
    f.box(20 + 75 * i, 70, 75, 26, number, fill, "mono")
    f.text(57 + 75 * i, 112, i, kind="small")
f.arrow(320, 175, 357, 118)
f.text(300, 192, "hash of \"tokenizer...\" says slot 4: taken, so one further",
       kind="small")
f.arrow(365, 122, 425, 122, bend=-14)
f.text(20, 216, "The names themselves stay in the mapped file; a slot holds "
       "where a name is, how long, and its number.", "start", "small")
f.save("name-table")
