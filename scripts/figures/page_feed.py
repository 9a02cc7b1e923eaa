"""Where the page's numbers come from, and where its prompts go."""
from draw import Figure

f = Figure(640, 270, "The page asks for status and blocks, which are answered "
           "from the host's last look; its prompts go through the inbox to the "
           "host's thread, which alone touches the model")
f.box(20, 40, 120, 190, "", "paper")
f.text(80, 30, "browser")
f.box(32, 56, 96, 60, "map, curves,\nrunning", "a", "small")
f.box(32, 154, 96, 60, "prompt", "b", "small")
f.box(230, 40, 390, 190, "", "paper")
f.text(425, 30, "server")
f.box(244, 56, 110, 60, "HTTP threads", "e", "small")
f.box(400, 56, 90, 60, "last look\n(own lock)", "a", "small")
f.box(400, 154, 90, 60, "inbox", "b", "small")
f.box(530, 56, 76, 158, "host's\nthread\nand\nmodel", "c", "small")
f.arrow(128, 78, 244, 78)
f.text(186, 70, "status, blocks", kind="small")
f.arrow(244, 98, 128, 98, dash=True)
f.arrow(354, 86, 400, 86)
f.arrow(530, 86, 490, 86)
f.box(244, 154, 110, 60, "HTTP threads", "e", "small")
f.arrow(128, 174, 244, 174)
f.text(186, 166, "completions", kind="small")
f.arrow(244, 198, 128, 198, dash=True)
f.text(186, 214, "stream", kind="small")
f.arrow(354, 184, 400, 184)
f.arrow(490, 184, 530, 184)
f.text(425, 252, "only the lower road wakes the model and resets its clock",
       kind="small")
f.save("page-feed")
