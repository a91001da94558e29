"""A model that is ready to write: the same weights and values, however they are stored."""

import pytest
import torch
from torch import nn

from minigpt.config import MatmulLibrary
from minigpt.cpu.matmul import linear, use_matmul_library
from minigpt.cpu.weight_layouts import BlockedLinear
from minigpt.generation.prepare import prepare_for_generation
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT
from minigpt.model.init import build_model
from tests.minigpt.conftest import random

pytestmark = pytest.mark.usefixtures("torchs_own_again")


def check_logits(ready: GPT, usual: GPT) -> None:
    """Of a single row, and of several."""
    for tokens in (torch.tensor([[7]]), torch.tensor([[1, 2, 3], [4, 5, 6]])):
        torch.testing.assert_close(ready(tokens), usual(tokens), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_weights_stored_by_columns_are_the_same_weights(tied: bool) -> None:
    config = ModelConfig(context_length=8, width=16, heads=2, layers=2, tied_head=tied)
    rows, columns = (build_model(config, 40, seed=1) for _ in range(2))
    prepare_for_generation(columns)
    assert columns.head.weight.stride() == (1, 40)
    for weight, stored in zip(rows.parameters(), columns.parameters(), strict=True):
        assert torch.equal(weight, stored)
    check_logits(columns, rows)


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("vocabulary", [40, 1000])
def test_weights_stored_by_blocks_are_the_same_weights(tied: bool, vocabulary: int) -> None:
    use_matmul_library("onednn")
    config = ModelConfig(context_length=8, width=16, heads=2, layers=2, tied_head=tied)
    rows, blocks = (build_model(config, vocabulary, seed=1) for _ in range(2))
    prepare_for_generation(blocks)
    for layer, stored in zip(rows.modules(), blocks.modules(), strict=True):
        if isinstance(layer, nn.Linear):
            assert torch.equal(layer.weight, stored.weight.mT.flatten(0, 1)[: layer.out_features])
    assert torch.equal(rows.token_embedding.weight, blocks.token_embedding.weight)
    check_logits(blocks, rows)


@torch.no_grad()
@pytest.mark.parametrize("library", ["torch", "onednn"])
def test_a_modern_model_that_is_ready_to_write_is_the_same(library: MatmulLibrary) -> None:
    use_matmul_library(library)
    config = ModelConfig(architecture="modern", context_length=8, width=16, heads=2, layers=2)
    usual, ready = (build_model(config, 1000, seed=1) for _ in range(2))
    for model in (usual, ready):
        for weight in model.parameters():
            weight += random(*weight.shape)  # output projections begin at zero
    prepare_for_generation(ready)
    check_logits(ready, usual)


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_layer_by_blocks_is_the_layer(rows: int, bias: bool) -> None:
    use_matmul_library("onednn")
    layer, x = nn.Linear(48, 1000, bias=bias), random(rows, 1, 48)
    torch.testing.assert_close(BlockedLinear(layer)(x), layer(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_single_row_by_blocks_has_the_same_bits_with_any_number_of_threads() -> None:
    use_matmul_library("onednn")
    x, weight, usual = random(1, 48), random(1000, 48, seed=2), torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        layer = nn.Linear(48, 1000, bias=False)
        layer.weight.copy_(weight)
        torch.set_num_threads(threads)
        try:
            found.append(linear(BlockedLinear(layer), x))
        finally:
            torch.set_num_threads(usual)
    torch.testing.assert_close(found[0], x @ weight.mT, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
