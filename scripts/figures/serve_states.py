"""The states of the model's host."""
from draw import Figure

f = Figure(640, 230, "The host goes from unloaded to loading at the first question, "
           "to ready when the model is there, back to unloaded when a load fails or "
           "nobody asked for a while, and through draining when it was told to let "
           "go while requests run")
f.box(30, 90, 110, 46, "unloaded", fill="e")
f.box(240, 90, 110, 46, "loading", fill="b")
f.box(460, 90, 110, 46, "ready", fill="c")
f.box(240, 174, 110, 46, "draining", fill="d")
f.arrow(140, 106, 238, 106)
f.text(190, 98, "a question", kind="small")
f.arrow(238, 126, 142, 126)
f.text(190, 142, "it failed", kind="small")
f.arrow(350, 113, 458, 113)
f.text(404, 105, "it is there", kind="small")
f.arrow(515, 88, 86, 88, bend=10)
f.text(300, 22, "idle for too long; or told to, and nothing runs", kind="small")
f.arrow(515, 136, 352, 197, bend=12)
f.text(470, 196, "told to, and requests run", anchor="start", kind="small")
f.arrow(238, 197, 86, 138, bend=12)
f.text(20, 196, "the last has ended", anchor="start", kind="small")
f.save("serve-states")
