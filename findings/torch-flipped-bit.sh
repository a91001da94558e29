#!/usr/bin/env bash
# Packages: torch 2.13.0, safetensors 0.8.0
#
# Behaviour: torch.load(weights_only=True) and safetensors both load a checkpoint in
# which one bit of a tensor was flipped, and return wrong weights without an error or
# a warning. For torch the file is a ZIP archive with a CRC-32 of every member, and
# Python's zipfile finds each flip, but torch.load does not look at the checksum.
#
# Expected instead: torch.load reports the member whose checksum does not match, as
# any ordinary ZIP reader does.
#
# Output seen on 2026-11-30:
#   torch 2.13.0+cpu safetensors 0.8.0
#   torch: 200 flips, 0 noticed, 200 loaded as wrong weights
#   zipfile on the same torch files: 200 of 200 flips found by the CRC-32
#   safetensors: 200 flips, 0 noticed, 200 loaded as wrong weights
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 safetensors==0.8.0 numpy==2.4.6

cat > flip.py <<'PY'
import io
import random
import sys
import warnings
import zipfile

warnings.simplefilter("error")
import safetensors
import torch
from safetensors.torch import load, save

TRIES = 200
torch.manual_seed(0)
weight = torch.randn(64, 64)
payload = weight.numpy().tobytes()

buffer = io.BytesIO()
torch.save({"weight": weight}, buffer)
files = {
    "torch": (buffer.getvalue(), lambda data: torch.load(io.BytesIO(data), weights_only=True)),
    "safetensors": (save({"weight": weight}), load),
}
print("torch", torch.__version__, "safetensors", safetensors.__version__)
ok = True
for name, (data, read) in files.items():
    start = data.index(payload)
    rng = random.Random(1)
    wrong = noticed = crc = 0
    for _ in range(TRIES):
        bit = rng.randrange(len(payload) * 8)
        broken = bytearray(data)
        broken[start + bit // 8] ^= 1 << (bit % 8)
        try:
            got = read(bytes(broken))["weight"]
        except Exception:
            noticed += 1
        else:
            wrong += got.numpy().tobytes() != payload
        if name == "torch":
            crc += zipfile.ZipFile(io.BytesIO(bytes(broken))).testzip() is not None
    print(f"{name}: {TRIES} flips, {noticed} noticed, {wrong} loaded as wrong weights")
    ok = ok and noticed == 0 and wrong == TRIES
    if name == "torch":
        print(f"zipfile on the same torch files: {crc} of {TRIES} flips found by the CRC-32")
        ok = ok and crc == TRIES
if not ok:
    sys.exit("The behaviour is gone: a flipped bit in a tensor is noticed at loading, or the archive holds no checksum of it.")
PY
venv/bin/python flip.py
