"""Layers in a row as an ONNX graph, written directly: an exporter takes a second for each, a table has hundreds."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

OPSET = 18


def chain_to_onnx(modules: nn.Sequential, shape: tuple[int, ...]) -> bytes | None:
    """An ONNX model of convolutions, linear layers and ReLUs one after another; None if there is another module.

    Args:
        modules: float32.
        shape: of the input, with its batch.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, value = [], [], "x"
    for number, module in enumerate(modules):
        written = _node(module)
        if written is None:
            return None
        operator, attributes, tensors = written
        names = [value]
        for place, tensor in enumerate(tensors):
            name = f"w{number}_{place}"
            array = np.ascontiguousarray(tensor.detach().float().cpu().numpy())
            weights.append(numpy_helper.from_array(array, name))
            names.append(name)
        if operator == "Linear":
            nodes.append(helper.make_node("MatMul", names[:2], [f"y{number}"]))
            value = f"y{number}"
            if len(names) > 2:
                nodes.append(helper.make_node("Add", [value, names[2]], [f"z{number}"]))
                value = f"z{number}"
        else:
            nodes.append(helper.make_node(operator, names, [f"y{number}"], **attributes))
            value = f"y{number}"
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info(value, TensorProto.FLOAT, [None] * len(shape))
    graph = helper.make_graph(nodes, "chain", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return bytes(model.SerializeToString())


def _node(module: nn.Module) -> tuple[str, dict[str, Any], list[Tensor]] | None:
    if type(module) is nn.ReLU:
        return "Relu", {}, []
    if type(module) is nn.Linear:
        bias: list[Tensor] = [] if module.bias is None else [module.bias]
        return "Linear", {}, [module.weight.detach().t(), *bias]
    if type(module) not in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d):
        return None
    assert isinstance(module, nn.modules.conv._ConvNd)
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        return None
    attributes: dict[str, Any] = {
        "strides": list(module.stride),
        "pads": [*module.padding, *module.padding],
        "dilations": list(module.dilation),
        "group": module.groups,
        "kernel_shape": list(module.kernel_size),
    }
    bias = [] if module.bias is None else [module.bias]
    if isinstance(module, nn.ConvTranspose2d):
        return "ConvTranspose", {**attributes, "output_padding": list(module.output_padding)}, [module.weight, *bias]
    return "Conv", attributes, [module.weight, *bias]
