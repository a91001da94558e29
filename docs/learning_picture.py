"""The picture at the top of README: a run's losses over its steps, and what its model wrote on the way.

python docs/learning_picture.py .minigpt/runs/RUN_ID
"""

import json
import sys
import textwrap
from pathlib import Path

from matplotlib.figure import Figure

PICTURE = Path(__file__).parent / "pages" / "images" / "learning.png"
SHOWN_CHARACTERS, LINE_CHARACTERS = 145, 34

records = [json.loads(line) for line in (Path(sys.argv[1]) / "journal.jsonl").read_text("utf-8").splitlines()]
evaluations = [record for record in records if record["kind"] == "evaluation"]
samples = [record for record in records if record["kind"] == "sample"]

figure = Figure(figsize=(10, 4.2), layout="constrained")
axes, texts = figure.subplots(2, 1, height_ratios=(3, 1.1))
steps = [record["step"] for record in evaluations]
axes.plot(steps, [record["train_loss"] for record in evaluations], marker=".", label="training text")
axes.plot(steps, [record["val_loss"] for record in evaluations], marker=".", label="validation text")
axes.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, steps[-1]))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
texts.axis("off")
for number, sample in enumerate(samples):
    left = number / len(samples)
    text = " ".join(sample["text"].replace("\0", r"\x00").split())[:SHOWN_CHARACTERS]
    texts.text(left, 1, f"greedy sample at step {sample['step']:,}", weight="bold", fontsize=9, va="top")
    texts.text(left, 0.8, textwrap.fill(f"{text}…", LINE_CHARACTERS), family="monospace", fontsize=7.5, va="top")
figure.savefig(PICTURE, dpi=110, metadata={"Software": ""})
