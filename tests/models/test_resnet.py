"""Residual networks against torch.nn modules of the same weights, and batch norm as a state."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from hsac.models.layers import batch_moments, batch_norm
from hsac.models.resnet import Resnet
from hsac.models.resnet12 import Resnet12
from hsac.models.wide_resnet import WideResnet
from hsac.train.ensemble import Ensemble

F64 = torch.float64
FLAT = torch.zeros(1, dtype=F64)


def images(count, side=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 3, side, side, generator=g, dtype=F64)
    return x + torch.rand(count, 1, 1, 1, generator=g, dtype=F64)


class ReferenceBlock(nn.Module):
    """The basic block of He et al., with an option A or B shortcut."""

    def __init__(self, inside, out, stride, option):
        super().__init__()
        self.first = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.n1 = nn.BatchNorm2d(out, momentum=None)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.n2 = nn.BatchNorm2d(out, momentum=None)
        self.stride, self.more = stride, out - inside
        self.shortcut = None
        if option == "B" and (stride > 1 or inside != out):
            self.shortcut = nn.Conv2d(inside, out, 1, stride, bias=False)
            self.n3 = nn.BatchNorm2d(out, momentum=None)

    def forward(self, x):
        y = self.n2(self.second(self.n1(self.first(x)).relu()))
        if self.shortcut is not None:
            return (y + self.n3(self.shortcut(x))).relu()
        short = torch.zeros_like(y)
        short[:, self.more // 2 : self.more // 2 + x.shape[1]] = x[
            :, :, :: self.stride, :: self.stride
        ]
        return (y + short).relu()


class Reference(nn.Module):
    """A CIFAR ResNet up to the pooled features."""

    def __init__(self, widths, count, option):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0], momentum=None)
        blocks, inside = [], widths[0]
        for stage, out in enumerate(widths):
            for i in range(count):
                blocks.append(ReferenceBlock(inside, out, 2 if stage and not i else 1, option))
                inside = out
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return functional.adaptive_avg_pool2d(
            self.blocks(self.norm(self.stem(x)).relu()), 1
        ).flatten(1)


class WideBlock(nn.Module):
    """The basic block of Zagoruyko and Komodakis, normalised before each convolution."""

    def __init__(self, inside, out, stride):
        super().__init__()
        self.n1 = nn.BatchNorm2d(inside, momentum=None)
        self.first = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.n2 = nn.BatchNorm2d(out, momentum=None)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inside, out, 1, stride, bias=False) if inside != out else None

    def forward(self, x):
        active = self.n1(x).relu()
        short = x if self.shortcut is None else self.shortcut(active)
        return short + self.second(self.n2(self.first(active)).relu())


class WideReference(nn.Module):
    """A wide ResNet up to the pooled features."""

    def __init__(self, width, count):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        blocks, inside = [], 16
        for stage, out in enumerate((16 * width, 32 * width, 64 * width)):
            for i in range(count):
                blocks.append(WideBlock(inside, out, 2 if stage and not i else 1))
                inside = out
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.BatchNorm2d(inside, momentum=None)

    def forward(self, x):
        h = self.last(self.blocks(self.stem(x))).relu()
        return functional.adaptive_avg_pool2d(h, 1).flatten(1)


class ShortReference(nn.Module):
    """A ResNet-12 up to the pooled features, with group norms in place of batch norms."""

    def __init__(self, inside, widths, groups):
        super().__init__()
        self.blocks = nn.ModuleList()
        for out in widths:
            kernels = [(inside, 3), (out, 3), (out, 3), (inside, 1)]
            convolutions = [nn.Conv2d(a, out, k, padding=k // 2, bias=False) for a, k in kernels]
            norms = [nn.GroupNorm(groups, out) for _ in kernels]
            pairs = [nn.Sequential(*pair) for pair in zip(convolutions, norms, strict=True)]
            self.blocks.append(nn.ModuleList(pairs))
            inside = out

    def forward(self, x):
        leaky = nn.LeakyReLU(0.1)
        for first, second, third, short in self.blocks:
            x = leaky(third(leaky(second(leaky(first(x))))) + short(x))
            x = nn.MaxPool2d(2)(x)
        return nn.AdaptiveAvgPool2d(1)(x).flatten(1)


LAYOUTS = {
    18: ((64, 128, 256, 512), 2, "B"),
    20: ((16, 32, 64), 3, "A"),
    32: ((16, 32, 64), 5, "A"),
}
NETWORKS = (*LAYOUTS, "wide", "narrow")


def off_start(model, seed):
    """The model's start parameters, moved off it."""
    params = model.init(torch.Generator().manual_seed(seed))
    g = torch.Generator().manual_seed(1)
    return {k: p + 0.1 * torch.randn(p.shape, generator=g, dtype=F64) for k, p in params.items()}


def copied(params, reference, norm_class):
    """Give a module our weights, in one order, and return its norms by our names."""
    convolutions = [m for m in reference.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in reference.modules() if isinstance(m, norm_class)]
    kernels = [p for name, p in params.items() if name.endswith(".w")]
    names = [name[:-2] for name in params if name.endswith(".g")]
    with torch.no_grad():
        for kernel, convolution in zip(kernels, convolutions, strict=True):
            convolution.weight.copy_(kernel)
        for name, norm in zip(names, norms, strict=True):
            norm.weight.copy_(params[f"{name}.g"])
            norm.bias.copy_(params[f"{name}.b"])
    return dict(zip(names, norms, strict=True))


def pair(network):
    """Our network, weights off their start, and the reference with the same ones."""
    if network in LAYOUTS:
        model = Resnet((3, 8, 8), 4, "euclidean", depth=network)
        reference = Reference(*LAYOUTS[network])
    else:
        width = 2 if network == "wide" else 1
        model = WideResnet((3, 8, 8), 4, "euclidean", depth=16, width=width)
        reference = WideReference(width, 2)
    params, reference = off_start(model, 3), reference.double()
    return model, params, reference, copied(params, reference, nn.BatchNorm2d)


@pytest.mark.parametrize("network", NETWORKS)
def test_training_features_equal_the_reference(network):
    """Features are those of the reference in training."""
    model, params, reference, _ = pair(network)
    x = images(6)
    torch.testing.assert_close(model.embed(params, FLAT, x), reference(x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
def test_evaluation_features_equal_the_reference(network):
    """Features are those of the reference in evaluation.

    After one batch torch's update_bn has our moments, but for n - 1 in place of n (6 at the least)
    in variances.
    """
    model, params, reference, norms = pair(network)
    x, other = images(6), images(5, seed=1)
    state = model.statistics(params, FLAT, x)
    update_bn([x], reference)
    assert state.keys() == norms.keys()
    for name, norm in norms.items():
        mean, square = state[name]
        torch.testing.assert_close(mean, norm.running_mean, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(square - mean**2, norm.running_var, rtol=0.2, atol=1e-9)
        norm.running_mean, norm.running_var = mean, square - mean**2
    reference.eval()
    found = model.embed(params, FLAT, other, state)
    torch.testing.assert_close(found, reference(other), rtol=1e-8, atol=1e-9)
    # no image looks at the others
    torch.testing.assert_close(found[:2], model.embed(params, FLAT, other[:2], state))
    assert not torch.allclose(found, model.embed(params, FLAT, other), atol=1e-2)
    # the batch normalised by its own moments is what training does
    torch.testing.assert_close(
        model.embed(params, FLAT, x, state), model.embed(params, FLAT, x), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(("depth", "weights"), [(18, 11_173_962), (20, 269_722), (32, 464_154)])
def test_number_of_weights(depth, weights):
    """As published for ten classes: a Poincaré MLR has as many as a linear layer."""
    params = Resnet((3, 32, 32), 10, "hyperbolic", depth=depth).init(torch.Generator())
    assert sum(p.numel() for p in params.values()) == weights


@pytest.mark.parametrize(
    ("depth", "width", "weights"),
    [(28, 2, 1_467_610), (40, 4, 8_949_210), (16, 8, 10_961_370), (28, 10, 36_479_194)],
)
def test_number_of_weights_of_wide_networks(depth, width, weights):
    """As published for ten classes: 8.9, 11.0 and 36.5 million in the paper's table 5.

    WRN-28-2 has the 1.5 million that papers on semi-supervised learning give.
    """
    model = WideResnet((3, 32, 32), 10, "hyperbolic", depth=depth, width=width)
    # a count needs no numbers
    with torch.device("meta"):
        params = model.init(torch.Generator())
    assert sum(p.numel() for p in params.values()) == weights


def test_resnet12_features_equal_the_reference():
    widths = (4, 6, 8)
    model = Resnet12((3, 18, 17), 1, "euclidean", widths=widths, groups=2)
    params = off_start(model, 0)
    reference = ShortReference(3, widths, 2).double()
    copied(params, reference, nn.GroupNorm)
    g = torch.Generator().manual_seed(2)
    x = torch.rand(4, 3, 18, 17, generator=g, dtype=F64)
    assert model.embed(params, FLAT, x).shape == (4, 8)
    torch.testing.assert_close(model.embed(params, FLAT, x), reference(x))


def test_resnet12_has_the_published_size():
    """It has 12.4 million weights and 640 features, beside the temperature."""
    model = Resnet12((3, 84, 84), 1, "hyperbolic")
    params = model.init(torch.Generator())
    assert sum(p.numel() for p in params.values()) == 12_424_320 + 1
    u = model.embed({k: p.float() for k, p in params.items()}, FLAT, torch.rand(1, 3, 84, 84))
    assert u.shape == (1, 640)


def test_moments_average_to_the_union():
    """Moments of batches average to those of their union."""
    x = images(12, seed=3)
    together = torch.stack([batch_moments(x[i::3]) for i in range(3)]).mean(0)
    torch.testing.assert_close(together, batch_moments(x))
    # a channel far from 0 keeps its variance in float32
    mean, square = batch_moments(x.float() + 1000)
    torch.testing.assert_close(square - mean**2, x.var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


def test_batch_norm_twice_differentiated():
    """Batch normalisation has torch's own double backward of the batch's moments."""
    x = images(3, side=2, seed=5).requires_grad_()
    scale, shift = (
        torch.randn(3, dtype=F64, generator=torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    inputs = (x, scale.requires_grad_(), shift.requires_grad_())
    assert torch.autograd.gradcheck(batch_norm, inputs)
    assert torch.autograd.gradgradcheck(batch_norm, inputs)


def test_training_ignores_a_kernels_scale():
    """Training is unchanged by the scale of a kernel.

    What batch normalisation is for: (w, b) of a layer and (a·w, b) are the same network.
    """
    model, params, *_ = pair(20)
    scaled = params | {"0.0.first.w": 3 * params["0.0.first.w"]}
    x = images(6)
    torch.testing.assert_close(
        model.embed(scaled, FLAT, x), model.embed(params, FLAT, x), rtol=1e-3, atol=1e-4
    )


def test_ensemble_statistics_are_of_its_runs():
    """Statistics of many seeds as one program are those of each seed."""
    model = Resnet((3, 8, 8), 4, "hyperbolic", depth=20)
    ensemble, w = Ensemble.start(model, [0, 1], torch.device("cpu"))
    # float64, because a batch's size changes float32's rounding
    w, c = w.double(), torch.tensor([[0.1], [2.0]]).double()
    x = images(8)
    state = ensemble.statistics(w, c, iter((x[::2], x[1::2])))
    found = ensemble.call("forward", w, c, x[:3], shared=True, state=state)
    for i in range(2):
        params = ensemble.unflatten(w[i])
        halves = [model.statistics(params, c[i], part) for part in (x[::2], x[1::2])]
        own = {name: (halves[0][name] + halves[1][name]) / 2 for name in halves[0]}
        torch.testing.assert_close({name: values[i] for name, values in state.items()}, own)
        torch.testing.assert_close(found[i], model.forward(params, c[i], x[:3], own))
    torch.testing.assert_close(
        found[:, :1], ensemble.call("forward", w, c, x[:1], shared=True, state=state)
    )


def test_vmapped_statistics_and_evaluation(monkeypatch):
    x = images(8).float()
    results = []
    for vmapped in (False, True):
        monkeypatch.setattr(Resnet, "vmapped", vmapped)
        ensemble, w = Ensemble.start(
            Resnet((3, 8, 8), 4, "hyperbolic", depth=20), [0, 1], torch.device("cpu")
        )
        state = ensemble.statistics(w, torch.ones(2, 1), [x])
        results.append(ensemble.call("forward", w, torch.ones(2, 1), x, shared=True, state=state))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
