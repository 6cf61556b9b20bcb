"""Reads from a compiled program how many bytes its inner loops read and write.

XLA's cost analysis counts the body of every loop once. In a chunk of steps that is right for the loop over steps and
for the one over groups of lanes, since the traffic of one step of one group is asked for. Loops inside of a lane's
step, as those of the style loss `nearest`, run several times: what they add is found here, from the program's text.
"""

import math
import re

_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
_ARRAY = re.compile(rf"\b({'|'.join(_SIZES)})\[([\d,]*)\](?:\{{([\d,]*)(?::T\((\d+),(\d+)\))?)?")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*?)\)(.*)$")
_NO_TRAFFIC = ("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "while", "iota", "after-all")


def bytes_of_inner_loops(text: str, groups: int) -> float:
    """Add up what loops inside of a step read and write beyond one run of their bodies.

    An operand counts whole, also where a fusion reads a slice of it, so this is rather too much. A loop whose number of
    runs isn't written in the program, as that of a line search, counts once.

    Args:
      text: of the compiled program of a chunk of steps.
      groups: the number of groups of lanes; where there are several, the loop over them is that inside of the steps'.

    Returns:
      Bytes for a step of one group, to be added to those of the compiler's analysis.
    """
    computations = _read(text)
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    outer = 1 if groups == 1 else 2  # the loops that count once: over steps, and over groups

    def walk(name: str, depth: int, times: int) -> float:
        extra = (times - 1) * _own_bytes(computations.get(name, [])) if depth > outer else 0.0
        for _, _, operation, _, rest in computations.get(name, []):
            if operation == "while":
                condition, body = (re.search(rf"{k}=%?([\w.\-]+)", rest) for k in ("condition", "body"))
                runs = _runs(computations.get(condition[1], []) if condition else [], rest) if depth >= outer else 1
                extra += walk(body[1], depth + 1, times * runs) if body else 0
            elif operation in ("call", "conditional"):
                for branch in re.findall(r"(?:to_apply|branch_computations)=\{?([^}\s]*)", rest):
                    names = [part.strip(" %,") for part in branch.split(",")]
                    extra += sum(walk(part, depth, times) for part in names if part)
        return extra

    return walk(entry[1], 0, 1) if entry else 0.0


_Instruction = tuple[str, str, str, str, str]


def _read(text: str) -> dict[str, list[_Instruction]]:
    """Return the instructions of each computation: name, type, operation, operands and attributes."""
    found: dict[str, list[_Instruction]] = {}
    current: list[_Instruction] = []
    for line in text.splitlines():
        if not line.startswith(" ") and (start := _COMPUTATION.match(line)):
            current = found[start[1]] = []
        elif instruction := _INSTRUCTION.match(line.strip()):
            current.append((instruction[1], instruction[2], instruction[3], instruction[4], instruction[5]))
    return found


def _runs(condition: list[_Instruction], attributes: str) -> int:
    """Return how often a loop runs, 1 if that isn't known."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', attributes):
        return int(known[1])
    limits = [int(operands) for _, kind, op, operands, _ in condition if op == "constant" and kind.startswith("s32[]")]
    counts_up = any("direction=LT" in rest for *_, rest in condition)
    return limits[0] if counts_up and len(limits) == 1 else 1


def _own_bytes(instructions: list[_Instruction]) -> float:
    kinds = {name: kind for name, kind, *_ in instructions}
    total = 0.0
    for _, kind, operation, operands, _ in instructions:
        if operation in _NO_TRAFFIC or operation.endswith("-done"):
            continue
        result = _bytes(kind)
        if operation in ("slice", "dynamic-slice", "gather", "copy-start", "slice-start"):
            total += 2 * result
            continue
        sizes = [_bytes(kinds.get(part.split()[-1].lstrip("%"), "")) for part in operands.split(",") if part.strip()]
        total += 2 * sizes[1] if operation == "dynamic-update-slice" and len(sizes) > 1 else result + sum(sizes)
    return total


def _bytes(kind: str) -> int:
    """Return the bytes of arrays of a type, with the padding of a TPU's tiles."""
    total = 0
    for dtype, dimensions, order, rows, columns in _ARRAY.findall(kind):
        shape = [int(n) for n in dimensions.split(",") if n]
        if rows and len(shape) > 1:
            minor, next_to_it = (int(n) for n in order.split(",")[:2])
            shape[minor] = -(-shape[minor] // int(columns)) * int(columns)
            shape[next_to_it] = -(-shape[next_to_it] // int(rows)) * int(rows)
        total += math.prod(shape) * _SIZES[dtype]
    return total
