"""Load the best checkpoint of a run and let it write, each piece as it comes.

python examples/write.py .minigpt/runs/RUN_ID ["The "]
"""

import sys
from pathlib import Path

import minigpt

run_folder = Path(sys.argv[1])
prompt = sys.argv[2] if len(sys.argv) > 2 else "The "

checkpoint = max(run_folder.glob("checkpoints/best-*"))  # names end in the step, with leading zeros
model, tokenizer = minigpt.load_checkpoint(checkpoint)  # InputError if a file is missing or damaged
minigpt.prepare_for_generation(model)  # reads each weight once a token; the model cannot train any more

sampler = minigpt.Sampler(temperature=0.8, top_k=40, generator=minigpt.stream(123, "sample"))
print(prompt, end="")
for [piece] in minigpt.stream_texts(model, tokenizer, prompt, [sampler], max_new_tokens=60):
    print(piece, end="", flush=True)
print()
