"""Operators of PyTorch that this project converts itself, against torch."""

import warnings

import numpy as np
import pytest

import microscopiq as mq
from microscopiq.compiler.frontend.repair import repair
from tests.compiler.relax_modules import run_llvm

torch = pytest.importorskip("torch")
F = torch.nn.functional


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def integers(high, *shape, low=0, seed=0):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


class Bags(torch.nn.Module):
    """A bag of each mode, by offsets and by rows."""

    def __init__(self):
        super().__init__()
        self.sum = torch.nn.EmbeddingBag(10, 4, mode="sum", padding_idx=3)
        self.mean = torch.nn.EmbeddingBag(10, 4, mode="mean")
        self.max = torch.nn.EmbeddingBag(10, 4, mode="max")
        self.ends = torch.nn.EmbeddingBag(10, 4, mode="sum", include_last_offset=True)

    def forward(self, ids, offsets, rows, weights):
        one = [bag(ids, offsets) for bag in (self.sum, self.mean, self.max, self.ends)]
        weighted = self.sum(ids, offsets, per_sample_weights=weights)
        return *one, weighted, *(bag(rows) for bag in (self.sum, self.mean, self.max))


class Scatters(torch.nn.Module):
    def forward(self, x, index, source):
        return (
            x.scatter_add(0, index, source),
            x.scatter_add(1, index, source),
            *(x.scatter_reduce(1, index, source, how) for how in ("sum", "prod", "amax", "amin")),
            x.index_add(0, index[0], source[:3, :1].expand(3, x.shape[1])),
        )


FIXED = {
    seed: numbers(*shape, seed=seed)
    for seed, shape in (
        (5, (3, 4, 6)),
        (6, (5, 3, 6)),
        (7, (5, 3, 3, 6)),
        (8, (5, 4, 3, 6)),
        (9, (6,)),
    )
}


class Puts(torch.nn.Module):
    """Indices of one, two and three dimensions: together, apart, with gaps, added up, by mask."""

    def forward(self, x, i, j, k, values):
        outputs = [x.index_put((i, j, k), values, accumulate=add) for add in (False, True)]
        outputs.append(x.index_put((i, j), FIXED[9], accumulate=True))
        for indices, value in (
            ((slice(None), i), values[0]),
            ((slice(None), slice(None), k), values[0]),
            ((i, slice(None), j), FIXED[5]),
            ((slice(None), i, j), FIXED[6]),
            ((slice(None), i[:, None], j), FIXED[7]),
            ((x > 0.5,), 2.0),
            ((x[:, :, 0, 0] > 0,), -1.0),
        ):
            changed = x.clone()
            changed[indices] = value
            outputs.append(changed)
        outputs.append(x.index_copy(2, i % 4, FIXED[8]))
        return tuple(outputs)


class Experts(torch.nn.Module):
    """What `torch._grouped_mm` does, which torch has for bfloat16 alone."""

    def __init__(self):
        super().__init__()
        self.stack = torch.nn.Parameter(numbers(3, 5, 4, seed=3))

    def forward(self, x, ends, stack):
        grouped = torch.ops.transformers.grouped_mm_fallback
        ours = grouped(x, self.stack.transpose(1, 2), ends)
        return ours, grouped(x, stack, ends), torch.histc(x, 4, -1, 1)


class Indexed(torch.nn.Module):
    """Every way to read by index, with -1 among the constants and the inputs."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(10, 4)

    def forward(self, ids, x, places):
        return (
            self.table(ids)[:, -1],
            x[:, -1],
            x[:, -2:],
            x[torch.tensor([-1, 0])],
            x[places[0], places[1]],
            x[:, places[0]],
            x.index_put((places[0], places[1]), torch.tensor(3.0)),
        )


class Reads(torch.nn.Module):
    """Indices together, apart, behind others, broadcast."""

    def forward(self, x, i, j):
        rows, columns = torch.tril_indices(4, 4, -1)
        return (
            x[i, j],
            x[:, i, j],
            x[:, :, i, j],
            x[i, :, j],
            x[:, i, :, j],
            x[i[:, None], j],
            x[:, i[:, None], j[None]],
            x[:, i[:, None]],
            x[:, rows, columns],
        )


class Arithmetic(torch.nn.Module):
    """Numbers and tensors of other types, which torch promotes; factors of sums; extremes."""

    def forward(self, x, n):
        sums = torch.add(x, n, alpha=2), x.sub(x * 3, alpha=0.5), torch.rsub(x, x, alpha=3)
        scaled = n * 0.5, n / 2, n / n.abs().clamp(min=1), n + True, 2 - x, 1 / x, n % 3, x % 0.7
        powers = n**2, 2 ** n.abs(), n ** n.abs(), x**2
        compared = n > 0.5, n == 2, x >= n, torch.maximum(n, n + 1), (n == 2) * x
        chosen = torch.where(n > 0, n, 0.5), n.clamp(min=0.5), n.clamp(-2, 1), x.clamp(max=0.5)
        return *sums, *scaled, *powers, *compared, *chosen, x.amax(1), n.amin(), x.amin(-1, True)


class Divisions(torch.nn.Module):
    def forward(self, x, n, d):
        rounded = [
            torch.div(a, b, rounding_mode=mode)
            for a, b in ((x, 0.3), (x, x[:1] + 4), (n, 2), (n, d))
            for mode in ("floor", "trunc")
        ]
        return *rounded, torch.div(n, 0.5, rounding_mode="floor"), torch.div(x, 2.0)


CASES = {
    "reads": (Reads, (numbers(4, 4, 4, 4), torch.tensor([0, 2, -1]), torch.tensor([3, -2, 1]))),
    "arithmetic": (Arithmetic, (numbers(3, 4), integers(5, 3, 4, low=-4))),
    "divisions": (Divisions, (numbers(3, 4), integers(9, 6, low=-9), integers(5, 6, low=1))),
    "bags": (
        Bags,
        (integers(10, 7), torch.tensor([0, 2, 2, 6]), integers(10, 2, 3, seed=1), numbers(7)),
    ),
    "scatters": (Scatters, (numbers(4, 6), integers(4, 2, 3), numbers(3, 5, seed=1))),
    "puts": (
        Puts,
        (
            numbers(5, 4, 6, 6),
            torch.tensor([0, 2, -1]),
            torch.tensor([3, -2, 1]),
            torch.tensor([5, 0, -6]),
            numbers(3, 6, seed=2),
        ),
    ),
    "experts": (
        Experts,
        (numbers(6, 4), torch.tensor([2, 2, 6], dtype=torch.int32), numbers(3, 4, 5, seed=4)),
    ),
    "indexed": (
        Indexed,
        (integers(10, 2, 3), numbers(4, 5), torch.tensor([[0, -1, 2], [-3, 1, 3]])),
    ),
}


def exported(name):
    if name == "experts":
        pytest.importorskip("transformers.integrations.moe")
    kind, inputs = CASES[name]
    torch.manual_seed(0)
    model = kind().eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(model, inputs), inputs


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_torch_does(name):
    program, inputs = exported(name)
    found = run_llvm(repair(mq.load_model(program)), [x.numpy() for x in inputs])
    expected = program.module()(*inputs)
    assert len(found) == len(expected)
    for have, want in zip(found, (one.detach().numpy() for one in expected), strict=True):
        assert have.dtype == want.dtype
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def indexed():
    program, inputs = exported("indexed")
    return mq.Session(mq.build(mq.load_model(program))), [x.numpy() for x in inputs]


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, 10, "index into 'table.weight', from input 'ids', is outside; allowed: 0 to 9"),
        (0, -10, "index into 'table.weight', from input 'ids', is outside; allowed: 0 to 9"),
        (2, 5, r"index into input 'x' float32\[4, 5\] .* is outside; allowed: -[45] to [34]"),
        (2, -3, r"index into input 'x' float32\[4, 5\] .* is outside; allowed: -[45] to [34]"),
    ],
)
def test_an_index_outside_is_an_error_that_names_the_tensor(indexed, which, change, message):
    session, inputs = indexed
    session.run(*inputs)
    wrong = [x + change if at == which else x for at, x in enumerate(inputs)]
    with pytest.raises(mq.InputError, match=message):
        session.run(*wrong)


class Refused(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x + torch.randn(3, 4), mq.UnsupportedError, "randn.*random numbers"),
        (lambda x: x * torch.bernoulli(x), mq.UnsupportedError, "rand.*random numbers"),
        (
            lambda x: x.scatter_reduce(0, torch.zeros(1, 4, dtype=torch.int64), x, "mean"),
            mq.UnsupportedError,
            "scatter_reduce.*allowed: sum, prod, amax, amin",
        ),
        (lambda x: torch.histc(x, 4), mq.UnsupportedError, "histc.*bounds must be given"),
        (lambda x: x[x > 0], mq.UnsupportedError, "index.Tensor.*size of what a mask selects"),
        (lambda x: x.mode(0).values, mq.UnsupportedError, "mode.default: 1 node.*first 'mode'"),
    ],
)
def test_what_cannot_be_converted_is_named(call, error, message):
    with pytest.raises(error, match=message):
        mq.load_model(Refused(call), (torch.rand(3, 4),))


def test_calibration_checks_indices_too():
    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 3)).eval()
    mod = mq.load_model(model, (integers(10, 2, 3),))
    with pytest.raises(mq.InputError, match=r"'0\.weight', from input 'input', is outside"):
        mq.quantize(mod, "gptq-w4a8", calibration=[integers(20, 2, 3, low=10).numpy()])


def test_a_constant_index_outside_is_an_error():
    model = Refused(lambda x: x[:, torch.tensor([1, 7])])
    with pytest.raises(mq.InputError, match=r"into input 'x' float32\[3, 4\].* is 7; allowed: -4"):
        mq.build(mq.load_model(model, (torch.rand(3, 4),)))


class Half(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(8, 8)
        self.register_buffer("shift", torch.ones(8))

    def forward(self, x):
        h = self.mix(x).float() * 2 + self.shift
        return h.to(x.dtype) + torch.full((8,), 0.5, dtype=x.dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_half_precision_computes_in_fp32(dtype):
    torch.manual_seed(0)
    model, x = Half().to(dtype).eval(), numbers(3, 8).to(dtype)
    program = torch.export.export(model, (x,))
    session = mq.Session(mq.build(mq.load_model(program), recipe="int8"))
    assert program.state_dict["mix.weight"].dtype == dtype
    expected = model.float()(x.float()).detach().numpy()
    wide = session.run(x.float()).outputs[0]
    assert wide.dtype == np.float32
    np.testing.assert_allclose(wide, expected, atol=0.06)
    np.testing.assert_array_equal(session.run(x).outputs[0], wide)


class Turned(torch.nn.Module):
    """Rotary embedding of the first elements of a head, as many as there are: none are left."""

    def forward(self, x, factors):
        turned, rest = x[..., :8], x[..., 8:]
        halves = torch.cat((-turned[..., 4:], turned[..., :4]), -1)
        return torch.cat((turned * factors + halves, rest), -1)


def test_a_rest_without_elements_is_joined_to_nothing():
    inputs = numbers(1, 2, 6, 8), numbers(6, 8, seed=1)
    module = mq.load_model(torch.export.export(Turned(), inputs))
    session = mq.Session(mq.build(module))
    assert session.program and not any(0 in a.shape for f in session.program.functions.values()
                                       for a in f.arguments)  # fmt: skip
    (found,) = session.run(*(x.numpy() for x in inputs)).outputs
    (want,) = run_llvm(module, [x.numpy() for x in inputs])
    np.testing.assert_array_equal(found.view(np.int32), want.view(np.int32))
