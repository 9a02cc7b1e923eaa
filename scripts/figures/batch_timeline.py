"""Requests come and go in steps of eight tokens: the timeline of a batch."""
from draw import Figure

BUDGET, RUNNING, BLOCKS, B = 8, 4, 8, 4
# name, step of arrival, tokens of the prompt, tokens to draw
CROWD = [("A", 0, 5, 4), ("B", 0, 7, 9), ("C", 1, 4, 5), ("D", 2, 9, 3),
         ("E", 3, 3, 3)]


class Job:
    def __init__(self, name, arrival, prompt, draws):
        self.name, self.arrival = name, arrival
        self.length, self.end = prompt, prompt + draws
        self.stored, self.running, self.cells = 0, False, {}

    def blocks(self, tokens=0):
        return -(-(self.stored + tokens) // B)


def simulate():
    """Cells (kind, words) by job and step, by the rules of the scheduler."""
    jobs, live, step = [Job(*one) for one in CROWD], [], 0
    while step == 0 or live or any(j.arrival >= step for j in jobs):
        live += [j for j in jobs if j.arrival == step]
        runs = [j for j in live if j.running]
        order = ([j for j in runs if j.length - j.stored == 1]
                 + [j for j in runs if j.length - j.stored > 1])
        turns, left = [], BUDGET
        for job in order:
            tokens = min(left, job.length - job.stored)
            if tokens:
                turns.append((job, tokens))
                left -= tokens
        short = False
        while True:
            held = sum(j.blocks() for j in live)
            wanted = sum(j.blocks(n) - j.blocks() for j, n in turns)
            if held + wanted <= BLOCKS:
                break
            last = max((j for j in live if j.running), key=jobs.index)
            last.running, last.stored, short = False, 0, True
            last.cells[step] = ("d", "back")
            turns = [t for t in turns if t[0] is not last]
        for job in live:
            if job.running or short or not left:
                continue
            claims = sum(-(-j.length // B) for j in live if j.running)
            if (sum(j.running for j in live) < RUNNING
                    and claims + -(-job.length // B) <= BLOCKS):
                tokens = min(left, job.length)
                job.running = True
                turns.append((job, tokens))
                left -= tokens
        for job in live:
            if not job.running:
                job.cells.setdefault(step, ("e", ""))
        for job, tokens in turns:
            decode = job.length - job.stored == 1
            job.cells[step] = ("a" if decode else "b", tokens)
            job.stored += tokens
            if job.stored == job.length:
                job.length += 1
                if job.length == job.end:
                    live.remove(job)
        step += 1
    return jobs, step


jobs, steps = simulate()
width = (640 - 40 - 10) // steps
f = Figure(640, 250, "Rows are requests, columns are steps; each cell says how "
           "many tokens of a request a step runs")
for s in range(steps):
    f.text(40 + width * s + width / 2, 22, s + 1, kind="small")
for row, job in enumerate(jobs):
    y = 32 + 34 * row
    f.text(22, y + 20, job.name)
    for s, (fill, words) in job.cells.items():
        f.box(40 + width * s, y, width - 3, 28, words, fill, "small")
for i, (fill, words) in enumerate([("b", "prompt"), ("a", "decode"),
                                   ("e", "waits"), ("d", "sent back")]):
    f.box(40 + 140 * i, 214, 26, 20, fill=fill)
    f.text(74 + 140 * i, 229, words, "start", "small")
f.save("batch-timeline")
if __name__ == "__main__":
    for job in jobs:
        print(job.name, " ".join(f"{job.cells.get(s, ('', '.'))[1] or '-':>4}"
                                 for s in range(steps)))
