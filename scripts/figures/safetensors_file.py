"""A safetensors file from its first byte to its last."""
from draw import Figure

f = Figure(640, 220, "A safetensors file: eight bytes of header length, the "
           "JSON header padded with spaces, then tensors end to end")
f.box(20, 40, 80, 50, "length n\n8 bytes", "e", "small")
f.box(100, 40, 190, 50, "JSON header, n bytes", "b", "small")
f.box(290, 40, 180, 50, "tensor w", "a", "small")
f.box(470, 40, 60, 50, "h", "c", "small")
f.box(530, 40, 90, 50, "s", "d", "small")
for x, offset in ((290, "0"), (470, "24"), (530, "30"), (620, "36")):
    f.line(x, 90, x, 104)
    f.text(x, 118, offset, kind="mono")
f.text(455, 30, "data_offsets count from here on, without holes",
       kind="small")
f.arrow(195, 94, 195, 130)
f.text(20, 150, '{"__metadata__":{"op":"norm"},', "start", "mono")
f.text(28, 168, '"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},',
       "start", "mono")
f.text(28, 186, '"h":{"dtype":"F16","shape":[3],"data_offsets":[24,30]},',
       "start", "mono")
f.text(28, 204, '"s":{"dtype":"U8","shape":[6],"data_offsets":[30,36]}}',
       "start", "mono")
f.save("safetensors-file")
