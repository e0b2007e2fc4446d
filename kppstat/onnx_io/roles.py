"""What operators do with their constants: which are stored as conductances, and why the others are not."""

from __future__ import annotations

STANDARD = ("", "ai.onnx")
FLOATS = ("float32", "float64", "float16", "bfloat16")  # types that a weight may be stored in

# (domain, operator) -> inputs that are stored as conductances and take part in a matrix product with the signal.
# design: device variation acts on Conv, ConvTranspose, Gemm, MatMul and the recurrent operators; the com.microsoft
# operators are those that onnxruntime makes of them (docs/ContribOperators.md of onnxruntime).
WEIGHT_INPUTS: dict[tuple[str, str], tuple[int, ...]] = {
    ("", "Conv"): (1,),
    ("", "ConvTranspose"): (1,),
    ("", "Gemm"): (0, 1),
    ("", "MatMul"): (0, 1),
    ("", "LSTM"): (1, 2),
    ("", "GRU"): (1, 2),
    ("", "RNN"): (1, 2),
    ("com.microsoft", "FusedConv"): (1,),
    ("com.microsoft", "NhwcFusedConv"): (1,),
    ("com.microsoft", "NhwcConv"): (1,),
    ("com.microsoft", "ConvTransposeWithDynamicPads"): (1,),
    ("com.microsoft", "FusedGemm"): (0, 1),
    ("com.microsoft", "GemmFastGelu"): (0, 1),
    ("com.microsoft", "FusedMatMul"): (0, 1),
    ("com.microsoft", "FusedMatMulActivation"): (0, 1),
    ("com.microsoft", "TransposeMatMul"): (0, 1),
    ("com.microsoft", "Attention"): (1,),
    ("com.microsoft", "DecoderMaskedSelfAttention"): (1,),
}

# Operators that multiply in integers or in packed form: (domain, operator) -> inputs that hold weights.
PACKED_INPUTS: dict[tuple[str, str], tuple[int, ...]] = {
    ("", "QLinearConv"): (3,),
    ("", "QLinearMatMul"): (0, 3),
    ("", "ConvInteger"): (1,),
    ("", "MatMulInteger"): (0, 1),
    ("com.microsoft", "QLinearConv"): (3,),
    ("com.microsoft", "QGemm"): (0, 3),
    ("com.microsoft", "DynamicQuantizeMatMul"): (1,),
    ("com.microsoft", "DynamicQuantizeLSTM"): (1, 2),
    ("com.microsoft", "MatMulIntegerToFloat"): (0, 1),
    ("com.microsoft", "MatMulInteger16"): (0, 1),
    ("com.microsoft", "MatMulNBits"): (1,),
    ("com.microsoft", "MatMulBnb4"): (1,),
    ("com.microsoft", "MatMulFpQ4"): (1,),
    ("com.microsoft", "QAttention"): (1,),
    ("com.microsoft", "QMoE"): (2, 5, 8),
}

# Operators through which a stored weight only changes its layout or type: input 0 is the tensor.
VIEWS = frozenset({"Transpose", "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})

_NORMALISATION = "a normalisation parameter, kept in digital form"
_BIAS = "a bias, added in digital form"
_ROLES: dict[tuple[str, int], str] = {
    ("Conv", 2): _BIAS,
    ("ConvTranspose", 2): _BIAS,
    ("Gemm", 2): _BIAS,
    ("FusedConv", 2): _BIAS,
    ("FusedGemm", 2): _BIAS,
    ("Attention", 2): _BIAS,
    ("LSTM", 3): _BIAS,
    ("GRU", 3): _BIAS,
    ("RNN", 3): _BIAS,
    ("LSTM", 5): "an initial state",
    ("LSTM", 6): "an initial state",
    ("GRU", 5): "an initial state",
    ("RNN", 5): "an initial state",
    ("LSTM", 7): "peephole weights, multiplied elementwise in digital form",
    ("Gather", 0): "a look-up table (embedding), kept in digital memory",
    ("GatherND", 0): "a look-up table, kept in digital memory",
    ("GatherElements", 0): "a look-up table, kept in digital memory",
    ("EmbedLayerNormalization", 2): "a look-up table (embedding), kept in digital memory",
    ("EmbedLayerNormalization", 3): "a look-up table (embedding), kept in digital memory",
    ("EmbedLayerNormalization", 4): "a look-up table (embedding), kept in digital memory",
    ("PRelu", 1): "the slope of an activation, kept in digital form",
    ("QuantizeLinear", 1): "a quantisation scale, kept in digital form",
    ("DequantizeLinear", 1): "a quantisation scale, kept in digital form",
    ("Add", 0): _BIAS,
    ("Add", 1): _BIAS,
    ("Sub", 0): "an offset, subtracted in digital form",
    ("Sub", 1): "an offset, subtracted in digital form",
    ("Mul", 0): "a factor, multiplied elementwise in digital form",
    ("Mul", 1): "a factor, multiplied elementwise in digital form",
    ("Div", 0): "a factor, divided elementwise in digital form",
    ("Div", 1): "a factor, divided elementwise in digital form",
}

# What to do about a constant that could be a weight, but that no rule perturbs.
_WAYS_OUT = {
    "Einsum": "weights of Einsum carry no device variation; export it as MatMul to include them",
    "DeformConv": "weights of DeformConv carry no device variation",
    "MoE": "expert weights of MoE carry no device variation; export the experts as MatMul to include them",
    "If": "chosen by If at run time",
    "Loop": "a starting value of Loop, changed at run time",
    "Scan": "a starting value or sequence of Scan",
}


def canonical(domain: str) -> str:
    """Return the domain with the standard one written as the empty string."""
    return "" if domain in STANDARD else domain


def weight_inputs(op: str, domain: str) -> tuple[int, ...]:
    """Return the numbers of the inputs that an operator stores as conductances."""
    return WEIGHT_INPUTS.get((canonical(domain), op), ())


def packed_inputs(op: str, domain: str) -> tuple[int, ...]:
    """Return the numbers of the inputs that hold integer or packed weights."""
    return PACKED_INPUTS.get((canonical(domain), op), ())


def reason(op: str, index: int, domain: str) -> str:
    """Say why the constant at an input of an operator carries no device variation."""
    if index in packed_inputs(op, domain):
        return (
            f"an integer or packed weight of {op}, which device variation cannot act on; "
            "use the float model, or its QDQ form with DequantizeLinear"
        )
    if "Normalization" in op and index > 0 and (op, index) not in _ROLES:
        return _NORMALISATION
    if (op, index) in _ROLES:
        return _ROLES[op, index]
    if op in _WAYS_OUT:
        return _WAYS_OUT[op]
    return f"read by {op}, which does not store it as conductances"
