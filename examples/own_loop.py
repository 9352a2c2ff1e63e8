"""Learn the curvature in a training loop of your own: digits, BatchNorm, a Poincaré classifier."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import hsac
from hsac.ball import clip_norm, mlr_logits_tangent


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
        self.z, self.r = nn.Parameter(torch.randn(10, 4) / 4), nn.Parameter(torch.zeros(10))
        self.c = hsac.Curvature(0.1)

    def forward(self, x):
        return mlr_logits_tangent(clip_norm(self.f(x), 2.0), self.z, self.r, self.c())


torch.manual_seed(0)
x, y = map(torch.tensor, load_digits(return_X_y=True))
x, rows = x.float() / 16, torch.randperm(len(x))
model = Net()
optimizer = torch.optim.SGD(hsac.weights(model), lr=0.05, momentum=0.9, weight_decay=5e-4)
loss = lambda rows: cross_entropy(model(x[rows]), y[rows])  # noqa: E731
learner = hsac.CurvatureLearner(model, optimizer, loss)
for step in range(300):
    batch, upper, lower, third = rows[torch.randint(1400, (4, 64))]  # independent batches
    optimizer.zero_grad()
    loss(batch).backward()
    optimizer.step()
    log = learner.step(upper, lower, third)
    if log and (step + 1) % 100 == 0:
        print(f"step {step + 1}: F {log['value']:.3f}, curvature {log['curvature']['c.theta']:.3f}")
wrong = model.eval()(x[rows[1400:]]).argmax(-1) != y[rows[1400:]]
print(f"test accuracy {1 - wrong.double().mean():.3f}")
