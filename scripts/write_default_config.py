"""Writes default_config.yaml from the schema: run it after changing a key, a default or a description."""

from __future__ import annotations

from pathlib import Path

from sparcode.config.keys import render_defaults

if __name__ == "__main__":
    target = Path(__file__).resolve().parent.parent / "default_config.yaml"
    target.write_text(render_defaults(), encoding="utf-8")
    print(f"wrote {target}")
