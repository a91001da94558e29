"""Muon: singular values near 1, and torch's own steps up to its bf16."""

import pytest
import torch

from minigpt.randomness import stream
from minigpt.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(5, 9), (96, 32), (32, 32)])
def test_the_result_has_the_same_directions_with_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=stream(1, "matrices"))
    scales = torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    (results,) = orthogonalised([matrices * scales])
    left, before, right = torch.linalg.svd(matrices, full_matrices=False)
    after = left.mT @ results @ right.mT
    off_diagonal = after - torch.diag_embed(after.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 1e-3
    large = before > 0.1 * before[:, :1]  # five iterations do not lift the smallest ones all the way
    assert ((after.diagonal(dim1=1, dim2=2) - 1).abs()[large] < 0.35).all()


def test_a_gradient_of_zeros_moves_nothing() -> None:
    (results,) = orthogonalised([torch.zeros(2, 3, 4)])
    assert torch.equal(results, torch.zeros(2, 3, 4))


def test_stacks_that_are_taken_at_once_are_not_mixed_up() -> None:
    shapes = [(2, 8, 24), (1, 8, 8), (3, 24, 8), (2, 5, 24)]
    stacks = [torch.randn(shape, generator=stream(1, "stacks")) for shape in shapes]
    for together, stack in zip(orthogonalised(stacks), stacks, strict=True):
        torch.testing.assert_close(together, orthogonalised([stack])[0], rtol=0, atol=1e-5)


def test_the_steps_are_those_of_torch() -> None:
    shapes = [(24, 8), (8, 8), (8, 24), (24, 8)]
    generator = stream(1, "weights")
    ours = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    theirs = [weight.detach().clone().requires_grad_() for weight in ours]
    optimizers = [
        Muon(ours, lr=0.1, momentum=0.95, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.1, momentum=0.95, weight_decay=0.1),
    ]
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0.02)  # five steps of 0.1 in bf16's three digits
