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
        """Gradients of a loss without arguments by complex steps: exact to machine precision and without autograd."""
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


def log_softmax(logits):
    return logits - logsumexp(logits)[:, None]


def logsumexp(logits):
    return np.log(np.exp(logits).sum(1))


def softplus(s):
    return np.log(1 + np.exp(s))


def one_hot(y, k):
    return np.eye(k)[y]


def cross_entropy(logits, y):
    return logsumexp(logits) - (logits * one_hot(y, logits.shape[1])).sum(1)


def divergence(clean, logits):
    """The divergence of TRADES: KL( p(·|x) ‖ p(·|x') )."""
    return (softmax(clean) * (log_softmax(clean) - log_softmax(logits))).sum(1)


def confidence(logits):
    """The confidence loss of RATIO: KL( U ‖ p(·|x) ), summed over classes as in its definition."""
    k = logits.shape[1]
    return ((np.log(1 / k) - log_softmax(logits)) / k).sum(1)


def distance(clean, logits):
    """The distance of EB-JDAT: squared distance of normalised logits."""
    return ((clean / length(clean) - logits / length(logits)) ** 2).sum(1)


def length(logits):
    return np.sqrt((logits**2).sum(1, keepdims=True))


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


def ascent_of_divergence(net, clean):
    return lambda x: net.gradient(x, softmax(net.logits(x)) - softmax(clean))


def ascent_of_confidence(net):
    return lambda x: net.gradient(x, softmax(net.logits(x)) - 1 / 5)


def ascent_of_distance(net, clean):
    def gradient(x):
        a, b = clean / length(clean), net.logits(x) / length(net.logits(x))
        return net.gradient(x, -2 * (a - (a * b).sum(1, keepdims=True) * b) / length(net.logits(x)))

    return gradient


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
    return pgd(ascent_of_cross_entropy(net, y), start, start, steps, alpha, eps)


def pgd(gradient, start, centre, steps, alpha, eps):
    x = start
    for _ in range(steps):
        g = gradient(x)
        x = np.clip(into_ball(x + alpha * g / norm(g, 2), centre, eps), 0, 1)
    return x


def linf_attack(net, start, y, steps, alpha, eps):
    return linf_pgd(ascent_of_cross_entropy(net, y), start, start, steps, alpha, eps)


def linf_pgd(gradient, start, centre, steps, alpha, eps):
    x = start
    for _ in range(steps):
        x = x + alpha * np.sign(gradient(x))
        x = np.clip(np.minimum(np.maximum(x, centre - eps), centre + eps), 0, 1)
    return x


def momentum_attack(net, start, y, steps, alpha, eps, momentum):
    """Section 2.1: momentum over L1-normalised gradients, then an L2 step; the best of all iterates."""
    value = lambda x: cross_entropy(net.logits(x), y)  # noqa: E731
    return momentum_pgd(ascent_of_cross_entropy(net, y), value, start, steps, alpha, eps, momentum)


def momentum_pgd(gradient, value, start, steps, alpha, eps, momentum):
    x, buffer = start, np.zeros_like(start)
    iterates = [start]
    for _ in range(steps):
        g = gradient(x)
        buffer = momentum * buffer + g / norm(g, 1)
        x = np.clip(into_ball(x + alpha * buffer / norm(buffer, 2), start, eps), 0, 1)
        iterates.append(x)
    values = np.stack([value(x) for x in iterates])
    return np.stack(iterates)[values.argmax(0), np.arange(len(start))]


def sgld(gradient, x, step, noise, draws):
    """Section 3: raw gradient plus noise, neither clipped nor projected."""
    for z in draws:
        x = x + step * gradient(x) + noise * z
    return x


def psgld(gradient, x, steps, step, limit):
    """Proximal SGLD of JEM++ and SADA-JEM: clamp each coordinate of the gradient, clip the image to the pixel range."""
    for _ in range(steps):
        x = np.clip(x + step * np.clip(gradient(x), -limit, limit), 0, 1)
    return x


def pyld(net, x, outer, inner, alpha, limit):
    """JEM++ as published, on u = 2x − 1: inner steps reuse the stale adjoint of the first layer's output."""
    u = 2 * x - 1
    w, _, v, _ = net.parameters
    for _ in range(outer):
        x = (u + 1) / 2
        adjoint = (softmax(net.logits(x)) @ v) * (1 - net.hidden(x) ** 2)
        for _ in range(inner):
            gradient = (adjoint @ w / STD / 2).reshape(u.shape)
            u = np.clip(u + alpha * np.clip(gradient, -limit, limit), -1, 1)
    return (u + 1) / 2
