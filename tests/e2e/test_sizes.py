"""Sizes that a call decides: one program against builds for each size, in every bit."""

import numpy as np
import onnx.helper as oh
import pytest

import microscopiq as mq
from microscopiq.target.errors import ConfigError, InputError
from tests.compiler.frontend.onnx_models import model, value

torch = pytest.importorskip("torch")
nn = torch.nn


class Mlp(nn.Module):
    """Rows through two layers with functions of the vector unit between and behind them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(40, 150), nn.Linear(150, 10)

    def forward(self, x):
        return torch.softmax(self.second(torch.tanh(self.first(x))), -1)


def exported(network, example, **dimensions):
    """Return a program whose dimensions are open up to bounds, by input's position."""
    shapes = dimensions.get("shapes")
    with torch.no_grad():
        return torch.export.export(network.eval(), example, dynamic_shapes=shapes)


def batch(most: int, rank: int = 1) -> tuple:
    return tuple({0: torch.export.Dim("batch", min=1, max=most)} for _ in range(rank))


def assert_equal(dynamic, network, calls, modes=("fast",), **options):
    """Compare calls of a program with those of builds for their sizes."""
    for example in calls:
        static = mq.build(exported(network, example), **options)
        wanted = mq.Session(static).run(*example).outputs
        for mode in modes:
            found = mq.Session(dynamic, mode=mode).run(*example)
            for one, other in zip(found.outputs, wanted, strict=True):
                assert one.shape == other.shape and one.tobytes() == other.tobytes(), mode


@pytest.fixture(scope="module")
def mlp():
    torch.manual_seed(0)
    return Mlp()


@pytest.fixture(scope="module")
def built(mlp):
    program = exported(mlp, (torch.randn(4, 40),), shapes=batch(70))
    return mq.build(program, recipe="int8")


def test_batch_of_an_mlp(mlp, built):
    calls = [(torch.randn(n, 40),) for n in (1, 3, 70)]
    assert_equal(built, mlp, calls, ("fast", "structural"), recipe="int8")


def test_nothing_of_it_is_on_the_host(built):
    result = mq.Session(built).run(np.zeros((5, 40), np.float32))
    assert result.outputs[0].shape == (5, 10)
    # TVM's host computes sizes of tensors from those of inputs.
    assert {call["name"] for call in result.host_calls} == {"shape_func"}
    text = mq.disassemble(built)
    assert "; rows: 1 to 70, rows is arg0, dimension 1" in text


def test_costs_are_those_of_the_sizes(built):
    session = mq.Session(built)
    few, many = (session.run(np.zeros((n, 40), np.float32)) for n in (2, 70))
    assert few.macs * 35 == many.macs and few.cycles < many.cycles
    assert session.time().cycles == many.cycles


@pytest.mark.parametrize("size", [0, 71])
def test_sizes_out_of_bounds(built, size):
    with pytest.raises(InputError, match=rf"'x', dimension 0 .*: {size}; allowed: 1 to 70"):
        mq.Session(built).run(np.zeros((size, 40), np.float32))


def test_the_bare_virtual_machine_refuses_them_too(built):
    import tvm

    machine = tvm.relax.VirtualMachine(built, tvm.cpu())
    with pytest.raises(InputError, match="dimension 1: 71; allowed: rows with rows from 1 to 70"):
        machine["main"](tvm.runtime.tensor(np.zeros((71, 40), np.float32)))


def test_one_program_for_the_graph_has_the_same_bits(mlp, built):
    program = exported(mlp, (torch.randn(4, 40),), shapes=batch(70))
    joined = mq.build(program, recipe="int8", graph=True)
    x = torch.randn(9, 40)
    one, other = (mq.Session(each).run(x).outputs[0] for each in (built, joined))
    assert one.tobytes() == other.tobytes()


def test_bounds_that_the_user_gives(mlp):
    program = exported(mlp, (torch.randn(4, 40),), shapes=batch(70))
    (name,) = (str(each) for each in program.range_constraints)
    less = mq.build(program, recipe="int8", max_sizes={name: 6})
    with pytest.raises(InputError, match="7; allowed: 1 to 6"):
        mq.Session(less).run(np.zeros((7, 40), np.float32))
    with pytest.raises(ConfigError, match=f"max_sizes: {name} = 71; allowed: 1 to 70"):
        mq.build(program, max_sizes={name: 71})
    with pytest.raises(ConfigError, match="max_sizes: unknown size 'rows'"):
        mq.build(program, max_sizes={"rows": 7})


class Cnn(nn.Module):
    """Convolutions of both kinds, a residual, pooling, and a linear layer of means."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.apart, self.one = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1)
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        x = nn.functional.silu(self.one(torch.relu(self.apart(x)) + x))
        return self.last(x.mean((2, 3)))


def test_batch_of_a_cnn():
    torch.manual_seed(0)
    model = Cnn()
    dynamic = mq.build(exported(model, (torch.randn(5, 3, 8, 8),), shapes=batch(9)), recipe="int8")
    calls = [(torch.randn(n, 3, 8, 8),) for n in (1, 4, 9)]
    assert_equal(dynamic, model, calls, recipe="int8")


class Tokens(nn.Module):
    """A model of the library, of the tokens alone."""

    def __init__(self, model, **options):
        super().__init__()
        self.model, self.options = model, options

    def forward(self, tokens):
        return self.model(tokens, **self.options)[0]


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    config._attn_implementation = "eager"
    return Tokens(transformers.BertModel(config))


def test_sequence_of_a_transformer():
    torch.manual_seed(0)
    model = bert()
    shapes = ({1: torch.export.Dim("sequence", min=2, max=40)},)
    example = (torch.randint(0, 50, (1, 12)),)
    dynamic = mq.build(exported(model, example, shapes=shapes), recipe="int8")
    calls = [(torch.randint(0, 50, (1, n)),) for n in (2, 17, 40)]
    assert_equal(dynamic, model, calls, recipe="int8")


def llama() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    config._attn_implementation = "eager"
    return Tokens(transformers.LlamaForCausalLM(config), use_cache=False)


def test_sequence_of_a_decoder():
    torch.manual_seed(0)
    model = llama()
    shapes = ({1: torch.export.Dim("sequence", min=2, max=40)},)
    example = (torch.randint(0, 50, (1, 12)),)
    dynamic = mq.build(exported(model, example, shapes=shapes), recipe="int8")
    calls = [(torch.randint(0, 50, (1, n)),) for n in (2, 17, 40)]
    assert_equal(dynamic, model, calls, recipe="int8")
    result = mq.Session(dynamic).run(*calls[1])
    assert {call["name"] for call in result.host_calls} <= {"shape_func"}
    with pytest.raises(InputError, match=r"an index into .*embed_tokens.* given 50"):
        mq.Session(dynamic).run(np.full((1, 3), 50))


def weights(**shapes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: (rng.standard_normal(shape) / 4).astype(np.float32) for name, shape in shapes.items()
    }


def onnx_cnn():
    nodes = [
        oh.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        oh.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        oh.make_node("Relu", ["p"], ["r"]),
        oh.make_node("ReduceMean", ["r"], ["m"], axes=[2, 3], keepdims=0),
        oh.make_node("Gemm", ["m", "v", "b"], ["y"]),
    ]
    constants = weights(w=(8, 3, 3, 3), v=(8, 5), b=(5,))
    inputs = [value("x", ["batch", 3, 6, 6])]
    return model(nodes, inputs, [value("y", None)], constants)


def test_a_batch_that_an_onnx_model_leaves_open():
    source = onnx_cnn()
    session = mq.Session(mq.build(source, recipe="int8", max_sizes={"batch": 9}))
    for n in (1, 4, 9):
        x = np.random.default_rng(n).standard_normal((n, 3, 6, 6)).astype(np.float32)
        static = mq.load_model(source, input_shapes={"x": x.shape}, check=True)
        (wanted,) = mq.Session(mq.build(static, recipe="int8")).run(x).outputs
        found = session.run(x)
        assert found.outputs[0].shape == wanted.shape
        assert found.outputs[0].tobytes() == wanted.tobytes()
        assert {call["name"] for call in found.host_calls} <= {"shape_func"}
    with pytest.raises(InputError, match="10; allowed: 1 to 9"):
        session.run(np.zeros((10, 3, 6, 6), np.float32))
    mq.load_model(source, max_sizes={"batch": 9}, check=True)


def test_bounds_are_for_models_whose_sizes_are_open(mlp):
    with pytest.raises(ConfigError, match="max_sizes are for ONNX models"):
        mq.load_model(exported(mlp, (torch.randn(4, 40),)), max_sizes={"rows": 4})


def test_inputs_of_one_size_must_agree():
    nodes = [oh.make_node("Add", ["a", "b"], ["y"])]
    inputs = [value("a", ["N", 4]), value("b", ["N", 4])]
    session = mq.Session(mq.build(model(nodes, inputs, [value("y", None)]), max_sizes={"N": 5}))
    three, two = (np.ones((n, 4), np.float32) for n in (3, 2))
    np.testing.assert_array_equal(session.run(three, three).outputs[0], three + three)
    with pytest.raises(InputError, match="'N' is 3 in input 'a' and 2 in input 'b'; allowed: the"):
        session.run(three, two)
