"""The set transformer has no order, sees no pads, and its fast attention is attention."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from perturbkit.models.nn import attention
from perturbkit.models.nn.sentence import SoftBins, draw_hidden, sentences
from perturbkit.models.nn.transformer import SetTransformer


def made(rng: np.random.Generator, **settings) -> SetTransformer:
    return SetTransformer(16, 2, 32, 2, rng, **settings)


@pytest.mark.parametrize("at_once", [2**20, 81, 200])
def test_products_are_attention_with_its_gradients(monkeypatch, at_once: int) -> None:
    monkeypatch.setattr(attention, "_AT_ONCE", at_once)  # all heads, one, and two of three at once
    generator = torch.Generator().manual_seed(0)
    packed = torch.randn(2, 9, 3, 3, 8, generator=generator, requires_grad=True)
    other = packed.detach().clone().requires_grad_()
    query, key, value = (x.transpose(1, 2) for x in other.unbind(2))
    out = attention.self_attend(packed)
    exact = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    torch.testing.assert_close(out, exact)
    weight = torch.randn(exact.shape, generator=generator)
    (out * weight).sum().backward()
    (exact * weight).sum().backward()
    torch.testing.assert_close(packed.grad, other.grad)


def test_attention_that_is_computed_again_has_the_same_gradients(monkeypatch) -> None:
    x = torch.randn(2, 7, 3, 2, 8, generator=torch.Generator().manual_seed(0))
    gradients = []
    for kept in (10**9, 0):
        monkeypatch.setattr(attention, "_KEPT", kept)
        packed = x.clone().requires_grad_()
        attention.self_attend(packed).square().sum().backward()
        gradients.append(packed.grad)
    torch.testing.assert_close(*gradients)


def test_permuting_tokens_permutes_the_output(rng: np.random.Generator) -> None:
    net = made(rng)
    x = torch.randn(2, 9, 16)
    order = torch.randperm(9)
    torch.testing.assert_close(net(x[:, order]), net(x)[:, order], rtol=1e-4, atol=1e-5)


def test_pads_change_nothing(rng: np.random.Generator) -> None:
    net = made(rng).eval()
    x = torch.randn(2, 6, 16)
    mask = torch.arange(9)[None].expand(2, -1) < 6
    wide = torch.cat([x, torch.full((2, 3, 16), 9.0)], 1)
    torch.testing.assert_close(net(wide, mask)[:, :6], net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_reading_only_the_first_tokens_gives_the_same(
    rng: np.random.Generator, *, padded: bool
) -> None:
    net = made(rng)
    x = torch.randn(2, 9, 16)
    mask = torch.arange(9)[None].expand(2, -1) < 7 if padded else None
    gradients = []
    for out in (net(x, mask, 2), net(x, mask)[:, :2]):
        net.zero_grad()
        out.square().sum().backward()
        gradients.append([out.detach(), *(p.grad for p in net.parameters())])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_checkpointing_gives_the_same_gradients() -> None:
    x = torch.randn(2, 5, 16)
    gradients = []
    for checkpointing in (False, True):
        net = made(np.random.default_rng(0), checkpointing=checkpointing)
        net(x).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_sentences_hold_the_highest_genes_and_no_hidden_one(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.poisson(0.4, (20, 50))).float()
    hidden = torch.zeros(50, dtype=torch.bool)
    hidden[::5] = True
    order = torch.from_numpy(rng.random((20, 50))).float()
    genes, values = sentences(x, 25, order, hidden)
    assert genes.shape == (20, 25)
    assert not hidden[genes].any()
    torch.testing.assert_close(values, x.gather(1, genes))
    for cell, chosen in zip(x, genes, strict=True):
        assert len(set(chosen.tolist())) == 25
        left = [g for g in range(50) if g not in set(chosen.tolist()) and not hidden[g]]
        assert cell[left].max() <= cell[chosen].min()


def test_ties_are_broken_at_random_and_alike_for_the_same_order() -> None:
    x = torch.zeros(1, 40)
    first, second = torch.rand(2, 1, 40)
    assert sentences(x, 10, first)[0].tolist() == sentences(x, 10, first)[0].tolist()
    assert sentences(x, 10, first)[0].tolist() != sentences(x, 10, second)[0].tolist()


def test_hidden_genes_are_often_expressed_ones() -> None:
    x = torch.zeros(30, 200)
    x[:, :20] = 1.0
    asked = draw_hidden(x, 30, torch.Generator().manual_seed(0))
    assert len(set(asked.tolist())) == 30
    assert int((asked < 20).sum()) > 8  # 3 by chance


def test_soft_bins_see_the_share_and_not_the_depth(rng: np.random.Generator) -> None:
    bins = SoftBins(8, rng)
    x = torch.rand(3, 12)
    torch.testing.assert_close(bins(x), bins(3 * x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(bins(x), bins(x.flip(1)), atol=1e-3)
