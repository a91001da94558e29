"""Checkpoints: a folder of safetensors files and a manifest with their digests, whole or not there."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minigpt.data.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer
from minigpt.errors import InputError
from minigpt.io.records import CheckpointRecord, Record, of_kind
from minigpt.io.store import MANIFEST, PendingFolder, fill_folder, read_folder
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT, empty_model
from minigpt.recipe import CONFIG_FILE

WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
MODEL = "model"
STATE = "state"


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Each parameter once, under its first name."""
    return {name: weight.detach() for name, weight in model.named_parameters()}


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Digest over sorted names, dtypes, shapes and bytes of the tensors."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def begin_checkpoint(
    folder: Path,
    model: GPT,
    tokenizer: Path,
    facts: Mapping[str, Any],
    optimizers: Sequence[torch.optim.Optimizer] = (),
) -> PendingFolder:
    """Write weights, shape and vocabulary: all that sampling needs; with optimizers, all that continuing needs.

    What is left to `store.finish_folder` reads the model no more, which may go on learning.
    """

    def fill(place: Path) -> Mapping[str, Any]:
        save_file(weights_of(model), place / WEIGHTS_FILE)
        if optimizers:
            save_file(_optimizer_tensors(optimizers), place / OPTIMIZER_FILE)
        shutil.copyfile(tokenizer, place / TOKENIZER_FILE)  # as a second name it would be damaged everywhere at once
        return {MODEL: model.config.model_dump(mode="json"), STATE: dict(facts)}

    shutil.rmtree(folder, ignore_errors=True)
    return fill_folder(folder, fill)


def _optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"{number}.{index}.{key}": tensor
        for number, optimizer in enumerate(optimizers)
        for index, state in optimizer.state_dict()["state"].items()
        for key, tensor in state.items()
    }


def load_checkpoint(folder: Path) -> tuple[GPT, Tokenizer]:
    """The model and the tokenizer of a checkpoint, wherever its folder lies."""
    manifest = _manifest(folder)
    tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
    model = empty_model(ModelConfig.model_validate(manifest[MODEL]), tokenizer.vocabulary_size)
    _copy_weights(folder, model)
    return model, tokenizer


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_folder(folder)
    if manifest is None:
        raise InputError(f"the checkpoint {folder} is missing or damaged; choose another checkpoint or run")
    return manifest


@torch.no_grad()
def _copy_weights(folder: Path, model: GPT) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])


def load_weights(folder: Path, model: GPT) -> dict[str, Any]:
    """Put a checkpoint's weights into the model; the result is the checkpoint's facts."""
    manifest = _manifest(folder)
    _copy_weights(folder, model)
    facts: dict[str, Any] = manifest[STATE]
    return facts


def load_optimizers(folder: Path, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, tensor in load_file(folder / OPTIMIZER_FILE).items():
        number, index, key = name.split(".", 2)
        states[int(number)].setdefault(int(index), {})[key] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def checkpoint_folder(checkpoints: Path, prefix: str, step: int) -> Path:
    """The folder of one checkpoint: `last` continues a run, `best` holds the weights of the lowest validation loss."""
    return checkpoints / f"{prefix}-{step:07d}"


def step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def trained_steps(folder: Path) -> int:
    """Steps that the weights of a checkpoint have had, wherever its folder lies and whatever it is called."""
    steps: int = json.loads((folder / MANIFEST).read_bytes())[STATE]["step"]
    return steps


def written_checkpoints(checkpoints: Path, prefix: str) -> list[Path]:
    """The folders of that prefix in the order of their steps, whole or not."""
    found = (path for path in checkpoints.glob(f"{prefix}-*") if re.fullmatch(rf"{prefix}-\d+", path.name))
    return sorted(found, key=step_of)


def newest_intact(checkpoints: Path, prefix: str) -> Path | None:
    """The newest whole checkpoint of that prefix; broken ones are passed over."""
    return next((folder for folder in reversed(written_checkpoints(checkpoints, prefix)) if is_intact(folder)), None)


def is_intact(folder: Path) -> bool:
    """Whether every file has its digest, and the folder is that of the step whose weights it holds."""
    manifest = read_folder(folder)
    return manifest is not None and manifest.get(STATE, {}).get("step", step_of(folder)) == step_of(folder)


def newest_journalled(records: Iterable[Record], prefix: str) -> str | None:
    """The name of the newest checkpoint of that prefix that the journal knows of; it is never deleted by a run."""
    names = [saved.name for saved in of_kind(records, CheckpointRecord) if saved.name.startswith(f"{prefix}-")]
    return max(names, key=lambda name: step_of(Path(name)), default=None)


def checkpoint_to_resume(checkpoints: Path, saved: Iterable[str]) -> tuple[Path | None, list[str]]:
    """The newest whole full checkpoint, and the names of newer ones that are damaged or gone; InputError if all are.

    `saved` names all that were ever written; only where there was none is it right to begin at step 0.
    """
    folder = newest_intact(checkpoints, "last")
    last = step_of(folder) if folder else 0
    known = {checkpoints / name for name in saved if name.startswith("last-")} | set(
        written_checkpoints(checkpoints, "last")
    )
    damaged = sorted(path.name for path in known if step_of(path) > last)
    if damaged and not folder:
        raise InputError(
            f"no checkpoint in {checkpoints} is whole, the newest was {damaged[-1]}; put one back from a copy, or "
            f"start a new run: `minigpt run {checkpoints.parent / CONFIG_FILE}`"
        )
    return folder, damaged


def superseded_checkpoints(folder: Path, prefix: str, kept: int, keep_every_steps: int | None = None) -> list[Path]:
    """Checkpoints older than `folder` that may go: all but the newest, so that `kept` are left, and round steps.

    None may before `folder` was read back whole: OSError if it was not.
    """
    older = [path for path in written_checkpoints(folder.parent, prefix) if step_of(path) < step_of(folder)]
    surplus = older[: max(0, len(older) - (kept - 1))]
    surplus = [path for path in surplus if keep_every_steps is None or step_of(path) % keep_every_steps]
    if surplus and not is_intact(folder):
        raise OSError(f"the checkpoint {folder} does not read back as it was written; check the disk")
    return surplus


def check_disk_space(checkpoints: Path, model: GPT, full_checkpoints: int) -> None:
    """Refuse a disk that cannot hold so many full checkpoints, and two of the weights alone."""
    weights_bytes = sum(weight.nbytes for weight in weights_of(model).values())
    # AdamW keeps two numbers for each weight, Muon one.
    needed_bytes = (3 * full_checkpoints + 2) * weights_bytes
    present_bytes = sum(path.stat().st_size for path in checkpoints.rglob("*") if path.is_file())
    free_bytes = shutil.disk_usage(checkpoints).free + present_bytes
    if needed_bytes > free_bytes:
        raise InputError(
            f"the checkpoints need {needed_bytes:,} bytes, more than the {free_bytes:,} that are free for them at "
            f"{checkpoints}; make room, choose another MINIGPT_HOME, or lower training.kept_checkpoints"
        )
