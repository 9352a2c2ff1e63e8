"""Random crops and mirror images of training batches."""

import pytest
import torch
from torch.nn.functional import pad

from hsac.train.augment import CropFlip, Mixing


def images(*shape):
    return torch.randint(
        1, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


@pytest.mark.parametrize("channels", [(), (3,)])
def test_image_becomes_crop_or_mirror(channels):
    """Every image is a crop of itself, padded, or its mirror."""
    x = images(2, 300, *channels, 6, 5)
    found = CropFlip([0, 1], "augment batches")(x)
    assert found.shape == x.shape
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    seen = set()
    for image, crop in zip(x.flatten(0, 1), found.flatten(0, 1), strict=True):
        padded = pad(image, (4, 4, 4, 4))
        places = [
            (top, left, mirrored)
            for top in range(9)
            for left in range(9)
            for mirrored in (False, True)
            if torch.equal(
                (
                    padded[..., top : top + 6, left : left + 5].flip(-1)
                    if mirrored
                    else padded[..., top : top + 6, left : left + 5]
                ),
                crop,
            )
        ]
        assert places
        if len(places) == 1:  # not one of the crops that hold too little to tell
            seen |= set(places)
    assert len(seen) > 140  # of 162, by 600 draws


def test_draws_ignore_company():
    """A run draws the same alone and in company."""
    x = images(1, 20, 6, 6)
    together = CropFlip([3, 4], "augment batches")
    alone = CropFlip([4], "augment batches")
    first = [together(x.expand(2, -1, -1, -1)) for _ in range(2)]
    second = [alone(x) for _ in range(2)]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a[1:], b)
        assert not torch.equal(a[0], a[1])
    assert not torch.equal(second[0], second[1])
    assert not torch.equal(CropFlip([4], "augment upper")(x), second[0])


@pytest.mark.parametrize("channels", [(), (3,)])
def test_mixing_combines_neighbours(channels):
    """A mixed row and its shares of the classes are of one convex combination, one λ a batch."""
    x = images(2, 6, *channels, 4, 4).double() / 255
    labels = torch.arange(12).view(2, 6) % 5
    mixed, shares = Mixing(1.0, 5, [0, 1], "mixing batches")(x, labels)
    assert shares.shape == (2, 6, 5)
    lambdas = []
    for run in range(2):
        for i in range(6):
            j = (i + 1) % 6
            share = float(shares[run, i, labels[run, i]])
            other = float(shares[run, i, labels[run, j]])
            if labels[run, i] == labels[run, j]:
                assert share == 1.0
                continue
            assert share + other == pytest.approx(1)
            want = share * x[run, i] + other * x[run, j]
            torch.testing.assert_close(mixed[run, i], want, rtol=1e-12, atol=1e-12)
            lambdas.append((run, round(share, 12)))
    assert len(set(lambdas)) == 2  # one a run


def test_mixing_shares_are_beta():
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)), and another stream for each purpose."""
    x, labels = torch.zeros(1, 2, 1, dtype=torch.float64), torch.tensor([[0, 1]])
    for alpha in (0.3, 1.0, 4.0):
        mixing = Mixing(alpha, 2, [7], "mixing batches")
        drawn = torch.stack([mixing(x, labels)[1][0, 0, 0] for _ in range(4000)])
        assert abs(float(drawn.mean()) - 0.5) < 0.03
        assert float(drawn.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    one, other = (Mixing(1.0, 2, [7], word)(x, labels)[1] for word in ("mixing a", "mixing b"))
    assert not torch.equal(one, other)
