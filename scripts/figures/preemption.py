"""Three requests in six blocks: who gives way, and how it comes back."""
from draw import Figure

TINTS = {"A": "a", "B": "c", "C": "b", "": "paper"}
STEPS = [("AABBCC", "", "each of them wants a third block"),
         ("AABBAB", "C", "C gives way, A and B go on"),
         ("AA__A_", "B C", "A wants a fourth, B gives way"),
         ("BBBCC_", "", "A has ended, B and C begin anew")]

f = Figure(640, 214, "Blocks of a pool by owner: the last comer gives its "
           "blocks to those before it, and waits in its old place")
f.text(190, 20, "the six blocks", kind="small")
f.text(362, 20, "waiting", kind="small")
for i, (blocks, queue, words) in enumerate(STEPS):
    y = 32 + 46 * i
    f.text(10, y + 21, i + 1, "start", "small")
    for k, owner in enumerate(blocks.replace("_", " ")):
        owner = owner.strip()
        f.box(40 + 50 * k, y, 46, 32, owner, TINTS[owner])
    f.text(362, y + 21, queue)
    f.text(396, y + 21, words, "start", "small")
f.save("preemption")
