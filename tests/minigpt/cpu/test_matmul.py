"""Products by oneDNN against torch's own: the same values and gradients, and the same bits each time."""

import pytest
import torch
from torch import nn

from minigpt.config import MatmulLibrary
from minigpt.cpu.matmul import linear, times_transposed, use_matmul_library
from minigpt.model.config import ModelConfig
from minigpt.model.init import build_model
from minigpt.runtime import machine
from minigpt.runtime.config import EnvironmentConfig
from minigpt.runtime.machine import best_matmul_library, best_precision
from tests.minigpt.conftest import random

pytestmark = pytest.mark.usefixtures("torchs_own_again")

SHAPES = [(1, 8, 16), (2, 3, 1), (3, 33, 7), (2, 64, 129)]


@pytest.mark.parametrize(("batch", "length", "outputs"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_torch(batch: int, length: int, outputs: int, bias: bool) -> None:
    layer = nn.Linear(48, outputs, bias=bias)
    found = {}
    for library in ("torch", "onednn"):
        use_matmul_library(library)  # type: ignore[arg-type]
        x = random(batch, length, 48).requires_grad_()
        layer.zero_grad()
        y = linear(layer, x)
        (y * random(*y.shape, seed=2)).sum().backward()
        found[library] = [y.detach(), x.grad, *(weight.grad.clone() for weight in layer.parameters())]
    for ours, theirs in zip(found["onednn"], found["torch"], strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("library", ["torch", "onednn"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_single_row_is_multiplied_as_one_of_many(library: MatmulLibrary, bias: bool) -> None:
    layer, rows = nn.Linear(48, 33, bias=bias), random(2, 1, 48)
    use_matmul_library(library)
    torch.testing.assert_close(linear(layer, rows[:1]), layer(rows)[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_transposed_views_are_multiplied_as_they_are(turned: tuple[bool, bool]) -> None:
    use_matmul_library("onednn")
    a = random(32, 24).mT if turned[0] else random(24, 32)
    b = random(32, 40).mT if turned[1] else random(40, 32)
    torch.testing.assert_close(times_transposed(a, b), a @ b.mT, atol=1e-5, rtol=1e-5)


def test_a_models_gradient_is_the_same_to_the_bit_each_time() -> None:
    use_matmul_library("onednn")
    digests = set()
    for _ in range(3):
        model = build_model(ModelConfig(context_length=32, width=64, heads=2, layers=2), 300, seed=1)
        tokens = torch.randint(300, (4, 33), generator=torch.Generator().manual_seed(1))
        model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
        digests.add(tuple(weight.grad.double().sum().item().hex() for weight in model.parameters()))
    assert len(digests) == 1


def test_the_config_records_which_library_it_was() -> None:
    assert EnvironmentConfig().resolved().products == best_matmul_library()
    assert EnvironmentConfig(products="torch").resolved().products == "torch"


@pytest.mark.parametrize(
    ("cpu", "library", "precision"),
    [
        ("AuthenticAMD 26 2 avx2 fma avx512f avx512_bf16", "onednn", "bf16"),
        ("AuthenticAMD 25 33 avx2 fma", "torch", "fp32"),
        ("GenuineIntel 6 143 avx2 fma avx512f amx_bf16", "torch", "bf16"),
        ("GenuineIntel 6 85 avx2 fma avx512f", "torch", "fp32"),
    ],
)
def test_the_cpu_decides_and_no_timing(cpu: str, library: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_class", lambda: cpu)
    assert (best_matmul_library(), best_precision()) == (library, precision)
