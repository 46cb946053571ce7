"""Operators that ONNX defines by others: their definition stands in for a converter."""

import onnx

from ..importer import has_converter
from .facts import Facts
from .graph import renamed, subgraphs


def inline_body(node: onnx.NodeProto, facts: Facts) -> list[onnx.NodeProto] | None:
    """Return the nodes by which ONNX defines an operator that has no converter, None if it has."""
    if has_converter(node):
        return None
    schema = _schema(node, facts)
    body = None if schema is None else _body(schema, node, facts)
    if schema is None or body is None:
        return None
    names = {name: "" for name in body.input}
    names.update(zip(body.input, node.input, strict=False))
    names.update(
        (inner, outer or facts.names.fresh(f"{node.name or node.op_type}/{inner}"))
        for inner, outer in zip(body.output, node.output, strict=False)
    )
    for each in body.node:
        for name in each.output:
            if name and name not in names:
                names[name] = facts.names.fresh(f"{node.name or node.op_type}/{name}")
    defaults = {name: each.default_value for name, each in schema.attributes.items()}
    attributes = {name: each for name, each in defaults.items() if each.type}
    attributes.update((each.name, each) for each in body.attribute_proto)
    attributes.update((each.name, each) for each in node.attribute)
    nodes = []
    for each in body.node:
        copy = renamed(each, names)
        _fill_attributes(copy, attributes)
        copy.name = f"{node.name or node.op_type}/{each.name or each.op_type}"
        nodes.append(copy)
    return nodes


def _schema(node: onnx.NodeProto, facts: Facts) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, facts.version(node), node.domain)
    except onnx.defs.SchemaError:
        return None


def _body(schema, node: onnx.NodeProto, facts: Facts) -> onnx.FunctionProto | None:
    """Return an operator's definition, for the types of its inputs where it depends on them."""
    version = facts.version(node)
    body = onnx.FunctionProto()
    if schema.has_function:
        versions = [each for each in schema.function_opset_versions if each <= version]
        if versions:
            body.ParseFromString(schema.get_function_with_opset_version(max(versions)))
            return body
    if schema.has_context_dependent_function:
        versions = [
            each for each in schema.context_dependent_function_opset_versions if each <= version
        ]
        types = [facts.types.get(name, onnx.TypeProto()) for name in node.input]
        if versions:
            body.ParseFromString(
                schema.get_context_dependent_function_with_opset_version(
                    max(versions),
                    node.SerializeToString(),
                    [each.SerializeToString() for each in types],
                )
            )
            # Of an empty body, ONNX says by it that it has none for these types.
            return body if body.node else None
    return None


def _fill_attributes(node: onnx.NodeProto, given: dict[str, onnx.AttributeProto]) -> None:
    """Put the operator's attributes where its definition refers to them."""
    filled = []
    for each in node.attribute:
        if each.ref_attr_name:
            if each.ref_attr_name not in given:
                continue
            copy = onnx.AttributeProto()
            copy.CopyFrom(given[each.ref_attr_name])
            copy.name = each.name
            filled.append(copy)
        else:
            filled.append(each)
    copies = [onnx.AttributeProto.FromString(each.SerializeToString()) for each in filled]
    del node.attribute[:]
    node.attribute.extend(copies)
    for inner in subgraphs(node):
        for each in inner.node:
            _fill_attributes(each, given)
