"""Frames that are counted in bits, with parity: Wiegand readers.

Rules of the file: bits come as bytes, first bit in the most significant place, with
their number; each number of bits is one form. Source: the usual 26 and 34 bit formats
(even parity over the first half, odd over the second).
"""

from collections.abc import Mapping
from typing import Any

from firmware_profiles.decoded import Fields, Options, Refused
from firmware_profiles.encoder import write_layout
from firmware_profiles.form import FormError, KeyPath
from firmware_profiles.layout import compile_layout


class BitForms:
    """The compiled `[[bits]]` of a profile, by number of bits."""

    def __init__(self, tables: list[Mapping[str, Any]], path: KeyPath) -> None:
        self._tables = tables
        self._fills = {}
        for index, table in enumerate(tables):
            begin, to = table["data"] if len(table["data"]) == 2 else (0, 1)
            if (to - begin) % 8 or not 0 <= begin < to <= table["length"]:
                raise FormError((*path, index, "data"), "expected [from, to] of whole bytes")
            fill = compile_layout({"field": table.get("field", [])}, (*path, index))
            self._fills[table["length"]] = (table, fill)

    def read(self, body: bytes, options: Options) -> Fields:
        """Read `options["bit_length"]` bits into fields."""
        length = options.get("bit_length", len(body) * 8)
        if not isinstance(length, int) or length not in self._fills:
            raise Refused("bad-length")
        if len(body) * 8 < length:
            raise Refused("truncated")
        table, fill = self._fills[length]
        bits = f"{int.from_bytes(body, 'big'):0{len(body) * 8}b}"[:length]
        for kind, wanted in (("even", 0), ("odd", 1)):
            if kind in table and bits[slice(*table[kind])].count("1") % 2 != wanted:
                raise Refused("bad-parity")
        begin, to = table["data"]
        data = int(bits[begin:to], 2).to_bytes((to - begin) // 8, "big")
        fields: Fields = dict(table.get("set", {}))
        fill(data, fields)
        return fields

    def write(self, fields: Mapping[str, Any]) -> tuple[bytes, int]:
        """Return the bits, left-aligned in bytes, and their number.

        Parameters
        ----------
        fields : as decoded

        Returns
        -------
        Bytes, and the number of bits in them.

        Raises
        ------
        ValueError
            No form can hold the fields.
        """
        for table in self._tables:
            if any(fields.get(name) != value for name, value in table.get("set", {}).items()):
                continue
            begin, to = table["data"]
            data = bytes(write_layout({"field": table.get("field", [])}, fields))
            bits = list("0" * begin + f"{int.from_bytes(data, 'big'):0{to - begin}b}")
            bits += "0" * (table["length"] - len(bits))
            for kind, wanted, place in (("even", 0, 0), ("odd", 1, -1)):
                if kind in table:
                    ones = bits[slice(*table[kind])].count("1")
                    bits[place] = str((ones + wanted) % 2)
            text = "".join(bits)
            size = -(-len(text) // 8)
            return int(text.ljust(size * 8, "0"), 2).to_bytes(size, "big"), len(text)
        raise ValueError("no form of bits can hold these fields")
