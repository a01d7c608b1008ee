"""A pseudo-terminal to run commands in, and what a person would see on it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Screen:
    """What a command wrote to a terminal.

    Attributes:
        lines: as they are left in the end.
        drawn: every state of a line before it was drawn over or left.
        code: exit code.
    """

    lines: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    code: int = 0

    @property
    def widest(self) -> int:
        return max(len(line.rstrip()) for line in self.drawn)


def run_in_terminal(command: list[str], columns: int, cwd: Path) -> Screen:
    """Run a command whose stdin, stdout and stderr are a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=env)
    os.close(slave)
    output = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # how Linux reports that nobody writes any more
            break
        if not part:
            break
        output += part
    os.close(master)
    screen = seen(output.decode("utf-8"))
    screen.code = process.wait(timeout=60)
    return screen


def seen(output: str) -> Screen:
    """Replays carriage returns and line feeds; other controls are not expected of the entries."""
    assert "\x1b[A" not in output  # lines are not stacked
    screen, line, column = Screen(), [], 0
    for character in output:
        if character in "\r\n":
            screen.drawn.append("".join(line))
            column = 0
            if character == "\n":
                screen.lines.append("".join(line).rstrip())
                line = []
            continue
        line[column : column + 1] = [character]
        column += 1
    screen.lines.append("".join(line).rstrip())
    screen.drawn.append("".join(line))
    return screen
