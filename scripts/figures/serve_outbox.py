"""A ticket between the host and its reader."""
from draw import Figure

f = Figure(640, 170, "A ticket: the host puts pieces in at one end, the reader takes "
           "them out at the other; a text held back waits with the host")
f.box(16, 46, 130, 84, "host", fill="c")
f.text(81, 112, "held back: \"EN\"", kind="small")
f.box(190, 30, 260, 104, fill="paper")
f.text(320, 24, "ticket: two hold it", kind="small")
f.cells(204, 62, 58, 40, ["begun", "\"maps\"", "\"log\"", "ended"],
        ["e", "a", "a", "b"])
f.text(320, 122, "unread bytes: bounded", kind="small")
f.box(494, 46, 130, 84, "reader", fill="a")
f.text(559, 112, "asleep, or awake", kind="small")
f.arrow(146, 88, 202, 88)
f.arrow(438, 88, 492, 88)
f.arrow(190, 148, 500, 148, dash=True)
f.text(345, 164, "wake", kind="small")
f.save("serve-outbox")
