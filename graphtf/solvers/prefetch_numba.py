"""A hint to the processor for compiled loops whose time goes into waiting for scattered rows."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def prefetch(typing_context: Any, array: Any, row: Any) -> Any:
    """Have the first cache line of `array[row]` brought near, for a `row` of type uint64; it changes nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, arguments[0])
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        offset = builder.mul(arguments[1], builder.extract_value(view.strides, 0))
        address = builder.gep(builder.bitcast(view.data, byte), [offset])
        hint = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], hint)
        builder.call(function, [address, flag(0), flag(3), flag(1)])  # to read, keep in all caches, data
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate
