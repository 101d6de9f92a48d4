"""BERT, against itself as PyTorch writes it, and what its options do."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import interop, models, tree

SIZES = {"features": 16, "heads": 4, "layers": 2, "dropout": 0.0}
X = np.random.default_rng(0).integers(0, 11, (2, 7)).astype(np.int32)
MASK = np.arange(7) < np.array([7, 4])[:, None]
SEGMENT = (np.arange(7) > 3).astype(np.int32)[None].repeat(2, 0)
applied = jax.jit(lambda layer, *given, **side: layer.apply(*given, **side)[0], static_argnums=0)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({}, 108_891_648),
        ({"pooled": True}, 109_482_240),  # as transformers counts BERT-base
        ({"classes": 2}, 109_483_778),
        ({"features": 1024, "heads": 16, "layers": 24, "pooled": True}, 335_141_888),
    ],
)
def test_counts(arguments, count):
    params, _ = jax.eval_shape(models.encoder(**arguments).init, jax.random.key(0))
    assert tree.count(params) == count


def bert(torch, prefix="", classes=None):
    """A state dict with BERT's names, and BERT in torch's functions, which reads it."""
    F = torch.nn.functional
    generator = torch.Generator().manual_seed(0)
    sizes = {"word": 11, "position": 9, "token_type": 2}
    shapes = {f"embeddings.{one}_embeddings.weight": (n, 16) for one, n in sizes.items()}

    def linear(name, rows, columns):
        shapes.update({f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)})

    def norm(name):
        shapes.update({f"{name}.weight": (16,), f"{name}.bias": (16,)})

    norm("embeddings.LayerNorm")
    for block in range(2):
        at = f"encoder.layer.{block}"
        for one in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{at}.attention.{one}", 16, 16)
        linear(f"{at}.intermediate.dense", 64, 16)
        linear(f"{at}.output.dense", 16, 64)
        norm(f"{at}.attention.output.LayerNorm")
        norm(f"{at}.output.LayerNorm")
    linear("pooler.dense", 16, 16)
    weights = {
        prefix + name: torch.randn(shape, generator=generator) * 0.3
        for name, shape in shapes.items()
    }
    if classes:
        weights["classifier.weight"] = torch.randn((classes, 16), generator=generator)
        weights["classifier.bias"] = torch.randn(classes, generator=generator)

    def apply(x, mask, segment):
        def of(name, function, x, *sizes, **how):
            at = prefix + name
            return function(x, *sizes, weights[f"{at}.weight"], weights[f"{at}.bias"], **how)

        def heads(y):
            return y.reshape(2, 7, 4, 4).transpose(1, 2)

        tables = [weights[f"{prefix}embeddings.{one}_embeddings.weight"] for one in sizes]
        h = F.embedding(x, tables[0]) + tables[1][:7] + F.embedding(segment, tables[2])
        h = of("embeddings.LayerNorm", F.layer_norm, h, (16,), eps=1e-12)
        for block in range(2):
            at = f"encoder.layer.{block}"
            query, key, value = (
                heads(of(f"{at}.attention.self.{one}", F.linear, h))
                for one in ("query", "key", "value")
            )
            seen = mask[:, None, None]
            y = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
            y = of(f"{at}.attention.output.dense", F.linear, y.transpose(1, 2).reshape(2, 7, 16))
            h = of(f"{at}.attention.output.LayerNorm", F.layer_norm, h + y, (16,), eps=1e-12)
            y = F.gelu(of(f"{at}.intermediate.dense", F.linear, h))
            y = of(f"{at}.output.dense", F.linear, y)
            h = of(f"{at}.output.LayerNorm", F.layer_norm, h + y, (16,), eps=1e-12)
        pooled = torch.tanh(of("pooler.dense", F.linear, h[:, 0]))
        if classes:
            pooled = F.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])
        return h.numpy(), pooled.numpy()

    return weights, apply


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_it_is_bert_and_goes_back(torch, prefix):
    """Also without the pooler, which a network may lack, and with the buffer of places."""
    weights, theirs = bert(torch, prefix)
    tensors = [torch.tensor(one) for one in (X.astype(np.int64), MASK, SEGMENT.astype(np.int64))]
    hidden, pooled = theirs(*tensors)
    buffer = {f"{prefix}embeddings.position_ids": torch.arange(9)[None]}
    side = {"mask": MASK, "segment": SEGMENT}
    plain = models.encoder(11, 9, **SIZES)
    found = applied(plain, *interop.from_torch(plain, {**weights, **buffer}), X, **side)
    np.testing.assert_allclose(
        np.where(MASK[..., None], found, 0), np.where(MASK[..., None], hidden, 0), atol=1e-4
    )
    layer = models.encoder(11, 9, pooled=True, **SIZES)
    params, state = interop.from_torch(layer, weights)
    np.testing.assert_allclose(applied(layer, params, state, X, **side), pooled, atol=1e-4)
    back = interop.to_torch(layer, params, state)
    assert {prefix + name for name in back} == {*weights}
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor, weights[prefix + name])


def test_a_classifier_has_its_names(torch):
    weights, theirs = bert(torch, "bert.", classes=3)
    layer = models.encoder(11, 9, classes=3, **SIZES)
    params, state = interop.from_torch(layer, weights)
    tensors = [torch.tensor(one) for one in (X.astype(np.int64), MASK, np.zeros((2, 7), np.int64))]
    found = applied(layer, params, state, X, mask=MASK)
    np.testing.assert_allclose(found, theirs(*tensors)[1], atol=1e-4)
    assert {*interop.to_torch(layer, params, state)} == {*weights}


def test_padding_moves_nothing_and_every_token_sees_every_other():
    layer = models.encoder(11, 9, **SIZES)
    weights = jax.jit(layer.init)(jax.random.key(0))
    padded = applied(layer, *weights, X, mask=MASK)
    other = applied(layer, *weights, np.where(MASK, X, 3), mask=MASK)
    np.testing.assert_allclose(padded[MASK], other[MASK], atol=1e-5)
    changed = X.copy()
    changed[:, -1] = (changed[:, -1] + 1) % 11
    moved = np.abs(applied(layer, *weights, changed) - applied(layer, *weights, X))
    assert moved.max(-1).min() > 0


@pytest.mark.parametrize("kind", ["bag", "lstm", "attention"])
def test_a_text_classifier_reads_real_words_alone(kind):
    layer = models.text_classifier(11, 3, kind=kind, features=8)
    weights = jax.jit(layer.init)(jax.random.key(0))
    padded = applied(layer, *weights, X, mask=MASK)
    alone = applied(layer, *weights, X[1:, :4])
    np.testing.assert_allclose(padded[1:], alone, atol=1e-5)
    turned = applied(layer, *weights, X[:, ::-1])
    is_same = np.allclose(turned, applied(layer, *weights, X), atol=1e-5)
    assert is_same == (kind == "bag")  # whose words have no order


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.encoder(heads=7), "attention needs features that heads divides"),
        (lambda: models.encoder(hidden_size=8), r"write models.encoder\(features=8\)"),
        (lambda: models.encoder(layers=0), "encoder needs layers ≥ 1"),
        (lambda: models.text_classifier(kind="cnn"), "kind is 'cnn', but must be one of .'bag'"),
        (lambda: models.text_classifier(features=7), "features is 7, of which an LSTM halves"),
    ],
)
def test_refuses(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
