"""The step's own kernels against torch's plain operators: values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.cpu.kernels import QUERIES, Dropout, causal_attention, linear_cross_entropy, rms_norm, squared_relu
from minigpt.randomness import stream

LENGTHS = [1, 5, 64, 65, 150]


def parts(length: int) -> list[Tensor]:
    shape = (2, 3, length, 8)
    return [torch.randn(shape, generator=stream(1, name)).requires_grad_() for name in ("query", "key", "value")]


class Recorded(Dropout):
    """Dropout that remembers its factors."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate, stream(1, "dropout"))
        self.seen: list[Tensor] = []

    def factors(self, shape: torch.Size) -> Tensor:
        self.seen.append(super().factors(shape))
        return self.seen[-1]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rate", [None, 0.0, 0.3])
def test_attention_is_that_of_the_plain_operators(length: int, rate: float | None) -> None:
    dropout = None if rate is None else Recorded(rate)
    ours, plain = parts(length), parts(length)
    attended = causal_attention(*ours, dropout)
    factors = torch.ones(2, 3, length, length)
    for piece, seen in enumerate(dropout.seen if dropout else ()):
        start = piece * QUERIES
        factors[:, :, start : start + seen.shape[2], : seen.shape[3]] = seen
    query, key, value = plain
    future = torch.ones(length, length, dtype=torch.bool).triu_(1)
    weights = (query @ key.mT / 8**0.5).masked_fill(future, -torch.inf).softmax(-1)
    expected = (weights * factors) @ value
    torch.testing.assert_close(attended, expected)
    outer = torch.randn(attended.shape, generator=stream(1, "outer"))
    attended.backward(outer)
    expected.backward(outer)
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 16, 37])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_loss_is_that_of_the_plain_operators(count: int, scale: float) -> None:
    targets = torch.randint(50, (count,), generator=stream(1, "targets"))
    pairs = [
        [torch.randn(shape, generator=stream(1, str(shape))).requires_grad_() for shape in ((count, 8), (50, 8))]
        for _ in range(2)
    ]
    ours = linear_cross_entropy(*pairs[0], targets)
    plain = F.cross_entropy(pairs[1][0] @ pairs[1][1].mT, targets)
    torch.testing.assert_close(ours, plain)
    (ours * scale).backward()
    (plain * scale).backward()
    for mine, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_loss_that_no_probability_can_hold_is_finite() -> None:
    hidden, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [0.0]])
    assert linear_cross_entropy(hidden, weight, torch.tensor([1])).item() == 1000.0


def test_in_autocast_both_are_close_to_full_precision() -> None:
    ours, plain = parts(150), parts(150)
    targets = torch.randint(50, (900,), generator=stream(1, "targets"))
    weight = torch.randn(50, 8, generator=stream(1, "weight"))
    losses = []
    for tensors, precise in ((ours, False), (plain, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            given = [t if precise else t.bfloat16() for t in tensors]
            attended = causal_attention(*given, Dropout(0.1, stream(1, "dropout")))
            losses.append(linear_cross_entropy(attended.reshape(-1, 8), weight, targets))
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.01)
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert F.cosine_similarity(mine.grad.flatten(), theirs.grad.flatten(), 0) > 0.99


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1.0, 1e4])
def test_the_norm_is_that_of_the_plain_operators(spread: float) -> None:
    ours, plain = ((spread * torch.randn(5, 7, 3, 8, generator=stream(1, "x"))).requires_grad_() for _ in range(2))
    normed, expected = rms_norm(ours[:, :, :2]), F.rms_norm(plain[:, :, :2], (8,))
    torch.testing.assert_close(normed, expected)
    outer = torch.randn(normed.shape, generator=stream(1, "outer"))
    normed.backward(outer)
    expected.backward(outer)
    torch.testing.assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_squared_relu_is_that_of_the_plain_operators(dtype: torch.dtype) -> None:
    values = torch.cat([torch.zeros(1), torch.randn(99, generator=stream(1, "x"))]).to(dtype)
    ours, plain = (values.clone().requires_grad_() for _ in range(2))
    activated, expected = squared_relu(ours), F.relu(plain).square()
    assert torch.equal(activated, expected)
    outer = torch.randn(100, generator=stream(1, "outer")).to(dtype)
    activated.backward(outer)
    expected.backward(outer)
    torch.testing.assert_close(ours.grad, plain.grad)
