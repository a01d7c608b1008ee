"""What happens to rows that cannot be used: the first one is an error, or they are left out and counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data.casts import Cast
from sparcode.data.table_data import Fault, TablePart
from sparcode.errors import DataError

EXAMPLES = 3
"""Rows that are shown of each reason."""

logger = logging.getLogger(__name__)


class BadRows:
    """Bad rows of one table, by the policy of ``data.bad_rows``.

    Args:
        table: what its rows are called in messages.
        config: the data section.

    Attributes:
        count: bad rows so far.
    """

    def __init__(self, table: str, config: DataConfig) -> None:
        self._table = table
        self._skip = config.bad_rows == "skip"
        self._max_share = config.max_bad_share
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[Fault]] = {}

    @property
    def count(self) -> int:
        """Bad rows so far."""
        return self._counts.total()

    def select(self, part: TablePart, casts: Mapping[str, Cast]) -> NDArray[np.bool_]:
        """Which rows of a table can be used.

        Args:
            part: the table as read, for its malformed lines and to show values.
            casts: its converted columns by name.

        Returns:
            (rows,) bool.

        Raises:
            DataError: there is a bad row and the policy is ``error``; with file, line, column and value.
        """
        first = [(fault.row, -1, fault) for fault in part.faults[:1]]
        for fault in part.faults if self._skip else ():
            self._note(fault)
            self._counts[fault.reason] += 1
        good = np.ones(part.frame.height, bool)
        for name, cast in casts.items():
            for what, wrong in cast.faults:
                fresh = np.flatnonzero(wrong.to_numpy() & good)
                if not len(fresh):
                    continue
                good[fresh] = False
                if not self._skip:
                    row = int(fresh[0])
                    first.append((row, len(first), _fault(part, row, name, what)))
                    continue
                for row in fresh[:EXAMPLES]:
                    self._note(_fault(part, int(row), name, what))
                self._counts[f"{name} {what}"] += len(fresh)
        if first and not self._skip:
            raise min(first, key=lambda found: found[:2])[2].error()
        return good

    def _note(self, fault: Fault) -> None:
        examples = self._examples.setdefault(fault.reason, [])
        if len(examples) < EXAMPLES:
            examples.append(fault)

    def finish(self, rows: int) -> None:
        """Log what was left out, when the table is read to its end.

        Args:
            rows: of the table, bad ones included.

        Raises:
            DataError: the share of bad rows is above ``data.max_bad_share``.
        """
        if not self.count:
            return
        share = self.count / rows
        if share > self._max_share:
            reason, count = self._counts.most_common(1)[0]
            example = self._examples[reason][0]
            most = f"the most frequent reason: {reason} ({count:,} times, {example.value})"
            raise DataError(
                f"too many bad rows in the {self._table} table, {self.count:,} of {rows:,}",
                where=example.where,
                expected=f"a share of at most {self._max_share:g}",
                received=f"{share:.2g}; {most}",
                remedy="mend the file or the configuration, or raise data.max_bad_share",
            )
        logger.warning("%s", self._table_of_reasons(rows, share))

    def _table_of_reasons(self, rows: int, share: float) -> str:
        head = f"{self._table}: {self.count:,} bad rows of {rows:,} left out ({100 * share:.2g} %)"
        lines = [head]
        width = max(len(f"{count:,}") for count in self._counts.values())
        for reason, count in self._counts.most_common():
            lines.append(f"  {count:>{width},}  {reason}")
            lines += [f"  {'':{width}}    {fault.where}: {fault.value}" for fault in self._examples[reason]]
        return "\n".join(lines)


def _fault(part: TablePart, row: int, name: str, what: str) -> Fault:
    value = part.frame[name][row]
    shown = value.to_list() if isinstance(value, pl.Series) else value
    return Fault(part.locate(row), f"{name} {what}", f"{name} {what}", repr(shown)[:200])
