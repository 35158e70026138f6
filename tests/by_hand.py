"""Float64 re-derivations in NumPy that share no code with the harness: a small net, its gradients, the walks on it."""

import numpy as np

MEAN, STD = 0.5, 0.25


class Net:
    """f(x) = V tanh(W z + b) + c with z = (x − mean) / std, from the parameters of the `net` fixture."""

    def __init__(self, model):
        self.parameters = [p.detach().numpy().copy() for p in model.parameters()]

    def hidden(self, x):
        w, b, _, _ = self.parameters
        return np.tanh(((x - MEAN) / STD).reshape(len(x), -1) @ w.T + b)

    def logits(self, x):
        _, _, v, c = self.parameters
        return self.hidden(x) @ v.T + c

    def gradient(self, x, weights):
        """∇_x Σ_k weights_k f_k(x), for each image."""
        w, _, v, _ = self.parameters
        return (((weights @ v) * (1 - self.hidden(x) ** 2)) @ w / STD).reshape(x.shape)

    def parameter_gradients(self, loss):
        """Of a loss without arguments, by complex steps: exact to machine precision, and no autograd in it."""
        gradients = []
        for i, parameter in enumerate(self.parameters):
            gradient = np.zeros_like(parameter)
            for place in np.ndindex(parameter.shape):
                self.parameters[i] = parameter.astype(complex)
                self.parameters[i][place] += 1e-30j
                gradient[place] = loss().imag / 1e-30
            self.parameters[i] = parameter
            gradients.append(gradient)
        return gradients


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def logsumexp(logits):
    return np.log(np.exp(logits).sum(1))


def softplus(s):
    return np.log(1 + np.exp(s))


def one_hot(y, k):
    return np.eye(k)[y]


def cross_entropy(logits, y):
    return logsumexp(logits) - (logits * one_hot(y, logits.shape[1])).sum(1)


def joint(logits, y):
    return (logits * one_hot(y, logits.shape[1])).sum(1)


def norm(g, p):
    flat = np.abs(g.reshape(len(g), -1))
    return ((flat**p).sum(1) ** (1 / p)).reshape(-1, 1, 1, 1)


def ascent_of_joint(net, y):
    return lambda x: net.gradient(x, one_hot(y, 5))


def ascent_of_cross_entropy(net, y):
    return lambda x: net.gradient(x, softmax(net.logits(x)) - one_hot(y, 5))


def ascent_of_marginal(net):
    return lambda x: net.gradient(x, softmax(net.logits(x)))


def into_ball(x, start, eps):
    d = norm(x - start, 2)
    return np.where(d > eps, start + eps * (x - start) / np.maximum(d, 1e-300), x)


def contrastive(net, x, y, steps, eta):
    """Section 1.2: normalised ascent on the joint logit, clipped at each step."""
    gradient = ascent_of_joint(net, y)
    for _ in range(steps):
        g = gradient(x)
        x = np.clip(x + eta * g / norm(g, 2), 0, 1)
    return x


def attack(net, start, y, steps, alpha, eps):
    """Section 1.3: L2 PGD on the cross-entropy, ball then box, last iterate."""
    x, gradient = start, ascent_of_cross_entropy(net, y)
    for _ in range(steps):
        g = gradient(x)
        x = np.clip(into_ball(x + alpha * g / norm(g, 2), start, eps), 0, 1)
    return x


def linf_attack(net, start, y, steps, alpha, eps):
    x, gradient = start, ascent_of_cross_entropy(net, y)
    for _ in range(steps):
        x = x + alpha * np.sign(gradient(x))
        x = np.clip(np.minimum(np.maximum(x, start - eps), start + eps), 0, 1)
    return x


def momentum_attack(net, start, y, steps, alpha, eps, momentum):
    """Section 2.1: momentum over L1-normalised gradients, then an L2 step; the best of all iterates."""
    x, buffer, gradient = start, np.zeros_like(start), ascent_of_cross_entropy(net, y)
    iterates = [start]
    for _ in range(steps):
        g = gradient(x)
        buffer = momentum * buffer + g / norm(g, 1)
        x = np.clip(into_ball(x + alpha * buffer / norm(buffer, 2), start, eps), 0, 1)
        iterates.append(x)
    values = np.stack([cross_entropy(net.logits(x), y) for x in iterates])
    return np.stack(iterates)[values.argmax(0), np.arange(len(start))]


def sgld(gradient, x, step, noise, draws):
    """Section 3: raw gradient plus noise, neither clipped nor projected."""
    for z in draws:
        x = x + step * gradient(x) + noise * z
    return x
