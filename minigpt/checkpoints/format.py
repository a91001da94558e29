"""Checkpoints: a folder of safetensors files and a manifest with their digests, complete or absent."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minigpt.checkpoints.folders import STATE
from minigpt.data.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer
from minigpt.errors import InputError
from minigpt.io.store import PendingFolder, fill_folder, read_folder
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT, empty_model

WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
MODEL = "model"


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Each parameter once, by its first name; tied weights are listed once."""
    return {name: weight.detach() for name, weight in model.named_parameters()}


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """sha256 over the sorted names, dtypes, shapes and bytes of the tensors."""
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
    """Write weights, shape and vocabulary, all that sampling needs; with optimizers also all that a resume needs.

    The model may train on as soon as this returns: `store.finish_folder` only reads the written files.
    """

    def fill(place: Path) -> Mapping[str, Any]:
        save_file(weights_of(model), place / WEIGHTS_FILE)
        if optimizers:
            save_file(_optimizer_tensors(optimizers), place / OPTIMIZER_FILE)
        shutil.copyfile(tokenizer, place / TOKENIZER_FILE)  # not a link: damage to one file would reach all checkpoints
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
    """Load the model and the tokenizer of a checkpoint folder. Raises InputError if it is missing or damaged."""
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
    """Copy a checkpoint's weights into the model, and return the checkpoint's state."""
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


def check_disk_space(checkpoints: Path, model: GPT, full_checkpoints: int) -> None:
    """Refuse a disk that cannot hold the full checkpoints and two checkpoints of the weights alone."""
    weights_bytes = sum(weight.nbytes for weight in weights_of(model).values())
    # AdamW keeps two numbers per weight, Muon one.
    needed_bytes = (3 * full_checkpoints + 2) * weights_bytes
    present_bytes = sum(path.stat().st_size for path in checkpoints.rglob("*") if path.is_file())
    free_bytes = shutil.disk_usage(checkpoints).free + present_bytes
    if needed_bytes > free_bytes:
        raise InputError(
            f"the checkpoints need {needed_bytes:,} bytes, more than the {free_bytes:,} that are free at "
            f"{checkpoints}; make room, choose another MINIGPT_HOME, or lower training.kept_checkpoints"
        )
