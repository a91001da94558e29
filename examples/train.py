"""Train a small GPT on a text with minigpt alone: no Prefect, no MLflow, nothing written to the disk.

python examples/train.py [TEXT.txt]    without a text it reads Python's language reference
"""

import sys
from pathlib import Path

import torch

import minigpt

SEED = 123

text = Path(sys.argv[1]).read_text(encoding="utf-8") if len(sys.argv) > 1 else minigpt.python_topics().decode()
cut = len(text) * 9 // 10  # the last tenth measures and never trains
tokenizer = minigpt.train_bpe([text[:cut]], vocabulary_size=512)

split = minigpt.SplitConfig(shift_windows=True)
shape = minigpt.ModelConfig(architecture="modern", context_length=64, width=64, heads=4, layers=2)
recipe = minigpt.TrainingConfig(max_steps=100, optimizer="muon", learning_rate=3e-3, warmup_steps=20)
train_windows = minigpt.cut_windows(tokenizer.encode(text[:cut]), "train", shape.context_length, split)
val_windows = minigpt.cut_windows(tokenizer.encode(text[cut:]), "val", shape.context_length, split)

model = minigpt.build_model(shape, tokenizer.vocabulary_size, SEED)
optimizers = minigpt.make_optimizers(model, recipe)
token_bytes = torch.from_numpy(tokenizer.token_bytes())  # so that a loss is known per byte as well
for metrics in minigpt.train(model, optimizers, train_windows, recipe, SEED):
    if metrics.step == 1 or metrics.step % 25 == 0:  # the loop yields after each step and never logs
        val = minigpt.evaluate(model, val_windows.in_order(batch_size=16, batches=10), token_bytes)
        print(f"step {metrics.step:>4}  train {metrics.loss:.3f}  validation {val.loss:.3f} nats per token")

sampler = minigpt.Sampler(temperature=0.8, top_k=40, generator=minigpt.stream(SEED, "sample"))
[sample] = minigpt.complete_prompt(model, tokenizer, "The ", [sampler], max_new_tokens=60)
print(sample)
