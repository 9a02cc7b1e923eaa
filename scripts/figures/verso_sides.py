"""What lies on which side of the bus, and what crosses it."""
from draw import Figure

f = Figure(640, 230, "The host program calls ops; they become launches and "
           "copies in one stream; the GPU takes them in order and computes in "
           "its own memory")
f.box(20, 30, 150, 170, "", "e")
f.text(95, 22, "host")
f.box(35, 50, 120, 40, "an op: check,\nlaunch, return", "paper", "small")
f.box(35, 105, 120, 34, "download: wait", "paper", "small")
f.box(35, 154, 120, 30, "host memory", "b", "small")
f.text(315, 22, "stream: in order")
f.cells(225, 60, 60, 32, ["copy", "norm", "rope"], ["b", "a", "a"], "small")
f.arrow(155, 70, 222, 74)
f.arrow(408, 76, 470, 76)
f.box(470, 30, 150, 170, "", "e")
f.text(545, 22, "GPU")
f.box(485, 50, 120, 48, "kernels: blocks\nof threads", "a", "small")
f.box(485, 130, 120, 54, "device memory", "c", "small")
f.arrow(545, 98, 545, 128)
f.arrow(485, 160, 158, 170)
f.text(320, 188, "only bytes that are asked for", kind="small")
f.arrow(472, 118, 158, 122, dash=True)
f.text(315, 112, "done", kind="small")
f.save("verso-sides")
