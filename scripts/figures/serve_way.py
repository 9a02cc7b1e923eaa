"""The way of one request through the server, and the threads it meets."""
from draw import Figure

f = Figure(640, 330, "A request enters by an HTTP thread, which reads it and hands "
           "in a question; the host's thread runs it in a step with all others and "
           "puts pieces into the outbox of its ticket; the HTTP thread takes them "
           "out and sends them")
f.box(16, 20, 608, 96, fill="a")
f.text(30, 40, "HTTP thread: never waits", anchor="start", kind="small")
f.box(30, 52, 96, 46, "read\nHTTP", kind="small")
f.box(152, 52, 106, 46, "read JSON:\na question", kind="small")
f.box(388, 52, 106, 46, "write JSON:\na chunk", kind="small")
f.box(520, 52, 90, 46, "send", kind="small")
f.arrow(126, 75, 150, 75)
f.arrow(494, 75, 518, 75)

f.box(152, 150, 106, 40, "inbox", fill="b", kind="small")
f.box(388, 150, 106, 40, "outbox of\nits ticket", fill="b", kind="small")
f.arrow(205, 98, 205, 148)
f.arrow(441, 148, 441, 100)
f.text(213, 128, "hand in", anchor="start", kind="small")
f.text(449, 128, "take, or sleep until woken", anchor="start", kind="small")

f.box(16, 226, 608, 88, fill="c")
f.text(30, 304, "host thread: the only one that touches the model",
       anchor="start", kind="small")
f.box(152, 240, 106, 46, "tokens,\nsubmit", kind="small")
f.box(274, 240, 98, 46, "one step\nof all", kind="small")
f.box(388, 240, 106, 46, "text that\nmay be shown", kind="small")
f.arrow(205, 190, 205, 238)
f.arrow(258, 263, 272, 263)
f.arrow(372, 263, 386, 263)
f.arrow(441, 238, 441, 192)

f.box(30, 150, 96, 40, "watcher\nthread", fill="e", kind="small")
f.arrow(78, 98, 78, 148, dash=True)
f.arrow(78, 190, 130, 224, dash=True)
f.text(20, 214, "has left", anchor="start", kind="small")
f.save("serve-way")
