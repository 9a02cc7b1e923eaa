"""Put a table that was measured where the book keeps it."""
import pathlib
import re

HOME = pathlib.Path(__file__).resolve().parent.parent


def put(name, table):
    """Replace what stands between the markers of table `name`, in the one
    chapter that has them:

        <!-- table:NAME -->
        <!-- /table -->
    """
    places = []
    for path in sorted((HOME / "book").glob("[0-9]*.md")):
        text = path.read_text()
        found, times = re.subn(
            rf"(<!-- table:{name} -->\n).*?(<!-- /table -->)",
            lambda m: f"{m[1]}\n{table.strip()}\n\n{m[2]}", text, flags=re.S)
        places += [(path, found)] * times
    if len(places) != 1:
        raise SystemExit(f"the book has {len(places)} places for the table "
                         f"'{name}', not 1")
    path, found = places[0]
    path.write_text(found)
    print(f"wrote table {name} to {path.relative_to(HOME)}")


def processor():
    """The name of this machine's processor, for the line over a table."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "an unnamed processor"
